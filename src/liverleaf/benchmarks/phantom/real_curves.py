"""Real DCE-MRI signals from zipped tables: one curve per person, scan and tissue."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liverleaf.study import InputError

TISSUES = ("aorta", "portal", "liver")
SCANS = (1, 2)
GADOXETATE_MMOL_PER_ML = 0.25
ONSET = 0.2
"""The bolus has arrived where the aorta has risen by this share of its highest rise."""
BASELINE_END_S = -4.0
"""The baseline ends this long before the arrival, which is only known to a sample or two."""
SHORTEST_BASELINE, SHORTEST_CURVE = 5, 50
TYPICAL_T1_S: Mapping[str, float] = {"aorta": 1.65, "portal": 1.65, "liver": 0.81}
CREDIBLE_T1_S: Mapping[str, tuple[float, float]] = {
    "aorta": (1.1, 2.5),
    "portal": (1.1, 2.5),
    "liver": (0.15, 1.5),
}
"""Relaxation times outside these are failed fits."""


@dataclass(frozen=True)
class RealCurve:
    """What was measured in one tissue during one scan.

    Attributes:
        subject, study, scan: whose, under which condition, first or second of the day.
        tissue: "aorta", "portal" or "liver".
        time_s: after the bolus reached the aorta, (N,).
        signal: arbitrary units, (N,).
        tr_s, flip_deg: of the spoiled gradient echo.
        dose_mmol_per_kg: of gadoxetate.
        t1_s: before this injection, by tissue; the last credible map before the scan, or
            `TYPICAL_T1_S`.
        weight_kg: body weight.
    """

    subject: str
    study: str
    scan: int
    tissue: str
    time_s: NDArray[np.float64]
    signal: NDArray[np.float64]
    tr_s: float
    flip_deg: float
    dose_mmol_per_kg: float
    t1_s: Mapping[str, float]
    weight_kg: float


def read_curves(folder: Path) -> list[RealCurve]:
    """Read every `.zip` of a folder that holds human curves.

    A file has `pars.csv` (subject, study, parameter, value) and `rois.csv`, whose three header rows
    are subject, study and column (`time_1`, `aorta_1`, `aorta_1_accept`, ...), as the TRISTAN
    collection is published. Files without an aorta (rats) are passed over, and so are samples that
    were not accepted and scans without an injection or a baseline.

    Raises:
        InputError: the folder does not exist, a file is broken, or there is no curve.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {folder}: give the folder with the zipped curves")
    curves = []
    for path in sorted(folder.glob("*.zip")):
        try:
            with zipfile.ZipFile(path) as archive:
                parameters = pd.read_csv(io.BytesIO(archive.read("pars.csv")), dtype=str)
                signals = pd.read_csv(
                    io.BytesIO(archive.read("rois.csv")), header=[0, 1, 2], low_memory=False
                )
            curves += list(_curves(parameters, signals))
        except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
            raise InputError(
                f"{path.name} is not an archive of curves with pars.csv and rois.csv: {error}"
            ) from None
    if not curves:
        raise InputError(f"{folder} holds no zipped curves of an aorta: nothing to compare with")
    return curves


def _curves(parameters: pd.DataFrame, signals: pd.DataFrame) -> Iterator[RealCurve]:
    headings = [tuple(map(str, heading)) for heading in signals.columns]
    for person in dict.fromkeys((subject, study) for subject, study, _ in headings):
        of_person = parameters[
            (parameters["subject"] == person[0]) & (parameters["study"] == person[1])
        ]
        numbers = zip(
            of_person["parameter"], pd.to_numeric(of_person["value"], errors="coerce"), strict=True
        )
        known = {str(name): float(value) for name, value in numbers if np.isfinite(value)}
        columns = {
            heading[2]: pd.to_numeric(signals.iloc[:, place], errors="coerce").to_numpy(float)
            for place, heading in enumerate(headings)
            if heading[:2] == person
        }
        for scan in SCANS:
            if f"aorta_{scan}" in columns and known.get(f"dose_{scan}", 0.0) > 0:
                yield from _scan(person, scan, columns, known)


def _scan(
    person: tuple[str, str],
    scan: int,
    columns: Mapping[str, NDArray[np.float64]],
    known: Mapping[str, float],
) -> Iterator[RealCurve]:
    clock_s = columns[f"time_{scan}"]
    if not np.isfinite(clock_s).any():
        return
    start_s = float(np.nanmin(clock_s))
    t1_s = {tissue: _t1(tissue, known, before_s=start_s) for tissue in TISSUES}
    arrival_s = None
    for tissue in TISSUES:
        signal = columns.get(f"{tissue}_{scan}")
        if signal is None:
            continue
        good = (
            np.isfinite(clock_s)
            & np.isfinite(signal)
            & (columns.get(f"{tissue}_{scan}_accept", np.ones_like(signal)) > 0)
        )
        if good.sum() < SHORTEST_CURVE:
            continue
        time_s = clock_s[good] - start_s
        if tissue == "aorta":
            arrival_s = arrival(time_s, signal[good])
        if arrival_s is None or (time_s < arrival_s + BASELINE_END_S).sum() < SHORTEST_BASELINE:
            continue
        yield RealCurve(
            person[0],
            person[1],
            scan,
            tissue,
            time_s - arrival_s,
            signal[good],
            tr_s=known["TR"],
            flip_deg=known[f"FA_{scan}"],
            dose_mmol_per_kg=GADOXETATE_MMOL_PER_ML * known[f"dose_{scan}"],
            t1_s=t1_s,
            weight_kg=known.get("weight", 75.0),
        )


def arrival(time_s: NDArray[np.float64], aorta: NDArray[np.float64]) -> float:
    """When the bolus reaches the aorta.

    It is the foot (`ONSET`) of the steepest rise that leads to the first half-height.
    """
    ground = float(np.median(aorta[: max(SHORTEST_BASELINE, len(aorta) // 100)]))
    rise = aorta - ground
    half = int(np.argmax(rise > rise.max() / 2))
    below = np.flatnonzero(rise[:half] < ONSET * rise.max())
    return float(time_s[below[-1] + 1 if len(below) else half])


def _t1(tissue: str, known: Mapping[str, float], *, before_s: float) -> float:
    low, high = CREDIBLE_T1_S[tissue]
    maps = [
        known[f"T1_{tissue}_{number}"]
        for number in (1, 2, 3)
        if known.get(f"T1_time_{number}", np.inf) <= before_s + 5
        and low <= known.get(f"T1_{tissue}_{number}", 0.0) <= high
    ]
    return maps[-1] if maps else TYPICAL_T1_S[tissue]
