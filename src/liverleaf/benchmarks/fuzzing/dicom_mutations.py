"""Damage to DICOM files: their elements, geometry, description of pixels, and frames."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from io import BytesIO

import pydicom
from numpy.random import Generator
from pydicom import Dataset
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.tag import BaseTag
from pydicom.valuerep import STANDARD_VR

from liverleaf.benchmarks.fuzzing.dicom_elements import (
    Element,
    elements_of,
    size_of_length,
    with_value,
)
from liverleaf.benchmarks.fuzzing.file_mutations import ANY, BINARY, Mutation, flipped, pick

NUMBERS = (
    b"nan",
    b"inf",
    b"-inf",
    b"0",
    b"-0.0",
    b"-1",
    b"1e308",
    b"-1e308",
    b"1e-300",
    b"99999999999999999999",
    b"0,7",
    b"0.7 mm",
)
TEXTS = (
    b"",
    b" ",
    b"abc",
    b"\\" * 9,
    b"1\\2\\3\\4\\5\\6\\7",
    b"\x00" * 8,
    b"\xff" * 8,
    b"\xc3\x84\r\n\x1b$B",
    b"x" * 60_000,
)
BINARY_VR = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
GEOMETRY = (
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SliceLocation",
    "GantryDetectorTilt",
)
PIXELS = (
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
)
UIDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
)
SYNTAXES = (
    b"1.2.840.10008.1.2",
    b"1.2.840.10008.1.2.1",
    b"1.2.840.10008.1.2.2",
    b"1.2.840.10008.1.2.5",
    b"1.2.3",
    b"",
)


def wrong_preamble(rng: Generator, content: bytes) -> bytes:
    """No preamble, a damaged one, or another mark than DICM."""
    return (
        content[132:],
        content[128:],
        rng.bytes(128) + content[128:],
        content[:128] + b"DCIM" + content[132:],
    )[rng.integers(4)]


def delete_element(rng: Generator, content: bytes) -> bytes:
    """An element is missing."""
    element = _any_element(rng, content)
    return content[: element.start] + content[element.end :]


def empty_element(rng: Generator, content: bytes) -> bytes:
    """An element has no value."""
    return with_value(content, _any_element(rng, content), b"")


def retype_element(rng: Generator, content: bytes) -> bytes:
    """A value of another kind, under the element's own type."""
    return with_value(
        content,
        _any_element(rng, content),
        pick(rng, (*TEXTS, *NUMBERS, rng.bytes(int(rng.integers(1, 40))))),
    )


def extreme_element(rng: Generator, content: bytes) -> bytes:
    """A value of the right kind that nobody expects: 0, -1, 1e308, infinity, not a number, ..."""
    element = _any_element(rng, content)
    return with_value(content, element, _extreme(rng, element.vr))


def wrong_vr(rng: Generator, content: bytes) -> bytes:
    """Another, or an unknown, value representation over the same bytes.

    A value of implicit type gets noise before its length.
    """
    element = _any_element(rng, content)
    at = element.start + 4
    name: bytes = pick(rng, (*(vr.encode() for vr in sorted(STANDARD_VR)), b"ZZ", b"\x00\x00"))
    return content[:at] + name + content[at + 2 :]


def wrong_length(rng: Generator, content: bytes) -> bytes:
    """An element claims to be longer or shorter than it is, up to 4 GiB."""
    element = _any_element(rng, content)
    size = size_of_length(content, element)
    length = element.end - element.value
    lengths = [
        0,
        1,
        length + 1,
        length - 2,
        length + int(rng.integers(1, 200)),
        2**15 - 1,
        2**16 - 1,
        2**31 - 1,
        2**32 - 2,
        2**32 - 1,
    ]
    claimed = int(pick(rng, lengths)) % (2**16 if size == 2 else 2**32)
    return (
        content[: element.value - size]
        + claimed.to_bytes(size, "little")
        + content[element.value :]
    )


def swap_elements(rng: Generator, content: bytes) -> bytes:
    """Two elements with each other's value."""
    elements = elements_of(content)
    first, second = sorted(
        (elements[i] for i in rng.choice(len(elements), 2, replace=False)), key=lambda e: e.start
    )
    values = [content[element.value : element.end] for element in (first, second)]
    return with_value(with_value(content, second, values[0]), first, values[1])


def wrong_uid(rng: Generator, content: bytes) -> bytes:
    """An identifier is that of something else, or none."""
    elements = {keyword_for_tag(element.tag): element for element in elements_of(content)}
    chosen = elements[pick(rng, [keyword for keyword in UIDS if keyword in elements])]
    other = elements[pick(rng, [keyword for keyword in UIDS if keyword in elements])]
    value = pick(
        rng,
        (content[other.value : other.end], b"1.2.3", b"not a uid", b"1." * 40, b"\x00\x00", b""),
    )
    return with_value(content, chosen, value)


def wrong_syntax(rng: Generator, content: bytes) -> bytes:
    """The file claims another transfer syntax than it has."""
    start = content.index(b"\x02\x00\x10\x00UI")
    end = start + 8 + int.from_bytes(content[start + 6 : start + 8], "little")
    return with_value(
        content, Element(BaseTag(0x00020010), "UI", start, start + 8, end), pick(rng, SYNTAXES)
    )


def wrong_geometry(rng: Generator, content: bytes) -> bytes:
    """One number of a position, orientation, spacing or thickness is off, or is none."""
    element = _one_of(rng, content, GEOMETRY)
    numbers = content[element.value : element.end].strip(b"\x00 ").split(b"\\")
    at = int(rng.integers(len(numbers)))
    try:
        old = float(numbers[at])
    except ValueError:
        old = 0.0
    near = (old + 0.3, old - 7, -old, old * 10, old / 10, old * 1.001, old + 1000)
    numbers[at] = (
        f"{near[rng.integers(len(near))]:.8g}".encode()
        if rng.random() < 0.6
        else pick(rng, NUMBERS)
    )
    return with_value(
        content, element, b"\\".join(numbers if rng.random() < 0.9 else numbers[::-1])
    )


def wrong_pixel_description(rng: Generator, content: bytes) -> bytes:
    """Rows, columns, frames, bits or rescaling are others than the pixels'."""
    element = _one_of(rng, content, PIXELS)
    if element.vr == "US":
        old = int.from_bytes(content[element.value : element.end][:2], "little")
        new = (old + 1, old - 1, 2 * old, old // 2, 0, 1, 8, 12, 32, 64, 20_000, 32_768, 65_535)
        return with_value(
            content, element, struct.pack("<H", int(new[rng.integers(len(new))]) % 65536)
        )
    texts = (
        b"1",
        b"2",
        b"1000",
        b"2147483647",
        b"RGB",
        b"MONOCHROME1",
        b"PALETTE COLOR",
        b"YBR_FULL_422",
        *NUMBERS,
    )
    return with_value(content, element, pick(rng, texts))


def nonsense_frames(rng: Generator, content: bytes) -> bytes:
    """A wrong number of frames, or a frame whose functional group is lost, empty or repeated."""
    dataset = pydicom.dcmread(BytesIO(content))
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence", ()))
    if groups and rng.random() < 0.7:
        at = int(rng.integers(len(groups)))
        choices = (
            groups[:at] + groups[at + 1 :],
            [*groups, groups[at]],
            groups[::-1],
            [*groups[:at], Dataset(), *groups[at + 1 :]],
        )
        dataset.PerFrameFunctionalGroupsSequence = choices[rng.integers(4)]
        if rng.random() < 0.5:
            dataset.NumberOfFrames = len(dataset.PerFrameFunctionalGroupsSequence)
    else:
        dataset.NumberOfFrames = int((0, 2, 3, len(groups) + 1, 1000, 2**31 - 1)[rng.integers(6)])
    out = BytesIO()
    pydicom.dcmwrite(out, dataset)
    return out.getvalue()


def damage_fragments(rng: Generator, content: bytes) -> bytes:
    """Compressed pixels with wrong bits, offsets or item lengths, or without their end."""
    start = content.index(struct.pack("<HH", 0x7FE0, 0x0010)) + 12
    kind = rng.integers(4)
    if kind == 0:
        return flipped(rng, content, start, len(content))
    if kind == 1:
        return content[: int(rng.integers(start, len(content)))]
    items = [
        at for at in range(start, len(content) - 8) if content[at : at + 4] == b"\xfe\xff\x00\xe0"
    ]
    at = int(items[rng.integers(len(items))])
    if kind == 2:
        return content[: at + 4] + struct.pack("<I", int(rng.integers(2**32))) + content[at + 8 :]
    return content[:at] + content[at + 8 + int.from_bytes(content[at + 4 : at + 8], "little") :]


def _any_element(rng: Generator, content: bytes) -> Element:
    element: Element = pick(rng, elements_of(content))
    return element


def _one_of(rng: Generator, content: bytes, keywords: Sequence[str]) -> Element:
    tags = {tag_for_keyword(keyword) for keyword in keywords}
    element: Element = pick(
        rng, [element for element in elements_of(content) if element.tag in tags]
    )
    return element


def _extreme(rng: Generator, vr: str) -> bytes:
    if vr in BINARY_VR:
        return struct.pack(f"<{BINARY_VR[vr]}", pick(rng, BINARY[BINARY_VR[vr]]))
    if vr in ("DA", "TM", "DT"):
        return bytes(
            pick(
                rng,
                (
                    b"99999999",
                    b"00000000",
                    b"250000",
                    b"20240231",
                    b"-1",
                    b"999999.999999",
                    b"20240115250000",
                    b"1",
                ),
            )
        )
    return bytes(pick(rng, (*NUMBERS, *TEXTS)))


DICOM: dict[str, Mutation] = ANY | {
    "wrong preamble": wrong_preamble,
    "element deleted": delete_element,
    "element emptied": empty_element,
    "element of another type": retype_element,
    "extreme value": extreme_element,
    "wrong value representation": wrong_vr,
    "wrong length": wrong_length,
    "values swapped": swap_elements,
    "wrong identifiers": wrong_uid,
    "wrong transfer syntax": wrong_syntax,
    "wrong geometry": wrong_geometry,
    "wrong rows, columns, bits": wrong_pixel_description,
    "nonsense frames": nonsense_frames,
}
