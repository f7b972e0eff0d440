"""Many studies into one cohort: nothing lost, nothing done twice, nobody named, and one bad study stops no other."""

from __future__ import annotations

import csv
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from liverleaf.cohort import build as module
from liverleaf.cohort.build import Collected, Task, collect, ingest_one
from liverleaf.cohort.discovery import FoundStudy, Source
from liverleaf.cohort.index import Cohort
from liverleaf.cohort.page import thumbnail
from liverleaf.ingest.deidentify.pseudonyms import Pseudonyms, read_key
from liverleaf.ingest.reader import read_study
from liverleaf.phantom.dicom_series import write_dicom
from liverleaf.phantom.generator import Phantom
from liverleaf.study import InputError, Phase

SECRETS = (
    "mustermann",
    "erika",
    "4711secret",
    "acc0815",
    "hausarzt",
    "2.25.12345",
    "geheim",
    "20240115",
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies of one patient with a name, one in a zip that is called like him; a NIfTI study, and a study without images."""
    folder = tmp_path_factory.mktemp("archive")
    study, _ = Phantom("ct", 1, shape=(12, 24, 24), spacing_mm=(10.0, 14.0, 14.0), headers=True)[0]
    kept = replace(study, phases=dict(list(study.phases.items())[:2]))
    for number in (1, 2):
        target = folder / f"mustermann/visit-{number}"
        target.mkdir(parents=True)
        write_dicom(kept, target)
        for file in target.iterdir():
            spoil(file, number)
    files = sorted((folder / "mustermann/visit-2").iterdir())
    with zipfile.ZipFile(folder / "Mustermann_Erika.zip", "w") as packed:
        for file in files:
            packed.write(file, f"4711SECRET/{file.name}")
    shutil.rmtree(folder / "mustermann/visit-2")
    (folder / "geheim").mkdir()
    for name in ("arterial", "portal"):
        nib.save(
            nib.Nifti1Image(
                np.arange(6 * 7 * 8, dtype=np.int16).reshape(6, 7, 8) - 1000, np.eye(4)
            ),
            folder / f"geheim/{name}.nii.gz",
        )
    (folder / "bad").mkdir()
    bad = pydicom.dcmread(folder / "mustermann/visit-1" / files[0].name)
    bad.StudyInstanceUID, bad.SOPClassUID = "2.25.9", "1.2.840.10008.5.1.4.1.1.7"
    bad.save_as(folder / "bad/IM1")
    (folder / "notes.txt").write_text("Erika Mustermann")
    return folder


def spoil(file: Path, number: int) -> None:
    dataset = pydicom.dcmread(file)
    dataset.PatientName, dataset.PatientID, dataset.AccessionNumber = (
        "Mustermann^Erika",
        "4711SECRET",
        "ACC0815",
    )
    dataset.ReferringPhysicianName = "Hausarzt^Heidi"
    dataset.StudyInstanceUID = f"2.25.12345{number}"
    dataset.SeriesInstanceUID = f"{dataset.SeriesInstanceUID[:40]}{number}"
    dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID[:40]}{number}"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SeriesDescription = f"{dataset.SeriesDescription} for Hausarzt"
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, keyword, f"202401{8 + 7 * number:02d}")
    dataset.save_as(file)


@pytest.fixture(scope="module")
def collected(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Collected]:
    """The cohort of the archive with its DICOM; do not write into it."""
    out = tmp_path_factory.mktemp("collected") / "cohort"
    return out, collect([archive], out, with_dicom=True)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "cohort.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_study_is_a_case_or_a_refusal_with_a_reason(
    collected: tuple[Path, Collected],
) -> None:
    out, done = collected
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


def test_the_page_shows_each_case_each_refusal_and_loads_nothing(
    collected: tuple[Path, Collected],
) -> None:
    out, done = collected
    page = (out / "cohort.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 3
    assert "Research use only" in page
    assert all(case in page and reason in page for case, reason in done.refused.items())
    assert "http" not in page
    assert "<script" not in page


def test_nothing_in_the_cohort_names_the_patient(collected: tuple[Path, Collected]) -> None:
    out, _ = collected
    for path in out.rglob("*"):
        assert not any(secret in str(path.relative_to(out)).lower() for secret in SECRETS)
        if path.is_file():
            content = path.read_bytes().lower()
            assert not any(secret.encode() in content for secret in SECRETS), path
        if path.name.endswith(".nii.gz"):
            header: Any = nib.load(path).header
            assert all(
                not bytes(header[field]).strip(b"\0")
                for field in ("descrip", "aux_file", "intent_name", "db_name")
            )
    study, _ = Cohort.open(out)[0]
    assert all(
        str(image.volume.frame_of_reference_uid).startswith(("2.25.", "None"))
        for image in study.phases.values()
    )


def test_the_deidentified_dicom_reads_as_the_same_study_with_its_interval_kept(
    archive: Path, collected: tuple[Path, Collected]
) -> None:
    out, _ = collected
    folders = sorted(out.glob("case-*/dicom"))
    assert len(folders) == 2
    days = []
    for folder in folders:
        copy = read_study(folder)
        case = Cohort.open(folder.parents[1])[Cohort.open(out).directories.index(folder.parent)][0]
        assert list(copy.phases) == list(case.phases)
        assert all(
            np.array_equal(copy.phases[p].volume.array, case.phases[p].volume.array)
            for p in case.phases
        )
        days.append(int(pydicom.dcmread(next(folder.rglob("*.dcm"))).StudyDate))
    assert abs(pydicom_date(days[0]) - pydicom_date(days[1])) == 7
    assert len(Cohort.open(out).subjects) == 2


def pydicom_date(value: int) -> int:
    return pydicom.valuerep.DA(str(value)).toordinal()


def test_a_second_run_keeps_what_is_there_and_mends_the_rest(
    archive: Path, collected: tuple[Path, Collected], tmp_path: Path
) -> None:
    shutil.copytree(collected[0], tmp_path / "cohort")
    shutil.copy(collected[1].key, tmp_path / "pseudonyms.key")
    out = tmp_path / "cohort"
    lost = sorted(out.glob("case-*/dicom"))[0].parent
    touched = sorted(out.glob("case-*/dicom"))[1].parent
    shutil.rmtree(lost)
    before = touched.stat().st_mtime_ns
    (out / "cohort.csv").unlink()
    (out / ".ingest" / f"{touched.name}.json").unlink()
    (out / ".partial-left").mkdir()
    done = collect([archive], out, with_dicom=True)
    assert (done.read, done.kept) == (3, 2)
    assert lost.is_dir()
    assert touched.stat().st_mtime_ns == before
    assert not list(out.glob(".partial-*"))
    assert rows(out) == rows(collected[0])


@pytest.fixture
def growing(archive: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A study whose second phase arrives later: the folders of the first and of the second, and a cohort of the first."""
    files: dict[str, list[Path]] = {}
    for file in sorted((archive / "mustermann/visit-1").iterdir()):
        files.setdefault(
            pydicom.dcmread(file, stop_before_pixels=True).SeriesInstanceUID, []
        ).append(file)
    folders = tmp_path / "study/first", tmp_path / "study/second"
    for folder, alike in zip(folders, files.values(), strict=True):
        folder.mkdir(parents=True)
        for file in alike:
            shutil.copy(file, folder)
    collect([folders[0]], tmp_path / "cohort", with_dicom=True)
    return *folders, tmp_path / "cohort"


def phases_of(out: Path) -> list[set[Phase]]:
    return [set(study.phases) for study, _ in Cohort.open(out)]


def test_a_study_that_has_grown_is_read_again(growing: tuple[Path, Path, Path]) -> None:
    first, _, out = growing
    assert [len(phases) for phases in phases_of(out)] == [1]
    done = collect([first.parent], out, with_dicom=True)
    assert (done.read, done.kept, done.again, done.warnings) == (1, 0, 1, {})
    assert [len(phases) for phases in phases_of(out)] == [2]
    assert [row["dicom_files"] for row in rows(out)] == ["24"]
    assert not list(out.glob(".partial-*"))
    for less in (first.parent, first):
        done = collect([less], out, with_dicom=True)
        assert (done.kept, done.again, done.warnings) == (1, 0, {})
    assert [len(phases) for phases in phases_of(out)] == [2]


def test_a_file_that_came_whole_the_second_time_is_read_again(
    growing: tuple[Path, Path, Path],
) -> None:
    first, _, out = growing
    file = next(first.iterdir())
    whole = file.read_bytes()
    file.write_bytes(whole[:-200])
    assert collect([first], out, with_dicom=True).again == 1
    assert "cannot be decoded" in rows(out)[0]["warnings"]
    file.write_bytes(whole)
    assert collect([first], out, with_dicom=True).again == 1
    assert "cannot be decoded" not in rows(out)[0]["warnings"]


def test_the_rest_of_a_study_alone_does_not_replace_its_case_and_is_told(
    growing: tuple[Path, Path, Path],
) -> None:
    _, second, out = growing
    before = phases_of(out)
    for _ in range(2):
        done = collect([second], out, with_dicom=True)
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
        collect([first.parent], out, with_dicom=True)
    assert (rows(out)[0]["status"], phases_of(out)) == ("read", before)
    assert "was left as it was: images of 2 patients" in rows(out)[0]["warnings"]


def test_a_changed_table_is_heard_and_a_missing_one_is_not(
    growing: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    first, second, out = growing
    number = pydicom.dcmread(next(first.iterdir())).SeriesNumber

    def say(phase: str) -> Collected:
        (tmp_path / "phases.csv").write_text(f"study,series,phase\n2.25.123451,{number},{phase}\n")
        return collect([first], out, with_dicom=True, phases=tmp_path / "phases.csv")

    for phase in (Phase.DELAYED, Phase.ARTERIAL):
        done = say(phase.key)
        assert (done.kept, done.again) == (0, 1)
        assert phases_of(out) == [{phase}]
    assert say("arterial").kept == 1
    assert collect([first], out, with_dicom=True).warnings == {}
    assert list(collect([first, second], out, with_dicom=True).warnings) == [rows(out)[0]["case"]]
    assert phases_of(out) == [{Phase.ARTERIAL}]


def test_a_case_without_its_origin_is_kept(growing: tuple[Path, Path, Path]) -> None:
    first, _, out = growing
    next(out.glob("case-*/origin.json")).unlink()
    done = collect([first.parent], out, with_dicom=True)
    assert (done.kept, len(done.warnings)) == (1, 1)


def test_where_each_study_lies_is_told_to_the_owner_of_the_key_alone(
    archive: Path, collected: tuple[Path, Collected]
) -> None:
    out, done = collected
    assert done.places == out.parent / "pseudonyms.places.csv"
    assert done.places.stat().st_mode & 0o077 == 0
    collect([archive], out, with_dicom=True)
    with done.places.open(encoding="utf-8", newline="") as stream:
        header, *found = csv.reader(stream)
    assert header == ["case", "folder or zip"]
    assert len(found) == 4
    places = dict(found)
    assert places[next(iter(done.refused))] == str(archive / "bad")
    assert sorted(places.values())[0] == str(archive / "Mustermann_Erika.zip/4711SECRET")


def test_processes_write_the_same_cohort(
    archive: Path, collected: tuple[Path, Collected], tmp_path: Path
) -> None:
    shutil.copy(collected[1].key, tmp_path / "my.key")
    done = collect([archive], tmp_path / "cohort", key=tmp_path / "my.key", jobs=2)
    assert (done.read, len(done.refused)) == (3, 1)
    without = [{**row, "dicom_files": "", "warnings": ""} for row in rows(collected[0])]
    assert [
        {**row, "dicom_files": "", "warnings": ""} for row in rows(tmp_path / "cohort")
    ] == without


def task(tmp_path: Path, number: int) -> Task:
    (tmp_path / ".ingest").mkdir(exist_ok=True)
    found = FoundStudy(
        f"case-{number:012x}", f"subject-{number:012x}", (Source(str(tmp_path / f"{number}.nii")),)
    )
    return Task(found, tmp_path, Pseudonyms(bytes(32)), False)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InputError("1.nii is damaged"), "a file is damaged"),
        (RuntimeError("Mustermann"), "failed unexpectedly"),
        (MemoryError(), "memory"),
        (PermissionError(13, "Permission denied", "/mustermann"), "Permission denied"),
    ],
)
def test_a_fault_of_one_study_is_its_reason_and_names_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(_files: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(module, "read_study", fail)
    row = ingest_one(task(tmp_path, 1))
    assert row.status == "refused"
    assert reason in row.reason
    assert "ustermann" not in row.reason


def test_dask_runs_the_same_function_and_outlives_a_lost_worker(
    archive: Path,
    collected: tuple[Path, Collected],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", fake_dask())
    done = collect([archive], tmp_path / "cohort", scheduler="tcp://here:1")
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
            self, function: Callable[[Any], Any], argument: Task, **_settings: bool
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
    with pytest.raises(InputError, match=r"pip install 'liverleaf\[dask\]'"):
        collect([archive], tmp_path / "cohort", scheduler="tcp://here:1")
    assert not list(tmp_path.iterdir())


def test_bad_use_is_refused_and_leaves_nothing(
    archive: Path, collected: tuple[Path, Collected], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    (tmp_path / "bad.key").write_text("no key")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="no studies found"):
        collect([tmp_path / "empty"], tmp_path / "cohort")
    with pytest.raises(InputError, match=r"holds other things \(thesis.txt\)"):
        collect([archive], tmp_path / "full")
    with pytest.raises(InputError, match="cannot be read as a key"):
        collect([archive], tmp_path / "cohort", key=tmp_path / "bad.key")
    with pytest.raises(InputError, match="inside the cohort"):
        collect([archive], tmp_path / "cohort", key=tmp_path / "cohort/key")
    with pytest.raises(InputError, match="begun with another key"):
        collect([archive], collected[0], with_dicom=True, key=tmp_path / "other.key")
    with pytest.raises(InputError, match="begun in another way"):
        collect([archive], collected[0])
    with pytest.raises(
        InputError, match="file is not writable, or key is there already; give another place"
    ):
        collect([archive], tmp_path / "cohort", key=tmp_path / "file/key")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.key", "empty", "file", "full"]


def test_when_nothing_can_be_read_the_page_says_why(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"no study could be read \(1 x .*secondary capture.*places.csv tells where",
    ):
        collect([archive / "bad"], tmp_path / "cohort")
    assert "secondary capture" in (tmp_path / "cohort/cohort.html").read_text(encoding="utf-8")
    (tmp_path / "broken.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"\(1 x .*; 1 x .*\); ") as raised:
        collect([archive / "bad", tmp_path / "broken.zip"], tmp_path / "cohort")
    assert "secondary capture" in str(raised.value)
    assert "the zip is damaged" in str(raised.value)


def test_a_list_of_places_that_cannot_be_written_is_told(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "pseudonyms.places.csv").mkdir()
    with pytest.raises(
        InputError,
        match=(
            r"pseudonyms.places.csv, which tells where each study lies, cannot be read or written"
        ),
    ):
        collect([archive / "bad"], tmp_path / "cohort")
    assert not (tmp_path / "cohort").exists()


def test_the_key_lies_beside_the_cohort(collected: tuple[Path, Collected]) -> None:
    out, done = collected
    assert done.key == out.parent / "pseudonyms.key"
    read_key(done.key)


def test_a_thumbnail_shows_front_up_and_right_to_the_left(tiny_case: Callable[..., Any]) -> None:
    study, _ = tiny_case(0)
    volume = study.phases[Phase.PRE].volume
    array = np.full(volume.array.shape, -500, np.float32)
    array[:, :10, :10] = 300  # front and right of a grid that runs to the back and to the left
    turned = study.phases[Phase.PRE].volume.with_array(array).flip_spatial([0, 1, 2])
    images = {
        p: replace(study.phases[p], volume=v)
        for p, v in ((Phase.PRE, turned), (Phase.PORTAL, volume.with_array(array)))
    }
    strip = np.asarray(thumbnail(replace(study, phases=images)))
    assert strip.shape == (160, 320)
    for left in (0, 160):
        assert strip[5, left + 5] == 255
        assert strip[-5, left + 5] == strip[5, left + 155] == 0
