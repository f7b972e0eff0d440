"""Technical elements of headers in, out which series are no contrast phase by them, how these follow each other, and what was injected."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydicom import Dataset

from liverleaf.ingest.dicom.frames import DAY_S, acquired_s, number, seconds_of_day, text, words
from liverleaf.ingest.phases.descriptions import (
    AGENTS,
    WORDS,
    described,
    plain_words,
    seconds_in_words,
)
from liverleaf.study import Modality, Phase

Reason = tuple[str, float]
"""Why a series is no contrast phase, in words, and how sure that is."""

LONG_WAIT_S = 840.0
"""Hardly anybody waits so long in MR without an agent that hepatocytes take up."""

UNKNOWN_AGENT = "unknown agent"

PROCEDURE = (
    "StudyDescription",
    "ProtocolName",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
    "SeriesDescription",
)
"""Where agents are named beside their own element."""

SOLID = r"vibe|lava|thrive|\bfame\b|(\b|fl)3 ?d|caipi"
FLAT = (
    r"\bfl ?2d|\bflash\b|\bt1 tfl\b|\bf?spgr\b|\bf?gre\b|^(sc: ?)?(ax(ial)?|tra|cor(onal)?) t1$|^t1"
    r" (ax|tra|cor)( nav)?$"
)
"""Names of three- and of two-dimensional gradient echoes."""

FAT_SUPPRESSED = r"\bfs\b|fat.?sat|spair"

LONG_TR_MS = 80.0
LONGEST_TE_MS = 12.0

OTHER_CONTRASTS = {
    "FAT", "FAT_FRACTION", "F", "FF", "IN_PHASE", "OUT_PHASE", "OPP_PHASE", "IP", "OP", "INPHASE", "OUTPHASE", "IN PHASE", "OUT PHASE",
    "ADC", "DIFFUSION", "TRACEW", "PHASE MAP", "T1 MAP", "T2 MAP", "T2_STAR MAP", "R2_STAR MAP", "R2STAR", "T2STAR", "PERFUSION",
}  # fmt: skip
OTHER_SEQUENCES = ("tfi", "ep", "h2d", "tse", "spc", "tir", "re_", "spcir", "b_")
"""How Siemens' names of sequences begin, after "*" or "_", which are not T1-weighted gradient
echoes."""


def ruled_out(header: Dataset) -> Reason | None:
    """Why this series can be no contrast phase by its technical elements, None when it can.

    >>> header = Dataset()
    >>> header.Modality, header.EchoTime = "MR", 90
    >>> ruled_out(header)
    ('echo time 90 ms: not T1-weighted', 0.98)
    """
    kind = {part.upper() for part in words(header, "ImageType")}
    if text(header, "Modality") not in ("", *Modality):
        return "no image of CT or MR", 1.0
    if kind & {"LOCALIZER", "SCOUT"}:
        return "a localizer by its image type", 1.0
    if kind & {"SUBTRACT", "SUBTRACTION", "SUB"}:
        return "a subtraction by its image type", 0.98
    if kind & {"MIP", "MAX_IP", "MPR_THICK"} or "PROJECTION" in " ".join(kind):
        return "a projection by its image type", 0.98
    if kind & OTHER_CONTRASTS:
        return "another contrast by its image type", 0.98
    return _not_t1_weighted(header) if text(header, "Modality") == Modality.MR else None


def _not_t1_weighted(header: Dataset) -> Reason | None:
    echo_ms = number(header, "EchoTime")
    scanning = set(words(header, "ScanningSequence"))
    variant = set(words(header, "SequenceVariant"))
    if echo_ms is not None and echo_ms > LONGEST_TE_MS:
        return f"echo time {echo_ms:.0f} ms: not T1-weighted", 0.98
    if "EP" in scanning:
        return "echo-planar imaging", 0.98
    if scanning and "GR" not in scanning and "RM" not in scanning:
        return "a spin echo", 0.97
    if text(header, "SequenceName").lstrip("*_").lower().startswith(OTHER_SEQUENCES):
        return "not a T1-weighted gradient echo by the sequence's name", 0.98
    repetition_ms, flip = number(header, "RepetitionTime"), number(header, "FlipAngle")
    plane = text(header, "MRAcquisitionType") == "2D"
    if "SS" in variant and "SP" not in variant and (plane or (flip or 0) > 35):
        return "a balanced gradient echo", 0.98
    if repetition_ms is not None and repetition_ms < 20 and (plane or (flip or 0) > 45):
        return (
            "a fast two-dimensional gradient echo: localizer, bolus tracking, balanced or cine",
            0.97,
        )
    if plane and (number(header, "SliceThickness") or 0) >= 15:
        return "one thick slice: bolus tracking or a projection", 0.97
    if (number(header, "EchoNumbers") or 1) > 2 or (
        repetition_ms is not None and 7.5 < repetition_ms < LONG_TR_MS and (flip or 90) <= 7
    ):
        return "a multi-echo measurement of fat or iron", 0.92
    return None


def odd_ones_out(series: Sequence[Dataset], possible: Sequence[int]) -> dict[int, Reason | None]:
    """Which series of a study are no contrast phases when seen beside the others, and why.

    These are pairs with echo times of one to two (in- and opposed-phase images), and
    two-dimensional gradient echoes without fat suppression beside three-dimensional ones.

    Args:
        series: all headers of the study.
        possible: places of those that may be phases by themselves.

    Returns:
        By place; None for a two-dimensional gradient echo that was taken after the
            three-dimensional ones, and so after the contrast agent.
    """
    echoes: dict[int, tuple[float, float, float]] = {}
    for index, header in enumerate(series):
        repetition_ms, echo_ms = number(header, "RepetitionTime"), number(header, "EchoTime")
        if (
            text(header, "Modality") == Modality.MR
            and repetition_ms
            and echo_ms
            and ruled_out(header) is None
        ):
            echoes[index] = (repetition_ms, number(header, "FlipAngle") or 0.0, echo_ms)
    repeats = Counter(echoes.values())
    found: dict[int, Reason | None] = {**_flat(series, possible), **_bare(series)}
    for one, (repetition_ms, flip, echo_ms) in echoes.items():
        for two, (other_ms, other_flip, long_ms) in echoes.items():
            alike = abs(repetition_ms - other_ms) < 0.01 * repetition_ms and flip == other_flip
            if alike and 1.7 < long_ms / echo_ms < 2.4:
                found |= {
                    n: ("one of a pair of echo times: in- or opposed-phase", 0.97)
                    for n in (one, two)
                    if repeats[echoes[n]] <= 2
                }
    return found


def _flat(series: Sequence[Dataset], possible: Sequence[int]) -> dict[int, Reason | None]:
    """The two-dimensional gradient echoes beside three-dimensional ones."""
    moments = taken(series)
    deep = {index: _three_dimensional(series[index]) for index in possible}
    solid = [moments[index] for index, three in deep.items() if three]
    found: dict[int, Reason | None] = {}
    for index, three in deep.items():
        before = sum(moment < moments[index] for moment in solid)
        if (
            three is False
            and len(solid) >= 3
            and not re.search(FAT_SUPPRESSED, described(text(series[index], "SeriesDescription")))
        ):
            last = before >= 3 and before > len(solid) - before
            found[index] = (
                None
                if last
                else ("a two-dimensional gradient echo beside three-dimensional ones", 0.92)
            )
    return found


def _three_dimensional(header: Dataset) -> bool | None:
    """Whether a gradient echo is three-dimensional, by its element or else by its name; None when nothing tells."""
    if text(header, "Modality") != Modality.MR:
        return None
    if kind := text(header, "MRAcquisitionType"):
        return kind == "3D"
    said = described(text(header, "SeriesDescription"))
    return True if re.search(SOLID, said) else False if re.search(FLAT, said) else None


def made_of_others(series: Sequence[Dataset], possible: Sequence[int]) -> dict[int, Reason]:
    """The derived MR series beside original ones, such as subtractions without a name; images of water are derived too."""
    mr = [index for index in possible if text(series[index], "Modality") == Modality.MR]
    kinds = {index: {part.upper() for part in words(series[index], "ImageType")} for index in mr}
    water = {index for index, kind in kinds.items() if kind & {"W", "WATER"}}
    derived = [index for index, kind in kinds.items() if "DERIVED" in kind and index not in water]
    original = len(water) + sum(
        "ORIGINAL" in kind for index, kind in kinds.items() if index not in water
    )
    return (
        dict.fromkeys(derived, ("made of other series by its image type", 0.85))
        if original >= max(len(derived) / 2, 2)
        else {}
    )


def taken(series: Sequence[Dataset]) -> list[tuple[float, ...]]:
    """What orders the series of a study: their times where all have one, then their numbers."""
    clocks = clocks_of(series)
    small = sum((number(header, "SeriesNumber") or 0) < 100 for header in series) > 1
    return [
        (0.0 if clock_s is None or None in clocks else clock_s, *place(header, small_numbers=small))
        for header, clock_s in zip(series, clocks, strict=True)
    ]


def _bare(series: Sequence[Dataset]) -> dict[int, Reason]:
    """The MR series that lack all technical elements where nearly all others have them: pictures of screens, reports and the like."""
    bare = [
        index
        for index, header in enumerate(series)
        if text(header, "Modality") == Modality.MR
        and not any(
            text(header, keyword) for keyword in ("EchoTime", "RepetitionTime", "ScanningSequence")
        )
    ]
    return (
        dict.fromkeys(bare, ("without the technical elements that the others have", 0.92))
        if 3 * len(bare) < len(series)
        else {}
    )


def rapid_runs(series: Sequence[Dataset]) -> dict[int, float]:
    """Probability that n and n + 1 are seconds apart, by place n: time points of one series of many, or of three that axial series follow.

    Args:
        series: what may be phases, in order.
    """
    numbers = [number(header, "SeriesNumber") for header in series]
    runs: dict[int, float] = {}
    start = 0
    for n in range(1, len(numbers) + 1):
        if n < len(numbers) and numbers[n] is not None and numbers[n] == numbers[start]:
            continue
        following = sum(axial(header) is not False for header in series[n:])
        count = n - start
        if count >= 7 or (count >= 3 and following >= 2):
            # the more of them, the less they are breath-holds
            rapid = min(1.0, max(0.1, 0.6 * count - 2.1))
            runs |= dict.fromkeys(range(start, n - 1), rapid)
        start = n
    return runs


def clocks_of(series: Sequence[Dataset]) -> list[float | None]:
    """When each was taken, in seconds; time points that were all given the time of their series are told apart by their trigger times."""
    clocks = [acquired_s(header) for header in series]
    triggers = [number(header, "TriggerTime") for header in series]
    whole = [
        (number(header, "SeriesNumber"), clock_s)
        for header, clock_s in zip(series, clocks, strict=True)
    ]
    delays = {
        one: {trigger for two, trigger in zip(whole, triggers, strict=True) if one == two}
        for one in whole
    }
    return [
        (
            clock_s + trigger_ms / 1000
            if clock_s is not None and trigger_ms is not None and len(delays[one]) > 1
            else clock_s
        )
        for one, clock_s, trigger_ms in zip(whole, clocks, triggers, strict=True)
    ]


def slow_sequence(header: Dataset) -> bool:
    """Whether this is a sequence that takes minutes, such as T2- or diffusion-weighted imaging, MRCP or elastography."""
    return bool(
        (number(header, "EchoTime") or 0) > LONGEST_TE_MS
        or "EP" in words(header, "ScanningSequence")
    )


def axial(header: Dataset) -> bool | None:
    """Whether the slices are axial, None when the header does not tell."""
    value = words(header, "ImageOrientationPatient")
    if len(value) != 6:
        return None
    direction = np.array([float(part) for part in value])
    normal = np.cross(direction[:3], direction[3:])
    return bool(abs(normal[2]) > 0.7 * np.linalg.norm(normal))


def place(header: Dataset, *, small_numbers: bool) -> tuple[float, ...]:
    """What orders the series of a study where times do not: series number, then what counts time points.

    Args:
        header: of one series or time point.
        small_numbers: whether most series of the study have numbers below 100; series 501 then was
            made of series 5.
    """
    series = number(header, "SeriesNumber") or 0.0
    if small_numbers and series >= 100:
        series /= 100 if series < 10000 else 1000
    points = ("TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime", "InstanceNumber")
    return (series, *(number(header, keyword) or 0.0 for keyword in points))


def seconds_after_injection(header: Dataset) -> float | None:
    """From the start of the contrast bolus to the acquisition, None when the header lacks one or they are over three hours apart."""
    profile = [
        step
        for item in header.get("ContrastBolusAgentSequence") or ()
        for step in item.get("ContrastAdministrationProfileSequence") or ()
    ]
    starts = [seconds_of_day(text(item, "ContrastBolusStartTime")) for item in (header, *profile)]
    start = next((value for value in starts if value is not None), None)
    taken = acquired_s(header)
    if start is None or taken is None:
        return None
    seconds = (taken - start + DAY_S / 2) % DAY_S - DAY_S / 2
    return seconds if abs(seconds) <= 3 * 3600 else None


def unless_shared(
    seconds: Sequence[float | None], phases: Sequence[Phase | None]
) -> list[float | None]:
    """Times after injection, None for those that series of different phases share: headers that lost the time of the scan repeat one."""
    at: dict[float, set[Phase]] = {}
    for value, phase in zip(seconds, phases, strict=True):
        if value is not None and phase is not None:
            at.setdefault(value, set()).add(phase)
    return [None if value is None or len(at.get(value, ())) > 1 else value for value in seconds]


def agent_of(header: Dataset, *, in_description: bool = True) -> str | None:
    """The contrast agent by its generic name, UNKNOWN_AGENT for one that is not in the list, None without one."""
    description = described(text(header, "SeriesDescription")) if in_description else ""
    coded = [text(item, "CodeMeaning") for item in header.get("ContrastBolusAgentSequence") or ()]
    given = plain_words(" ".join([text(header, "ContrastBolusAgent"), *coded]))
    for name, pattern in AGENTS.items():
        if re.search(pattern, f"{given} {description}"):
            return name
    return (
        None
        if re.fullmatch(r"|no\b.*|none|n/?a|0|without.*|null|unknown", given)
        else UNKNOWN_AGENT
    )


def hepatobiliary_agent(series: Sequence[Dataset]) -> bool | None:
    """Whether the agent has a hepatobiliary phase minutes after injection, None where nothing tells; in CT none has."""
    if not any(text(header, "Modality") == Modality.MR for header in series):
        return False
    said = {described(text(header, keyword)) for header in series for keyword in PROCEDURE}
    agents = {agent_of(header) for header in series} - {None, UNKNOWN_AGENT}
    agents |= {
        name for name, pattern in AGENTS.items() if any(re.search(pattern, plain) for plain in said)
    }
    if agents:
        return "gadoxetate" in agents
    names = [described(text(header, "SeriesDescription")) for header in series]
    waited = [seconds_after_injection(header) or 0.0 for header in series] + [
        seconds_in_words(plain) or 0.0 for plain in names
    ]
    named = any(re.search(WORDS[Phase.HEPATOBILIARY], plain) for plain in names)
    return True if named or max(waited, default=0.0) >= LONG_WAIT_S else None
