"""What each series of a study says by itself in, the same with what the names, agents and order of the others tell of it out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
from pydicom import Dataset

from liverleaf.ingest.dicom.frames import number, text
from liverleaf.ingest.phases.descriptions import (
    ENHANCED,
    NUMBERED,
    PRE_AND_POST,
    PhaseGuess,
    described,
)
from liverleaf.ingest.phases.sequences import (
    agent_of,
    axial,
    made_of_others,
    odd_ones_out,
    place,
    taken,
)
from liverleaf.study import Modality, Phase

EARLY = {Phase.PRE, Phase.ARTERIAL, Phase.PORTAL}
"""Phases that are imaged once or twice."""

FIRST = 2.5
"""Logarithm of how much likelier a series is pre-contrast before the marks of an injection, and
arterial right behind them."""

LAST = 4.0
"""Logarithm of how much likelier the late phases are for a two-dimensional gradient echo after the
three-dimensional ones."""

PREFIX = r"\bph ?(\d+)(?: ?/ ?| (?=[a-z]))"
"""What some scanners put before the name of each time point."""


@dataclass(frozen=True)
class Clue:
    """What one header says by itself.

    Attributes:
        settled: the phase, or that there is none, once words or time tell it.
        clock_s: when it was taken, None when unknown.
        enhanced: whether it shows contrast agent, None when nothing tells.
        evidence: for being enhanced or not.
        looked: whether pixels told so.
        leaning: logarithms that speak for a phase without settling it.
    """

    settled: PhaseGuess | None
    clock_s: float | None
    enhanced: bool | None
    evidence: tuple[str, ...]
    looked: bool = False
    leaning: Mapping[Phase, float] = field(default_factory=dict)


def compare(series: Sequence[Dataset], clues: Sequence[Clue]) -> list[Clue]:
    """What the names, agents and techniques of the other series tell of each, added to what it says by itself.

    Args:
        series: one header per series or time point of one study.
        clues: what each says by itself.

    Returns:
        One clue per series, in order.
    """
    said = _numbered(series, _masks(series, _first_of_both(series, _shared(series, list(clues)))))
    out = _compare_agents(series, said)
    for index, (reason, confidence) in made_of_others(series, _possible(said)).items():
        if said[index].settled is None and said[index].enhanced is not True:
            out[index] = replace(out[index], settled=PhaseGuess(None, confidence, (reason,)))
    for index, odd in odd_ones_out(series, _possible(out)).items():
        if out[index].settled is None and out[index].enhanced is not True:
            found = PhaseGuess(None, odd[1], odd[:1]) if odd else None
            last = {} if odd else {Phase.DELAYED: LAST, Phase.HEPATOBILIARY: LAST}
            out[index] = replace(
                out[index],
                settled=found,
                leaning=last,
                evidence=() if odd else ("two-dimensional, after the others",),
            )
    return _threes(series, _before_the_agent(series, out))


def _possible(clues: Sequence[Clue]) -> list[int]:
    """Places of what may be phases."""
    return [
        index
        for index, clue in enumerate(clues)
        if clue.settled is None or clue.settled.phase is not None
    ]


def _before_the_agent(series: Sequence[Dataset], clues: list[Clue]) -> list[Clue]:
    """Let what was taken before the bolus was tracked, or before three series whose names speak of contrast agent, lean to before it."""
    moments = taken(series)
    said = [described(text(header, "SeriesDescription")) for header in series]
    names = Counter(said[index] for index in _possible(clues))
    latest = {
        name: max(moments[index] for index in _possible(clues) if said[index] == name)
        for name in names
    }
    excluded = [
        (moment, clue.settled.evidence[0])
        for moment, clue in zip(moments, clues, strict=True)
        if clue.settled is not None
    ]
    tracked = [moment for moment, why in excluded if why.startswith("bolus tracking")]
    open_ones = [
        index for index, clue in enumerate(clues) if clue.settled is None and clue.enhanced is True
    ]
    spoken = [index for index in open_ones if axial(series[index]) is not False]
    named = min((moments[index] for index in spoken), default=None) if len(spoken) >= 3 else None
    out = list(clues)
    for index in _possible(clues):
        clue, moment = clues[index], moments[index]
        if clue.settled is not None or clue.enhanced is not None or clue.leaning:
            continue
        name = said[index]
        if tracked and any(moments[other] > max(tracked) for other in _possible(clues)):
            before = moment < max(tracked)
            # a whole dynamic series: it was tracked after that
            if before and names[name] >= 4 and latest[name] < max(tracked):
                continue
            why = "before the bolus was tracked" if before else "after the bolus was tracked"
            out[index] = replace(
                clue, leaning={Phase.PRE: FIRST if before else -FIRST}, evidence=(why,)
            )
        elif named is not None and moment < named and names[name] < 3:
            out[index] = replace(
                clue,
                leaning={Phase.PRE: FIRST},
                evidence=("before those that speak of contrast agent",),
            )
    return out


def _threes(series: Sequence[Dataset], clues: list[Clue]) -> list[Clue]:
    """Let the first of three in a row of one name, behind others, lean to the arterial phase and those before to the pre-contrast one."""
    moments = taken(series)
    members = sorted(_possible(clues), key=lambda index: moments[index])
    points = Counter(whole(header) for header in series)
    alike = [
        whole(header) if points[whole(header)] >= 3 else (whole(header)[0], None)
        for header in series
    ]
    runs = [list(run) for name, run in groupby(members, key=lambda index: alike[index]) if name[0]]
    longest = next(
        (
            run
            for run in runs
            if len(run) >= 3 and all(clues[index].settled is None for index in run)
        ),
        [],
    )
    out = list(clues)
    if len(longest) == 3 and not clues[longest[0]].leaning:
        before = members[: members.index(longest[0])]
        for index in before:
            if (
                clues[index].settled is None
                and clues[index].enhanced is None
                and not clues[index].leaning
            ):
                out[index] = replace(
                    clues[index],
                    leaning={Phase.PRE: 0.5 * FIRST},
                    evidence=("before three of one name",),
                )
        if before:
            first = clues[longest[0]]
            weights = {Phase.PRE: -FIRST, Phase.ARTERIAL: FIRST}
            out[longest[0]] = replace(
                first, leaning=weights, evidence=(*first.evidence, "the first of three of one name")
            )
    return out


def _shared(series: Sequence[Dataset], clues: list[Clue]) -> list[Clue]:
    """Take back a phase where three or more time points of one name bear it, in CT "pre" only: it names the whole."""
    stems = [re.sub(PREFIX, "", described(text(header, "SeriesDescription"))) for header in series]
    moments = [place(header, small_numbers=False) for header in series]
    earliest = [
        EARLY if text(header, "Modality") == Modality.MR else {Phase.PRE} for header in series
    ]
    early = [
        clue.settled is not None and clue.settled.phase in phases
        for clue, phases in zip(clues, earliest, strict=True)
    ]
    points = Counter(
        stem
        for stem, _ in {
            (stem, moment) for stem, moment, one in zip(stems, moments, early, strict=True) if one
        }
    )
    return [
        replace(clue, settled=None) if one and points[stem] >= 3 else clue
        for clue, stem, one in zip(clues, stems, early, strict=True)
    ]


def _first_of_both(series: Sequence[Dataset], clues: list[Clue]) -> list[Clue]:
    """Let the first time point of what is called "pre and post" lean to the pre-contrast phase."""
    points: dict[tuple[str, float | None], list[int]] = {}
    said = {described(text(header, "SeriesDescription")) for header in series}
    for index, (header, clue) in enumerate(zip(series, clues, strict=True)):
        masked = whole(header)[1] is None and whole(header)[0] in said
        if (
            clue.settled is None
            and not masked
            and re.search(PRE_AND_POST, described(text(header, "SeriesDescription")))
        ):
            points.setdefault(whole(header), []).append(index)
    out = list(clues)
    for members in points.values():
        if len(members) > 1:
            first = min(
                members,
                key=lambda index: (
                    clues[index].clock_s or 0.0,
                    place(series[index], small_numbers=False),
                ),
            )
            out[first] = replace(
                clues[first],
                leaning={Phase.PRE: 4.0},
                evidence=("the first of what is called pre and post",),
            )
    return out


def _numbered(series: Sequence[Dataset], clues: list[Clue]) -> list[Clue]:
    """Let numbers of phases lean: the first after the injection is arterial, where something before it can be the pre-contrast phase."""
    said = [described(text(header, "SeriesDescription")) for header in series]
    numbers = [
        int(found[found.lastindex or 0]) if (found := re.search(NUMBERED, plain)) else None
        for plain in said
    ]
    out = list(clues)
    for index, count in enumerate(numbers):
        after = clues[index].enhanced is True or any(clue.leaning.get(Phase.PRE) for clue in clues)
        if count == 1 and clues[index].settled is None and after:
            out[index] = replace(clues[index], leaning={Phase.ARTERIAL: 2.0, Phase.PRE: -2.0})
    return out


def _masks(series: Sequence[Dataset], clues: list[Clue]) -> list[Clue]:
    """Take a series whose name others bear with a number before it ("Ph1/...") or a word for contrast agent for the one before these."""
    said = [described(text(header, "SeriesDescription")) for header in series]
    numbered = {re.sub(PREFIX, "", plain) for plain in said if re.search(PREFIX, plain)}
    enhanced = {
        " ".join(re.sub(ENHANCED, " ", plain).split())
        for plain in said
        if re.search(ENHANCED, plain)
    }
    out = list(clues)
    for index, (plain, clue) in enumerate(zip(said, clues, strict=True)):
        if clue.settled is None and plain and plain in numbered:
            out[index] = replace(
                clue,
                enhanced=None,
                leaning={Phase.PRE: 4.0},
                evidence=("others bear its name with a number",),
            )
        elif (
            clue.settled is None
            and clue.enhanced is None
            and not clue.leaning
            and plain in enhanced
        ):
            out[index] = replace(
                clue,
                leaning={Phase.PRE: 2.0},
                evidence=("others bear its name with a word for contrast agent",),
            )
    return out


def _compare_agents(series: Sequence[Dataset], clues: list[Clue]) -> list[Clue]:
    """Where some series name an agent and others do not, the ones without are taken as scanned before it; a lone name is a hint only."""
    candidates = [
        index
        for index, clue in enumerate(clues)
        if clue.settled is None or clue.settled.phase is not None
    ]
    named = {index: agent_of(series[index]) is not None for index in candidates}
    given = [
        index for index in candidates if agent_of(series[index], in_description=False) is not None
    ]
    first_given_s = min((clues[index].clock_s or 0.0 for index in given), default=-np.inf)
    out = list(clues)
    for index in candidates:
        clue = clues[index]
        if clue.enhanced is not None or not any(named.values()):
            continue
        if named[index] and (len(candidates) == 1 or not all(named.values())):
            out[index] = replace(
                clue, enhanced=True, evidence=("its headers name a contrast agent",)
            )
        elif not named[index] and clue.clock_s is not None and clue.clock_s < first_given_s:
            out[index] = replace(
                clue,
                enhanced=False,
                evidence=("its headers name no contrast agent, those of later series do",),
            )
    return out


def whole(header: Dataset) -> tuple[str, float | None]:
    """What the time points of one acquisition share: the name behind their number, or their series number."""
    said = described(text(header, "SeriesDescription"))
    stem = re.sub(PREFIX, "", said)
    return (stem, None) if stem != said else (said, number(header, "SeriesNumber"))
