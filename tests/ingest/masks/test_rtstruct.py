"""Structure sets: contours of any orientation, holes, slices between contours, and bad ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

from liverleaf.ingest.masks.reader import read_drawn
from liverleaf.ingest.masks.rtstruct import filled, read_rtstruct
from liverleaf.study import InputError, Modality, Phase, PhaseImage, Study

TURN = np.linalg.qr(np.array([[0.9, -0.2, 0.1], [0.3, 0.8, 0.3], [-0.1, -0.2, 0.9]]))[0]
SPACING = np.array([3.0, 1.5, 1.5])
SHAPE = (12, 30, 32)


def grid(*, oblique: bool = False) -> hd.Volume:
    affine = np.eye(4)
    axes = np.eye(3)[:, ::-1]  # z, y, x towards head, back and left
    affine[:3, :3] = (TURN @ axes if oblique else axes) * SPACING
    affine[:3, 3] = (-20.0, 11.0, -70.0)
    return hd.Volume(np.zeros(SHAPE, np.float32), affine, "PATIENT", "1.2.3.5")


def circle(radius: float, middle: tuple[float, float], points: int = 1000) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.column_stack([middle[0] + radius * np.cos(angle), middle[1] + radius * np.sin(angle)])


def at(image: hd.Volume, index: np.ndarray) -> np.ndarray:
    """LPS of voxel indices (z, y, x)."""
    return index @ image.affine[:3, :3].T + image.affine[:3, 3]


def contour(image: hd.Volume, place: float, points: np.ndarray, axis: int = 0) -> np.ndarray:
    """A contour at an index along an axis, its points given as indices along the other two."""
    return at(image, np.insert(points, axis, place, axis=1))


def write(
    path: Path, structures: dict[str, Sequence[np.ndarray]], *, kind: str = "CLOSED_PLANAR"
) -> Path:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = RTStructureSetStorage, "1.2.3.9"
    dataset.PatientID, dataset.StudyInstanceUID = "4711", "1.2.3"
    rois, contours = [], []
    for number, (name, parts) in enumerate(structures.items(), start=1):
        roi = Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, "1.2.3.5"
        rois.append(roi)
        item = Dataset()
        item.ReferencedROINumber = number
        sequence = []
        for points in parts:
            drawn = Dataset()
            drawn.ContourGeometricType = kind
            drawn.NumberOfContourPoints = len(points)
            drawn.ContourData = [round(float(value), 4) for value in points.ravel()]
            sequence.append(drawn)
        item.ContourSequence = sequence
        contours.append(item)
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = "1.2.3.4"
    study.ReferencedSOPInstanceUID, study.RTReferencedSeriesSequence = "1.2.3", [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = "1.2.3.5", [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = rois, contours
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def disc(middle: tuple[float, float], radius: float, shape: tuple[int, int]) -> np.ndarray:
    first, second = np.indices(shape)
    return (first - middle[0]) ** 2 + (second - middle[1]) ** 2 < radius**2


@pytest.mark.parametrize("oblique", [False, True], ids=["straight", "oblique"])
@pytest.mark.parametrize("axis", [0, 1, 2], ids=["axial", "coronal", "sagittal"])
def test_contours_in_planes_of_the_image_fill_its_voxels(
    tmp_path: Path, axis: int, oblique: bool
) -> None:
    image = grid(oblique=oblique)
    others = tuple(size for other, size in enumerate(SHAPE) if other != axis)
    middle = (others[0] / 2 - 0.3, others[1] / 2 + 0.2)
    parts = [contour(image, place, circle(4.2, middle), axis) for place in (5, 6, 7)]
    drawn = filled(read_rtstruct(write(tmp_path / "s.dcm", {"Lesion": parts})), image)
    (outline,) = drawn.outlines
    assert (outline.name, outline.number) == ("lesion", 1)
    np.testing.assert_allclose(outline.labels.affine, image.affine)
    expected = np.zeros(SHAPE, np.uint16)
    np.moveaxis(expected, axis, 0)[5:8] = disc(middle, 4.2, others)
    np.testing.assert_array_equal(outline.labels.array, expected)


def test_a_contour_within_another_is_a_hole(tmp_path: Path) -> None:
    image, middle = grid(), (14.6, 15.3)
    parts = [contour(image, 4, circle(radius, middle)) for radius in (8.3, 4.1, 4.1)]
    drawn = filled(read_rtstruct(write(tmp_path / "s.dcm", {"Ring": parts})), image)
    expected = disc(middle, 8.3, SHAPE[1:]) & ~disc(middle, 4.1, SHAPE[1:])
    np.testing.assert_array_equal(drawn.outlines[0].labels.array[4], expected)  # drawn twice


def test_slices_between_contours_are_interpolated(tmp_path: Path) -> None:
    image, middle = grid(), (14.6, 15.3)
    parts = [contour(image, place, circle(r, middle)) for place, r in ((2, 8), (4, 6), (6, 4))]
    labels = (
        filled(read_rtstruct(write(tmp_path / "s.dcm", {"L": parts})), image).outlines[0].labels
    )
    areas = labels.array.sum(axis=(1, 2))
    radii = np.sqrt(areas / np.pi)
    # each contour stands for a slab of two slices, so the first begins a slice earlier
    np.testing.assert_allclose(radii[1:7], [8, 8, 7, 6, 5, 4], atol=0.35)
    assert areas[0] == 0 and areas[8:].sum() == 0


def test_contours_off_the_slices_keep_their_volume(tmp_path: Path) -> None:
    image, middle = grid(), (14.6, 15.3)
    parts = [contour(image, place + 0.4, circle(6, middle)) for place in (3, 4, 5, 6)]
    labels = (
        filled(read_rtstruct(write(tmp_path / "s.dcm", {"L": parts})), image).outlines[0].labels
    )
    expected = 4 * np.pi * 36  # voxels
    assert labels.array.sum() == pytest.approx(expected, rel=0.05)


def test_two_parts_with_a_wide_gap_stay_two(tmp_path: Path) -> None:
    image, middle = grid(), (14.6, 15.3)
    parts = [contour(image, place, circle(5, middle)) for place in (1, 2, 3, 8, 9)]
    labels = (
        filled(read_rtstruct(write(tmp_path / "s.dcm", {"L": parts})), image).outlines[0].labels
    )
    assert list(np.flatnonzero(labels.array.any(axis=(1, 2)))) == [1, 2, 3, 8, 9]


def test_planes_oblique_to_the_image_get_a_grid_of_their_own(tmp_path: Path) -> None:
    image, tilted = grid(), grid(oblique=True)
    # a ball of 9 mm around the middle of the tilted grid
    middle = at(tilted, np.array([[6.0, 14, 16]]))[0]
    parts = []
    for step in (-6.0, -3.0, 0.0, 3.0, 6.0):
        radius = np.sqrt(81 - step**2)
        ring = circle(radius, (0, 0))
        axes = tilted.direction
        parts.append(middle + axes[:, 0] * step + ring @ axes[:, 1:].T)
    drawn = filled(read_rtstruct(write(tmp_path / "s.dcm", {"Ball": parts})), image)
    labels = drawn.outlines[0].labels
    points = np.argwhere(labels.array) @ labels.affine[:3, :3].T + labels.affine[:3, 3]
    volume = len(points) * np.prod(labels.spacing)
    np.testing.assert_allclose(points.mean(axis=0), middle, atol=0.8)
    slabs = sum(np.pi * (81 - step**2) * 3 for step in (-6.0, -3.0, 0.0, 3.0, 6.0))
    assert volume == pytest.approx(slabs, rel=0.05)


def test_open_contours_and_points_are_left_out_with_a_warning(tmp_path: Path) -> None:
    image = grid()
    parts = [contour(image, 4, circle(6, (14, 15))), at(image, np.array([[5.0, 14, 15]]))]
    structures = read_rtstruct(write(tmp_path / "s.dcm", {"Lesion": parts}))
    assert structures.warnings == (
        "s.dcm: structure 1: 1 contour left out (open, or fewer than three points)",
    )
    assert filled(structures, image).outlines[0].labels.array.any()


@pytest.mark.parametrize("kind", ["OPEN_PLANAR", "POINT"])
def test_a_set_of_nothing_closed_is_refused(tmp_path: Path, kind: str) -> None:
    parts = [contour(grid(), 4, circle(6, (14, 15)))]
    path = write(tmp_path / "s.dcm", {"Lesion": parts}, kind=kind)
    with pytest.raises(InputError, match=r"s\.dcm holds no closed contour"):
        read_rtstruct(path)


def test_contours_beside_the_image_are_refused(tmp_path: Path) -> None:
    parts = [contour(grid(), 40, circle(6, (14, 15)))]
    structures = read_rtstruct(write(tmp_path / "s.dcm", {"Lesion": parts}))
    with pytest.raises(InputError, match="covers no voxel"):
        filled(structures, grid())


def test_it_says_what_it_was_drawn_on(tmp_path: Path) -> None:
    parts = [contour(grid(), 4, circle(6, (14, 15)))]
    drawn_on = read_rtstruct(write(tmp_path / "s.dcm", {"Lesion": parts})).drawn_on
    assert drawn_on.series_uids == {"1.2.3.4"}
    assert (drawn_on.study_uid, drawn_on.frame_of_reference_uid) == ("1.2.3", "1.2.3.5")


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_structures_become_liver_and_lesions_of_a_study(tmp_path: Path, folder: bool) -> None:
    image = grid().with_array(np.full(SHAPE, 50.0, np.float32))
    study = Study(Modality.CT, {Phase.PORTAL: PhaseImage(image)})
    (tmp_path / "rt").mkdir()
    write(
        tmp_path / "rt/s.dcm",
        {
            "Liver": [contour(image, place, circle(11, (14, 15))) for place in range(2, 9)],
            "Spleen": [contour(image, 4, circle(2, (3, 3)))],
            "GTV 1": [contour(image, place, circle(4.2, (14.4, 15))) for place in (4, 5)],
        },
    )
    drawn = read_drawn(study, lesions=tmp_path / ("rt" if folder else "rt/s.dcm"))
    expected = 3 * disc((14.4, 15), 4.2, SHAPE[1:])  # the number that it has in the file
    np.testing.assert_array_equal(drawn.lesions.labels.array[4], expected)
    assert drawn.liver is not None and drawn.liver.labels.array.any()
    assert "s.dcm: 1 outline left out, as by their names they are no lesions" in drawn.warnings


def test_what_is_no_structure_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.dcm").write_bytes(bytes(128) + b"DICM" + b"rubbish")
    with pytest.raises(InputError, match=r"s\.dcm"):
        read_rtstruct(tmp_path / "s.dcm")
