"""Tubes drawn into a grid fill as much of it as they should."""

import numpy as np
import pytest

from liverleaf.phantom.anatomy.lung_trees import Tree, coverage


def tube(radius_mm: float) -> Tree:
    """A straight tube along x, from 5 to 25 mm."""
    start, end = np.array([[10.0, 10.0, 5.0]]), np.array([[10.0, 10.0, 25.0]])
    return Tree(start, (start + end) / 2, end, np.full((1, 2), radius_mm))


@pytest.mark.parametrize("radius_mm", [0.4, 1.0, 3.0])
def test_a_tube_fills_its_volume(radius_mm: float) -> None:
    share = coverage([tube(radius_mm)], (20, 20, 30), (1.0, 1.0, 1.0))
    assert share.sum() == pytest.approx(np.pi * radius_mm**2 * 20, rel=0.06)
    assert share.max() <= 1
    z, y, x = np.nonzero(share)
    assert np.abs(np.hypot(z - 10, y - 10)).max() <= radius_mm + 1
    assert x.min() >= 4 and x.max() <= 26


def test_no_tubes_fill_nothing_and_what_lies_outside_is_left_out() -> None:
    assert coverage([], (3, 4, 5), (1.0, 1.0, 1.0)).sum() == 0
    assert coverage([tube(1.0)], (3, 4, 5), (1.0, 1.0, 1.0)).sum() == 0
