"""Columns: they hold what they say, and tell what they may hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from liverleaf.results.columns import CaseResult, Column
from liverleaf.results.lesion_columns import CURVES, LESIONS
from liverleaf.results.study_columns import STUDIES
from liverleaf.results.tables import TABLES
from liverleaf.study import Modality
from liverleaf.terminology import LesionType

TWO = [LesionType.HCC, LesionType.FNH]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@pytest.mark.parametrize("modality", Modality)
def test_every_value_is_in_the_range_of_its_column(
    result_of: Callable[..., CaseResult], table, modality: Modality
) -> None:
    rows = list(table.rows(result_of(1, modality=modality, types=TWO)))
    assert rows
    for row in rows:
        for column in table.columns:
            assert column.holds(row[column.name]), (column.name, row[column.name])


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_names_of_columns_are_told_apart_and_units_are_units_or_columns(table) -> None:
    names = [column.name for column in table.columns]
    assert len(set(names)) == len(names)
    units = {column.unit for column in table.columns} - {"", "s", "ml", "mm", "%", "MB"}
    assert units <= set(names)


@pytest.mark.parametrize(
    ("column", "cell", "holds"),
    [
        (Column("n", "whole number", "", len, least=1, most=5), 5, True),
        (Column("n", "whole number", "", len, least=1, most=5), 6, False),
        (Column("n", "whole number", "", len), 1.5, False),
        (Column("n", "number", "", len, least=0), 0, True),
        (Column("n", "number", "", len), True, False),
        (Column("n", "number", "", len), "1", False),
        (Column("n", "text", "", len, words=("CT", "MR")), "MR", True),
        (Column("n", "text", "", len, words=("CT", "MR")), "PET", False),
        (Column("n", "text", "", len), 1, False),
        (Column("n", "yes or no", "", len), False, True),
        (Column("n", "yes or no", "", len), 0, False),
        (Column("n", "text", "", len, words=("CT", "MR")), None, True),
    ],
)
def test_a_column_tells_what_it_may_hold(column: Column, cell: object, holds: bool) -> None:
    assert column.holds(cell) is holds


def test_ranges_are_told_in_words() -> None:
    by_name = {column.name: column.range for column in (*STUDIES, *LESIONS, *CURVES)}
    assert by_name["hcc_probability"] == "0 to 1"
    assert by_name["volume_ml"] == "0 or more"
    assert by_name["modality"] == "CT, MR"
    assert by_name["doubted"] == "true, false"
    assert by_name["centre_x_mm"] == "any"
