"""Whole cohorts: continued after a stop, never mixed, and bad input is one clear line."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from liverleaf.findings import Findings
from liverleaf.results import run as run_module
from liverleaf.results.case import RECORDS, do_case
from liverleaf.results.run import RESULTS_FILE, analyze_cohort
from liverleaf.storage.case_folder import save_case
from liverleaf.study import InputError, Study
from liverleaf.terminology import LesionType


@pytest.fixture(autouse=True)
def without_network(monkeypatch: pytest.MonkeyPatch, work: Callable) -> list[str]:
    """Cases are measured in this process, without a network; the names of those that are."""
    done: list[str] = []

    @contextmanager
    def here(function: Callable, lost: Callable, **_: object) -> Iterator[Callable]:
        yield lambda tasks: map(function, tasks)

    def noted(task: object) -> object:
        done.append(task.case)
        return do_case(task)

    monkeypatch.setattr(run_module, "network_workers", here)
    monkeypatch.setattr(run_module, "do_case", noted)
    monkeypatch.setattr(run_module, "analysis_by_model", lambda *_, **__: work)
    return done


@pytest.fixture
def cohort(tiny_case: Callable, tmp_path: Path) -> Path:
    """Three case folders."""
    for number in range(3):
        study, _ = tiny_case(number, types=[LesionType.HCC])
        save_case(
            tmp_path / f"cohort/folder-{number}", replace(study, subject_id=f"subject-{number}")
        )
    return tmp_path / "cohort"


def test_every_case_has_its_folder_and_its_rows(cohort: Path, tmp_path: Path) -> None:
    summary = analyze_cohort(cohort, tmp_path / "out")
    assert (summary.found, summary.analysed, summary.kept, summary.failed) == (3, 3, 0, {})
    with (tmp_path / "out/lesions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["case"], row["subject"]) for row in rows] == [
        (f"case-0{number}", f"subject-{number}") for number in range(3)
    ]
    for row in rows:
        findings = Findings.read(tmp_path / "out" / row["case"] / "findings.json")
        assert float(row["volume_ml"]) == findings.lesions[0].volume_ml


def test_a_second_run_keeps_what_is_done(
    cohort: Path, tmp_path: Path, without_network: list[str]
) -> None:
    analyze_cohort(cohort, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/case-01")  # as after kill -9: its folder never appeared
    (tmp_path / "out/.partial-case-01-x").mkdir()
    without_network.clear()
    summary = analyze_cohort(cohort, tmp_path / "out")
    assert without_network == ["case-01"]
    assert (summary.analysed, summary.kept) == (3, 2)
    assert not (tmp_path / "out/.partial-case-01-x").exists()


def test_a_run_that_is_stopped_leaves_tables_of_what_is_done(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(task: object) -> object:
        if task.case == "case-01":
            raise KeyboardInterrupt
        return do_case(task)

    monkeypatch.setattr(run_module, "do_case", stopped)
    with pytest.raises(KeyboardInterrupt):
        analyze_cohort(cohort, tmp_path / "out")
    text = (tmp_path / "out/studies.csv").read_text()
    assert "case-00" in text and "case-01" not in text
    monkeypatch.setattr(run_module, "do_case", do_case)
    assert analyze_cohort(cohort, tmp_path / "out").kept == 1


def test_bad_cases_do_not_stop_the_rest(cohort: Path, tiny_case: Callable, tmp_path: Path) -> None:
    (cohort / "folder-0/case.json").write_text("{")
    save_case(cohort / "folder-3", tiny_case(2)[0])  # a second case-02
    save_case(cohort / "folder-4", replace(tiny_case(4)[0], case_id="../up"))
    (cohort / "folder-1/portal.nii.gz").write_bytes(b"damaged")
    summary = analyze_cohort(cohort, tmp_path / "out")
    assert (summary.found, summary.analysed) == (5, 1)
    assert "case.json" in summary.failed["case-folder-1"]
    assert "portal.nii.gz" in summary.failed["case-01"]
    assert "another case folder too (case-02)" in summary.failed["case-folder-4"]
    assert "can be no name of a folder" in summary.failed["case-folder-5"]
    told = (tmp_path / "out/failures.csv").read_text() + json.dumps(summary.failed)
    assert str(tmp_path) not in told
    assert all("\n" not in reason for reason in summary.failed.values())


def test_a_failure_that_is_mended_is_forgotten(
    cohort: Path, tiny_case: Callable, tmp_path: Path
) -> None:
    text = (cohort / "folder-0/case.json").read_text()
    (cohort / "folder-0/case.json").write_text("{")
    assert list(analyze_cohort(cohort, tmp_path / "out").failed) == ["case-folder-1"]
    (cohort / "folder-0/case.json").write_text(text)
    assert analyze_cohort(cohort, tmp_path / "out").failed == {}
    assert (tmp_path / "out/failures.csv").read_text().count("\n") == 1
    assert "n = 3" in (tmp_path / "out/flow.html").read_text()
    assert "Refused" not in (tmp_path / "out/flow.html").read_text()


def test_a_cohort_that_has_grown_is_continued(
    cohort: Path, tiny_case: Callable, tmp_path: Path, without_network: list[str]
) -> None:
    analyze_cohort(cohort, tmp_path / "out")
    without_network.clear()
    save_case(cohort / "folder-7", tiny_case(7)[0])
    assert analyze_cohort(cohort, tmp_path / "out").analysed == 4
    assert without_network == ["case-07"]


def test_results_of_another_cohort_or_model_are_not_mixed(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    analyze_cohort(cohort, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    shutil.copytree(cohort, tmp_path / "other")
    with pytest.raises(InputError, match=r"results of another cohort.*choose a new folder"):
        analyze_cohort(tmp_path / "other", out)
    with pytest.raises(InputError, match=r"results of another model.*choose a new folder"):
        analyze_cohort(cohort, out, model="liverleaf-net-ct")
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert str(tmp_path) not in (out / RESULTS_FILE).read_text()


def test_a_folder_with_other_things_is_left_alone(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other things"):
        analyze_cohort(cohort, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_bad_places_and_options_are_told_before_the_work(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="is not a folder"):
        analyze_cohort(tmp_path / "missing", out)
    with pytest.raises(InputError, match="lies inside"):
        analyze_cohort(cohort, cohort / "results")
    with pytest.raises(InputError, match=r"no model nowhere.*shipped are"):
        analyze_cohort(cohort, out, model="nowhere")
    with pytest.raises(InputError, match="leave --phases out"):
        analyze_cohort(cohort, out, phases=tmp_path / "phases.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no studies found"):
        analyze_cohort(tmp_path / "empty", out)
    assert not out.exists()
    assert not (tmp_path / "pseudonyms.key").exists()


def fails(read: Callable[[], Study], out: Path) -> Findings:
    raise InputError("no liver here")


def test_where_no_case_succeeds_the_reasons_are_told(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "analysis_by_model", lambda *_, **__: fails)
    with pytest.raises(InputError, match=r"no study could be analysed \(3 x no liver here\)"):
        analyze_cohort(cohort, tmp_path / "out")
    assert (tmp_path / "out/failures.csv").read_text().count("no liver here") == 3
    assert len(list((tmp_path / "out" / RECORDS).iterdir())) == 3


def test_a_folder_of_studies_is_analysed_under_pseudonyms(
    cohort: Path, tmp_path: Path, without_network: list[str]
) -> None:
    archive = tmp_path / "archive"
    for name in ("Mustermann", "Geheim"):
        (archive / name).mkdir(parents=True)
        for phase in ("arterial", "portal"):
            shutil.copy(cohort / f"folder-0/{phase}.nii.gz", archive / name / f"{phase}.nii.gz")
    (archive / "broken").mkdir()
    (archive / "broken/portal.nii.gz").write_bytes(b"damaged")
    out = tmp_path / "out"
    summary = analyze_cohort(archive, out)
    assert (summary.found, summary.analysed, len(summary.failed)) == (3, 2, 1)
    assert summary.places == tmp_path / "pseudonyms.places.csv"
    places = summary.places.read_text()
    assert "Mustermann" in places and "broken" in places
    for case in [*summary.failed, *(path.name for path in out.glob("case-*"))]:
        assert case in places
    for file in out.rglob("*"):
        assert "mustermann" not in str(file).lower()
        if file.is_file() and file.suffix in (".json", ".csv", ".html", ".md"):
            assert "ustermann" not in file.read_text(errors="replace")
    without_network.clear()
    assert analyze_cohort(archive, out).kept == 2
    assert without_network == list(summary.failed)
