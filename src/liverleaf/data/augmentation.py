"""Random changes of slices in training: moved, bent, blurred, noisy, wrongly normalised.

Shape suffixes: P channels, Y rows, X columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from liverleaf.data.network_input import InputConfig, air
from liverleaf.study import Modality


@dataclass(frozen=True)
class SamplingConfig:
    """How batches are drawn and varied.

    Attributes:
        batch: slices per batch, at least 1.
        lesion_share: share of slices with a lesion, in [0, 1]; types are drawn evenly, unknown
            ones as one more type.
        liver_share: share of slices with liver, in [0, 1]; the rest is drawn from everywhere.
        size_exponent: among lesions of a type, one is drawn with probability proportional to its
            pixels to this power; 0 draws small and giant ones alike, 1 by volume.
        zoom_sd: standard deviation of the logarithm of the random magnification.
        bend_mm: standard deviation of a smooth random displacement along each axis, in mm.
        blur_pixels: largest standard deviation in pixels of the blur that half of the slices get.
        unevenness: standard deviation of a smooth field added to the contrast, one for all
            channels.
        augment: whether slices are moved, scaled, made noisy, and all of the above.
        all_phases: probability that every scanned channel is kept.
        one_phase: probability that only one is kept; otherwise any subset.
        wrong_normalisation: share of slices shown as if they were normalised on the wrong
            intensity; only the liver is learned from them.
    """

    batch: int = 8
    lesion_share: float = 0.6
    liver_share: float = 0.2
    size_exponent: float = 0.0
    zoom_sd: float = 0.12
    bend_mm: float = 0.0
    blur_pixels: float = 0.0
    unevenness: float = 0.0
    augment: bool = True
    all_phases: float = 0.4
    one_phase: float = 0.3
    wrong_normalisation: float = 0.15

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"a batch needs at least one slice, got batch={self.batch}")


def move(
    images_PYX: NDArray[np.float32],
    labels_2YX: NDArray[np.uint8],
    config: InputConfig,
    rng: np.random.Generator,
    sampling: SamplingConfig,
    *,
    pixel_mm: float,
) -> tuple[NDArray[np.float32], NDArray[np.uint8], float]:
    """Rotate, scale, shear slightly, bend, shift and crop images and labels alike.

    Returns:
        The images, the labels, and by how much the pixels were magnified.
    """
    angle = rng.normal(0, 0.12)
    zoom = float(np.exp(rng.normal(0, sampling.zoom_sd)))
    shear = rng.normal(0, 0.05)
    rows, columns = images_PYX.shape[1:]
    turn = (
        np.array([[np.cos(angle), -np.sin(angle) + shear], [np.sin(angle), np.cos(angle)]]) / zoom
    )
    slack = np.maximum(np.array([columns, rows]) - config.size, 0) / 2 + 0.06 * config.size
    shift = rng.uniform(-slack, slack)
    # maps output to input, in grid_sample's units of half an image
    theta = np.empty((2, 3), np.float32)
    theta[:, :2] = turn * config.size / np.array([[columns], [rows]])
    theta[:, 2] = 2 * shift / np.array([columns, rows])
    grid = F.affine_grid(
        torch.from_numpy(theta)[None], [1, 1, config.size, config.size], align_corners=False
    )
    if sampling.bend_mm:
        bend = (
            sampling.bend_mm
            / pixel_mm
            * _smooth_fields(rng, 2, 5, config.size)
            / torch.tensor([columns / 2, rows / 2])[:, None, None]
        )
        grid = grid + bend.permute(1, 2, 0)
    floor = air(config.modality)
    moved = F.grid_sample(torch.from_numpy(images_PYX - floor)[None], grid, align_corners=False)[
        0
    ].numpy() + np.float32(floor)
    labels = F.grid_sample(
        torch.from_numpy(labels_2YX.astype(np.float32))[None],
        grid,
        mode="nearest",
        align_corners=False,
    )[0]
    return moved, labels.numpy().round().astype(np.uint8), zoom


def _smooth_fields(rng: np.random.Generator, fields: int, knots: int, size: int) -> Tensor:
    """Smooth random fields of about unit variance, (fields, size, size), from a grid of knots."""
    coarse = torch.from_numpy(rng.standard_normal((1, fields, knots, knots), dtype=np.float32))
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)[0]


def degrade(
    images_PYX: NDArray[np.float32], rng: np.random.Generator, sampling: SamplingConfig
) -> NDArray[np.float32]:
    """Blur slices, make them uneven and noisy, as other scanners and reconstructions are."""
    if sampling.blur_pixels and rng.random() < 0.5:
        sd = rng.uniform(0.3, sampling.blur_pixels)
        images_PYX = gaussian_filter(images_PYX, (0, sd, sd), truncate=3)
    if sampling.unevenness:
        field: NDArray[np.float32] = _smooth_fields(rng, 1, 4, images_PYX.shape[-1]).numpy()
        images_PYX = images_PYX + np.float32(sampling.unevenness) * field
    amplitude = np.float32(rng.uniform(0, 0.15))
    noise = rng.standard_normal(images_PYX.shape, dtype=np.float32)
    if sampling.blur_pixels and rng.random() < 0.5:  # correlated, as reconstruction kernels make it
        sd = rng.uniform(0.4, 0.9)
        noise = gaussian_filter(noise, (0, sd, sd), truncate=3) * np.float32(
            2 * np.sqrt(np.pi) * sd
        )
    return images_PYX + amplitude * noise


def normalisation_error(
    channels: int, modality: Modality, rng: np.random.Generator, *, wrong: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gain and offset of each channel: as small as a normalisation errs, or large (`wrong`)."""
    if modality is Modality.CT:
        gain = rng.uniform(0.9, 1.1, channels)
        offset = rng.normal(0, 0.6 if wrong else 0.08, channels)
    else:
        gain = np.exp(rng.normal(0, 0.35 if wrong else 0.04, channels))
        offset = 2 * gain - 2  # a scale of the signal: contrast + 2 is proportional to it
    return gain.astype(np.float32), offset.astype(np.float32)


def crop_or_pad(array: NDArray, size: int, fill: float) -> NDArray:
    """Crop or pad the last two axes about their centre to `size`."""
    for axis in (-2, -1):
        extra = size - array.shape[axis]
        if extra > 0:
            pad = [(0, 0)] * array.ndim
            pad[axis] = (extra // 2, extra - extra // 2)
            array = np.pad(array, pad, constant_values=fill)
        elif extra < 0:
            start = -extra // 2
            array = array.take(np.arange(start, start + size), axis=axis)
    return array
