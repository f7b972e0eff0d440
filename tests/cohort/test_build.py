"""A cohort of many studies: nothing lost or done twice, and one bad study stops no other."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest

from liverleaf.cohort.build import IngestSummary, build_cohort
from liverleaf.cohort.index import Cohort
from liverleaf.cohort.tasks import StudyTask
from liverleaf.ingest.deidentify.pseudonyms import read_key
from liverleaf.study import InputError, Phase


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "cohort.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_study_is_a_case_or_a_refusal_with_a_reason(
    built: tuple[Path, IngestSummary],
) -> None:
    out, done = built
    assert (done.found, done.read, done.kept, len(done.refused), done.ignored) == (
        4,
        3,
        0,
        1,
        {"not DICOM": 1},
    )
    assert "secondary capture" in next(iter(done.refused.values()))
    cohort = Cohort.open(out)
    assert len(cohort) == 3
    assert len(cohort.subjects) == 2
    table = rows(out)
    assert [row["status"] for row in table].count("refused") == 1
    read = next(row for row in table if row["shape"] == "12x24x24")
    assert (read["modality"], read["slices"], read["spacing_mm"], read["phases"]) == (
        "CT",
        "12",
        "10x14x14",
        "pre;arterial",
    )
    assert float(read["confidences"].split(";")[1]) > 0.5


def test_a_second_run_keeps_what_is_there_and_mends_the_rest(
    archive: Path, built: tuple[Path, IngestSummary], tmp_path: Path
) -> None:
    shutil.copytree(built[0], tmp_path / "cohort")
    shutil.copy(built[1].key, tmp_path / "pseudonyms.key")
    out = tmp_path / "cohort"
    lost = sorted(out.glob("case-*/dicom"))[0].parent
    touched = sorted(out.glob("case-*/dicom"))[1].parent
    shutil.rmtree(lost)
    before = touched.stat().st_mtime_ns
    (out / "cohort.csv").unlink()
    (out / ".ingest" / f"{touched.name}.json").unlink()
    (out / ".partial-left").mkdir()
    done = build_cohort([archive], out, with_dicom=True)
    assert (done.read, done.kept) == (3, 2)
    assert lost.is_dir()
    assert touched.stat().st_mtime_ns == before
    assert not list(out.glob(".partial-*"))
    assert rows(out) == rows(built[0])


def phases_of(out: Path) -> list[set[Phase]]:
    return [set(study.phases) for study, _ in Cohort.open(out)]


def test_a_study_that_has_grown_is_read_again(growing: tuple[Path, Path, Path]) -> None:
    first, _, out = growing
    assert [len(phases) for phases in phases_of(out)] == [1]
    done = build_cohort([first.parent], out, with_dicom=True)
    assert (done.read, done.kept, done.again, done.warnings) == (1, 0, 1, {})
    assert [len(phases) for phases in phases_of(out)] == [2]
    assert [row["dicom_files"] for row in rows(out)] == ["24"]
    assert not list(out.glob(".partial-*"))
    for less in (first.parent, first):
        done = build_cohort([less], out, with_dicom=True)
        assert (done.kept, done.again, done.warnings) == (1, 0, {})
    assert [len(phases) for phases in phases_of(out)] == [2]


def test_a_file_that_came_whole_the_second_time_is_read_again(
    growing: tuple[Path, Path, Path],
) -> None:
    first, _, out = growing
    file = next(first.iterdir())
    whole = file.read_bytes()
    file.write_bytes(whole[:-200])
    assert build_cohort([first], out, with_dicom=True).again == 1
    assert "cannot be decoded" in rows(out)[0]["warnings"]
    file.write_bytes(whole)
    assert build_cohort([first], out, with_dicom=True).again == 1
    assert "cannot be decoded" not in rows(out)[0]["warnings"]


def test_the_rest_of_a_study_alone_does_not_replace_its_case_and_is_a_warning(
    growing: tuple[Path, Path, Path],
) -> None:
    _, second, out = growing
    before = phases_of(out)
    for _ in range(2):
        done = build_cohort([second], out, with_dicom=True)
        assert (done.kept, done.again) == (1, 0)
        assert list(done.warnings) == [rows(out)[0]["case"]]
        assert rows(out)[0]["warnings"].count("give the whole study together") == 1
    assert phases_of(out) == before


def test_a_case_is_left_as_it_was_where_more_cannot_be_read(
    growing: tuple[Path, Path, Path],
) -> None:
    first, second, out = growing
    before = phases_of(out)
    for file in second.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.PatientID = "another"
        dataset.save_as(file)
    with pytest.raises(InputError, match=r"no study could be read \(1 x images of 2 patients"):
        build_cohort([first.parent], out, with_dicom=True)
    assert (rows(out)[0]["status"], phases_of(out)) == ("read", before)
    assert "was left as it was: images of 2 patients" in rows(out)[0]["warnings"]


def test_a_changed_table_is_followed_and_a_missing_one_is_not(
    growing: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    first, second, out = growing
    number = pydicom.dcmread(next(first.iterdir())).SeriesNumber

    def name_it(phase: str) -> IngestSummary:
        (tmp_path / "phases.csv").write_text(f"study,series,phase\n2.25.123451,{number},{phase}\n")
        return build_cohort([first], out, with_dicom=True, phases=tmp_path / "phases.csv")

    for phase in (Phase.DELAYED, Phase.ARTERIAL):
        done = name_it(phase.key)
        assert (done.kept, done.again) == (0, 1)
        assert phases_of(out) == [{phase}]
    assert name_it("arterial").kept == 1
    assert build_cohort([first], out, with_dicom=True).warnings == {}
    assert list(build_cohort([first, second], out, with_dicom=True).warnings) == [
        rows(out)[0]["case"]
    ]
    assert phases_of(out) == [{Phase.ARTERIAL}]


def test_a_case_without_its_origin_is_kept(growing: tuple[Path, Path, Path]) -> None:
    first, _, out = growing
    next(out.glob("case-*/origin.json")).unlink()
    done = build_cohort([first.parent], out, with_dicom=True)
    assert (done.kept, len(done.warnings)) == (1, 1)


def test_processes_write_the_same_cohort(
    archive: Path, built: tuple[Path, IngestSummary], tmp_path: Path
) -> None:
    shutil.copy(built[1].key, tmp_path / "my.key")
    done = build_cohort([archive], tmp_path / "cohort", key=tmp_path / "my.key", jobs=2)
    assert (done.read, len(done.refused)) == (3, 1)
    without = [{**row, "dicom_files": "", "warnings": ""} for row in rows(built[0])]
    assert [
        {**row, "dicom_files": "", "warnings": ""} for row in rows(tmp_path / "cohort")
    ] == without


def test_dask_runs_the_same_function_and_outlives_a_lost_worker(
    archive: Path,
    built: tuple[Path, IngestSummary],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", fake_dask())
    done = build_cohort([archive], tmp_path / "cohort", scheduler="tcp://here:1")
    assert (done.read, len(done.refused)) == (2, 2)
    assert sum("no Dask worker" in reason for reason in done.refused.values()) == 1


def fake_dask() -> ModuleType:
    """As much of dask.distributed as is used: one thread, and the first task is lost."""

    class Future:
        def __init__(self, call: Callable[[], Any]) -> None:
            self.result = call

    class Client:
        lost = False

        def __init__(self, address: str, timeout: float) -> None:
            assert (address, timeout) == ("tcp://here:1", 10)

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def nthreads(self) -> dict[str, int]:
            return {"worker": 1}

        def submit(
            self, function: Callable[[Any], Any], argument: StudyTask, **_settings: bool
        ) -> Future:
            if not self.lost and not argument.study.refused:
                self.lost = True
                return Future(lambda: 1 / 0)
            return Future(lambda: function(argument))

    class AsCompleted:
        def __init__(self, futures: list[Future]) -> None:
            self.futures = futures

        def add(self, future: Future) -> None:
            self.futures.append(future)

        def __iter__(self) -> Iterator[Future]:
            while self.futures:
                yield self.futures.pop(0)

    fake = ModuleType("distributed")
    fake.Client, fake.as_completed = Client, AsCompleted  # type: ignore[attr-defined]
    return fake


def test_without_dask_one_line_says_what_to_install(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install '\.\[dask\]'"):
        build_cohort([archive], tmp_path / "cohort", scheduler="tcp://here:1")
    assert not list(tmp_path.iterdir())


def test_bad_use_is_refused_and_leaves_nothing(
    archive: Path, built: tuple[Path, IngestSummary], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    (tmp_path / "bad.key").write_text("no key")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="no studies found"):
        build_cohort([tmp_path / "empty"], tmp_path / "cohort")
    with pytest.raises(InputError, match=r"holds other things \(thesis.txt\)"):
        build_cohort([archive], tmp_path / "full")
    with pytest.raises(InputError, match="cannot be read as a key"):
        build_cohort([archive], tmp_path / "cohort", key=tmp_path / "bad.key")
    with pytest.raises(InputError, match="inside the cohort"):
        build_cohort([archive], tmp_path / "cohort", key=tmp_path / "cohort/key")
    with pytest.raises(InputError, match="begun with another key"):
        build_cohort([archive], built[0], with_dicom=True, key=tmp_path / "other.key")
    with pytest.raises(InputError, match="begun in another way"):
        build_cohort([archive], built[0])
    with pytest.raises(
        InputError, match="file is not writable, or key is there already; give another place"
    ):
        build_cohort([archive], tmp_path / "cohort", key=tmp_path / "file/key")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.key", "empty", "file", "full"]


def test_when_nothing_can_be_read_the_page_says_why(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"no study could be read \(1 x .*secondary capture.*places.csv lists their folders",
    ):
        build_cohort([archive / "bad"], tmp_path / "cohort")
    assert "secondary capture" in (tmp_path / "cohort/cohort.html").read_text(encoding="utf-8")
    (tmp_path / "broken.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"\(1 x .*; 1 x .*\); ") as raised:
        build_cohort([archive / "bad", tmp_path / "broken.zip"], tmp_path / "cohort")
    assert "secondary capture" in str(raised.value)
    assert "the zip is damaged" in str(raised.value)


def test_a_list_of_folders_that_cannot_be_written_is_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "pseudonyms.places.csv").mkdir()
    with pytest.raises(
        InputError,
        match=(r"pseudonyms.places.csv, the list of the folder of each study, cannot be read"),
    ):
        build_cohort([archive / "bad"], tmp_path / "cohort")
    assert not (tmp_path / "cohort").exists()


def test_the_key_lies_beside_the_cohort(built: tuple[Path, IngestSummary]) -> None:
    out, done = built
    assert done.key == out.parent / "pseudonyms.key"
    read_key(done.key)


def test_a_cohort_begun_by_version_0_1_is_continued_with_its_key(
    archive: Path, built: tuple[Path, IngestSummary], tmp_path: Path
) -> None:
    out = tmp_path / "cohort"
    shutil.copytree(built[0], out)
    shutil.copy(built[1].key, tmp_path / "pseudonyms.key")
    begun = json.loads((out / "cohort.json").read_text()) | {"made_by": "hepatica ingest"}
    (out / "cohort.json").write_text(json.dumps(begun, indent=1) + "\n")
    shutil.rmtree(next(out.glob("case-*")))
    done = build_cohort([archive], out, with_dicom=True)
    assert (done.read, done.kept) == (3, 2)
    assert rows(out) == rows(built[0])


def test_a_key_of_version_0_1_gives_the_same_pseudonyms(tmp_path: Path) -> None:
    (tmp_path / "pseudonyms.key").write_text(bytes(range(32)).hex() + "\n")
    pseudonyms = read_key(tmp_path / "pseudonyms.key")
    # as version 0.1 made them with this key
    assert pseudonyms.case_id("uid 1.2.3") == "case-c239e6263202"
    assert pseudonyms.subject_id("id 4711") == "subject-de4b80acdfae"
    assert pseudonyms.check == "2206cc73f0275cf2"


def test_every_file_that_is_not_used_stands_in_the_private_table_and_nowhere_else(
    tmp_path: Path, make: Any
) -> None:
    pixels = np.arange(6 * 40 * 40, dtype=np.uint16).reshape(6, 40, 40)
    tree = tmp_path / "tree"
    make.shuffled(make.series(pixels), tree / "Mustermann")
    extra = {"SeriesInstanceUID": "1.2.9", "SeriesNumber": 9, "SeriesDescription": "T2"}
    make.save(make.series(pixels, **extra)[0], tree / "Mustermann/T2")
    shutil.copy(tree / "Mustermann/IM0000", tree / "copy")
    with zipfile.ZipFile(tree / "more.zip", "w") as archive:
        archive.write(tree / "Mustermann/T2", "inner/T2")
    (tree / "Mustermann/notes.txt").write_text("nothing")
    damaged = (tree / "Mustermann/IM0003").read_bytes()
    (tree / "Mustermann/IM0003").write_bytes(damaged[:-1000])
    make.shuffled(
        make.series(pixels[:2], StudyInstanceUID="1.4", SeriesInstanceUID="1.9", Modality="PT"),
        tree / "pet",
    )
    out = tmp_path / "new/cohort"
    done = build_cohort([tree], out, with_dicom=True)
    assert done.files is not None
    with done.files.open(encoding="utf-8", newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    reasons = {Path(path).name: row["reason"] for path, row in rows.items()}
    assert {str(Path(path).relative_to(tree)) for path in rows} >= {
        "more.zip/inner/T2",
        "Mustermann/T2",
        "Mustermann/IM0003",
        "Mustermann/notes.txt",
        "pet/IM0000",
        "pet/IM0001",
    }
    assert reasons["T2"].startswith("series 9: not used as a contrast phase")
    assert reasons["IM0003"] == "series 2: its pixels cannot be read"
    assert reasons["notes.txt"] == "not DICOM"
    assert reasons["IM0001"].startswith("its study was refused: no CT or MR image found")
    repeated = {"copy", "IM0000"} & {n for n, r in reasons.items() if r.startswith("a copy of")}
    assert len(repeated) == 1
    assert rows[str(tree / "Mustermann/T2")]["case"].startswith("case-")
    assert not any(
        "Mustermann" in file.read_text(errors="ignore")
        for file in out.rglob("*")
        if file.suffix in (".csv", ".html", ".json")
    )
