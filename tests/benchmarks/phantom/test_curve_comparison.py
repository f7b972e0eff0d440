"""Measures of curves by hand, and virtual people beside a real curve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from liverleaf.benchmarks.phantom.curve_comparison import MEASURES, measures, simulate, summarise
from liverleaf.benchmarks.phantom.real_curves import RealCurve, read_curves

Archive = Callable[..., Path]
Bolus = Callable[[float, float], NDArray[np.float64]]
TIME_S = np.arange(0.0, 1500, 2.5)
ARRIVAL_S = 75.0


def test_measures_by_hand(bolus: Bolus) -> None:
    found = measures(TIME_S - ARRIVAL_S, bolus(4, 1.5))
    assert found["peak_ratio"] == pytest.approx(4)
    assert found["time_to_peak_s"] == pytest.approx(5)
    assert [found[f"ratio_{at}s"] for at in (60, 180, 600)] == pytest.approx([1.5, 1.5, 1.5])


def test_a_short_scan_has_no_late_ratio(bolus: Bolus) -> None:
    early = TIME_S < ARRIVAL_S + 300
    assert set(MEASURES) - set(measures(TIME_S[early] - ARRIVAL_S, bolus(4, 1.5)[early])) == {
        "ratio_600s"
    }


def test_virtual_people_differ_and_follow_the_dose(tmp_path: Path, archive: Archive) -> None:
    archive(tmp_path / "a.zip")
    aorta = read_curves(tmp_path)[0]
    first, second = (simulate(aorta, np.random.default_rng(seed)) for seed in (1, 2))
    assert not np.allclose(first, second)
    twice = RealCurve(**{**vars(aorta), "dose_mmol_per_kg": 2 * aorta.dose_mmol_per_kg})
    peaks = [
        measures(aorta.time_s, simulate(curve, np.random.default_rng(1)))["peak_ratio"]
        for curve in (aorta, twice)
    ]
    assert peaks[1] > 1.4 * peaks[0]


def test_real_values_inside_the_range_are_counted_by_hand() -> None:
    rows = [
        {
            "subject": subject,
            "tissue": "aorta",
            "measure": "peak_ratio",
            "real": real,
            "p5": 1.0,
            "p95": 3.0,
        }
        for subject, real in (("a", 2.0), ("b", 1.0), ("c", 3.5), ("d", 3.0))
    ]
    found = summarise(rows, np.random.default_rng(0))
    assert list(found) == ["all", "aorta peak_ratio"]
    assert found["all"]["inside"]["mean"] == 0.75 and found["all"]["values"] == 4
    assert found["all"]["median_p95_over_p5"] is None
    assert found["aorta peak_ratio"]["median_p95_over_p5"] == 3.0
