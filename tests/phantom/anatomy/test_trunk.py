"""Trunks by hand: outlines of given widths, domes of given heights, vertebrae with a canal."""

import numpy as np
import pytest

from liverleaf.phantom.anatomy.canvas import Canvas, Tissue, ellipsoid
from liverleaf.phantom.anatomy.trunk import (
    HEART_AXES,
    Diaphragm,
    Dome,
    Outline,
    Vertebra,
    by_height,
    paint_bone,
    paint_skin,
    paint_vertebrae,
)

CONE = Outline((0, 100), (50, 100), (40, 80), shift_y_mm=(0, 10), exponent=2.0)
DIAPHRAGM = Diaphragm(
    right=Dome(centre_x_mm=-70, half_x_mm=80, fall_mm=90),
    left=Dome(centre_x_mm=72, half_x_mm=80, fall_mm=85),
    centre_y_mm=-5,
    front_mm=125,
    back_mm=84,
    tendon_lower_mm=24,
    tendon_y_mm=-10,
    tendon_fall_mm=90,
)


def single(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def empty_canvas(half_mm: float = 30.0) -> Canvas:
    line = np.arange(-half_mm, half_mm + 1, dtype=np.float32)
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    return Canvas((line, line, line), x, y, z, 0.0, (1.0, 1.0, 1.0), np.zeros(z.shape, np.uint8))


def test_measures_are_linear_between_heights_and_constant_beyond() -> None:
    np.testing.assert_allclose(
        by_height(single(-5, 0, 25, 100, 300), (0, 100), (50, 100)), [50, 50, 62.5, 100, 100]
    )


def test_the_distance_to_an_ellipse_along_its_axes() -> None:
    x, y, z = single(50, 30, 0, -60, 0), single(0, 0, 40, 0, 100), single(0, 0, 0, 0, 100)
    # at z = 100 the outline is twice as large and 10 mm further back: its back lies at 90
    np.testing.assert_allclose(CONE.distance(x, y, z), [0, -20, 0, 10, 10], atol=1e-3)


def test_an_outline_without_shift_is_centred() -> None:
    centred, shifted = CONE._replace(shift_y_mm=None), CONE._replace(shift_y_mm=(0, 0))
    points = single(20, -70), single(-35, 10), single(60, 10)
    np.testing.assert_array_equal(centred.distance(*points), shifted.distance(*points))


def test_a_larger_exponent_is_more_like_a_box() -> None:
    corner = single(45), single(36), single(0)
    assert CONE.distance(*corner)[0] > CONE._replace(exponent=8.0).distance(*corner)[0]


def test_the_domes_are_the_highest_points() -> None:
    x, y = np.meshgrid(np.arange(-150.0, 151), np.arange(-100.0, 101))
    height = DIAPHRAGM.height(x.astype(np.float32), y.astype(np.float32), 100.0, 15.0)
    right, left = np.where(x < 0, height, -np.inf), np.where(x > 0, height, -np.inf)
    assert right.max() == pytest.approx(100) and left.max() == pytest.approx(85)
    assert (x.flat[right.argmax()], y.flat[right.argmax()]) == (-70, -5)
    assert (x.flat[left.argmax()], y.flat[left.argmax()]) == (72, -5)


def test_a_dome_falls_by_its_fall_at_its_half_width() -> None:
    (height,) = DIAPHRAGM.height(single(-150), single(-5), 100.0, 15.0)
    tendon = 100 - 24 - 0.004 * 155**2 - 90 * (5 / 80) ** 2
    assert height == pytest.approx(max(100 - 90, tendon), abs=1e-3)


def test_skin_surrounds_the_fat() -> None:
    canvas = empty_canvas(10)
    wall = np.abs(canvas.x) - 2  # two plates: the wall ends 2 mm from the middle
    paint_skin(canvas, wall, np.full_like(wall, 6.0), skin_mm=2.0)
    line = canvas.tissue[10, 10, 10:]
    assert [Tissue(t).name for t in line[:9]] == ["FAT"] * 7 + ["SOFT_TISSUE", "AIR"]


def test_a_bone_is_marrow_in_cortex() -> None:
    canvas = empty_canvas(15)
    paint_bone(canvas, ellipsoid((0, 0, 0), (10, 10, 10)), 3)
    line = canvas.tissue[15, 15, 15:]
    assert set(line[:7]) == {Tissue.BONE_MARROW}
    assert set(line[7:10]) == {Tissue.BONE_CORTEX}
    assert line[11] == Tissue.AIR


def test_the_axes_of_the_heart_are_a_rotation() -> None:
    np.testing.assert_allclose(HEART_AXES @ HEART_AXES.T, np.eye(3), atol=0.03)


VERTEBRA = Vertebra(
    body_half_x=16,
    body_half_y=14,
    body_radius=15,
    cortex=1.6,
    disc_to=4,
    marrow=(5.5, 23.5),
    canal_y=23,
    canal_half=(10, 8),
    arch=5,
    arch_from_y=-np.inf,
    arch_levels=(6, 20),
    arch_over_body=False,
    spinous_half_x=3.5,
    spinous_y=(30, 50),
    spinous_levels=(3, 18),
    transverse_x=(9, 32),
    transverse_y=(20, 0.25),
    transverse_levels=(9, 20),
)


def vertebra(level_mm: float, table: Vertebra = VERTEBRA, **within: np.ndarray) -> np.ndarray:
    """A slice through a vertebra at a level: tissue by (y, x), y from -20 to 60, x from 0 to 40."""
    y, x = np.meshgrid(np.arange(-20.0, 61), np.arange(0.0, 41), indexing="ij")
    tissue = np.full(x.shape, Tissue.MUSCLE, np.uint8)
    level = np.full(x.shape, level_mm, np.float32)
    paint_vertebrae(tissue, x.astype(np.float32), y.astype(np.float32), level, table, **within)
    return tissue


def test_a_vertebra_in_the_middle_of_its_height() -> None:
    tissue = vertebra(12)
    at = {
        point: Tissue(tissue[point[0] + 20, point[1]]).name
        for point in [(0, 0), (0, 15), (23, 0), (16, 0), (40, 0), (25, 20), (-18, 0), (55, 0)]
    }
    assert at == {
        (0, 0): "BONE_MARROW",
        (0, 15): "BONE_CORTEX",
        (23, 0): "SOFT_TISSUE",  # the cord
        (16, 0): "FAT",  # around it
        (40, 0): "BONE_CORTEX",  # spinous process
        (25, 20): "BONE_CORTEX",  # transverse process
        (-18, 0): "MUSCLE",
        (55, 0): "MUSCLE",
    }


def test_a_disc_has_no_bone() -> None:
    tissue = vertebra(2)
    assert tissue[20, 0] == Tissue.SOFT_TISSUE
    assert not np.isin(tissue[30:], (Tissue.BONE_CORTEX, Tissue.BONE_MARROW)).any()


def test_bone_and_canal_are_painted_within_their_masks_only() -> None:
    nowhere = np.zeros((81, 41), bool)
    assert (vertebra(12, bone_within=nowhere, canal_within=nowhere) == Tissue.MUSCLE).all()
    only_canal = vertebra(12, bone_within=nowhere)
    assert set(np.unique(only_canal)) == {Tissue.MUSCLE, Tissue.FAT, Tissue.SOFT_TISSUE}


def test_the_arch_wins_where_it_is_painted_over_the_body() -> None:
    thick = VERTEBRA._replace(arch=9)
    meets = (11 + 20, 0)
    assert vertebra(12, thick)[meets] == Tissue.BONE_MARROW
    assert vertebra(12, thick._replace(arch_over_body=True))[meets] == Tissue.BONE_CORTEX
