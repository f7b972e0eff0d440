"""A study in, what a network sees of it out: canonical axes, the network's own grid, calibrated intensities and the regions of a lesion.

Training and prediction both look through this one window. Shape suffixes: Z slices, Y rows, X
columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import highdicom as hd
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from liverleaf.data.normalisation import CONTRAST_LIMIT, Calibration, liver_level
from liverleaf.study import Modality, Phase, Study
from liverleaf.terminology import LesionType

# axes of a canonical volume run to the head, to the back and to the patient's left
ORIENTATION = "HPL"
SURROUND_MM = 8.0


@dataclass(frozen=True)
class InputConfig:
    """How a network looks at a study.

    Attributes:
        modality: CT or MR.
        phases: the phases that go in, in this order.
        types: the lesion types it tells apart, in the order of its outputs.
        pixel_mm: in-plane pixel; 0 squeezes every slice into `size` x `size` (the published
            setting).
        slice_mm: slices thinner than this are averaged to it; thicker ones stay.
        size: side of a training slice in pixels, a multiple of 16.
        calibrate: whether intensities become contrast to the liver; otherwise they are divided by
            the study's own spread.
    """

    modality: Modality
    phases: tuple[Phase, ...] = (Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED)
    types: tuple[LesionType, ...] = tuple(LesionType)
    pixel_mm: float = 2.2
    slice_mm: float = 3.0
    size: int = 160
    calibrate: bool = True

    def __post_init__(self) -> None:
        if self.size % 16:
            raise ValueError(f"size must be a multiple of 16, got {self.size}")


def canonical(volume: hd.Volume) -> hd.Volume:
    """The volume with its axes flipped and permuted (nothing is resampled) to run to the head, the back and the left."""
    return volume.to_patient_orientation(ORIENTATION)


def model_shape(volume: hd.Volume, config: InputConfig) -> tuple[int, int, int]:
    """Slices, rows and columns of the network's grid over the extent of a canonical volume."""
    (z, y, x), (dz, dy, dx) = volume.spatial_shape, volume.spacing
    slices = max(1, round(z * dz / config.slice_mm)) if dz < config.slice_mm else z
    if config.pixel_mm == 0:
        return slices, config.size, config.size
    return slices, max(1, round(y * dy / config.pixel_mm)), max(1, round(x * dx / config.pixel_mm))


def resize(array_ZYX: NDArray[np.floating], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Resample over the same physical extent: linear between voxels, averaged where the grid becomes coarser."""
    x = torch.from_numpy(np.ascontiguousarray(array_ZYX, dtype=np.float32))
    if tuple(x.shape[1:]) != shape[1:]:
        x = F.interpolate(
            x[:, None], size=shape[1:], mode="bilinear", antialias=True, align_corners=False
        )[:, 0]
    if x.shape[0] != shape[0]:
        flat = x.reshape(1, 1, x.shape[0], -1)
        x = F.interpolate(
            flat,
            size=(shape[0], flat.shape[-1]),
            mode="bilinear",
            antialias=True,
            align_corners=False,
        ).reshape(shape)
    return x.numpy()


def resize_labels(
    labels_ZYX: NDArray[np.integer], shape: tuple[int, int, int]
) -> NDArray[np.integer]:
    """Nearest neighbours over the same physical extent."""
    index = [
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1)
        for n, m in zip(shape, labels_ZYX.shape, strict=True)
    ]
    return labels_ZYX[np.ix_(*index)]


def extent(mask_ZYX: NDArray[np.bool_], shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    """The box of a grid of another shape, over the same physical extent, that linear interpolation of a mask can reach.

    The first voxel where the mask is empty.
    """
    box = []
    for axis, size in enumerate(shape):
        at = np.flatnonzero(mask_ZYX.any(tuple(other for other in range(3) if other != axis)))
        if not len(at):
            return slice(0, 1), slice(0, 1), slice(0, 1)
        scale = size / mask_ZYX.shape[axis]
        reach = max(scale, 1.0) if scale != 1 else 0.0  # the same grid is not interpolated
        first, last = (at[0] + 0.5) * scale - reach, (at[-1] + 0.5) * scale + reach
        box.append(slice(max(int(first), 0), min(math.ceil(last), size)))
    return box[0], box[1], box[2]


def centres(labels_ZYX: NDArray[np.integer], shape: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
    """The voxel of a coarser grid that holds the middle voxel of each label."""
    where = {}
    for label in range(1, int(labels_ZYX.max()) + 1):
        voxels = np.argwhere(labels_ZYX == label)
        middle = voxels[len(voxels) // 2]
        where[label] = tuple(
            int(i * m / n) for i, n, m in zip(middle, labels_ZYX.shape, shape, strict=True)
        )
    return where


def air(modality: Modality) -> float:
    """The contrast to the liver of a voxel without signal."""
    return -CONTRAST_LIMIT if modality is Modality.CT else -2.0


def lesion_regions(
    lesion_YX: NDArray[np.bool_], *, pixel_mm: float, margin_mm: float = 0.0
) -> NDArray[np.float32]:
    """Core, rim and surround of one lesion in one slice.

    The core lies deeper than half the greatest depth, the rim is the rest, the surround reaches
    `SURROUND_MM` outwards.

    Args:
        lesion_YX: the lesion.
        pixel_mm: size of a pixel.
        margin_mm: the lesion is first grown (positive) or shrunk (negative) by this much, never to
            nothing.

    Returns:
        (3, Y, X), each 0 or 1.
    """
    regions = np.zeros((3, *lesion_YX.shape), np.float32)
    rows, columns = np.nonzero(lesion_YX)
    reach = int(np.ceil((SURROUND_MM + abs(margin_mm)) / pixel_mm)) + 1
    box = (
        slice(max(rows.min() - reach, 0), rows.max() + reach + 1),
        slice(max(columns.min() - reach, 0), columns.max() + reach + 1),
    )
    crop = lesion_YX[box]
    depth = (
        distance_transform_edt(np.pad(crop, 1))[1:-1, 1:-1] - distance_transform_edt(~crop)
    ) * pixel_mm
    depth = depth + max(margin_mm, pixel_mm - depth.max())
    core = depth > depth.max() / 2
    regions[0][box], regions[1][box], regions[2][box] = (
        core,
        (depth > 0) & ~core,
        (depth <= 0) & (depth > -SURROUND_MM),
    )
    return regions


def calibrations(
    study: Study, parenchyma_ZYX: NDArray[np.bool_], config: InputConfig
) -> dict[Phase, Calibration]:
    """One calibration per phase: on the liver, or, without `calibrate`, one common scale from all phases' own spread."""
    images = {phase: image.volume.array for phase, image in study.phases.items()}
    if config.calibrate and parenchyma_ZYX.any():
        return {
            phase: Calibration.on(
                liver_level(image[parenchyma_ZYX], modality=study.modality), study.modality
            )
            for phase, image in images.items()
        }
    scale = float(np.mean([np.percentile(image, 99.9) for image in images.values()])) or 1.0
    return dict.fromkeys(images, Calibration(liver=0.0, unit=abs(scale) / CONTRAST_LIMIT))
