"""The bytes of a valid DICOM, NIfTI, zip or case file and a numpy Generator in, damaged bytes out: one function per kind of damage."""

from __future__ import annotations

import gzip
import json
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import nibabel as nib
import numpy as np
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

Mutation = Callable[[Generator, bytes], bytes]

PIXEL_DATA = 0x7FE00010
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
BINARY: Mapping[str, Sequence[int | float]] = {
    "H": (0, 1, 7, 255, 32767, 32768, 65535),
    "h": (0, -1, -32768, 32767),
    "I": (0, 1, 2**31, 2**32 - 1),
    "i": (0, -1, -(2**31), 2**31 - 1),
    "f": (0.0, float("nan"), float("inf"), -1.0, 3e38),
    "d": (0.0, float("nan"), float("inf"), -1.0, 1e308),
}
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


# Of any file


def flip_bits(rng: Generator, content: bytes) -> bytes:
    """One to eight bits anywhere."""
    return _flipped(rng, content, 0, len(content))


def flip_early_bits(rng: Generator, content: bytes) -> bytes:
    """One to eight bits in the first 2000 bytes, where headers are."""
    return _flipped(rng, content, 0, min(len(content), 2000))


def truncate(rng: Generator, content: bytes) -> bytes:
    """The file ends early, perhaps before it begins."""
    return content[: rng.integers(len(content)) if rng.random() < 0.9 else 0]


def insert_bytes(rng: Generator, content: bytes) -> bytes:
    """Up to 64 bytes too many."""
    at = int(rng.integers(len(content)))
    return content[:at] + rng.bytes(int(rng.integers(1, 65))) + content[at:]


def remove_bytes(rng: Generator, content: bytes) -> bytes:
    """Up to 64 bytes missing in the middle."""
    at = int(rng.integers(len(content)))
    return content[:at] + content[at + int(rng.integers(1, 65)) :]


def overwrite_block(rng: Generator, content: bytes) -> bytes:
    """Up to 1024 bytes of zeros, ones or noise, as a bad disk leaves them."""
    at, size = int(rng.integers(len(content))), int(rng.integers(1, 1025))
    block = (b"\x00" * size, b"\xff" * size, rng.bytes(size))[rng.integers(3)]
    return (content[:at] + block + content[at + size :])[: len(content)]


def append_bytes(rng: Generator, content: bytes) -> bytes:
    """The file again, or noise, behind its end."""
    return content + (content if rng.random() < 0.5 else rng.bytes(int(rng.integers(1, 4097))))


# Of DICOM


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
        _pick(rng, (*TEXTS, *NUMBERS, rng.bytes(int(rng.integers(1, 40))))),
    )


def extreme_element(rng: Generator, content: bytes) -> bytes:
    """A value of the right kind that nobody expects: 0, -1, 1e308, infinity, not a number, ..."""
    element = _any_element(rng, content)
    return with_value(content, element, _extreme(rng, element.vr))


def wrong_vr(rng: Generator, content: bytes) -> bytes:
    """Another, or an unknown, value representation over the same bytes; a value of implicit type gets noise before its length."""
    element = _any_element(rng, content)
    at = element.start + 4
    name: bytes = _pick(rng, (*(vr.encode() for vr in sorted(STANDARD_VR)), b"ZZ", b"\x00\x00"))
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
    claimed = int(_pick(rng, lengths)) % (2**16 if size == 2 else 2**32)
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
    chosen = elements[_pick(rng, [keyword for keyword in UIDS if keyword in elements])]
    other = elements[_pick(rng, [keyword for keyword in UIDS if keyword in elements])]
    value = _pick(
        rng,
        (content[other.value : other.end], b"1.2.3", b"not a uid", b"1." * 40, b"\x00\x00", b""),
    )
    return with_value(content, chosen, value)


def wrong_syntax(rng: Generator, content: bytes) -> bytes:
    """The file claims another transfer syntax than it has."""
    start = content.index(b"\x02\x00\x10\x00UI")
    end = start + 8 + int.from_bytes(content[start + 6 : start + 8], "little")
    return with_value(
        content, Element(BaseTag(0x00020010), "UI", start, start + 8, end), _pick(rng, SYNTAXES)
    )


def wrong_geometry(rng: Generator, content: bytes) -> bytes:
    """One number of a position, orientation, spacing or thickness is off by a little, by much, or is none."""
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
        else _pick(rng, NUMBERS)
    )
    return with_value(
        content, element, b"\\".join(numbers if rng.random() < 0.9 else numbers[::-1])
    )


def wrong_pixel_description(rng: Generator, content: bytes) -> bytes:
    """Rows, columns, frames, bits or rescaling are others than the pixels', up to the highest that can be written."""
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
    return with_value(content, element, _pick(rng, texts))


def nonsense_frames(rng: Generator, content: bytes) -> bytes:
    """A number of frames where there is one, or frames without places; a frame's group is lost or repeated."""
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
    """Bits, the offset table or the item lengths of compressed pixels are wrong, or their end is missing."""
    start = content.index(struct.pack("<HH", 0x7FE0, 0x0010)) + 12
    kind = rng.integers(4)
    if kind == 0:
        return _flipped(rng, content, start, len(content))
    if kind == 1:
        return content[: int(rng.integers(start, len(content)))]
    items = [
        at for at in range(start, len(content) - 8) if content[at : at + 4] == b"\xfe\xff\x00\xe0"
    ]
    at = int(items[rng.integers(len(items))])
    if kind == 2:
        return content[: at + 4] + struct.pack("<I", int(rng.integers(2**32))) + content[at + 8 :]
    return content[:at] + content[at + 8 + int.from_bytes(content[at + 4 : at + 8], "little") :]


# Of NIfTI, zip and case folders


def nifti_field(rng: Generator, content: bytes) -> bytes:
    """A field of the header holds an extreme value."""
    packed = content[:2] == b"\x1f\x8b"
    plain = gzip.decompress(content) if packed else content
    header: Any = nib.Nifti1Header(plain[:348], check=False)
    fields = header.structarr.dtype.names
    name = str(fields[rng.integers(len(fields))])
    field = header.structarr[name]
    if field.dtype.kind in "fiu":
        extremes = BINARY[{"f": "f", "i": "h", "u": "H"}[field.dtype.kind]]
        values = np.array(field).reshape(-1)
        with np.errstate(all="ignore"):
            values[rng.integers(values.size)] = np.array(_pick(rng, extremes)).astype(field.dtype)
        header.structarr[name] = values.reshape(field.shape)
    else:
        header.structarr[name] = rng.bytes(field.dtype.itemsize)
    damaged = header.binaryblock + plain[348:]
    return gzip.compress(damaged, mtime=0) if packed else damaged


def nifti_inside(rng: Generator, content: bytes) -> bytes:
    """Bits of the image within a sound gzip stream are flipped, or it ends early there."""
    packed = content[:2] == b"\x1f\x8b"
    plain = gzip.decompress(content) if packed else content
    damaged = (
        _flipped(rng, plain, 0, 400)
        if rng.random() < 0.5
        else plain[: int(rng.integers(len(plain)))]
    )
    return gzip.compress(damaged, mtime=0) if packed else damaged


def zip_directory(rng: Generator, content: bytes) -> bytes:
    """Bits in the zip's directory are flipped: sizes, offsets, flags, methods and names."""
    return _flipped(rng, content, content.index(b"PK\x01\x02"), len(content))


def zip_member(rng: Generator, content: bytes) -> bytes:
    """A sound zip of a damaged DICOM file."""
    damage = _pick(rng, list(DICOM.values()))

    def changed(name: str, data: bytes) -> tuple[str, bytes]:
        return name, damage(rng, data)

    return _rezipped(rng, content, changed)


def zip_names(rng: Generator, content: bytes) -> bytes:
    """A name in the zip leads elsewhere, is another's, a folder's or too long, or hides a zip."""
    names = (
        "../../evil",
        "/evil",
        "C:\\evil",
        "study",
        "study/",
        "a" * 300,
        "\x00",
        "case.json",
        "pre.nii",
        "x.zip",
        "study/IM00001",
    )
    return _rezipped(rng, content, lambda _, data: (_pick(rng, names), data))


def case_value(rng: Generator, content: bytes) -> bytes:
    """A value of `case.json` is another one, of another kind, or missing; an image has an extreme header."""
    if content[:1] != b"{":
        return nifti_field(rng, content)
    record = json.loads(content)
    inner: Any = record
    while True:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        key = keys[rng.integers(len(keys))]
        if not (isinstance(inner[key], dict | list) and inner[key] and rng.random() < 0.8):
            break
        inner = inner[key]
    odd: tuple[Any, ...] = (
        None,
        "",
        -1,
        1e308,
        float("nan"),
        [],
        {},
        "../../case.json",
        "/",
        "pre.nii.gz",
        "\n",
        True,
    )
    if rng.random() < 0.2:
        del inner[key]
    else:
        inner[key] = odd[rng.integers(len(odd))]
    return json.dumps(record).encode()


ANY: dict[str, Mutation] = {
    "bits flipped anywhere": flip_bits,
    "bits flipped in the header": flip_early_bits,
    "truncated": truncate,
    "bytes inserted": insert_bytes,
    "bytes removed": remove_bytes,
    "block overwritten": overwrite_block,
    "bytes appended": append_bytes,
}
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
MUTATIONS: Mapping[str, dict[str, Mutation]] = {
    "dicom": DICOM,
    "compressed dicom": DICOM | {"damaged fragments": damage_fragments},
    "nifti": ANY | {"NIfTI header field": nifti_field, "NIfTI inside gzip": nifti_inside},
    "zip": (
        ANY
        | {
            "zip directory": zip_directory,
            "DICOM damaged in a sound zip": zip_member,
            "names in the zip": zip_names,
        }
    ),
    "case": ANY | {"values of case.json or NIfTI header": case_value},
}
"""By format of the source and name of the damage."""


def _flipped(rng: Generator, content: bytes, start: int, stop: int) -> bytes:
    damaged = bytearray(content)
    for at in rng.integers(start, max(start + 1, stop), size=int(rng.integers(1, 9))):
        if at < len(damaged):
            damaged[at] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def _pick(rng: Generator, choices: Sequence[Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _any_element(rng: Generator, content: bytes) -> Element:
    element: Element = _pick(rng, elements_of(content))
    return element


def _one_of(rng: Generator, content: bytes, keywords: Sequence[str]) -> Element:
    tags = {tag_for_keyword(keyword) for keyword in keywords}
    element: Element = _pick(
        rng, [element for element in elements_of(content) if element.tag in tags]
    )
    return element


def _extreme(rng: Generator, vr: str) -> bytes:
    if vr in BINARY_VR:
        return struct.pack(f"<{BINARY_VR[vr]}", _pick(rng, BINARY[BINARY_VR[vr]]))
    if vr in ("DA", "TM", "DT"):
        return bytes(
            _pick(
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
    return bytes(_pick(rng, (*NUMBERS, *TEXTS)))


def _rezipped(
    rng: Generator, content: bytes, change: Callable[[str, bytes], tuple[str, bytes]]
) -> bytes:
    """The zip with the name or the bytes of one member changed."""
    out = BytesIO()
    with zipfile.ZipFile(BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        members = [(member.filename, old.read(member)) for member in old.infolist()]
        at = int(rng.integers(len(members)))
        members[at] = change(*members[at])
        for name, data in members:
            new.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()
