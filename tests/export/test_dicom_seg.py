"""DICOM Segmentations are written, re-read with highdicom and compared voxel by voxel."""

import shutil
import subprocess
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, MRImageStorage

from liverleaf.export.dicom_seg import write_seg
from liverleaf.export.dicom_sources import (
    TYPE_2_ATTRIBUTES,
    complete_headers,
)
from liverleaf.segmentation import Method, Segmentation
from liverleaf.study import InputError, Modality, Phase, PhaseImage, Study, same_grid
from liverleaf.terminology import Organ

DATA = Path(__file__).parents[2] / "../shared/data"
SHAPE = (5, 12, 9)
AXIAL = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float).T  # columns: directions of Z, Y, X
ANGLE = np.deg2rad(25)
TILT = np.array([[1, 0, 0], [0, np.cos(ANGLE), -np.sin(ANGLE)], [0, np.sin(ANGLE), np.cos(ANGLE)]])


def grid(
    direction: np.ndarray = AXIAL, spacing_mm: tuple[float, ...] = (4.0, 1.5, 0.8)
) -> hd.Volume:
    return hd.Volume.from_components(
        np.zeros(SHAPE, np.float32),
        direction=direction,
        position=(-31.5, 12.25, 100.0),
        spacing=spacing_mm,
        coordinate_system="PATIENT",
        frame_of_reference_uid="1.2.3.4",
    )


def attributes(sop_class: str, volume: hd.Volume) -> Dataset:
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = sop_class, "1.2.3.100"
    header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = (
        "1.2.3.1",
        "1.2.3.2",
        "1.2.3.4",
    )
    header.Modality = "CT" if sop_class == CTImageStorage else "MR"
    header.PatientID, header.PatientName, header.PatientBirthDate, header.PatientSex = (
        "phantom",
        "Phantom^Liver",
        "",
        "O",
    )
    header.StudyDate, header.StudyTime, header.AccessionNumber, header.StudyID = (
        "20250102",
        "101112",
        "",
        "1",
    )
    header.Rows, header.Columns = volume.spatial_shape[1:]
    return header


def single_frames(volume: hd.Volume, sop_class: str) -> tuple[Dataset, ...]:
    headers = []
    for index in range(volume.spatial_shape[0]):
        header = attributes(sop_class, volume)
        header.SOPInstanceUID = f"1.2.3.100.{index}"
        header.PixelSpacing = list(volume.spacing[1:])
        header.SliceThickness = volume.spacing[0]
        header.ImageOrientationPatient = [*volume.direction[:, 2], *volume.direction[:, 1]]
        header.ImagePositionPatient = list((volume.affine @ [index, 0, 0, 1])[:3])
        headers.append(header)
    return tuple(headers)


def multi_frame(volume: hd.Volume) -> tuple[Dataset, ...]:
    header = attributes(EnhancedMRImageStorage, volume)
    header.NumberOfFrames = volume.spatial_shape[0]
    shared = Dataset()
    shared.PixelMeasuresSequence = hd.PixelMeasuresSequence(
        volume.spacing[1:], volume.spacing[0], volume.spacing[0]
    )
    shared.PlaneOrientationSequence = volume.get_plane_orientation()
    header.SharedFunctionalGroupsSequence = [shared]
    frames = [Dataset() for _ in range(volume.spatial_shape[0])]
    for frame, position in zip(frames, volume.get_plane_positions(), strict=True):
        frame.PlanePositionSequence = position
    header.PerFrameFunctionalGroupsSequence = frames
    return (header,)


def study(
    volume: hd.Volume, headers: tuple[Dataset, ...], modality: Modality = Modality.CT
) -> Study:
    return Study(modality, {Phase.PORTAL: PhaseImage(volume, headers=headers)})


def ct_study() -> Study:
    return study(grid(), single_frames(grid(), CTImageStorage))


def masks(volume: hd.Volume) -> tuple[hd.Volume, hd.Volume]:
    """A liver in slices 1 to 3, lesion 1 in slice 2 and lesion 4 in slices 2 and 3."""
    liver, lesions = np.zeros(SHAPE, bool), np.zeros(SHAPE, np.uint16)
    liver[1:4, 2:10, 1:8] = True
    lesions[2, 3, 2:4] = 1
    lesions[2:4, 6:9, 4:7] = 4
    return volume.with_array(liver), volume.with_array(lesions)


def drawn(liver: hd.Volume, lesions: hd.Volume, source: str) -> Segmentation:
    return Segmentation(lesions, {Organ.LIVER: liver}, source)


def written(path: Path, source: Study) -> hd.seg.Segmentation:
    liver, lesions = masks(source.grid)
    return hd.seg.segread(
        write_seg(
            path, study=source, segmentation=drawn(liver, lesions, "mti-net"), model_version="1.2"
        )
    )


SOURCES: dict[str, Callable[[], Study]] = {
    "axial CT": ct_study,
    "oblique MR": lambda: study(
        grid(TILT @ AXIAL), single_frames(grid(TILT @ AXIAL), MRImageStorage), Modality.MR
    ),
    "flipped MR": lambda: study(
        grid(AXIAL * [-1, -1, 1]),
        single_frames(grid(AXIAL * [-1, -1, 1]), MRImageStorage),
        Modality.MR,
    ),
    "enhanced MR": lambda: study(grid(TILT @ AXIAL), multi_frame(grid(TILT @ AXIAL)), Modality.MR),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_masks_and_grid_come_back(tmp_path: Path, source: Callable[[], Study]) -> None:
    original = source()
    liver, lesions = masks(original.grid)
    read = written(tmp_path / "seg.dcm", original).get_volume()
    assert read.frame_of_reference_uid == "1.2.3.4"
    assert same_grid(read.match_geometry(original.grid), original.grid)
    segments_ZYXS = read.match_geometry(original.grid).array
    for segment, expected in enumerate((liver.array, lesions.array == 1, lesions.array == 4)):
        np.testing.assert_array_equal(segments_ZYXS[..., segment].astype(bool), expected)


def test_every_frame_refers_to_its_own_slice(tmp_path: Path) -> None:
    source = ct_study()
    read = written(tmp_path / "seg.dcm", source)
    uids = [header.SOPInstanceUID for header in source.phases[Phase.PORTAL].headers]
    assert read.NumberOfFrames == 3 + 1 + 2  # empty frames are left out
    segments_ZYXS = read.get_pixels_by_source_instance(
        uids, ignore_spatial_locations=False, assert_missing_frames_are_empty=True
    )
    liver, lesions = masks(source.grid)
    np.testing.assert_array_equal(segments_ZYXS[..., 0], liver.array)
    np.testing.assert_array_equal(segments_ZYXS[..., 2], lesions.array == 4)


def test_enhanced_source_is_referred_to_by_frame(tmp_path: Path) -> None:
    frames = written(
        tmp_path / "seg.dcm", SOURCES["enhanced MR"]()
    ).PerFrameFunctionalGroupsSequence
    segments = [frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber for frame in frames]
    sources = [frame.DerivationImageSequence[0].SourceImageSequence[0] for frame in frames]
    pairs = {
        (segment, int(source.ReferencedFrameNumber))
        for segment, source in zip(segments, sources, strict=True)
    }
    assert pairs == {(1, 2), (1, 3), (1, 4), (2, 3), (3, 3), (3, 4)}  # frames count from 1
    assert {source.ReferencedSOPInstanceUID for source in sources} == {"1.2.3.100"}


def test_segments_are_named_and_coded(tmp_path: Path) -> None:
    read = written(tmp_path / "seg.dcm", ct_study())
    liver, first, fourth = (read.get_segment_description(number) for number in (1, 2, 3))
    assert [item.segment_label for item in (liver, first, fourth)] == [
        "Liver",
        "Lesion 1",
        "Lesion 4",
    ]
    assert (liver.segmented_property_type.value, liver.segmented_property_category.value) == (
        "10200004",
        "91723000",
    )
    assert (first.segmented_property_type.value, first.segmented_property_category.value) == (
        "52988006",
        "49755003",
    )
    assert first.anatomic_regions[0].value == "10200004"
    assert first.tracking_id == "Lesion 1"
    assert first.tracking_uid != fourth.tracking_uid
    assert liver.algorithm_type is hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC
    assert (first.algorithm_identification.name, first.algorithm_identification.version) == (
        "liverleaf mti-net",
        "1.2",
    )
    assert first.algorithm_identification.family.value == "123110"
    # "#ff4d4d"
    assert hd.color.CIELabColor.from_dicom_value(
        list(first.RecommendedDisplayCIELabValue)
    ).to_rgb() == (255, 77, 77)


def test_series_says_what_it_is(tmp_path: Path) -> None:
    read = written(tmp_path / "seg.dcm", ct_study())
    assert (read.Modality, read.SegmentationType, read.SeriesDescription) == (
        "SEG",
        "BINARY",
        "liverleaf segmentation, research use only",
    )
    assert (read.StudyInstanceUID, read.PatientID, read.StudyDate) == (
        "1.2.3.1",
        "phantom",
        "20250102",
    )
    assert read.SeriesInstanceUID != "1.2.3.2"
    assert not read.ContentCreatorName


def test_without_lesions_there_is_one_segment(tmp_path: Path) -> None:
    source = ct_study()
    liver, lesions = masks(source.grid)
    path = write_seg(
        tmp_path / "seg.dcm",
        study=source,
        segmentation=drawn(liver, lesions.with_array(lesions.array * 0), "m"),
    )
    assert hd.seg.segread(path).number_of_segments == 1


@pytest.mark.parametrize(
    ("source", "kind", "description"),
    [
        ("manual", "MANUAL", "Manual segmentation, research use only"),
        ("ITK-SNAP", "SEMIAUTOMATIC", "ITK-SNAP segmentation, research use only"),
    ],
)
def test_masks_of_a_person_or_another_program_do_not_pass_for_ours(
    tmp_path: Path, source: str, kind: str, description: str
) -> None:
    _, lesions = masks(grid())
    drawn_elsewhere = Segmentation(lesions, source=source, method=Method.SEMIAUTOMATIC)
    path = write_seg(tmp_path / "seg.dcm", study=ct_study(), segmentation=drawn_elsewhere)
    read = hd.seg.segread(path)
    assert (read.SeriesDescription, read.number_of_segments) == (description, 2)
    for segment in read.SegmentSequence:
        assert segment.SegmentAlgorithmType == kind
        name = "" if source == "manual" else source
        assert segment.get("SegmentAlgorithmName", "") == name
        assert "liverleaf" not in str(segment.get("SegmentationAlgorithmIdentificationSequence"))


IDENTIFIERS = (
    "SOPInstanceUID",
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
)


@pytest.mark.parametrize("keyword", [*IDENTIFIERS, *TYPE_2_ATTRIBUTES, "SliceThickness"])
@pytest.mark.parametrize("absent", [True, False], ids=["absent", "empty"])
def test_missing_attributes_are_completed_in_a_copy(
    tmp_path: Path, keyword: str, absent: bool
) -> None:
    headers = single_frames(grid(), CTImageStorage)
    for header in headers:
        setattr(header, keyword, None)
        if absent:
            del header[keyword]
    before = deepcopy(headers)
    read = written(tmp_path / "seg.dcm", study(grid(), headers))
    assert headers == before
    assert read.number_of_segments == 3
    first = complete_headers(study(grid(), headers))
    again = complete_headers(study(grid(), headers))
    assert first == again, "a report written later must quote the same identifiers"
    assert len({header.SOPInstanceUID for header in first}) == len(headers)


def without(keyword: str) -> tuple[Dataset, ...]:
    headers = single_frames(grid(), CTImageStorage)
    del headers[1][keyword]
    return headers


def changed(
    keyword: str, value: str | list[float], *, slices: slice = slice(None)
) -> tuple[Dataset, ...]:
    headers = single_frames(grid(), CTImageStorage)
    for header in headers[slices]:
        setattr(header, keyword, value)
    return headers


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ((), "no DICOM headers"),
        (without("ImagePositionPatient"), "lacks ImagePositionPatient"),
        (changed("SeriesInstanceUID", "1.9", slices=slice(1)), "more than one series"),
        (changed("FrameOfReferenceUID", "1.9"), "different frames of reference"),
        (
            single_frames(grid(spacing_mm=(3.7, 1.5, 0.8))[1:], CTImageStorage),
            "do not lie on the slices",
        ),
    ],
    ids=[
        "not DICOM",
        "no position",
        "two series",
        "foreign frame of reference",
        "other slices",
    ],
)
def test_unusable_headers_are_refused_in_one_line(
    tmp_path: Path, headers: tuple[Dataset, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        written(tmp_path / "seg.dcm", study(grid(), headers))
    assert "\n" not in str(caught.value)
    assert "Phantom" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_empty_masks_are_refused(tmp_path: Path) -> None:
    nothing = (
        grid().with_array(np.zeros(SHAPE, bool)),
        grid().with_array(np.zeros(SHAPE, np.uint16)),
    )
    with pytest.raises(InputError, match="nothing to segment"):
        write_seg(tmp_path / "seg.dcm", study=ct_study(), segmentation=drawn(*nothing, "m"))


def test_masks_on_another_grid_are_a_programming_error(tmp_path: Path) -> None:
    liver, lesions = masks(grid())
    with pytest.raises(ValueError, match="masks must lie on the reference phase's grid"):
        write_seg(
            tmp_path / "seg.dcm", study=ct_study(), segmentation=drawn(liver[1:], lesions[1:], "m")
        )


def test_a_failed_write_leaves_nothing_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_half_way(dataset: Dataset, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    (tmp_path / "seg.dcm").write_bytes(b"old")
    monkeypatch.setattr(hd.seg.Segmentation, "save_as", fail_half_way)
    with pytest.raises(OSError, match="disk full"):
        written(tmp_path / "seg.dcm", ct_study())
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("seg.dcm", b"old")]


@pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed"
)
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_dciodvfy_finds_no_error(tmp_path: Path, source: Callable[[], Study]) -> None:
    written(tmp_path / "seg.dcm", source())
    report = subprocess.run(
        ["dciodvfy", str(tmp_path / "seg.dcm")], capture_output=True, text=True, check=False
    ).stderr
    assert [line for line in report.splitlines() if line.startswith("Error")] == []


def real_study(folder: Path) -> Study:
    """The middle slices of a real axial series, cropped to 16 by 16 pixels."""
    headers = sorted(
        (pydicom.dcmread(file, stop_before_pixels=True) for file in folder.iterdir()),
        key=lambda h: h.ImagePositionPatient[2],
    )[:5]
    for header in headers:
        header.Rows, header.Columns = SHAPE[1:]
    spacing = (
        headers[1].ImagePositionPatient[2] - headers[0].ImagePositionPatient[2],
        *headers[0].PixelSpacing,
    )
    volume = hd.Volume.from_components(
        np.zeros(SHAPE, np.float32),
        direction=AXIAL,
        position=headers[0].ImagePositionPatient,
        spacing=[float(step) for step in spacing],
        coordinate_system="PATIENT",
        frame_of_reference_uid=headers[0].FrameOfReferenceUID,
    )
    return study(volume, tuple(headers))


@pytest.mark.parametrize(
    "folder", ["tcga-lihc-hcc-portal-ct/dcm", "totalsegmentator-reference/example_ct_dicom"]
)
def test_real_headers_are_enough(tmp_path: Path, folder: str) -> None:
    if not (DATA / folder).is_dir():
        pytest.skip(f"{folder} is not here")
    source = real_study(DATA / folder)
    read = written(tmp_path / "seg.dcm", source)
    liver, lesions = masks(source.grid)
    segments_ZYXS = read.get_volume().match_geometry(source.grid).array
    np.testing.assert_array_equal(segments_ZYXS[..., 0].astype(bool), liver.array)
    np.testing.assert_array_equal(segments_ZYXS[..., 2].astype(bool), lesions.array == 4)
    assert "DerivationImageSequence" in read.PerFrameFunctionalGroupsSequence[0]


def test_study_without_a_portal_phase_uses_its_reference(tmp_path: Path) -> None:
    source = ct_study()
    image = source.phases[Phase.PORTAL]
    other = replace(image, headers=())
    read = written(
        tmp_path / "seg.dcm", replace(source, phases={Phase.PRE: other, Phase.ARTERIAL: image})
    )
    assert read.number_of_segments == 3
