"""Stacks: slices of one series at one time point, each position once, in spatial order."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset

from liverleaf.ingest.dicom.frames import Frame, counted, dicom_date_and_time, number, text
from liverleaf.ingest.dicom.time_points import IRREGULAR, MIN_TIME_POINT, interleaved, split
from liverleaf.study import InputError

SAME_POSITION_MM = 0.05
SAME_DIRECTION = 0.01
TINY = 1e-30
UNNAMED = "unnamed"
"""What a table of phases calls a series with neither UID nor number."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices of one series at one time point, in order along their normal.

    They ascend towards +z (axial), +y (coronal) or +x (sagittal).

    Attributes:
        frames: one per slice position.
        time_point: its number in a dynamic series, from 1; None when there is one only.
        delay_s: seconds from the acquisition time in its headers to this time point, where the
            headers count from the series' start.
        warnings: what was dropped on the way.
        part: its number among the time points, planes and kinds of images of its series, from 1;
            None when there is one only.
        left_out: why it is no volume, "" for one that is.
    """

    frames: tuple[Frame, ...]
    time_point: int | None = None
    delay_s: float = 0.0
    warnings: tuple[str, ...] = ()
    part: int | None = None
    left_out: str = ""

    @property
    def name(self) -> str:
        """How messages call it: the number of its series, never the description."""
        series = number(self.frames[0].header, "SeriesNumber")
        name = "a series without number" if series is None else f"series {series:.0f}"
        return name if self.time_point is None else f"{name} time point {self.time_point}"

    @property
    def keys(self) -> tuple[str, ...]:
        """What a table of phases may call it: the UID or number of its series.

        Where a series has several parts, the number of the part stands behind (":2").
        """
        uid = text(self.frames[0].header, "SeriesInstanceUID")
        series = number(self.frames[0].header, "SeriesNumber")
        names = [name for name in (uid, "" if series is None else f"{series:.0f}") if name] or [
            UNNAMED
        ]
        return tuple(
            names if self.part is None else [f"{name}:{self.part}" for name in names] + names
        )

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector along which the slices are ordered."""
        return stack_normal(self.frames[0].orientation)

    @property
    def along_mm(self) -> NDArray[np.float64]:
        """Position of each slice along the normal, ascending."""
        return _along_mm(self.frames)

    @property
    def step_mm(self) -> float | None:
        """Median distance of neighbouring slices, None for a single slice."""
        return float(np.median(np.diff(self.along_mm))) if len(self.frames) > 1 else None

    @property
    def acquired_s(self) -> float | None:
        """Mean acquisition time of its slices, on the clock of `frames.acquired_s`, else None."""
        times = [
            frame.moments["acquisition time"]
            for frame in self.frames
            if "acquisition time" in frame.moments
        ]
        return float(np.mean(times)) + self.delay_s if times else None

    @property
    def header(self) -> Dataset:
        """The first slice's header, with the image type and time of the stack itself.

        A multi-frame file may hold many stacks.
        """
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


def stacks_of(frames: Iterable[Frame]) -> tuple[list[Stack], list[Stack]]:
    """Group frames into stacks, in order of series number and time.

    A series is taken apart by shape, orientation, voxel size and stack, by image type and echo time
    where these are not names for parts of one volume, then by time point.

    Returns:
        The stacks, and those parts of series that could not be taken apart, each with the reason.
    """
    stacks: list[Stack] = []
    frames, measured = _one_scale(list(frames))
    for part in _parts(frames):
        try:
            stacks += _time_points(part)
        except InputError as error:
            stacks.append(replace(_stack(part, _slots(_along_mm(part))), left_out=str(error)))
    warning = (
        "scaled by Philips' private scale slope, because DICOM's rescaling puts its slices on"
        " different scales"
    )
    stacks = [
        (
            replace(stack, warnings=(*stack.warnings, f"{stack.name}: {warning}"))
            if _series(stack.frames[0]) in measured
            else stack
        )
        for stack in stacks
    ]
    stacks.sort(
        key=lambda stack: (
            number(stack.frames[0].header, "SeriesNumber") or 0.0,
            stack.time_point or 0,
        )
    )
    stacks = _parts_numbered(stacks)
    return [stack for stack in stacks if not stack.left_out], [
        stack for stack in stacks if stack.left_out
    ]


def _parts_numbered(stacks: Sequence[Stack]) -> list[Stack]:
    """The stacks with the number of each among those of its series, whatever the order of files.

    They are counted by time point, then by image.
    """

    def sort_key(stack: Stack) -> tuple[int, tuple[float, str, int]]:
        images = (
            (number(f.header, "InstanceNumber") or 0.0, text(f.header, "SOPInstanceUID"), f.index)
            for f in stack.frames
        )
        return stack.time_point or 0, min(images)

    by_series: dict[str, list[Stack]] = defaultdict(list)
    for stack in stacks:
        by_series[stack.keys[0]].append(stack)
    part = {
        id(stack): turn
        for alike in by_series.values()
        if len(alike) > 1
        for turn, stack in enumerate(sorted(alike, key=sort_key), start=1)
    }
    return [replace(stack, part=part.get(id(stack))) for stack in stacks]


def _series(frame: Frame) -> Hashable:
    """What the slices of one series share: its UID, else its number and description."""
    return text(frame.header, "SeriesInstanceUID") or (
        text(frame.header, "SeriesNumber"),
        text(frame.header, "SeriesDescription"),
    )


def _one_scale(frames: Sequence[Frame]) -> tuple[list[Frame], set[Hashable]]:
    """Rescale MR series by Philips' private scale slope where DICOM's differs between slices.

    Returns:
        All frames, and which series were so rescaled.
    """
    by_series: dict[Hashable, list[Frame]] = defaultdict(list)
    for frame in frames:
        by_series[_series(frame)].append(frame)
    measured: set[Hashable] = set()
    for series, alike in by_series.items():
        scales = [
            frame.slope * frame.scale_slope for frame in alike if frame.scale_slope is not None
        ]
        known = len(scales) == len(alike) and np.min(np.abs(scales)) > TINY
        if known and not np.allclose(scales, scales[0], rtol=1e-3, atol=0):
            measured.add(series)
    mended = [
        (
            replace(
                frame,
                slope=1 / frame.scale_slope,
                intercept=frame.intercept / (frame.slope * frame.scale_slope),
            )
            if frame.scale_slope is not None and _series(frame) in measured
            else frame
        )
        for frame in frames
    ]
    return mended, measured


def _parts(frames: Iterable[Frame]) -> list[list[Frame]]:
    by_size: dict[Hashable, list[list[Frame]]] = defaultdict(list)
    for frame in frames:
        planes = by_size[_series(frame), frame.shape, frame.stack_id]
        plane = next((plane for plane in planes if _same_plane(plane[0], frame)), None)
        if plane is None:
            planes.append([frame])
        else:
            plane.append(frame)
    return [part for planes in by_size.values() for plane in planes for part in _kinds(plane)]


def _kinds(plane: list[Frame]) -> list[list[Frame]]:
    """Slices of one direction and size, apart by image type and echo time.

    They stay together where they are the slices of one volume, which name theirs differently.
    """
    by_kind: dict[Hashable, list[Frame]] = defaultdict(list)
    for frame in plane:
        by_kind[frame.image_type[2:], frame.echo_time_ms].append(frame)
    normal = stack_normal(plane[0].orientation)
    steps = np.diff(np.sort([frame.position_mm @ normal for frame in plane]))
    one_volume = (
        len(plane) >= MIN_TIME_POINT
        and steps.min() > SAME_POSITION_MM
        and np.ptp(steps) < IRREGULAR * np.median(steps)
    )
    if one_volume and not any("LOCALIZER" in frame.image_type for frame in plane):
        return [plane]
    return list(by_kind.values())


def _same_plane(a: Frame, b: Frame) -> bool:
    return bool(np.abs(a.orientation - b.orientation).max() < SAME_DIRECTION) and np.allclose(
        a.spacing_mm, b.spacing_mm, rtol=1e-3
    )


def _time_points(part: Sequence[Frame]) -> list[Stack]:
    """Split frames of one kind into time points: no slice position may occur twice in one."""
    along_mm = _along_mm(part)
    slots = _slots(along_mm)
    if slots.max() + 1 == len(part):
        apart = interleaved(part, along_mm)
        return _numbered(
            [_stack([part[index] for index in group], slots[group]) for group in apart]
        )
    if (
        slots.max() == 0
        and np.ptp([number(frame.header, "SliceLocation") or 0.0 for frame in part]) > 1
    ):
        raise InputError(
            f"{_stack(part, slots).name} was left out: its {len(part)} slices name one position but"
            " different slice locations"
        )
    copies = _identical(part, slots, by_uid=True)
    kept = [index for index in range(len(part)) if index not in copies]
    groups = split([part[index] for index in kept], slots[kept])
    if groups is None:
        more = _identical([part[index] for index in kept], slots[kept], by_uid=False)
        copies |= {kept[index] for index in more}
        kept = [index for index in range(len(part)) if index not in copies]
        groups = split([part[index] for index in kept], slots[kept])
    if groups is None:
        name = _stack(part, slots).name
        raise InputError(
            f"{name} was left out: it holds several images at one slice position that no time tag"
            " tells apart; export it again with its acquisition times, or its time points one"
            " by one"
        )
    kept_slots = slots[kept]
    stacks = [_stack([part[kept[index]] for index in group], kept_slots[group]) for group in groups]
    if copies:
        count = counted(
            len(copies), "identical copy of a slice was", "identical copies of slices were"
        )
        warning = f"{stacks[0].name}: {count} dropped"
        stacks[0] = replace(stacks[0], warnings=(warning,))
    return _numbered(stacks)


def _numbered(stacks: list[Stack]) -> list[Stack]:
    """Stacks as the time points of one series, unless there is one only."""
    if len(stacks) == 1:
        return stacks
    one_clock = len({stack.acquired_s for stack in stacks}) == 1
    return [
        replace(
            stack,
            time_point=point,
            delay_s=stack.frames[0].moments.get("trigger time", 0.0) if one_clock else 0.0,
        )
        for point, stack in enumerate(stacks, start=1)
    ]


def _stack(frames: Sequence[Frame], slots: NDArray[np.intp]) -> Stack:
    return Stack(tuple(frames[index] for index in np.argsort(slots, kind="stable")))


def _along_mm(part: Sequence[Frame]) -> NDArray[np.float64]:
    """Position of each frame along the normal."""
    return np.array([frame.position_mm for frame in part]) @ stack_normal(part[0].orientation)


def _slots(along_mm: NDArray[np.float64]) -> NDArray[np.intp]:
    """The number of each frame's slice position, ascending from 0, shared at one position."""
    order = np.argsort(along_mm, kind="stable")
    new_position = np.diff(along_mm[order], prepend=along_mm[order[0]]) > SAME_POSITION_MM
    slots = np.empty(len(order), np.intp)
    slots[order] = np.cumsum(new_position)
    return slots


def _identical(frames: Sequence[Frame], slots: NDArray[np.intp], *, by_uid: bool) -> set[int]:
    """Indices of frames that repeat the pixels of another one at their position.

    Args:
        frames: of one part of a series.
        slots: their slice positions.
        by_uid: compare only images of one SOP Instance UID and moment, as are files that were
            copied.
    """
    suspects: dict[Hashable, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        name = (
            (text(frame.header, "SOPInstanceUID"), *sorted(frame.moments.items())) if by_uid else ()
        )
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
        pixels: bytes = pydicom.dcmread(
            frame.path, force=True, specific_tags=["PixelData"]
        ).PixelData
    # unreadable pixels are no copy of any others; reading them for good will report them
    except Exception:
        pixels = f"{frame.path} {frame.index}".encode()
    return hashlib.sha256(pixels).digest()
