"""Rows from scores made up here: warnings, confusion and the table of cases by hand."""

from typing import Any

import numpy as np
import pytest

from liverleaf.benchmarks.mti_net.cross_validation import CaseScore
from liverleaf.benchmarks.mti_net.definitions import TABLES
from liverleaf.benchmarks.mti_net.methods import OURS
from liverleaf.benchmarks.mti_net.rows import (
    _warnings,
    case_table,
    confusion_counts,
    method_row,
)
from liverleaf.benchmarks.training.network_cost import NetworkCost
from liverleaf.terminology import LesionType

TYPES = (LesionType.HCC, LesionType.HAEMANGIOMA)
METRICS = ("dsc", "mae", "accuracy")


def case(number: int, **more: Any) -> CaseScore:
    return CaseScore(
        f"c{number}",
        f"s{number}",
        0,
        true_curve=(100.0 + 20 * number,) * 4,
        type=number % 2,
        **more,
    )


def test_a_method_whose_answer_is_always_the_same_is_noted() -> None:
    constant = [case(n, dsc=0.0, curve=(120.0 + 0.1 * n,) * 4, answered=0) for n in range(4)]
    alive = [case(n, dsc=0.5, curve=(105.0 + 15 * n,) * 4, answered=n % 2) for n in range(4)]
    notes = list(_warnings(constant, METRICS))
    assert len(notes) == 3 and "about the mean of all" in notes[1] and "same type" in notes[2]
    assert list(_warnings(alive, METRICS)) == []


def test_a_row_has_the_values_of_the_tables_metrics_and_what_was_published() -> None:
    scores = [case(0, dsc=0.5, iou=0.4, answered=0), case(1, dsc=0.7, iou=0.6, answered=0)]
    cost = NetworkCost(parameters=1, flops=2, peak_memory_mb=3.0)
    table = TABLES["mti-net-table1"]
    row = method_row(OURS, scores, table, cost, train_seconds=4.0, notes=["a note"])
    assert set(row.values) == {"dsc", "iou"}
    assert [value.value for value in row.values["dsc"]] == [0.5, 0.7]
    assert row.published["dsc"] == (85.23, 2.04)
    assert (row.train_seconds, row.parameters, row.flops, row.peak_memory_mb) == (4.0, 1, 2, 3.0)
    assert row.notes == ("a note",)


def test_accuracy_counts_only_cases_with_an_answer() -> None:
    scores = [case(0, answered=0), case(1, answered=0), case(2)]
    cost = NetworkCost(parameters=1, flops=2, peak_memory_mb=3.0)
    row = method_row(OURS, scores, TABLES["mti-net-figure4"], cost, train_seconds=0.0, notes=())
    assert [value.value for value in row.values["accuracy"]] == [1.0, 0.0]


def test_confusion_is_counted_by_hand() -> None:
    scores = [case(0, answered=0), case(1, answered=0), case(3, answered=1), case(2)]
    np.testing.assert_array_equal(confusion_counts(scores, 2), [[1, 0], [1, 1]])


def test_the_table_of_cases_names_types_and_leaves_curves_out() -> None:
    table = case_table({"a": [case(0, answered=1, dsc=0.5)], "b": [case(1)]}, TYPES)
    assert table["method"].to_list() == ["a", "b"]
    assert table["type"].to_list() == ["hcc", "haemangioma"]
    assert table["answered"].fillna("").to_list() == ["haemangioma", ""]
    assert not {"curve", "true_curve"} & set(table.columns)
    assert table["dsc"][0] == pytest.approx(0.5)
