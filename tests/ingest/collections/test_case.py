"""Cases of collections: ids that are file names, and what is known beside the lesions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from liverleaf.ingest.collections.case import (
    ANNOTATIONS_FILE,
    ORGANS_FILE,
    Annotated,
    LesionBox,
    case,
    save_annotations,
)


def unread() -> Annotated:
    raise AssertionError("a case is listed without being read")


@pytest.mark.parametrize(
    ("subject", "study", "case_id"),
    [
        ("7", "", "case-lits-7"),
        ("7", "2", "case-lits-7-2"),
        ("A b/../c", "", "case-lits-A-b-..-c"),
        ("ÄÖ.", "", "case-lits"),
    ],
)
def test_ids_are_plain_file_names(subject: str, study: str, case_id: str) -> None:
    found = case("lits", subject, unread, study=study)
    assert found.case_id == case_id
    assert "/" not in found.case_id


def test_all_studies_of_a_person_have_one_subject() -> None:
    first, second = (case("c", "9", unread, study=study) for study in ("1", "2"))
    assert first.subject_id == second.subject_id == "c-9"
    assert first.case_id != second.case_id


def test_labels_of_the_case_go_into_the_annotation_where_there_is_one(
    tiny_case: Callable,
) -> None:
    study, truth = tiny_case()
    with_truth = Annotated(study, truth).with_case_labels(diagnosis="normal", markers={"stage": 2})
    assert with_truth.truth is not None
    assert (with_truth.truth.diagnosis, with_truth.truth.markers) == ("normal", {"stage": 2})
    assert (with_truth.diagnosis, with_truth.markers) == ("", {})
    without = Annotated(study).with_case_labels(diagnosis="normal")
    assert (without.truth, without.diagnosis) == (None, "normal")


def test_what_is_known_without_lesion_masks_lies_beside_the_case(
    tmp_path: Path, tiny_case: Callable
) -> None:
    study, truth = tiny_case()
    box = LesionBox(image="portal", type="", category="cyst", corners_mm=((0, 0, 0), (1, 2, 3)))
    known = Annotated(study, organs=truth.organs, boxes=(box,), markers={"stage": 2})
    save_annotations(tmp_path, known)
    record = json.loads((tmp_path / ANNOTATIONS_FILE).read_text())
    assert record["organs"] == ORGANS_FILE
    assert (tmp_path / ORGANS_FILE).is_file()
    assert record["boxes"][0]["corners_mm"] == [[0, 0, 0], [1, 2, 3]]
    assert record["markers"] == {"stage": 2}


def test_nothing_is_written_where_nothing_is_known(tmp_path: Path, tiny_case: Callable) -> None:
    study, _ = tiny_case()
    save_annotations(tmp_path, replace(Annotated(study), boxes=()))
    assert list(tmp_path.iterdir()) == []
