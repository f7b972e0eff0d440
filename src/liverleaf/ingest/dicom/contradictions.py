"""What the headers of a stack say twice, and not alike: the size, place and side of its slices.

A number that was damaged in all slices alike still makes a volume. Only a second number that
depends on it can tell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from liverleaf.ingest.dicom.frames import number, text
from liverleaf.ingest.dicom.series import Stack

SQUARE = 1.0005
"""Ratio of the sides of a pixel in images of as many rows as columns, rounding allowed."""
MAX_PIXEL_RATIO = 5.0
"""That ratio in other images."""
BORE_MM = 350.0
"""Farther from the axis of a scanner no middle of an image lies."""
SAME_STEP = 0.02
"""Share by which two numbers for the distance of slices may differ."""
THIN, THICK = 0.2, 5.0
"""Distances of slices in thicknesses, below and above which one of the two is not true: overlapping
slices and gaps are usual, others are not."""
AXIAL = 0.9


def contradictions(stack: Stack) -> list[str]:
    """Warnings about numbers of a stack's headers that cannot all be true."""
    told = [*_pixel_size(stack), *_place(stack), *_side(stack)]
    if stack.step_mm is not None:
        told += _steps(stack, stack.step_mm)
    return [f"{stack.name}: {warning}" for warning in told]


def _pixel_size(stack: Stack) -> list[str]:
    rows_mm, columns_mm = stack.frames[0].spacing_mm
    rows, columns = stack.frames[0].shape
    ratio = max(rows_mm, columns_mm) / min(rows_mm, columns_mm)
    if ratio <= (SQUARE if rows == columns else MAX_PIXEL_RATIO):
        return []
    return [
        f"its pixels are {rows_mm:.5g} x {columns_mm:.5g} mm and not square; diameters and volumes"
        " are wrong unless they are so"
    ]


def _place(stack: Stack) -> list[str]:
    """Whether the images lie within a scanner; DICOM counts from its axis."""
    frame = stack.frames[0]
    half_mm = (np.array(frame.shape) - 1) / 2 * frame.spacing_mm
    down, across = frame.orientation[3:], frame.orientation[:3]
    middle = frame.position_mm + half_mm[0] * down + half_mm[1] * across
    beside = float(np.abs(middle[:2]).max())
    if beside <= BORE_MM:
        return []
    return [
        f"the middle of its images lies {beside:.0f} mm beside the axis of the scanner; their"
        " positions may be wrong"
    ]


def _side(stack: Stack) -> list[str]:
    """Axial images of a patient lying head first are seen from the feet."""
    frame = stack.frames[0]
    normal = np.cross(frame.orientation[:3], frame.orientation[3:])
    head_first = text(frame.header, "PatientPosition").upper().startswith("HF")
    if not head_first or normal[2] > -AXIAL:
        return []
    return [
        "by their orientation its images are mirrored, or seen from the head; check the sides of"
        " the patient"
    ]


def _steps(stack: Stack, step_mm: float) -> list[str]:
    """Distances of slices by their positions and by other numbers of the headers."""
    spacing, thickness = (
        _shared(stack, keyword) for keyword in ("SpacingBetweenSlices", "SliceThickness")
    )
    wrong = (
        "positions were used; volumes and diameters across slices are wrong if the other is true"
    )
    # some scanners name the gap alone
    known = [spacing, spacing + (thickness or 0)] if spacing else []
    if known and not any(_same(step_mm, value) for value in known):
        return [
            f"its slices lie {step_mm:.4g} mm apart by their positions and {spacing:.4g} mm by the"
            f" header's spacing between slices; {wrong}"
        ]
    located = _located_mm(stack)
    if located is not None and not any(_same(value, located) for value in _distances(stack)):
        return [
            f"its slices lie {step_mm:.4g} mm apart by their positions and {located:.4g} mm by"
            f" their slice locations; {wrong}"
        ]
    if not known and thickness and not THIN <= step_mm / thickness <= THICK:
        return [
            f"its slices are {thickness:.4g} mm thick and lie {step_mm:.4g} mm apart by their"
            f" positions; {wrong}"
        ]
    return []


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= SAME_STEP * max(one, other) + 0.01


def _shared(stack: Stack, keyword: str) -> float | None:
    """A positive number that all slices name, else None."""
    values = {number(frame.header, keyword) for frame in stack.frames}
    value = values.pop() if len(values) == 1 else None
    return abs(value) if value else None


def _located_mm(stack: Stack) -> float | None:
    """The usual distance of slice locations; None where they are no positions."""
    values = [number(frame.header, "SliceLocation") for frame in stack.frames]
    named = np.array([np.nan if value is None else value for value in values])
    if np.isnan(named).any() or len(np.unique(named)) < len(named):
        return None
    steps = np.diff(np.sort(named))
    only_counted = np.allclose(steps, 1)
    return None if only_counted else float(np.median(steps))


def _distances(stack: Stack) -> NDArray[np.float64]:
    """The usual distance along the normal, straight, and along each axis of the patient.

    Vendors name slice locations along any of these.
    """
    positions = np.array([frame.position_mm for frame in stack.frames])
    steps = np.abs(np.diff(positions, axis=0))
    along = np.abs(np.diff(stack.along_mm))
    return np.array(
        [
            np.median(along),
            np.median(np.linalg.norm(steps, axis=1)),
            *np.median(steps, axis=0),
        ]
    )
