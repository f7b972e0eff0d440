"""De-identified copies: pixels and geometry stay, and nobody can be recognised."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import RLELossless, SecondaryCaptureImageStorage

from liverleaf.ingest.deidentify.dicom import deidentify, shift_date, without_identity
from liverleaf.ingest.deidentify.profile import ALLOWED, METHOD_CODES, Action
from liverleaf.ingest.deidentify.pseudonyms import Pseudonyms
from liverleaf.ingest.dicom.reader import read_dicom
from liverleaf.study import SourceIds

EXAMPLE = Path(__file__).parents[3] / "../shared/data/totalsegmentator-reference/example_ct_dicom"
PSEUDONYMS = Pseudonyms(bytes(range(32)))
SECRETS = {
    "PatientName": "Mustermann^Erika",
    "PatientID": "4711SECRET",
    "PatientBirthDate": "19600117",
    "PatientAddress": "Musterweg 12, Basel",
    "AccessionNumber": "ACC0815",
    "ReferringPhysicianName": "Hausarzt^Heidi",
    "OperatorsName": "Technik^Toni",
    "InstitutionName": "Kantonsspital Musterstadt",
    "InstitutionAddress": "Spitalgasse 1",
    "StationName": "CTROOM7",
    "DeviceSerialNumber": "SN60064",
    "StudyID": "ST90210",
    "ImageComments": "called Mrs Mustermann",
    "PatientComments": "the mayor's wife",
    "RequestedProcedureDescription": "staging of the mayor",
}


def copy_of(
    dataset: Dataset,
    tmp_path: Path,
    make: Any,
    *,
    subject: str = "subject-1",
    pseudonyms: Pseudonyms = PSEUDONYMS,
) -> Path:
    out = tmp_path / f"copy-{len(list(tmp_path.glob('copy-*')))}"
    said = deidentify(
        make.save(dataset, tmp_path / "original"),
        out,
        case_id="case-1",
        subject_id=subject,
        pseudonyms=pseudonyms,
    )
    assert said is None
    (file,) = out.rglob("*.dcm")
    return file


def test_dates_of_a_subject_move_together_and_keep_the_time_of_day() -> None:
    days = PSEUDONYMS.shift_days("subject-1")
    assert -3650 <= days <= -1
    assert days != PSEUDONYMS.shift_days("subject-2")
    first, second = (
        date.fromisoformat(shift_date(when, days)) for when in ("20240101", "20240305")
    )
    assert (second - first).days == 64
    assert shift_date("20240115101530.25+0100", -1) == "20240114101530.25+0100"
    assert shift_date("2024.01.15", -1) == "20240114"


@pytest.mark.parametrize("value", ["", "2024", "20241345", "Mustermann", "00010101", "20240115X"])
def test_what_is_no_date_is_not_kept(value: str) -> None:
    assert shift_date(value, -400) == ""


def test_a_copy_keeps_pixels_geometry_and_phase_and_nothing_of_the_patient(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    dataset = make.slice(
        stored[0],
        (1, 2, 3),
        **SECRETS,
        SeriesDescription="portal venous Mustermann",
        ContrastBolusStartTime="095900",
        KVP=120,
    )
    dataset.preamble = b"Mustermann".ljust(128, b"\0")
    dataset.add_new(0x00091001, "LO", "Mustermann private")
    dataset.add_new(0x60000010, "US", 8)
    dataset.add_new(0x60003000, "OW", b"overlay of Mustermann ")
    dataset.add_new(0x50003000, "OW", b"curve")
    file = copy_of(dataset, tmp_path, make)
    content, copy = file.read_bytes(), pydicom.dcmread(file)
    for secret in (*SECRETS.values(), "Mustermann", "20240115", "1.2.3.4", "overlay", "curve"):
        assert secret.encode() not in content
        assert secret not in str(file.relative_to(tmp_path))
    assert np.array_equal(copy.pixel_array, stored[0])
    assert list(copy.ImagePositionPatient) == [1, 2, 3]
    assert (copy.SeriesDescription, copy.KVP, copy.AcquisitionTime) == (
        "portal venous",
        120,
        "100000",
    )
    assert (copy.PatientID, copy.PatientName, copy.PatientIdentityRemoved) == (
        "subject-1",
        "subject-1",
        "YES",
    )
    assert copy.LongitudinalTemporalInformationModified == "MODIFIED"
    assert [item.CodeValue for item in copy.DeidentificationMethodCodeSequence] == list(
        METHOD_CODES
    )
    assert not any(
        element.tag.is_private or element.tag.group in (0x5000, 0x6000) for element in copy
    )


def test_copies_of_one_study_still_fit_together(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    series = make.series(stored)
    for dataset in series:
        file = make.save(dataset, tmp_path / "original")
        assert (
            deidentify(
                file,
                tmp_path / "copies",
                case_id="case-1",
                subject_id="subject-1",
                pseudonyms=PSEUDONYMS,
            )
            is None
        )
    files = sorted((tmp_path / "copies").rglob("*.dcm"))
    study = read_dicom(files)
    (image,) = study.phases.values()
    assert len(files) == len(stored)
    assert image.volume.frame_of_reference_uid == PSEUDONYMS.uid("1.2.3.5")
    assert np.array_equal(image.volume.array, stored.astype(np.float32) - 1024)


def test_missing_uids_are_made_and_differ_between_images(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    made = []
    for plane in stored[:2]:
        dataset = make.slice(
            plane, (0, 0, 0), StudyInstanceUID="", SeriesInstanceUID="", SOPInstanceUID=""
        )
        made.append(pydicom.dcmread(copy_of(dataset, tmp_path, make)))
    assert made[0].StudyInstanceUID == made[1].StudyInstanceUID
    assert made[0].SeriesInstanceUID == made[1].SeriesInstanceUID
    assert (
        made[0].SOPInstanceUID
        != made[1].SOPInstanceUID
        == made[1].file_meta.MediaStorageSOPInstanceUID
    )


def test_items_are_cleaned_by_the_same_table(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    agent = Dataset()
    agent.CodeValue, agent.CodingSchemeDesignator, agent.CodeMeaning = (
        "HOUSE-1",
        "MUSTERSPITAL",
        "Gadovist for Mustermann",
    )
    agent.OperatorsName = "Technik^Toni"
    dataset = make.slice(stored[0], (0, 0, 0), ContrastBolusAgentSequence=[agent])
    file = copy_of(dataset, tmp_path, make)
    (item,) = pydicom.dcmread(file).ContrastBolusAgentSequence
    assert item.CodeMeaning == "Gadovist for"
    assert len(item) == 1
    assert b"MUSTERSPITAL" not in file.read_bytes()


def test_compressed_pixels_are_copied_as_they_are(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    dataset = make.slice(stored[0], (0, 0, 0))
    dataset.compress(RLELossless, generate_instance_uid=False)
    copy = pydicom.dcmread(copy_of(dataset, tmp_path, make))
    assert copy.PixelData == dataset.PixelData
    assert copy.file_meta.TransferSyntaxUID == RLELossless


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, "burned into the pixels"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "secondary capture"),
        ({"SeriesDescription": "Dose Report"}, "dose report"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "screen"),
        ({"PixelData": None}, "without pixels"),
    ],
)
def test_images_that_may_show_the_patients_name_are_refused(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16], elements: dict[str, Any], reason: str
) -> None:
    file = make.save(make.slice(stored[0], (0, 0, 0), **elements), tmp_path / "original")
    said = deidentify(
        file, tmp_path / "copies", case_id="case-1", subject_id="subject-1", pseudonyms=PSEUDONYMS
    )
    assert said is not None
    assert reason in said
    assert not list((tmp_path / "copies").rglob("*.dcm"))


def test_an_overlay_inside_the_pixels_is_wiped(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    dataset = make.slice(stored[0] | 0x7000, (0, 0, 0), BitsStored=12, HighBit=11)
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 12)
    copy = pydicom.dcmread(copy_of(dataset, tmp_path, make))
    assert copy.PixelData == stored[0].tobytes()
    assert not any(element.tag.group == 0x6000 for element in copy)


def test_a_damaged_file_is_refused_in_words_that_quote_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\0" * 128 + b"DICM" + b"Mustermann" * 9)
    said = deidentify(
        tmp_path / "file",
        tmp_path / "copies",
        case_id="case-1",
        subject_id="subject-1",
        pseudonyms=PSEUDONYMS,
    )
    assert said is not None
    assert "Mustermann" not in said


@pytest.mark.skipif(not EXAMPLE.is_dir(), reason="the example study is not here")
def test_nothing_that_identifies_comes_through_from_a_real_study(tmp_path: Path) -> None:
    files = sorted(EXAMPLE.iterdir())[::7]
    found: set[str] = set()
    for file in files:
        assert (
            deidentify(
                file, tmp_path, case_id="case-1", subject_id="subject-1", pseudonyms=PSEUDONYMS
            )
            is None
        )
        found |= identifying_values(pydicom.dcmread(file, stop_before_pixels=True))
    copies = sorted(tmp_path.rglob("*.dcm"))
    assert len(copies) == len(files)
    assert {"60064", "20221208", "PETCT2"} <= found
    assert any("Petersgraben" in value for value in found)
    for copy in copies:
        content = copy.read_bytes()
        pixels = pydicom.dcmread(copy).PixelData
        header = content[: content.index(pixels[:64])]
        for value in found:
            assert value.encode() not in header
            assert len(value) < 6 or value.encode() not in content


def identifying_values(dataset: Dataset) -> set[str]:
    """Every text of four characters or more that is not kept as it is by the table."""
    values: set[str] = set()
    for element in dataset.iterall():
        keeps = ALLOWED.get(element.keyword) is Action.KEEP and not element.tag.is_private
        if not keeps and element.VR in {
            "AE",
            "AS",
            "CS",
            "DA",
            "DT",
            "LO",
            "LT",
            "PN",
            "SH",
            "ST",
            "UI",
            "UT",
        }:
            said = [str(value) for value in (element.value if element.VM > 1 else [element.value])]
            values |= {
                line for value in said for line in re.split(r"[\r\n]+", value) if len(line) > 3
            }
    return {
        value
        for value in values
        if not value.startswith("1.2.840.10008.") and value not in KEPT_ELSEWHERE
    }


KEPT_ELSEWHERE = {"CT Body 3.0", "SIEMENS", "APPLIED"}
"""Words of technique that `known_words` and the table keep."""


def test_a_study_under_a_pseudonym_names_no_image_of_its_source(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    files = [make.save(s, tmp_path / f"{i}") for i, s in enumerate(make.series(stored))]
    study = read_dicom(files)
    assert next(iter(study.phases.values())).source.study_instance_uid == "1.2.3"
    hidden = without_identity(study, "case-1", "subject-1", PSEUDONYMS)
    assert {image.source for image in hidden.phases.values()} == {SourceIds()}


def copied(datasets: list[Dataset], tmp_path: Path, make: Any) -> list[Dataset]:
    for number, dataset in enumerate(datasets):
        said = deidentify(
            make.save(dataset, tmp_path / f"in/{number}"),
            tmp_path / "out",
            case_id="case-1",
            subject_id="subject-1",
            pseudonyms=PSEUDONYMS,
        )
        assert said is None
    return [pydicom.dcmread(file) for file in sorted((tmp_path / "out").rglob("*.dcm"))]


@pytest.mark.parametrize("uid", ["1.2.3.4.9", ""])
def test_as_many_images_come_out_as_went_in_where_uids_repeat_or_lack(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16], uid: str
) -> None:
    series = make.series(stored, SOPInstanceUID=uid)
    copies = copied([*series, series[0]], tmp_path, make)
    assert len(copies) == len({copy.SOPInstanceUID for copy in copies}) == len(stored) + 1
    assert all(c.file_meta.MediaStorageSOPInstanceUID == c.SOPInstanceUID for c in copies)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("Smith^John^^Mr", "CT-0012"),
        ("Primary^Axial", "HU"),
        ("Hu^Siemens", "386053000"),
        ("Rattus^Rat", "SCT"),
        ("Original^MONOCHROME2", "Iodine"),
    ],
)
def test_codes_survive_whatever_the_patient_is_called(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16], name: str, number: str
) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "386053000", "SCT", "Rattus"
    kept = {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ContrastBolusIngredient": "IODINE",
        "RescaleType": "HU",
        "Manufacturer": "SIEMENS",
        "BodyPartExamined": "ABDOMEN",
        "PatientSpeciesDescription": "Rattus norvegicus",
    }
    dataset = make.slice(
        stored[0],
        (0, 0, 0),
        PatientName=name,
        PatientID=number,
        PatientSpeciesCodeSequence=[code],
        **kept,
    )
    (copy,) = copied([dataset], tmp_path, make)
    assert (copy.Modality, copy.PhotometricInterpretation) == ("CT", "MONOCHROME2")
    assert copy.SOPClassUID == dataset.SOPClassUID
    assert {keyword: copy[keyword].value for keyword in kept} == kept
    (item,) = copy.PatientSpeciesCodeSequence
    assert (item.CodeValue, item.CodingSchemeDesignator) == ("386053000", "SCT")


def test_a_name_is_kept_neither_as_a_part_of_the_body_nor_as_a_manufacturer(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    dataset = make.slice(
        stored[0], (0, 0, 0), BodyPartExamined="MUSTERMANN", Manufacturer="Erika", StackID="4711"
    )
    (copy,) = copied([dataset], tmp_path, make)
    assert (copy.BodyPartExamined, copy.Manufacturer) == ("", "")
    assert copy.StackID not in ("", "4711")


def test_an_image_without_preamble_and_with_a_damaged_attribute_is_copied_too(
    tmp_path: Path, make: Any, stored: NDArray[np.uint16]
) -> None:
    dataset = make.slice(stored[0], (0, 0, 0), KVP=120)
    file = make.save(dataset, tmp_path / "in/0")
    bare = file.read_bytes()
    bare = bare[bare.index(b"\x08\x00\x08\x00CS") :].replace(b"DS\x04\x00120 ", b"DS\x04\x00a,b ")
    file.write_bytes(bare)
    said = deidentify(
        file, tmp_path / "out", case_id="c", subject_id="subject-1", pseudonyms=PSEUDONYMS
    )
    assert said is None
    copy = pydicom.dcmread(next((tmp_path / "out").rglob("*.dcm")))
    assert np.array_equal(copy.pixel_array, stored[0])


def test_a_modality_lut_survives(tmp_path: Path, make: Any) -> None:
    """Without its table a CT has no scale."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [40, 0, 16])
    item.LUTExplanation = "table of Mrs Mustermann"
    item.ModalityLUTType = "HU"
    item.add_new("LUTData", "OW", (np.arange(40) * 10 - 200).astype("<i2").tobytes())
    stored = (np.arange(56) % 40).reshape(8, 7).astype(np.uint16)
    dataset = make.slice(
        stored,
        (0, 0, 0),
        ModalityLUTSequence=[item],
        RescaleSlope=None,
        RescaleIntercept=None,
    )
    (image,) = read_dicom([copy_of(dataset, tmp_path, make)]).phases.values()
    np.testing.assert_array_equal(image.volume.array[0], stored * 10.0 - 200)
    assert "LUTExplanation" not in image.headers[0].ModalityLUTSequence[0]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("CT^AXIAL", "ORIGINAL"),
        ("Hfs^Primary", "M"),
        ("Liver^Abdomen", "AXIAL"),
        ("No^Yes", "MONOCHROME2"),
        ("Sct^Srt", "10200004"),
    ],
)
def test_codes_survive_in_sequences_too_whatever_the_patient_is_called(
    tmp_path: Path, make: Any, name: str, number: str
) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "10200004", "SCT", "Liver"
    code.PatientName = name
    code.add_new(0x00290010, "LO", "VENDOR")
    code.add_new(0x00291010, "LO", name)
    code.add_new(0x60003000, "OW", b"drawn")
    image = make.slice(
        np.ones((4, 4), np.uint16),
        (0, 0, 0),
        PatientName=name,
        PatientID=number,
        PatientPosition="HFS",
        BodyPartExamined="ABDOMEN",
        BurnedInAnnotation="NO",
        AnatomicRegionSequence=[code],
    )
    image.add_new(0x00290010, "LO", name)
    make.save(image, tmp_path / "a")
    told = deidentify(
        tmp_path / "a",
        tmp_path / "out",
        case_id="case-1",
        subject_id="subject-1",
        pseudonyms=Pseudonyms(bytes(32)),
    )
    assert told is None
    (file,) = (tmp_path / "out").rglob("*.dcm")
    copy = pydicom.dcmread(file)
    for keyword in (
        "Modality",
        "ImageType",
        "PatientPosition",
        "BodyPartExamined",
        "BurnedInAnnotation",
        "PhotometricInterpretation",
    ):
        assert copy[keyword].value == image[keyword].value
    (kept,) = copy.AnatomicRegionSequence
    assert [str(element.value) for element in kept] == ["10200004", "SCT", "Liver"]
    assert not any(element.tag.is_private for element in copy.iterall())
