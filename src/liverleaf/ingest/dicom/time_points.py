"""Time points of a dynamic series: which of its frames belong to each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from liverleaf.ingest.dicom.frames import TIME_KEYS, Frame
from liverleaf.study import Modality

IRREGULAR = 0.1
"""Share of a step by which the position of a slice may differ from a regular one."""
MIN_TIME_POINT = 3
"""Slices that a time point has at least where only its times tell it from another one."""
CLEAR_PAUSE = 1.5
"""Between time points time stands still longer than between slices, at least by this factor."""


def interleaved(frames: Sequence[Frame], along_mm: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Indices of the frames of each time point, where slices of one lie between those of another.

    MR takes the slices of one volume in turns, so there it needs a temporal position, or slices
    that are irregular all together.
    """
    undivided = [np.arange(len(frames))]
    one_volume = frames[0].header.Modality == Modality.MR and _regular(along_mm)
    for key in TIME_KEYS[:1] if one_volume else TIME_KEYS:
        moments = np.array([frame.moments.get(key, np.nan) for frame in frames])
        if np.isnan(moments).any():
            continue
        groups = _groups(_by_value(moments))
        if (
            len(groups) == 1
            or min(map(len, groups)) < MIN_TIME_POINT
            or not all(_regular(along_mm[group]) for group in groups)
        ):
            continue
        low, high = (
            np.array([extreme(along_mm[group]) for group in groups]) for extreme in (np.min, np.max)
        )
        if high.min() - low.max() > 0.5 * (high - low).min():
            return groups
    return undivided


def _regular(along_mm: NDArray[np.float64]) -> bool:
    """Whether positions are multiples of their usual step, gaps allowed."""
    ascending = np.sort(along_mm)
    steps = (
        (ascending - ascending[0]) / np.median(np.diff(ascending))
        if len(ascending) > 1
        else np.zeros(1)
    )
    return bool(np.abs(steps - np.rint(steps)).max() < IRREGULAR)


def _groups(group_of: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    return [np.flatnonzero(group_of == group) for group in range(group_of.max() + 1)]


def split(frames: Sequence[Frame], slots: NDArray[np.intp]) -> list[NDArray[np.intp]] | None:
    """Indices of the frames of each time point, in order of time.

    Args:
        frames: of one part of a series.
        slots: the number of each frame's slice position.

    Returns:
        None when no tag tells the time points apart.
    """
    counts = np.bincount(slots)
    counts = counts[counts > 0]
    if counts.max(initial=0) <= 1:
        return [np.arange(len(frames))]
    known = {
        key: np.array([frame.moments.get(key, np.nan) for frame in frames]) for key in TIME_KEYS
    }
    known = {key: moments for key, moments in known.items() if not np.isnan(moments).any()}

    def apart(groups: list[NDArray[np.intp]]) -> bool:
        return all(len(set(slots[group])) == len(group) for group in groups)

    for moments in known.values():
        groups = _groups(_by_value(moments))
        if len(groups) == counts.max() and apart(groups):
            return groups
        groups = _groups(_by_rank(moments, slots))
        if (
            len(groups) == counts.max()
            and apart(groups)
            and (counts.min() == counts.max() or _in_turn(moments, groups))
        ):
            return groups
    for moments in known.values():
        for groups in (_groups(_by_gaps(moments, counts.max())), _groups(_by_value(moments))):
            if (
                len(groups) >= counts.max()
                and apart(groups)
                and min(map(len, groups)) >= MIN_TIME_POINT
            ):
                return groups
    return None


def _in_turn(moments: NDArray[np.float64], groups: list[NDArray[np.intp]]) -> bool:
    """Whether each group is over before the next one begins, and holds no longer pause.

    Else slices of several time points may be mixed.
    """
    between = min(moments[b].min() - moments[a].max() for a, b in pairwise(groups))
    within = max(np.diff(np.sort(moments[group])).max(initial=0) for group in groups)
    return bool(between > 0 and within <= CLEAR_PAUSE * between)


def _by_gaps(moments: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """The group of each moment when time is cut at its longest pauses.

    One group when these pauses are hardly longer than the others.
    """
    order = np.argsort(moments, kind="stable")
    pauses = np.diff(moments[order])
    ascending = np.sort(pauses)
    if len(pauses) < count or ascending[-count + 1] < CLEAR_PAUSE * ascending[-count]:
        return np.zeros(len(moments), np.intp)
    groups = np.empty(len(moments), np.intp)
    groups[order] = np.concatenate([[0], np.cumsum(pauses >= ascending[-count + 1])])
    return groups


def _by_value(moments: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.unique(moments, return_inverse=True)[1]


def _by_rank(moments: NDArray[np.float64], slots: NDArray[np.intp]) -> NDArray[np.intp]:
    """Each frame's rank in time among those at its position; equal times share a rank.

    For series whose slices have times of their own.
    """
    ranks = np.empty(len(slots), np.intp)
    for slot in np.unique(slots):
        here = np.flatnonzero(slots == slot)
        ranks[here] = _by_value(moments[here])
    return ranks
