"""The rows of a cohort: kept, made anew where they are lost, and summed up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from liverleaf.cohort.overview import (
    ROWS,
    kept_row,
    refused_rows,
    save_row,
    warn,
    write_summary,
)
from liverleaf.cohort.page import CaseRow
from liverleaf.storage.case_folder import save_case


@pytest.fixture
def out(tmp_path: Path, tiny_case: Callable[..., Any]) -> Path:
    """A cohort of one case whose row is lost."""
    (tmp_path / ROWS).mkdir()
    save_case(tmp_path / "case-00", *tiny_case(0))
    return tmp_path


def test_a_lost_row_is_made_anew_with_its_thumbnail(out: Path) -> None:
    row = kept_row(out, "case-00")
    assert (row.status, row.shape, row.spacing_mm) == ("read", (6, 48, 48), (5.0, 4.0, 4.0))
    assert {path.name for path in (out / ROWS).iterdir()} == {"case-00.json", "case-00.jpg"}
    assert kept_row(out, "case-00") == row


def test_a_warning_is_added_once(out: Path) -> None:
    for _ in range(2):
        warn(out, "case-00", "look at it")
    assert kept_row(out, "case-00").warnings.count("look at it") == 1


def test_the_summary_holds_cases_and_refusals_but_no_case_that_was_removed(out: Path) -> None:
    save_row(out, CaseRow(case="case-01", subject="s", status="refused", reason="no images"))
    save_row(out, CaseRow(case="case-02", subject="s", status="read", modality="CT"))
    write_summary(out)
    table = (out / "cohort.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in table] == ["case", "case-00", "case-01"]
    assert "no images" in (out / "cohort.html").read_text(encoding="utf-8")


def test_refused_rows_are_those_without_a_case(out: Path) -> None:
    for number in (0, 3, 1):
        name = f"case-0{number}"
        save_row(out, CaseRow(case=name, subject="s", status="refused", reason="no images"))
    save_row(out, CaseRow(case="case-02", subject="s", status="read", modality="CT"))
    assert [row.case for row in refused_rows(out)] == ["case-01", "case-03"]
    assert list(refused_rows(out / "case-00")) == []
