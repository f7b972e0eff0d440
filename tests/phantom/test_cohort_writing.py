"""Numbered cases into one folder: a stopped run is continued, and nothing else is written into."""

import os
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest

from liverleaf.cohort.index import Cohort
from liverleaf.phantom.cohort_writing import _WriteCase, write_cases
from liverleaf.storage.case_folder import save_case
from liverleaf.study import InputError, Modality, Phase, PhaseImage, Study


def make(index: int) -> tuple[Study, None]:
    grid = hd.Volume(np.zeros((2, 3, 4), np.float32), np.eye(4), "PATIENT")
    return Study(Modality.CT, {Phase.PORTAL: PhaseImage(grid)}, f"c{index}"), None


def test_writing_resumes_and_reports(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    write_cases(make, 2, tmp_path / "out", settings={"seed": 1})
    (tmp_path / "out/.partial-case-00002-x").mkdir()
    before = (tmp_path / "out/case-00000/case.json").stat().st_mtime_ns
    write_cases(
        make,
        4,
        tmp_path / "out",
        settings={"seed": 1},
        jobs=2,
        progress=lambda *step: seen.append(step),
    )
    assert seen == [("making cases", done, 4) for done in (2, 3, 4)]
    assert (tmp_path / "out/case-00000/case.json").stat().st_mtime_ns == before
    assert [record.case_id for record in Cohort.open(tmp_path / "out").records] == [
        "c0",
        "c1",
        "c2",
        "c3",
    ]
    assert not list((tmp_path / "out").glob(".partial*"))


def test_a_case_that_was_saved_by_a_process_that_died_is_kept(tmp_path: Path) -> None:
    write_cases(make, 2, tmp_path / "out", settings={"seed": 1})
    before = (tmp_path / "out/case-00001/case.json").stat().st_mtime_ns
    _WriteCase(make, save_case, tmp_path / "out")(1)
    assert (tmp_path / "out/case-00001/case.json").stat().st_mtime_ns == before


def make_or_die(index: int) -> tuple[Study, None]:
    if index == 1:
        os._exit(1)
    return make(index)


def test_a_case_that_kills_its_process_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"case 1 could not be made: .* died"):
        write_cases(make_or_die, 3, tmp_path / "out", settings={}, jobs=2)
    write_cases(make, 3, tmp_path / "out", settings={})
    assert len(Cohort.open(tmp_path / "out")) == 3


def test_other_content_or_settings_are_refused(tmp_path: Path) -> None:
    write_cases(make, 1, tmp_path / "out", settings={"seed": 1})
    with pytest.raises(InputError, match="other settings"):
        write_cases(make, 1, tmp_path / "out", settings={"seed": 2})
    (tmp_path / "out/holiday.jpg").write_text("")
    with pytest.raises(InputError, match=r"holiday\.jpg"):
        write_cases(make, 1, tmp_path / "out", settings={"seed": 1})
    (tmp_path / "strange/case-00000").mkdir(parents=True)
    with pytest.raises(InputError, match="unknown origin"):
        write_cases(make, 1, tmp_path / "strange", settings={})
