"""Damage to NIfTI files, zips and case folders."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from io import BytesIO
from typing import Any

import nibabel as nib
import numpy as np
from numpy.random import Generator

from liverleaf.benchmarks.fuzzing.dicom_mutations import DICOM
from liverleaf.benchmarks.fuzzing.file_mutations import ANY, BINARY, Mutation, flipped, pick


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
            values[rng.integers(values.size)] = np.array(pick(rng, extremes)).astype(field.dtype)
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
        flipped(rng, plain, 0, 400)
        if rng.random() < 0.5
        else plain[: int(rng.integers(len(plain)))]
    )
    return gzip.compress(damaged, mtime=0) if packed else damaged


def zip_directory(rng: Generator, content: bytes) -> bytes:
    """Bits in the zip's directory are flipped: sizes, offsets, flags, methods and names."""
    return flipped(rng, content, content.index(b"PK\x01\x02"), len(content))


def zip_member(rng: Generator, content: bytes) -> bytes:
    """A sound zip of a damaged DICOM file."""
    damage = pick(rng, list(DICOM.values()))

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
    return _rezipped(rng, content, lambda _, data: (pick(rng, names), data))


def case_value(rng: Generator, content: bytes) -> bytes:
    """A value of `case.json` is wrong or missing; an image has an extreme header."""
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


NIFTI: dict[str, Mutation] = ANY | {
    "NIfTI header field": nifti_field,
    "NIfTI inside gzip": nifti_inside,
}
ZIP: dict[str, Mutation] = ANY | {
    "zip directory": zip_directory,
    "DICOM damaged in a sound zip": zip_member,
    "names in the zip": zip_names,
}
CASE: dict[str, Mutation] = ANY | {"values of case.json or NIfTI header": case_value}
