"""Livers and lesions known by construction, and slow references for the diameters."""

from itertools import combinations

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import find_objects, gaussian_filter

from liverleaf.measure.lesions import (
    bounding_box,
    boxes,
    capsule_distances_mm,
    centroid_mm,
    clean_liver,
    diameters,
    separate,
    volume_ml,
)

ISOTROPIC = (1.0, 1.0, 1.0)
THICK = (4.0, 1.0, 1.0)


def distance_mm(shape, centre, spacing_mm=ISOTROPIC):
    grid = np.indices(shape).astype(float)
    return np.sqrt(
        sum(
            ((axis - at) * size) ** 2
            for axis, at, size in zip(grid, centre, spacing_mm, strict=True)
        )
    )


def ball(shape, centre, radius_mm, spacing_mm=ISOTROPIC):
    return distance_mm(shape, centre, spacing_mm) <= radius_mm


# The liver


def test_liver_is_the_largest_piece_with_its_holes_filled() -> None:
    solid = ball((24, 40, 40), (12, 16, 16), 11)
    hollow = solid & ~ball(solid.shape, (12, 16, 16), 3)
    spleen = ball(solid.shape, (12, 34, 34), 4)
    np.testing.assert_array_equal(clean_liver((hollow | spleen) * 0.9, ISOTROPIC), solid)


def test_pieces_that_touch_at_a_corner_are_two() -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[:12, :12, :12] = mask[12:, 12:, 12:] = True
    assert clean_liver(mask, ISOTROPIC).sum() == 12**3


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5)])
def test_no_liver_is_an_empty_mask(shape) -> None:
    assert not clean_liver(np.zeros(shape, np.float32), ISOTROPIC).any()


def test_a_speck_is_no_liver() -> None:
    speck = np.zeros((12, 12, 12), bool)
    speck[3:9, 3:9, 3:9] = True  # 216 mm3 at 1 mm, 27 ml at 5 mm
    assert not clean_liver(speck, ISOTROPIC).any()
    assert clean_liver(speck, (5.0, 5.0, 5.0)).sum() == 216


def test_liver_reaching_the_border_stays_whole() -> None:
    liver = np.ones((12, 12, 12), bool)
    np.testing.assert_array_equal(clean_liver(liver, ISOTROPIC), liver)


# Separate lesions


def test_every_large_enough_lesion_is_kept_largest_first() -> None:
    shape = (24, 48, 64)
    centres, radii = [(12, 12, 50), (12, 30, 12), (12, 34, 50)], [3, 8, 5]
    mask = np.any(
        [ball(shape, centre, radius) for centre, radius in zip(centres, radii, strict=True)], axis=0
    )
    labels = separate(mask.astype(np.float32), np.ones(shape, bool), ISOTROPIC)
    assert labels.dtype == np.uint16
    assert [labels[centre] for centre in centres] == [3, 1, 2]
    np.testing.assert_array_equal(labels > 0, mask)


def test_volume_is_counted_in_millimetres() -> None:
    mask = np.zeros((8, 8, 8), bool)
    mask[3:5, 3:5, 3:5] = True
    assert separate(mask, np.ones_like(mask), ISOTROPIC).max() == 0  # 8 mm3
    assert separate(mask, np.ones_like(mask), THICK).max() == 1  # 32 mm3
    assert separate(mask, np.ones_like(mask), ISOTROPIC, minimum_volume_mm3=8).max() == 1


@pytest.mark.parametrize(
    ("gap_voxels", "spacing_mm", "kept"),
    [(2, ISOTROPIC, 1), (3, ISOTROPIC, 0), (0, THICK, 0), (1, (1.5, 1, 1), 1)],
)
def test_lesions_beyond_3_mm_from_the_liver_are_dropped(gap_voxels, spacing_mm, kept) -> None:
    liver, lesion = np.zeros((24, 12, 12), bool), np.zeros((24, 12, 12), bool)
    liver[:8] = True
    # nearest centres are gap + 1 voxels apart
    lesion[8 + gap_voxels : 14 + gap_voxels, 3:9, 3:9] = True
    assert separate(lesion, liver, spacing_mm).max() == kept


def test_an_exophytic_lesion_is_kept_whole() -> None:
    liver, lesion = np.zeros((24, 24, 24), bool), ball((24, 24, 24), (12, 12, 12), 8)
    liver[:5] = True
    np.testing.assert_array_equal(separate(lesion, liver, ISOTROPIC) > 0, lesion)


@pytest.mark.parametrize("spacing_mm", [ISOTROPIC, THICK, (1.0, 2.0, 1.5)])
@pytest.mark.parametrize(("apart", "lesions"), [(0.5, 1), (1.2, 1), (1.85, 2), (2.0, 2)])
def test_two_balls_are_two_where_their_neck_is_narrow(spacing_mm, apart, lesions) -> None:
    radius_mm = 12
    shape = tuple(int(length / size) for length, size in zip((28, 28, 54), spacing_mm, strict=True))
    middle = [(size - 1) / 2 for size in shape]
    offset = apart * radius_mm / 2 / spacing_mm[2]
    left, right = (
        ball(shape, (*middle[:2], middle[2] + sign * offset), radius_mm, spacing_mm)
        for sign in (-1, 1)
    )
    labels = separate(left | right, left | right, spacing_mm)
    assert labels.max() == lesions
    np.testing.assert_array_equal(labels > 0, left | right)
    if lesions == 2:
        assert abs(np.count_nonzero(labels == 1) / np.count_nonzero(labels == 2) - 1) < 0.1


def test_equal_balls_touching_diagonally_are_split_cleanly() -> None:
    left, right = ball((30, 30, 30), (9, 9, 9), 8), ball((30, 30, 30), (18, 18, 18), 8)
    labels = separate(left | right, left | right, ISOTROPIC)
    assert sorted({labels[9, 9, 9], labels[18, 18, 18]}) == [1, 2]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_one_lobulated_giant_is_not_split(seed, scale) -> None:
    spacing_mm = (3.0 * scale, 1.5 * scale, 1.5 * scale)
    shape, centre = (28, 56, 56), (14, 28, 28)
    lumps = gaussian_filter(np.random.default_rng(seed).normal(size=shape), (2, 4, 4))
    giant = distance_mm(shape, centre, spacing_mm) + 4 * scale * lumps / lumps.std() < 28 * scale
    labels = separate(giant, np.ones(shape, bool), spacing_mm)
    whole = np.bincount(labels.ravel())[1:]
    assert whole[0] > 0.97 * giant.sum()


@pytest.mark.parametrize("shape_of", ["ring", "rod", "plate", "hollow"])
def test_shapes_without_a_neck_stay_one(shape_of) -> None:
    shape = (30, 60, 60)
    middle = (15, 30, 30)
    z, y, x = np.indices(shape)
    mask = {
        "ring": np.hypot(np.hypot(y - 30, x - 30) - 18, z - 15) <= 5,
        "rod": (np.hypot(z - 15, y - 30) <= 5) & (abs(x - 30) < 25),
        "plate": (abs(z - 15) < 5) & (abs(y - 30) < 25) & (abs(x - 30) < 20),
        "hollow": ball(shape, middle, 14) & ~ball(shape, middle, 8),
    }[shape_of]
    assert separate(mask, np.ones(shape, bool), ISOTROPIC).max() == 1


def test_specks_on_a_lesion_are_no_lesions_of_their_own() -> None:
    mask = ball((30, 30, 40), (15, 15, 15), 9)
    mask[15, 15, 24:36] = True  # a vessel-like spike, one voxel wide
    assert separate(mask, mask, ISOTROPIC).max() == 1


def test_nothing_in_nothing_out() -> None:
    nothing, liver = np.zeros((4, 5, 6), np.float32), np.ones((4, 5, 6), bool)
    assert not separate(nothing, liver, ISOTROPIC).any()
    assert not separate(np.ones((4, 5, 6), bool), ~liver, ISOTROPIC).any()  # no liver, no lesions


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2, 2\), the liver \(3, 3, 3\)"):
        separate(np.ones((2, 2, 2), bool), np.ones((3, 3, 3), bool), ISOTROPIC)


# Sizes


def affine_of(spacing_mm=ISOTROPIC, rotation=None, origin=(0.0, 0.0, 0.0)):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if rotation is None else rotation) * np.asarray(spacing_mm)
    affine[:3, 3] = origin
    return affine


def oblique() -> np.ndarray:
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    return rotation


def test_a_single_voxel_measures_its_own_width() -> None:
    mask = np.zeros((3, 3, 3), bool)
    mask[1, 1, 1] = True
    size = diameters(mask, affine_of((5.0, 2.0, 1.0)))
    assert (size.long_axis_mm, size.short_axis_mm, size.slice_index) == (2.0, 1.0, 1)
    assert volume_ml(mask, (5.0, 2.0, 1.0)) == 0.01


def test_a_row_of_voxels_is_as_long_as_their_widths() -> None:
    mask = np.zeros((1, 3, 9), bool)
    mask[0, 1, 2:7] = True
    size = diameters(mask, affine_of((3.0, 1.0, 0.5)))
    assert (size.long_axis_mm, size.short_axis_mm) == pytest.approx((2.5, 1.0))
    # the outer edges of columns 2 and 6
    np.testing.assert_allclose(sorted(size.long_ends_mm[:, 2]), [0.75, 3.25])


@pytest.mark.parametrize("radius", [5.0, 9.3, 20.5])
def test_a_disc_has_its_diameter_to_a_pixel(radius) -> None:
    size = diameters(ball((1, 60, 60), (0, 30, 29.6), radius), affine_of())
    assert size.long_axis_mm == pytest.approx(2 * radius, abs=1)
    assert size.short_axis_mm == pytest.approx(2 * radius, abs=1)


def test_an_ellipse_has_its_two_axes() -> None:
    y, x = np.indices((80, 80)) - 40
    along, across = 0.8 * x + 0.6 * y, -0.6 * x + 0.8 * y
    mask = ((along / 30) ** 2 + (across / 12) ** 2 <= 1)[None]
    size = diameters(mask, affine_of())
    assert size.long_axis_mm == pytest.approx(60, abs=1)
    assert size.short_axis_mm == pytest.approx(24, abs=1)


def test_the_short_axis_is_a_chord_and_not_the_shadow() -> None:
    mask = np.zeros((1, 41, 41), bool)
    mask[0, 20, :] = True  # 41 wide
    # one spike up on the left, one down on the right: a shadow of 21
    mask[0, 10:20, 5] = mask[0, 21:31, 35] = True
    assert diameters(mask, affine_of()).short_axis_mm < 15


def test_the_longest_slice_is_measured() -> None:
    mask = np.zeros((3, 9, 9), bool)
    mask[0, 4, 4] = True
    mask[2, 4, 1:8] = True
    assert diameters(mask, affine_of()).slice_index == 2


def test_diameters_do_not_depend_on_where_and_how_the_patient_lies() -> None:
    mask = ball((9, 30, 30), (4, 15, 14), 9, (3.0, 1.0, 1.5))
    straight = diameters(mask, affine_of((3.0, 1.0, 1.5)))
    tilted = diameters(mask, affine_of((3.0, 1.0, 1.5), oblique(), (10.0, -70.0, 400.0)))
    assert (tilted.long_axis_mm, tilted.short_axis_mm) == pytest.approx(
        (straight.long_axis_mm, straight.short_axis_mm)
    )
    for ends, length in (
        (tilted.long_ends_mm, tilted.long_axis_mm),
        (tilted.short_ends_mm, tilted.short_axis_mm),
    ):
        assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(length)
    along = np.diff(tilted.long_ends_mm, axis=0)[0]
    across = np.diff(tilted.short_ends_mm, axis=0)[0]
    assert along @ across == pytest.approx(0, abs=1e-6)
    assert oblique()[:, 0] @ along == pytest.approx(0, abs=1e-6)  # in the slice's plane


def edge_middles(mask_YX, spacing_mm):
    around = ((-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5))
    return [(y + dy, x + dx) for y, x in np.argwhere(mask_YX) for dy, dx in around] * np.asarray(
        spacing_mm
    )


def slow_short_axis(points, start, end):
    """The longest chord across the long axis, by trying many lines across it."""
    along = (end - start) / np.linalg.norm(end - start)
    position, height = (points - start) @ along, (points - start) @ [-along[1], along[0]]
    longest = 0.0
    for at in position:
        i, j = np.meshgrid(
            np.flatnonzero(position <= at + 1e-9), np.flatnonzero(position >= at - 1e-9)
        )
        width = position[j] - position[i]
        share = np.divide(at - position[i], width, out=np.zeros_like(width), where=width > 1e-9)
        crossing = np.concatenate(
            [
                (height[i] + share * (height[j] - height[i])).ravel(),
                height[np.abs(position - at) < 1e-9],
            ]
        )
        longest = max(longest, np.ptp(crossing))
    return longest


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(1.0, 1.0), (0.7, 0.7), (2.0, 0.5)]))
def test_diameters_against_every_pair(seed, spacing_mm) -> None:
    mask = np.random.default_rng(seed).random((1, 6, 7)) < 0.3
    mask[0, 3, 3] = True
    size = diameters(mask, affine_of((4.0, *spacing_mm)))
    points = edge_middles(mask[0], spacing_mm)
    assert size.long_axis_mm == pytest.approx(
        max(np.linalg.norm(a - b) for a, b in combinations(points, 2))
    )
    assert size.short_axis_mm == pytest.approx(slow_short_axis(points, *(size.long_ends_mm[:, 1:])))


def test_no_diameters_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least one voxel"):
        diameters(np.zeros((2, 2, 2), bool), np.eye(4))


def test_centroid_is_in_patient_space() -> None:
    affine = affine_of((3.0, 1.0, 2.0), oblique(), (5.0, 6.0, 7.0))
    mask = np.zeros((4, 5, 6), bool)
    mask[1, 2, 3] = mask[3, 2, 3] = True
    volume = hd.Volume(array=mask, affine=affine, coordinate_system="PATIENT")
    np.testing.assert_allclose(
        centroid_mm(mask, affine), volume.map_indices_to_reference(np.array([[2, 2, 3]]))[0]
    )


def test_depth_below_the_capsule() -> None:
    liver = np.zeros((21, 21, 21), bool)
    liver[1:20, 1:20, 1:20] = True
    labels = np.zeros(liver.shape, np.uint16)
    labels[10, 10, 4] = 1  # three voxels from the surface voxel at column 1
    labels[10, 10, 19] = 2
    labels[0:3, 3, 3] = 4  # leaves the liver
    assert capsule_distances_mm(labels, liver, (2.0, 2.0, 1.0)) == {1: 3.0, 2: 0.0, 4: 0.0}
    assert capsule_distances_mm(labels, ~(liver | ~liver), ISOTROPIC) == {}


@pytest.mark.parametrize("share", [0.0, 0.002, 0.05, 1.0])
def test_boxes_are_those_of_a_scan_of_everything(share) -> None:
    rng = np.random.default_rng(7)
    labels = np.where(rng.random((9, 12, 15)) < share, rng.integers(1, 6, (9, 12, 15)), 0).astype(
        np.uint16
    )
    assert boxes(labels) == find_objects(labels)
    assert bounding_box(labels) == (find_objects((labels > 0).astype(np.uint8)) or [None])[0]
