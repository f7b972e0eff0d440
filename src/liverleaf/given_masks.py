"""Masks that somebody gives for one study: read, laid onto its reference phase, completed.

Files and registration go in; a segmentation comes out, with the liver of our own network or of
TotalSegmentator where no file has one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from liverleaf.ingest.masks.onto_reference import on_reference_grid, with_lesions
from liverleaf.ingest.masks.reader import DrawnStudy, Instances, read_drawn
from liverleaf.ingest.masks.totalsegmentator import Part, totalsegmentator_masks
from liverleaf.measure.plausibility import doubts_of_liver
from liverleaf.registration.align import Registration
from liverleaf.registration.quality import assess_alignment
from liverleaf.segmentation import MANUAL_SOURCE, Method, Segmentation
from liverleaf.study import InputError, Phase, Study
from liverleaf.terminology import Organ

if TYPE_CHECKING:
    from liverleaf.models.predictor import Predictor

TOTALSEGMENTATOR = "TotalSegmentator"
"""`Segmentation.source` of its masks."""
LiverFrom = Literal["network", "totalsegmentator", "nobody"]


@dataclass(frozen=True)
class GivenMasks:
    """Masks of one study that a person or another program drew, and how to read them.

    Attributes:
        lesions: NIfTI, DICOM SEG or RTSTRUCT, or a folder as TotalSegmentator and nnU-Net write it,
            on any grid and phase; None where TotalSegmentator is to find them.
        liver: the same of the liver; None where it is in `lesions`, or to come from `liver_from`.
        drawn_by: "manual" for a person, else the name of the program.
        drawn_on: the phase that they were drawn on, where the files do not tell.
        instances: as in `liverleaf.ingest.masks.reader.read_drawn`.
        liver_from: who outlines the liver where no file does: liverleaf's own network, the command
            TotalSegmentator, or nobody.
        lesions_from: "totalsegmentator" where that command is to find the lesions.
    """

    lesions: Path | None = None
    liver: Path | None = None
    drawn_by: str = MANUAL_SOURCE
    drawn_on: Phase | None = None
    instances: Instances | None = None
    liver_from: LiverFrom = "network"
    lesions_from: Literal["totalsegmentator"] | None = None

    def __post_init__(self) -> None:
        if (self.lesions is None) == (self.lesions_from is None):
            raise InputError(
                "give the masks of lesions, or the program that finds them: one of them"
            )


@dataclass(frozen=True)
class LaidMasks:
    """Masks on the reference grid.

    Attributes:
        study: all phases on that grid, with what was doubtful about the masks among its warnings.
        segmentation: the masks.
    """

    study: Study
    segmentation: Segmentation


def read_given(study: Study, masks: GivenMasks) -> DrawnStudy:
    """The masks as they were drawn, by a person or by TotalSegmentator, which is called.

    Args:
        study: as read, before registration.
        masks: what was given.

    Raises:
        InputError: as `read_drawn` and `totalsegmentator_masks`.
    """
    parts: set[Part] = set()
    if masks.lesions_from == "totalsegmentator":
        parts.add("lesions")
    if masks.liver_from == "totalsegmentator" and masks.liver is None:
        parts.add("liver")
    with totalsegmentator_masks(study, parts) as made:
        drawn = read_drawn(
            study,
            lesions=masks.lesions or made["lesions"],
            liver=masks.liver or made.get("liver"),
            drawn_on=study.reference if "lesions" in made else masks.drawn_on,
            liver_drawn_on=study.reference if "liver" in made else masks.drawn_on,
            instances=masks.instances,
            source=TOTALSEGMENTATOR if "lesions" in made else masks.drawn_by,
        )
    foreign = "liver" in made and drawn.source != TOTALSEGMENTATOR
    return replace(drawn, liver_source=TOTALSEGMENTATOR) if foreign else drawn


def lay(
    drawn: DrawnStudy,
    masks: GivenMasks,
    registration: Registration,
    predictor: Predictor | None = None,
) -> LaidMasks:
    """Lay masks onto the reference phase, with a liver of our own network where they lack one.

    Args:
        drawn: as `read_given` returned them.
        masks: what was given.
        registration: of the study.
        predictor: the model that outlines a missing liver; None for the one that ships for such
            studies.

    Raises:
        InputError: all lesions lie outside the images or the body.
    """
    segmentation, told = on_reference_grid(drawn, registration)
    if segmentation.liver is None and masks.liver_from == "network":
        segmentation, more = _with_own_liver(segmentation, registration, predictor)
        told += more
    study = registration.study
    warnings = (*study.warnings, *drawn.warnings, *told)
    return LaidMasks(replace(study, warnings=warnings), segmentation)


def checked(drawn: DrawnStudy, laid: LaidMasks, registration: Registration) -> LaidMasks:
    """The masks once the alignment has been checked inside the liver.

    Where the motion of a phase that was drawn on is taken back, its masks are laid anew.
    """
    registered = replace(registration, study=laid.study)
    study = assess_alignment(registered, within=laid.segmentation.liver)
    if all(_kept(registration, study, phase) for phase in drawn.phases):
        return LaidMasks(study, laid.segmentation)
    anew, _ = on_reference_grid(drawn, registration, study)
    return LaidMasks(study, replace(anew, organs=anew.organs or laid.segmentation.organs))


def _kept(registration: Registration, study: Study, phase: Phase) -> bool:
    """Whether the check of the alignment kept the motion of a phase."""
    before = registration.study.phases[phase].alignment
    after = study.phases[phase].alignment
    return before is None or after is None or before.method == after.method


def _with_own_liver(
    segmentation: Segmentation, registration: Registration, predictor: Predictor | None
) -> tuple[Segmentation, list[str]]:
    """Masks with the liver as a network outlines it; without, and why, where no model does."""
    from liverleaf.models.predictor import load_predictor, predict_from_fit_phases
    from liverleaf.models.shipped import default_model, find_model

    study = registration.study
    try:
        if predictor is None:
            predictor = load_predictor(find_model(default_model(study)))
        prediction = predict_from_fit_phases(predictor, registration).prediction
    except InputError as error:
        return segmentation, [f"there is no liver mask, and no model to outline it: {error}"]
    name, found = predictor.card.name, prediction.segmentation
    if found is None or found.liver is None or not found.liver.array.any():
        return segmentation, [f"there is no liver mask, and the model {name} found no liver"]
    if doubts := doubts_of_liver(study, found.liver):
        return segmentation, [
            f"there is no liver mask, and that of the model {name} was not used:"
            f" {doubts[0].sentence[0].lower()}{doubts[0].sentence[1:]}"
        ]
    liver = study.grid.with_array(with_lesions(found.liver.array, segmentation.lesions.array))
    outlined = replace(
        segmentation,
        organs={Organ.LIVER: liver},
        liver_source=name,
        liver_method=Method.AUTOMATIC,
    )
    return outlined, [f"the liver was outlined by the model {name}, not by who drew the lesions"]
