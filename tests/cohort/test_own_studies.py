"""Studies of one's own: found under pseudonyms, with the private files beside the key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from liverleaf.cohort.own_studies import Naming, find_studies
from liverleaf.cohort.study_index import StudyIndex
from liverleaf.ingest.deidentify.pseudonyms import read_key
from liverleaf.study import InputError


@pytest.fixture
def index(tmp_path: Path) -> Iterator[StudyIndex]:
    with closing(StudyIndex(tmp_path / "index.sqlite")) as made:
        yield made


def test_the_key_and_the_private_lists_lie_beside_the_folder(
    archive: Path, index: StudyIndex, tmp_path: Path
) -> None:
    naming = Naming.beside(tmp_path / "out")
    assert naming.key == tmp_path / "pseudonyms.key" and not naming.key.exists()
    find_studies([archive], index, naming)
    assert read_key(naming.key).check == naming.pseudonyms.check
    places = naming.places.read_text()
    assert "mustermann" in places
    assert {study.case_id for study in index} <= {line.split(",")[0] for line in places.split()}
    assert naming.files == tmp_path / "pseudonyms.files.csv"
    assert naming.places.stat().st_mode & 0o077 == 0


def test_the_same_key_gives_the_same_names(archive: Path, tmp_path: Path) -> None:
    names = []
    for number in range(2):
        with closing(StudyIndex(tmp_path / f"{number}.sqlite")) as index:
            find_studies([archive], index, Naming.beside(tmp_path / f"out-{number}"))
            names.append([study.case_id for study in index])
    assert names[0] == names[1]


def test_a_key_inside_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="whoever gets both"):
        Naming.beside(tmp_path / "out", tmp_path / "out/pseudonyms.key")


def test_where_nothing_is_found_nothing_is_written(index: StudyIndex, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("no image")
    with pytest.raises(InputError, match=r"no studies found \(files: 1 not DICOM\)"):
        find_studies([tmp_path / "empty"], index, Naming.beside(tmp_path / "out"))
    assert not list(tmp_path.glob("pseudonyms*"))


def test_a_table_of_phases_is_told_apart_by_study(
    archive: Path, index: StudyIndex, tmp_path: Path
) -> None:
    table = tmp_path / "phases.csv"
    table.write_text(f"study,series,phase\n{archive / 'geheim'},portal.nii.gz,delayed\n")
    found = find_studies([archive], index, Naming.beside(tmp_path / "out"), phases=table)
    rows = {study.case_id: found.get(study.case_id, ()) for study in index}
    ((row,),) = [rows for rows in rows.values() if rows]
    assert row.series == "portal.nii.gz"
    assert found.get("case-unknown", ()) == ()


def test_a_table_about_a_study_that_was_not_found_is_refused(
    archive: Path, index: StudyIndex, tmp_path: Path
) -> None:
    table = tmp_path / "phases.csv"
    table.write_text("study,series,phase\n1.2.3.4,1,portal\n")
    with pytest.raises(InputError, match="line 2 of the table of phases names a study"):
        find_studies([archive], index, Naming.beside(tmp_path / "out"), phases=table)
    assert not (tmp_path / "pseudonyms.key").exists()
