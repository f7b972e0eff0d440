"""Technical elements of headers: what is excluded as a contrast phase, the order, the agent."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from pydicom import Dataset

from liverleaf.ingest.dicom.frames import DAY_S, acquired_s, number, seconds_of_day, text, words
from liverleaf.ingest.phases.descriptions import (
    AGENTS,
    WORDS,
    plain_words,
    searchable,
    seconds_in_words,
)
from liverleaf.ingest.phases.reasons import PhaseGuess, ReasonCode, not_a_phase
from liverleaf.study import Modality, Phase

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

NAMES_3D = r"vibe|lava|thrive|\bfame\b|(\b|fl)3 ?d|caipi"
NAMES_2D = (
    r"\bfl ?2d|\bflash\b|\bt1 tfl\b|\bf?spgr\b|\bf?gre\b|^(sc: ?)?(ax(ial)?|tra|cor(onal)?) t1$|"
    "^t1 (ax|tra|cor)( nav)?$"
)
"""Names of three- and of two-dimensional gradient echoes."""

FAT_SUPPRESSED = r"\bfs\b|fat.?sat|spair"

TECHNIQUE = ("EchoTime", "RepetitionTime", "FlipAngle")
"""Elements that change the contrast of a gradient echo."""

TECHNIQUE_TOLERANCE = 0.2
"""Share by which they may differ between the series of one dynamic acquisition."""

SMALL_FLIP_DEG, USUAL_FLIP_DEG = 5.0, 8.0
"""Below the one a gradient echo is hardly T1-weighted, from the other on it is."""

LONG_TR_MS = 80.0
LONGEST_TE_MS = 12.0

OTHER_CONTRASTS = {
    *("FAT", "FAT_FRACTION", "F", "FF", "IN_PHASE", "OUT_PHASE", "OPP_PHASE", "IP", "OP"),
    *("INPHASE", "OUTPHASE", "IN PHASE", "OUT PHASE", "ADC", "DIFFUSION", "TRACEW", "PERFUSION"),
    *("PHASE MAP", "T1 MAP", "T2 MAP", "T2_STAR MAP", "R2_STAR MAP", "R2STAR", "T2STAR"),
}
"""Words of Image Type for images other than T1-weighted ones with their water."""

OTHER_CONTRASTS_OF_CT = {"FAT", "FAT_FRACTION", "PERFUSION"}
"""The same in CT, whose dual energies tell fat from water; the others mean something in MR only."""

OTHER_SEQUENCES = ("tfi", "ep", "h2d", "tse", "spc", "tir", "re_", "spcir", "b_")
"""How Siemens' names of sequences begin, after "*" or "_", which are not T1-weighted gradient
echoes."""


def excluded_by_technique(header: Dataset) -> PhaseGuess | None:
    """Why this series can be no contrast phase by its technical elements, None when it can.

    >>> header = Dataset()
    >>> header.Modality, header.EchoTime = "MR", 90
    >>> excluded_by_technique(header).evidence
    ('echo time 90 ms: not T1-weighted',)
    """
    image_type = {part.upper() for part in words(header, "ImageType")}
    if text(header, "Modality") not in ("", *Modality):
        return not_a_phase(1.0, ReasonCode.NOT_CT_OR_MR)
    if image_type & {"LOCALIZER", "SCOUT"}:
        return not_a_phase(1.0, ReasonCode.LOCALIZER_BY_IMAGE_TYPE)
    if image_type & {"SUBTRACT", "SUBTRACTION", "SUB"}:
        return not_a_phase(0.98, ReasonCode.SUBTRACTION_BY_IMAGE_TYPE)
    if image_type & {"MIP", "MAX_IP", "MPR_THICK"} or "PROJECTION" in " ".join(image_type):
        return not_a_phase(0.98, ReasonCode.PROJECTION_BY_IMAGE_TYPE)
    ct = text(header, "Modality") == Modality.CT
    if image_type & (OTHER_CONTRASTS_OF_CT if ct else OTHER_CONTRASTS):
        return not_a_phase(0.98, ReasonCode.OTHER_CONTRAST_BY_IMAGE_TYPE)
    return _not_t1_weighted(header) if text(header, "Modality") == Modality.MR else None


def _not_t1_weighted(header: Dataset) -> PhaseGuess | None:
    echo_ms = number(header, "EchoTime")
    scanning = set(words(header, "ScanningSequence"))
    if echo_ms is not None and echo_ms > LONGEST_TE_MS:
        return not_a_phase(0.98, ReasonCode.LONG_ECHO_TIME, echo_ms=echo_ms)
    if "EP" in scanning:
        return not_a_phase(0.98, ReasonCode.ECHO_PLANAR)
    if scanning and "GR" not in scanning and "RM" not in scanning:
        return not_a_phase(0.97, ReasonCode.SPIN_ECHO_BY_SEQUENCE)
    if text(header, "SequenceName").lstrip("*_").lower().startswith(OTHER_SEQUENCES):
        return not_a_phase(0.98, ReasonCode.OTHER_SEQUENCE_NAME)
    return _not_a_spoiled_gradient_echo(header)


def _not_a_spoiled_gradient_echo(header: Dataset) -> PhaseGuess | None:
    variant = set(words(header, "SequenceVariant"))
    repetition_ms, flip = number(header, "RepetitionTime"), number(header, "FlipAngle")
    two_dimensional = text(header, "MRAcquisitionType") == "2D"
    if "SS" in variant and "SP" not in variant and (two_dimensional or (flip or 0) > 35):
        return not_a_phase(0.98, ReasonCode.BALANCED_BY_SEQUENCE)
    if repetition_ms is not None and repetition_ms < 20 and (two_dimensional or (flip or 0) > 45):
        return not_a_phase(0.97, ReasonCode.FAST_2D)
    if two_dimensional and (number(header, "SliceThickness") or 0) >= 15:
        return not_a_phase(0.97, ReasonCode.ONE_THICK_SLICE)
    if (number(header, "EchoNumbers") or 1) > 2 or (
        repetition_ms is not None and 7.5 < repetition_ms < LONG_TR_MS and (flip or 90) <= 7
    ):
        return not_a_phase(0.92, ReasonCode.MULTI_ECHO)
    return None


def excluded_by_comparison(
    series: Sequence[Dataset], possible: Sequence[int]
) -> dict[int, PhaseGuess | None]:
    """Which series of a study are no contrast phases when seen beside the others, and why.

    These are pairs with echo times of one to two (in- and opposed-phase images), two-dimensional
    gradient echoes without fat suppression beside three-dimensional ones, series without technical
    elements, and those of `excluded_by_parameters`.

    Args:
        series: all headers of the study.
        possible: indices of those that may be phases by themselves.

    Returns:
        By index; None for a two-dimensional gradient echo that was taken after the
            three-dimensional ones, and so after the contrast agent.
    """
    return {
        **_two_dimensional_beside_3d(series, possible),
        **_without_technique(series),
        **excluded_by_parameters(series, possible),
        **_echo_time_pairs(series),
    }


def alike(one: Dataset, two: Dataset, keywords: Sequence[str]) -> bool:
    """Whether elements of two headers are alike, or unknown in one of them."""
    pairs = [(number(one, keyword), number(two, keyword)) for keyword in keywords]
    return all(
        a is None or b is None or abs(a - b) <= TECHNIQUE_TOLERANCE * max(abs(a), abs(b))
        for a, b in pairs
    )


def excluded_by_parameters(
    series: Sequence[Dataset], possible: Sequence[int]
) -> dict[int, PhaseGuess]:
    """Which MR series differ from others by their echo time or flip angle alone, and why.

    These are the echoes of one acquisition, series of three or more flip angles, one each, and
    series whose flip angle is too small for T1 weighting. They are no contrast phases, with
    contrast agent or without.

    Args:
        series: all headers of the study.
        possible: indices of those that may be phases by themselves.
    """
    found: dict[int, PhaseGuess] = {}
    mr = [index for index in possible if text(series[index], "Modality") == Modality.MR]
    for index in mr:
        beside = [other for other in mr if axial(series[other]) is axial(series[index])]
        flip = number(series[index], "FlipAngle") or 0.0
        angles = [
            number(series[other], "FlipAngle") or 0.0
            for other in beside
            if alike(series[index], series[other], ("EchoTime", "RepetitionTime"))
        ]
        if flip and len(angles) >= 3 and len(set(angles)) == len(angles):
            found[index] = not_a_phase(0.92, ReasonCode.SEVERAL_FLIP_ANGLES)
        elif 0 < flip <= SMALL_FLIP_DEG and max(angles) >= USUAL_FLIP_DEG:
            found[index] = not_a_phase(0.92, ReasonCode.SMALL_FLIP_ANGLE, degrees=flip)
        elif _other_echoes(series, index, beside):
            found[index] = not_a_phase(0.92, ReasonCode.MULTI_ECHO)
    return found


def _other_echoes(series: Sequence[Dataset], index: int, beside: Sequence[int]) -> bool:
    """Whether a series is one echo of an acquisition that has others.

    They are of one moment, or without times have numbers side by side, or are three or more of one
    echo time each. What has its echo time more than twice is a dynamic acquisition.
    """
    header = series[index]
    same = [series[other] for other in beside if alike(header, series[other], TECHNIQUE[1:])]
    others = [other for other in same if not alike(header, other, ("EchoTime",))]
    if len(same) - len(others) > 2:
        return False
    moment, place = acquired_s(header), number(header, "SeriesNumber")
    for other in others:
        other_moment, other_place = acquired_s(other), number(other, "SeriesNumber")
        if None not in (moment, other_moment):
            if moment == other_moment:
                return True
        elif place is not None and other_place is not None and abs(place - other_place) <= 1:
            return True
    echoes = [number(one, "EchoTime") for one in same]
    return len(others) >= 2 and len(others) == len(same) - 1 and len(set(echoes)) == len(echoes)


def _echo_time_pairs(series: Sequence[Dataset]) -> dict[int, PhaseGuess | None]:
    """The pairs of in- and opposed-phase images: alike but for echo times of one to two."""
    echoes: dict[int, tuple[float, float, float]] = {}
    for index, header in enumerate(series):
        repetition_ms, echo_ms = number(header, "RepetitionTime"), number(header, "EchoTime")
        if (
            text(header, "Modality") == Modality.MR
            and repetition_ms
            and echo_ms
            and excluded_by_technique(header) is None
        ):
            echoes[index] = (repetition_ms, number(header, "FlipAngle") or 0.0, echo_ms)
    repeats = Counter(echoes.values())
    found: dict[int, PhaseGuess | None] = {}
    for one, (repetition_ms, flip, echo_ms) in echoes.items():
        for two, (other_ms, other_flip, long_ms) in echoes.items():
            alike = abs(repetition_ms - other_ms) < 0.01 * repetition_ms and flip == other_flip
            if alike and 1.7 < long_ms / echo_ms < 2.4:
                found |= {
                    index: not_a_phase(0.97, ReasonCode.ECHO_TIME_PAIR)
                    for index in (one, two)
                    if repeats[echoes[index]] <= 2
                }
    return found


def _two_dimensional_beside_3d(
    series: Sequence[Dataset], possible: Sequence[int]
) -> dict[int, PhaseGuess | None]:
    """The two-dimensional gradient echoes beside three-dimensional ones."""
    order = acquisition_order(series)
    dimensions = {index: _three_dimensional(series[index]) for index in possible}
    order_3d = [order[index] for index, is_3d in dimensions.items() if is_3d]
    found: dict[int, PhaseGuess | None] = {}
    for index, is_3d in dimensions.items():
        description = searchable(text(series[index], "SeriesDescription"))
        if is_3d is False and len(order_3d) >= 3 and not re.search(FAT_SUPPRESSED, description):
            before = sum(key < order[index] for key in order_3d)
            last = before >= 3 and before > len(order_3d) - before
            excluded = not_a_phase(0.92, ReasonCode.TWO_DIMENSIONAL_BESIDE_3D)
            found[index] = None if last else excluded
    return found


def _three_dimensional(header: Dataset) -> bool | None:
    """Whether a gradient echo is three-dimensional, by its element or name; None when unknown."""
    if text(header, "Modality") != Modality.MR:
        return None
    if dimensions := text(header, "MRAcquisitionType"):
        return dimensions == "3D"
    description = searchable(text(header, "SeriesDescription"))
    if re.search(NAMES_3D, description):
        return True
    return False if re.search(NAMES_2D, description) else None


def derived_series(series: Sequence[Dataset], possible: Sequence[int]) -> dict[int, PhaseGuess]:
    """The derived MR series beside original ones, such as subtractions without a name.

    Images of water are derived too, and may be phases.
    """
    mr = [index for index in possible if text(series[index], "Modality") == Modality.MR]
    types = {index: {part.upper() for part in words(series[index], "ImageType")} for index in mr}
    water = {index for index, type_ in types.items() if type_ & {"W", "WATER"}}
    others = {index: type_ for index, type_ in types.items() if index not in water}
    derived = [index for index, type_ in others.items() if "DERIVED" in type_]
    original = len(water) + sum("ORIGINAL" in type_ for type_ in others.values())
    if original < max(len(derived) / 2, 2):
        return {}
    return dict.fromkeys(derived, not_a_phase(0.85, ReasonCode.DERIVED))


def acquisition_order(series: Sequence[Dataset]) -> list[tuple[float, ...]]:
    """Sort keys of the series of a study: times where all have one, then series numbers."""
    times_s = acquisition_times(series)
    small = have_small_numbers(series)
    return [
        (
            0.0 if time_s is None or None in times_s else time_s,
            *series_sort_key(header, small_numbers=small),
        )
        for header, time_s in zip(series, times_s, strict=True)
    ]


def have_small_numbers(series: Sequence[Dataset]) -> bool:
    """Whether series of the study have numbers below 100; series 501 then was made of series 5."""
    return sum((number(header, "SeriesNumber") or 0) < 100 for header in series) > 1


def _without_technique(series: Sequence[Dataset]) -> dict[int, PhaseGuess | None]:
    """The MR series that lack all technical elements where nearly all others have them.

    They are pictures of screens, reports and the like.
    """
    keywords = ("EchoTime", "RepetitionTime", "ScanningSequence")
    without = [
        index
        for index, header in enumerate(series)
        if text(header, "Modality") == Modality.MR
        and not any(text(header, keyword) for keyword in keywords)
    ]
    if 3 * len(without) >= len(series):
        return {}
    return dict.fromkeys(without, not_a_phase(0.92, ReasonCode.WITHOUT_TECHNIQUE))


def rapid_runs(series: Sequence[Dataset]) -> dict[int, float]:
    """Probability that series n and n + 1 are seconds apart, by n.

    They are time points of one series of many, or of one of three that axial series follow.

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


def acquisition_times(series: Sequence[Dataset]) -> list[float | None]:
    """When each series was taken, in seconds on one clock; None when unknown.

    Time points that were all given the time of their series are told apart by their trigger times.
    """
    times_s = [acquired_s(header) for header in series]
    triggers = [number(header, "TriggerTime") for header in series]
    acquisitions = [
        (number(header, "SeriesNumber"), time_s)
        for header, time_s in zip(series, times_s, strict=True)
    ]
    delays = defaultdict[tuple[float | None, float | None], set[float | None]](set)
    for acquisition, trigger_ms in zip(acquisitions, triggers, strict=True):
        delays[acquisition].add(trigger_ms)
    return [
        (
            time_s + trigger_ms / 1000
            if time_s is not None and trigger_ms is not None and len(delays[acquisition]) > 1
            else time_s
        )
        for acquisition, time_s, trigger_ms in zip(acquisitions, times_s, triggers, strict=True)
    ]


def slow_sequence(header: Dataset) -> bool:
    """Whether the sequence takes minutes: T2- or diffusion-weighted, MRCP, elastography."""
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


def series_sort_key(header: Dataset, *, small_numbers: bool) -> tuple[float, ...]:
    """Sort key of a series where times do not order it: its number, then what counts time points.

    Args:
        header: of one series or time point.
        small_numbers: as `have_small_numbers` tells.
    """
    series = number(header, "SeriesNumber") or 0.0
    if small_numbers and series >= 100:
        series /= 100 if series < 10000 else 1000
    points = ("TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime", "InstanceNumber")
    return (series, *(number(header, keyword) or 0.0 for keyword in points))


def seconds_after_injection(header: Dataset) -> float | None:
    """Seconds from the start of the contrast bolus to the acquisition.

    None when the header lacks one of the two, or they are over three hours apart.
    """
    profile = [
        step
        for item in header.get("ContrastBolusAgentSequence") or ()
        for step in item.get("ContrastAdministrationProfileSequence") or ()
    ]
    starts = [seconds_of_day(text(item, "ContrastBolusStartTime")) for item in (header, *profile)]
    start = next((value for value in starts if value is not None), None)
    time_s = acquired_s(header)
    if start is None or time_s is None:
        return None
    seconds = (time_s - start + DAY_S / 2) % DAY_S - DAY_S / 2
    return seconds if abs(seconds) <= 3 * 3600 else None


def drop_shared_times(
    seconds: Sequence[float | None], phases: Sequence[Phase | None]
) -> list[float | None]:
    """Times after injection, None for those that series of different phases share.

    Headers that lost the time of their scan repeat one time.
    """
    phases_at = defaultdict[float, set[Phase]](set)
    for value, phase in zip(seconds, phases, strict=True):
        if value is not None and phase is not None:
            phases_at[value].add(phase)
    return [None if value is None or len(phases_at[value]) > 1 else value for value in seconds]


def agent_of(header: Dataset, *, in_description: bool = True) -> str | None:
    """The contrast agent by its generic name.

    UNKNOWN_AGENT for one that is not in the list, None where no agent is named.
    """
    description = searchable(text(header, "SeriesDescription")) if in_description else ""
    coded = [text(item, "CodeMeaning") for item in header.get("ContrastBolusAgentSequence") or ()]
    given = plain_words(" ".join([text(header, "ContrastBolusAgent"), *coded]))
    for name, pattern in AGENTS.items():
        if re.search(pattern, f"{given} {description}"):
            return name
    if re.fullmatch(r"|no\b.*|none|n/?a|0|without.*|null|unknown", given):
        return None
    return UNKNOWN_AGENT


def hepatobiliary_agent(series: Sequence[Dataset]) -> bool | None:
    """Whether the agent has a hepatobiliary phase, None where nothing tells; in CT none has."""
    if not any(text(header, "Modality") == Modality.MR for header in series):
        return False
    names_in_procedure = {
        searchable(text(header, keyword)) for header in series for keyword in PROCEDURE
    }
    agents = {agent_of(header) for header in series} - {None, UNKNOWN_AGENT}
    agents |= {
        name
        for name, pattern in AGENTS.items()
        if any(re.search(pattern, plain) for plain in names_in_procedure)
    }
    if agents:
        return "gadoxetate" in agents
    names = [searchable(text(header, "SeriesDescription")) for header in series]
    waited = [seconds_after_injection(header) or 0.0 for header in series] + [
        seconds_in_words(plain) or 0.0 for plain in names
    ]
    named = any(re.search(WORDS[Phase.HEPATOBILIARY], plain) for plain in names)
    return True if named or max(waited, default=0.0) >= LONG_WAIT_S else None
