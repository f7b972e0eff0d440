"""One scale for all slices of a stack, and for CT that of Hounsfield units (HU)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from liverleaf.ingest.dicom.frames import Frame
from liverleaf.ingest.dicom.pixels import sample_pixels
from liverleaf.ingest.dicom.series import Stack
from liverleaf.ingest.hounsfield import not_hounsfield, offset_to_hounsfield
from liverleaf.study import InputError, Modality

MIN_SLOPE, MAX_SLOPE, MAX_INTERCEPT = 1e-9, 1e9, 1e9
SAMPLED_SLICES = 5
USUAL_INTERCEPT = -200.0
"""What is named below this stands for stored HU + 1024: then pixels are not asked."""


def on_one_scale(stack: Stack) -> Stack:
    """The stack with a rescaling for every slice.

    Slices that name none have that of the others. Where no slice of a CT names one, or it adds
    nothing, the pixels tell whether 1024 must be subtracted. What was mended is in the warnings of
    the stack, and mending twice is mending once.

    Raises:
        InputError: the rescaling is impossible or cannot be told.
    """
    named = {(frame.slope, frame.intercept) for frame in stack.frames if frame.rescaled}
    unnamed = sum(not frame.rescaled for frame in stack.frames)
    if any(
        not MIN_SLOPE <= abs(slope) <= MAX_SLOPE or abs(intercept) > MAX_INTERCEPT
        for slope, intercept in named
    ):
        raise InputError(
            f"{stack.name}: its header names an impossible rescaling of pixel values; export it"
            " again"
        )
    if unnamed and len(named) > 1:
        raise InputError(
            f"{stack.name}: {unnamed} of {len(stack.frames)} slices name no rescaling and the"
            " others differ; export it again"
        )
    if unnamed and named:
        ((slope, intercept),) = named
        stack = _with_frames(
            stack,
            lambda frame: replace(frame, slope=slope, intercept=intercept, rescaled=True),
            f"{unnamed} of {len(stack.frames)} slices name no rescaling, that of the others was"
            " used",
        )
    is_ct = stack.frames[0].header.Modality == Modality.CT
    usual = named and max(intercept for _, intercept in named) < USUAL_INTERCEPT
    return _by_pixels(stack) if is_ct and not usual else stack


def _by_pixels(stack: Stack) -> Stack:
    """A CT stack whose headers may not lead to HU, rescaled as its pixels tell."""
    named = stack.frames[0].rescaled
    pixels = sample_pixels(stack, SAMPLED_SLICES)
    if not pixels.size:  # reading them all will say why
        return stack
    offset = offset_to_hounsfield(pixels)
    if offset is None and not named:
        raise not_hounsfield(pixels, f"{stack.name}: the header names no rescaling")
    if offset:
        found = "its header's rescaling leaves" if named else "the header names no rescaling and"
        return _with_frames(
            stack,
            lambda frame: replace(frame, intercept=frame.intercept + offset, rescaled=True),
            f"{found} tissue near {-offset:.0f}, so {-offset:.0f} was subtracted to make HU",
        )
    if named:
        return stack
    return _with_frames(
        stack,
        lambda frame: replace(frame, rescaled=True),
        "the header names no rescaling; by their range its stored values are HU",
    )


def _with_frames(stack: Stack, change: Callable[[Frame], Frame], warning: str) -> Stack:
    frames = tuple(change(frame) for frame in stack.frames)
    return replace(stack, frames=frames, warnings=(*stack.warnings, f"{stack.name}: {warning}"))
