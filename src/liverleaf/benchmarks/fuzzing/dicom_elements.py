"""Where each element of a valid DICOM file stands in its bytes, and other values for it."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any, NamedTuple

import pydicom
from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32


class Element(NamedTuple):
    """Where an element stands in a file: its first byte, that of its value, the byte after it."""

    tag: BaseTag
    vr: str
    start: int
    value: int
    end: int


def elements_of(content: bytes) -> list[Element]:
    """Every element of a valid file that is no sequence, those within sequences included.

    Sequences must have undefined length.
    """
    dataset = pydicom.dcmread(BytesIO(content))
    return [*_walk(dataset.file_meta, False), *_walk(dataset, bool(dataset.original_encoding[0]))]


def with_value(content: bytes, element: Element, value: bytes) -> bytes:
    """The file with another value in an element, and a length that fits it."""
    value += b" " * (len(value) % 2)
    size = size_of_length(content, element)
    length = len(value).to_bytes(size, "little")
    return content[: element.value - size] + length + value + content[element.end :]


def size_of_length(content: bytes, element: Element) -> int:
    """Bytes in which the file writes an element's length, just before its value: 2 or 4."""
    return (
        2
        if element.value - element.start == 8
        and content[element.start + 4 : element.start + 6].isalpha()
        else 4
    )


def _walk(dataset: Dataset, implicit: bool) -> Iterator[Element]:
    # a Dataset iterates over its elements, which would decode them
    for tag in dataset.keys():  # noqa: SIM118
        raw: Any = dataset.get_item(tag)
        if isinstance(raw, RawDataElement):
            if raw.length == 0xFFFFFFFF:
                continue  # compressed pixels, which have damages of their own
            vr = raw.VR or dictionary_VR(tag)
            header = 12 if not implicit and vr in EXPLICIT_VR_LENGTH_32 else 8
            yield Element(
                tag, vr, raw.value_tell - header, raw.value_tell, raw.value_tell + raw.length
            )
        elif raw.VR == "SQ":
            for item in raw.value:
                yield from _walk(item, implicit)
