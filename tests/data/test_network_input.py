"""What a network sees of a study: channels, its grid, and the regions of a lesion."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liverleaf.data.network_input import (
    SURROUND_MM,
    InputConfig,
    air,
    canonical,
    channel_image,
    channel_title,
    extent,
    lesion_regions,
    model_input,
    model_shape,
    normalisations,
    normalised,
    on_study_grid,
    resize,
    resize_labels,
    with_phases,
)
from liverleaf.data.normalisation import CONTRAST_LIMIT, LiverNormalisation
from liverleaf.study import Modality, Phase

CT = InputConfig(Modality.CT, pixel_mm=4.0, slice_mm=5.0, size=48)


def slow_weights(n: int, m: int) -> np.ndarray:
    """How much of each of n voxels goes into each of m: a triangle as wide as the coarser."""
    scale = n / m
    weights = np.zeros((m, n))
    for i in range(m):
        for j in range(n):
            weights[i, j] = max(0.0, 1 - abs((j + 0.5) - (i + 0.5) * scale) / max(scale, 1.0))
        weights[i] /= weights[i].sum()
    return weights


@pytest.mark.parametrize(
    "shape", [(4, 6, 8), (4, 3, 8), (2, 6, 4), (9, 10, 5), (1, 1, 1), (4, 13, 20)]
)
def test_resize_is_its_slow_reference(shape: tuple[int, int, int]) -> None:
    array = np.random.default_rng(0).standard_normal((4, 6, 8)).astype(np.float32)
    slow = np.einsum(
        "az,by,cx,zyx->abc",
        *(slow_weights(n, m) for n, m in zip(array.shape, shape, strict=True)),
        array,
    )
    resized = resize(array, shape)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, slow, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.integers(1, 20)] * 3), st.tuples(*[st.integers(1, 20)] * 3))
def test_resize_keeps_the_extent_of_a_ramp_and_every_constant(
    before: tuple[int, int, int], after: tuple[int, int, int]
) -> None:
    np.testing.assert_allclose(resize(np.full(before, -7.5), after), -7.5, atol=1e-4)
    ramp = np.broadcast_to((np.arange(before[2]) + 0.5) / before[2], before)
    voxel = max(1 / before[2], 1 / after[2])
    margin = int(np.ceil(1.5 * voxel * after[2]))  # near an end the filter has one side only
    inside = slice(margin, after[2] - margin)
    centres = (np.arange(after[2]) + 0.5) / after[2]
    # half a voxel would be a shift
    np.testing.assert_allclose(resize(ramp, after)[0, 0, inside], centres[inside], atol=0.2 * voxel)


def test_resize_to_a_divisor_keeps_the_mean_of_what_lies_inside() -> None:
    array = np.zeros((12, 24, 24), np.float32)
    array[4:8, 6:18, 6:18] = np.random.default_rng(0).random((4, 12, 12))
    assert resize(array, (6, 8, 12)).mean() == pytest.approx(array.mean(), rel=1e-4)


@pytest.mark.parametrize("shape", [(4, 6, 8), (2, 3, 4), (8, 12, 16), (3, 5, 7), (1, 1, 1)])
def test_resize_labels_takes_the_voxel_at_each_centre(shape: tuple[int, int, int]) -> None:
    labels = np.random.default_rng(0).integers(0, 9, (4, 6, 8)).astype(np.uint16)
    resized = resize_labels(labels, shape)
    assert resized.dtype == labels.dtype
    for index in np.ndindex(shape):
        assert (
            resized[index]
            == labels[
                tuple(
                    int((i + 0.5) * n / m)
                    for i, n, m in zip(index, labels.shape, shape, strict=True)
                )
            ]
        )


def test_resize_labels_and_back_by_a_multiple_changes_nothing() -> None:
    labels = np.random.default_rng(0).integers(0, 9, (4, 6, 8))
    np.testing.assert_array_equal(
        resize_labels(resize_labels(labels, (12, 6, 24)), labels.shape), labels
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (InputConfig(Modality.CT, pixel_mm=4.0, slice_mm=5.0), (6, 48, 48)),
        (InputConfig(Modality.CT, pixel_mm=2.0, slice_mm=10.0), (3, 96, 96)),
        (InputConfig(Modality.CT, pixel_mm=3.0, slice_mm=3.0), (6, 64, 64)),  # thick slices stay
        (InputConfig(Modality.CT, pixel_mm=None, size=256), (6, 256, 256)),
        (InputConfig(Modality.CT, pixel_mm=1000.0, slice_mm=1000.0), (1, 1, 1)),
    ],
)
def test_the_shape_of_the_networks_grid(
    tiny_case: Callable, config: InputConfig, expected: tuple[int, int, int]
) -> None:
    assert model_shape(canonical(tiny_case()[0].grid), config) == expected  # 30 x 192 x 192 mm


def test_canonical_axes_run_to_the_head_the_back_and_the_left_from_any_others(
    tiny_case: Callable,
) -> None:
    volume = tiny_case()[0].grid
    turned = volume.permute_spatial_axes([2, 0, 1]).flip_spatial([0, 2])
    again = canonical(turned)
    np.testing.assert_allclose(again.affine, volume.affine)
    np.testing.assert_array_equal(again.array, volume.array)


def shapes() -> dict[str, np.ndarray]:
    y, x = np.indices((40, 40))
    disc = (y - 20) ** 2 + (x - 18) ** 2 < 64
    return {
        "disc": disc,
        "ring": disc & ~((y - 20) ** 2 + (x - 18) ** 2 < 16),
        "pixel": (y == 5) & (x == 30),
        "line": y == 12,
        "at the edge": (y < 6) & (x > 33),
        "everything": np.ones((40, 40), bool),
        "two": disc | ((y - 36) ** 2 + (x - 36) ** 2 < 9),
    }


@pytest.mark.parametrize("name", shapes())
@pytest.mark.parametrize("pixel_mm", [0.7, 2.2])
def test_core_and_rim_make_the_lesion_and_the_surround_lies_outside(
    name: str, pixel_mm: float
) -> None:
    lesion = shapes()[name]
    core, rim, surround = lesion_regions(lesion, pixel_mm=pixel_mm).astype(bool)
    np.testing.assert_array_equal(core | rim, lesion)
    assert core.any() and not (core & rim).any() and not (surround & lesion).any()
    y, x = np.nonzero(lesion)
    for i, j in zip(*np.nonzero(~lesion), strict=True):
        distance_mm = pixel_mm * np.sqrt(((y - i) ** 2 + (x - j) ** 2).min())
        assert surround[i, j] == (distance_mm < SURROUND_MM)


def test_the_core_of_a_disc_is_a_disc_of_half_its_radius() -> None:
    y, x = np.indices((64, 64))
    core = lesion_regions((y - 32) ** 2 + (x - 32) ** 2 <= 400, pixel_mm=1.0)[0]
    assert np.sqrt(core.sum() / np.pi) == pytest.approx(10, abs=0.8)


@pytest.mark.parametrize("name", shapes())
def test_a_margin_grows_or_shrinks_and_never_to_nothing(name: str) -> None:
    lesion = shapes()[name]
    areas = [
        lesion_regions(lesion, pixel_mm=2.0, margin_mm=margin)[:2].sum()
        for margin in (-50.0, -4.1, 0.0, 4.1)
    ]
    assert areas == sorted(areas)
    assert areas[0] > 0
    if not lesion.all():
        assert areas[2] < areas[3]


@pytest.mark.parametrize("shape", [(6, 9, 11), (6, 30, 37), (4, 5, 7), (13, 9, 6)])
def test_the_box_of_another_grid_holds_all_that_interpolation_reaches(shape) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        seen = np.zeros((6, 9, 11), np.float32)
        low = [rng.integers(0, n) for n in seen.shape]
        part = tuple(slice(a, a + rng.integers(1, 4)) for a in low)
        seen[part] = 1.0
        box = extent(seen > 0, shape)
        finer = resize(seen, shape)
        assert finer[box].sum() == pytest.approx(finer.sum())
        finer[box] = 0
        assert not finer.any()


def test_channels_are_phases_or_other_images_of_the_study(tiny_case: Callable) -> None:
    study, _ = tiny_case(0, phases=[Phase.PRE, Phase.PORTAL])
    t2w = dataclasses.replace(study.phases[Phase.PRE], description="T2w")
    study = dataclasses.replace(study, other={"t2w": t2w})
    config = InputConfig(Modality.CT, channels=("t2w", "portal", "delayed"))
    assert config.channel_phases == (None, Phase.PORTAL, Phase.DELAYED)
    assert config.phases == (Phase.PORTAL, Phase.DELAYED)
    images = [channel_image(study, channel) for channel in config.channels]
    assert images == [t2w, study.phases[Phase.PORTAL], None]
    assert channel_title("portal") == "portal venous" and channel_title("t2w") == "t2w"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 50}, "multiple of 16, got 50"),
        ({"channels": ()}, "one or more different names"),
        ({"channels": ("pre", "pre")}, "one or more different names"),
        ({"pixel_mm": 0.0}, "positive or None"),
    ],
)
def test_an_input_that_cannot_be_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InputConfig(Modality.CT, **change)


def test_the_model_input_is_the_study_on_the_networks_grid(tiny_case: Callable) -> None:
    study, _ = tiny_case(0, phases=[Phase.ARTERIAL, Phase.PORTAL])
    given = model_input(study, CT)
    assert given.present_P.tolist() == [False, True, True, False] and given.scanned == 2
    assert given.raw_ZPYX.shape == (6, 4, 48, 48)
    np.testing.assert_allclose(
        given.raw_ZPYX[:, 2], study.phases[Phase.PORTAL].volume.array, atol=1e-3
    )
    assert not given.raw_ZPYX[:, 0].any()
    assert (given.pixel_mm, given.slice_mm) == (4.0, 5.0)


def test_an_image_on_another_grid_is_refused_only_where_it_is_a_channel(
    tiny_case: Callable,
) -> None:
    study, _ = tiny_case(0)
    pre = study.phases[Phase.PRE]
    flipped = dataclasses.replace(pre, volume=pre.volume.flip_spatial([0]))
    study = dataclasses.replace(study, other={"t2w": flipped})
    model_input(study, CT)
    with pytest.raises(ValueError, match="register the study first"):
        model_input(study, dataclasses.replace(CT, channels=("portal", "t2w")))


def test_normalised_slices_are_padded_with_air_and_zero_where_missing(
    tiny_case: Callable,
) -> None:
    study, _ = tiny_case(0, phases=[Phase.PORTAL])
    config = InputConfig(Modality.CT, pixel_mm=5.0, slice_mm=5.0)  # 38 x 38 pixels
    given = model_input(study, config)
    images = normalised(
        given, {"portal": LiverNormalisation.on(110.0, Modality.CT)}, config, np.array([2, 3])
    )
    assert images.shape == (2, 4, 48, 48)
    assert (images[:, 2, 38:] == air(Modality.CT)).all() and (images[:, 2] > -1).any()
    assert not images[:, [0, 1, 3]].any()


def test_without_a_liver_phases_share_a_scale_and_other_images_have_their_own(
    tiny_case: Callable,
) -> None:
    study, _ = tiny_case(0, modality=Modality.MR)
    bright = dataclasses.replace(
        study.phases[Phase.PRE],
        volume=study.grid.with_array(study.grid.array * np.float32(10)),
    )
    study = dataclasses.replace(study, other={"t2w": bright})
    config = InputConfig(Modality.MR, channels=("pre", "portal", "t2w"), normalise_on_liver=False)
    scales = normalisations(study, np.zeros(study.grid.spatial_shape, bool), config)
    assert scales["pre"] == scales["portal"]
    tops = [np.percentile(image.volume.array, 99.9) for image in study.phases.values()]
    assert scales["pre"].unit == pytest.approx(np.mean(tops) / CONTRAST_LIMIT)
    own = np.percentile(bright.volume.array, 99.9) / CONTRAST_LIMIT
    assert scales["t2w"].unit == pytest.approx(own)


def test_with_phases_keeps_only_those(tiny_case: Callable) -> None:
    study, _ = tiny_case(0)
    assert list(with_phases(study, {Phase.PORTAL, Phase.PRE}).phases) == [Phase.PRE, Phase.PORTAL]


def test_the_way_back_to_the_studys_own_axes(tiny_case: Callable) -> None:
    grid = tiny_case(0)[0].grid.permute_spatial_axes([2, 0, 1]).flip_spatial([1])
    again = on_study_grid(canonical(grid).array, canonical(grid), grid)
    np.testing.assert_array_equal(again.array, grid.array)
    np.testing.assert_allclose(again.affine, grid.affine)
