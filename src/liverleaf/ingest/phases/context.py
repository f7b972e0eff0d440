"""What names, agents and order of the other series of a study tell of each series."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
from pydicom import Dataset

from liverleaf.ingest.dicom.frames import number, text
from liverleaf.ingest.phases.descriptions import ENHANCED, NUMBERED, PRE_AND_POST, searchable
from liverleaf.ingest.phases.reasons import PhaseGuess, Reason, ReasonCode
from liverleaf.ingest.phases.sequences import (
    acquisition_order,
    agent_of,
    axial,
    derived_series,
    excluded_by_comparison,
    excluded_by_parameters,
    series_sort_key,
)
from liverleaf.study import Modality, Phase

EARLY_PHASES = {Phase.PRE, Phase.ARTERIAL, Phase.PORTAL}
"""Phases that are imaged once or twice."""

LOG_ODDS_AROUND_INJECTION = 2.5
"""Log odds that a series is pre-contrast before the marks of an injection, and arterial right after
them."""

LOG_ODDS_LATE_2D = 4.0
"""Log odds of the late phases for a two-dimensional gradient echo after three-dimensional ones."""

TIME_POINT_PREFIX = r"\bph ?(\d+)(?: ?/ ?| (?=[a-z]))"
"""What some scanners put before the name of each time point."""


@dataclass(frozen=True)
class Evidence:
    """What is known of the phase of one series before the order of all is weighed.

    Attributes:
        decision: the phase, or that there is none, once words or time tell it.
        acquired_s: when it was taken, None when unknown.
        enhanced: whether it shows contrast agent, None when nothing tells.
        reasons: for `enhanced` or `log_odds`.
        by_pixels: whether pixels tell `enhanced`.
        log_odds: added to the phases that something speaks for, or against, without deciding.
    """

    decision: PhaseGuess | None
    acquired_s: float | None
    enhanced: bool | None
    reasons: tuple[Reason, ...]
    by_pixels: bool = False
    log_odds: Mapping[Phase, float] = field(default_factory=dict)

    @property
    def may_be_phase(self) -> bool:
        """Whether it is undecided or decided to be a phase."""
        return self.decision is None or self.decision.phase is not None

    @property
    def undecided(self) -> bool:
        """Whether nothing speaks for any phase yet."""
        return self.decision is None and self.enhanced is None and not self.log_odds

    def leaning(self, log_odds: Mapping[Phase, float], code: ReasonCode) -> Evidence:
        """The same with other log odds, for one reason."""
        return replace(self, log_odds=log_odds, reasons=(Reason.of(code),))


def compare_series(series: Sequence[Dataset], evidence: Sequence[Evidence]) -> list[Evidence]:
    """Add to the evidence of each series what the other series of the study tell of it.

    Args:
        series: one header per series or time point of one study.
        evidence: what each tells by itself.

    Returns:
        The evidence of each series, in order.
    """
    known = _undo_names_of_all_time_points(series, list(evidence))
    known = _first_of_pre_and_post(series, known)
    known = _pre_contrast_by_names_of_others(series, known)
    known = _first_number_is_arterial(series, known)
    out = _compare_agents(series, known)
    for index, excluded in derived_series(series, _possible(known)).items():
        if known[index].decision is None and known[index].enhanced is not True:
            out[index] = replace(out[index], decision=excluded)
    late = {Phase.DELAYED: LOG_ODDS_LATE_2D, Phase.HEPATOBILIARY: LOG_ODDS_LATE_2D}
    whatever_agent = excluded_by_parameters(series, _possible(out))
    for index, decision in excluded_by_comparison(series, _possible(out)).items():
        if out[index].decision is not None:
            continue
        if out[index].enhanced is True and index not in whatever_agent:
            continue
        if decision is None:
            out[index] = out[index].leaning(late, ReasonCode.LAST_AND_2D)
        else:
            out[index] = replace(out[index], decision=decision, log_odds={}, reasons=())
    return _three_in_a_row(series, _before_injection(series, out))


def acquisition_key(header: Dataset) -> tuple[str, float | None]:
    """What time points of one acquisition share: the name after a prefix, or the series number."""
    description = searchable(text(header, "SeriesDescription"))
    stem = re.sub(TIME_POINT_PREFIX, "", description)
    return (stem, None) if stem != description else (description, number(header, "SeriesNumber"))


def _descriptions(series: Sequence[Dataset]) -> list[str]:
    return [searchable(text(header, "SeriesDescription")) for header in series]


def _possible(evidence: Sequence[Evidence]) -> list[int]:
    """Indices of what may be phases."""
    return [index for index, one in enumerate(evidence) if one.may_be_phase]


def _undo_names_of_all_time_points(
    series: Sequence[Dataset], evidence: list[Evidence]
) -> list[Evidence]:
    """Take back an early phase that three or more time points of one name bear: it names the whole.

    In CT only "pre" is taken back.
    """
    stems = [re.sub(TIME_POINT_PREFIX, "", plain) for plain in _descriptions(series)]
    early = [
        one.decision is not None
        and one.decision.phase
        in (EARLY_PHASES if text(header, "Modality") == Modality.MR else {Phase.PRE})
        for header, one in zip(series, evidence, strict=True)
    ]
    moments = defaultdict[str, set[tuple[float, ...]]](set)
    for header, stem, is_early in zip(series, stems, early, strict=True):
        if is_early:
            moments[stem].add(series_sort_key(header, small_numbers=False))
    return [
        replace(one, decision=None) if is_early and len(moments[stem]) >= 3 else one
        for one, stem, is_early in zip(evidence, stems, early, strict=True)
    ]


def _first_of_pre_and_post(series: Sequence[Dataset], evidence: list[Evidence]) -> list[Evidence]:
    """Let the first time point of what is called "pre and post" lean to the pre-contrast phase."""
    descriptions = _descriptions(series)
    acquisitions = defaultdict[tuple[str, float | None], list[int]](list)
    for index, (header, plain) in enumerate(zip(series, descriptions, strict=True)):
        key = acquisition_key(header)
        # numbered time points beside a series of their name, which is the one before them
        has_mask = key[1] is None and key[0] in descriptions
        if evidence[index].decision is None and not has_mask and re.search(PRE_AND_POST, plain):
            acquisitions[key].append(index)

    def order(index: int) -> tuple[float, tuple[float, ...]]:
        time_s = evidence[index].acquired_s or 0.0
        return time_s, series_sort_key(series[index], small_numbers=False)

    out = list(evidence)
    for members in acquisitions.values():
        if len(members) > 1:
            first = min(members, key=order)
            out[first] = out[first].leaning({Phase.PRE: 4.0}, ReasonCode.FIRST_OF_PRE_AND_POST)
    return out


def _pre_contrast_by_names_of_others(
    series: Sequence[Dataset], evidence: list[Evidence]
) -> list[Evidence]:
    """Take a series for pre-contrast whose name others bear with more before or in it.

    More is a number of the time point ("Ph1/..."), or a word for contrast agent.
    """
    descriptions = _descriptions(series)
    numbered = {
        re.sub(TIME_POINT_PREFIX, "", plain)
        for plain in descriptions
        if re.search(TIME_POINT_PREFIX, plain)
    }
    enhanced = {
        " ".join(re.sub(ENHANCED, " ", plain).split())
        for plain in descriptions
        if re.search(ENHANCED, plain)
    }
    out = list(evidence)
    for index, (plain, one) in enumerate(zip(descriptions, evidence, strict=True)):
        if one.decision is None and plain and plain in numbered:
            leaning = one.leaning({Phase.PRE: 4.0}, ReasonCode.NUMBERED_BY_OTHERS)
            out[index] = replace(leaning, enhanced=None)
        elif one.undecided and plain in enhanced:
            out[index] = one.leaning({Phase.PRE: 2.0}, ReasonCode.CONTRAST_IN_NAMES_OF_OTHERS)
    return out


def _first_number_is_arterial(
    series: Sequence[Dataset], evidence: list[Evidence]
) -> list[Evidence]:
    """Let the series numbered as the first after the injection lean to the arterial phase.

    Only where something before it can be the pre-contrast phase.
    """
    out = list(evidence)
    for index, plain in enumerate(_descriptions(series)):
        match = re.search(NUMBERED, plain)
        count = int(match[match.lastindex or 0]) if match else None
        after = evidence[index].enhanced is True or any(
            one.log_odds.get(Phase.PRE) for one in evidence
        )
        if count == 1 and evidence[index].decision is None and after:
            log_odds = {Phase.ARTERIAL: 2.0, Phase.PRE: -2.0}
            out[index] = replace(evidence[index], log_odds=log_odds)
    return out


def _compare_agents(series: Sequence[Dataset], evidence: list[Evidence]) -> list[Evidence]:
    """Take series without an agent as scanned before it, where later ones name one.

    A lone series that names an agent is enhanced; where all name one, nothing is told.
    """
    possible = _possible(evidence)
    named = {index: agent_of(series[index]) is not None for index in possible}
    given = [index for index in possible if agent_of(series[index], in_description=False)]
    first_given_s = min((evidence[index].acquired_s or 0.0 for index in given), default=-np.inf)
    out = list(evidence)
    for index in possible:
        one = evidence[index]
        if one.enhanced is not None or not any(named.values()):
            continue
        if named[index] and (len(possible) == 1 or not all(named.values())):
            reasons = (Reason.of(ReasonCode.AGENT_IN_HEADERS),)
            out[index] = replace(one, enhanced=True, reasons=reasons)
        elif not named[index] and one.acquired_s is not None and one.acquired_s < first_given_s:
            reasons = (Reason.of(ReasonCode.NO_AGENT_BESIDE_LATER_ONE),)
            out[index] = replace(one, enhanced=False, reasons=reasons)
    return out


def _before_injection(series: Sequence[Dataset], evidence: list[Evidence]) -> list[Evidence]:
    """Let series before the marks of an injection lean to the pre-contrast phase.

    The marks are bolus tracking, which speaks against that phase after it too, and else three
    series whose names speak of contrast agent.
    """
    order = acquisition_order(series)
    descriptions = _descriptions(series)
    possible = _possible(evidence)
    names = Counter(descriptions[index] for index in possible)
    latest = {
        name: max(order[index] for index in possible if descriptions[index] == name)
        for name in names
    }
    tracked = _last_bolus_tracking(order, evidence)
    named = _first_named_after_contrast(series, order, evidence)
    follows = tracked is not None and any(order[index] > tracked for index in possible)
    out = list(evidence)
    for index in possible:
        one, moment, name = evidence[index], order[index], descriptions[index]
        if not one.undecided:
            continue
        if tracked is not None and follows:
            before = moment < tracked
            # a whole dynamic series: the bolus was tracked after it
            if before and names[name] >= 4 and latest[name] < tracked:
                continue
            sign, code = (
                (1, ReasonCode.BEFORE_BOLUS_TRACKING)
                if before
                else (-1, ReasonCode.AFTER_BOLUS_TRACKING)
            )
            out[index] = one.leaning({Phase.PRE: sign * LOG_ODDS_AROUND_INJECTION}, code)
        elif named is not None and moment < named and names[name] < 3:
            out[index] = one.leaning(
                {Phase.PRE: LOG_ODDS_AROUND_INJECTION}, ReasonCode.BEFORE_CONTRAST_IN_WORDS
            )
    return out


def _last_bolus_tracking(
    order: Sequence[tuple[float, ...]], evidence: Sequence[Evidence]
) -> tuple[float, ...] | None:
    """The sort key of the last series that tracked the bolus, None without any."""
    return max(
        (
            moment
            for moment, one in zip(order, evidence, strict=True)
            if one.decision is not None and one.decision.code is ReasonCode.BOLUS_TRACKING
        ),
        default=None,
    )


def _first_named_after_contrast(
    series: Sequence[Dataset], order: Sequence[tuple[float, ...]], evidence: Sequence[Evidence]
) -> tuple[float, ...] | None:
    """The sort key of the first of three or more enhanced series of unknown phase, None without."""
    enhanced = [
        index
        for index, one in enumerate(evidence)
        if one.decision is None and one.enhanced is True and axial(series[index]) is not False
    ]
    return min(order[index] for index in enhanced) if len(enhanced) >= 3 else None


def _three_in_a_row(series: Sequence[Dataset], evidence: list[Evidence]) -> list[Evidence]:
    """Let the first of three in a row of one name, after others, lean to the arterial phase.

    Those before them lean to the pre-contrast phase.
    """
    order = acquisition_order(series)
    members = sorted(_possible(evidence), key=lambda index: order[index])
    keys = [acquisition_key(header) for header in series]
    points = Counter(keys)
    alike = [key if points[key] >= 3 else (key[0], None) for key in keys]
    runs = [list(run) for name, run in groupby(members, key=lambda index: alike[index]) if name[0]]
    undecided = (
        run
        for run in runs
        if len(run) >= 3 and all(evidence[index].decision is None for index in run)
    )
    run = next(undecided, [])
    out = list(evidence)
    if len(run) != 3 or evidence[run[0]].log_odds:
        return out
    before = members[: members.index(run[0])]
    for index in before:
        if evidence[index].undecided:
            out[index] = evidence[index].leaning(
                {Phase.PRE: 0.5 * LOG_ODDS_AROUND_INJECTION}, ReasonCode.BEFORE_THREE_IN_A_ROW
            )
    if before:
        first = evidence[run[0]]
        out[run[0]] = replace(
            first,
            log_odds={
                Phase.PRE: -LOG_ODDS_AROUND_INJECTION,
                Phase.ARTERIAL: LOG_ODDS_AROUND_INJECTION,
            },
            reasons=(*first.reasons, Reason.of(ReasonCode.FIRST_OF_THREE_IN_A_ROW)),
        )
    return out
