"""Intervals: the formula by hand, and each thing that may be wrong on images made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from liverleaf.measure.enhancement import Curve
from liverleaf.measure.intervals import (
    ALIGNMENT_MM,
    Z_90,
    Noise,
    Variants,
    depth_mm,
    field_of,
    interval,
    lesion_variants,
    liver_variants,
    noise_of,
    of_curves,
    shrunk_and_grown,
)
from liverleaf.study import Phase


def test_changes_add_as_squares_up_and_down_apart() -> None:
    bounds = interval(10.0, [[7.0, 14.0], [6.0, 13.0], [10.0]])
    assert bounds == (10 - math.hypot(3, 4), 10 + math.hypot(4, 3))
    assert interval(10.0, [[7.0, 14.0]], widen=2.0) == (4.0, 18.0)


def test_a_thing_that_moves_a_measure_one_way_widens_one_side() -> None:
    assert interval(5.0, [[6.0, 8.0]]) == (5.0, 8.0)


@pytest.mark.parametrize("variants", [[], [[]], [[math.nan, 2.0]]])
def test_nothing_that_changes_it_leaves_the_value_alone(variants: list) -> None:
    assert interval(2.0, variants) == (2.0, 2.0)


def test_a_measure_of_two_curves_is_unsure_of_both() -> None:
    lesion, liver = (Curve({Phase.PORTAL: value}, 9) for value in (100.0, 90.0))
    variants = Variants(
        {"noise": ({Phase.PORTAL: 97.0}, {Phase.PORTAL: 103.0})},
        {"liver": ({Phase.PORTAL: 86.0}, {Phase.PORTAL: 94.0})},
    )

    def contrast(a: Curve, b: Curve | None) -> float | None:
        return None if b is None else a.mean[Phase.PORTAL] - b.mean[Phase.PORTAL]

    assert of_curves(contrast, lesion, liver, variants) == (5.0, 15.0)
    assert of_curves(contrast, lesion, None, variants) is None


def test_a_cube_loses_and_gains_one_voxel() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[2:7, 2:7, 2:7] = True
    shrunk, grown, box = shrunk_and_grown(mask, (2.0, 2.0, 2.0))
    assert (shrunk.sum(), grown.sum()) == (27, 343)
    assert box == (slice(1, 8),) * 3


def test_thick_slices_stay() -> None:
    mask = np.zeros((5, 9, 9), bool)
    mask[1:3, 2:7, 2:7] = True
    shrunk, grown, _ = shrunk_and_grown(mask, (5.0, 1.0, 1.0))
    assert [int(plane.sum()) for plane in shrunk] == [0, 9, 9, 0]
    assert [int(plane.sum()) for plane in grown] == [0, 49, 49, 0]


def test_a_single_voxel_cannot_vanish() -> None:
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = True
    shrunk, grown, _ = shrunk_and_grown(mask, (1.0, 1.0, 1.0))
    assert (shrunk.sum(), grown.sum()) == (1, 8)
    with pytest.raises(ValueError, match="empty mask"):
        shrunk_and_grown(mask & False, (1.0, 1.0, 1.0))


def test_noise_of_single_voxels_and_of_pairs_is_told() -> None:
    rng = np.random.default_rng(0)
    region = np.ones((16, 40, 40), bool)
    white = 100 + 5 * rng.standard_normal(region.shape)
    found = noise_of(white, region)
    assert found is not None
    assert found.sd == pytest.approx(5, rel=0.05)
    assert found.together == pytest.approx(1, abs=0.1)
    assert found.of_mean(400) == pytest.approx(5 / 20, rel=0.1)
    doubled = np.repeat(5 * rng.standard_normal((16, 40, 20)), 2, axis=2)
    pairs = noise_of(doubled, region)
    assert pairs is not None
    # two voxels vary as one: correlation 1/2 at lag 1, so 1 + 2 / 2
    assert pairs.together == pytest.approx(2, rel=0.15)


def test_a_slope_is_no_noise_and_an_even_image_has_none() -> None:
    region = np.ones((10, 30, 30), bool)
    slope = np.broadcast_to(np.arange(30.0), region.shape)
    inner = region.copy()
    assert noise_of(np.full(region.shape, 7.0), region) == Noise(0.0, 1.0)
    found = noise_of(slope, inner)
    assert found is not None and found.sd < 1.5
    # smoothed, it still runs evenly over 30: its median absolute deviation is 7.5
    assert found.uneven == pytest.approx(1.4826 * 7.5, rel=0.1)
    assert noise_of(slope, region & False) is None


def test_a_mean_is_never_surer_than_its_voxels_together() -> None:
    assert Noise(4.0, 10.0).of_mean(3) == 4.0


def halves() -> tuple[dict[Phase, np.ndarray], np.ndarray]:
    """A step between 0 and 60 across x, and a lesion on its bright side."""
    image = np.zeros((6, 20, 20), np.float32)
    image[:, :, 10:] = 60.0
    mask = np.zeros(image.shape, bool)
    mask[1:5, 5:15, 10:15] = True
    return {Phase.ARTERIAL: image, Phase.PORTAL: image}, mask


def test_an_outline_further_out_takes_in_what_lies_beside() -> None:
    images, mask = halves()
    found = lesion_variants(images, mask, (3.0, 3.0, 3.0), moved=(), noise={})
    shrunk, grown = found["boundary"]
    assert shrunk[Phase.ARTERIAL] == 60.0
    # 4 x 10 x 5 voxels become 6 x 12 x 7, and one of the seven columns is dark
    assert grown[Phase.ARTERIAL] == pytest.approx(60 * 6 / 7)
    assert list(found) == ["boundary", "blur"]


def test_without_blur_a_lesion_is_as_far_above_as_more_blur_brings_below() -> None:
    images, mask = halves()
    (sharper,) = lesion_variants(images, mask, (3.0, 3.0, 3.0), moved=(), noise={})["blur"]
    from_left = gaussian_filter1d(np.where(np.arange(40) >= 20, 60.0, 0.0), 0.64)[20:25]
    assert sharper[Phase.PORTAL] == pytest.approx(120 - from_left.mean(), abs=1e-3)
    even = {Phase.PORTAL: np.full(mask.shape, 50.0)}
    (same,) = lesion_variants(even, mask, (3.0, 3.0, 3.0), moved=(), noise={})["blur"]
    assert same[Phase.PORTAL] == pytest.approx(50.0)


def test_a_field_scales_all_phases_together() -> None:
    images, mask = halves()
    low, high = lesion_variants(
        images, mask, (3.0, 3.0, 3.0), moved=(), noise={}, field=0.1
    )["field"]  # fmt: skip
    for means, factor in ((low, 1 - 0.1 * Z_90), (high, 1 + 0.1 * Z_90)):
        assert means == pytest.approx(dict.fromkeys(images, 60 * factor))
    noise = {Phase.PRE: Noise(1, 1, 4.0), Phase.PORTAL: Noise(1, 1, 6.0)}
    assert field_of(noise, Curve({Phase.PRE: 40.0, Phase.PORTAL: 120.0}, 9)) == pytest.approx(0.075)
    assert field_of({}, Curve({Phase.PRE: 40.0}, 9)) == 0.0


def test_without_a_field_each_phase_is_uneven_by_itself() -> None:
    images, mask = halves()
    noise = {Phase.PORTAL: Noise(0.0, 1.0, 2.0)}
    found = lesion_variants(images, mask, (3.0, 3.0, 3.0), moved=(), noise=noise)
    low, high = found["shading of portal"]
    bounds = (60 - 2 * Z_90, 60 + 2 * Z_90)
    assert (low[Phase.PORTAL], high[Phase.PORTAL]) == pytest.approx(bounds)
    assert low[Phase.ARTERIAL] == high[Phase.ARTERIAL] == 60.0


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (5.0, 1.0, 1.5)])
def test_depth_is_counted_from_the_faces_of_voxels(spacing: tuple[float, ...]) -> None:
    mask = np.zeros((7, 9, 9), bool)
    mask[2:5, 2:7, 2:7] = True
    depth = depth_mm(mask, spacing)
    z, y, x = spacing
    assert depth[3, 4, 2] == pytest.approx(x / 2)
    assert depth[3, 4, 4] == pytest.approx(min(1.5 * z, 2.5 * y, 2.5 * x))
    assert depth[3, 4, 0] == pytest.approx(-1.5 * x)
    assert depth[1, 1, 4] == pytest.approx(-math.hypot(z / 2, y / 2))


def test_a_phase_that_may_lie_beside_is_unsure_across_the_step_alone() -> None:
    images, mask = halves()
    found = lesion_variants(images, mask, (3.0, 3.0, 3.0), moved=[Phase.ARTERIAL], noise={})
    # the first of five columns mixes with the dark side by the shift in voxels
    loss = 60 * ALIGNMENT_MM / 3.0 / 5
    for axis, change in ((0, 0.0), (1, 0.0), (2, loss)):
        low, high = found[f"alignment of arterial along axis {axis}"]
        assert low[Phase.ARTERIAL] == pytest.approx(60 - change, abs=1e-4)
        assert high[Phase.ARTERIAL] == pytest.approx(60 + change, abs=1e-4)
        assert low[Phase.PORTAL] == high[Phase.PORTAL] == 60.0


def test_noise_widens_by_its_standard_error() -> None:
    images, mask = halves()
    noise = {Phase.PORTAL: Noise(10.0, 2.0)}
    found = lesion_variants(images, mask, (3.0, 3.0, 3.0), moved=(), noise=noise)
    low, high = found["noise of portal"]
    error = Z_90 * 10 * math.sqrt(2 / 200)
    assert (low[Phase.PORTAL], high[Phase.PORTAL]) == pytest.approx((60 - error, 60 + error))


def test_a_liver_that_is_the_same_everywhere_is_sure() -> None:
    region = np.ones((8, 20, 20), bool)
    even = {Phase.PORTAL: np.full(region.shape, 90.0)}
    low, high = liver_variants(even, region, Curve({Phase.PORTAL: 90.0}, 9))["liver in portal"]
    assert low[Phase.PORTAL] == high[Phase.PORTAL] == 90.0
    split = {Phase.PORTAL: np.where(np.arange(20) < 10, 80.0, 100.0) * np.ones(region.shape)}
    low, high = liver_variants(split, region, Curve({Phase.PORTAL: 90.0}, 9))["liver in portal"]
    # four eighths of 80 and four of 100: standard deviation 10.69, standard error 3.78
    assert high[Phase.PORTAL] - 90 == pytest.approx(Z_90 * 10 * math.sqrt(8 / 7) / math.sqrt(8))
    assert liver_variants(split, region & False, Curve({Phase.PORTAL: 90.0}, 9)) == {}
