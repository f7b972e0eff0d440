"""The DICOM that a case folder keeps: given back to its images, and never to others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from liverleaf.export.dicom_seg import write_seg
from liverleaf.ingest.kept_dicom import with_kept_headers
from liverleaf.ingest.reader import read_study
from liverleaf.phantom.dicom_series import write_dicom
from liverleaf.phantom.generator import Phantom
from liverleaf.segmentation import Segmentation
from liverleaf.storage.case_folder import DICOM_FOLDER, load_case, save_case
from liverleaf.study import Study


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case folder that keeps the DICOM of its two phases; do not write into it."""
    folder = tmp_path_factory.mktemp("kept")
    study, _ = Phantom("ct", 1, shape=(12, 24, 24), spacing_mm=(10.0, 14.0, 14.0), headers=True)[0]
    dicom = folder / "series"
    dicom.mkdir()
    write_dicom(replace(study, phases=dict(list(study.phases.items())[:2])), dicom)
    read = read_study(dicom)
    save_case(folder / "case", read)
    dicom.rename(folder / "case" / DICOM_FOLDER)
    return folder / "case"


def test_each_slice_has_the_header_of_its_image(case: Path) -> None:
    study = read_study(case)
    assert not any("DICOM" in warning for warning in study.warnings)
    for image in study.phases.values():
        assert len(image.headers) == image.volume.spatial_shape[0]
        assert image.source.sop_instance_uids == tuple(h.SOPInstanceUID for h in image.headers)
        for z, header in enumerate(image.headers):
            centre = image.volume.map_indices_to_reference(np.array([[z, 0, 0]]))[0]
            np.testing.assert_allclose(header.ImagePositionPatient, centre, atol=0.01)


def test_a_segmentation_can_refer_to_them(case: Path, tmp_path: Path) -> None:
    study = read_study(case)
    labels = np.zeros(study.grid.spatial_shape, np.uint16)
    labels[3:5, 10:14, 10:14] = 1
    segmentation = Segmentation(study.grid.with_array(labels), source="ball")
    written = pydicom.dcmread(
        write_seg(tmp_path / "seg.dcm", study=study, segmentation=segmentation)
    )
    (series,) = written.ReferencedSeriesSequence
    referred = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    assert series.SeriesInstanceUID == study.phases[study.reference].source.series_instance_uid
    assert {study.phases[study.reference].source.sop_instance_uids[z] for z in (3, 4)} <= referred


def without_headers(study: Study, why: str) -> bool:
    told = [warning for warning in study.warnings if "so no DICOM SEG can refer to it" in warning]
    return (
        len(told) == 1
        and why in told[0]
        and not any(image.headers for image in study.phases.values())
    )


def test_images_that_are_not_those_of_the_case_are_not_taken_for_them(case: Path) -> None:
    study, _ = load_case(case)
    shifted = {
        phase: replace(image, volume=image.volume.with_array(image.volume.array + 1))
        for phase, image in study.phases.items()
    }
    other = with_kept_headers(replace(study, phases=shifted), case / DICOM_FOLDER)
    assert without_headers(other, f"does not show its {study.reference.title} phase")


def test_what_cannot_be_read_is_told(case: Path, tmp_path: Path) -> None:
    study, _ = load_case(case)
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom/IM1.dcm").write_bytes(b"damaged")
    assert without_headers(with_kept_headers(study, tmp_path / "dicom"), "cannot be read")


def test_a_case_without_dicom_is_read_as_before(tiny_case: Callable, tmp_path: Path) -> None:
    save_case(tmp_path / "case", tiny_case(0)[0])
    study = read_study(tmp_path / "case")
    assert not study.warnings and not any(image.headers for image in study.phases.values())
