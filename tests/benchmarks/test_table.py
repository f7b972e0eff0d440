"""Tables of made-up methods: numbers by hand, the correction of p, and what readers see."""

import json

import numpy as np
import pytest

from liverleaf.benchmarks.table import MethodRow, Metric, Value, figure, page, summarise

DSC = {"dsc": Metric("DSC (%)", 100.0, higher_is_better=True)}
MAE = {"mae": Metric("MAE", 1.0, higher_is_better=False)}


def row(name: str, values: list[float], metric: str = "dsc", **more) -> MethodRow:
    return MethodRow(
        name, {metric: [Value(f"s{i}", i % 2, value) for i, value in enumerate(values)]}, **more
    )


def test_mean_spread_and_interval_by_hand() -> None:
    (found,) = summarise([row("ours", [0.5, 0.7, 0.5, 0.7])], DSC, ours="ours", seed=0)
    assert found["metrics"]["dsc"]["mean"] == pytest.approx(60)
    # of the two folds' means
    assert found["metrics"]["dsc"]["sd"] == pytest.approx(np.std([50, 70], ddof=1))
    low, high = found["metrics"]["dsc"]["ci95"]
    assert 50 <= low < 60 < high <= 70 and found["metrics"]["dsc"]["n"] == 4
    assert found["p_value"] is None


def test_p_values_are_corrected_for_the_number_of_baselines_and_ours_is_of_the_best() -> None:
    ours = [0.8 + 0.01 * i for i in range(8)]
    worse = [v - 0.1 - 0.001 * i for i, v in enumerate(ours)]
    level = [v + 0.01 * (-1) ** i * (i + 1) for i, v in enumerate(ours)]
    rows = [row("worse", worse), row("level", level), row("ours", ours)]
    p = {r["name"]: r["p_value"] for r in summarise(rows, DSC, ours="ours", seed=0)}
    assert p["worse"] == pytest.approx(2 * 2 / 2**8)  # all eight signs alike, two baselines
    assert p["level"] > 0.5 and p["ours"] == p["level"]


def test_the_best_baseline_is_the_one_with_the_least_error() -> None:
    near, far = [1.0 + 0.1 * i for i in range(8)], [5.0] * 8
    rows = [
        row("far", far, "mae"),
        row("near", near, "mae"),
        row("ours", [v * 0.99 for v in near], "mae"),
    ]
    p = {r["name"]: r["p_value"] for r in summarise(rows, MAE, ours="ours", seed=0)}
    assert p["ours"] == p["near"]


def test_only_subjects_that_both_have_are_compared() -> None:
    ours = row("ours", [0.5, 0.6, 0.7, 0.8, 0.9, 0.4])
    some = MethodRow("some", {"dsc": [Value(f"s{i}", 0, 0.1) for i in (1, 3, 4, 5, 77)]})
    p = {r["name"]: r["p_value"] for r in summarise([some, ours], DSC, ours="ours", seed=0)}
    assert p["some"] == pytest.approx(2 / 2**4)


def test_the_advantage_by_hand_whichever_way_the_metric_counts() -> None:
    rows = [row("baseline", [3.0, 5.0, 1.0, 2.0], "mae"), row("ours", [1.0, 2.0, 1.0, 1.0], "mae")]
    baseline, ours = summarise(rows, MAE, ours="ours", seed=0)
    advantage = baseline["metrics"]["mae"]["ahead"]
    assert (
        advantage["mean"] == pytest.approx(1.5)
        and advantage["n"] == 4
        and 0 <= advantage["ci95"][0] < 1.5 < advantage["ci95"][1] <= 3
    )
    assert "ahead" not in ours["metrics"]["mae"]


def test_words_say_better_worse_and_neither() -> None:
    ours = [0.5 + 0.01 * i for i in range(12)]
    rows = [
        row("low", [v - 0.1 - 0.001 * i for i, v in enumerate(ours)]),
        row("high", [v + 0.2 + 0.001 * i for i, v in enumerate(ours)]),
        row("level", [v + 0.01 * (-1) ** i for i, v in enumerate(ours)]),
        row("ours", ours),
    ]
    record = {
        "title": "T",
        "about": "A",
        "reading": "R",
        "ours": "ours",
        "rows": summarise(rows, DSC, ours="ours", seed=0),
    }
    (words,) = [line for line in page(record, DSC).splitlines() if line.startswith("- DSC")]
    better, worse, neither = words.split("; ")
    assert better.startswith("- DSC (%): **better than** low (+10.")
    assert worse.startswith("**worse than** high (-20.")
    assert neither.startswith("**no difference shown to** level (")


def test_the_page_and_the_figure_show_every_row_and_what_was_published_apart() -> None:
    rows = [
        row(
            "baseline",
            [0.5, 0.6],
            published={"dsc": (77.34, 3.04)},
            parameters=31_000_000,
            notes=("it answers the mean",),
        ),
        row("ours", [0.7, 0.8], published={"dsc": (85.23, None)}),
        MethodRow("silent", {}),
    ]
    record = {
        "title": "T",
        "about": "A",
        "reading": "R",
        "ours": "ours",
        "rows": summarise(rows, DSC, ours="ours", seed=0),
    }
    text = page(record, DSC)
    assert "| baseline | 55.00 ± 7.07 (50.00 to 60.00, n=2) | 0.500 | 77.34 ± 3.04 |" in text
    assert (
        "31.000" in text
        and "- baseline: it answers the mean" in text
        and "other, private data" in text
    )
    assert "| silent | - |  | - |" in text
    assert json.loads(json.dumps(record)) == record
    assert [label.get_text() for label in figure(record, DSC).axes[0].get_yticklabels()] == [
        "baseline",
        "ours",
        "silent",
    ]


def test_where_nothing_is_tested_there_are_no_p_values_and_no_verdicts() -> None:
    rows = [row("low", [0.1] * 8), row("ours", [0.8 + 0.01 * i for i in range(8)])]
    found = summarise(rows, DSC, ours="ours", seed=0, tested=False)
    assert all(r["p_value"] is None for r in found)
    assert all(r["metrics"]["dsc"]["p_value"] is None for r in found)
    assert not any("ahead" in r["metrics"]["dsc"] for r in found)
    text = page({"title": "T", "about": "A", "ours": "ours", "rows": found}, DSC)
    assert "| method | DSC (%) | published DSC (%) |" in text
    assert "Wilcoxon" not in text and "better than" not in text and "against each" not in text
