"""Masks drawn elsewhere: on the study's grid however their axes run, and never silently wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation
from nibabel.orientations import ornt_transform as turn_to

from liverleaf.ingest.masks.onto_reference import on_reference_grid
from liverleaf.ingest.masks.reader import read_drawn, read_masks
from liverleaf.registration.align import Registration
from liverleaf.segmentation import Method, Segmentation
from liverleaf.storage.volumes import save_volume
from liverleaf.study import InputError, Phase, Study
from liverleaf.terminology import LesionType, Organ


@pytest.fixture
def study(tiny_case: Callable) -> Study:
    """One phase, so that nothing has to be said of it."""
    return tiny_case(types=[LesionType.HCC, LesionType.FNH], phases=[Phase.PORTAL])[0]


def read_segmentation(study: Study, **given: object) -> tuple[Segmentation, list[str]]:
    drawn = read_drawn(study, **given)  # type: ignore[arg-type]
    laid, told = on_reference_grid(drawn, Registration(study, None, {}, {}))
    return laid, [*drawn.warnings, *told]


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
    assert (read.labels, read.liver) == ((2, 5), None)
    assert warnings == ["lesions.nii.gz: label 5 lies outside the body"]


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


def test_a_part_of_the_grid_is_laid_where_it_lies(study: Study, tmp_path: Path) -> None:
    save_volume(tmp_path / "lesions.nii.gz", study.grid.with_array(labels_of(study))[1:])
    read, _ = read_segmentation(study, lesions=tmp_path / "lesions.nii.gz")
    np.testing.assert_array_equal(read.lesions.array, labels_of(study))


def test_a_label_in_two_pieces_is_split_or_kept(study: Study, tmp_path: Path) -> None:
    both = (labels_of(study) > 0).astype(np.uint8)
    path = save(tmp_path, "lesions.nii", study, both)
    kept, told = read_segmentation(study, lesions=path)
    assert kept.labels == (1,)
    assert any("label 1 lies in 2 pieces" in line and "--instances split" in line for line in told)
    split, told = read_segmentation(study, lesions=path, instances="split")
    np.testing.assert_array_equal(split.lesions.array == 1, labels_of(study) == 2)  # the larger
    np.testing.assert_array_equal(split.lesions.array == 2, labels_of(study) == 5)


def test_a_label_around_another_is_suspected_to_be_the_liver(study: Study, tmp_path: Path) -> None:
    labels = (liver_of(study) > 0).astype(np.uint8)
    labels[labels_of(study) == 2] = 2
    path = save(tmp_path, "seg.nii", study, labels)
    _, told = read_segmentation(study, lesions=path)
    assert any("label 1 surrounds label 2" in line for line in told)


def test_the_classes_of_an_nnunet_dataset_are_told_apart(study: Study, tmp_path: Path) -> None:
    (tmp_path / "labelsTr").mkdir()
    labels = (liver_of(study) > 0).astype(np.uint8)
    labels[labels_of(study) > 0] = 2
    save(tmp_path / "labelsTr", "case_1.nii.gz", study, labels)
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "liver": 1, "tumour": 2}}')
    read, _ = read_segmentation(study, lesions=tmp_path)
    assert read.labels == (1, 2)  # a class of two parts
    np.testing.assert_array_equal(read.lesions.array > 0, labels_of(study) > 0)
    assert read.liver is not None
    assert (read.liver.array[liver_of(study) > 0]).all()


def test_a_folder_of_totalsegmentator_is_read(study: Study, tmp_path: Path) -> None:
    (tmp_path / "ts").mkdir()
    for name, mask in (
        ("liver", liver_of(study) > 0),
        ("liver_lesions", labels_of(study) > 0),
        ("spleen", labels_of(study) == 5),
        ("kidney_left", 0 * labels_of(study)),
    ):
        save(tmp_path / "ts", f"{name}.nii.gz", study, mask.astype(np.uint8))
    read, told = read_segmentation(study, lesions=tmp_path / "ts")
    assert read.labels == (1, 2)
    assert read.liver is not None
    assert any("1 outline left out, as by their names" in line for line in told)
    assert any("1 of the masks in ts are empty" in line for line in told)


def test_of_masks_that_overlap_the_smaller_one_keeps_its_voxels(
    study: Study, tmp_path: Path
) -> None:
    (tmp_path / "drawn").mkdir()
    large = np.zeros(study.grid.spatial_shape, np.uint8)
    large[2:4, 18:26, 12:20] = 1
    save(tmp_path / "drawn", "lesion_a.nii", study, large)
    save(tmp_path / "drawn", "lesion_b.nii", study, (labels_of(study) == 2).astype(np.uint8))
    read, told = read_segmentation(study, lesions=tmp_path / "drawn")
    np.testing.assert_array_equal(read.lesions.array == 2, labels_of(study) == 2)
    voxels = int((labels_of(study) == 2).sum())
    assert any(f"overlap in {voxels} voxels" in line for line in told)


def test_a_mask_in_the_air_is_of_another_study(study: Study, tmp_path: Path) -> None:
    labels = np.zeros(study.grid.spatial_shape, np.uint8)
    labels[2, :3, :3] = 1
    path = save(tmp_path, "lesions.nii", study, labels)
    with pytest.raises(InputError, match="outside the body"):
        read_segmentation(study, lesions=path)
    labels[labels_of(study) == 2] = 2
    _, told = read_segmentation(study, lesions=save(tmp_path, "lesions.nii", study, labels))
    assert "lesions.nii: label 1 lies outside the body" in told


def test_masks_far_from_the_images_are_refused(study: Study, tmp_path: Path) -> None:
    volume = study.grid.with_array(labels_of(study))
    affine = volume.affine.copy()
    affine[0, 3] += 5000.3
    save_volume(tmp_path / "lesions.nii", type(volume)(volume.array, affine, "PATIENT"))
    with pytest.raises(InputError, match="outside the images of the portal venous phase"):
        read_segmentation(study, lesions=tmp_path / "lesions.nii")


def test_several_cases_of_a_dataset_are_not_guessed_among(study: Study, tmp_path: Path) -> None:
    (tmp_path / "labelsTr").mkdir()
    for name in "ab":
        save(tmp_path / "labelsTr", f"{name}.nii", study, labels_of(study))
    with pytest.raises(InputError, match="masks of 2 cases"):
        read_masks(tmp_path)


def test_an_empty_folder_holds_no_masks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no NIfTI file"):
        read_masks(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("lesions.nii.gz", None, "does not exist"),
        ("lesions.dcm", b"DICM", "is no NIfTI file, DICOM Segmentation or structure set"),
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
