"""Many studies: what `ingest` and `collection` print, and what they refuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from liverleaf.cohort.index import Cohort


def test_ingest_says_what_was_kept_read_again_and_ignored(
    liverleaf: Callable[..., Any], study: Path
) -> None:
    files = sorted(
        study.iterdir(),
        key=lambda file: pydicom.dcmread(file, stop_before_pixels=True).SeriesInstanceUID,
    )
    whole = study.parent / "whole"
    shutil.copytree(study, whole)
    (whole / "notes.txt").write_text("beside the images")
    for file in files[8:]:
        file.unlink()
    out = study.parent / "new/cohort"
    assert (
        "1 study found, 1 read, 0 refused\npage: " in liverleaf("ingest", study, "--out", out).out
    )
    done = liverleaf("ingest", whole, "--out", out)
    assert (
        "1 study found, 1 read (1 read again), 0 refused\nother files ignored: 1 not DICOM\npage: "
        in done.out
    )
    assert f"folder of each study: {out.parent / 'pseudonyms.places.csv'}, files" in done.out
    assert (
        "1 study found, 1 read (1 kept from before), 0 refused\n"
        in liverleaf("ingest", study, "--out", out).out
    )
    summary = json.loads(liverleaf("ingest", whole, "--out", out, "--json").out)
    assert (summary["kept"], summary["again"], summary["ignored"], summary["warnings"]) == (
        1,
        0,
        {"not DICOM": 1},
        {},
    )


def test_ingest_makes_a_cohort_of_many_studies(
    secrets: tuple[str, ...], liverleaf: Callable[..., Any], source: Path, tmp_path: Path
) -> None:
    study = sorted((source / "dicom/case-00000/dicom").iterdir())
    (tmp_path / "mustermann").mkdir()
    for file in study:
        shutil.copy(file, tmp_path / "mustermann")
    done = liverleaf("ingest", tmp_path / "mustermann", "--out", tmp_path / "cohort", "--json")
    assert done.code == 0, done
    summary = json.loads(done.out)
    assert (summary["found"], summary["read"], summary["refused"]) == (1, 1, {})
    assert len(Cohort.open(tmp_path / "cohort")) == 1
    again = liverleaf("ingest", tmp_path / "mustermann", "--out", tmp_path / "cohort")
    assert "1 read (1 kept from before), 0 refused" in again.out
    assert "Research use only" in again.out
    assert not any(
        secret in (done.out + again.out).lower().replace(str(tmp_path).lower(), "")
        for secret in secrets
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ingest", "{empty}", "--out", "{out}"], 1, "no studies found"),
        (["ingest", "{empty}/nowhere", "--out", "{out}"], 1, "does not exist"),
        (["ingest", "{empty}", "--out", "{full}"], 1, "holds other things"),
        (["ingest", "{empty}", "--out", "{out}", "--key", "{full}"], 1, "cannot be read as a key"),
        (["ingest", "{empty}", "--out", "{out}", "--jobs", "0"], 2, "--jobs"),
        (["ingest", "--out", "{out}"], 2, "INPUT"),
    ],
)
def test_ingest_explains_bad_use_in_one_line(
    assert_one_line: Callable[..., None],
    liverleaf: Callable[..., Any],
    tmp_path: Path,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    folders = {name: tmp_path / name for name in ("empty", "full", "out")}
    assert_one_line(
        liverleaf(*(argument.format(**folders) for argument in arguments)), code, message
    )
    assert not (tmp_path / "out").exists()


def test_the_old_option_for_a_collection_names_the_new_command(
    assert_one_line: Callable[..., None], liverleaf: Callable[..., Any], tmp_path: Path
) -> None:
    done = liverleaf("ingest", tmp_path, "--collection", "lits", "--out", tmp_path / "cohort")
    assert_one_line(done, 2, "liverleaf collection lits FOLDER --out COHORT")
    assert "--collection" not in liverleaf("ingest", "--help").out


@pytest.mark.parametrize(
    ("name", "folder", "message"),
    [
        ("nobody", "empty", "give one of amplifai, atlas"),
        ("lits", "empty", "no study of lits found"),
        ("lits", "nowhere", "is not a folder"),
    ],
)
def test_a_collection_that_cannot_be_read_is_explained(
    assert_one_line: Callable[..., None],
    liverleaf: Callable[..., Any],
    tmp_path: Path,
    name: str,
    folder: str,
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    done = liverleaf("collection", name, tmp_path / folder, "--out", tmp_path / "cohort")
    assert_one_line(done, 1, message)
    assert not (tmp_path / "cohort").exists()


def test_a_phase_that_does_not_exist_is_bad_use(
    assert_one_line: Callable[..., None], liverleaf: Callable[..., Any], source: Path
) -> None:
    arguments = ("export", source / "cohort", "--out", "Dataset501_Liver", "--phase")
    assert_one_line(liverleaf(*arguments, "late"), 2, "'late' is no phase")


def test_export_says_how_many_cases_were_written(
    liverleaf: Callable[..., Any], source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "Dataset501_Liver"
    done = liverleaf("export", source / "cohort", "--out", out, "--phase", "portal")
    assert done.out.startswith(f"2 cases to train on and 0 without annotation in {out}; channels:")
    assert json.loads((out / "dataset.json").read_text())["numTraining"] == 2


def test_strict_ends_with_a_failure_where_a_patient_of_damaged_files_was_refused(
    liverleaf: Callable[..., Any], study: Path
) -> None:
    archive = study.parent / "archive"
    (archive / "linked").parent.mkdir()
    (archive / "linked").symlink_to(study)
    (archive / "lost/series").mkdir(parents=True)
    for file in sorted(study.iterdir())[:3]:
        (archive / "lost/series" / file.name).write_bytes(file.read_bytes()[:200])
    out = study.parent / "new/cohort"
    done = liverleaf("ingest", archive, "--out", out, "--strict")
    assert done.code == 1
    assert "2 studies found, 1 read, 1 refused" in done.out
    assert "none of its images can be read: 3 unreadable or damaged" in done.out
    assert "none of its images can be read" in (out / "cohort.csv").read_text()
    private = out.parent / "pseudonyms.files.csv"
    assert private.stat().st_mode & 0o777 == 0o600
    assert private.read_text().count("lost/series/") == 3
    assert liverleaf("ingest", archive, "--out", out).code == 0
