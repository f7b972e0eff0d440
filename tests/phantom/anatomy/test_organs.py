"""Abdominal organs: size and place of the liver, gas above fluid, walls around content."""

from functools import cache

import numpy as np
import pytest

from liverleaf.phantom.anatomy.body import BodyCavity, Habitus, paint_trunk
from liverleaf.phantom.anatomy.canvas import Canvas, Tissue
from liverleaf.phantom.anatomy.organs import Viscera, _random_walk, _smooth_min, paint_organs
from liverleaf.phantom.physics.intensity import ORGANS
from liverleaf.terminology import Organ

USUAL = Viscera(
    cirrhosis=0.0, right_lobe=0.92, left_tip_mm=60.0, spleen=1.0, gallbladder=True, bowel_loops=25
)
STEP_MM = (8.0, 5.0, 5.0)


@cache
def abdomen(viscera: Viscera = USUAL) -> tuple[Canvas, BodyCavity]:
    axes = tuple(
        np.arange(low, high, step, dtype=np.float32)
        for low, high, step in zip((-140, -140, -170), (130, 140, 170), STEP_MM, strict=True)
    )
    z, y, x = (a.copy() for a in np.meshgrid(*axes, indexing="ij"))
    canvas = Canvas(axes, x, y, z, 0.0, STEP_MM, np.zeros(z.shape, np.uint8))
    rng = np.random.default_rng(0)
    cavity = paint_trunk(rng, canvas, Habitus(skin_fat_mm=18.0, dome_mm=92.0, heart=1.0))
    paint_organs(rng, canvas, cavity, viscera)
    return canvas, cavity


def ml(canvas: Canvas, *tissues: Tissue) -> float:
    return float(np.isin(canvas.tissue, tissues).sum() * np.prod(STEP_MM) / 1000)


def test_the_smooth_union_of_two_solids_contains_both() -> None:
    a, b = np.float32([-5, 10, 3, 3]), np.float32([10, -5, 3, 30])
    union = _smooth_min(a, b, 8.0)
    assert (union <= np.minimum(a, b)).all()
    np.testing.assert_allclose(union, [-5, -5, 3 - 8 / 4, 3])  # blended where both are equally near


def test_a_random_walk_stays_in_its_box() -> None:
    low, high = (-10.0, -20.0, -5.0), (10.0, 20.0, 5.0)
    path = _random_walk(np.random.default_rng(1), np.zeros(3), 50, 6.0, low, high)
    assert path.shape == (51, 3)
    assert (path >= low).all() and (path <= high).all()
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() <= 6.0 + 1e-9


def test_every_abdominal_organ_is_there() -> None:
    canvas, _ = abdomen()
    there = {ORGANS[Tissue(t)] for t in np.unique(canvas.tissue)}
    assert {
        Organ.LIVER,
        Organ.SPLEEN,
        Organ.KIDNEY,
        Organ.STOMACH,
        Organ.BOWEL,
        Organ.PANCREAS,
        Organ.GALLBLADDER,
        Organ.AORTA,
        Organ.VENA_CAVA,
        Organ.PORTAL_VEIN,
        Organ.HEPATIC_VEIN,
    } <= there


def test_the_liver_lies_below_the_diaphragm_inside_the_wall() -> None:
    canvas, cavity = abdomen()
    liver = canvas.tissue == Tissue.LIVER
    assert 900 < ml(canvas, Tissue.LIVER, Tissue.PORTAL_VEIN, Tissue.HEPATIC_VEIN) < 2600
    assert (cavity.diaphragm[liver] < 0).all()
    assert (cavity.inner_wall[liver] < 3).all()  # mostly no fat between liver and wall


def test_without_a_gallbladder_there_is_no_bile_in_it() -> None:
    usual, without = (
        abdomen(USUAL if there else Viscera(0.0, 0.92, 60.0, 1.0, False, 25))[0]
        for there in (True, False)
    )
    assert ml(usual, Tissue.BILE) > ml(without, Tissue.BILE)


def test_cirrhosis_makes_the_surface_of_the_liver_uneven() -> None:
    cirrhotic, _ = abdomen(Viscera(1.0, 0.92, 60.0, 1.0, True, 25))
    liver, usual = (c.tissue == Tissue.LIVER for c in (cirrhotic, abdomen()[0]))
    surface = [np.count_nonzero(m[:, 1:] != m[:, :-1]) / m.sum() ** (2 / 3) for m in (liver, usual)]
    assert surface[0] > surface[1]


def test_a_larger_spleen_is_larger() -> None:
    large, _ = abdomen(Viscera(0.0, 0.92, 60.0, 1.5, True, 25))
    assert ml(large, Tissue.SPLEEN) > 1.5 * ml(abdomen()[0], Tissue.SPLEEN)


def test_gas_lies_in_front_of_the_fluid_of_the_stomach() -> None:
    canvas, _ = abdomen()
    gas = (canvas.tissue == Tissue.BOWEL_GAS) & (canvas.x > 20) & (canvas.z > 0)
    fluid = canvas.tissue == Tissue.STOMACH_CONTENT
    if gas.any() and fluid.any():
        assert canvas.y[gas].mean() < canvas.y[fluid].mean()
    else:
        pytest.fail("this stomach was drawn to have both")
