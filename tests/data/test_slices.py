"""The network's grid against slow references, regions that partition, prepared cases, and batches that are functions of their number."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liverleaf.cohort.index import Cohort
from liverleaf.data.augmentation import SamplingConfig, _smooth_fields, degrade
from liverleaf.data.batch import Regions, SliceBatch, collate
from liverleaf.data.network_input import (
    SURROUND_MM,
    InputConfig,
    air,
    canonical,
    lesion_regions,
    model_shape,
    resize,
    resize_labels,
)
from liverleaf.data.prepared import (
    PreparedCase,
    PreparedLesion,
    curve_statistics,
    data_fingerprint,
    liver_mask,
    prepare,
)
from liverleaf.data.slices import SliceSampler
from liverleaf.storage.case_folder import save_case
from liverleaf.study import InputError, Modality, Phase
from liverleaf.system.files import PARTIAL
from liverleaf.terminology import LesionType, Organ

torch.set_num_threads(1)

CT = InputConfig(Modality.CT, pixel_mm=4.0, slice_mm=5.0, size=48)
EVERYTHING = SamplingConfig(batch=4)
PLAIN = dataclasses.replace(
    EVERYTHING, augment=False, all_phases=1.0, one_phase=0.0, wrong_normalisation=0.0
)


@pytest.fixture(scope="module")
def prepared(ct_cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> list[PreparedCase]:
    return prepare(ct_cohort, range(6), CT, tmp_path_factory.mktemp("prepared"))


def sampler(
    cases: list[PreparedCase], sampling: SamplingConfig = EVERYTHING, **settings: object
) -> SliceSampler:
    return SliceSampler(
        cases, CT, sampling, **{"masks": 2, "per_lesion": True, "seed": 7} | settings
    )


def assert_equal(a: SliceBatch, b: SliceBatch) -> None:
    for field in dataclasses.fields(SliceBatch):
        for one, other in zip(
            *(
                v if isinstance(v, tuple) else (v,)
                for v in (getattr(a, field.name), getattr(b, field.name))
            ),
            strict=True,
        ):
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


# the grid


def slow_weights(n: int, m: int) -> np.ndarray:
    """How much of each of n voxels goes into each of m over the same extent: a triangle as wide as the coarser of both."""
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


# regions


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


# preparing


def test_a_prepared_case_is_the_case_in_contrast_to_the_liver(
    tiny_case: Callable, prepared: list[PreparedCase]
) -> None:
    _, truth = tiny_case(3)
    images, labels = prepared[3].slice(2)
    liver, lesions = liver_mask(truth)[2], truth.lesions.array[2]
    np.testing.assert_array_equal(labels, np.stack([liver, lesions]))
    assert (images.dtype, images.shape) == (np.float32, (4, 48, 48))
    np.testing.assert_allclose(images[:, liver & (lesions == 0)], 0.0, atol=0.25)
    np.testing.assert_allclose(images[:, lesions == 1], 1.5, atol=0.25)
    np.testing.assert_allclose(
        images[:, truth.organs.array[2] == Organ.BACKGROUND], air(Modality.CT), atol=0.01
    )
    (lesion,) = prepared[3].lesions
    np.testing.assert_allclose(lesion.curve, 1.5, atol=0.08)
    assert (lesion.label, lesion.type, prepared[3].pixel_mm, prepared[3].slices) == (
        1,
        3,
        (4.0, 4.0),
        6,
    )
    assert lesion.pixels == {
        z: int(n) for z, n in enumerate((truth.lesions.array == 1).sum((1, 2))) if n
    }
    assert prepared[3].liver_slices == tuple(np.flatnonzero(liver_mask(truth).any((1, 2))))


def test_contrast_does_not_depend_on_the_scale_of_an_mr(
    tiny_case: Callable, tmp_path: Path
) -> None:
    config = dataclasses.replace(CT, modality=Modality.MR)
    slices = []
    for name, scale in (("a", 1.0), ("b", 7.0)):
        study, truth = tiny_case(0, modality=Modality.MR)
        phases = {
            p: dataclasses.replace(
                i, volume=i.volume.with_array(i.volume.array * np.float32(scale))
            )
            for p, i in study.phases.items()
        }
        truth = dataclasses.replace(
            truth,
            lesion_list=tuple(
                dataclasses.replace(t, curve={p: scale * v for p, v in t.curve.items()})
                for t in truth.lesion_list
            ),
        )
        save_case(tmp_path / name / "case", dataclasses.replace(study, phases=phases), truth)
        (case,) = prepare(Cohort.open(tmp_path / name), [0], config, tmp_path / "scratch" / name)
        slices.append((case.slice(2)[0], np.array(case.lesions[0].curve)))
    np.testing.assert_allclose(slices[0][0], slices[1][0], atol=0.02)
    np.testing.assert_allclose(slices[0][1], slices[1][1], atol=0.02)


def test_a_missing_phase_is_absent_and_its_curve_unknown(
    tiny_case: Callable, tmp_path: Path
) -> None:
    save_case(tmp_path / "cohort/a", *tiny_case(0, phases=[Phase.ARTERIAL, Phase.PORTAL]))
    (case,) = prepare(Cohort.open(tmp_path / "cohort"), [0], CT, tmp_path / "scratch")
    assert case.present == (False, True, True, False)
    assert np.isnan(case.lesions[0].curve).tolist() == [True, False, False, True]


def test_preparing_twice_does_the_work_once(ct_cohort: Cohort, tmp_path: Path) -> None:
    done = []
    first = prepare(ct_cohort, [0, 1], CT, tmp_path, progress=lambda _, i, n: done.append((i, n)))
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    second = prepare(ct_cohort, [0, 1], CT, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times
    assert first == second
    assert done == [(1, 2), (2, 2)]
    # other settings, other files
    prepare(ct_cohort, [0], dataclasses.replace(CT, pixel_mm=8.0), tmp_path)
    assert prepare(ct_cohort, [0, 1], CT, tmp_path) == first


def test_half_a_prepared_case_is_made_again(ct_cohort: Cohort, tmp_path: Path) -> None:
    (case,) = prepare(ct_cohort, [0], CT, tmp_path)
    expected = case.slice(2)
    part = case.directory.with_name(f"{PARTIAL}{case.directory.name}-left")
    case.directory.rename(part)
    (part / "case.json").unlink()
    (again,) = prepare(ct_cohort, [0], CT, tmp_path)
    np.testing.assert_array_equal(again.slice(2)[0], expected[0])
    assert not part.exists()


def test_cases_that_do_not_fit_are_refused(
    ct_cohort: Cohort, tiny_case: Callable, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="is CT, this recipe is for MR"):
        prepare(ct_cohort, [0], dataclasses.replace(CT, modality=Modality.MR), tmp_path / "a")
    with pytest.raises(InputError, match="none of the channels hepatobiliary"):
        prepare(
            ct_cohort, [0], dataclasses.replace(CT, channels=("hepatobiliary",)), tmp_path / "b"
        )
    study, truth = tiny_case(0)
    save_case(tmp_path / "no truth/a", study)
    with pytest.raises(InputError, match="case-00 has no truth"):
        prepare(Cohort.open(tmp_path / "no truth"), [0], CT, tmp_path / "c")
    save_case(tmp_path / "no organs/a", study, dataclasses.replace(truth, organs=None))
    with pytest.raises(InputError, match="no liver"):
        prepare(Cohort.open(tmp_path / "no organs"), [0], CT, tmp_path / "d")
    assert prepare(
        Cohort.open(tmp_path / "no organs"),
        [0],
        dataclasses.replace(CT, normalise_on_liver=False),
        tmp_path / "e",
    )
    high = truth.lesions.with_array(truth.lesions.array * np.uint16(300))
    save_case(tmp_path / "high/a", study, dataclasses.replace(truth, lesions=high))
    with pytest.raises(InputError, match="labels over 255"):
        prepare(Cohort.open(tmp_path / "high"), [0], CT, tmp_path / "f")


def test_the_fingerprint_changes_with_the_truth_and_the_choice_of_cases(
    tiny_cohort: Callable, tmp_path: Path
) -> None:
    cohort = tiny_cohort(tmp_path / "a", 3)
    whole = data_fingerprint(cohort, range(3))
    assert whole == data_fingerprint(tiny_cohort(tmp_path / "b", 3), range(3))
    assert whole != data_fingerprint(cohort, range(2))
    assert whole != data_fingerprint(
        tiny_cohort(tmp_path / "c", 3, types=[LesionType.FNH]), range(3)
    )


# drawing


def test_a_batch_is_a_function_of_its_number(prepared: list[PreparedCase]) -> None:
    draw, again = sampler(prepared), sampler(prepared)
    batches = {step: draw(step) for step in (0, 1, 5)}
    for step in (5, 1, 0, 1):
        assert_equal(again(step), batches[step])
    assert not torch.equal(batches[0].images_BPYX, batches[1].images_BPYX)
    assert not torch.equal(sampler(prepared, seed=8)(0).images_BPYX, batches[0].images_BPYX)


def test_a_stream_is_the_batches_in_order_from_anywhere(prepared: list[PreparedCase]) -> None:
    draw = sampler(prepared)
    streamed = list(draw.stream(2, 5))
    assert len(streamed) == 3
    for step, batch in enumerate(streamed, start=2):
        assert_equal(batch, draw(step))
    assert list(draw.stream(5, 5)) == []


@pytest.mark.parametrize("masks", [1, 2])
def test_a_batch_has_the_shapes_it_promises(prepared: list[PreparedCase], masks: int) -> None:
    batch = sampler(prepared, masks=masks)(3)
    lesions = len(batch.type_L)
    assert batch.images_BPYX.shape == (4, 4, 48, 48) and batch.images_BPYX.dtype == torch.float32
    assert batch.masks_BKYX.shape == (4, masks, 48, 48) and set(
        batch.masks_BKYX.unique().tolist()
    ) <= {0.0, 1.0}
    assert batch.supervised_BK.shape == (4, masks)
    assert batch.present_BP.shape == (4, 4) and batch.present_BP.any(1).all()
    assert batch.curve_LP.shape == (lesions, 4) and batch.curve_LP.dtype == torch.float32
    assert batch.regions.weights_LRYX.shape == (lesions, 3, 48, 48)
    assert batch.regions.slice_L.shape == batch.regions.area_L.shape == (lesions,)
    assert batch.images_BPYX.abs().max() <= 5


def test_lesions_lie_in_the_slice_they_are_said_to_lie_in(prepared: list[PreparedCase]) -> None:
    sampling = dataclasses.replace(PLAIN, batch=8)
    batch = sampler(prepared, sampling)(0)
    assert len(batch.type_L) > 2
    for index, where in enumerate(batch.regions.slice_L):
        lesion = batch.regions.weights_LRYX[index, :2].sum(0)
        assert torch.equal(lesion, batch.masks_BKYX[where, 1])  # one lesion per case
        assert batch.regions.area_L[index] == lesion.sum() * 16


def test_collate_offsets_the_slices_of_each_sample() -> None:
    def sample(lesions: int) -> SliceBatch:
        batch = SliceBatch(
            *(
                torch.zeros(1, 4, 16, 16),
                torch.ones(1, 4, dtype=torch.bool),
                torch.zeros(1, 2, 16, 16),
                torch.ones(1, 2),
            ),
            None,
            None,
            None,
        )
        return dataclasses.replace(
            batch,
            regions=Regions(
                torch.zeros(lesions, 3, 16, 16),
                torch.zeros(lesions, dtype=torch.int64),
                torch.ones(lesions),
            ),
            curve_LP=torch.zeros(lesions, 4),
            type_L=torch.zeros(lesions, dtype=torch.int64),
        )

    joined = collate([sample(2), sample(0), sample(1)])
    assert joined.regions.slice_L.tolist() == [0, 0, 2]
    assert len(joined.images_BPYX) == 3 and len(joined.type_L) == 3
    assert collate([joined, sample(1)]).regions.slice_L.tolist() == [0, 0, 2, 3]


def test_every_type_is_drawn_about_as_often(prepared: list[PreparedCase]) -> None:
    draw = sampler(prepared, dataclasses.replace(PLAIN, lesion_share=1.0, batch=8))
    counts = np.bincount(torch.cat([draw(step).type_L for step in range(30)]).numpy(), minlength=8)
    np.testing.assert_allclose(counts[:6] / counts.sum(), 1 / 6, atol=0.08)
    assert not counts[6:].any()  # six cases, one lesion of its own type each


def test_without_augmentation_a_slice_is_the_prepared_slice(prepared: list[PreparedCase]) -> None:
    batch = sampler(prepared, PLAIN)(0)
    known = {
        case.slice(z)[0].tobytes(): case.slice(z)[1]
        for case in prepared
        for z in range(case.slices)
    }
    for images, masks in zip(batch.images_BPYX, batch.masks_BKYX, strict=True):
        np.testing.assert_array_equal(known[images.numpy().tobytes()] > 0, masks.numpy() > 0)
    assert batch.present_BP.all() and batch.supervised_BK.all()


@pytest.mark.parametrize("size", [32, 64])
def test_slices_are_cropped_or_padded_about_their_centre(
    prepared: list[PreparedCase], size: int
) -> None:
    config = dataclasses.replace(CT, size=size)
    batch = SliceSampler(prepared, config, PLAIN, masks=2, per_lesion=True, seed=7)(0)
    whole = sampler(prepared, PLAIN)(0).images_BPYX
    if size == 32:
        assert torch.equal(batch.images_BPYX, whole[..., 8:40, 8:40])
    else:
        assert torch.equal(batch.images_BPYX[..., 8:56, 8:56], whole)
        assert (batch.images_BPYX[..., :8, :] == air(Modality.CT)).all()


def test_augmentation_moves_images_and_masks_alike(prepared: list[PreparedCase]) -> None:
    sampling = dataclasses.replace(EVERYTHING, lesion_share=1.0, wrong_normalisation=0.0, batch=8)
    batch = sampler(prepared, sampling)(0)
    assert len(batch.type_L) > 4
    for index, where in enumerate(batch.regions.slice_L):
        mask = batch.masks_BKYX[where, 1] > 0
        inside = batch.images_BPYX[where][:, mask].mean(1)
        np.testing.assert_allclose(inside, batch.curve_LP[index], atol=0.35)


@pytest.mark.parametrize("modality", list(Modality))
def test_the_curve_follows_the_normalisation_error_of_the_images(
    modality: Modality, tiny_cohort: Callable, tmp_path: Path
) -> None:
    config = dataclasses.replace(CT, modality=modality)
    cases = prepare(
        tiny_cohort(tmp_path / "cohort", 2, modality=modality, types=[LesionType.HCC], noise=0.0),
        [0, 1],
        config,
        tmp_path,
    )
    batch = SliceSampler(
        cases,
        config,
        dataclasses.replace(EVERYTHING, lesion_share=1.0, wrong_normalisation=0.0, batch=8),
        masks=2,
        per_lesion=True,
        seed=0,
    )(0)
    cores = [
        batch.images_BPYX[w][:, weights[0] > 0].mean(1)
        for w, weights in zip(batch.regions.slice_L, batch.regions.weights_LRYX, strict=True)
    ]
    # all phases have one curve but for the error
    between_phases = batch.curve_LP - batch.curve_LP.mean(1, keepdim=True)
    error = torch.stack(cores) - torch.stack(cores).mean(1, keepdim=True) - between_phases
    assert error.std() < 0.4 * between_phases.std()


def test_of_a_wrongly_normalised_slice_only_the_liver_is_learned(
    prepared: list[PreparedCase],
) -> None:
    batch = sampler(prepared, dataclasses.replace(EVERYTHING, wrong_normalisation=1.0))(0)
    assert batch.supervised_BK.tolist() == [[True, False]] * 4
    assert len(batch.type_L) == 0


@pytest.mark.parametrize(
    ("all_phases", "one_phase", "expected"),
    [(1.0, 0.0, {4}), (0.0, 1.0, {1}), (0.0, 0.0, {1, 2, 3, 4})],
)
def test_phases_are_left_out_as_asked(
    prepared: list[PreparedCase], all_phases: float, one_phase: float, expected: set[int]
) -> None:
    draw = sampler(
        prepared,
        dataclasses.replace(
            EVERYTHING, all_phases=all_phases, one_phase=one_phase, augment=False, batch=8
        ),
    )
    present = torch.cat([draw(step).present_BP for step in range(12)])
    assert set(present.sum(1).tolist()) == expected


def test_phases_can_be_left_out_of_a_network_that_has_no_portal_phase(
    ct_cohort: Cohort, tmp_path: Path
) -> None:
    config = dataclasses.replace(CT, channels=("pre", "arterial"))
    sampling = dataclasses.replace(EVERYTHING, all_phases=0.0, one_phase=1.0)
    batch = SliceSampler(
        prepare(ct_cohort, [0], config, tmp_path),
        config,
        sampling,
        masks=2,
        per_lesion=True,
        seed=0,
    )(0)
    assert (batch.present_BP.sum(1) == 1).all()


def test_per_slice_the_largest_lesion_gives_the_type_and_all_of_them_the_curve(
    tiny_cohort: Callable, tmp_path: Path
) -> None:
    cohort = tiny_cohort(tmp_path / "cohort", 2, types=[LesionType.HCC, LesionType.CYST], noise=0.0)
    cases = prepare(cohort, [0], CT, tmp_path / "scratch")
    sampling = dataclasses.replace(PLAIN, lesion_share=1.0, batch=1)
    batch = SliceSampler(cases, CT, sampling, masks=1, per_lesion=False, seed=0)(0)
    areas = torch.tensor(
        [float((torch.from_numpy(cases[0].slice(2)[1][1]) == label).sum()) for label in (1, 2)]
    )
    assert (areas > 0).all()
    assert len(batch.type_L) == 1
    curves = torch.tensor([lesion.curve for lesion in cases[0].lesions])
    torch.testing.assert_close(
        batch.curve_LP[0], (areas[:, None] * curves).sum(0) / areas.sum(), atol=0.1, rtol=0
    )
    per_lesion = SliceSampler(cases, CT, sampling, masks=1, per_lesion=True, seed=0)(0)
    assert sorted(per_lesion.type_L.tolist()) == [LesionType.HCC, LesionType.CYST]


def test_no_case_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one case"):
        sampler([])
    with pytest.raises(ValueError, match="multiple of 16, got 50"):
        InputConfig(Modality.CT, size=50)


def test_bending_and_unevenness_keep_images_and_masks_together(
    prepared: list[PreparedCase],
) -> None:
    plain = dataclasses.replace(EVERYTHING, lesion_share=1.0, wrong_normalisation=0.0, batch=8)
    worse = dataclasses.replace(plain, bend_mm=4.0, unevenness=0.1)
    before, after = (sampler(prepared, sampling)(0) for sampling in (plain, worse))
    assert not torch.equal(before.masks_BKYX, after.masks_BKYX)
    for index, where in enumerate(after.regions.slice_L):
        core = after.regions.weights_LRYX[index, 0] > 0
        np.testing.assert_allclose(
            after.images_BPYX[where][:, core].mean(1), after.curve_LP[index], atol=0.6
        )


def test_smooth_fields_are_smooth_and_of_about_unit_variance() -> None:
    fields = _smooth_fields(np.random.default_rng(0), 40, 5, 64)
    assert 0.5 < fields.std() < 1.2
    assert (fields[:, 1:] - fields[:, :-1]).abs().max() < 0.5


def test_correlated_noise_has_the_amplitude_of_white_noise() -> None:
    sampling = dataclasses.replace(EVERYTHING, blur_pixels=1.0)
    level = [
        degrade(np.zeros((1, 64, 64), np.float32), np.random.default_rng(seed), sampling).std()
        for seed in range(300)
    ]
    white = [
        degrade(np.zeros((1, 64, 64), np.float32), np.random.default_rng(seed), EVERYTHING).std()
        for seed in range(300)
    ]
    assert np.mean(level) == pytest.approx(np.mean(white), rel=0.12)


def test_lesions_of_unknown_type_are_drawn_as_one_more_kind(
    tiny_cohort: Callable, tmp_path: Path
) -> None:
    cohort = tiny_cohort(tmp_path / "cohort", 3)
    path = cohort.directories[0] / "case.json"
    record = json.loads(path.read_text())
    record["truth"]["lesion_list"] = []  # outlined, but nobody said what it is
    path.write_text(json.dumps(record))
    prepared = prepare(Cohort.open(tmp_path / "cohort"), range(3), CT, tmp_path / "prepared")
    assert prepared[0].untyped_slices and not prepared[0].lesions and not prepared[1].untyped_slices
    draw = sampler(prepared, dataclasses.replace(PLAIN, lesion_share=1.0, batch=8))
    batches = [draw(step) for step in range(20)]
    # every slice shows a lesion
    assert all(batch.masks_BKYX[:, -1].flatten(1).any(1).all() for batch in batches)
    # a third of them without a type to learn
    assert 0.2 < np.mean([1 - len(batch.type_L) / 8 for batch in batches]) < 0.5


def test_curve_statistics_by_hand() -> None:
    def case(*curves: tuple[float, float, float]) -> PreparedCase:
        lesions = tuple(PreparedLesion(1, 0, curve, {0: 1}) for curve in curves)
        return PreparedCase(
            Path(), (True, True, False), (1.0, 1.0, 1.0), (1.0, 1.0), (), (), 1, lesions
        )

    nan = float("nan")
    mean, sd = curve_statistics(
        [case((1.0, 2.0, nan)), case(), case((3.0, nan, nan), (5.0, 2.0, nan))]
    )
    np.testing.assert_allclose(mean, [3.0, 2.0, 0.0])
    np.testing.assert_allclose(sd, [np.sqrt(8 / 3), 1e-3, 1.0], rtol=1e-6)
    assert mean.dtype == sd.dtype == np.float32
    mean, sd = curve_statistics([case()])
    assert (mean.tolist(), sd.tolist()) == ([0.0] * 3, [1.0] * 3)
