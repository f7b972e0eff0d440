"""A stack of slices in, a float32 volume on a regular grid out, with a warning for everything that was mended on the way."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.config import IGNORE
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID
from scipy.ndimage import shift

from hepatica.ingest.frames import Frame, number, text
from hepatica.ingest.series import Stack
from hepatica.study import InputError, Modality

MAX_VOXELS = 2**30
MAX_MISSING_IN_A_ROW = 2
MAX_MISSING_SHARE = 0.1
OFF_GRID_STEPS = 0.05
OFF_GRID_PIXELS = 0.1


def read_volume(stack: Stack) -> tuple[hd.Volume, tuple[Dataset, ...], list[str]]:
    """Decode a stack and put it on a regular grid.

    A few missing or unevenly spaced slices are interpolated linearly from their neighbours, slices that lie askew on one another
    (gantry tilt) are shifted in their plane.

    Returns:
        The volume, Z along the stack's normal; the headers of its acquired slices in that order (one of a multi-frame file); warnings.

    Raises:
        InputError: the pixels cannot be read, too many slices are missing, or the volume is too large for memory.
    """
    rows, columns = stack.frames[0].shape
    if len(stack.frames) * rows * columns > MAX_VOXELS:
        raise InputError(
            f"{stack.name}: {len(stack.frames)} slices of {rows} x {columns} are too large to read; crop or resample them first"
        )
    array, failed = _decode(stack.frames)
    notes = list(stack.warnings)
    if failed:
        if len(failed) == len(stack.frames):
            raise InputError(f"{stack.name}: none of its {len(failed)} slices can be decoded ({failed[0][1]}); export it again")
        notes.append(f"{stack.name}: {len(failed)} of {len(stack.frames)} slices cannot be decoded ({failed[0][1]}) and were left out")
        kept = np.setdiff1d(np.arange(len(stack.frames)), [index for index, _ in failed])
        stack, array = replace(stack, frames=tuple(stack.frames[index] for index in kept)), array[kept]
    if text(stack.frames[0].header, "PhotometricInterpretation") == "MONOCHROME1" and stack.frames[0].header.Modality == Modality.MR:
        array = array.max() + array.min() - array
        notes.append(f"{stack.name}: stored with inverted grey values (MONOCHROME1), turned back")
    array, origin, more = _straighten(stack, array)
    array, step_mm, gaps = _even_out(stack, array)
    frame_of_reference = UID(text(stack.frames[0].header, "FrameOfReferenceUID"), validation_mode=IGNORE)
    volume = hd.Volume(array, _affine(stack, origin, step_mm), "PATIENT", frame_of_reference if frame_of_reference.is_valid else None)
    headers = tuple({frame.path: frame.header for frame in stack.frames}.values())
    return volume, headers, notes + more + gaps


def sample_pixels(stack: Stack, count: int) -> NDArray[np.float32]:
    """About `count` slices, evenly spread over the stack, shape (slices, rows, columns); slices that cannot be decoded are left out."""
    chosen = np.unique(np.linspace(0, len(stack.frames) - 1, count).round().astype(int))
    array, failed = _decode([stack.frames[index] for index in chosen])
    return np.delete(array, [index for index, _ in failed], axis=0)


def _decode(frames: Sequence[Frame]) -> tuple[NDArray[np.float32], list[tuple[int, str]]]:
    """Rescaled pixels of frames, and the indices of those that failed, each with a reason."""
    array = np.zeros((len(frames), *frames[0].shape), np.float32)
    by_file: dict[Path, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        by_file[frame.path].append(index)

    def decode_file(indices: list[int]) -> list[tuple[int, str]]:
        wanted = [frames[index] for index in indices]
        left = iter(indices)
        try:
            pixels = iter_pixels(wanted[0].path, indices=[frame.index for frame in wanted], raw=True)
            for frame, stored, index in zip(wanted, pixels, indices, strict=True):
                if stored.shape != frame.shape:
                    raise ValueError(f"decoded as {stored.shape}")
                np.multiply(stored, np.float32(frame.slope), out=array[index], casting="unsafe")
                array[index] += np.float32(frame.intercept)
                if not np.isfinite(array[index]).all():
                    raise ValueError("not finite")
                next(left)
        except Exception as error:  # decoders raise anything on damaged data
            return [(index, _reason(error)) for index in left]
        return []

    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=8) as pool:
        warnings.simplefilter("ignore")  # pydicom and its decoders, about padding and odd values
        failed = [failure for failures in pool.map(decode_file, by_file.values()) for failure in failures]
    return array, sorted(failed)


def _reason(error: Exception) -> str:
    if isinstance(error, (NotImplementedError, RuntimeError)):
        return "its compression is not supported or the data are damaged"
    return "the pixel data are missing" if isinstance(error, AttributeError) else "the pixel data are truncated or damaged"


def _straighten(stack: Stack, array: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64], list[str]]:
    """Shift slices within their planes until they lie above one another.

    Returns:
        The array, the position of the first voxel of the first slice, and warnings.
    """
    positions = np.array([frame.position_mm for frame in stack.frames])
    rows_and_columns = np.array([stack.frames[0].orientation[3:], stack.frames[0].orientation[:3]])
    offsets = (positions - positions[0]) @ rows_and_columns.T / stack.frames[0].spacing_mm
    middle = np.median(offsets, axis=0)
    origin = positions[0] + (middle * stack.frames[0].spacing_mm) @ rows_and_columns
    offsets -= middle
    worst = float(np.abs(offsets).max())
    if worst <= OFF_GRID_PIXELS:
        return array, origin, []
    if worst > min(array.shape[1:]) / 2:
        raise InputError(f"{stack.name}: its slices do not lie above one another, they are up to {2 * worst:.0f} pixels apart")
    for plane, offset in zip(array, offsets, strict=True):
        plane[...] = shift(plane, offset, order=1, mode="constant", cval=float(plane.min()))
    warning = f"{stack.name}: its slices lie up to {worst:.1f} pixels askew (gantry tilt or moved table) and were shifted in their planes"
    return array, origin, [warning]


def _even_out(stack: Stack, array: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, list[str]]:
    """Put slices on a regular grid along the normal, interpolating linearly where there is none.

    Returns:
        The array, its step, and warnings.
    """
    if stack.step_mm is None:
        header = stack.frames[0].header
        step_mm = number(header, "SpacingBetweenSlices") or number(header, "SliceThickness") or 1.0
        return array, abs(step_mm), [f"{stack.name}: one slice only; volumes and diameters across slices are not measurements"]
    along = stack.along_mm - stack.along_mm[0]
    count = int(np.rint(along[-1] / stack.step_mm)) + 1
    step_mm = along[-1] / max(count - 1, 1)
    places = along / step_mm
    off_grid = np.abs(places - np.rint(places)) > OFF_GRID_STEPS
    if not off_grid.any() and count == len(along):
        return array, step_mm, []
    missing = count - len(along)
    gap = float(np.diff(places).max())
    if gap > MAX_MISSING_IN_A_ROW + 1.5 or missing > max(1, MAX_MISSING_SHARE * count):
        raise InputError(
            f"{stack.name}: its {len(along)} slices leave gaps of up to {gap * step_mm:.1f} mm at a step of {stack.step_mm:.1f} mm; "
            "export the whole series"
        )
    if off_grid.any():
        steps = np.diff(along)
        warning = f"slices are unevenly spaced ({steps.min():.2f} to {steps.max():.2f} mm), they were resampled to {step_mm:.2f} mm"
    else:
        warning = f"{missing} of {count} slices are missing and were interpolated from their neighbours"
    return _interpolated(array, places, count), step_mm, [f"{stack.name}: {warning}"]


def _interpolated(array: NDArray[np.float32], places: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    """Slices at places 0, 1, ... count - 1, linear between the given ones."""
    out = np.empty((count, *array.shape[1:]), np.float32)
    for place in range(count):
        upper = min(int(np.searchsorted(places, place - 1e-9)), len(places) - 1)
        lower = max(upper - 1, 0)
        weight = (place - places[lower]) / (places[upper] - places[lower]) if upper > lower else 0.0
        near = [z for z in (lower, upper) if abs(places[z] - place) <= OFF_GRID_STEPS]
        out[place] = array[near[0]] if near else (1 - weight) * array[lower] + weight * array[upper]
    return out


def _affine(stack: Stack, origin: NDArray[np.float64], step_mm: float) -> NDArray[np.float64]:
    """From voxel indices (z, y, x) to LPS millimetres, its axes exactly perpendicular."""
    frame = stack.frames[0]
    across = frame.orientation[:3] / np.linalg.norm(frame.orientation[:3])
    down = np.cross(np.cross(across, frame.orientation[3:]), across)
    down /= np.linalg.norm(down)
    affine = np.eye(4)
    affine[:3] = np.column_stack([stack.normal * step_mm, down * frame.spacing_mm[0], across * frame.spacing_mm[1], origin])
    return affine
