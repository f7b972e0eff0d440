"""Whether a study has to be read."""

from __future__ import annotations

from pathlib import Path

from liverleaf.cohort.provenance import Refresh, write_origin
from liverleaf.cohort.study_index import FoundStudy, Source
from liverleaf.cohort.tasks import StudyTask
from liverleaf.ingest.collections.case import CollectionCase
from liverleaf.ingest.deidentify.pseudonyms import Pseudonyms


def own_study(out: Path, *images: str) -> StudyTask:
    sources = tuple(Source(f"{image}.dcm", image=image, size=1) for image in images)
    return StudyTask(FoundStudy("case-1", "subject-1", sources), out, Pseudonyms(bytes(32)))


def test_a_study_without_a_case_is_read(tmp_path: Path) -> None:
    task = own_study(tmp_path, "a")
    assert task.case == tmp_path / "case-1"
    assert task.refresh is Refresh.REREAD


def test_a_study_with_a_case_is_read_again_when_it_has_grown(tmp_path: Path) -> None:
    task = own_study(tmp_path, "a")
    task.case.mkdir()
    assert task.refresh is Refresh.WARN  # nobody knows what the case was read from
    write_origin(task.case, task.origin(task.study))
    assert task.refresh is Refresh.KEEP
    assert own_study(tmp_path, "a", "b").refresh is Refresh.REREAD


def test_a_case_of_a_public_collection_is_kept(tmp_path: Path) -> None:
    task = StudyTask(CollectionCase("case-lits-1", "lits-1", read), tmp_path)
    assert task.refresh is Refresh.REREAD
    task.case.mkdir()
    assert task.refresh is Refresh.KEEP


def read() -> None:
    raise AssertionError("reading is not asked for")
