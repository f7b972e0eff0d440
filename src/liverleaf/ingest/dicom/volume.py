"""A stack of slices as a float32 volume on a regular grid, with a warning for what was mended."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.config import IGNORE
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless
from scipy.ndimage import shift

from liverleaf.ingest.dicom.contradictions import contradictions
from liverleaf.ingest.dicom.frames import (
    MAX_SPACING_MM,
    MIN_SPACING_MM,
    counted,
    number,
    text,
)
from liverleaf.ingest.dicom.pixels import MAX_VOXELS, decode, fill, transfer_syntax, voxels
from liverleaf.ingest.dicom.scaling import on_one_scale
from liverleaf.ingest.dicom.series import Stack
from liverleaf.ingest.hounsfield import doubts_hounsfield
from liverleaf.study import InputError, Modality

MAX_GAP_MM = 20.0
"""Distance of neighbouring slices above which a gap is not interpolated, whatever their step: a
lesion would be lost in it."""
MAX_MISSING_SHARE = 0.1
BODY_HU = -500.0
OFF_GRID_STEPS = 0.05
OFF_GRID_PIXELS = 0.1
MIN_TILT_DEG = 1.0
MAX_HU = 3100.0
"""Above the scale of 12 bits there is metal at most."""
STORAGE = "BitsAllocated", "BitsStored", "PixelRepresentation"
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)
"""Transfer syntaxes that lose detail; others may, and then the header says so."""


def read_volume(stack: Stack) -> tuple[hd.Volume, tuple[Dataset, ...], list[str]]:
    """Decode a stack and put it on a regular grid.

    A few missing or unevenly spaced slices are interpolated linearly from their neighbours; slices
    that lie askew on one another (gantry tilt) are shifted in their plane, on a grid that holds
    them all. CT values are at least -1024 HU. What lies outside the field of view, by the header's
    padding value or after shifting, is air in CT and the darkest value in MR.

    Returns:
        The volume, Z along the stack's normal; the headers of its acquired slices in that order
            (one of a multi-frame file); warnings.

    Raises:
        InputError: the pixels or their scaling cannot be read, too many slices are missing, or the
            volume is too large for memory.
    """
    if voxels(stack.frames) > MAX_VOXELS:
        rows, columns = stack.frames[0].shape
        raise InputError(
            f"{stack.name}: {len(stack.frames)} slices of {rows} x {columns} are too large to read;"
            " crop or resample them first"
        )
    stack = on_one_scale(stack)
    stack, array, notes = _decoded(stack)
    if stack.frames[0].header.Modality == Modality.CT:
        notes += doubts_hounsfield(array, stack.name)
    notes += _kind_of_values(stack)
    notes += [*_oddities(stack, array), *contradictions(stack), *_beyond_scale(stack, array)]
    array, inverted = _upright_greys(stack, array)
    array, origin, askew = _straighten(stack, array)
    array, step_mm, gaps = _even_out(stack, array)
    fill(array, stack.frames)
    frames_of_reference = {text(frame.header, "FrameOfReferenceUID") for frame in stack.frames}
    if len(frames_of_reference) > 1:
        notes.append(
            f"{stack.name}: its slices name {len(frames_of_reference)} frames of reference, their"
            " positions were taken as one"
        )
    frame_of_reference = UID(
        text(stack.frames[0].header, "FrameOfReferenceUID"), validation_mode=IGNORE
    )
    volume = hd.Volume(
        array,
        _affine(stack, origin, step_mm),
        "PATIENT",
        frame_of_reference if frame_of_reference.is_valid else None,
    )
    headers = tuple({frame.path: frame.header for frame in stack.frames}.values())
    return volume, headers, [*stack.warnings, *notes, *inverted, *askew, *gaps]


def _decoded(stack: Stack) -> tuple[Stack, NDArray[np.float32], list[str]]:
    """The stack without slices that cannot be decoded, the pixels of the rest, and a warning."""
    array, failed = decode(stack.frames)
    if not failed:
        return stack, array, []
    if len(failed) == len(stack.frames):
        raise InputError(
            f"{stack.name}: none of its {len(failed)} slices can be decoded ({failed[0][1]});"
            " export it again"
        )
    warning = (
        f"{stack.name}: {len(failed)} of {len(stack.frames)} slices cannot be decoded"
        f" ({failed[0][1]}) and were left out"
    )
    kept = np.setdiff1d(np.arange(len(stack.frames)), [index for index, _ in failed])
    frames = tuple(stack.frames[index] for index in kept)
    return replace(stack, frames=frames), array[kept], [warning]


def _kind_of_values(stack: Stack) -> list[str]:
    """Warnings about values that the header calls no HU, or that compression has changed."""
    notes: list[str] = []
    units = {frame.unit for frame in stack.frames} - {"", "HU", "US"}
    if stack.frames[0].header.Modality == Modality.CT and units:
        named = "another unit" if len(units) > 1 or not min(units).isascii() else min(units)
        notes.append(f"{stack.name}: its header calls its values {named} and not HU")
    if any(
        text(frame.header, "LossyImageCompression") == "01" or transfer_syntax(frame) in LOSSY
        for frame in stack.frames
    ):
        notes.append(
            f"{stack.name}: lossily compressed before it came here, its finest detail is lost"
        )
    return notes


def _oddities(stack: Stack, array: NDArray[np.float32]) -> list[str]:
    """Warnings about what no scanner changes within a series."""
    notes: list[str] = []
    # enhanced images may scale each frame in its own way
    single_frames = len({frame.path for frame in stack.frames}) == len(stack.frames)
    is_ct = stack.frames[0].header.Modality == Modality.CT
    if is_ct and single_frames and _rescaled_apart(stack, array):
        notes.append(
            f"{stack.name}: the rescaling to HU differs between its slices, and these match better"
            " without that: some may be too bright or too dark"
        )
    storage = {
        tuple(number(frame.header, keyword) for keyword in STORAGE) for frame in stack.frames
    }
    if len(storage) > 1:
        notes.append(
            f"{stack.name}: its slices name {len(storage)} ways of storing pixels (bits, sign),"
            " some may be read wrongly"
        )
    return notes


def _rescaled_apart(stack: Stack, array: NDArray[np.float32]) -> bool:
    """Whether neighbours of different rescaling would be more alike if it were the same."""
    for (one, first), (two, second) in pairwise(zip(array, stack.frames, strict=True)):
        if (first.slope, first.intercept) == (second.slope, second.intercept):
            continue
        alike = (two - second.intercept) / second.slope * first.slope + first.intercept
        body = one > BODY_HU
        if body.any() and np.median(np.abs(two - one)[body]) > np.median(np.abs(alike - one)[body]):
            return True
    return False


def _beyond_scale(stack: Stack, array: NDArray[np.float32]) -> list[str]:
    """A warning about CT values that no tissue has."""
    if stack.frames[0].header.Modality != Modality.CT or not np.nanmax(array) > MAX_HU:
        return []
    beyond = counted(int(np.count_nonzero(array > MAX_HU)), "voxel")
    return [f"{stack.name}: {beyond} of up to {np.nanmax(array):.0f} HU: metal, or damaged pixels"]


def _upright_greys(
    stack: Stack, array: NDArray[np.float32]
) -> tuple[NDArray[np.float32], list[str]]:
    """Turn inverted MR back; CT has a unit, however it is displayed."""
    inverted = sum(
        text(frame.header, "PhotometricInterpretation") == "MONOCHROME1" for frame in stack.frames
    )
    if stack.frames[0].header.Modality != Modality.MR or not inverted:
        return array, []
    if inverted < len(stack.frames):
        raise InputError(
            f"{stack.name}: {inverted} of {len(stack.frames)} slices are stored with inverted grey"
            " values (MONOCHROME1); export it again"
        )
    return array.max() + array.min() - array, [
        f"{stack.name}: stored with inverted grey values (MONOCHROME1), turned back"
    ]


def _straighten(
    stack: Stack, array: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float64], list[str]]:
    """Shift slices within their planes until they lie above one another.

    Returns:
        The array, with more rows and columns where slices were shifted and NaN where there was no
            slice; the position of its first voxel; warnings.
    """
    positions = np.array([frame.position_mm for frame in stack.frames])
    rows_and_columns = np.array([stack.frames[0].orientation[3:], stack.frames[0].orientation[:3]])
    offsets = (positions - positions[0]) @ rows_and_columns.T / stack.frames[0].spacing_mm
    middle = np.median(offsets, axis=0)
    worst = float(np.abs(offsets - middle).max())
    if worst <= OFF_GRID_PIXELS:
        return (
            array,
            positions[0] + (middle * stack.frames[0].spacing_mm) @ rows_and_columns,
            _doubtful_tilt(stack),
        )
    first = np.floor(offsets.min(axis=0) + 1e-3)
    more = np.ceil(offsets.max(axis=0) - 1e-3).astype(int) - first.astype(int)
    shape = (len(array), array.shape[1] + int(more[0]), array.shape[2] + int(more[1]))
    if worst > min(array.shape[1:]) / 2 or np.prod(shape, dtype=float) > MAX_VOXELS:
        raise InputError(
            f"{stack.name}: its slices do not lie above one another, they are up to {2 * worst:.0f}"
            " pixels apart"
        )
    wider = np.stack(
        [
            _shifted(plane, offset, shape[1:])
            for plane, offset in zip(array, offsets - first, strict=True)
        ]
    )
    warning = (
        f"{stack.name}: its slices lie up to {worst:.1f} pixels askew (gantry tilt or moved table)"
        " and were shifted in their planes"
    )
    return wider, positions[0] + (first * stack.frames[0].spacing_mm) @ rows_and_columns, [warning]


def _shifted(
    plane: NDArray[np.float32], offset: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """A slice moved down and right by `offset` pixels, bilinearly, on a larger slice of NaN."""
    larger = np.pad(
        plane,
        [(0, more - size) for more, size in zip(shape, plane.shape, strict=True)],
        mode="edge",
    )
    out: NDArray[np.float32] = shift(larger, offset, order=1, mode="nearest")
    rows, columns = (np.arange(size) for size in shape)
    for axis, (positions, start, size) in enumerate(
        zip((rows, columns), offset, plane.shape, strict=True)
    ):
        outside = (positions < start - 1e-2) | (positions > start + size - 1 + 1e-2)
        out[outside if axis == 0 else (slice(None), outside)] = np.nan
    return out


def _doubtful_tilt(stack: Stack) -> list[str]:
    """A warning when the header names a gantry tilt that neither positions nor orientation show."""
    tilt = number(stack.frames[0].header, "GantryDetectorTilt") or 0.0
    if (
        abs(tilt) < MIN_TILT_DEG
        or np.abs(stack.normal).max() < np.cos(np.deg2rad(MIN_TILT_DEG))
        or len(stack.frames) == 1
    ):
        return []
    return [
        f"{stack.name}: the header names a gantry tilt of {abs(tilt):.0f} degrees, the slices show"
        " none; taken as corrected before"
    ]


def _even_out(
    stack: Stack, array: NDArray[np.float32]
) -> tuple[NDArray[np.float32], float, list[str]]:
    """Put slices on a regular grid along the normal, interpolating linearly where there is none.

    Returns:
        The array, its step, and warnings.
    """
    positions, count, step_mm, notes = _slice_steps(stack)
    return _interpolated(array, positions, count) if notes else array, step_mm, notes


def _slice_steps(stack: Stack) -> tuple[NDArray[np.float64], int, float, list[str]]:
    """Position of each slice on a regular grid along the normal, in steps.

    Returns:
        The positions, the number of slices of the grid, its step, and warnings where slices have
            to be interpolated.
    """
    if stack.step_mm is None:
        header = stack.frames[0].header
        named = (
            abs(number(header, keyword) or 0.0)
            for keyword in ("SpacingBetweenSlices", "SliceThickness")
        )
        step_mm = next((value for value in named if MIN_SPACING_MM < value < MAX_SPACING_MM), 1.0)
        return (
            np.zeros(1),
            1,
            step_mm,
            [
                f"{stack.name}: one slice only; volumes and diameters across slices are not"
                " measurements"
            ],
        )
    if stack.step_mm > MAX_SPACING_MM:
        raise InputError(
            f"{stack.name}: its slices are {stack.step_mm:.0f} mm apart, that is no volume; export"
            " the whole series"
        )
    along = stack.along_mm - stack.along_mm[0]
    count = int(np.rint(along[-1] / stack.step_mm)) + 1
    step_mm = along[-1] / max(count - 1, 1)
    positions = along / step_mm
    off_grid = np.abs(positions - np.rint(positions)) > OFF_GRID_STEPS
    if not off_grid.any() and count == len(along):
        return positions, count, step_mm, []
    missing = count - len(along)
    gap_mm = float(np.diff(along).max())
    too_far = missing > 0 and gap_mm > MAX_GAP_MM + OFF_GRID_STEPS * step_mm
    if too_far or missing > max(1, MAX_MISSING_SHARE * count):
        raise InputError(
            f"{stack.name}: its {len(along)} slices leave gaps of up to {gap_mm:.1f} mm at a step"
            f" of {stack.step_mm:.1f} mm, and gaps of more than {MAX_GAP_MM:.0f} mm or a tenth of"
            " the slices are not filled; export the whole series"
        )
    if off_grid.any():
        steps = np.diff(along)
        warning = (
            f"slices are unevenly spaced ({steps.min():.2f} to {steps.max():.2f} mm), they were"
            f" resampled to {step_mm:.2f} mm"
        )
    else:
        warning = (
            f"{missing} of {count} slices are missing and were interpolated from their neighbours"
        )
    return positions, count, step_mm, [f"{stack.name}: {warning}"]


def _interpolated(
    array: NDArray[np.float32], positions: NDArray[np.float64], count: int
) -> NDArray[np.float32]:
    """Slices at positions 0, 1, ... count - 1, linear between the given ones."""
    out = np.empty((count, *array.shape[1:]), np.float32)
    for position in range(count):
        upper = min(int(np.searchsorted(positions, position - 1e-9)), len(positions) - 1)
        lower = max(upper - 1, 0)
        step = positions[upper] - positions[lower]
        weight = (position - positions[lower]) / step if upper > lower else 0.0
        near = [z for z in (lower, upper) if abs(positions[z] - position) <= OFF_GRID_STEPS]
        between = (1 - weight) * array[lower] + weight * array[upper]
        out[position] = array[near[0]] if near else between
    return out


def _affine(stack: Stack, origin: NDArray[np.float64], step_mm: float) -> NDArray[np.float64]:
    """From voxel indices (z, y, x) to LPS millimetres, its axes exactly perpendicular."""
    frame = stack.frames[0]
    across = frame.orientation[:3] / np.linalg.norm(frame.orientation[:3])
    down = np.cross(np.cross(across, frame.orientation[3:]), across)
    down /= np.linalg.norm(down)
    affine = np.eye(4)
    affine[:3] = np.column_stack(
        [stack.normal * step_mm, down * frame.spacing_mm[0], across * frame.spacing_mm[1], origin]
    )
    return affine
