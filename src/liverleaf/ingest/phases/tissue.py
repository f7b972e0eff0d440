"""Coarse images of the series of one study on one grid, and the soft tissue in them.

Shape suffixes: K levels, N series, V voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, binary_fill_holes, label, map_coordinates, uniform_filter

from liverleaf.ingest.dicom.pixels import sample_pixels
from liverleaf.ingest.dicom.series import Stack
from liverleaf.ingest.phases.ct_organs import OrganHU, organ_hu
from liverleaf.study import Modality

LEVELS = {Modality.CT: 24, Modality.MR: 12}
"""Slices read of each series."""

GRID_MM = 4.0
MAX_SERIES = 7
MIN_EXTENT_MM = 60.0
SKIN_MM = 22.0
"""What is left out at the body's edge: fat, ribs, and most muscle."""

MIN_VOXELS = 500
SOFT_HU = -20.0, 500.0
AIR_HU = -500.0
"""The darkest 1 % of a CT image, air in or around the body, is darker, or its values are no HU."""

ONE_ACQUISITION_SPREAD = {Modality.CT: 0.12, Modality.MR: 0.06}
"""Series whose difference spreads less are two reconstructions of one acquisition, in the unit of
`Tissue.values_NV`."""


class Tissue(NamedTuple):
    """What the phases of the series of one study are told by.

    Attributes:
        values_NV: HU / 100 or the logarithm of the MR signal of soft tissue.
        right_V: which voxels lie in the patient's right half, mostly liver.
        organs: HU of organs in CT, None in MR.
    """

    values_NV: NDArray[np.float64]
    right_V: NDArray[np.bool_]
    organs: OrganHU | None

    @property
    def modality(self) -> Modality:
        """CT or MR."""
        return Modality.MR if self.organs is None else Modality.CT

    @property
    def right_median_N(self) -> NDArray[np.float64]:
        """Median of the patient's right half in each image; of all where that is empty."""
        right_V = self.right_V if self.right_V.any() else ~self.right_V
        return np.asarray(np.median(self.values_NV[:, right_V], axis=1))


def coarse_images(stacks: Sequence[Stack]) -> NDArray[np.float32] | None:
    """Images of all series on one coarse grid of the patient, shape (N, K, rows, columns).

    Rows and columns are 4 mm apart, from the patient's front and right.

    Returns:
        The images; None where the series are not all axial, share too little of the body, or cannot
            be read.
    """
    if any(abs(stack.normal[2]) < 0.9 or len(stack.frames) < 3 for stack in stacks):
        return None
    low = max(stack.along_mm[0] for stack in stacks)
    high = min(stack.along_mm[-1] for stack in stacks)
    if high - low < MIN_EXTENT_MM:
        return None
    levels = LEVELS[Modality(stacks[0].header.Modality)]
    levels_mm = np.linspace(low, high, levels)
    corners = np.array([_corners(stack) for stack in stacks])
    first, last = corners.min(axis=1).max(axis=0), corners.max(axis=1).min(axis=0)
    if (last - first < MIN_EXTENT_MM).any():
        return None
    x_mm, y_mm = (np.arange(start, end, GRID_MM) for start, end in zip(first, last, strict=True))
    points_mm = np.stack(np.meshgrid(x_mm, y_mm), axis=-1)
    images = []
    for stack in stacks:
        nearest = np.abs(stack.along_mm[:, None] - levels_mm).argmin(axis=0)
        chosen = replace(stack, frames=tuple(stack.frames[index] for index in nearest))
        slices = sample_pixels(chosen, levels)
        if len(slices) < levels:
            return None
        images.append(_resampled(slices, chosen, points_mm))
    return np.stack(images)


def soft_tissue(images: NDArray[np.float32], modality: Modality) -> Tissue | None:
    """What lies deep in the body and is neither air nor dense bone in any series.

    Args:
        images: of one study at the same places, shape (N, K, rows, columns), columns from the
            patient's right.
        modality: CT or MR.

    Returns:
        The tissue; None where there is hardly any, and where CT is not in HU or shows neither aorta
            nor liver.
    """
    if modality is Modality.CT and (np.percentile(images, 1, axis=(1, 2, 3)) > AIR_HU).any():
        return None
    smooth = uniform_filter(images, (0, 0, 3, 3))
    mean = smooth.mean(axis=0)
    inside = _deep(mean > (-200 if modality is Modality.CT else 0.25 * np.percentile(mean, 95)))
    if modality is Modality.CT:
        soft = inside & (smooth.min(axis=0) > SOFT_HU[0]) & (smooth.max(axis=0) < SOFT_HU[1])
    else:
        soft = inside & (
            smooth.min(axis=0) > 0.1 * np.median(mean[inside] if inside.any() else 0.0)
        )
    if soft.sum() < MIN_VOXELS:
        return None
    columns = np.broadcast_to(np.arange(images.shape[-1]), soft.shape)
    right_V = (columns < np.median(columns[inside]))[soft]
    values_NV = smooth[:, soft].astype(np.float64)
    if modality is Modality.MR:
        return Tissue(np.log(values_NV), right_V, None)
    organs = organ_hu(images, GRID_MM)
    if np.isnan([organs.aorta, organs.liver]).all():
        return None
    return Tissue(values_NV / 100, right_V, organs)


def first_of_acquisition(tissue: Tissue) -> list[int]:
    """For each series the first that shows the same acquisition, such as another reconstruction."""
    firsts: list[int] = []
    for values_V in tissue.values_NV:
        spreads = [
            np.ptp(np.percentile(values_V - tissue.values_NV[first], (2, 98))) for first in firsts
        ]
        same = [
            first
            for first, spread in zip(firsts, spreads, strict=True)
            if spread < ONE_ACQUISITION_SPREAD[tissue.modality]
        ]
        firsts.append(same[0] if same else len(firsts))
    return firsts


def _corners(stack: Stack) -> NDArray[np.float64]:
    """LPS positions (x, y) of opposite corners of a slice, shape (2, 2)."""
    frame = stack.frames[0]
    rows, columns = frame.shape
    along_row_mm = frame.orientation[:3] * frame.spacing_mm[1] * (columns - 1)
    down_column_mm = frame.orientation[3:] * frame.spacing_mm[0] * (rows - 1)
    opposite_mm = frame.position_mm + along_row_mm + down_column_mm
    return np.array([frame.position_mm[:2], opposite_mm[:2]])


def _resampled(
    slices: NDArray[np.float32], stack: Stack, points_mm: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Slices averaged over the coarse grid's pixels and read at its points.

    Args:
        slices: of one stack, shape (slices, rows, columns).
        stack: that tells their geometry.
        points_mm: LPS positions (x, y), shape (rows, columns, 2).
    """
    frame = stack.frames[0]
    size = [max(1, round(GRID_MM / spacing)) for spacing in frame.spacing_mm]
    steps = np.column_stack(
        [frame.orientation[3:5] * frame.spacing_mm[0], frame.orientation[:2] * frame.spacing_mm[1]]
    )
    indices = np.moveaxis((points_mm - frame.position_mm[:2]) @ np.linalg.inv(steps).T, -1, 0)
    return np.stack(
        [
            map_coordinates(uniform_filter(plane, size), indices, order=0, mode="nearest")
            for plane in slices
        ]
    )


def _deep(body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest piece of each slice with its holes, but for the skin."""
    out = np.zeros_like(body)
    for level, plane in enumerate(body):
        pieces, count = label(binary_fill_holes(plane))
        if count:
            largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
            out[level] = binary_erosion(largest, iterations=round(SKIN_MM / GRID_MM))
    return out
