"""`inspect` and `read_study` agree on every made-up dirty study: used, refused, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.encaps import encapsulate

from liverleaf.ingest.inspection import Inspection
from liverleaf.ingest.reader import inspect, read_phase_table, read_study, write_phase_table
from liverleaf.study import InputError, Study

RNG = np.random.Generator
NAMES = ("portal", "art", "nativ", "delayed", "T2 haste", "T2SPIR", "Topogram", "dyn", "", "lung")
NO_RESCALING = {"RescaleSlope": None, "RescaleIntercept": None}
DEFECTS: dict[str, dict[str, Any]] = {
    "none": {},
    "no rescaling": NO_RESCALING,
    "impossible rescaling": {"RescaleSlope": "1e38"},
    "unknown coding": {"syntax": "1.2.840.10008.1.2.4.100"},
    "short pixels": {"cut": 40},
    "one short slice": {"cut": 40, "of": 1},
    "no position": {"ImagePositionPatient": None},
    "one position for all": {"ImagePositionPatient": [0, 0, 0]},
    "far apart": {"step_mm": 45.0},
    "a localizer": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
    "another patient": {"PatientID": "12"},
    "another study": {"StudyInstanceUID": "1.9.9", "FrameOfReferenceUID": "1.9"},
    "another modality": {"Modality": "MR"},
    "a secondary capture": {"Modality": "OT"},
}
ODDS = np.array([30] + [6] * 9 + [1] * 4) / (30 + 6 * 9 + 4)
"""Whole studies are refused for the last ones, so these are rare."""


def dirty_dicom(folder: Path, make: Any, rng: RNG) -> Path:
    modality = str(rng.choice(["CT", "MR"]))
    for number in range(1, int(rng.integers(2, 6))):
        elements = dict(DEFECTS[str(rng.choice(list(DEFECTS), p=ODDS))])
        cut, of = elements.pop("cut", 0), elements.pop("of", 99)
        syntax = elements.pop("syntax", None)
        count = int(rng.integers(1, 8))
        stored = rng.integers(900, 1300, (count, 8, 7)).astype(np.uint16)
        values = {
            "Modality": modality,
            "SeriesNumber": number,
            "SeriesInstanceUID": f"1.2.3.{number}",
            "SeriesDescription": str(rng.choice(NAMES)),
            "AcquisitionTime": f"1000{rng.integers(10, 59)}",
        }
        for turn, dataset in enumerate(make.series(stored, **(values | elements))):
            if syntax is not None:
                dataset.file_meta.TransferSyntaxUID = syntax
                dataset.PixelData = encapsulate([bytes(100)])
                dataset["PixelData"].VR = "OB"
            elif turn < of:
                dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) - cut]
            make.save(dataset, folder / f"{number}-{turn}")
    if rng.random() < 0.3:
        (folder / "note.txt").write_text("no image")
    return folder


FILES = ("pre", "art", "portal", "pv", "delayed", "T2", "tumor", "scan", "in_phase", "liver_seg")


def dirty_nifti(folder: Path, _make: Any, rng: RNG) -> Path:
    names = rng.choice(FILES, int(rng.integers(1, 5)), replace=False)
    ct = rng.random() < 0.5
    for turn, name in enumerate(names):
        array = rng.integers(-1000 if ct else 0, 300, (5, 6, 4 + turn)).astype(np.float32)
        defect = rng.integers(8)
        if defect == 0:
            array = array + 1024
        elif defect == 1:
            array = np.stack([array, array], axis=-1)
        file = folder / str(rng.choice(["", "deep"])) / f"{name}.nii.gz"
        file.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.diag([2.0, 2, 3, 1])), file)
        if defect == 2:
            file.write_bytes(file.read_bytes()[:100])
    return folder


def outcome(ask: Callable[[], Any]) -> Any:
    """What comes out, or the line of the refusal."""
    try:
        return ask()
    except InputError as error:
        return str(error)


def assert_agree(read: Study | str, seen: Inspection | str) -> None:
    if isinstance(seen, str):
        assert read == seen
        return
    used = [report for report in seen if report.used]
    if isinstance(read, str):
        assert (seen.refused, used) == (read, [])
        return
    assert seen.refused == ""
    assert sorted(report.phase for report in used) == list(read.phases)
    for report in used:
        image = read.phases[report.phase]
        assert report.confidence == image.confidence
        assert report.evidence == image.evidence
        assert report.time_s == image.time_s
        if image.source.series_instance_uid:
            assert report.series.partition(":")[0] == image.source.series_instance_uid
        else:
            assert report.shape == image.volume.shape
        assert set(report.warnings) <= set(read.warnings)
    assert set(seen.warnings) <= set(read.warnings)
    reasons = [report for report in seen if not report.used]
    assert all(report.evidence or report.warnings for report in reasons)


def assert_table_goes_back_in(folder: Path, read: Study | str, seen: Inspection | str) -> None:
    """The table of a study leads to the same study; that of a refused one waits for a person."""
    if isinstance(seen, str):
        return
    file = folder.with_suffix(".csv")
    write_phase_table(seen.series, file)
    again = outcome(lambda: read_study(folder, table=read_phase_table(file)))
    if isinstance(read, str):
        assert isinstance(again, str)
    else:
        assert list(again.phases) == list(read.phases)


@pytest.mark.parametrize("make_dirty", [dirty_dicom, dirty_nifti])
@pytest.mark.parametrize("batch", range(4))
def test_inspect_and_read_study_agree_on_dirty_studies(
    tmp_path: Path, make: Any, make_dirty: Callable[..., Path], batch: int
) -> None:
    kinds = set()
    for seed in range(30 * batch, 30 * batch + 30):
        folder = tmp_path / str(seed)
        folder.mkdir()
        make_dirty(folder, make, np.random.default_rng(seed))
        read = outcome(lambda folder=folder: read_study(folder))  # type: ignore[misc]
        seen = outcome(lambda folder=folder: inspect(folder))  # type: ignore[misc]
        assert_agree(read, seen)
        assert_table_goes_back_in(folder, read, seen)
        kinds.add((isinstance(read, str), isinstance(seen, str)))
    assert {(False, False), (True, False)} <= kinds  # read, and refused with a report
