"""Elements of small DICOM files, of implicit and explicit types: found and changed."""

from io import BytesIO

import pydicom
import pytest
from pydicom import Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from liverleaf.benchmarks.fuzzing.dicom_elements import (
    Element,
    elements_of,
    size_of_length,
    with_value,
)


def file_of(syntax: pydicom.uid.UID) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.file_meta.MediaStorageSOPInstanceUID = (
        "1.2.3"
    )
    dataset.Modality, dataset.Rows, dataset.PixelData = "MR", 7, b"\x01\x02"
    dataset.BitsAllocated = 8
    out = BytesIO()
    pydicom.dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def by_keyword(content: bytes) -> dict[str, Element]:
    return {keyword_for_tag(element.tag): element for element in elements_of(content)}


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian], ids=["implicit", "explicit"]
)
def test_elements_stand_where_they_are_said_to(syntax: pydicom.uid.UID) -> None:
    content = file_of(syntax)
    found = by_keyword(content)
    assert content[found["Modality"].value : found["Modality"].end] == b"MR"
    assert content[found["Rows"].value : found["Rows"].end] == b"\x07\x00"
    for element in found.values():
        size = size_of_length(content, element)
        assert (
            int.from_bytes(content[element.value - size : element.value], "little")
            == element.end - element.value
        )
        assert content[element.start : element.start + 2] == element.tag.group.to_bytes(2, "little")


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian], ids=["implicit", "explicit"]
)
def test_another_value_is_read_and_the_rest_stays(syntax: pydicom.uid.UID) -> None:
    content = file_of(syntax)
    changed = pydicom.dcmread(BytesIO(with_value(content, by_keyword(content)["Modality"], b"ABC")))
    assert (changed.Modality, changed.Rows, changed.PixelData) == ("ABC", 7, b"\x01\x02")
