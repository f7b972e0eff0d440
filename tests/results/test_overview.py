"""The overview of results: made of what lies in their folder, one case after the other."""

from __future__ import annotations

import csv
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from liverleaf.cohort.overview import ROWS, save_row
from liverleaf.cohort.page import CaseRow
from liverleaf.results import overview
from liverleaf.results.case import (
    RECORDS,
    CaseTask,
    do_case,
    fingerprint_of_case,
    finished_cases,
)
from liverleaf.results.columns import CaseResult
from liverleaf.results.overview import OVERVIEW_FILES, write_overview
from liverleaf.storage.case_folder import save_case


@pytest.fixture
def done(tiny_case: Callable, work: Callable, tmp_path: Path) -> tuple[Path, Path]:
    """Results of three cases, one of which failed, and their cohort, which refused one more."""
    cohort, out = tmp_path / "cohort", tmp_path / "out"
    (out / RECORDS).mkdir(parents=True)
    for number in range(3):
        folder = cohort / f"case-{number}"
        save_case(folder, tiny_case(number)[0])
        if number == 1:
            (folder / "pre.nii.gz").unlink()
        name = folder.name
        do_case(CaseTask(name, f"s{number}", folder, out, work, fingerprint_of_case(folder)))
    (cohort / ROWS).mkdir()
    save_row(cohort, CaseRow(case="case-9", subject="s9", status="refused", reason="no slices"))
    return cohort, out


def test_all_of_it_is_written(done: tuple[Path, Path]) -> None:
    cohort, out = done
    flow = write_overview(out, cohort=cohort, total=3)
    assert {path.name for path in out.iterdir()} == {*OVERVIEW_FILES, RECORDS, "case-0", "case-2"}
    assert (flow.found, flow.read, flow.analysed) == (4, 2, 2)
    assert list(pd.read_csv(out / "studies.csv")["case"]) == ["case-0", "case-2"]


def test_failures_have_case_stage_and_reason_in_a_line(done: tuple[Path, Path]) -> None:
    cohort, out = done
    write_overview(out, cohort=cohort, total=3)
    with (out / "failures.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["case", "subject", "failed_at", "reason"],
        ["case-9", "s9", "ingest", "no slices"],
        ["case-1", "s1", "reading", "pre.nii.gz is missing: the case folder is incomplete"],
    ]
    assert str(cohort) not in (out / "failures.csv").read_text()


def test_studies_that_a_stopped_run_did_not_reach_are_waiting(done: tuple[Path, Path]) -> None:
    cohort, out = done
    flow = write_overview(out, cohort=cohort, total=10)
    assert (flow.found, flow.waiting, flow.analysed) == (11, 7, 2)
    assert "Not done yet (n = 7)" in (out / "flow.html").read_text()


def test_the_same_folder_makes_the_same_files(done: tuple[Path, Path]) -> None:
    cohort, out = done
    write_overview(out, cohort=cohort, total=3)
    texts = {name: (out / name).read_bytes() for name in OVERVIEW_FILES}
    write_overview(out, cohort=cohort, total=3)
    assert texts == {name: (out / name).read_bytes() for name in OVERVIEW_FILES}


def test_no_more_than_two_cases_are_in_memory_at_once(
    done: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort, out = done
    for number in range(10, 40):  # links to one case, so that they are many and small
        (out / f"case-{number}").symlink_to(out / "case-0")
        record = (out / RECORDS / "case-0.json").read_text().replace("case-0", f"case-{number}")
        (out / RECORDS / f"case-{number}.json").write_text(record)
    made: list[weakref.ref] = []
    alive: list[int] = []

    def watched(folder: Path) -> Iterator[CaseResult]:
        for result in finished_cases(folder):
            made.append(weakref.ref(result))
            yield result
            alive.append(sum(one() is not None for one in made))

    monkeypatch.setattr(overview, "finished_cases", watched)
    flow = write_overview(out, cohort=cohort, total=3)
    assert (flow.analysed, flow.waiting) == (32, 0)
    assert len(made) == 64, "the tables and the page read them once each"
    assert max(alive) <= 2
