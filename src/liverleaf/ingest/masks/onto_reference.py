"""Masks that were drawn on any phase, laid through the registration onto the reference phase."""

from __future__ import annotations

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from liverleaf.ingest.masks.placement import embedded
from liverleaf.ingest.masks.reader import DrawnStudy, PlacedLabels
from liverleaf.measure.lesions import boxes, widened
from liverleaf.measure.plausibility import body
from liverleaf.registration.align import Registration
from liverleaf.registration.travel import carried, motion_of
from liverleaf.segmentation import Method, Segmentation
from liverleaf.study import InputError, Study
from liverleaf.terminology import Organ


def on_reference_grid(
    drawn: DrawnStudy, registration: Registration, study: Study | None = None
) -> tuple[Segmentation, list[str]]:
    """Lay masks through the registration onto the grid of the reference phase.

    Args:
        drawn: as read.
        registration: of the same study.
        study: the registered study once it has been assessed; None before.

    Returns:
        The masks, and warnings about what was lost on the way. Lesions that touch the liver count
            as part of it, for people often leave them out.

    Raises:
        InputError: all lesions lie outside the images or the body.
    """
    study = study or registration.study
    labels = _carry(drawn.lesions, registration, study)
    warnings = _lost(drawn.lesions, labels, study)
    organs = {}
    if drawn.liver is not None:
        liver = _carry(drawn.liver, registration, study).array != 0
        organs[Organ.LIVER] = study.grid.with_array(with_lesions(liver, labels.array))
    for placed in (drawn.lesions, *([] if drawn.liver is None else [drawn.liver])):
        alignment = study.phases[placed.phase].alignment
        if alignment is not None and not alignment.trusted:
            warnings.append(
                f"{placed.file} was drawn on the {placed.phase.title} phase, which is not aligned"
                " with the reference phase: it may lie beside what it outlines there"
            )
    return (
        Segmentation(
            labels,
            organs,
            drawn.source,
            method=Method.SEMIAUTOMATIC,
            drawn_on=drawn.lesions.phase,
            liver_source=drawn.liver_source,
            liver_method=Method.SEMIAUTOMATIC,
        ),
        warnings,
    )


def _carry(placed: PlacedLabels, registration: Registration, study: Study) -> hd.Volume:
    """Labels on the reference phase's grid; nothing is resampled where they lie on it already."""
    unmoved = registration.unmoved or registration.study
    motion = motion_of(registration, study, placed.phase)
    still = placed.phase is study.reference or study.phases[placed.phase].alignment is None
    own = embedded(placed.labels, unmoved.phases[placed.phase].volume)
    if still and own is not None:
        return study.grid.with_array(own.array)
    return carried(own or placed.labels, study.grid, motion)


def _lost(placed: PlacedLabels, labels: hd.Volume, study: Study) -> list[str]:
    """What of the lesions lies outside the images or the body.

    Raises:
        InputError: all of it does.
    """
    drawn = {int(label) for label in np.unique(placed.labels.array) if label}
    kept = {int(label) for label in np.unique(labels.array) if label}
    if drawn and not kept:
        raise InputError(
            f"{placed.file} lies outside the images of the {study.reference.title} phase: was it"
            " drawn in another study?"
        )
    if not kept:
        return []
    inside = body(study.grid.array, study.modality)
    outside = {label for label in kept if not inside[labels.array == label].any()}
    if outside == kept:
        raise InputError(
            f"{placed.file} lies outside the body: was it drawn in another study, or on another"
            " phase than it was taken for?"
        )
    warnings = []
    if gone := sorted(drawn - kept):
        warnings.append(
            f"{placed.file}: {_numbered(gone)} outside the images of the {study.reference.title}"
            " phase and left out"
        )
    if outside:
        warnings.append(f"{placed.file}: {_numbered(sorted(outside))} outside the body")
    return warnings


def _numbered(labels: list[int]) -> str:
    numbers = " and ".join(map(str, labels))
    return f"label {numbers} lies" if len(labels) == 1 else f"labels {numbers} lie"


def with_lesions(drawn_ZYX: NDArray[np.bool_], labels_ZYX: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """The liver with the lesions that lie in it or touch it."""
    liver = drawn_ZYX.copy()
    for label, box in enumerate(boxes(labels_ZYX), start=1):
        if box is None:
            continue
        around = widened(box, 1)
        lesion = labels_ZYX[around] == label
        if drawn_ZYX[around][binary_dilation(lesion)].any():
            liver[around] |= lesion
    return liver
