"""The contrast phase of each stack of slices: by headers, and by pixels where these leave doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from liverleaf.ingest.dicom.pixels import sample_pixels
from liverleaf.ingest.dicom.series import Stack
from liverleaf.ingest.phases.ct_enhancement import SAMPLED_SLICES, shows_contrast
from liverleaf.ingest.phases.identify import PhaseAssignment, identify
from liverleaf.ingest.phases.images import appearance, combine_with_pixels
from liverleaf.ingest.phases.reasons import PhaseGuess, Reason, ReasonCode
from liverleaf.ingest.phases.sequences import TECHNIQUE, alike
from liverleaf.ingest.phases.tissue import (
    MAX_SERIES,
    Tissue,
    coarse_images,
    first_of_acquisition,
    soft_tissue,
)
from liverleaf.study import Modality, Phase

SURE = 0.8
"""From this confidence on, no pixels are read to tell a phase."""

MAX_CONFIDENCE_FROM_PIXELS = 0.95
MAX_CONFIDENCE_OF_ONE_IMAGE = {Modality.CT: 0.75, Modality.MR: 0.45}
"""The same for a series without others to compare it with."""

MAX_CONFIDENCE_OF_A_REPEATED_PHASE = 0.75
"""Nor that of two acquisitions of one CT study told for one phase: one of them may be another phase
at an unusual moment. Two arterial phases are usual."""

LATE_ARTERIAL_HU = 6.0
"""By how much the liver is brighter in the later of two images of the arterial phase."""


def phases_of_stacks(
    stacks: Sequence[Stack], headers: Sequence[Dataset], modality: Modality
) -> list[PhaseGuess]:
    """Tell the contrast phase of every stack of one study.

    Args:
        stacks: of the study.
        headers: one of each.
        modality: CT or MR.

    Returns:
        One guess per stack, in order.
    """
    found = _by_headers(stacks, headers, None)
    if modality is Modality.CT and any(_doubtful(guess) for guess in found.guesses):
        enhanced = [
            _enhanced(stack) if _doubtful(guess) else None
            for stack, guess in zip(stacks, found.guesses, strict=True)
        ]
        found = _by_headers(stacks, headers, enhanced)
    guesses = _by_pixels(stacks, found, modality)
    return [
        _fragment(stack, guess) if is_fragment else guess
        for stack, guess, is_fragment in zip(stacks, guesses, _fragments(stacks), strict=True)
    ]


def _enhanced(stack: Stack) -> bool | None:
    slices = sample_pixels(stack, SAMPLED_SLICES)
    return shows_contrast(slices, stack.frames[0].spacing_mm[0])


def _fragments(stacks: Sequence[Stack]) -> list[bool]:
    """Which stacks have fewer than five slices, and than a tenth of those of the longest one."""
    longest = max(len(stack.frames) for stack in stacks)
    return [len(stack.frames) < min(5, 0.1 * longest) for stack in stacks]


def _fragment(stack: Stack, guess: PhaseGuess) -> PhaseGuess:
    reason = Reason.of(ReasonCode.TOO_FEW_SLICES, count=len(stack.frames))
    return replace(guess, phase=None, reasons=(reason,))


def _by_headers(
    stacks: Sequence[Stack], headers: Sequence[Dataset], enhanced: Sequence[bool | None] | None
) -> PhaseAssignment:
    """The phases by headers, without what the order of files alone suggests.

    Where the result changes with the order in which headers are given, the mean probabilities over
    all turns of that order count.
    """
    found = identify(headers, enhanced=enhanced)
    if any(stack.time_point is not None for stack in stacks):
        return found
    total_NP = found.probabilities_NP.copy()
    for turn in range(1, len(headers)):
        order = np.roll(np.arange(len(headers)), turn).tolist()
        turned = identify(
            [headers[index] for index in order],
            enhanced=None if enhanced is None else [enhanced[index] for index in order],
        )
        if turn == 1 and np.allclose(turned.probabilities_NP, total_NP[order]):
            return found
        total_NP[order] += turned.probabilities_NP
    rows_NP = total_NP / len(headers)
    guesses = tuple(
        _less_sure(guess, row) for guess, row in zip(found.guesses, rows_NP, strict=True)
    )
    return PhaseAssignment(guesses, rows_NP)


def _less_sure(guess: PhaseGuess, row: NDArray[np.float64]) -> PhaseGuess:
    """The most probable phase of a row, where that is less probable than the guess."""
    best = int(row.argmax())
    if row[best] >= guess.confidence - 0.01:
        return guess
    phase = None if best == len(Phase) else Phase(best)
    return PhaseGuess(phase, float(row[best]), (Reason.of(ReasonCode.UNKNOWN_ORDER),))


def _by_pixels(
    stacks: Sequence[Stack], found: PhaseAssignment, modality: Modality
) -> list[PhaseGuess]:
    """The guesses, the doubtful ones decided by what pixels add to the headers' probabilities."""
    guesses = list(found.guesses)
    members = [
        index for index, guess in enumerate(guesses) if guess.phase is not None or _doubtful(guess)
    ]
    if modality is Modality.MR:
        members = _of_one_technique([stacks[index].header for index in members], members)
    doubtful = [
        index
        for index in members
        if _doubtful(guesses[index]) or guesses[index].code is ReasonCode.ORDER_OF_SERIES
    ]
    if not doubtful or len(members) > MAX_SERIES:
        return guesses
    images = coarse_images([stacks[index] for index in members])
    tissue = None if images is None else soft_tissue(images, modality)
    if tissue is None:
        return guesses
    rows_NP = combine_with_pixels(found.probabilities_NP[members], tissue)
    limit = (
        MAX_CONFIDENCE_OF_ONE_IMAGE[modality] if len(members) == 1 else MAX_CONFIDENCE_FROM_PIXELS
    )
    for index, row, pixels in zip(members, rows_NP, appearance(tissue), strict=True):
        if index in doubtful:
            guesses[index] = _reconsidered(guesses[index], row, pixels, limit)
    compared = _repeated([guesses[index] for index in members], tissue)
    for index, guess in zip(members, compared, strict=True):
        guesses[index] = guess
    return guesses


def _repeated(guesses: Sequence[PhaseGuess], tissue: Tissue) -> list[PhaseGuess]:
    """The guesses, less sure or told early from late where two CT acquisitions got one phase."""
    if tissue.organs is None:
        return list(guesses)
    acquisition_N = first_of_acquisition(tissue)
    reasons = _arterial_pair(guesses, tissue.organs.liver, acquisition_N)
    out = []
    for n, guess in enumerate(guesses):
        twice = any(
            acquisition_N[n] != acquisition_N[other] and guess.phase is guesses[other].phase
            for other in range(len(guesses))
        )
        if n in reasons:
            guess = replace(guess, reasons=(*guess.reasons, reasons[n]))
        elif twice and guess.code is ReasonCode.MOST_LIKE and guess.phase is not Phase.ARTERIAL:
            confidence = min(guess.confidence, MAX_CONFIDENCE_OF_A_REPEATED_PHASE)
            guess = replace(guess, confidence=confidence)
        out.append(guess)
    return out


def _of_one_technique(headers: Sequence[Dataset], members: Sequence[int]) -> list[int]:
    """The most members alike in echo time, repetition time and flip angle.

    Images that differ in these differ without contrast agent too, so that comparing them tells
    nothing of it.
    """
    groups = [
        [
            index
            for index, other in zip(members, headers, strict=True)
            if alike(one, other, TECHNIQUE)
        ]
        for one in headers
    ]
    return max(groups, key=len, default=[])


def _arterial_pair(
    guesses: Sequence[PhaseGuess], liver_hu_N: NDArray[np.float64], acquisition_N: Sequence[int]
) -> dict[int, Reason]:
    """Why arterial images of one CT study are early or late: the liver brightens between them."""
    arterial = [n for n, guess in enumerate(guesses) if guess.phase is Phase.ARTERIAL]
    if len({acquisition_N[n] for n in arterial}) < 2:
        return {}
    brightest_hu = max(liver_hu_N[n] for n in arterial)
    found = {}
    for n in arterial:
        rise_hu = float(brightest_hu - liver_hu_N[n])
        if rise_hu > LATE_ARTERIAL_HU:
            found[n] = Reason.of(ReasonCode.EARLY_ARTERIAL, hu=rise_hu)
    if not found:
        return {}
    late = (n for n in arterial if liver_hu_N[n] == brightest_hu)
    return found | dict.fromkeys(late, Reason.of(ReasonCode.LATE_ARTERIAL))


def _reconsidered(
    guess: PhaseGuess, row: NDArray[np.float64], pixels: Reason, limit: float
) -> PhaseGuess:
    """The most probable phase after pixels, with what the headers said."""
    phase = Phase(int(row[:-1].argmax()))
    reasons = guess.reasons
    if guess.phase not in (None, phase):
        disagreeing = Reason.of(ReasonCode.HEADERS_ALONE, phase=guess.phase, evidence=guess.reasons)
        reasons = (disagreeing,)
    if limit < MAX_CONFIDENCE_FROM_PIXELS and guess.phase is phase:
        limit = max(limit, guess.confidence)
    most_like = Reason.of(ReasonCode.MOST_LIKE, seen=pixels, phase=phase)
    return PhaseGuess(phase, min(limit, float(row[phase])), (most_like, *reasons))


def _doubtful(guess: PhaseGuess) -> bool:
    return guess.confidence < SURE and (guess.phase is not None or guess.confidence == 0)
