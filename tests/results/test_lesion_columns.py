"""The columns of lesions and curves: what they read from findings."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from liverleaf.findings import DoubtRecord
from liverleaf.results.columns import CaseResult
from liverleaf.results.tables import TABLES
from liverleaf.study import Phase
from liverleaf.terminology import LesionType

TWO = [LesionType.HCC, LesionType.FNH]


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
