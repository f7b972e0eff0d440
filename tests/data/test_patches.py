"""Patches drawn from prepared cases."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from liverleaf.cohort.index import Cohort
from liverleaf.data.augmentation import SamplingConfig
from liverleaf.data.network_input import InputConfig
from liverleaf.data.patches import PatchSampler
from liverleaf.data.prepared import PreparedCase, prepare
from liverleaf.storage.case_folder import save_case
from liverleaf.study import Modality
from liverleaf.terminology import LesionType

CT = InputConfig(Modality.CT, pixel_mm=4.0, slice_mm=5.0, size=32)
PLAIN = SamplingConfig(batch=2, augment=False, all_phases=1.0, one_phase=0.0, lesion_share=1.0)


@pytest.fixture(scope="module")
def cases(ct_cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> list[PreparedCase]:
    return prepare(ct_cohort, range(6), CT, tmp_path_factory.mktemp("prepared"))


def sampler(cases: list[PreparedCase], slices: int = 4, **changed: object) -> PatchSampler:
    sampling = dataclasses.replace(PLAIN, **changed)  # type: ignore[arg-type]
    return PatchSampler(cases, CT, sampling, slices=slices, seed=3)


def test_a_batch_is_the_same_whenever_it_is_asked_for(cases: list[PreparedCase]) -> None:
    one, other = (sampler(cases, augment=True, all_phases=0.4, bend_mm=3.0) for _ in range(2))
    other(0)
    first, second = one(5), other(5)
    assert torch.equal(first.images_BPZYX, second.images_BPZYX)
    assert torch.equal(first.lesions_BZYX, second.lesions_BZYX)
    assert not torch.equal(first.images_BPZYX, one(6).images_BPZYX)


def test_patches_are_cut_from_the_case_unchanged(cases: list[PreparedCase]) -> None:
    batch = sampler(cases[:1])(0)
    assert batch.images_BPZYX.shape == (2, 4, 4, 32, 32)
    images = np.load(cases[0].directory / "images.npy").swapaxes(0, 1)
    labels = np.load(cases[0].directory / "labels.npy")
    for patch in range(2):
        found = [
            (z, y, x)
            for z in range(images.shape[1] - 3)
            for y in range(images.shape[2] - 31)
            for x in range(images.shape[3] - 31)
            if np.array_equal(
                images[:, z : z + 4, y : y + 32, x : x + 32], batch.images_BPZYX[patch].numpy()
            )
        ]
        assert len(found) == 1
        z, y, x = found[0]
        block = labels[z : z + 4, :, y : y + 32, x : x + 32]
        assert np.array_equal(block[:, 1], batch.lesions_BZYX[patch].numpy())
        assert np.array_equal(block[:, 0] > 0, batch.liver_BZYX[patch].numpy())


@pytest.mark.parametrize("augment", [False, True])
def test_patches_with_lesions_show_them_and_their_types(
    cases: list[PreparedCase], augment: bool
) -> None:
    draw, shown, types = sampler(cases, augment=augment), 0, set()
    for step in range(12):
        batch = draw(step)
        for labels, kinds, lesions in zip(
            batch.labels, batch.types, batch.lesions_BZYX, strict=True
        ):
            assert set(labels.tolist()) <= set(lesions.unique().tolist()) - {0}
            shown += bool(len(labels))
            types |= set(kinds.tolist())
    assert shown >= 22  # of 24; moved, one may leave its patch
    assert types == {0, 1, 2, 3, 4, 5}  # of the six cases


def test_the_share_of_patches_on_lesions_is_the_one_asked_for(
    tiny_case: Callable, tmp_path: Path
) -> None:
    for index, types in enumerate(([LesionType.HCC], [])):
        study, truth = tiny_case(index, types=types)
        save_case(tmp_path / f"cohort/case-{index}", study, truth)
    both = prepare(Cohort.open(tmp_path / "cohort"), range(2), CT, tmp_path / "prepared")
    # the second case has none, so patches that are not drawn on lesions miss them half the time
    draw = sampler(both, slices=6, batch=1, lesion_share=0.5, liver_share=0.5)
    with_lesion = np.mean([bool(len(draw(step).labels[0])) for step in range(200)])
    assert with_lesion == pytest.approx(0.5 + 0.25, abs=0.1)


def test_a_patch_larger_than_the_volume_is_padded_with_air(cases: list[PreparedCase]) -> None:
    config = dataclasses.replace(CT, size=64)
    batch = PatchSampler(cases, config, PLAIN, slices=12, seed=0)(0)
    assert batch.images_BPZYX.shape == (2, 4, 12, 64, 64)
    assert (batch.images_BPZYX[:, :, :3] == -5).all() and not batch.liver_BZYX[:, :3].any()
    assert batch.liver_BZYX.any()


def test_phases_are_dropped_at_random_but_never_all(cases: list[PreparedCase]) -> None:
    draw = sampler(cases, all_phases=0.25, one_phase=0.25)
    counts = [int(n) for step in range(60) for n in draw(step).present_BP.sum(1)]
    assert set(counts) == {1, 2, 3, 4}
    assert np.mean(np.array(counts) == 1) == pytest.approx(0.25 + 0.125, abs=0.12)


def test_some_patches_are_wrongly_normalised_and_say_so(cases: list[PreparedCase]) -> None:
    draw = sampler(cases, augment=True, wrong_normalisation=0.5)
    said = torch.cat([draw(step).normalised_B for step in range(30)])
    assert 0.3 < float(said.float().mean()) < 0.7


def test_lesions_of_a_few_voxels_and_of_unknown_type_are_told_apart(
    tiny_case: Callable, tmp_path: Path
) -> None:
    study, truth = tiny_case(0, types=[LesionType.HCC, LesionType.CYST])
    array = truth.lesions.array.copy()
    first = np.argwhere(array == 1)
    array[array == 1] = 0
    array[tuple(first[:3].T)] = 1  # three voxels are left of it
    truth = dataclasses.replace(truth, lesions=truth.lesions.with_array(array))
    save_case(tmp_path / "cohort/case-0", study, truth)
    only_hcc = dataclasses.replace(CT, types=(LesionType.HCC,))
    prepared = prepare(Cohort.open(tmp_path / "cohort"), [0], only_hcc, tmp_path / "prepared")
    batch = sampler(prepared, slices=6)(0)
    for labels, types in zip(batch.labels, batch.types, strict=True):
        assert labels.tolist() in ([2], []) and types.tolist() in ([-1], [])


def test_batches_move_to_a_device_whole(cases: list[PreparedCase]) -> None:
    moved = sampler(cases)(0).to(torch.device("meta"))
    assert all(t.is_meta for t in (moved.images_BPZYX, moved.labels[0], moved.types[1]))


def test_there_must_be_something_to_draw(cases: list[PreparedCase]) -> None:
    with pytest.raises(ValueError, match="at least one case"):
        sampler([])
    with pytest.raises(ValueError, match="at least one slice"):
        sampler(cases, slices=0)
