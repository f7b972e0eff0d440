"""Frames of single files: geometry, rescaling, times, and what is refused and why."""

import pickle

import pydicom
import pytest
from pydicom import Dataset

from liverleaf.ingest.dicom.frames import (
    DAY_S,
    DicomdirError,
    acquired_s,
    check_begins_as_dicom,
    counted,
    date_time_s,
    dicom_date_and_time,
    number,
    read_frames,
    seconds_of_day,
    text,
    words,
)
from liverleaf.study import InputError


def header(**elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def test_a_frame_has_the_geometry_and_rescaling_of_its_file(tmp_path, make, stored) -> None:
    dataset = make.slice(stored[0], (1, 2, 3), RescaleSlope=2, RescaleIntercept=-10)
    (frame,) = read_frames(make.save(dataset, tmp_path / "file"))
    assert frame.position_mm.tolist() == [1, 2, 3]
    assert frame.spacing_mm == tuple(float(value) for value in dataset.PixelSpacing)
    assert frame.shape == stored[0].shape
    assert (frame.slope, frame.intercept, frame.rescaled) == (2, -10, True)
    assert "PixelData" not in frame.header


def test_a_slope_that_is_missing_or_zero_is_one(tmp_path, make, stored) -> None:
    dataset = make.slice(stored[0], (0, 0, 0), RescaleSlope=0, RescaleIntercept=5)
    (frame,) = read_frames(make.save(dataset, tmp_path / "file"))
    assert (frame.slope, frame.intercept, frame.rescaled) == (1.0, 5.0, False)


@pytest.mark.filterwarnings("ignore")  # pydicom's, about the values that are wanted
@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "US"}, "of modality US"),
        ({"Modality": "Mustermann"}, "of modality unknown"),
        ({"ImagePositionPatient": None}, "without position"),
        ({"ImagePositionPatient": None, "SliceLocation": 3}, "a slice location alone"),
        ({"PixelSpacing": [0, 0]}, "impossible position, orientation or pixel spacing"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "impossible position"),
        ({"SamplesPerPixel": 3}, "in colour"),
        ({"HighBit": 11}, "high bit"),
        ({"NumberOfFrames": 5}, "multi-frame without a place"),
        ({"Rows": 0}, "without an image"),
    ],
)
def test_what_is_no_slice_is_refused_with_a_reason(
    tmp_path, make, stored, elements, reason
) -> None:
    file = make.save(make.slice(stored[0], (0, 0, 0), **elements), tmp_path / "file")
    with pytest.raises(InputError, match=reason) as raised:
        read_frames(file)
    assert "Mustermann" not in str(raised.value)


def test_an_index_of_files_is_told_from_damage_by_its_type(tmp_path, make, stored) -> None:
    index = make.slice(stored[0], (0, 0, 0), DirectoryRecordSequence=[])
    with pytest.raises(DicomdirError, match="DICOMDIR") as raised:
        read_frames(make.save(index, tmp_path / "DICOMDIR"))
    # reasons cross from one process to another
    assert isinstance(pickle.loads(pickle.dumps(raised.value)), DicomdirError)


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"PK\x03\x04", "zip"),
        (b"hello", "not DICOM"),
        (b"", "not DICOM"),
        (b"\0" * 128 + b"DICX", "not DICOM"),
    ],
)
def test_other_files_are_told_by_their_first_bytes(start, reason) -> None:
    with pytest.raises(InputError, match=reason):
        check_begins_as_dicom(start)


def test_files_without_preamble_may_be_dicom() -> None:
    check_begins_as_dicom(b"\x08\x00rest")
    check_begins_as_dicom(b"\0" * 128 + b"DICM")


@pytest.mark.filterwarnings("ignore")  # pydicom's, about the damage that is wanted
def test_private_and_damaged_elements_count_as_absent(tmp_path, make, stored) -> None:
    dataset = make.slice(stored[0], (0, 0, 0), StudyInstanceUID="1.2.840.9")
    dataset.add_new(0x00091001, "LO", "private")
    file = make.save(dataset, tmp_path / "file")
    # a name has slipped into the place of an identifier
    file.write_bytes(file.read_bytes().replace(b"1.2.840.9", b"1.2.Meier"))
    assert pydicom.dcmread(file).StudyInstanceUID == "1.2.Meier"
    (frame,) = read_frames(file)
    assert not any(element.tag.is_private for element in frame.header)
    assert "StudyInstanceUID" not in frame.header
    assert "SOPClassUID" in frame.header


def test_decimal_commas_are_read(tmp_path, make, stored) -> None:
    file = make.save(make.slice(stored[0], (0, 0, 0), SliceThickness="1.5 "), tmp_path / "file")
    file.write_bytes(file.read_bytes().replace(b"1.5 ", b"1,5 "))
    assert number(read_frames(file)[0].header, "SliceThickness") == 1.5


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("000000", 0.0),
        ("235959.5", 86399.5),
        ("10:30:00", 37800.0),
        ("10", 36000.0),
        ("246000", None),
        ("noon", None),
        ("", None),
    ],
)
def test_times_of_day_by_hand(value, seconds) -> None:
    assert seconds_of_day(value) == seconds


def test_the_clock_runs_over_midnight() -> None:
    before = acquired_s(header(AcquisitionDate="20240131", AcquisitionTime="235950"))
    after = acquired_s(header(AcquisitionDateTime="20240201000010.5"))
    assert after - before == 20.5


def test_the_time_is_that_of_acquisition_then_content_then_series() -> None:
    times = {"SeriesTime": "100000", "ContentTime": "110000", "AcquisitionTime": "120000"}
    found = []
    while times:
        found.append(acquired_s(header(**times)))
        times.popitem()
    assert found == [12 * 3600, 11 * 3600, 10 * 3600]
    assert acquired_s(header()) is None


def test_dates_and_times_are_written_as_they_are_read() -> None:
    clock_s = date_time_s("20240229101530.250000")
    assert dicom_date_and_time(clock_s) == ("20240229", "101530.250000")
    assert date_time_s("20240229") is None
    assert clock_s % DAY_S == 10 * 3600 + 15 * 60 + 30.25


def test_elements_as_text_words_and_numbers() -> None:
    one = header(SeriesDescription="  two\n lines ", ImageType=["A", "B"], EchoTime=2, Rows=None)
    assert text(one, "SeriesDescription") == "two lines"
    assert (text(one, "PatientName"), words(one, "PatientName")) == ("", ())
    assert words(one, "ImageType") == ("A", "B")
    assert (number(one, "EchoTime"), number(one, "Rows"), number(one, "ImageType")) == (
        2.0,
        None,
        None,
    )
    assert counted(1, "study", "studies") == "1 study"
