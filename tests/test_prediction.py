"""A prediction is refused where it contradicts itself."""

import highdicom as hd
import numpy as np
import pytest

from liverleaf.prediction import CaseClass, CaseScore, LesionPrediction, Prediction
from liverleaf.segmentation import Segmentation
from liverleaf.terminology import LesionType

MASKS = Segmentation(hd.Volume(np.array([[[1, 2]]], np.uint16), np.eye(4), "PATIENT"), source="net")


def test_a_model_may_say_nothing_but_masks() -> None:
    said = Prediction("net", MASKS)
    assert (said.lesions, said.patient, said.malignant, said.case_scores) == ((), None, None, ())


def test_a_model_may_say_something_of_the_whole_study_alone() -> None:
    fat = CaseScore("fat_fraction", 0.12)
    response = CaseClass("response", {"responder": 0.7, "other": 0.3})
    said = Prediction("net", case_scores=(fat,), case_classes=(response,))
    assert said.segmentation is None


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: LesionPrediction(0), "numbered from 1"),
        (lambda: LesionPrediction(3, score=1.2), "lesion 3: a score lies in"),
        (lambda: LesionPrediction(1, score=float("nan")), "a score lies in"),
        (lambda: LesionPrediction(1, type_probabilities={LesionType.HCC: 0.6}), "sum to 1"),
        (
            lambda: LesionPrediction(
                1, type_probabilities={LesionType.HCC: 1.5, LesionType.FNH: -0.5}
            ),
            "at least 0",
        ),
        (lambda: LesionPrediction(1, type_set=(LesionType.HCC,)), "types without probability"),
        (lambda: CaseScore("Fat Fraction", 0.1), "is no name"),
        (lambda: CaseScore("fat_fraction", float("inf")), "a finite number"),
        (lambda: CaseClass("response", {"responder": 0.7}), "response: probabilities"),
        (
            lambda: Prediction("net", MASKS, (LesionPrediction(2), LesionPrediction(2))),
            r"share a label: \[2, 2\]",
        ),
        (lambda: Prediction("net", lesions=(LesionPrediction(1),)), "needs their masks"),
        (lambda: Prediction("net", patient={LesionType.HCC: 0.5}), "given together"),
    ],
)
def test_contradictions_are_refused(made, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made()


def test_probabilities_in_half_precision_are_taken() -> None:
    LesionPrediction(1, 1.0003, {LesionType.HCC: 0.6004, LesionType.FNH: 0.4}, (LesionType.HCC,))
