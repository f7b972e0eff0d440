"""Tiny phantoms into the comparison of registrations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by

from liverleaf.benchmarks.registration import registration as bench
from liverleaf.benchmarks.registration.baselines import Scene, demons

SHAPE, SPACING_MM = (16, 40, 40), (14.0, 9.0, 9.0)


def row(
    method: str, median_mm: float, *, case: str = "a", preset: str = "mr", **others: float
) -> bench.Row:
    scores = {
        "mean_mm": median_mm,
        "p95_mm": median_mm,
        "folding": 0.0,
        "similarity": 0.9,
        "seconds": 1.0,
        "over_ours": 1.0,
    }
    return {
        "preset": preset,
        "case": case,
        "phase": "pre",
        "method": method,
        "median_mm": median_mm,
        **scores,
        **others,
    }


def test_the_tables_are_written_without_the_rivals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "PRESETS", ("mr",))
    monkeypatch.setattr(bench, "RIVALS", {"elastix tuned": ("no_such_package", demons)})
    table = bench.registration(tmp_path, cases=1, shape=SHAPE, spacing_mm=SPACING_MM)
    record = json.loads((tmp_path / "registration.json").read_text())
    assert {line["method"] for line in record["methods"]} == {"none", "rigid only", "ours"}
    assert (tmp_path / "registration.md").read_text() == table
    assert "elastix tuned was not measured: no_such_package is not installed." in table
    assert {flag["kind"] for flag in record["flags"]} == {
        "registered",
        "not registered",
        "another person",
    }
    assert (tmp_path / "registration.png").stat().st_size > 0


def scene(moving: np.ndarray) -> Scene:
    """A bright ball on voxels of 5 mm, and the same grid for another image."""
    grid = sitk.GetImageFromArray(ball(0))
    grid.SetSpacing((5.0, 5.0, 5.0))
    return Scene(grid, moving, moving, sitk.Transform(3, sitk.sitkIdentity))


def ball(shift: float) -> np.ndarray:
    z, y, x = np.indices((24, 24, 24))
    return np.asarray(
        100 / (1 + np.exp(np.sqrt((z - 12) ** 2 + (y - 12) ** 2 + (x - 12 - shift) ** 2) - 6)),
        np.float32,
    )


def test_demons_follow_a_shift() -> None:
    field_mm = demons(scene(ball(1)))
    assert field_mm[12, 12, 8:17, 0].mean() == pytest.approx(5, abs=1.5)


def test_targets_know_the_error_of_a_field_by_hand() -> None:
    still = scene(ball(0))
    targets = bench.Targets(
        np.array([[50.0, 50, 50], [60, 50, 50]]),
        {bench.Phase.PRE: np.array([[0.0, 0, 4], [0, 0, 8]])},
    )
    field_mm = np.zeros((24, 24, 24, 3))
    field_mm[..., 2] = 3
    everything = (np.ones((24, 24, 24), bool), (slice(None),) * 3)
    score = bench._score(still, field_mm, targets, bench.Phase.PRE, *everything)
    assert (score["median_mm"], score["mean_mm"], score["folding"]) == (
        pytest.approx(3),
        pytest.approx(3),
        0,
    )


def test_summary_compares_with_the_same_phases_unregistered() -> None:
    rows = [
        row("none", 4),
        row("none", 2, case="b"),
        row("ours", 1),
        row("ours", 3, case="b"),
        row("rival", 1),
    ]
    none, ours, rival = bench.summary(rows)
    assert (none["median_mm"]["mean"], ours["median_mm"]["mean"], ours["worse_than_none"]) == (
        3,
        2,
        0.5,
    )
    assert (rival["none_median_mm"], rival["subjects"], rival["worse_than_none"]) == (4, 1, 0)


def test_the_flag_is_counted_by_hand() -> None:
    flags = [
        {"median_mm": error, "trusted": trusted}
        for error, trusted in [(None, False), (9, True), (1, True), (2, False), (4, False)]
    ]
    found = bench.flag_summary(flags)
    assert [
        (found[name]["mean"], found[name]["n"])
        for name in ("sensitivity", "specificity", "flagged_between")
    ] == [
        (0.5, 2),
        (0.5, 2),
        (1, 1),
    ]
