"""The columns of studies: what they read from findings."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from liverleaf.results.columns import CaseResult
from liverleaf.results.tables import TABLES
from liverleaf.study import Phase
from liverleaf.terminology import LesionType

TWO = [LesionType.HCC, LesionType.FNH]


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
