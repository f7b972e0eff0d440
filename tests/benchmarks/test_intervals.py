"""Intervals held against the truth: the reader's outlines, the counting, and one small run."""

from __future__ import annotations

import numpy as np
import pytest

from liverleaf.benchmarks import intervals
from liverleaf.benchmarks.intervals import coverage, outlined, run
from liverleaf.study import Modality

SPACING = (3.0, 1.5, 1.5)


def ball(radius_mm: float) -> np.ndarray:
    z, y, x = np.indices((15, 40, 40))
    distance = np.sqrt(((z - 7) * 3) ** 2 + ((y - 20) * 1.5) ** 2 + ((x - 20) * 1.5) ** 2)
    return distance <= radius_mm


def test_a_reader_errs_by_a_voxel_and_on_average_not() -> None:
    true = ball(12.0)
    ratios = [
        outlined(true, SPACING, np.random.default_rng(seed)).sum() / true.sum()
        for seed in range(60)
    ]
    radii = 12 * np.cbrt(ratios)
    assert np.median(radii) == pytest.approx(12, abs=0.35)
    # 90 % within a voxel of 1.5 mm, so a standard deviation of 0.91
    assert np.std(radii) == pytest.approx(0.91, rel=0.35)


def test_a_reader_always_outlines_something() -> None:
    single = np.zeros((15, 40, 40), bool)
    single[0, 0, 0] = True
    assert all(outlined(single, SPACING, np.random.default_rng(s)).any() for s in range(20))


def check(held: bool, half_widths: float, **changes: object) -> dict[str, object]:
    given = {
        "preset": "ct",
        "measure": "volume_ml",
        "long_axis_mm": 20.0,
        "value": 3.0,
        "low": 2.0,
        "high": 5.0,
        "true": 2.5,
        "held": held,
        "half_widths": half_widths,
    }
    return given | changes


def test_shares_are_counted_per_preset_and_small_lesions_apart() -> None:
    checks = [
        *(check(True, 0.5) for _ in range(9)),
        check(False, 2.0),
        check(False, 9.0, long_axis_mm=6.0),
        check(True, 0.1, preset="mr"),
    ]
    ct, mr, both = coverage(checks)
    assert (ct["preset"], ct["n"], ct["coverage"], ct["small"]) == ("ct", 10, 0.9, 1)
    assert (ct["half_width"], ct["error"], ct["coverage_of_small"]) == (1.5, 0.5, 0.0)
    assert ct["factor"] == pytest.approx(
        intervals.widening("volume_ml", Modality.CT) * np.quantile([0.5] * 9 + [2.0], 0.9)
    )
    assert (mr["n"], mr["coverage"], mr["coverage_of_small"]) == (1, 1.0, None)
    assert (both["n"], both["coverage"]) == (11, pytest.approx(10 / 11))


@pytest.mark.parametrize("fit", [False, True])
def test_a_small_run_counts_every_measure(fit: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "PRESETS", ("ct",))
    result = run(1, fit=fit, shape=(20, 56, 56), spacing_mm=(10.0, 6.0, 6.0))
    measures = {row["measure"] for row in result.record["summary"]}
    assert {"volume_ml", "curve.mean", "contrast.by_phase", "wash_in.enhancement"} <= measures
    assert result.record["seed"] == (intervals.FIT_SEED if fit else intervals.SEED)
    assert ("they prove nothing" in result.markdown) == fit
    assert "| volume | ct |" in result.markdown
