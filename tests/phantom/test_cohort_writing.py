"""Numbered cases into one folder: a stopped run is continued, and nothing else is written into."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest

from liverleaf.cohort.index import Cohort
from liverleaf.phantom.cohort_writing import write_cases
from liverleaf.study import InputError, Modality, Phase, PhaseImage, Study


def make(index: int) -> tuple[Study, None]:
    grid = hd.Volume(np.zeros((2, 3, 4), np.float32), np.eye(4), "PATIENT")
    return Study(Modality.CT, {Phase.PORTAL: PhaseImage(grid)}, f"c{index}"), None


def test_writing_resumes_and_reports(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_cases(make, 2, tmp_path / "out", settings={"seed": 1})
    (tmp_path / "out/.partial-case-00002-x").mkdir()
    before = (tmp_path / "out/case-00000/case.json").stat().st_mtime_ns
    write_cases(
        make,
        4,
        tmp_path / "out",
        settings={"seed": 1},
        jobs=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(2, 4), (3, 4), (4, 4)]
    assert (tmp_path / "out/case-00000/case.json").stat().st_mtime_ns == before
    assert [record.case_id for record in Cohort.open(tmp_path / "out").records] == [
        "c0",
        "c1",
        "c2",
        "c3",
    ]
    assert not list((tmp_path / "out").glob(".partial*"))


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
