"""The page about damaged files says what was counted."""

from __future__ import annotations

from liverleaf.benchmarks.fuzzing.page import DIFFERENCES, VERDICTS, fuzz_page
from liverleaf.benchmarks.result import origin

COUNTS = dict(zip(VERDICTS, (5, 4, 3, 2, 1), strict=True))


def record() -> dict:
    crashed = {"number": 7, "source": "NIfTI", "mutation": "truncated", "spread": "one file"}
    return {
        **origin("ingest-fuzz --files 15 --seed 3", 3),
        "files": 15,
        "totals": COUNTS,
        "leaks": [],
        "by_source": {"NIfTI": {"files": 15, **COUNTS}},
        "by_mutation": {"truncated": {"files": 15, **COUNTS}},
        "silent_differences": {"values": 0, "place": 2, "geometry": 1, "phases": 0},
        "crashed": [{**crashed, "detail": "KeyError"}],
        "sha256": "0123456789abcdef" * 4,
        "peak_memory_mb": 212.4,
    }


def test_the_page_names_the_command_the_counts_and_each_crash() -> None:
    page = fuzz_page(record())
    assert "liverleaf benchmark ingest-fuzz --files 15 --seed 3" in page
    assert "| NIfTI | 15 | 5 | 4 | 3 | 2 | 1 |" in page
    assert "Crashed: 1." in page
    assert "| 7 | NIfTI | truncated | one file | KeyError |" in page


def test_the_page_says_how_many_silent_ones_differ_in_what_and_what_cannot_be_noticed() -> None:
    page = fuzz_page(record())
    assert f"- {DIFFERENCES['place']}: 2\n" in page
    assert f"- {DIFFERENCES['phases']}: 0\n" in page
    assert "What nobody can notice" in page


def test_without_a_crash_none_is_listed() -> None:
    sound = record() | {"crashed": [], "totals": COUNTS | {"crashed": 0}}
    assert "| crashed | source |" not in fuzz_page(sound)
