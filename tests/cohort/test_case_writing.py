"""One case folder: nobody is named, and a fault of one study is a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from liverleaf.cohort import case_writing as module
from liverleaf.cohort.build import IngestSummary
from liverleaf.cohort.case_writing import ingest_study
from liverleaf.cohort.index import Cohort
from liverleaf.cohort.study_index import FoundStudy, Source
from liverleaf.cohort.tasks import StudyTask
from liverleaf.ingest.deidentify.pseudonyms import Pseudonyms
from liverleaf.ingest.reader import read_study
from liverleaf.study import InputError


def test_nothing_in_the_cohort_names_the_patient(
    built: tuple[Path, IngestSummary], secrets: tuple[str, ...]
) -> None:
    out, _ = built
    for path in out.rglob("*"):
        assert not any(secret in str(path.relative_to(out)).lower() for secret in secrets)
        if path.is_file():
            content = path.read_bytes().lower()
            assert not any(secret.encode() in content for secret in secrets), path
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
    archive: Path, built: tuple[Path, IngestSummary]
) -> None:
    out, _ = built
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


def task(tmp_path: Path, number: int) -> StudyTask:
    (tmp_path / ".ingest").mkdir(exist_ok=True)
    found = FoundStudy(
        f"case-{number:012x}", f"subject-{number:012x}", (Source(str(tmp_path / f"{number}.nii")),)
    )
    return StudyTask(found, tmp_path, Pseudonyms(bytes(32)), False)


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
    row = ingest_study(task(tmp_path, 1))
    assert row.status == "refused"
    assert reason in row.reason
    assert "ustermann" not in row.reason
