"""An archive of studies of a patient with a name, and the cohort built of it."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from liverleaf.cohort.build import IngestSummary, build_cohort
from liverleaf.phantom.dicom_series import write_dicom
from liverleaf.phantom.generator import Phantom

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


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of four studies.

    Two are of one patient with a name, one of them in a zip that is called like her; one is NIfTI,
    and one has no images.
    """
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


@pytest.fixture(scope="session")
def built(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, IngestSummary]:
    """The cohort of the archive with its DICOM; do not write into it."""
    out = tmp_path_factory.mktemp("built") / "cohort"
    return out, build_cohort([archive], out, with_dicom=True)


@pytest.fixture
def growing(archive: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A study whose second phase arrives later.

    The folders of the first and of the second phase, and a cohort of the first.
    """
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
    build_cohort([folders[0]], tmp_path / "cohort", with_dicom=True)
    return *folders, tmp_path / "cohort"


@pytest.fixture(scope="session")
def secrets() -> tuple[str, ...]:
    """What names the patient, in lower case."""
    return SECRETS
