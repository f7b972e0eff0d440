"""The mediastinum: what is in it, and that its parts lie where they belong."""

import numpy as np

from liverleaf.phantom.anatomy.canvas import Tissue
from liverleaf.phantom.anatomy.mediastinum import SIDES, mediastinal_shapes

SHAPES = mediastinal_shapes(np.random.default_rng(0), node_mm=6.0)


def centre(tissue: Tissue) -> np.ndarray:
    return np.mean([(s.low + s.high) / 2 for s, t in SHAPES if t == tissue], axis=0)


def test_airways_are_painted_last_so_that_nothing_fills_them() -> None:
    tissues = [tissue for _, tissue in SHAPES]
    first = tissues.index(Tissue.AIR)
    assert set(tissues[first:]) == {Tissue.AIR} and len(tissues[first:]) >= 3


def test_nodes_are_no_larger_than_asked() -> None:
    number = next(i for i, (_, t) in enumerate(SHAPES) if t is not Tissue.SOFT_TISSUE)
    assert 6 <= number < 16
    for shape, _ in SHAPES[:number]:
        assert (shape.high - shape.low).max() <= 2 * 6.0 + 1e-9


def test_the_heart_points_left_and_the_upper_vena_cava_lies_right() -> None:
    assert centre(Tissue.MYOCARDIUM)[0] > 0
    assert centre(Tissue.VENA_CAVA)[0] < 0


def test_the_windpipe_is_air_inside_its_wall() -> None:
    point = tuple(np.float32([[v]]) for v in (-0.5, 7.0, 90.0))
    air = [s for s, t in SHAPES if t is Tissue.AIR]
    wall = [s for s, t in SHAPES if t is Tissue.SOFT_TISSUE]
    inside_air = min(float(s.distance(*point)[0, 0]) for s in air)
    inside_wall = min(float(s.distance(*point)[0, 0]) for s in wall)
    assert inside_wall < inside_air < 0


def test_both_sides_have_a_main_bronchus() -> None:
    assert SIDES == (-1, 1)
    air = [s for s, t in SHAPES if t is Tissue.AIR]
    assert min(s.low[0] for s in air) < -40 and max(s.high[0] for s in air) > 40
