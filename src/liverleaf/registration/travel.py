"""Masks carried from one phase to another through their registration.

Motions lead from points of the reference phase to those of the same tissue in a phase, which is the
way in which a mask of that phase is looked up on the reference phase's grid.
"""

# mypy: allow-untyped-calls
# SimpleITK's wrappers carry no annotations.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import highdicom as hd
import numpy as np
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from liverleaf.registration.align import Registration, to_itk
from liverleaf.study import Phase, Study

HALF = 0.5
MARGIN_VOXELS = 2
BOX_SD = 0.29
"""Standard deviation of a box of width 1: what a coarser voxel averages over."""
MOST_POINTS = 500
"""Points by which a lesion is followed into a phase; more say no more of its middle."""


@dataclass(frozen=True)
class Place:
    """Where a lesion lies in one phase as it was scanned.

    Attributes:
        centre_mm: its middle in that phase's own space, LPS, shape (3,).
        coverage: share of it that the phase's images show, in [0, 1].
    """

    centre_mm: NDArray[np.float64]
    coverage: float


def motion_of(registration: Registration, study: Study, phase: Phase) -> sitk.Transform:
    """The transform by which a phase lies on the reference phase, from whose points it leads.

    Args:
        registration: of the study.
        study: the registered study, whose alignments say whether its motion was kept.
        phase: of the study.
    """
    alignment = study.phases[phase].alignment
    if alignment is None or phase not in registration.after:
        return sitk.Transform(3, sitk.sitkIdentity)
    unmoved = alignment.method in {"none", "resampled"}
    motions = registration.before if unmoved else registration.after
    return motions[phase].transform


def carried(labels: hd.Volume, grid: hd.Volume, transform: sitk.Transform) -> hd.Volume:
    """Labels on another grid, each through linear interpolation of its own mask.

    A voxel belongs to the label that fills at least half of it; a lesion too small to fill half of
    any keeps those that it fills most, as many as hold its volume, so that none vanishes.

    Args:
        labels: whole numbers (Z, Y, X) on any grid, 0 outside.
        grid: the grid to carry them to.
        transform: from points of `grid` to those of the same tissue on the grid of `labels`.

    Returns:
        The labels on `grid`, uint16; a label is absent where `grid` shows nothing of it.
    """
    source = labels.with_array(labels.array.astype(np.uint16))
    image, target = to_itk(source), to_itk(grid.with_array(np.zeros(grid.spatial_shape, np.uint8)))
    nearest = sitk.GetArrayFromImage(
        sitk.Resample(image, target, transform, sitk.sitkNearestNeighbor, 0, sitk.sitkUInt16)
    )
    sigma = BOX_SD * _coarser(source, grid)
    out = np.zeros(grid.spatial_shape, np.uint16)
    filled = np.zeros(grid.spatial_shape, np.float32)
    for label in np.unique(source.array[source.array > 0]):
        box = _box(nearest == label)
        share = _share(source, int(label), target, transform, box, sigma)
        inside = (share >= HALF) & (share > filled[box])
        if not inside.any() and share.max() > 0:
            inside = _fullest(share)
        out[box][inside] = label
        filled[box][inside] = share[inside]
    return grid.with_array(out)


def places(
    registration: Registration, study: Study, labels: hd.Volume
) -> dict[int, dict[Phase, Place]]:
    """Where each lesion lies in each phase, in that phase's own space.

    Args:
        registration: of the study.
        study: the registered study, assessed.
        labels: lesions on the study's grid.
    """
    found: dict[int, dict[Phase, Place]] = {}
    unmoved = registration.unmoved or registration.study
    for label in np.unique(labels.array[labels.array > 0]):
        voxels = np.argwhere(labels.array == label)
        chosen = voxels[:: max(1, len(voxels) // MOST_POINTS)]
        points = chosen @ labels.affine[:3, :3].T + labels.affine[:3, 3]
        found[int(label)] = {
            phase: _place(
                points, motion_of(registration, study, phase), unmoved.phases[phase].volume
            )
            for phase in study.phases
        }
    return found


def _place(points: NDArray[np.float64], transform: sitk.Transform, image: hd.Volume) -> Place:
    moved = np.array([transform.TransformPoint(point.tolist()) for point in points])
    to_index = np.linalg.inv(image.affine)
    index = moved @ to_index[:3, :3].T + to_index[:3, 3]
    inside = (index >= -0.5) & (index <= np.array(image.spatial_shape) - 0.5)
    return Place(moved.mean(axis=0), float(inside.all(axis=1).mean()))


def _coarser(source: hd.Volume, grid: hd.Volume) -> NDArray[np.float64]:
    """Along each axis of the source, how many of its voxels one of the grid spans; 0 for one."""
    cosines = np.abs(source.direction.T @ grid.direction)
    spans = cosines @ np.asarray(grid.spacing) / np.asarray(source.spacing)
    return np.where(spans > 1.2, spans, 0.0)


def _box(mask: NDArray[np.bool_], margin: int = MARGIN_VOXELS) -> tuple[slice, ...]:
    """The box of a mask and a margin around it; everything where it is empty."""
    box = []
    for axis, size in enumerate(mask.shape):
        at = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if not len(at):
            return tuple(slice(0, size) for size in mask.shape)
        box.append(slice(max(at[0] - margin, 0), min(at[-1] + 1 + margin, size)))
    return tuple(box)


def _fullest(share: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The voxels that are filled most, as many as their shares are together, at least one."""
    count = max(1, round(float(share.sum())))
    chosen = np.zeros(share.size, bool)
    chosen[np.argsort(-share, axis=None, kind="stable")[:count]] = True
    return chosen.reshape(share.shape)


def _share(
    source: hd.Volume,
    label: int,
    target: sitk.Image,
    transform: sitk.Transform,
    box: tuple[slice, ...],
    sigma: NDArray[np.float64],
) -> NDArray[np.float32]:
    """How much of each voxel of a box of the target a label fills, in [0, 1]."""
    margins = np.ceil(MARGIN_VOXELS + 4 * sigma).astype(int)
    own = tuple(
        slice(max(axis.start - margin, 0), min(axis.stop + margin, size))
        for axis, margin, size in zip(
            _box(source.array == label, 0), margins, source.spatial_shape, strict=True
        )
    )
    cropped = source[own]  # type: ignore[index]  # annotated for one axis only
    mask = (cropped.array == label).astype(np.float32)
    if sigma.any():
        mask = gaussian_filter(mask, sigma, mode="constant")
    first = [int(axis.start) for axis in box[::-1]]
    size = [int(axis.stop - axis.start) for axis in box[::-1]]
    part: Any = sitk.Resample(
        to_itk(cropped.with_array(mask)),
        size,
        transform,
        sitk.sitkLinear,
        target.TransformIndexToPhysicalPoint(first),
        target.GetSpacing(),
        target.GetDirection(),
        0.0,
        sitk.sitkFloat32,
    )
    share: NDArray[np.float32] = sitk.GetArrayFromImage(part)
    return share
