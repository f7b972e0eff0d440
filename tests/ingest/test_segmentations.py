"""Masks drawn elsewhere: on the study's grid however their axes run, and never silently wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation
from nibabel.orientations import ornt_transform as turn_to

from liverleaf.ingest.segmentations import read_segmentation
from liverleaf.segmentation import Method
from liverleaf.storage.volumes import save_volume
from liverleaf.study import InputError, Phase, Study
from liverleaf.terminology import LesionType, Organ


@pytest.fixture
def study(tiny_case: Callable) -> Study:
    return tiny_case(types=[LesionType.HCC, LesionType.FNH])[0]


def labels_of(study: Study) -> np.ndarray:
    """Lesion 2, a block in the liver, and lesion 5, one voxel far from it."""
    labels = np.zeros(study.grid.spatial_shape, np.uint8)
    labels[2:4, 20:24, 15:18], labels[5, 45, 45] = 2, 5
    return labels


def liver_of(study: Study) -> np.ndarray:
    """A liver with its lesion cut out, as people draw it."""
    liver = np.zeros(study.grid.spatial_shape, np.uint8)
    liver[1:5, 16:28, 10:22] = 3
    liver[labels_of(study) > 0] = 0
    return liver


def save(folder: Path, name: str, study: Study, array: np.ndarray) -> Path:
    save_volume(folder / name, study.grid.with_array(array))
    return folder / name


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SPR", "ARI"])
def test_masks_lie_where_they_were_drawn_however_their_axes_run(
    study: Study, tmp_path: Path, axes: str
) -> None:
    path = save(tmp_path, "lesions.nii.gz", study, labels_of(study))
    stored = nib.load(path)
    turn = turn_to(io_orientation(stored.affine), axcodes2ornt(axes))
    array = apply_orientation(np.asarray(stored.dataobj), turn)
    nib.save(nib.Nifti1Image(array, stored.affine @ inv_ornt_aff(turn, stored.shape)), path)
    read, warnings = read_segmentation(study, lesions=path)
    np.testing.assert_array_equal(read.lesions.array, labels_of(study))
    np.testing.assert_array_equal(read.lesions.affine, study.grid.affine)
    assert read.lesions.array.dtype == np.uint16
    assert (read.labels, read.liver, warnings) == ((2, 5), None, [])


def test_the_liver_takes_in_the_lesions_that_touch_it(study: Study, tmp_path: Path) -> None:
    lesions = save(tmp_path, "lesions.nii.gz", study, labels_of(study))
    liver = save(tmp_path, "liver.nii.gz", study, liver_of(study))
    read, _ = read_segmentation(study, lesions=lesions, liver=liver)
    expected = (liver_of(study) > 0) | (labels_of(study) == 2)  # 5 lies elsewhere
    np.testing.assert_array_equal(read.organs[Organ.LIVER].array, expected)


@pytest.mark.parametrize(
    ("source", "method"), [("manual", Method.MANUAL), ("ITK-SNAP", Method.SEMIAUTOMATIC)]
)
def test_who_drew_them_is_kept(study: Study, tmp_path: Path, source: str, method: Method) -> None:
    path = save(tmp_path, "lesions.nii", study, labels_of(study))
    read, _ = read_segmentation(study, lesions=path, source=source)
    assert (read.source, read.method) == (source, method)


def test_whole_numbers_may_be_stored_as_floats(study: Study, tmp_path: Path) -> None:
    path = save(tmp_path, "lesions.nii", study, 300.0 * (labels_of(study) == 2))
    assert read_segmentation(study, lesions=path)[0].labels == (300,)


def test_an_empty_lesion_map_is_a_healthy_liver(study: Study, tmp_path: Path) -> None:
    none = save(tmp_path, "lesions.nii", study, 0 * labels_of(study))
    liver = save(tmp_path, "liver.nii", study, liver_of(study))
    assert read_segmentation(study, lesions=none, liver=liver)[0].labels == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: labels + 0.5, "lesions.nii is no label map"),
        (lambda labels: labels.astype(np.int16) - 1, "lesions.nii is no label map"),
        (lambda labels: labels * np.float64(70000.0), "lesions.nii is no label map"),
        (lambda labels: 0 * labels, "there is nothing to measure"),
    ],
    ids=["fractions", "negative", "too large", "empty"],
)
def test_what_is_no_label_map_is_refused(
    study: Study, tmp_path: Path, change: Callable, message: str
) -> None:
    path = save(tmp_path, "lesions.nii", study, change(labels_of(study)))
    with pytest.raises(InputError, match=message):
        read_segmentation(study, lesions=path)


def test_an_empty_liver_is_refused(study: Study, tmp_path: Path) -> None:
    lesions = save(tmp_path, "lesions.nii", study, labels_of(study))
    liver = save(tmp_path, "liver.nii", study, 0 * labels_of(study))
    with pytest.raises(InputError, match=r"liver\.nii is empty"):
        read_segmentation(study, lesions=lesions, liver=liver)


@pytest.mark.parametrize("value", [0.5, -1.0, 0.99])
def test_a_liver_that_is_no_label_map_is_refused(
    study: Study, tmp_path: Path, value: float
) -> None:
    lesions = save(tmp_path, "lesions.nii", study, labels_of(study))
    drawn = np.where(liver_of(study) > 0, value, 0).astype(np.float32)
    with pytest.raises(InputError, match=r"liver\.nii is no label map: it holds"):
        read_segmentation(study, lesions=lesions, liver=save(tmp_path, "liver.nii", study, drawn))


@pytest.mark.parametrize("moved", ["cropped", "shifted"])
def test_another_grid_is_refused_in_one_line(study: Study, tmp_path: Path, moved: str) -> None:
    volume = study.grid.with_array(labels_of(study))
    if moved == "cropped":
        volume = volume[1:]
    else:
        affine = volume.affine.copy()
        affine[0, 3] += 0.5  # mm: an eighth of a voxel
        volume = type(volume)(volume.array, affine, "PATIENT")
    save_volume(tmp_path / "lesions.nii.gz", volume)
    with pytest.raises(InputError, match="does not lie on the grid of the portal venous") as caught:
        read_segmentation(study, lesions=tmp_path / "lesions.nii.gz")
    assert "\n" not in str(caught.value)


def test_the_grid_is_that_of_the_phase_that_stands_for_the_study(
    study: Study, tmp_path: Path
) -> None:
    alone = replace(study, phases={Phase.PRE: study.phases[Phase.PRE]})
    save_volume(tmp_path / "lesions.nii", study.grid.with_array(labels_of(study))[1:])
    with pytest.raises(InputError, match="grid of the pre-contrast phase"):
        read_segmentation(alone, lesions=tmp_path / "lesions.nii")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("lesions.nii.gz", None, "does not exist"),
        ("lesions.dcm", b"DICM", "is no NIfTI file"),
        ("lesions.nii.gz", b"nothing", "cannot be read as NIfTI"),
    ],
)
def test_what_cannot_be_read_is_refused(
    study: Study, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_segmentation(study, lesions=tmp_path / name)


@pytest.mark.parametrize("source", ["", "a" * 41, "two\nlines", "a\\b"])
def test_a_source_that_dicom_has_no_room_for_is_refused(
    study: Study, tmp_path: Path, source: str
) -> None:
    path = save(tmp_path, "lesions.nii", study, labels_of(study))
    with pytest.raises(InputError, match="source of the masks"):
        read_segmentation(study, lesions=path, source=source)
