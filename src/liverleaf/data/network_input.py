"""What a network sees of a study: its channels on the network's own grid and canonical axes.

Training and prediction read studies by the same functions. Shape suffixes: Z slices, Y rows, X
columns, P channels.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import highdicom as hd
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from liverleaf.data.normalisation import CONTRAST_LIMIT, LiverNormalisation, liver_level
from liverleaf.study import (
    BodyPart,
    InputError,
    Modality,
    Phase,
    PhaseImage,
    Species,
    Study,
    same_grid,
)
from liverleaf.terminology import LesionType

# axes of a canonical volume run to the head, to the back and to the patient's left
ORIENTATION = "HPL"
SURROUND_MM = 8.0
PHASE_OF_CHANNEL: dict[str, Phase] = {phase.key: phase for phase in Phase}
"""Channels that are contrast phases; any other channel is a name of `Study.other`, as "t2w"."""


@dataclass(frozen=True)
class InputConfig:
    """Which studies a network is for, and what it sees of them.

    Attributes:
        modality: CT or MR.
        channels: the images that go in, in this order: contrast phases by their key ("pre",
            "arterial", "portal", "delayed", "hepatobiliary"), and other images of the study by
            their name in `Study.other` ("t2w").
        types: the lesion types it tells apart, in the order of its outputs.
        pixel_mm: in-plane pixel in mm; None squeezes every slice into `size` x `size` pixels (the
            published setting; written as 0 in a recipe).
        slice_mm: slices thinner than this many mm are averaged to it; thicker ones stay.
        size: side of a training slice in pixels, a multiple of 16.
        normalise_on_liver: whether intensities become contrast to the liver; otherwise they are
            divided by the study's own scale.
        body_part: the part of the body that it was trained on.
        species: who it was trained on.
    """

    modality: Modality
    channels: tuple[str, ...] = ("pre", "arterial", "portal", "delayed")
    types: tuple[LesionType, ...] = tuple(LesionType)
    pixel_mm: float | None = 2.2
    slice_mm: float = 3.0
    size: int = 160
    normalise_on_liver: bool = True
    body_part: BodyPart = BodyPart.ABDOMEN
    species: Species = Species.HUMAN

    def __post_init__(self) -> None:
        if self.size % 16:
            raise ValueError(f"size must be a multiple of 16, got {self.size}")
        if not self.channels or len(set(self.channels)) < len(self.channels):
            raise ValueError(f"channels are one or more different names, got {self.channels}")
        if self.pixel_mm is not None and self.pixel_mm <= 0:
            raise ValueError(f"pixel_mm must be positive or None, got {self.pixel_mm}")

    @property
    def channel_phases(self) -> tuple[Phase | None, ...]:
        """Per channel its contrast phase, None for one that is no phase."""
        return tuple(PHASE_OF_CHANNEL.get(channel) for channel in self.channels)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The contrast phases among the channels, in their order."""
        return tuple(phase for phase in self.channel_phases if phase is not None)


def channel_image(study: Study, channel: str) -> PhaseImage | None:
    """The image of a study that a channel names; None where the study lacks it."""
    phase = PHASE_OF_CHANNEL.get(channel)
    return study.other.get(channel) if phase is None else study.phases.get(phase)


def channel_title(channel: str) -> str:
    """A channel's name as people read it."""
    phase = PHASE_OF_CHANNEL.get(channel)
    return channel if phase is None else phase.title


@dataclass(frozen=True)
class ModelInput:
    """A study on the network's grid.

    Attributes:
        grid: the reference phase's volume, axes canonical.
        raw_ZPYX: intensities in the images' own unit, zero for missing channels.
        present_P: which channels are there.
        pixel_mm: size of a pixel in mm.
        slice_mm: distance of slices on the network's grid in mm.
    """

    grid: hd.Volume
    raw_ZPYX: NDArray[np.float32]
    present_P: NDArray[np.bool_]
    pixel_mm: float
    slice_mm: float

    @property
    def scanned(self) -> int:
        """How many of the model's channels are there."""
        return int(self.present_P.sum())


def model_input(study: Study, config: InputConfig) -> ModelInput:
    """Bring a study onto the network's grid.

    Raises:
        InputError: it has none of the channels.
        ValueError: its images lie on different grids.
    """
    images = [channel_image(study, channel) for channel in config.channels]
    check_one_grid(study, config)
    if all(image is None for image in images):
        raise InputError(
            f"the model needs one of {', '.join(map(channel_title, config.channels))}; this study"
            f" has only {', '.join([*(p.title for p in study.phases), *study.other])}"
        )
    grid = canonical(study.grid)
    shape = model_shape(grid, config)
    raw = np.zeros((shape[0], len(images), *shape[1:]), np.float32)
    for index, image in enumerate(images):
        if image is not None:
            raw[:, index] = resize(canonical(image.volume).array, shape)
    return ModelInput(
        grid=grid,
        raw_ZPYX=raw,
        present_P=np.array([image is not None for image in images]),
        pixel_mm=float(grid.spacing[1] * grid.spatial_shape[1] / shape[1]),
        slice_mm=float(max(grid.spacing[0], config.slice_mm)),
    )


def normalised(
    given: ModelInput,
    scales: Mapping[str, LiverNormalisation],
    config: InputConfig,
    slices: NDArray[np.integer],
) -> NDArray[np.float32]:
    """Normalised slices, padded with air to multiples of 16; zero for missing channels."""
    rows, columns = given.raw_ZPYX.shape[2:]
    padded_shape = (-(-rows // 16) * 16, -(-columns // 16) * 16)
    images = np.zeros((len(slices), len(config.channels), *padded_shape), np.float32)
    for index, channel in enumerate(config.channels):
        if given.present_P[index]:
            images[:, index] = air(config.modality)
            contrast = scales[channel].contrast(given.raw_ZPYX[slices, index])
            images[:, index, :rows, :columns] = contrast
    return images


def check_one_grid(study: Study, config: InputConfig) -> None:
    """Refuse a study whose phases and other channels do not lie on one grid.

    Raises:
        ValueError: they do not.
    """
    used = [study.other[name] for name in config.channels if name in study.other]
    if not study.on_one_grid or not all(same_grid(image.volume, study.grid) for image in used):
        raise ValueError("the images lie on different grids: register the study first")


def with_phases(study: Study, phases: Collection[Phase]) -> Study:
    """The study as if only these phases had been scanned."""
    return replace(
        study, phases={phase: image for phase, image in study.phases.items() if phase in phases}
    )


def canonical(volume: hd.Volume) -> hd.Volume:
    """The volume with axes that run to the head, the back and the left; nothing is resampled."""
    return volume.to_patient_orientation(ORIENTATION)


def model_shape(volume: hd.Volume, config: InputConfig) -> tuple[int, int, int]:
    """Slices, rows and columns of the network's grid over the extent of a canonical volume."""
    (z, y, x), (dz, dy, dx) = volume.spatial_shape, volume.spacing
    slices = max(1, round(z * dz / config.slice_mm)) if dz < config.slice_mm else z
    if config.pixel_mm is None:
        return slices, config.size, config.size
    return slices, max(1, round(y * dy / config.pixel_mm)), max(1, round(x * dx / config.pixel_mm))


def resize(array_ZYX: NDArray[np.floating], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Resample over the same physical extent.

    Linear between voxels, averaged where the grid becomes coarser.
    """
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
    """The box that linear interpolation of a mask can reach on a grid of another shape.

    Both grids have the same physical extent. The first voxel where the mask is empty.
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
    regions[0][box] = core
    regions[1][box] = (depth > 0) & ~core
    regions[2][box] = (depth <= 0) & (depth > -SURROUND_MM)
    return regions


def normalisations(
    study: Study, parenchyma_ZYX: NDArray[np.bool_], config: InputConfig
) -> dict[str, LiverNormalisation]:
    """The normalisation of each channel that a study has.

    It is that to the liver under `parenchyma_ZYX`; without `normalise_on_liver`, or where the mask
    is empty, contrast phases share one scale, which is one fifth of the mean of the phases' 99.9th
    percentiles, and any other image has its own.
    """
    images = {
        channel: image.volume.array
        for channel in config.channels
        if (image := channel_image(study, channel)) is not None
    }
    if config.normalise_on_liver and parenchyma_ZYX.any():
        return {
            channel: LiverNormalisation.on(
                liver_level(image[parenchyma_ZYX], modality=study.modality), study.modality
            )
            for channel, image in images.items()
        }
    of_phases = common_scale([image.volume.array for image in study.phases.values()])
    return {
        channel: of_phases if channel in PHASE_OF_CHANNEL else common_scale([image])
        for channel, image in images.items()
    }


def common_scale(images: list[NDArray[np.floating]]) -> LiverNormalisation:
    """One scale for several images from their own brightness: nothing is subtracted."""
    scale = float(np.mean([np.percentile(image, 99.9) for image in images])) or 1.0
    return LiverNormalisation(liver=0.0, unit=abs(scale) / CONTRAST_LIMIT)


def on_study_grid(array: NDArray, canonical_grid: hd.Volume, grid: hd.Volume) -> hd.Volume:
    """An array on canonical axes, on the axes of the study's own grid; nothing is resampled."""
    return canonical_grid.with_array(array).match_geometry(grid)
