"""The page on how real the phantom is, from an archive of curves with known answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from liverleaf.benchmarks.phantom.curve_comparison import MEASURES
from liverleaf.benchmarks.phantom.realism import run

Archive = Callable[..., Path]


def test_the_table_says_where_real_values_stand(tmp_path: Path, archive: Archive) -> None:
    archive(tmp_path / "a.zip")
    result = run(tmp_path, people=20, rule_cases=6)
    record, text = result.record, result.markdown
    assert len(record["curves"]) == 2 * len(MEASURES)
    for row in record["curves"]:
        assert row["p5"] <= row["p50"] <= row["p95"]
        assert (row["percentile"] < 5) == (row["real"] <= row["p5"]) or row["percentile"] in (0, 5)
    impossible = next(
        row
        for row in record["curves"]
        if (row["tissue"], row["measure"]) == ("liver", "ratio_600s")
    )
    assert impossible["real"] == pytest.approx(1.3)
    assert "| aorta | peak over baseline |" in text
    assert set(result.figures) == {
        "realism-curves.png",
        "realism-percentiles.png",
        "realism-threshold.png",
    }
    assert "OSIPI" not in text and "Noise and texture" not in text
    assert "NaN" not in json.dumps(record)
