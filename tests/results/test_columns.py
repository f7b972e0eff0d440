"""Columns: what they read from findings, and that they hold what they say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from liverleaf.findings import DoubtRecord
from liverleaf.results.columns import CURVES, LESIONS, STUDIES, CaseResult, Column
from liverleaf.results.tables import TABLES
from liverleaf.study import Modality, Phase
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


def test_a_study_is_read_from_its_findings(result_of: Callable[..., CaseResult]) -> None:
    result = result_of(1, types=TWO, phases=[Phase.ARTERIAL, Phase.PORTAL])
    (row,) = TABLES[0].rows(result)
    lesions = result.findings.lesions
    assert row["case"] == "case-1" and row["subject"] == "subject-1"
    assert row["phases"] == 2 and row["arterial_measured"] is True and row["pre_measured"] is None
    assert row["lesions"] == 2
    assert row["lesions_volume_ml"] == pytest.approx(lesions[0].volume_ml + lesions[1].volume_ml)
    assert row["largest_long_axis_mm"] == max(lesion.long_axis_mm for lesion in lesions)
    assert row["seconds"] == 3.25 and row["peak_memory_mb"] == 500
    assert row["dicom_seg"] is False and row["liverleaf_version"] == "9.8.7"


def test_a_study_without_lesions_has_no_largest_one(result_of: Callable[..., CaseResult]) -> None:
    result = result_of(1, types=[])
    (row,) = TABLES[0].rows(result)
    assert row["lesions"] == 0 and row["largest_long_axis_mm"] is None
    assert row["lesions_volume_ml"] == 0 and row["lesions_percent_of_liver"] == 0
    assert not list(TABLES[1].rows(result)) and not list(TABLES[2].rows(result))


def test_a_lesion_has_its_type_and_probabilities(result_of: Callable[..., CaseResult]) -> None:
    findings = result_of(1).findings
    (lesion,) = findings.lesions
    narrow = lesion.model_copy(update={"type_set": ("hcc",)})
    findings = findings.model_copy(update={"lesions": (narrow,)})
    (row,) = TABLES[1].rows(CaseResult("case-1", "", findings))
    assert row["type"] == "hcc" and row["hcc_probability"] == 0.75
    assert row["hcc_in_set"] is True and row["cyst_in_set"] is False
    assert row["wash_in_unit"] == "HU"


def test_a_doubt_about_one_lesion_or_the_whole_study_counts_for_it(
    result_of: Callable[..., CaseResult],
) -> None:
    result = result_of(1, types=TWO)

    def doubted(lesion: int | None) -> list[object]:
        doubt = DoubtRecord(code="may_be_gallbladder", lesion=lesion, text="It may be.")
        findings = result.findings.model_copy(update={"doubts": (doubt,)})
        return [row["doubted"] for row in TABLES[1].rows(CaseResult("case", "", findings))]

    assert doubted(2) == [False, True]
    assert doubted(None) == [True, True]


def test_a_curve_has_a_row_for_each_phase_that_was_measured(
    result_of: Callable[..., CaseResult],
) -> None:
    result = result_of(1, types=TWO, phases=[Phase.ARTERIAL, Phase.PORTAL])
    rows = list(TABLES[2].rows(result))
    assert [(row["lesion"], row["phase"]) for row in rows] == [
        (1, "arterial"),
        (1, "portal"),
        (2, "arterial"),
        (2, "portal"),
    ]
    for row in rows:
        assert row["contrast"] == pytest.approx(row["intensity"] - row["liver_intensity"], abs=0.02)


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
