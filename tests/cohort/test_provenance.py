"""What a case was read from, and the private list of folders."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from liverleaf.cohort.build import IngestSummary, build_cohort
from liverleaf.cohort.provenance import (
    Origin,
    Refresh,
    note_locations,
    note_unused_files,
    read_origin,
    refresh,
    write_origin,
)
from liverleaf.cohort.study_index import FoundStudy, Source
from liverleaf.ingest.deidentify.pseudonyms import Pseudonyms
from liverleaf.ingest.phases.override import PhaseRow
from liverleaf.study import InputError, Modality, Phase

PSEUDONYMS = Pseudonyms(bytes(32))
ONE, TWO = {"image-a": 10}, {"image-a": 10, "image-b": 20}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (Origin(images=ONE), Origin(images=ONE), Refresh.KEEP),
        (Origin(images=TWO), Origin(images=ONE), Refresh.KEEP),
        (Origin(images=ONE), Origin(images=TWO), Refresh.REREAD),
        (Origin(images=ONE), Origin(images={"image-a": 11}), Refresh.REREAD),
        (Origin(images=ONE), Origin(images={"image-b": 20}), Refresh.WARN),
        (Origin(images=ONE), Origin(images=ONE, table="t"), Refresh.REREAD),
        (Origin(images=ONE, table="t"), Origin(images=ONE, table="u"), Refresh.REREAD),
        (Origin(images=ONE, table="t"), Origin(images=ONE), Refresh.KEEP),
        # all images, but without the table that the case was read with
        (Origin(images=ONE, table="t"), Origin(images=TWO), Refresh.WARN),
        # a new table, but not for all images
        (Origin(images=TWO), Origin(images=ONE, table="t"), Refresh.WARN),
        (None, Origin(images=ONE), Refresh.WARN),
    ],
)
def test_a_case_is_read_again_only_when_that_makes_it_more(
    before: Origin | None, now: Origin, expected: Refresh
) -> None:
    assert refresh(before, now) is expected


def test_of_several_copies_of_an_image_the_largest_counts() -> None:
    sources = tuple(Source(name, image="i", size=size) for name, size in (("a", 5), ("b", 9)))
    origin = Origin.of(FoundStudy("case-1", "subject-1", sources), (), PSEUDONYMS)
    assert origin == Origin(images={"i": 9})


def test_the_order_of_a_table_does_not_matter_and_its_content_is_not_kept() -> None:
    rows = PhaseRow(2, "", "1.2", Phase.PORTAL), PhaseRow(3, "", "Mustermann", None)
    study = FoundStudy("case-1", "subject-1", ())
    one, other = (Origin.of(study, table, PSEUDONYMS) for table in (rows, rows[::-1]))
    assert one == other
    assert one.table
    assert "Mustermann" not in one.model_dump_json()
    assert Origin.of(study, rows[:1], PSEUDONYMS) != one


def test_a_study_of_another_modality_is_read_again() -> None:
    study = FoundStudy("case-1", "subject-1", ())
    said = [Origin.of(study, (), PSEUDONYMS, modality) for modality in (None, *Modality)]
    assert len({origin.table for origin in said}) == 3
    assert said[0].table == ""
    assert refresh(said[0], said[1]) is Refresh.REREAD


def test_an_origin_is_read_back_and_a_damaged_one_is_unknown(tmp_path: Path) -> None:
    write_origin(tmp_path, Origin(images=TWO, table="t"))
    assert read_origin(tmp_path) == Origin(images=TWO, table="t")
    (tmp_path / "origin.json").write_text("{")
    assert read_origin(tmp_path) is None
    assert read_origin(tmp_path / "nowhere") is None


def test_locations_are_added_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "key.places.csv"
    note_locations([("case-1", "/a"), ("case-2", "/b")], file)
    note_locations([("case-2", "/b"), ("case-2", "/c")], file)
    assert file.stat().st_mode & 0o077 == 0
    with file.open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["case", "folder or zip"],
            ["case-1", "/a"],
            ["case-2", "/b"],
            ["case-2", "/c"],
        ]


def test_a_list_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give it with --key FILE"):
        note_locations([("case-1", "/a")], tmp_path)


def test_the_folder_of_each_study_is_for_the_owner_of_the_key_alone(
    archive: Path, built: tuple[Path, IngestSummary]
) -> None:
    out, done = built
    assert done.places == out.parent / "pseudonyms.places.csv"
    assert done.places.stat().st_mode & 0o077 == 0
    build_cohort([archive], out, with_dicom=True)
    with done.places.open(encoding="utf-8", newline="") as stream:
        header, *found = csv.reader(stream)
    assert header == ["case", "folder or zip"]
    assert len(found) == 4
    places = dict(found)
    assert places[next(iter(done.refused))] == str(archive / "bad")
    assert sorted(places.values())[0] == str(archive / "Mustermann_Erika.zip/4711SECRET")


def test_what_was_noted_of_the_files_of_a_study_is_replaced_when_it_is_read_again(
    tmp_path: Path,
) -> None:
    file = tmp_path / "key.files.csv"
    note_unused_files([("case-1", "/a", "damaged"), ("", "/b", "not DICOM")], file)
    note_unused_files([("case-2", "/c", "copy"), ("", "/b", "not DICOM")], file, anew={"case-1"})
    assert file.stat().st_mode & 0o077 == 0
    assert file.read_text().splitlines() == [
        "case,file,reason",
        ",/b,not DICOM",
        "case-2,/c,copy",
    ]
