"""Tables of registration errors, and counts of its flag, by hand."""

from __future__ import annotations

from liverleaf.benchmarks.registration.report import Row, figure, flag_summary, page, summary


def row(
    method: str, median_mm: float, *, case: str = "a", preset: str = "mr", **others: float
) -> Row:
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


def test_summary_compares_with_the_same_phases_unregistered() -> None:
    rows = [
        row("none", 4),
        row("none", 2, case="b"),
        row("ours", 1),
        row("ours", 3, case="b"),
        row("baseline", 1),
    ]
    none, ours, baseline = summary(rows, 0)
    assert (none["median_mm"]["mean"], ours["median_mm"]["mean"], ours["worse_than_none"]) == (
        3,
        2,
        0.5,
    )
    assert (baseline["none_median_mm"], baseline["subjects"], baseline["worse_than_none"]) == (
        4,
        1,
        0,
    )


def test_the_flag_is_counted_by_hand() -> None:
    flags = [
        {"median_mm": error, "trusted": trusted}
        for error, trusted in [(None, False), (9, True), (1, True), (2, False), (4, False)]
    ]
    found = flag_summary(flags)
    assert [
        (found[name]["mean"], found[name]["n"])
        for name in ("sensitivity", "specificity", "flagged_between")
    ] == [
        (0.5, 2),
        (0.5, 2),
        (1, 1),
    ]


def test_the_page_and_the_figure_show_every_method() -> None:
    rows = [row("none", 4), row("none", 2, case="b"), row("ours", 1), row("ours", 3, case="b")]
    record = {
        "command": "liverleaf benchmark registration",
        "commit": "c",
        "versions": {},
        "hardware": {"cores": 2, "cpu": "abacus"},
        "seed": 0,
        "shape": (1, 2, 3),
        "diagonal_mm": 2.0,
        "not_measured": {},
        "methods": summary(rows, 0),
        "flag": flag_summary([{"median_mm": 1, "trusted": True}]),
    }
    text = page(record)
    assert "| mr | ours | 2 | 2 | 3.00 | 2.00 (1.00 to 3.00) | 1.00 | 2.00 | 2.00 | 50% |" in text
    assert "| trusted, of phases at most 3 mm off | 1.000 |" in text
    (axes,) = figure(rows, 2.0).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["none", "ours"]


def test_a_flag_that_was_never_due_is_left_out() -> None:
    assert flag_summary([{"median_mm": 1, "trusted": True}])["sensitivity"] is None
