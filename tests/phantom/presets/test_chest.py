"""Chest CT: orientation, lesions as the diagnosis says, tissues with believable HU."""

from functools import cache

import numpy as np
import pytest

from liverleaf.phantom.physics.protocol import Protocol
from liverleaf.phantom.presets.chest import DIAGNOSES, chest_case
from liverleaf.study import Annotation, Modality, Phase, Study, same_grid
from liverleaf.terminology import LesionType, Organ

SHAPE, SPACING_MM = (32, 64, 64), (9.0, 5.5, 5.5)
SEEDS = (1, 2, 11, 14)


@cache
def case(seed: int) -> tuple[Study, Annotation, Protocol]:
    return chest_case(
        np.random.default_rng(seed), shape=SHAPE, spacing_mm=SPACING_MM, case_id=f"chest-{seed}"
    )


def cases(diagnosis: str) -> list[tuple[Study, Annotation, Protocol]]:
    found = [case(seed) for seed in SEEDS if case(seed)[1].diagnosis == diagnosis]
    assert found, f"none of the seeds gives {diagnosis}"
    return found


def organs(truth: Annotation) -> np.ndarray:
    assert truth.organs is not None
    return np.asarray(truth.organs.array)


def test_one_state_gives_one_case() -> None:
    (first, truth, protocol), (again, same, same_protocol) = case(0), case.__wrapped__(0)
    assert (first.grid.array == again.grid.array).all() and (
        first.grid.affine == again.grid.affine
    ).all()
    assert (
        first.grid.frame_of_reference_uid
        == again.grid.frame_of_reference_uid
        != case(1)[0].grid.frame_of_reference_uid
    )
    assert (truth.lesions.array == same.lesions.array).all() and (
        organs(truth) == organs(same)
    ).all()
    assert (truth.lesion_list, truth.markers, protocol) == (
        same.lesion_list,
        same.markers,
        same_protocol,
    )


def test_every_diagnosis_occurs_and_agrees_with_the_lesions() -> None:
    assert {case(seed)[1].diagnosis for seed in SEEDS} == set(DIAGNOSES)
    for seed in SEEDS:
        _, truth, _ = case(seed)
        assert (truth.diagnosis == "normal") == (truth.lesions.array.max() == 0)
        assert (truth.diagnosis == "normal") == (truth.markers["involved_lung_percent"] == 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_lesions_are_listed_and_lie_in_the_lungs(seed: int) -> None:
    _, truth, _ = case(seed)
    labels = truth.lesions.array
    assert labels.dtype == np.uint16
    assert (
        [lesion.label for lesion in truth.lesion_list]
        == list(range(1, labels.max() + 1))
        == list(np.unique(labels[labels > 0]))
    )
    assert (organs(truth)[labels > 0] == Organ.LUNG).all()
    for lesion in truth.lesion_list:
        assert (
            lesion.type is LesionType.OTHER
            and set(lesion.curve) == {Phase.PRE}
            and lesion.kinetics == {}
        )


def test_tissues_have_believable_attenuation() -> None:
    # wide at the low end: voxels this large mix tissues at every border
    for study, truth, _ in cases("normal"):
        hu, where = study.grid.array, organs(truth)
        assert -930 < np.median(hu[where == Organ.LUNG]) < -740
        assert -1010 < np.median(hu[0, :2]) < -990  # air before the chest
        for organ, low, high in (
            (Organ.MUSCLE, 20, 75),
            (Organ.FAT, -130, -75),
            (Organ.HEART, 30, 60),
            (Organ.LIVER, 15, 75),
            (Organ.BONE, 100, 900),
        ):
            assert low < np.median(hu[where == organ]) < high, organ


def test_ground_glass_lies_between_lung_and_soft_tissue() -> None:
    for study, truth, _ in cases("covid-19"):
        opacity = study.grid.array[truth.lesions.array > 0]
        assert -750 < np.median(opacity) < -300
        assert all(-800 < lesion.curve[Phase.PRE] < 0 for lesion in truth.lesion_list)


def test_tumours_hold_soft_tissue() -> None:
    for study, truth, _ in cases("lung cancer"):
        assert 1 <= len(truth.lesion_list) <= 3
        # the smallest tumours share their voxels with lung
        assert study.grid.array[truth.lesions.array > 0].max() > -250


def test_lungs_have_a_human_size() -> None:
    for seed in SEEDS:
        litres = (organs(case(seed)[1]) == Organ.LUNG).sum() * np.prod(SPACING_MM) / 1e6
        assert 2.5 < litres < 7.5


@pytest.mark.parametrize("seed", range(3))
def test_organs_lie_the_right_way_round(seed: int) -> None:
    study, truth, _ = case(seed)

    def centre_mm(organ: Organ) -> np.ndarray:
        return np.asarray(
            (study.grid.affine @ [*np.argwhere(organs(truth) == organ).mean(0), 1])[:3]
        )

    heart, liver, spleen, bone, lung = map(
        centre_mm, (Organ.HEART, Organ.LIVER, Organ.SPLEEN, Organ.BONE, Organ.LUNG)
    )
    assert liver[0] < heart[0] < spleen[0]  # x grows to the patient's left
    assert heart[1] < bone[1]  # y grows to the back
    assert liver[2] < heart[2] < lung[2] + 40  # z grows to the head
    np.testing.assert_allclose(study.grid.direction[:, 0], (0, 0, 1), atol=1e-9)
    np.testing.assert_allclose(study.grid.spacing, SPACING_MM)


@pytest.mark.parametrize("shape", [(4, 32, 32), (1, 1, 1), (2, 3, 40), (20, 8, 8)])
def test_any_positive_shape_works(shape: tuple[int, int, int]) -> None:
    for seed in range(4):
        study, truth, _ = chest_case(
            np.random.default_rng(seed), shape=shape, spacing_mm=(4.0, 1.5, 1.5), case_id="tiny"
        )
        assert study.grid.array.shape == truth.lesions.array.shape == shape
        assert np.isfinite(study.grid.array).all()
        assert (truth.diagnosis == "normal") == (not truth.lesion_list)


def test_shape_and_spacing_must_be_positive() -> None:
    for shape, spacing_mm in (((0, 8, 8), (4.0, 1.5, 1.5)), ((8, 8, 8), (4.0, 0.0, 1.5))):
        with pytest.raises(ValueError, match="shape"):
            chest_case(np.random.default_rng(0), shape=shape, spacing_mm=spacing_mm, case_id="x")


def test_study_and_protocol_say_what_was_done() -> None:
    study, truth, protocol = case(0)
    image = study.phases[Phase.PRE]
    assert (
        study.modality is protocol.modality is Modality.CT
        and study.case_id == "chest-0"
        and study.agent is None
    )
    assert (
        list(study.phases) == [Phase.PRE]
        and image.time_s is None
        and dict(protocol.times_s) == {Phase.PRE: 0.0}
    )
    assert protocol.body_part == "CHEST" and image.description == protocol.descriptions[Phase.PRE]
    assert (
        truth.organs is not None
        and same_grid(study.grid, truth.lesions)
        and same_grid(study.grid, truth.organs)
    )
    assert (
        image.volume.array.dtype == np.float32
        and (image.volume.array == np.rint(image.volume.array)).all()
    )
