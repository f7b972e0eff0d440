"""Livers with discs of known contrast into the best plain threshold."""

from __future__ import annotations

import json
from collections.abc import Mapping

import highdicom as hd
import numpy as np
import pytest

from liverleaf.benchmarks.phantom.threshold_rule import (
    SMOOTHING_MM,
    deviation,
    figure,
    section,
    threshold_rule,
)
from liverleaf.study import Annotation, LesionAnnotation, Modality, Phase, PhaseImage, Study
from liverleaf.terminology import LesionType, Organ

SHAPE, SPACING_MM = (6, 64, 64), (5.0, 2.0, 2.0)
AFFINE = np.diag([*SPACING_MM, 1.0])[[2, 1, 0, 3]]


def volume(array: np.ndarray) -> hd.Volume:
    return hd.Volume(array, AFFINE, "PATIENT")


def case(
    number: int,
    contrast: Mapping[Phase, float],
    kind: LesionType = LesionType.HCC,
    *,
    lesion: bool = True,
) -> tuple[Study, Annotation]:
    """A square liver of 100 HU with noise of 5 HU and one lesion of 60 mm across every slice."""
    rng = np.random.default_rng(number)
    organs = np.zeros(SHAPE, np.uint8)
    organs[:, 4:60, 4:60] = Organ.LIVER
    y, x = np.ogrid[:64, :64]
    disc = np.broadcast_to((np.hypot(y - 32, x - 30) < 15) & lesion, SHAPE)
    images = {
        phase: PhaseImage(
            volume(
                (np.where(organs > 0, 100, -100) + rise * disc + rng.normal(0, 5, SHAPE)).astype(
                    np.float32
                )
            )
        )
        for phase, rise in contrast.items()
    }
    truths = (LesionAnnotation(1, kind, {}),) if lesion else ()
    return Study(Modality.CT, images, case_id=f"case-{number}"), Annotation(
        volume(disc.astype(np.uint16)), volume(organs), truths
    )


def test_a_bright_disc_is_found_in_the_phase_that_shows_it() -> None:
    found = threshold_rule([case(i, {Phase.PRE: 0, Phase.ARTERIAL: 80}) for i in range(8)], seed=0)
    assert found["rule"]["image"] in ("arterial", "arterial - pre")
    assert found["dice"]["mean"] > 0.9
    assert found["solved"]["mean"] == 1
    assert found["types"][LesionType.HCC.title]["found"] == 1


def test_the_difference_of_two_phases_finds_what_neither_shows() -> None:
    """A gradient of 300 HU across the liver hides the lesion in each phase."""
    ramp = np.linspace(0, 300, SHAPE[2], dtype=np.float32)
    cases = []
    for i in range(4):
        study, truth = case(i, {Phase.PRE: 0, Phase.PORTAL: -30})
        phases = {
            phase: PhaseImage(image.volume.with_array(image.volume.array + ramp))
            for phase, image in study.phases.items()
        }
        cases.append((Study(study.modality, phases, case_id=study.case_id), truth))
    found = threshold_rule(cases, seed=0)
    assert found["rule"]["image"] == "portal - pre" and found["dice"]["mean"] > 0.9


def test_lesions_like_liver_are_not_found() -> None:
    found = threshold_rule([case(i, {Phase.PORTAL: 0}) for i in range(8)], seed=0)
    assert found["dice"]["mean"] < 0.35
    assert found["solved"]["mean"] == 0


def test_types_are_told_apart() -> None:
    bright = [case(i, {Phase.PORTAL: 80}, LesionType.HAEMANGIOMA) for i in range(10)]
    same = [case(i, {Phase.PORTAL: 0}, LesionType.ICC) for i in range(10, 20)]
    types = threshold_rule(bright + same, seed=0)["types"]
    assert (
        types[LesionType.HAEMANGIOMA.title]["dice"]["mean"]
        > 0.8
        > 0.4
        > types[LesionType.ICC.title]["dice"]["mean"]
    )


def test_deviation_by_hand_without_blur() -> None:
    """Voxels far apart do not blur: values 0 to 4 have median 2 and median absolute deviation 1."""
    image = np.array([[[0, 1, 2, 3, 4, 1e6]]], np.float32)
    liver = np.array([[[True] * 5 + [False]]])
    found = deviation(image, liver, (100.0, 100.0, 100.0))
    assert found == pytest.approx(np.array([-2, -1, 0, 1, 2]) / 1.4826, abs=1e-5)


def test_what_lies_outside_the_liver_does_not_blur_into_it() -> None:
    liver = np.zeros((1, 9, 9), bool)
    liver[:, 2:7, 2:7] = True
    assert (
        deviation(
            np.where(liver, 7, -1000).astype(np.float32), liver, (5.0, SMOOTHING_MM, SMOOTHING_MM)
        )
        == 0
    ).all()
    assert deviation(np.zeros((1, 9, 9), np.float32), ~liver & liver, (5, 1, 1)).size == 0


def test_a_missing_phase_marks_nothing() -> None:
    cases = [case(i, {Phase.ARTERIAL: 80}) for i in range(10)] + [
        case(i, {Phase.PRE: 0}) for i in range(10, 12)
    ]
    found = threshold_rule(cases, seed=0)
    assert found["rule"]["image"] == "arterial"
    assert set(np.round(found["case_dice"], 1)) <= {0.0, 0.9, 1.0}


def test_the_record_is_json_and_becomes_a_section_and_a_figure() -> None:
    cases = [case(i, {Phase.PORTAL: 80}) for i in range(4)] + [
        case(9, {Phase.PORTAL: 0}, lesion=False)
    ]
    found = threshold_rule(cases, seed=0)
    assert found == json.loads(json.dumps(found)) == threshold_rule(cases, seed=0)
    assert found["cases_without_lesions"] == 1
    assert "| hepatocellular carcinoma | 2 |" in section(found, "hard")
    assert len(figure({"mr": found, "hard": found}).axes) == 4


def test_too_few_cases_and_cases_without_organs_are_named() -> None:
    with pytest.raises(ValueError, match="four cases"):
        threshold_rule([case(i, {Phase.PORTAL: 80}) for i in range(3)], seed=0)
    study, truth = case(0, {Phase.PORTAL: 80})
    with pytest.raises(ValueError, match="case-0 needs organs"):
        threshold_rule([(study, Annotation(truth.lesions, None, truth.lesion_list))], seed=0)
