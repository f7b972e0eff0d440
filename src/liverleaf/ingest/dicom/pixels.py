"""Pixels of DICOM frames: decoded, rescaled, and without what lies outside the field of view."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from os import SEEK_END
from pathlib import Path
from struct import unpack

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_fragments, generate_frames, parse_basic_offsets
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    AllTransferSyntaxes,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from scipy.ndimage import label

from liverleaf.ingest.dicom.frames import Frame, modality_lut, number, text
from liverleaf.ingest.dicom.series import Stack
from liverleaf.study import Modality

MAX_VOXELS = 2**30
AIR_HU = -1024.0
TISSUE_HU = -900.0, 3071.0
"""Padding below or above is told from tissue by its value alone."""
DECODERS: dict[str, str] = {
    RLELossless: "pydicom",
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "pyjpegls"),
    **dict.fromkeys(
        (
            JPEGBaseline8Bit,
            JPEGExtended12Bit,
            JPEGLossless,
            JPEGLosslessSV1,
            JPEG2000Lossless,
            JPEG2000,
            HTJ2KLossless,
            HTJ2K,
        ),
        "pylibjpeg",
    ),
}
"""One for each compression: pydicom would also try GDCM where it is installed, which ends the
process on damaged data."""


STREAM_STARTS = b"\xff\xd8\xff", b"\xff\x4f\xff\x51"
"""How the first fragment of a JPEG or JPEG 2000 frame begins."""
RLE_PADDING = 2
"""Bytes that a sound RLE segment may have behind its last pixel."""


def decode(frames: Sequence[Frame]) -> tuple[NDArray[np.float32], list[tuple[int, str]]]:
    """Decode and rescale the pixels of frames.

    CT values are at least -1024 HU. What holds the header's padding value is filled as by `fill`.

    Returns:
        The pixels, shape (frames, rows, columns), and the indices of the frames that failed, each
            with a reason.
    """
    array = np.zeros((len(frames), *frames[0].shape), np.float32)
    by_file: dict[Path, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        by_file[frame.path].append(index)

    def decode_file(indices: list[int]) -> list[tuple[int, str]]:
        wanted = [frames[index] for index in indices]
        left = iter(indices)
        try:
            decoder = DECODERS.get(transfer_syntax(wanted[0]), "")
            pixels = iter_pixels(
                _source(wanted[0]),
                indices=[frame.index for frame in wanted],
                raw=True,
                decoding_plugin=decoder,
            )
            for frame, stored, index in zip(wanted, pixels, indices, strict=True):
                if stored.shape != frame.shape:
                    raise ValueError(f"decoded as {stored.shape}")
                np.multiply(
                    _looked_up(frame, stored),
                    np.float32(frame.slope),
                    out=array[index],
                    casting="unsafe",
                )
                array[index] += np.float32(frame.intercept)
                if not np.isfinite(array[index]).all():
                    raise ValueError("not finite")
                if frame.header.Modality == Modality.CT:
                    np.maximum(array[index], AIR_HU, out=array[index])
                array[index][_padded(frame, stored)] = np.nan
                next(left)
        except Exception as error:  # decoders raise anything on damaged data
            return [(index, _reason(error)) for index in left]
        return []

    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=8) as pool:
        warnings.simplefilter("ignore")  # pydicom and its decoders, about padding and odd values
        failed = [
            failure for failures in pool.map(decode_file, by_file.values()) for failure in failures
        ]
    fill(array, frames)
    return array, sorted(failed)


def sample_pixels(stack: Stack, count: int) -> NDArray[np.float32]:
    """About `count` slices, evenly spread, shape (slices, rows, columns).

    Slices that cannot be decoded or are too large are left out.
    """
    chosen = np.unique(np.linspace(0, len(stack.frames) - 1, count).round().astype(int))
    frames = [stack.frames[index] for index in chosen]
    if voxels(frames) > MAX_VOXELS:
        return np.empty((0, 1, 1), np.float32)
    array, failed = decode(frames)
    return np.delete(array, [index for index, _ in failed], axis=0)


def voxels(frames: Sequence[Frame]) -> int:
    """How many voxels frames have together, before they are decoded."""
    rows, columns = frames[0].shape
    return len(frames) * rows * columns


def transfer_syntax(frame: Frame) -> str:
    """The transfer syntax UID of the file that a frame is in, "" where it says none."""
    return text(getattr(frame.header, "file_meta", Dataset()), "TransferSyntaxUID")


def fill(array: NDArray[np.float32], frames: Sequence[Frame]) -> None:
    """Put air (CT) or the darkest value (MR) where there is none, in place."""
    if np.isnan(array.min(initial=0)):
        array[np.isnan(array)] = (
            AIR_HU if frames[0].header.Modality == Modality.CT else np.nanmin(array)
        )


def _source(frame: Frame) -> Path | Dataset:
    """What pixels are decoded from: the file where they are compressed, else its data set.

    Of a file, pydicom seeks pixels where it says they are, and not where they are.
    """
    syntax = UID(transfer_syntax(frame))
    if syntax in AllTransferSyntaxes and syntax.is_encapsulated:
        _check_encapsulated(frame)
        return frame.path
    dataset = pydicom.dcmread(frame.path, force=True)
    if not syntax:
        implicit, little_endian = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    for keyword, usual in (("SamplesPerPixel", 1), ("PhotometricInterpretation", "MONOCHROME2")):
        if keyword not in dataset:
            setattr(dataset, keyword, usual)
    row_bytes = dataset.Columns * dataset.BitsAllocated // 8
    if len(dataset.PixelData) > row_bytes * (
        dataset.Rows * int(dataset.get("NumberOfFrames") or 1) + 1
    ):
        raise ValueError("more pixels than rows and columns")
    return dataset


def _check_encapsulated(frame: Frame) -> None:
    """Compressed pixels must have an end, and be as many frames as the header says.

    Raises:
        ValueError: they have not, or are not.
    """
    dataset = pydicom.dcmread(frame.path, force=True, specific_tags=["PixelData"])
    if "PixelData" not in dataset:
        with frame.path.open("rb") as file:
            file.seek(-min(64, frame.path.stat().st_size), SEEK_END)
            # DICOM's end is missing; without that of the stream itself JPEG-LS would be decoded,
            # its lower part made up
            if not file.read().rstrip(b"\x00").endswith(b"\xff\xd9"):
                raise ValueError("compressed pixels end early")
        return
    frames = int(number(frame.header, "NumberOfFrames") or 1)
    offsets = len(parse_basic_offsets(dataset.PixelData))
    begun = sum(part.startswith(STREAM_STARTS) for part in generate_fragments(dataset.PixelData))
    if offsets not in (0, frames) or begun > frames:
        raise ValueError(f"{max(offsets, begun)} frames where the header says {frames}")
    if transfer_syntax(frame) == RLELossless:
        rows, columns = frame.shape
        for part in generate_frames(dataset.PixelData, number_of_frames=frames):
            if max(map(_unpacked_bytes, _rle_segments(part))) > rows * columns + RLE_PADDING:
                raise ValueError("runs beyond the last pixel")


def _rle_segments(frame: bytes) -> list[bytes]:
    """The segments of an RLE frame, as its header of 16 numbers delimits them (PS3.5, G.5)."""
    count, *starts = unpack("<16L", frame[:64])
    ends = [*starts[1:count], len(frame)]
    return [frame[start:end] for start, end in zip(starts[:count], ends, strict=True)]


def _unpacked_bytes(segment: bytes) -> int:
    """How many bytes an RLE segment holds (PS3.5, G.3.2); pydicom drops what is too many."""
    at, total = 0, 0
    while at < len(segment) - 1:
        control = segment[at]
        if control > 128:
            total, at = total + 257 - control, at + 2
        elif control < 128:
            total, at = total + control + 1, at + control + 2
        else:
            at += 1
    return total


def _looked_up(frame: Frame, stored: NDArray[np.integer]) -> NDArray[np.integer]:
    """Stored values, or what the Modality LUT of their header maps them to, where there is one.

    Its entries are unsigned by the standard. In HU, those of 16 bits that would be above all tissue
    are read as negative.
    """
    table = modality_lut(frame.header)
    if table is None:
        return stored
    count, first, _ = (int(value) for value in table.LUTDescriptor)
    entries = _entries(table.LUTData, count or 2**16, frame.header)
    if frame.unit == "HU":
        entries = np.where(entries > np.iinfo(np.int16).max, entries - 2**16, entries)
    if stored.dtype.kind == "i" and first > np.iinfo(np.int16).max:
        first -= 2**16
    mapped: NDArray[np.integer] = entries[
        np.clip(stored.astype(np.int64) - first, 0, len(entries) - 1)
    ]
    return mapped


def _entries(data: bytes | Sequence[int], count: int, header: Dataset) -> NDArray[np.int64]:
    """The entries of a lookup table: one or two bytes each, or numbers already."""
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data, np.int64))[:count] & 0xFFFF
    _, little_endian = header.original_encoding
    order = "<" if little_endian is not False else ">"
    kind = "u1" if len(data) < 2 * count else f"{order}u2"
    return np.frombuffer(data, kind, count).astype(np.int64)


def _padded(frame: Frame, stored: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Where a slice holds its padding value, shape (rows, columns).

    Values that tissue may have count as padding only in one piece with a corner of the slice:
    scanners that pad with 0 have water of 0 too.
    """
    padding = number(frame.header, "PixelPaddingValue")
    limit = number(frame.header, "PixelPaddingRangeLimit")
    if padding is None:
        return np.zeros(stored.shape, bool)
    bits = int(number(frame.header, "BitsStored") or 8 * stored.itemsize)
    ends = [
        _within(int(np.int64(end).astype(stored.dtype)), bits, signed=stored.dtype.kind == "i")
        for end in (padding, padding if limit is None else limit)
    ]  # -2000 may be written as 63536
    low, high = sorted(ends)
    held = (stored >= low) & (stored <= high)
    if not held.any() or held.all():
        return np.zeros(stored.shape, bool)
    if frame.header.Modality == Modality.CT:
        mapped = _looked_up(frame, np.array([low, high], stored.dtype))
        values = frame.slope * mapped.astype(np.float64) + frame.intercept
        beyond = bool(values.max() < TISSUE_HU[0] or values.min() > TISSUE_HU[1])
    else:
        others = stored[~held]
        beyond = bool(others.min() > high or others.max() < low)
    if beyond:
        return held
    pieces, _ = label(held)
    corners = pieces[[0, 0, -1, -1], [0, -1, 0, -1]]
    outside: NDArray[np.bool_] = np.isin(pieces, corners[corners > 0])
    return outside


def _within(value: int, bits: int, *, signed: bool) -> int:
    """A value as its stored bits hold it.

    >>> _within(63536, 12, signed=False), _within(-2000, 12, signed=True)
    (2096, -2000)
    """
    below = 1 << bits - 1 if signed else 0
    return (value + below) % (1 << bits) - below


def _reason(error: Exception) -> str:
    if isinstance(error, (NotImplementedError, RuntimeError)):
        return "its compression is not supported or the data are damaged"
    return (
        "the pixel data are missing"
        if isinstance(error, AttributeError)
        else "the pixel data are damaged or do not fill rows and columns"
    )
