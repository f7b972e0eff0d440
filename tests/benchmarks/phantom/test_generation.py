"""What phantom cases cost: numbers by hand, and a cohort that is really written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from liverleaf.benchmarks.phantom import generation
from liverleaf.cohort.index import Cohort


def test_the_start_of_the_process_is_no_part_of_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {(2, 1): 12.0, (8, 1): 42.0, (8, 2): 22.0, (0, 1): 2.0}

    def measured(cases: int, jobs: int) -> dict[str, Any]:
        return {
            "cases": cases,
            "jobs": jobs,
            "seconds": seconds[cases, jobs],
            "peak_memory_mb": 100.0 + cases,
        }

    monkeypatch.setattr(generation, "_measured", measured)
    result = generation.run()
    assert [row["seconds_per_case"] for row in result.record["rows"]] == [5.0, 5.0, 2.5]
    assert result.record["start_seconds"] == 2.0
    assert "| 8 | 2 | 2.50 | 108 |" in result.markdown
    assert "4 times as many cases take 1.06 times the memory." in result.markdown
    assert "2 processes are 2.00 times as fast as one." in result.markdown


def test_a_cohort_is_made_and_its_memory_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generation, "SHAPE", (4, 24, 24))
    monkeypatch.setattr(generation, "SPACING_MM", (50.0, 15.0, 15.0))
    generation.make(1, 1, str(tmp_path / "cohort"))
    assert float(capsys.readouterr().out) > 0
    assert len(Cohort.open(tmp_path / "cohort")) == 1


def test_the_start_alone_is_measured_in_a_process_of_its_own() -> None:
    row = generation._measured(0, 1)
    assert (row["cases"], row["jobs"]) == (0, 1)
    assert row["seconds"] > 0 and row["peak_memory_mb"] > 1
