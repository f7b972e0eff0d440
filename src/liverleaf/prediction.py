"""What a model says of a study: its masks, and what it adds to them per lesion and per case."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import highdicom as hd

from liverleaf.segmentation import Segmentation
from liverleaf.study import Phase
from liverleaf.terminology import LesionType, PatientRule

TOLERANCE = 1e-3
"""By how much probabilities may miss a sum of 1 and scores their range: networks compute in single
precision or less."""


@dataclass(frozen=True)
class LesionPrediction:
    """What a model says of one lesion; None is what it does not say anything about.

    Attributes:
        label: its value in `Segmentation.lesions`, from 1.
        score: mean probability of being lesion over its voxels of a half or more, in [0, 1].
        type_probabilities: per type, summing to 1.
        type_set: the types that hold the true one with 90 % coverage (split conformal), most
            probable first.
        curve: the regressed mean intensity per phase, in the image's own unit.

    Raises:
        ValueError: a number is outside its range, or a type of the set has no probability.
    """

    label: int
    score: float | None = None
    type_probabilities: Mapping[LesionType, float] | None = None
    type_set: tuple[LesionType, ...] | None = None
    curve: Mapping[Phase, float] | None = None

    def __post_init__(self) -> None:
        if self.label < 1:
            raise ValueError(f"lesions are numbered from 1, got label {self.label}")
        if self.score is not None and not -TOLERANCE <= self.score <= 1 + TOLERANCE:
            raise ValueError(f"lesion {self.label}: a score lies in [0, 1], got {self.score}")
        if self.type_probabilities is not None:
            _check_distribution(f"lesion {self.label}", self.type_probabilities.values())
        if not set(self.type_set or ()) <= set(self.type_probabilities or ()):
            raise ValueError(f"lesion {self.label}: its type set holds types without probability")


@dataclass(frozen=True)
class CaseScore:
    """A number that a model says of the whole study, such as a fat fraction.

    Attributes:
        name: what it is, in lower case with underscores.
        value: the number.
        unit: its unit, "" for none.
    """

    name: str
    value: float
    unit: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not math.isfinite(self.value):
            raise ValueError(f"{self.name}: a score is a finite number, got {self.value}")


@dataclass(frozen=True)
class CaseClass:
    """A class that a model gives the whole study, such as a diagnosis or a treatment response.

    Attributes:
        name: what is told apart, in lower case with underscores.
        probabilities: per class, summing to 1.
    """

    name: str
    probabilities: Mapping[str, float]

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_distribution(self.name, self.probabilities.values())


@dataclass(frozen=True)
class Prediction:
    """What a model says of a study.

    Attributes:
        model: its name.
        segmentation: its masks, or those it was given; None for a model that outlines nothing.
        lesions: one entry per label of the segmentation, or none at all from a model that says
            nothing of lesions beyond their masks.
        patient: per type, the probability that the patient has at least one such lesion, by
            `patient_rule`; types are not exclusive. None where lesions are not typed.
        malignant: the same for the malignant types taken together.
        patient_rule: "lesions" for the largest score x probability over the lesions, than which the
            probability is no smaller; "liver-max" for LIDIA's LiverMax, the largest probability at
            any voxel in the liver.
        type_maps: per type, its probability at each voxel of the reference phase's grid, in [0, 1];
            None from a model that makes no such maps.
        case_scores: numbers for the whole study.
        case_classes: classes of the whole study.
        warnings: what makes this prediction doubtful, one plain sentence each.

    Raises:
        ValueError: lesions share a label or have no masks, or only one of `patient` and `malignant`
            is there.
    """

    model: str
    segmentation: Segmentation | None = None
    lesions: tuple[LesionPrediction, ...] = ()
    patient: Mapping[LesionType, float] | None = None
    malignant: float | None = None
    patient_rule: PatientRule = "lesions"
    type_maps: Mapping[LesionType, hd.Volume] | None = None
    case_scores: tuple[CaseScore, ...] = ()
    case_classes: tuple[CaseClass, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        labels = [lesion.label for lesion in self.lesions]
        if len(set(labels)) < len(labels):
            raise ValueError(f"two lesions of a prediction share a label: {labels}")
        if labels and self.segmentation is None:
            raise ValueError("a prediction of lesions needs their masks, got segmentation=None")
        if (self.patient is None) != (self.malignant is None):
            raise ValueError("patient and malignant are given together or not at all")


def _check_distribution(what: str, probabilities: Iterable[float]) -> None:
    values = list(probabilities)
    if min(values, default=0.0) < 0 or abs(sum(values) - 1) > TOLERANCE:
        raise ValueError(f"{what}: probabilities are at least 0 and sum to 1, got {values}")


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"{name!r} is no name: use lower case and underscores, as 'fat_fraction'")
