"""The thorax: lungs with five lobes on the right sides, and a map from body to grid."""

from functools import cache

import numpy as np
import pytest

from liverleaf.phantom.anatomy.canvas import Tissue
from liverleaf.phantom.anatomy.thorax import Chest, draw_chest

SHAPE, SPACING_MM = (40, 96, 112), (8.0, 4.0, 3.6)


@cache
def chest(seed: int = 0) -> Chest:
    return draw_chest(np.random.default_rng(seed), SHAPE, SPACING_MM, node_mm=4.5)


def test_one_state_of_the_generator_gives_one_chest() -> None:
    again = chest.__wrapped__(0)
    np.testing.assert_array_equal(chest().canvas.tissue, again.canvas.tissue)
    assert (chest().canvas.tissue != chest(1).canvas.tissue).any()


@pytest.mark.parametrize("seed", range(3))
def test_lungs_have_a_human_size(seed: int) -> None:
    ml = chest(seed).lung.sum() * np.prod(SPACING_MM) / 1000
    assert 2000 < ml < 8000


@pytest.mark.parametrize("seed", range(3))
def test_the_right_lung_has_three_lobes_and_the_left_two(seed: int) -> None:
    c = chest(seed)
    right, left = c.lung & (c.canvas.x < 0), c.lung & (c.canvas.x > 0)
    assert set(np.unique(c.lobe[right])) == {0, 1, 2}
    assert set(np.unique(c.lobe[left])) == {3, 4}
    for lower, upper in ((0, 1), (3, 4)):
        assert (
            c.canvas.z[c.lung & (c.lobe == lower)].mean()
            < c.canvas.z[c.lung & (c.lobe == upper)].mean()
        )


def test_the_middle_lobe_lies_in_front() -> None:
    c = chest()
    assert c.canvas.y[c.lung & (c.lobe == 2)].mean() < c.canvas.y[c.lung & (c.lobe == 0)].mean()


def test_fissures_part_the_lobes() -> None:
    c = chest()
    both = (
        c.lung[:, 1:] & c.lung[:, :-1] & (np.sign(c.canvas.x)[:, 1:] == np.sign(c.canvas.x)[:, :-1])
    )
    border = both & (c.lobe[:, 1:] != c.lobe[:, :-1])
    assert border.any()
    assert c.fissure_mm[:, 1:][border].max() < 10


def test_depth_is_zero_outside_the_lungs_and_grows_inwards() -> None:
    c = chest()
    assert (c.depth_mm[~c.lung] == 0).all()
    assert 15 < c.depth_mm.max() < 80


def test_heart_liver_and_spleen_lie_the_right_way_round() -> None:
    canvas = chest().canvas
    heart = np.isin(canvas.tissue, (Tissue.MYOCARDIUM, Tissue.HEART_BLOOD))
    assert canvas.x[heart].mean() > 0
    assert canvas.x[canvas.tissue == Tissue.LIVER].mean() < 0
    assert canvas.y[canvas.tissue == Tissue.BONE_MARROW].mean() > canvas.y[heart].mean()


def test_points_of_the_body_come_to_lie_where_their_voxels_are() -> None:
    c = chest()
    index = np.array([[20, 40, 50], [12, 60, 80], [30, 50, 40]])
    axes = (c.canvas.x, c.canvas.y, c.canvas.z)
    points = np.stack([axis[tuple(index.T)] for axis in axes], axis=1)
    np.testing.assert_allclose(c.to_grid_mm(points), index * SPACING_MM, atol=6.0)
