"""The index of studies: each file once, and a reason for what was left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePath

import pytest

from liverleaf.cohort.study_index import FoundStudy, Source, StudyIndex, counts_in_words


@pytest.fixture
def index(tmp_path: Path) -> Iterator[StudyIndex]:
    with closing(StudyIndex(tmp_path / "index.sqlite")) as index:
        yield index


def test_a_file_that_is_added_twice_is_there_once(index: StudyIndex) -> None:
    source = Source("a/1.dcm", image="i", size=7)
    for _ in range(2):
        index.add("case-1", "subject-1", PurePath("a"), source)
    assert list(index) == [FoundStudy("case-1", "subject-1", (source,))]
    assert list(index.locations()) == [("case-1", "a")]


def test_studies_come_in_the_order_of_their_pseudonyms(index: StudyIndex) -> None:
    for name in ("case-2", "case-1"):
        index.add(name, "subject", PurePath("a"), Source(f"a/{name}"))
    assert [study.case_id for study in index] == ["case-1", "case-2"]
    assert len(index) == 2


def test_a_study_with_files_left_out_has_a_note(index: StudyIndex) -> None:
    index.add("case-1", "subject-1", PurePath("a"), Source("a/1"))
    for reason in ("screen", "screen", "burned in"):
        index.add("case-1", "subject-1", PurePath("a"), None, reason)
    (study,) = index
    assert study.notes == ("left out 3 of 4 files: 2 screen, 1 burned in",)
    assert study.refused == ""


@pytest.mark.parametrize(
    ("reasons", "refused"),
    [
        (["screen"], "screen"),
        (["screen", "screen"], "none of its files can be used: 2 screen"),
    ],
)
def test_a_study_without_a_file_is_refused(
    index: StudyIndex, reasons: list[str], refused: str
) -> None:
    for reason in reasons:
        index.add("case-1", "subject-1", PurePath("a"), None, reason)
    assert list(index) == [FoundStudy("case-1", "subject-1", (), refused=refused)]


def test_a_file_in_a_zip_and_a_name_of_any_bytes_are_read_back(index: StudyIndex) -> None:
    name = os.fsdecode(b"M\xfcller.dcm")
    source = Source(name, Path("a/b.zip"), "i", 1)
    index.add("case-1", "subject-1", PurePath("a/b.zip"), source)
    assert next(iter(index)).sources == (source,)


def test_counts_are_put_in_words_the_most_frequent_first() -> None:
    assert counts_in_words(Counter({"DICOMDIR": 1, "not DICOM": 2})) == "2 not DICOM, 1 DICOMDIR"
    assert counts_in_words(Counter()) == "none"
