"""One DICOM header per series of a study in, the contrast phase of each with confidence and evidence out.

Four witnesses are heard: the words of the series description, the time after injection, the
technical elements, and the order in which the series were taken.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from liverleaf.ingest.dicom.frames import number, text
from liverleaf.ingest.phases.context import Clue, compare, whole
from liverleaf.ingest.phases.descriptions import (
    BOTH,
    ENHANCED,
    LATE,
    RAPID,
    REPEATED,
    PhaseGuess,
    described,
    phase_at,
    phase_in_words,
    phases_named,
    plain_words,
    seconds_in_words,
)
from liverleaf.ingest.phases.sequences import (
    UNKNOWN_AGENT,
    agent_of,
    axial,
    clocks_of,
    hepatobiliary_agent,
    place,
    rapid_runs,
    ruled_out,
    seconds_after_injection,
    slow_sequence,
    unless_shared,
)
from liverleaf.ingest.phases.timing import Step, phases_by_order
from liverleaf.study import Modality, Phase

__all__ = [
    "DOUBTFUL",
    "UNKNOWN_AGENT",
    "PhaseGuess",
    "agent_of",
    "identify",
    "phase_at",
    "phase_in_words",
    "phase_probabilities",
    "plain_words",
    "seconds_after_injection",
    "seconds_in_words",
]

DOUBTFUL = 0.5
"""Below this confidence a phase is a guess that a person should confirm."""

RAPID_S = 8.0
"""No breath-hold follows another so soon."""

HEPATOBILIARY_AGENT = {True: 0.98, None: 0.2, False: 1e-9}
"""Probability that the agent has a hepatobiliary phase, where headers say so, say nothing, or name
another."""

SUREST_BY_ORDER = 0.96
SHARPER = 1.3
"""Power of the probabilities by order, which studies of many protocols showed to be too cautious."""

LEFT_OPEN = 6.0
"""Logarithm of how much more likely the phases are that words leave open than those that they
exclude."""


def identify(
    series: Sequence[Dataset], *, enhanced: Sequence[bool | None] | None = None
) -> list[PhaseGuess]:
    """Tell the contrast phase of every series of one study.

    Args:
        series: one header per series or per time point of a dynamic series.
        enhanced: per series, whether its pixels show contrast agent; None where nobody looked.

    Returns:
        One guess per series, in order. A CT series of unknown phase with contrast agent is guessed
            to be portal venous.
    """
    return _judge(series, enhanced)[0]


def phase_probabilities(
    series: Sequence[Dataset], *, enhanced: Sequence[bool | None] | None = None
) -> NDArray[np.float64]:
    """The probability of each phase, and of none, for every series of one study.

    Args:
        series: one header per series or per time point of a dynamic series.
        enhanced: per series, whether its pixels show contrast agent; None where nobody looked.

    Returns:
        Shape (series, 6): the phases in their order, then no phase. Rows sum to 1; the answer of
            `identify` has its confidence.
    """
    return _judge(series, enhanced)[1]


def _judge(
    series: Sequence[Dataset], enhanced: Sequence[bool | None] | None
) -> tuple[list[PhaseGuess], NDArray[np.float64]]:
    """The guesses, and their probabilities as `phase_probabilities` returns them."""
    seen = list(enhanced) if enhanced is not None else [None] * len(series)
    late = hepatobiliary_agent(series)
    # one name for all is that of the whole examination
    several = len({text(header, "ProtocolName") for header in series}) > 1
    worded = [_worded(header, late, several) for header in series]
    seconds = unless_shared(
        [seconds_after_injection(header) for header in series],
        [None if guess is None else guess.phase for guess in worded],
    )
    clues = [
        replace(_clue(header, look, late, guess, waited), clock_s=clock_s)
        for header, look, guess, waited, clock_s in zip(
            series, seen, worded, seconds, clocks_of(series), strict=True
        )
    ]
    clues = compare(series, clues)
    settled = {index: clue.settled for index, clue in enumerate(clues) if clue.settled is not None}
    ordered: dict[int, tuple[PhaseGuess, NDArray[np.float64]]] = {}
    if sum(clue.settled is None or clue.settled.phase is not None for clue in clues) > 1:
        ordered = _by_order(series, clues, HEPATOBILIARY_AGENT[late])
    guesses, rows = [], np.zeros((len(series), len(Phase) + 1))
    for index, header in enumerate(series):
        others = np.full(len(Phase), 1 / len(Phase))
        if index in ordered:
            guess, others = ordered[index]
        else:
            guess = _alone(clues[index], header)
        guesses.append(settled.get(index, guess))
        rows[index] = _row(guesses[-1], others)
    return guesses, rows


def _row(guess: PhaseGuess, phases_P: NDArray[np.float64]) -> NDArray[np.float64]:
    """The confidence of a guess where it belongs, half of the doubt shared as by `phases_P` and half evenly, shape (6,)."""
    answer = len(Phase) if guess.phase is None else guess.phase
    doubt = np.append(0.5 * phases_P, 0.0) + 0.5 / (len(Phase) + 1)
    doubt[answer] = 0.0
    doubt *= (1 - guess.confidence) / doubt.sum()
    doubt[answer] = guess.confidence
    return doubt


def _worded(header: Dataset, late: bool | None, several: bool) -> PhaseGuess | None:
    worded = phase_in_words(
        text(header, "SeriesDescription") or text(header, "ProtocolName"), hepatobiliary=late
    )
    return (
        phase_in_words(text(header, "ProtocolName"), hepatobiliary=late)
        if worded is None and several
        else worded
    )


def _clue(
    header: Dataset,
    enhanced: bool | None,
    late: bool | None,
    worded: PhaseGuess | None,
    seconds: float | None,
) -> Clue:
    description = text(header, "SeriesDescription") or text(header, "ProtocolName")
    plain = described(description)
    evidence: tuple[str, ...] = ()
    looked = enhanced is not None
    if looked:
        evidence = (
            (
                "pixels show contrast agent in vessels or organs"
                if enhanced
                else "pixels show no contrast agent"
            ),
        )
    elif (found := re.search(ENHANCED, plain)) and not re.search(BOTH, plain):
        enhanced, evidence = True, (f"description says '{found[0].strip()}'",)
    clue = Clue(None, None, enhanced, evidence, looked)
    excluded = ruled_out(header)
    if excluded is not None:
        return replace(clue, settled=PhaseGuess(None, excluded[1], (excluded[0],)))
    if seconds is None or (worded is not None and worded.phase is None):
        return (
            _left_open(clue, plain, late)
            if worded is None or worded.phase is Phase.DELAYED
            else replace(clue, settled=worded)
        )
    timed = phase_at(seconds, hepatobiliary=late is True)
    proof = f"{seconds:.0f} s after injection by the headers"
    if worded is None:
        return replace(clue, settled=PhaseGuess(timed, 0.85, (proof,)))
    agreed = worded.phase is timed
    both = (*worded.evidence, proof if agreed else f"but {proof}")
    return replace(clue, settled=replace(worded, confidence=0.99 if agreed else 0.6, evidence=both))


def _left_open(clue: Clue, plain: str, late: bool | None) -> Clue:
    """Let words lean that leave several phases open, such as "late" where there may be a hepatobiliary phase."""
    named = phases_named(plain, hepatobiliary=late)
    if not named:
        return clue
    evidence = tuple(f"description says '{word}'" for word in dict.fromkeys(named.values()))
    if named.keys() == {Phase.DELAYED}:
        if late is not True or seconds_in_words(plain) is not None or not re.search(LATE, plain):
            return replace(clue, settled=PhaseGuess(Phase.DELAYED, 0.97, evidence))
        named |= {Phase.HEPATOBILIARY: ""}
    leaning = dict.fromkeys(named, LEFT_OPEN)
    # with an agent for it one mostly waits for longer
    if late is None and Phase.HEPATOBILIARY in leaning:
        leaning[Phase.HEPATOBILIARY] -= 2.0
    return replace(clue, evidence=evidence, leaning=leaning)


def _by_order(
    series: Sequence[Dataset], clues: Sequence[Clue], hepatobiliary: float
) -> dict[int, tuple[PhaseGuess, NDArray[np.float64]]]:
    """The guess and the probabilities of the phases by the order among all that may be phases, and by the times between where known."""
    members = [
        index
        for index, clue in enumerate(clues)
        if clue.settled is None or clue.settled.phase is not None
    ]
    mr = all(text(series[index], "Modality") == Modality.MR for index in members)
    clocked = _clocked(series, members, clues, mr=mr)
    if not clocked and not mr:
        return {}
    if clocked:
        members = [index for index in members if clues[index].clock_s is not None]
    members, steps = _in_order(series, clues, members, clocked=clocked)
    weights = _weights([series[index] for index in members], [clues[index] for index in members])
    clocks = (
        np.array([clues[index].clock_s for index in members], dtype=np.float64) if clocked else None
    )
    probabilities, injection_s = phases_by_order(
        weights, steps, clocks, mr=mr, hepatobiliary=hepatobiliary
    )
    probabilities = probabilities**SHARPER / np.sum(probabilities**SHARPER, axis=1, keepdims=True)
    if clocks is None:
        probabilities = _shared_by_ties(
            [place(series[index], small_numbers=False) for index in members], probabilities
        )
    anchored = any(clues[index].settled is not None for index in members)
    breath_holds = 1 + sum(step.rapid < 0.5 for step in steps)
    found = {}
    for n, index in enumerate(members):
        confidence = min(SUREST_BY_ORDER, float(probabilities[n].max()))
        if not anchored and breath_holds < 3:  # too few to tell which of the phases these are
            confidence = min(confidence, 0.45)
        if not mr:
            confidence = 0.6 if anchored or clues[index].enhanced is not None else 0.45
        said = f"order of series: number {n + 1} of {len(members)} that may be phases"
        if injection_s is not None and clocks is not None:
            seconds = clocks[n] - injection_s
            after = f"order of acquisition: about {seconds:.0f} s after the presumed injection"
            said = after if seconds > 0 else "taken first, before the others"
        guess = PhaseGuess(
            Phase(int(probabilities[n].argmax())), confidence, (said, *clues[index].evidence)
        )
        found[index] = (guess, probabilities[n])
    return found


def _shared_by_ties(
    places: Sequence[tuple[float, ...]], probabilities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The probabilities, shape (series, phases), with their mean for series whose order nothing tells."""
    ties = [[one == two for two in places] for one in places]
    return np.stack([probabilities[tie].mean(axis=0) for tie in ties])


def _clocked(
    series: Sequence[Dataset], members: Sequence[int], clues: Sequence[Clue], *, mr: bool
) -> bool:
    """Whether times tell the order: some scanners give all time points of a series one time."""
    clocks = [clues[index].clock_s for index in members]
    moments = len(set(clocks) - {None})
    points = len(
        {(number(series[index], "SeriesNumber"), clues[index].clock_s) for index in members}
    )
    return moments > 1 and (
        not mr
        or (None not in clocks and moments >= 0.5 * len(members) and points >= 0.75 * len(members))
    )


def _in_order(
    series: Sequence[Dataset], clues: Sequence[Clue], members: Sequence[int], *, clocked: bool
) -> tuple[list[int], list[Step]]:
    """Members in order of acquisition, and the steps between them."""
    small = sum((number(header, "SeriesNumber") or 0) < 100 for header in series) > 1
    keys = [
        (clue.clock_s or 0.0 if clocked else 0.0, place(header, small_numbers=small))
        for header, clue in zip(series, clues, strict=True)
    ]
    slow = [
        key
        for key, header, clue in zip(keys, series, clues, strict=True)
        if clue.settled is not None and clue.settled.phase is None and _slow(header, clue.settled)
    ]
    ordered = sorted(members, key=lambda index: keys[index])
    runs = {} if clocked else rapid_runs([series[index] for index in ordered])
    steps = [
        Step(
            pause=any(keys[one] < key < keys[two] for key in slow),
            rapid=max(
                runs.get(n, 0.0),
                _rapid(
                    [clues[one].clock_s, clues[two].clock_s] if clocked else [],
                    [series[one], series[two]],
                ),
            ),
            again=bool(re.search(REPEATED, described(text(series[two], "SeriesDescription"))))
            or (clocked and clues[one].clock_s == clues[two].clock_s),
            turn=axial(series[one]) is not axial(series[two]),
        )
        for n, (one, two) in enumerate(pairwise(ordered))
    ]
    return ordered, steps


def _slow(header: Dataset, guess: PhaseGuess) -> bool:
    """Whether a series that is no phase takes minutes."""
    return slow_sequence(header) or guess.evidence[0].startswith(("T2-", "diffusion", "cholang"))


def _rapid(clocks_s: Sequence[float | None], pair: Sequence[Dataset]) -> float:
    """Probability that two series are time points of one time-resolved acquisition, by time or, without times, by name."""
    if clocks_s:
        early, late = (clock_s or 0.0 for clock_s in clocks_s)
        return float(0 < late - early < RAPID_S)
    return (
        0.8
        if all(re.search(RAPID, described(text(header, "SeriesDescription"))) for header in pair)
        else 0.0
    )


def _weights(series: Sequence[Dataset], clues: Sequence[Clue]) -> NDArray[np.float64]:
    """How well each phase fits each series by itself, as logarithms, shape (series, phases)."""
    weights = np.zeros((len(series), len(Phase)))
    flips = [number(header, "FlipAngle") for header in series]
    usual = np.median([flip for flip in flips if flip is not None] or [0.0])
    points = Counter(whole(header) for header in series)
    for row, header, clue, flip in zip(weights, series, clues, flips, strict=True):
        strong = 12.0 if clue.looked or text(header, "Modality") == Modality.CT else 4.0
        if clue.enhanced is not None:
            row[[phase for phase in Phase if (phase is Phase.PRE) == clue.enhanced]] -= strong
        for phase, weight in clue.leaning.items():
            row[phase] += weight
        if axial(header) is False and points[whole(header)] < 3:
            row[[Phase.ARTERIAL, Phase.PORTAL]] -= 2.5
        if (
            text(header, "MRAcquisitionType") != "2D"
            and flip is not None
            and flip >= 18
            and flip >= 1.5 * usual
        ):
            row[Phase.HEPATOBILIARY] += 3.0
        if clue.settled is not None and clue.settled.phase is not None:
            row[[phase for phase in Phase if phase is not clue.settled.phase]] -= 12.0
            row[clue.settled.phase] = max(row[clue.settled.phase], 0.0)
    return weights


def _alone(clue: Clue, header: Dataset) -> PhaseGuess:
    """The guess for a series that neither words nor time nor other series explain."""
    if clue.enhanced is False:
        return PhaseGuess(Phase.PRE, 0.6, clue.evidence)
    if clue.enhanced:
        return PhaseGuess(
            Phase.PORTAL, 0.4, (*clue.evidence, "portal venous is the commonest single phase")
        )
    if text(header, "Modality") == Modality.MR:
        return PhaseGuess(Phase.PRE, 0.2, ("nothing in its headers tells the phase",))
    return PhaseGuess(None, 0.0, ("nothing in its headers tells the phase",))
