"""Frames of one study in, stacks out: the slices of one series at one time point, each slice position once, in spatial order."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset

from hepatica.ingest.frames import TIME_KEYS, Frame, dicom_date_and_time, number, text
from hepatica.study import InputError, Phase

SAME_PLACE_MM = 0.05
SAME_DIRECTION = 0.01


@dataclass(frozen=True)
class SeriesReport:
    """What one series, or one time point of a dynamic series, was taken for.

    Attributes:
        number: the series' number, None when it has none.
        description: its own description, "" when there is none or it could identify a person.
        modality: "CT", "MR".
        slices: number of slices.
        shape: slices, rows, columns.
        spacing_mm: between slices, rows and columns; the first is None for a single slice.
        phase: the phase it was taken for, None when it is not a contrast phase or was not understood.
        used: whether the study is made of it.
        confidence: of the phase, in [0, 1].
        evidence: for the phase, or why the series was not used, in plain words.
        time_s: seconds after injection, None when unknown.
        warnings: what is wrong with the series.
    """

    number: int | None
    description: str
    modality: str
    slices: int
    shape: tuple[int, ...]
    spacing_mm: tuple[float | None, float, float]
    phase: Phase | None
    used: bool
    confidence: float
    evidence: tuple[str, ...] = ()
    time_s: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices of one series at one time point, ordered along their normal towards +z (axial), +y (coronal) or +x (sagittal).

    Attributes:
        frames: one per slice position.
        time_point: its number in a dynamic series, from 1; None when there is one only.
        delay_s: seconds from the acquisition time in its headers to this time point, where the headers count from the series' start.
        warnings: what was dropped on the way.
    """

    frames: tuple[Frame, ...]
    time_point: int | None = None
    delay_s: float = 0.0
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How messages call it: the number of its series, never the description."""
        series = number(self.frames[0].header, "SeriesNumber")
        place = "a series without number" if series is None else f"series {series:.0f}"
        return place if self.time_point is None else f"{place} time point {self.time_point}"

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector along which the slices are ordered."""
        return stack_normal(self.frames[0].orientation)

    @property
    def along_mm(self) -> NDArray[np.float64]:
        """Place of each slice along the normal, ascending."""
        return np.array([frame.position_mm @ self.normal for frame in self.frames])

    @property
    def step_mm(self) -> float | None:
        """Median distance of neighbouring slices, None for a single slice."""
        return float(np.median(np.diff(self.along_mm))) if len(self.frames) > 1 else None

    @property
    def acquired_s(self) -> float | None:
        """Mean time of acquisition of its slices, on the clock of `frames.acquired_s`; None when unknown."""
        times = [frame.moments["acquisition time"] for frame in self.frames if "acquisition time" in frame.moments]
        return float(np.mean(times)) + self.delay_s if times else None

    @property
    def header(self) -> Dataset:
        """The first slice's header, with the image type and time of the stack itself: a multi-frame file may hold many stacks."""
        header = Dataset()
        header.update(self.frames[0].header)
        header.ImageType = list(self.frames[0].image_type)
        if self.acquired_s is not None:
            header.pop("AcquisitionDateTime", None)
            header.AcquisitionDate, header.AcquisitionTime = dicom_date_and_time(self.acquired_s)
        return header


def stack_normal(orientation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit normal of a slice, its largest component positive."""
    normal = np.cross(orientation[:3], orientation[3:])
    normal /= np.linalg.norm(normal)
    return normal if normal[np.abs(normal).argmax()] > 0 else -normal


def stacks_of(frames: Iterable[Frame]) -> tuple[list[Stack], list[str]]:
    """Group frames into stacks, in order of series number and time.

    A series is taken apart by shape, orientation, voxel size, image type and echo time, then by time point.

    Returns:
        The stacks, and one warning for each part of a series that could not be taken apart.
    """
    stacks: list[Stack] = []
    failures: list[str] = []
    for part in _parts(frames):
        try:
            stacks += _time_points(part)
        except InputError as error:
            failures.append(str(error))
    return sorted(stacks, key=lambda stack: (number(stack.frames[0].header, "SeriesNumber") or 0.0, stack.time_point or 0)), failures


def _parts(frames: Iterable[Frame]) -> list[list[Frame]]:
    by_kind: dict[Hashable, list[Frame]] = defaultdict(list)
    for frame in frames:
        kind = (text(frame.header, "SeriesInstanceUID"), frame.shape, frame.image_type[2:], frame.echo_time_ms)
        by_kind[kind].append(frame)
    parts: list[list[Frame]] = []
    for alike in by_kind.values():
        planes: list[list[Frame]] = []
        for frame in alike:
            plane = next((plane for plane in planes if _same_plane(plane[0], frame)), None)
            if plane is None:
                planes.append([frame])
            else:
                plane.append(frame)
        parts += planes
    return parts


def _same_plane(a: Frame, b: Frame) -> bool:
    return bool(np.abs(a.orientation - b.orientation).max() < SAME_DIRECTION) and np.allclose(a.spacing_mm, b.spacing_mm, rtol=1e-3)


def _time_points(part: Sequence[Frame]) -> list[Stack]:
    """Split frames of one kind into time points: no slice position may occur twice in one."""
    normal = stack_normal(part[0].orientation)
    slots = _slots(np.array([frame.position_mm @ normal for frame in part]))
    if slots.max() + 1 == len(part):
        return [_stack(part, slots)]
    copies = _identical(part, slots, by_uid=True)
    kept = [index for index in range(len(part)) if index not in copies]
    groups = _split([part[index] for index in kept], slots[kept])
    if groups is None:
        more = _identical([part[index] for index in kept], slots[kept], by_uid=False)
        copies |= {kept[index] for index in more}
        kept = [index for index in range(len(part)) if index not in copies]
        groups = _split([part[index] for index in kept], slots[kept])
    if groups is None:
        name = _stack(part, slots).name
        raise InputError(f"{name} was left out: it holds several images at one slice position that no time tag tells apart")
    places = slots[kept]
    stacks = [_stack([part[kept[index]] for index in group], places[group]) for group in groups]
    if copies:
        warning = f"{stacks[0].name}: {len(copies)} identical copies of slices were dropped"
        stacks[0] = replace(stacks[0], warnings=(warning,))
    if len(stacks) == 1:
        return stacks
    one_clock = len({stack.acquired_s for stack in stacks}) == 1
    return [
        replace(stack, time_point=point, delay_s=stack.frames[0].moments.get("trigger time", 0.0) if one_clock else 0.0)
        for point, stack in enumerate(stacks, start=1)
    ]


def _stack(frames: Sequence[Frame], slots: NDArray[np.intp]) -> Stack:
    return Stack(tuple(frames[index] for index in np.argsort(slots, kind="stable")))


def _slots(along_mm: NDArray[np.float64]) -> NDArray[np.intp]:
    """The number of each frame's slice position, from 0 in ascending order; frames of one place share one."""
    order = np.argsort(along_mm, kind="stable")
    new_place = np.diff(along_mm[order], prepend=along_mm[order[0]]) > SAME_PLACE_MM
    slots = np.empty(len(order), np.intp)
    slots[order] = np.cumsum(new_place)
    return slots


def _identical(frames: Sequence[Frame], slots: NDArray[np.intp], *, by_uid: bool) -> set[int]:
    """Indices of frames that repeat the pixels of another one at their place.

    Args:
        frames: of one part of a series.
        slots: their slice positions.
        by_uid: compare only images of one SOP Instance UID and moment, as are files that were copied.
    """
    suspects: dict[Hashable, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        name = (text(frame.header, "SOPInstanceUID"), *sorted(frame.moments.items())) if by_uid else ()
        suspects[int(slots[index]), frame.index, name].append(index)
    copies: set[int] = set()
    for indices in suspects.values():
        if len(indices) > 1:
            seen: set[bytes] = set()
            for index in indices:
                digest = _pixel_digest(frames[index])
                if digest in seen:
                    copies.add(index)
                seen.add(digest)
    return copies


def _pixel_digest(frame: Frame) -> bytes:
    try:
        pixels: bytes = pydicom.dcmread(frame.path, force=True, specific_tags=["PixelData"]).PixelData
    except Exception:  # unreadable pixels are no copy of any others; reading them for good will report them
        pixels = f"{frame.path} {frame.index}".encode()
    return hashlib.sha256(pixels).digest()


def _split(frames: Sequence[Frame], slots: NDArray[np.intp]) -> list[NDArray[np.intp]] | None:
    """Indices of the frames of each time point in order of time, None when no tag tells the time points apart."""
    repeats = max(Counter(slots.tolist()).values(), default=0)
    if repeats == 1:
        return [np.arange(len(frames))]
    for key in TIME_KEYS:
        moments = np.array([frame.moments.get(key, np.nan) for frame in frames])
        if np.isnan(moments).any():
            continue
        for group_of in (_by_value(moments), _by_rank(moments, slots)):
            groups = [np.flatnonzero(group_of == group) for group in range(group_of.max() + 1)]
            if len(groups) == repeats and all(len(set(slots[group])) == len(group) for group in groups):
                return groups
    return None


def _by_value(moments: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.unique(moments, return_inverse=True)[1]


def _by_rank(moments: NDArray[np.float64], slots: NDArray[np.intp]) -> NDArray[np.intp]:
    """Each frame's rank in time among those at its place, for series whose slices have times of their own; equal times share a rank."""
    ranks = np.empty(len(slots), np.intp)
    for slot in np.unique(slots):
        here = np.flatnonzero(slots == slot)
        ranks[here] = _by_value(moments[here])
    return ranks
