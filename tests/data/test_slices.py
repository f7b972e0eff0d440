"""Batches of slices that are functions of their number."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from liverleaf.cohort.index import Cohort
from liverleaf.data.augmentation import SamplingConfig
from liverleaf.data.batch import SliceBatch
from liverleaf.data.network_input import (
    InputConfig,
    air,
)
from liverleaf.data.prepared import (
    PreparedCase,
    prepare,
)
from liverleaf.data.slices import SliceSampler
from liverleaf.study import Modality
from liverleaf.terminology import LesionType

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
