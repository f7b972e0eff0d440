"""Technical elements of headers in, out of which series they rule out as a contrast phase and which hint they give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydicom import Dataset

from hepatica.ingest.frames import number, text, words
from hepatica.study import Modality

Reason = tuple[str, float]
"""Why a series is no contrast phase, in words, and how sure that is."""

LONG_TR_MS = 80.0
LONGEST_TE_MS = 12.0

OTHER_CONTRASTS = {
    "FAT", "FAT_FRACTION", "F", "FF", "IN_PHASE", "OUT_PHASE", "OPP_PHASE", "IP", "OP", "INPHASE", "OUTPHASE", "IN PHASE", "OUT PHASE",
    "ADC", "DIFFUSION", "TRACEW", "PHASE MAP", "T1 MAP", "T2 MAP", "T2_STAR MAP", "R2_STAR MAP", "R2STAR", "T2STAR", "PERFUSION",
}  # fmt: skip
OTHER_SEQUENCES = ("tfi", "ep", "h2d", "tse", "spc", "tir", "re_", "spcir", "b_")
"""How Siemens' names of sequences begin, after "*" or "_", which are not T1-weighted gradient echoes."""


def ruled_out(header: Dataset) -> Reason | None:
    """Why this series can be no contrast phase by its technical elements, None when it can.

    >>> header = Dataset()
    >>> header.Modality, header.EchoTime = "MR", 90
    >>> ruled_out(header)
    ('echo time 90 ms: not T1-weighted', 0.97)
    """
    kind = {part.upper() for part in words(header, "ImageType")}
    if kind & {"LOCALIZER", "SCOUT"}:
        return "a localizer by its image type", 1.0
    if kind & {"SUBTRACT", "SUBTRACTION", "SUB"}:
        return "a subtraction by its image type", 0.97
    if kind & {"MIP", "MAX_IP", "MPR_THICK"} or "PROJECTION" in " ".join(kind):
        return "a projection by its image type", 0.97
    if kind & OTHER_CONTRASTS:
        return "another contrast by its image type", 0.97
    return _not_t1_weighted(header) if text(header, "Modality") == Modality.MR else None


def _not_t1_weighted(header: Dataset) -> Reason | None:
    echo_ms = number(header, "EchoTime")
    scanning, variant = set(words(header, "ScanningSequence")), set(words(header, "SequenceVariant"))
    if echo_ms is not None and echo_ms > LONGEST_TE_MS:
        return f"echo time {echo_ms:.0f} ms: not T1-weighted", 0.97
    if "EP" in scanning:
        return "echo-planar imaging", 0.97
    if scanning and "GR" not in scanning and "RM" not in scanning:
        return "a spin echo", 0.93
    if text(header, "SequenceName").lstrip("*_").lower().startswith(OTHER_SEQUENCES):
        return "not a T1-weighted gradient echo by the sequence's name", 0.95
    repetition_ms, flip = number(header, "RepetitionTime"), number(header, "FlipAngle")
    plane = text(header, "MRAcquisitionType") == "2D"
    if "SS" in variant and "SP" not in variant and (plane or (flip or 0) > 35):
        return "a balanced gradient echo", 0.95
    if repetition_ms is not None and repetition_ms < 20 and (plane or (flip or 0) > 45):
        return "a fast two-dimensional gradient echo: localizer, bolus tracking, balanced or cine", 0.93
    if plane and (number(header, "SliceThickness") or 0) >= 15:
        return "one thick slice: bolus tracking or a projection", 0.93
    if (number(header, "EchoNumbers") or 1) > 2 or (repetition_ms is not None and 7.5 < repetition_ms < LONG_TR_MS and (flip or 90) <= 7):
        return "a multi-echo measurement of fat or iron", 0.85
    return None


def odd_ones_out(series: Sequence[Dataset]) -> dict[int, Reason]:
    """Which gradient echoes of a study are no contrast phases when seen beside the others, and why.

    These are pairs with echo times of one to two (in- and opposed-phase images), and two-dimensional ones beside three-dimensional ones.
    """
    echoes: dict[int, tuple[float, float, float]] = {}
    solid = 0
    for index, header in enumerate(series):
        repetition_ms, echo_ms = number(header, "RepetitionTime"), number(header, "EchoTime")
        if text(header, "Modality") == Modality.MR and repetition_ms and echo_ms and ruled_out(header) is None:
            echoes[index] = (repetition_ms, number(header, "FlipAngle") or 0.0, echo_ms)
            solid += text(header, "MRAcquisitionType") == "3D"
    repeats = Counter(echoes.values())
    found: dict[int, Reason] = {}
    for one, (repetition_ms, flip, echo_ms) in echoes.items():
        for two, (other_ms, other_flip, long_ms) in echoes.items():
            alike = abs(repetition_ms - other_ms) < 0.01 * repetition_ms and flip == other_flip
            if alike and max(repeats[echoes[one]], repeats[echoes[two]]) <= 2 and 1.7 < long_ms / echo_ms < 2.4:
                found[one] = found[two] = ("one of a pair of echo times: in- or opposed-phase", 0.93)
        if text(series[one], "MRAcquisitionType") == "2D" and repetition_ms > LONG_TR_MS and solid >= 3:
            found.setdefault(one, ("a two-dimensional gradient echo beside three-dimensional ones", 0.85))
    return found


def rapid_runs(series: Sequence[Dataset]) -> set[int]:
    """Places n such that n and n + 1 are seconds apart: time points of one series of three or more, which other axial series follow.

    Args:
        series: what may be phases, in order.
    """
    numbers = [number(header, "SeriesNumber") for header in series]
    runs: set[int] = set()
    start = 0
    for n in range(1, len(numbers) + 1):
        if n < len(numbers) and numbers[n] is not None and numbers[n] == numbers[start]:
            continue
        following = sum(axial(header) is not False for header in series[n:])
        if n - start >= 7 or (n - start >= 3 and following >= 2):
            runs |= set(range(start, n - 1))
        start = n
    return runs


def slow_sequence(header: Dataset) -> bool:
    """Whether this is a sequence that takes minutes, such as T2- or diffusion-weighted imaging, MRCP or elastography."""
    return bool((number(header, "EchoTime") or 0) > LONGEST_TE_MS or "EP" in words(header, "ScanningSequence"))


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
        small_numbers: whether most series of the study have numbers below 100; series 501 then was made of series 5.
    """
    series = number(header, "SeriesNumber") or 0.0
    if small_numbers and series >= 100:
        series /= 100 if series < 10000 else 1000
    points = ("TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime", "InstanceNumber")
    return (series, *(number(header, keyword) or 0.0 for keyword in points))
