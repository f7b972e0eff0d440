"""The trunk around the abdomen: layers from the skin inwards, and room for the organs."""

from functools import cache

import numpy as np

from liverleaf.phantom.anatomy.body import BodyCavity, Habitus, body_noise, paint_trunk, spine_y
from liverleaf.phantom.anatomy.canvas import Canvas, Tissue

USUAL = Habitus(skin_fat_mm=18.0, dome_mm=92.0, heart=1.0)


@cache
def trunk(
    habitus: Habitus = USUAL, low_mm: float = -60, high_mm: float = 160
) -> tuple[Canvas, BodyCavity]:
    axes = tuple(
        np.arange(low, high, step, dtype=np.float32)
        for low, high, step in ((low_mm, high_mm, 8.0), (-170, 170, 4.0), (-220, 220, 4.0))
    )
    z, y, x = (a.copy() for a in np.meshgrid(*axes, indexing="ij"))
    canvas = Canvas(axes, x, y, z, 0.0, (8.0, 4.0, 4.0), np.zeros(z.shape, np.uint8))
    return canvas, paint_trunk(np.random.default_rng(0), canvas, habitus)


def share(canvas: Canvas, tissue: Tissue) -> float:
    return float((canvas.tissue == tissue).mean())


def test_from_the_side_come_air_skin_fat_and_muscle() -> None:
    canvas, _ = trunk()
    row = canvas.tissue[7, np.searchsorted(canvas.axes[1], 0)]
    layers = [Tissue(t) for t, before in zip(row[1:], row[:-1], strict=True) if t != before]
    assert row[0] == Tissue.AIR
    assert layers[:2] == [Tissue.SOFT_TISSUE, Tissue.FAT]
    assert Tissue.MUSCLE in layers[2:5]


def test_lungs_lie_above_the_diaphragm_and_the_abdomen_below() -> None:
    canvas, cavity = trunk()
    assert (cavity.diaphragm[canvas.tissue == Tissue.LUNG] > 0).all()
    assert (cavity.diaphragm[cavity.abdomen] < 0).all()
    assert (cavity.inner_wall[cavity.abdomen] < 0).all()
    assert not (canvas.tissue[cavity.abdomen] == Tissue.LUNG).any()


def test_the_heart_lies_left_of_the_middle_between_the_lungs() -> None:
    canvas, _ = trunk()
    heart = np.isin(canvas.tissue, (Tissue.MYOCARDIUM, Tissue.HEART_BLOOD))
    assert canvas.x[heart].mean() > 10
    assert canvas.z[heart].min() > 60


def test_more_fat_makes_a_wider_trunk_of_the_same_cavity() -> None:
    (lean, lean_cavity), (obese, obese_cavity) = (
        trunk(Habitus(fat, 92.0, 1.0)) for fat in (6.0, 40.0)
    )
    assert share(obese, Tissue.AIR) < share(lean, Tissue.AIR)
    assert share(obese, Tissue.FAT) > share(lean, Tissue.FAT)
    np.testing.assert_array_equal(lean_cavity.inner_wall, obese_cavity.inner_wall)


def test_a_higher_dome_leaves_less_lung() -> None:
    low, high = (trunk(Habitus(18.0, dome, 1.0))[0] for dome in (80.0, 105.0))
    assert share(high, Tissue.LUNG) < share(low, Tissue.LUNG)


def test_the_spine_lies_at_the_back_on_both_sides_of_the_midline() -> None:
    canvas, _ = trunk()
    marrow = (canvas.tissue == Tissue.BONE_MARROW) & (np.abs(canvas.x) < 22) & (canvas.y > 0)
    assert abs(float(canvas.x[marrow].mean())) < 2
    middle = (np.abs(canvas.z) < 30) & marrow
    assert abs(float(canvas.y[middle].mean()) - float(spine_y(np.array(0.0)))) < 12


def test_a_pelvis_has_hip_bones_and_no_lung() -> None:
    canvas, _ = trunk(low_mm=-330, high_mm=-230)
    assert share(canvas, Tissue.LUNG) == 0
    bone = np.isin(canvas.tissue, (Tissue.BONE_CORTEX, Tissue.BONE_MARROW))
    assert (bone & (canvas.x > 60)).any() and (bone & (canvas.x < -60)).any()


def test_noise_is_the_same_on_every_grid() -> None:
    fine = tuple(np.arange(-40, 41, 2, dtype=np.float32) for _ in range(3))
    coarse = tuple(axis[::4] for axis in fine)
    one, two = (body_noise(np.random.default_rng(5), axes, 20.0) for axes in (fine, coarse))
    np.testing.assert_allclose(one[::4, ::4, ::4], two, atol=1e-5)
