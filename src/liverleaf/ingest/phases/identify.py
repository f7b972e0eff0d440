"""The contrast phase of each series of a study by its DICOM headers, with confidence and reasons.

Four things count: the words of the series description, the time after injection, the technical
elements, and the order in which the series were taken.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from liverleaf.ingest.dicom.frames import number, text
from liverleaf.ingest.phases.context import Evidence, acquisition_key, compare_series
from liverleaf.ingest.phases.descriptions import (
    ENHANCED,
    HOUR_S,
    LATE,
    RAPID,
    REPEATED,
    SEVERAL_PHASES,
    phase_at,
    phase_in_words,
    phases_named,
    searchable,
    seconds_in_words,
)
from liverleaf.ingest.phases.reasons import PhaseGuess, Reason, ReasonCode
from liverleaf.ingest.phases.sequences import (
    TECHNIQUE,
    acquisition_times,
    alike,
    axial,
    drop_shared_times,
    excluded_by_technique,
    have_small_numbers,
    hepatobiliary_agent,
    rapid_runs,
    seconds_after_injection,
    series_sort_key,
    slow_sequence,
)
from liverleaf.ingest.phases.timing import Transition, phases_by_order
from liverleaf.study import Modality, Phase

DOUBTFUL = 0.5
"""Below this confidence a phase is a guess that a person should confirm."""

RAPID_S = 8.0
"""No breath-hold follows another so soon."""

HEPATOBILIARY_AGENT = {True: 0.98, None: 0.2, False: 1e-9}
"""Probability that the agent has a hepatobiliary phase, where headers say so, say nothing, or name
another."""

MAX_CONFIDENCE_FROM_ORDER = 0.96
SHARPENING_EXPONENT = 1.3
"""Power of the probabilities by order, which were too cautious on studies of many protocols."""

LOG_ODDS_OF_NAMED_PHASES = 6.0
"""Log odds of the phases that words leave open, against those that they exclude."""

LOG_ODDS_OF_DECIDED_PHASES = 12.0
"""The same of what words or time decide."""

SLOW_BY_NAME = {
    ReasonCode.T2_WEIGHTED,
    ReasonCode.DIFFUSION_WEIGHTED,
    ReasonCode.CHOLANGIOGRAPHY,
}
"""Images that take minutes, when their description names them."""


class PhaseAssignment(NamedTuple):
    """The contrast phases of the series of one study.

    Attributes:
        guesses: one per series, in order.
        probabilities_NP: of each phase in the order of `Phase`, then of no phase, for every series:
            shape (series, 6). Rows sum to 1, and a guess has its confidence in them.
    """

    guesses: tuple[PhaseGuess, ...]
    probabilities_NP: NDArray[np.float64]


def identify(
    series: Sequence[Dataset], *, enhanced: Sequence[bool | None] | None = None
) -> PhaseAssignment:
    """Tell the contrast phase of every series of one study.

    Args:
        series: one header per series or per time point of a dynamic series.
        enhanced: per series, whether its pixels show contrast agent; None where nobody looked.

    Returns:
        The guesses and their probabilities. A CT series of unknown phase with contrast agent is
            guessed to be portal venous.
    """
    evidence = compare_series(series, _evidence(series, enhanced))
    ordered: dict[int, tuple[PhaseGuess, NDArray[np.float64]]] = {}
    if sum(one.may_be_phase for one in evidence) > 1:
        probability = HEPATOBILIARY_AGENT[hepatobiliary_agent(series)]
        ordered = _by_order(series, evidence, probability)
    guesses: list[PhaseGuess] = []
    rows_NP = np.zeros((len(series), len(Phase) + 1))
    even_P = np.full(len(Phase), 1 / len(Phase))
    for index, (header, one) in enumerate(zip(series, evidence, strict=True)):
        by_order, others_P = ordered.get(index) or (_without_order(one, header), even_P)
        guesses.append(by_order if one.decision is None else one.decision)
        rows_NP[index] = _row(guesses[-1], others_P)
    return PhaseAssignment(tuple(guesses), rows_NP)


def _row(guess: PhaseGuess, others_P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of a series, shape (6,), with the guess at its confidence.

    Half of the rest is shared as by `others_P` and half evenly.
    """
    column = len(Phase) if guess.phase is None else guess.phase
    row = np.append(0.5 * others_P, 0.0) + 0.5 / (len(Phase) + 1)
    row[column] = 0.0
    row *= (1 - guess.confidence) / row.sum()
    row[column] = guess.confidence
    return row


def _evidence(series: Sequence[Dataset], enhanced: Sequence[bool | None] | None) -> list[Evidence]:
    """What each series tells by itself."""
    late = hepatobiliary_agent(series)
    # one protocol name for all is that of the whole examination
    several = len({text(header, "ProtocolName") for header in series}) > 1
    in_words = [_phase_in_header_words(header, late, several) for header in series]
    seconds = drop_shared_times(
        [seconds_after_injection(header) for header in series],
        [None if guess is None else guess.phase for guess in in_words],
    )
    by_pixels = [None] * len(series) if enhanced is None else enhanced
    return [
        _decide(_enhancement(header, seen, time_s), header, late, guess, waited_s)
        for header, seen, guess, waited_s, time_s in zip(
            series, by_pixels, in_words, seconds, acquisition_times(series), strict=True
        )
    ]


def _phase_in_header_words(header: Dataset, late: bool | None, several: bool) -> PhaseGuess | None:
    """The phase by the description, else by the protocol's name where protocols differ."""
    modality = _modality(header)
    guess = phase_in_words(_description(header), hepatobiliary=late, modality=modality)
    if guess is None and several:
        return phase_in_words(text(header, "ProtocolName"), hepatobiliary=late, modality=modality)
    return guess


def _modality(header: Dataset) -> Modality | None:
    named = text(header, "Modality")
    return Modality(named) if named in tuple(Modality) else None


def _description(header: Dataset) -> str:
    return text(header, "SeriesDescription") or text(header, "ProtocolName")


def _enhancement(header: Dataset, seen: bool | None, acquired_s: float | None) -> Evidence:
    """Whether a series shows contrast agent, by its pixels or else by its description."""
    if seen is not None:
        code = ReasonCode.PIXELS_SHOW_CONTRAST if seen else ReasonCode.PIXELS_SHOW_NO_CONTRAST
        return Evidence(None, acquired_s, seen, (Reason.of(code),), by_pixels=True)
    plain = searchable(_description(header))
    match = re.search(ENHANCED, plain)
    if match and not re.search(SEVERAL_PHASES, plain):
        reason = Reason.of(ReasonCode.CONTRAST_IN_WORDS, word=match[0].strip())
        return Evidence(None, acquired_s, True, (reason,))
    return Evidence(None, acquired_s, None, ())


def _decide(
    one: Evidence,
    header: Dataset,
    late: bool | None,
    in_words: PhaseGuess | None,
    seconds: float | None,
) -> Evidence:
    """Decide by technique, then by words and the time after injection, as far as they tell."""
    excluded = excluded_by_technique(header)
    if excluded is not None:
        return replace(one, decision=excluded)
    if seconds is None or (in_words is not None and in_words.phase is None):
        if in_words is None or in_words.phase is Phase.DELAYED:
            return _by_open_words(one, header, late)
        return replace(one, decision=in_words)
    timed = phase_at(seconds, hepatobiliary=late is True)
    if in_words is None:
        reason = Reason.of(ReasonCode.TIME_AFTER_INJECTION, seconds=seconds)
        return replace(one, decision=PhaseGuess(timed, 0.85, (reason,)))
    agreed = in_words.phase is timed
    code = ReasonCode.TIME_AFTER_INJECTION if agreed else ReasonCode.OTHER_TIME_AFTER_INJECTION
    reasons = (*in_words.reasons, Reason.of(code, seconds=seconds))
    confidence = 0.99 if agreed else 0.6
    return replace(one, decision=replace(in_words, confidence=confidence, reasons=reasons))


def _by_open_words(one: Evidence, header: Dataset, late: bool | None) -> Evidence:
    """Give log odds to the phases that words leave open.

    "Late" is one of them, unless the agent has no hepatobiliary phase.
    """
    plain = searchable(_description(header))
    named = phases_named(plain, hepatobiliary=late, modality=_modality(header))
    if not named:
        return one
    reasons = tuple(
        Reason.of(ReasonCode.PHASE_IN_WORDS, word=word) for word in dict.fromkeys(named.values())
    )
    if named.keys() == {Phase.DELAYED}:
        if late is False or seconds_in_words(plain) is not None or not re.search(LATE, plain):
            return replace(one, decision=PhaseGuess(Phase.DELAYED, 0.97, reasons))
        log_odds = dict.fromkeys((*named, Phase.HEPATOBILIARY), LOG_ODDS_OF_DECIDED_PHASES)
    else:
        log_odds = dict.fromkeys(named, LOG_ODDS_OF_NAMED_PHASES)
    # with an agent for it one mostly waits for longer
    if late is None and Phase.HEPATOBILIARY in log_odds:
        log_odds[Phase.HEPATOBILIARY] -= 2.0
    return replace(one, reasons=reasons, log_odds=log_odds)


def _by_order(
    series: Sequence[Dataset], evidence: Sequence[Evidence], hepatobiliary: float
) -> dict[int, tuple[PhaseGuess, NDArray[np.float64]]]:
    """Guess and probabilities of all that may be phases, by their order and the times between.

    Args:
        series: all headers of the study.
        evidence: of each.
        hepatobiliary: probability that the agent has a hepatobiliary phase.

    Returns:
        By index; empty for CT whose times are unknown.
    """
    members = [index for index, one in enumerate(evidence) if one.may_be_phase]
    mr = all(text(series[index], "Modality") == Modality.MR for index in members)
    timed = _times_tell_order(series, members, evidence, mr=mr)
    if not timed and not mr:
        return {}
    if timed:
        members = [index for index in members if evidence[index].acquired_s is not None]
    members, transitions = _in_order(series, evidence, members, timed=timed)
    headers, known = [series[index] for index in members], [evidence[index] for index in members]
    times_s = np.array([one.acquired_s for one in known], dtype=np.float64) if timed else None
    probabilities_NP, injection_s = phases_by_order(
        _log_weights(headers, known), transitions, times_s, mr=mr, hepatobiliary=hepatobiliary
    )
    probabilities_NP **= SHARPENING_EXPONENT
    probabilities_NP /= probabilities_NP.sum(axis=1, keepdims=True)
    if times_s is None:
        keys = [series_sort_key(header, small_numbers=False) for header in headers]
        probabilities_NP = _average_ties(keys, probabilities_NP)
    if injection_s is not None and times_s is not None:
        _hepatobiliary_after_an_hour(probabilities_NP, times_s - injection_s)
    anchored = any(one.decision is not None for one in known)
    repeated = any(alike(one, two, TECHNIQUE) for one, two in combinations(headers, 2))
    breath_holds = 1 + sum(transition.rapid < 0.5 for transition in transitions)
    found = {}
    for n, (index, one) in enumerate(zip(members, known, strict=True)):
        row_P = probabilities_NP[n]
        confidence = min(MAX_CONFIDENCE_FROM_ORDER, float(row_P.max()))
        # too few to tell which of the phases these are, or images that differ by their technique
        if not anchored and (breath_holds < 3 or (mr and not repeated)):
            confidence = min(confidence, 0.45)
        if not mr:
            confidence = 0.6 if anchored or one.enhanced is not None else 0.45
        reason = Reason.of(ReasonCode.ORDER_OF_SERIES, number=n + 1, count=len(members))
        if injection_s is not None and times_s is not None:
            reason = _time_by_order(float(times_s[n] - injection_s))
        reasons = (reason, *one.reasons)
        if one.reasons and one.reasons[0].code is ReasonCode.PHASE_IN_WORDS:
            reasons = (*one.reasons, reason)
        found[index] = (PhaseGuess(Phase(int(row_P.argmax())), confidence, reasons), row_P)
    return found


def _hepatobiliary_after_an_hour(
    probabilities_NP: NDArray[np.float64], seconds_N: NDArray[np.float64]
) -> None:
    """Take what is delayed by more than an hour for hepatobiliary, whatever the agent, in place."""
    late = seconds_N >= HOUR_S
    probabilities_NP[late, Phase.HEPATOBILIARY] += probabilities_NP[late, Phase.DELAYED]
    probabilities_NP[late, Phase.DELAYED] = 0.0


def _time_by_order(seconds: float) -> Reason:
    if seconds > 0:
        return Reason.of(ReasonCode.ORDER_OF_ACQUISITION, seconds=seconds)
    return Reason.of(ReasonCode.TAKEN_FIRST)


def _average_ties(
    keys: Sequence[tuple[float, ...]], probabilities_NP: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The probabilities, with their mean for series that have one sort key."""
    ties = [[one == two for two in keys] for one in keys]
    return np.stack([probabilities_NP[tie].mean(axis=0) for tie in ties])


def _times_tell_order(
    series: Sequence[Dataset], members: Sequence[int], evidence: Sequence[Evidence], *, mr: bool
) -> bool:
    """Whether times tell the order: some scanners give all time points of a series one time."""
    times_s = [evidence[index].acquired_s for index in members]
    moments = len(set(times_s) - {None})
    points = len(
        {(number(series[index], "SeriesNumber"), evidence[index].acquired_s) for index in members}
    )
    if moments <= 1 or not mr:
        return moments > 1
    return None not in times_s and moments >= 0.5 * len(members) and points >= 0.75 * len(members)


def _in_order(
    series: Sequence[Dataset], evidence: Sequence[Evidence], members: Sequence[int], *, timed: bool
) -> tuple[list[int], list[Transition]]:
    """Members in order of acquisition, and the transitions between them."""
    small = have_small_numbers(series)
    keys = [
        (one.acquired_s or 0.0 if timed else 0.0, series_sort_key(header, small_numbers=small))
        for header, one in zip(series, evidence, strict=True)
    ]
    slow = [
        key
        for key, header, one in zip(keys, series, evidence, strict=True)
        if not one.may_be_phase and _takes_minutes(header, one)
    ]
    ordered = sorted(members, key=lambda index: keys[index])
    runs = {} if timed else rapid_runs([series[index] for index in ordered])
    transitions = []
    for n, (one, two) in enumerate(pairwise(ordered)):
        times_s = (evidence[one].acquired_s, evidence[two].acquired_s) if timed else None
        again = re.search(REPEATED, searchable(text(series[two], "SeriesDescription")))
        transitions.append(
            Transition(
                pause=any(keys[one] < key < keys[two] for key in slow),
                rapid=max(runs.get(n, 0.0), _rapid(times_s, [series[one], series[two]])),
                new_protocol=axial(series[one]) is not axial(series[two])
                or not alike(series[one], series[two], ("FlipAngle",)),
                repeated=again is not None or (times_s is not None and times_s[0] == times_s[1]),
            )
        )
    return ordered, transitions


def _takes_minutes(header: Dataset, one: Evidence) -> bool:
    """Whether a series that is no phase takes minutes."""
    named = one.decision is not None and one.decision.code in SLOW_BY_NAME
    return named or slow_sequence(header)


def _rapid(times_s: tuple[float | None, float | None] | None, pair: Sequence[Dataset]) -> float:
    """Probability that two series are time points of one time-resolved acquisition.

    By their times or, without these, by their names.
    """
    if times_s is not None:
        early, late = (time_s or 0.0 for time_s in times_s)
        return float(0 < late - early < RAPID_S)
    names = [searchable(text(header, "SeriesDescription")) for header in pair]
    return 0.8 if all(re.search(RAPID, name) for name in names) else 0.0


def _log_weights(series: Sequence[Dataset], evidence: Sequence[Evidence]) -> NDArray[np.float64]:
    """Logarithm of how well each phase fits each series by itself, shape (N, P)."""
    log_weights_NP = np.zeros((len(series), len(Phase)))
    flips = [number(header, "FlipAngle") for header in series]
    usual = float(np.median([flip for flip in flips if flip is not None] or [0.0]))
    points = Counter(acquisition_key(header) for header in series)
    for row, header, one, flip in zip(log_weights_NP, series, evidence, flips, strict=True):
        ct = text(header, "Modality") == Modality.CT
        if one.enhanced is not None:
            excluded = [phase for phase in Phase if (phase is Phase.PRE) == one.enhanced]
            row[excluded] -= 12.0 if one.by_pixels or ct else 4.0
        for phase, log_odds in one.log_odds.items():
            row[phase] += log_odds
        if axial(header) is False and points[acquisition_key(header)] < 3:
            row[[Phase.ARTERIAL, Phase.PORTAL]] -= 2.5
        volumetric = text(header, "MRAcquisitionType") != "2D"
        # a larger flip angle brings out what hepatocytes took up
        if volumetric and flip is not None and flip >= 18 and flip >= 1.5 * usual:
            row[Phase.HEPATOBILIARY] += 3.0
        if one.decision is not None and one.decision.phase is not None:
            others = [phase for phase in Phase if phase is not one.decision.phase]
            row[others] -= LOG_ODDS_OF_DECIDED_PHASES
            row[one.decision.phase] = max(row[one.decision.phase], 0.0)
    return log_weights_NP


def _without_order(one: Evidence, header: Dataset) -> PhaseGuess:
    """The guess for a series that neither words nor time nor other series explain."""
    if one.enhanced is False:
        return PhaseGuess(Phase.PRE, 0.6, one.reasons)
    likely = max(one.log_odds, key=one.log_odds.__getitem__, default=None)
    if likely is not None and one.log_odds[likely] > 0:
        odds = np.exp(np.array(list(one.log_odds.values())) - one.log_odds[likely])
        return PhaseGuess(likely, min(MAX_CONFIDENCE_FROM_ORDER, 1 / odds.sum()), one.reasons)
    if one.enhanced:
        reasons = (*one.reasons, Reason.of(ReasonCode.COMMONEST_PHASE))
        return PhaseGuess(Phase.PORTAL, 0.4, reasons)
    nothing = (Reason.of(ReasonCode.NOTHING_IN_HEADERS),)
    if text(header, "Modality") == Modality.MR:
        return PhaseGuess(Phase.PRE, 0.2, nothing)
    return PhaseGuess(None, 0.0, nothing)
