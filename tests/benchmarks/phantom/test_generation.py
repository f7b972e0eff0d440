"""The cost of phantom cases: the table's ratios by hand."""

import pytest

from liverleaf.benchmarks.phantom.generation import _markdown, make


def row(cases: int, jobs: int, seconds_per_case: float, peak_memory_mb: float) -> dict[str, float]:
    return {
        "cases": cases,
        "jobs": jobs,
        "seconds_per_case": seconds_per_case,
        "peak_memory_mb": peak_memory_mb,
    }


def test_the_table_has_its_rows_and_ratios() -> None:
    text = _markdown(
        {
            "command": "liverleaf benchmark phantom-cost",
            "commit": "abc",
            "hardware": {"cores": 2, "cpu": "a processor"},
            "seed": 5,
            "rows": [row(2, 1, 4.0, 500), row(8, 1, 3.0, 600), row(8, 2, 2.0, 550)],
        }
    )
    assert "| 2 | 1 | 4.00 | 500 |" in text and "| 8 | 2 | 2.00 | 550 |" in text
    assert "4 times as many cases take 1.20 times the memory." in text
    assert "2 processes are 1.50 times as fast as one." in text


def test_a_process_says_how_much_memory_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    make(0, 1, "unused")
    assert 10 < float(capsys.readouterr().out) < 100_000
