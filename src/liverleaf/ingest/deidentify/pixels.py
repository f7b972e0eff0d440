"""Stored pixels without what their unused bits hold: overlays, or anything that was drawn there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom import DataElement, Dataset
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, AllTransferSyntaxes, ExplicitVRBigEndian, ExplicitVRLittleEndian

from liverleaf.ingest.dicom.frames import number, text
from liverleaf.ingest.dicom.pixels import DECODERS
from liverleaf.study import InputError

WHOLE_BYTES = (8, 16, 32)


def clean_pixels(image: Dataset) -> None:
    """Clear all bits of the pixels but those that are stored, and what follows the last pixel.

    The bits above those of a signed pixel become its sign. Compressed pixels stay as they are where
    nothing stands in their unused bits, and are stored uncompressed where something does.

    Args:
        image: with its transfer syntax in `file_meta`; changed in place.

    Raises:
        InputError: it cannot be told which bits are pixels, or the pixels cannot be decoded.
    """
    allocated = int(number(image, "BitsAllocated") or 16)
    stored = int(number(image, "BitsStored") or allocated)
    high_bit = number(image, "HighBit")
    high = stored - 1 if high_bit is None else int(high_bit)
    if allocated not in WHOLE_BYTES or not stored - 1 <= high < allocated:
        raise InputError("with pixel bits in an unusual place")
    syntax = UID(text(image.file_meta, "TransferSyntaxUID"))
    unsigned = np.dtype(f"{'>' if syntax == ExplicitVRBigEndian else '<'}u{allocated // 8}")
    signed = number(image, "PixelRepresentation") == 1
    if stored < allocated:
        _clean_padding(image, unsigned, stored, high, signed=signed)
    if syntax in AllTransferSyntaxes and syntax.is_encapsulated:
        if stored < allocated:
            _clean_compressed(image, syntax, unsigned, stored, high, signed=signed)
        return
    data = image.PixelData[: _size(image, allocated)]
    values = np.frombuffer(data, unsigned, count=len(data) // unsigned.itemsize)
    if stored < allocated:
        values = stored_bits(values, stored, high, signed=signed)
    _put(image, values)


def _clean_padding(
    image: Dataset, unsigned: np.dtype, stored: int, high: int, *, signed: bool
) -> None:
    """Name the padding value as the cleared pixels hold it."""
    kind = unsigned.newbyteorder("=")
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = number(image, keyword)
        if value is None:
            continue
        cell = np.array([int(value)]).astype(kind)
        (kept,) = stored_bits(cell, stored, high, signed=signed).view(f"i{kind.itemsize}")
        padding = int(kept) if signed else int(kept) % (1 << 8 * kind.itemsize)
        image.add(DataElement(image[keyword].tag, "SS" if signed else "US", padding))


def stored_bits(
    values: NDArray[np.unsignedinteger], stored: int, high: int, *, signed: bool
) -> NDArray[np.unsignedinteger]:
    """Values with nothing but the stored bits; those above the sign of a signed value repeat it.

    Args:
        values: as they lie in the file.
        stored: number of bits.
        high: place of the highest of them, from 0.
        signed: whether that is a sign.

    >>> [hex(v) for v in stored_bits(np.array([0xF123, 0x0823], "u2"), 12, 11, signed=True)]
    ['0x123', '0xf823']
    """
    everything = (1 << 8 * values.dtype.itemsize) - 1
    above = everything & ~((1 << high + 1) - 1)
    kept = values & values.dtype.type(((1 << stored) - 1) << high - stored + 1)
    if signed:
        kept[(kept >> values.dtype.type(high)) & 1 == 1] |= values.dtype.type(above)
    return kept.astype(values.dtype, copy=False)


def _clean_compressed(
    image: Dataset, syntax: UID, unsigned: np.dtype, stored: int, high: int, *, signed: bool
) -> None:
    source = Dataset()
    source.update(image)
    source.file_meta = image.file_meta
    for keyword, usual in (("SamplesPerPixel", 1), ("PhotometricInterpretation", "MONOCHROME2")):
        if keyword not in source:
            setattr(source, keyword, usual)
    try:
        frames = iter_pixels(
            source,
            raw=True,
            decoding_plugin=DECODERS.get(syntax, ""),
            correct_unused_bits=False,
        )
        values = np.stack([np.ascontiguousarray(frame) for frame in frames])
        values = values.view(f"u{values.dtype.itemsize}").astype(unsigned)
    except Exception as error:  # decoders raise anything on damaged data
        raise InputError(
            "with compressed pixels that cannot be decoded, so that nothing tells what is in their"
            " unused bits"
        ) from error
    # without its sign above it, a signed value is whole too
    as_they_are = [stored_bits(values, stored, high, signed=kind) for kind in {signed, False}]
    if any(np.array_equal(values, kept) for kept in as_they_are):
        return
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _put(image, stored_bits(values, stored, high, signed=signed))


def _size(image: Dataset, allocated: int) -> int:
    """Bytes of the pixels that rows, columns and frames announce."""
    counts = (
        number(image, keyword) or 1.0
        for keyword in ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames")
    )
    return int(np.prod([int(count) for count in counts])) * allocated // 8


def _put(image: Dataset, values: NDArray[np.unsignedinteger]) -> None:
    data = values.tobytes()
    image.PixelData = data + b"\0" * (len(data) % 2)
    image["PixelData"].VR = "OW" if values.dtype.itemsize > 1 else "OB"
