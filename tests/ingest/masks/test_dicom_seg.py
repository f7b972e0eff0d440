"""DICOM Segmentations of every kind: written by highdicom, read back on their own grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from liverleaf.ingest.masks.dicom_seg import read_dicom_seg
from liverleaf.study import InputError

KINDS = hd.seg.SegmentationTypeValues
OBLIQUE = (0.96, 0.0, -0.28, 0.0, 1.0, 0.0)


@pytest.fixture
def sources(make: Any, stored: np.ndarray) -> list[pydicom.Dataset]:
    headers = dict.fromkeys(
        ("PatientBirthDate", "PatientSex", "StudyTime", "AccessionNumber", "StudyID"), ""
    )
    return make.series(
        stored, orientation=OBLIQUE, ReferringPhysicianName="", SeriesDate=None, **headers
    )


def described(number: int, label: str) -> hd.seg.SegmentDescription:
    liver = label == "Liver"
    return hd.seg.SegmentDescription(
        number,
        label,
        codes.SCT.Organ if liver else codes.SCT.MorphologicallyAbnormalStructure,
        codes.SCT.Liver if liver else codes.SCT.Lesion,
        hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )


def write(
    path: Path, sources: list[pydicom.Dataset], pixels: np.ndarray, kind: Any, labels: list[str]
) -> Path:
    hd.seg.Segmentation(
        sources,
        pixels,
        kind,
        [described(number, label) for number, label in enumerate(labels, start=1)],
        hd.UID(),
        1,
        hd.UID(),
        1,
        "Someone",
        "A program",
        "1",
        "2",
        omit_empty_frames=True,
    ).save_as(path)
    return path


def masks() -> np.ndarray:
    """Liver and lesion over 6 x 8 x 7 voxels; the first and the last slice are empty."""
    found = np.zeros((6, 8, 7, 2), np.uint8)
    found[1:5, 1:7, 1:6, 0], found[2:4, 3:5, 2:4, 1] = 1, 1
    return found


def place(mask: hd.Volume) -> np.ndarray:
    """LPS positions of the voxels that are inside, in order."""
    points = np.argwhere(mask.array) @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    return points[np.lexsort(points.round(3).T)]


def expected(sources: list[pydicom.Dataset], mask: np.ndarray) -> np.ndarray:
    images = hd.get_volume_from_series(sources)
    # highdicom may turn the series over
    first = np.asarray(sources[0].ImagePositionPatient, float)
    turned = not np.allclose(images.affine[:3, 3], first, atol=1e-3)
    return place(images.with_array(mask[::-1] if turned else mask))


@pytest.mark.parametrize("kind", [KINDS.BINARY, KINDS.FRACTIONAL], ids=str)
def test_overlapping_segments_lie_where_they_were_drawn(
    tmp_path: Path, sources: list[pydicom.Dataset], kind: Any
) -> None:
    pixels = masks() if kind is KINDS.BINARY else masks() * np.float32(0.9)
    drawn = read_dicom_seg(write(tmp_path / "s.dcm", sources, pixels, kind, ["Liver", "Lesion 1"]))
    liver, lesion = drawn.outlines
    assert (liver.is_liver, lesion.is_lesion, lesion.number) == (True, True, 2)
    for outline, index in ((liver, 0), (lesion, 1)):
        there = place(outline.labels)
        np.testing.assert_allclose(there, expected(sources, masks()[..., index]), atol=0.01)


def test_fractions_count_from_a_half(tmp_path: Path, sources: list[pydicom.Dataset]) -> None:
    fractions = np.zeros((6, 8, 7), np.float32)
    fractions[2, 2, 2:5] = 0.4, 0.5, 0.6
    path = write(tmp_path / "s.dcm", sources, fractions, KINDS.FRACTIONAL, ["Lesion"])
    (outline,) = read_dicom_seg(path).outlines
    assert outline.labels.array.sum() == 2  # 0.5 is stored as 128 of 255


def test_a_label_map_is_read(tmp_path: Path, sources: list[pydicom.Dataset]) -> None:
    labels = np.zeros((6, 8, 7), np.uint8)
    labels[1:3, 1:4, 1:4], labels[4, 6, 5] = 1, 2
    path = write(tmp_path / "s.dcm", sources, labels, KINDS.LABELMAP, ["Lesion 1", "Lesion 2"])
    drawn = read_dicom_seg(path)
    assert [outline.number for outline in drawn.outlines] == [1, 2]
    for outline in drawn.outlines:
        there = expected(sources, labels == outline.number)
        np.testing.assert_allclose(place(outline.labels), there, atol=0.01)


def test_it_says_what_it_was_drawn_on(tmp_path: Path, sources: list[pydicom.Dataset]) -> None:
    path = write(tmp_path / "s.dcm", sources, masks(), KINDS.BINARY, ["Liver", "Lesion"])
    drawn_on = read_dicom_seg(path).drawn_on
    assert drawn_on.series_uids == {"1.2.3.4"}
    assert drawn_on.image_uids <= {source.SOPInstanceUID for source in sources}
    assert len(drawn_on.image_uids) >= 4  # of the slices with a mask
    assert (drawn_on.study_uid, drawn_on.frame_of_reference_uid) == ("1.2.3", "1.2.3.5")
    assert "4711" not in repr(drawn_on)


def test_an_empty_segment_is_told(tmp_path: Path, sources: list[pydicom.Dataset]) -> None:
    pixels = masks()
    pixels[..., 1] = 0
    drawn = read_dicom_seg(
        write(tmp_path / "s.dcm", sources, pixels, KINDS.BINARY, ["Liver", "Lesion"])
    )
    assert [outline.number for outline in drawn.outlines] == [1]
    assert drawn.warnings == ("s.dcm: segment 2 is empty and was left out",)


def test_a_damaged_file_is_refused_in_one_line(
    tmp_path: Path, sources: list[pydicom.Dataset], make: Callable
) -> None:
    path = write(tmp_path / "s.dcm", sources, masks(), KINDS.BINARY, ["Liver", "Lesion"])
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(
        InputError, match=r"s\.dcm cannot be read as a volume of segments"
    ) as caught:
        read_dicom_seg(path)
    assert "\n" not in str(caught.value)
