"""An image that reads well gets a DICOM SEG, which names the images that its frames lie on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import EnhancedMRImageStorage

from liverleaf.export.dicom_seg import seg_warnings, write_seg
from liverleaf.export.dicom_sources import own_instance_uids, source_slices
from liverleaf.ingest.reader import read_study
from liverleaf.segmentation import Method, Segmentation
from liverleaf.study import InputError, Phase, Study
from liverleaf.terminology import Organ

DATA = Path(__file__).parents[2] / "../shared/data"


def everywhere(study: Study) -> Segmentation:
    """A liver in every voxel, and a lesion in a corner of every slice."""
    lesions = np.zeros(study.grid.spatial_shape, np.uint16)
    lesions[:, :2, :3] = 1
    liver = study.grid.with_array(np.ones(study.grid.spatial_shape, bool))
    return Segmentation(study.grid.with_array(lesions), {Organ.LIVER: liver}, "m")


def seg_of(study: Study, path: Path, **options: Any) -> hd.seg.Segmentation:
    written = hd.seg.segread(
        write_seg(path, study=study, segmentation=everywhere(study), **options)
    )
    if shutil.which("dciodvfy"):
        report = subprocess.run(
            ["dciodvfy", str(path)], capture_output=True, text=True, check=False
        ).stderr
        assert [line for line in report.splitlines() if line.startswith("Error")] == []
    return written


def frames_of(seg: Dataset, segment: int = 1) -> list[tuple[float, str | None, int | None]]:
    """Height of each frame of a segment, and the image and frame that it names."""
    found = []
    for frame in seg.PerFrameFunctionalGroupsSequence:
        if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber != segment:
            continue
        height = float(frame.PlanePositionSequence[0].ImagePositionPatient[2])
        if not frame.DerivationImageSequence:
            found.append((height, None, None))
            continue
        (image,) = frame.DerivationImageSequence[0].SourceImageSequence
        number = image.get("ReferencedFrameNumber")
        found.append((height, image.ReferencedSOPInstanceUID, number and int(number)))
    return sorted(found, key=lambda frame: frame[0])


NAMES = {
    "none": (None, "Mustermann^Erika"),
    "ISO_IR 100": ("ISO_IR 100", "Müller^Zoë"),
    "ISO_IR 101": ("ISO_IR 101", "Wałęsa^Łukasz"),
    "ISO_IR 109": ("ISO_IR 109", "Ħal^Ġorġ"),
    "ISO_IR 110": ("ISO_IR 110", "Bērziņš^Jānis"),
    "ISO_IR 144": ("ISO_IR 144", "Люкceмбyрг^Роза"),
    "ISO_IR 127": ("ISO_IR 127", "قباني^لنزار"),
    "ISO_IR 126": ("ISO_IR 126", "Διονυσιος^Νικος"),
    "ISO_IR 138": ("ISO_IR 138", "שרון^דבורה"),
    "ISO_IR 148": ("ISO_IR 148", "Çavuşoğlu^İpek"),
    "ISO_IR 166": ("ISO_IR 166", "นามสกุล^ชื่อ"),
    "ISO_IR 13": ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    "ISO_IR 192": ("ISO_IR 192", "Wang^XiaoDong=王^小东=ö"),
    "GB18030": ("GB18030", "Wang^XiaoDong=王^小东"),
    "GBK": ("GBK", "Wang^XiaoDong=王^小东"),
    "empty, IR 87": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "IR 6, IR 87": (["ISO 2022 IR 6", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
    "IR 13, IR 87": (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    "empty, IR 87, IR 159": (["", "ISO 2022 IR 87", "ISO 2022 IR 159"], "Yamada^Tarou=山田^丂"),
    "empty, IR 149": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "IR 100, IR 144": (["ISO 2022 IR 100", "ISO 2022 IR 144"], "Müller=Роза"),
    "misspelt": ("ISO-IR 100", "Müller^Zoë"),
    "unknown": ("LATIN1", "Mueller^Zoe"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("characters", "name"), NAMES.values(), ids=NAMES)
def test_the_name_of_the_patient_comes_back_in_every_character_set(
    tmp_path: Path, make: Any, stored: np.ndarray, characters: str | list[str], name: str
) -> None:
    slices = make.series(
        stored, SpecificCharacterSet=characters, PatientName=name, StudyID="7", PatientComments=name
    )
    make.shuffled(slices, tmp_path / "in")
    source = pydicom.dcmread(next((tmp_path / "in").iterdir()))
    seg_of(read_study(tmp_path / "in"), tmp_path / "seg.dcm")
    read = pydicom.dcmread(tmp_path / "seg.dcm")
    assert str(read.PatientName) == str(source.PatientName) == name
    assert read.get("SpecificCharacterSet") == (None if name.isascii() else "ISO_IR 192")


EXAMPLES_OF_THE_STANDARD = {
    "IR 87": (
        ["", "ISO 2022 IR 87"],
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    "IR 149": (
        ["", "ISO 2022 IR 149"],
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    "IR 58": (
        ["", "ISO 2022 IR 58"],
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东=",
    ),
}
"""PS3.5, annexes H, I and K: characters of a name as the bytes of a file."""


@pytest.mark.parametrize(
    ("characters", "stored_name", "name"),
    EXAMPLES_OF_THE_STANDARD.values(),
    ids=EXAMPLES_OF_THE_STANDARD,
)
def test_the_examples_of_the_standard_come_back(
    tmp_path: Path,
    make: Any,
    stored: np.ndarray,
    characters: list[str],
    stored_name: bytes,
    name: str,
) -> None:
    stand_in = "X" * len(stored_name)
    slices = make.series(stored, SpecificCharacterSet=characters, PatientName=stand_in)
    make.shuffled(slices, tmp_path / "in")
    for file in (tmp_path / "in").iterdir():
        file.write_bytes(file.read_bytes().replace(stand_in.encode(), stored_name))
    seg_of(read_study(tmp_path / "in"), tmp_path / "seg.dcm")
    read = pydicom.dcmread(tmp_path / "seg.dcm")
    assert str(read.PatientName).rstrip("=") == name.rstrip("=")


def test_the_name_of_who_drew_the_masks_may_have_any_letters(
    tmp_path: Path, make: Any, stored: np.ndarray
) -> None:
    make.shuffled(make.series(stored), tmp_path / "in")
    study = read_study(tmp_path / "in")
    masks = everywhere(study)
    path = write_seg(
        tmp_path / "seg.dcm",
        study=study,
        segmentation=Segmentation(masks.lesions, source="Gaël 王", method=Method.SEMIAUTOMATIC),
    )
    assert pydicom.dcmread(path).SeriesDescription.startswith("Gaël 王")


def enhanced(make: Any, planes: list[tuple[int, int, np.ndarray]], **elements: Any) -> Dataset:
    """An enhanced MR object of (time point, slice, pixels)."""
    whole = make.slice(
        np.concatenate([pixels for _, _, pixels in planes]),
        (0, 0, 0),
        Modality="MR",
        SeriesDescription="dynamic",
        **dict.fromkeys(
            ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
        ),
        **dict.fromkeys(("RescaleSlope", "RescaleIntercept", "AcquisitionTime")),
        **elements,
    )
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    whole.Rows, whole.NumberOfFrames = planes[0][2].shape[0], len(planes)
    shared = Dataset()
    shared.PixelMeasuresSequence = hd.PixelMeasuresSequence((0.8, 0.7), 2.5, 2.5)
    shared.PlaneOrientationSequence = hd.PlaneOrientationSequence("PATIENT", (1, 0, 0, 0, 1, 0))
    whole.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for point, z, _ in planes:
        frame, content = Dataset(), Dataset()
        frame.PlanePositionSequence = hd.PlanePositionSequence("PATIENT", (5, 6, 2.5 * z))
        content.TemporalPositionIndex = point + 1
        content.FrameAcquisitionDateTime = f"2024011510{(0, 30, 68, 207)[point] // 60:02d}"
        content.FrameAcquisitionDateTime += f"{(0, 30, 68, 207)[point] % 60:02d}"
        frame.FrameContentSequence = [content]
        frames.append(frame)
    whole.PerFrameFunctionalGroupsSequence = frames
    return whole


def four_phases(stored: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """The frames of four time points, those of one slice beside one another."""
    return [
        (point, z, (stored[z] + 100 * point).astype(np.uint16))
        for z in range(len(stored))
        for point in range(4)
    ]


def test_of_several_phases_in_one_object_the_reference_phase_alone_is_named(
    tmp_path: Path, make: Any, stored: np.ndarray
) -> None:
    one = enhanced(make, four_phases(stored))
    make.save(one, tmp_path / "in/one")
    study = read_study(tmp_path / "in")
    assert list(study.phases) == [Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED]
    seg = seg_of(study, tmp_path / "seg.dcm")
    # of each slice's four frames, counted from 1, the third is portal venous
    expected = [(2.5 * z, one.SOPInstanceUID, 4 * z + 3) for z in range(6)]
    assert frames_of(seg) == expected
    assert frames_of(seg, segment=2) == expected
    assert [image.ReferencedSOPInstanceUID for image in seg.SourceImageSequence] == [
        one.SOPInstanceUID
    ]
    assert seg_warnings(study) == ()


def test_a_concatenation_is_named_part_by_part(
    tmp_path: Path, make: Any, stored: np.ndarray
) -> None:
    planes, parts = four_phases(stored), []
    for number, first in enumerate(range(0, 24, 7)):  # parts end amid slices
        part = enhanced(
            make,
            planes[first : first + 7],
            ConcatenationUID="1.2.3.9",
            InConcatenationNumber=number + 1,
            ConcatenationFrameOffsetNumber=first,
        )
        parts.append(part.SOPInstanceUID)
        make.save(part, tmp_path / f"in/{3 - number}")
    seg = seg_of(read_study(tmp_path / "in"), tmp_path / "seg.dcm")
    expected = [
        (2.5 * z, parts[(4 * z + 2) // 7], (4 * z + 2) % 7 + 1)  # frames count in their own file
        for z in range(6)
    ]
    assert frames_of(seg) == expected
    (series,) = seg.ReferencedSeriesSequence
    named = [image.ReferencedSOPInstanceUID for image in series.ReferencedInstanceSequence]
    assert sorted(named) == sorted({uid for _, uid, _ in expected})


def thick(make: Any, count: int = 14) -> list[Dataset]:
    pixels = np.random.default_rng(0).integers(900, 1200, (count, 8, 7)).astype(np.uint16)
    return make.series(pixels, step_mm=5.0)


def test_a_missing_slice_has_no_frame_and_is_told_by_number(tmp_path: Path, make: Any) -> None:
    slices = thick(make)
    make.shuffled([s for z, s in enumerate(slices) if z != 4], tmp_path / "in")
    study = read_study(tmp_path / "in")
    assert study.grid.spatial_shape[0] == 14
    seg = seg_of(study, tmp_path / "seg.dcm")
    expected = [(-30 + 5.0 * z, s.SOPInstanceUID, None) for z, s in enumerate(slices) if z != 4]
    assert frames_of(seg) == expected
    (told,) = seg_warnings(study)
    assert "no frame on 1 of 14 slices (Z 4, counted from 0)" in told
    assert seg.get_volume(allow_missing_positions=True).spatial_shape[0] == 14


def test_masks_on_a_slice_without_an_image_alone_are_refused_for_that(
    tmp_path: Path, make: Any
) -> None:
    make.shuffled([s for z, s in enumerate(thick(make)) if z != 4], tmp_path / "in")
    study = read_study(tmp_path / "in")
    lesions = np.zeros(study.grid.spatial_shape, np.uint16)
    lesions[4] = 1
    with pytest.raises(InputError, match="have no image of their own and were interpolated"):
        write_seg(
            tmp_path / "seg.dcm",
            study=study,
            segmentation=Segmentation(study.grid.with_array(lesions)),
        )


def test_frames_lie_on_the_images_where_these_are_unevenly_spaced(
    tmp_path: Path, make: Any
) -> None:
    slices = thick(make)
    for s in slices[1::2]:
        s.ImagePositionPatient[2] += 0.8
    make.shuffled(slices, tmp_path / "in")
    study = read_study(tmp_path / "in")
    seg = seg_of(study, tmp_path / "seg.dcm")
    assert frames_of(seg) == [
        (pytest.approx(float(s.ImagePositionPatient[2])), s.SOPInstanceUID, None) for s in slices
    ]
    assert "mm beside the evenly spaced slices" in seg_warnings(study)[-1]
    assert "SpacingBetweenSlices" not in str(seg.SharedFunctionalGroupsSequence)


def test_frames_of_a_tilted_gantry_keep_their_slices(tmp_path: Path, make: Any) -> None:
    slices = thick(make)
    for z, s in enumerate(slices):
        s.ImagePositionPatient[1] += 0.3 * z
    make.shuffled(slices, tmp_path / "in")
    study = read_study(tmp_path / "in")
    seg = seg_of(study, tmp_path / "seg.dcm")
    assert frames_of(seg) == [
        (float(s.ImagePositionPatient[2]), s.SOPInstanceUID, None) for s in slices
    ]
    preserved = {
        frame.DerivationImageSequence[0].SourceImageSequence[0].SpatialLocationsPreserved
        for frame in seg.PerFrameFunctionalGroupsSequence
    }
    assert preserved == {"NO"}  # rows and columns were shifted
    assert not any(source.preserved for source in source_slices(study))


@pytest.mark.parametrize("uid", ["1.2.3.7", "", None], ids=["the same", "empty", "absent"])
@pytest.mark.parametrize("meta", ["own", "the same"])
def test_images_without_a_uid_of_their_own_still_get_a_segmentation(
    tmp_path: Path, make: Any, uid: str | None, meta: str
) -> None:
    slices = thick(make)
    for z, s in enumerate(slices):
        s.SOPInstanceUID = uid
        if uid is None:
            del s.SOPInstanceUID
        s.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.8.{z if meta == 'own' else 0}"
        path = tmp_path / f"in/{z}"
        path.parent.mkdir(exist_ok=True)
        pydicom.dcmwrite(path, s, enforce_file_format=False)
    study = read_study(tmp_path / "in")
    seg = seg_of(study, tmp_path / "seg.dcm")
    own = meta == "own"
    assert frames_of(seg) == [
        (-30 + 5.0 * z, f"1.2.3.8.{z}" if own else None, None) for z in range(14)
    ]
    told = seg_warnings(study)
    assert (told == ()) == own
    if not own:
        assert "14 of 14 images have no SOP Instance UID of their own" in told[0]
        assert "ReferencedSeriesSequence" not in seg


def test_a_uid_that_one_image_alone_has_is_its_own() -> None:
    headers = [Dataset() for _ in range(4)]
    for header, uid in zip(headers, ["1.1", "1.2", "1.2", ""], strict=True):
        header.SOPInstanceUID = uid
    assert own_instance_uids(headers) == ["1.1", None, None, None]


ODD = {
    "PatientSex": "X",
    "StudyDate": "2024",
    "StudyTime": "noon",
    "PatientBirthDate": "unknown",
    "PatientName": "A" * 90,
    "AccessionNumber": "1234567890123456789",
    "StudyInstanceUID": "1.2.03.4",
    "SOPClassUID": "1.9.8",
    "SliceThickness": "0",
    "LossyImageCompression": "",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("keyword", "value"), ODD.items(), ids=ODD)
def test_values_outside_the_standard_are_quoted_and_no_reason_to_refuse(
    tmp_path: Path, make: Any, keyword: str, value: str
) -> None:
    make.shuffled(make.series(np.full((6, 8, 7), 1100, np.uint16), **{keyword: value}), tmp_path)
    study = read_study(tmp_path)
    write_seg(tmp_path / "seg.dcm", study=study, segmentation=everywhere(study))
    read, source = pydicom.dcmread(tmp_path / "seg.dcm"), study.phases[Phase.PORTAL].headers[0]
    if keyword == "SOPClassUID":
        assert read.SourceImageSequence[0].ReferencedSOPClassUID == value
    elif keyword not in ("SliceThickness", "LossyImageCompression") and keyword in source:
        assert str(read[keyword].value) == value


def without_times(path: Path) -> Dataset:
    read = pydicom.dcmread(path)
    for keyword in ("ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime"):
        del read[keyword]
    for equipment in read.ContributingEquipmentSequence:
        equipment.pop("ContributionDateTime", None)
    return read


def tracked(read: Dataset) -> list[str | None]:
    return [segment.get("TrackingUID") for segment in read.SegmentSequence]


def test_the_same_analysis_is_the_same_object(
    tmp_path: Path, make: Any, stored: np.ndarray
) -> None:
    make.shuffled(make.series(stored), tmp_path / "in")
    for name in "ab":
        seg_of(read_study(tmp_path / "in"), tmp_path / f"{name}.dcm", weights_sha256="1" * 64)
    first, again = without_times(tmp_path / "a.dcm"), without_times(tmp_path / "b.dcm")
    assert first == again
    assert first.file_meta == again.file_meta
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert first[keyword].value.startswith("2.25.")
    assert len({*tracked(first)}) == 2  # the liver has none


@pytest.mark.parametrize(
    "change",
    [
        lambda study, masks: (study, masks, {"weights_sha256": "2" * 64}),
        lambda study, masks: (study, masks, {"model_version": "9"}),
        lambda study, masks: (
            study,
            Segmentation(masks.lesions, masks.organs, "other model"),
            {},
        ),
        lambda study, masks: (
            study,
            Segmentation(
                masks.lesions.with_array(np.roll(masks.lesions.array, 1, 2)), masks.organs, "m"
            ),
            {},
        ),
    ],
    ids=["weights", "version", "model", "another place"],
)
def test_another_analysis_is_another_object_with_lesions_of_its_own(
    tmp_path: Path, make: Any, stored: np.ndarray, change: Callable
) -> None:
    make.shuffled(make.series(stored), tmp_path / "in")
    study = read_study(tmp_path / "in")
    first = pydicom.dcmread(
        write_seg(tmp_path / "a.dcm", study=study, segmentation=everywhere(study))
    )
    study, masks, options = change(study, everywhere(study))
    other = pydicom.dcmread(
        write_seg(tmp_path / "b.dcm", study=study, segmentation=masks, **options)
    )
    assert first.SOPInstanceUID != other.SOPInstanceUID
    assert first.SeriesInstanceUID != other.SeriesInstanceUID
    assert tracked(first)[1] != tracked(other)[1]


def test_another_study_has_other_uids(tmp_path: Path, make: Any, stored: np.ndarray) -> None:
    read = []
    for series in ("1.2.3.4", "1.2.3.44"):
        make.shuffled(make.series(stored, SeriesInstanceUID=series), tmp_path / series)
        read.append(seg_of(read_study(tmp_path / series), tmp_path / f"{series}.dcm"))
    assert read[0].SOPInstanceUID != read[1].SOPInstanceUID
    assert tracked(read[0])[1] != tracked(read[1])[1]


@pytest.mark.parametrize(
    "folder", ["totalsegmentator-reference/example_ct_dicom", "hcc-tace-seg-multiphase-ct/HCC_002"]
)
def test_real_images_get_a_segmentation_that_names_them(tmp_path: Path, folder: str) -> None:
    if not (DATA / folder).is_dir():
        pytest.skip(f"{folder} is not here")
    study = read_study(DATA / folder)
    path = write_seg(tmp_path / "seg.dcm", study=study, segmentation=everywhere(study))
    frames = frames_of(pydicom.dcmread(path))
    assert len(frames) == study.grid.spatial_shape[0]
    files = {
        meta.MediaStorageSOPInstanceUID
        for meta in (h.file_meta for h in study.phases[study.reference].headers)
    }
    assert {uid for _, uid, _ in frames} == files
    assert seg_warnings(study) == ()


def test_images_of_a_study_that_was_put_together_are_named_as_they_name_themselves(
    tmp_path: Path, make: Any, stored: np.ndarray
) -> None:
    torn = make.series(
        stored,
        each=lambda z: {"StudyInstanceUID": f"1.7.{z}", "SeriesInstanceUID": f"1.8.{z}"},
    )
    names = {
        str(image.SOPInstanceUID): (str(image.StudyInstanceUID), str(image.SeriesInstanceUID))
        for image in torn
    }
    seg = seg_of(read_study(make.shuffled(torn, tmp_path / "study")), tmp_path / "seg.dcm")
    assert seg.StudyInstanceUID == "1.7.0"
    listed = [(str(seg.StudyInstanceUID), item) for item in seg.ReferencedSeriesSequence]
    listed += [
        (str(study.StudyInstanceUID), item)
        for study in seg.StudiesContainingOtherReferencedInstancesSequence
        for item in study.ReferencedSeriesSequence
    ]
    found = {
        str(image.ReferencedSOPInstanceUID): (study, str(item.SeriesInstanceUID))
        for study, item in listed
        for image in item.ReferencedInstanceSequence
    }
    assert found == names
    assert {uid for _, uid, _ in frames_of(seg)} == set(names)
