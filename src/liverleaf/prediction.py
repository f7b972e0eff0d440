"""What a model says of a study: masks and, per lesion and for the whole case, what it adds to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from liverleaf.segmentation import Segmentation
from liverleaf.study import Phase
from liverleaf.terminology import LesionType


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
    """

    label: int
    score: float | None = None
    type_probabilities: Mapping[LesionType, float] | None = None
    type_set: tuple[LesionType, ...] | None = None
    curve: Mapping[Phase, float] | None = None


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


@dataclass(frozen=True)
class CaseClass:
    """A class that a model gives the whole study, such as a diagnosis or a treatment response.

    Attributes:
        name: what is told apart, in lower case with underscores.
        probabilities: per class, summing to 1.
    """

    name: str
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class Prediction:
    """What a model says of a study.

    Attributes:
        model: its name.
        segmentation: its masks, or those it was given; None for a model that outlines nothing.
        lesions: one entry per label of the segmentation, or none at all from a model that says
            nothing of lesions beyond their masks.
        patient: per type, the largest score x probability over the lesions (after LIDIA's
            LiverMax): the probability that the patient has at least one such lesion is no smaller.
            Types are not exclusive. None where lesions are not typed.
        malignant: the same for the malignant types taken together.
        case_scores: numbers for the whole study.
        case_classes: classes of the whole study.
        warnings: what makes this prediction doubtful, one plain sentence each.
    """

    model: str
    segmentation: Segmentation | None = None
    lesions: tuple[LesionPrediction, ...] = ()
    patient: Mapping[LesionType, float] | None = None
    malignant: float | None = None
    case_scores: tuple[CaseScore, ...] = ()
    case_classes: tuple[CaseClass, ...] = ()
    warnings: tuple[str, ...] = ()
