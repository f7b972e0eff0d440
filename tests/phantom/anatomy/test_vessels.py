"""Vessels: where they run, and branches that grow thinner."""

import numpy as np

from liverleaf.phantom.anatomy.canvas import Canvas, Tissue
from liverleaf.phantom.anatomy.vessels import _branch, paint_great_vessels, paint_liver_vessels

STEP_MM = (6.0, 4.0, 4.0)


def block(tissue: Tissue) -> Canvas:
    axes = tuple(np.arange(-120, 121, step, dtype=np.float32) for step in STEP_MM)
    z, y, x = (a.copy() for a in np.meshgrid(*axes, indexing="ij"))
    return Canvas(axes, x, y, z, 0.0, STEP_MM, np.full(z.shape, tissue, np.uint8))


def test_branches_double_and_grow_thinner() -> None:
    rng = np.random.default_rng(0)
    branches = _branch(rng, np.zeros(3), np.array([0.0, 0.0, 30.0]), 5.0, depth=2)
    # two halves of a trunk, and three children each time
    assert len(branches) == 2 * (1 + 3 + 9)
    assert all(first >= last > 0 for _, _, first, last in branches)
    assert max(first for _, _, first, _ in branches) == 5.0
    trunk, children = branches[:2], branches[2:]
    assert max(first for _, _, first, _ in children) < min(first for _, _, first, _ in trunk)


def test_every_branch_begins_where_another_one_is() -> None:
    branches = _branch(np.random.default_rng(1), np.zeros(3), np.array([20.0, 0, 0]), 4.0, depth=2)
    ends = np.array([end for _, end, _, _ in branches])
    for start, *_ in branches[1:]:
        assert np.linalg.norm(ends - start, axis=1).min() < 1e-9


def test_the_aorta_runs_left_of_the_vena_cava_in_front_of_the_spine() -> None:
    canvas = block(Tissue.FAT)
    paint_great_vessels(np.random.default_rng(0), canvas)
    aorta, cava = canvas.tissue == Tissue.AORTA, canvas.tissue == Tissue.VENA_CAVA
    level = np.abs(canvas.z) < 30
    assert canvas.x[aorta & level].mean() > canvas.x[cava & level].mean()
    assert aorta.any(axis=(1, 2)).all()  # without a gap from top to bottom


def test_the_trees_of_the_liver_grow_in_liver_only() -> None:
    liver, muscle = block(Tissue.LIVER), block(Tissue.MUSCLE)
    for canvas in (liver, muscle):
        paint_liver_vessels(np.random.default_rng(0), canvas)
    assert not np.isin(muscle.tissue, (Tissue.PORTAL_VEIN, Tissue.HEPATIC_VEIN)).any()
    portal, hepatic = (liver.tissue == t for t in (Tissue.PORTAL_VEIN, Tissue.HEPATIC_VEIN))
    assert portal.any() and hepatic.any()
    # hepatic veins join under the dome, the portal vein enters from below
    assert liver.z[hepatic].max() > 60 > liver.z[portal].mean()
