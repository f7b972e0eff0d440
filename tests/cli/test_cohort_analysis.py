"""`liverleaf analyze` of a cohort, as people call it."""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from liverleaf.cli.cohort_analysis import is_cohort
from liverleaf.findings import RESEARCH_USE_ONLY, Findings
from liverleaf.storage.case_folder import save_case


@pytest.fixture(scope="module")
def cohort(tiny_case: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two case folders and a broken one; do not write into it."""
    folder = tmp_path_factory.mktemp("cohort") / "cohort"
    for number in range(2):
        save_case(folder / f"case-{number}", tiny_case(number)[0])
    (folder / "case-2").mkdir()
    (folder / "case-2/case.json").write_text("{")
    return folder


def test_a_cohort_is_told_from_a_study(cohort: Path) -> None:
    assert is_cohort(cohort, None, None)
    assert not is_cohort(cohort / "case-0", None, None)
    assert is_cohort(cohort / "case-0", 1, None)
    assert is_cohort(cohort / "case-0", None, "tcp://host:8786")


def test_a_cohort_is_analysed_and_continued(
    cohort: Path, models: Path, liverleaf: Callable, tmp_path: Path
) -> None:
    command = ("analyze", cohort, "--out", tmp_path / "out", "--model", models / "ct")
    done = liverleaf(*command, "--jobs", 2, "--device", "cpu")
    assert done.code == 0, done.err
    assert "3 studies found, 2 analysed, 1 failed" in done.out
    assert "failed case-folder-3: case.json" in done.out
    assert "seg.dcm for 0 of 2 cases: where a case folder keeps its DICOM" in done.out
    assert RESEARCH_USE_ONLY in done.out
    with (tmp_path / "out/studies.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["case"] for row in rows] == ["case-00", "case-01"]
    findings = Findings.read(tmp_path / "out/case-00/findings.json")
    assert rows[0]["model"] == findings.model == "tiny-ct"
    assert rows[0]["weights_sha256"] == findings.provenance.weights_sha256
    assert (tmp_path / "out/case-00/report.html").is_file()
    again = liverleaf(*command, "--json")
    assert again.code == 0, again.err
    summary = json.loads(again.out)
    assert (summary["found"], summary["analysed"], summary["kept"]) == (3, 2, 2)


NO_DASK = (
    "no Dask scheduler answers"
    if importlib.util.find_spec("distributed")
    else "--scheduler needs dask.distributed, which is not installed"
)
"""Dask is an extra, so it may be missing."""


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--jobs", 0), 2, "greater than or equal to 1"),
        (("--overwrite",), 2, "continued, not replaced"),
        (("--model", "nowhere"), 1, "no model nowhere"),
        (("--scheduler", "tcp://127.0.0.1:1"), 1, NO_DASK),
        (("--device", "cuda"), 1, "torch sees none"),
    ],
)
def test_bad_use_is_one_line_and_writes_nothing(
    cohort: Path, liverleaf: Callable, tmp_path: Path, options: tuple, code: int, words: str
) -> None:
    done = liverleaf("analyze", cohort, "--out", tmp_path / "out", *options)
    assert done.code == code
    assert words in " ".join(done.err.replace("│", " ").split())
    assert not (tmp_path / "out").exists()
