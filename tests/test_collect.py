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

from hepatica import collect as module
from hepatica.cohort import Cohort
from hepatica.collect import Collected, Task, collect, ingest_one
from hepatica.ingest import read_study
from hepatica.ingest.discover import FoundStudy, Source
from hepatica.ingest.privacy import Pseudonyms, read_key
from hepatica.phantom import Phantom
from hepatica.phantom.dicom_series import write_dicom
from hepatica.report.cohort_page import thumbnail
from hepatica.study import InputError, Phase

SECRETS = ("mustermann", "erika", "4711secret", "acc0815", "hausarzt", "2.25.12345", "geheim", "20240115")


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
        nib.save(nib.Nifti1Image(np.arange(6 * 7 * 8, dtype=np.int16).reshape(6, 7, 8) - 1000, np.eye(4)), folder / f"geheim/{name}.nii.gz")
    (folder / "bad").mkdir()
    bad = pydicom.dcmread(folder / "mustermann/visit-1" / files[0].name)
    bad.StudyInstanceUID, bad.SOPClassUID = "2.25.9", "1.2.840.10008.5.1.4.1.1.7"
    bad.save_as(folder / "bad/IM1")
    (folder / "notes.txt").write_text("Erika Mustermann")
    return folder


def spoil(file: Path, number: int) -> None:
    dataset = pydicom.dcmread(file)
    dataset.PatientName, dataset.PatientID, dataset.AccessionNumber = "Mustermann^Erika", "4711SECRET", "ACC0815"
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


def test_every_study_is_a_case_or_a_refusal_with_a_reason(collected: tuple[Path, Collected]) -> None:
    out, done = collected
    assert (done.found, done.read, done.kept, len(done.refused), done.ignored) == (4, 3, 0, 1, 1)
    assert "secondary capture" in next(iter(done.refused.values()))
    cohort = Cohort.open(out)
    assert len(cohort) == 3
    assert len(cohort.subjects) == 2
    table = rows(out)
    assert [row["status"] for row in table].count("refused") == 1
    read = next(row for row in table if row["shape"] == "12x24x24")
    assert (read["modality"], read["slices"], read["spacing_mm"], read["phases"]) == ("CT", "12", "10x14x14", "pre;arterial")
    assert float(read["confidences"].split(";")[1]) > 0.5


def test_the_page_shows_each_case_each_refusal_and_loads_nothing(collected: tuple[Path, Collected]) -> None:
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
            assert all(not bytes(header[field]).strip(b"\0") for field in ("descrip", "aux_file", "intent_name", "db_name"))
    study, _ = Cohort.open(out)[0]
    assert all(str(image.volume.frame_of_reference_uid).startswith(("2.25.", "None")) for image in study.phases.values())


def test_the_deidentified_dicom_reads_as_the_same_study_with_its_interval_kept(archive: Path, collected: tuple[Path, Collected]) -> None:
    out, _ = collected
    folders = sorted(out.glob("case-*/dicom"))
    assert len(folders) == 2
    days = []
    for folder in folders:
        copy, case = read_study(folder), Cohort.open(folder.parents[1])[Cohort.open(out).directories.index(folder.parent)][0]
        assert list(copy.phases) == list(case.phases)
        assert all(np.array_equal(copy.phases[p].volume.array, case.phases[p].volume.array) for p in case.phases)
        days.append(int(pydicom.dcmread(next(folder.rglob("*.dcm"))).StudyDate))
    assert abs(pydicom_date(days[0]) - pydicom_date(days[1])) == 7
    assert len(Cohort.open(out).subjects) == 2


def pydicom_date(value: int) -> int:
    return pydicom.valuerep.DA(str(value)).toordinal()


def test_a_second_run_keeps_what_is_there_and_mends_the_rest(archive: Path, collected: tuple[Path, Collected], tmp_path: Path) -> None:
    shutil.copytree(collected[0], tmp_path / "cohort")
    shutil.copy(collected[1].key, tmp_path / "pseudonyms.key")
    out = tmp_path / "cohort"
    lost, touched = sorted(out.glob("case-*/dicom"))[0].parent, sorted(out.glob("case-*/dicom"))[1].parent
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


def test_processes_write_the_same_cohort(archive: Path, collected: tuple[Path, Collected], tmp_path: Path) -> None:
    shutil.copy(collected[1].key, tmp_path / "my.key")
    done = collect([archive], tmp_path / "cohort", key=tmp_path / "my.key", jobs=2)
    assert (done.read, len(done.refused)) == (3, 1)
    without = [{**row, "dicom_files": "", "warnings": ""} for row in rows(collected[0])]
    assert [{**row, "dicom_files": "", "warnings": ""} for row in rows(tmp_path / "cohort")] == without


def task(tmp_path: Path, number: int) -> Task:
    (tmp_path / ".ingest").mkdir(exist_ok=True)
    found = FoundStudy(f"case-{number:012x}", f"subject-{number:012x}", (Source(str(tmp_path / f"{number}.nii")),))
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
    archive: Path, collected: tuple[Path, Collected], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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

        def submit(self, function: Callable[[Any], Any], argument: Task, **_settings: bool) -> Future:
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


def test_without_dask_one_line_says_what_to_install(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'hepatica\[dask\]'"):
        collect([archive], tmp_path / "cohort", scheduler="tcp://here:1")
    assert not list(tmp_path.iterdir())


def test_bad_use_is_refused_and_leaves_nothing(archive: Path, collected: tuple[Path, Collected], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    (tmp_path / "bad.key").write_text("no key")
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.key", "empty", "full"]


def test_when_nothing_can_be_read_the_page_says_why(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of 1 studies could be read"):
        collect([archive / "bad"], tmp_path / "cohort")
    assert "secondary capture" in (tmp_path / "cohort/cohort.html").read_text(encoding="utf-8")


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
    images = {p: replace(study.phases[p], volume=v) for p, v in ((Phase.PRE, turned), (Phase.PORTAL, volume.with_array(array)))}
    strip = np.asarray(thumbnail(replace(study, phases=images)))
    assert strip.shape == (160, 320)
    for left in (0, 160):
        assert strip[5, left + 5] == 255
        assert strip[-5, left + 5] == strip[5, left + 155] == 0
