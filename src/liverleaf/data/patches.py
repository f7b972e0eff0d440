"""Training batches of three-dimensional patches, drawn at random from prepared cases.

Shape suffixes: B patches, P channels, Z slices, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from liverleaf.data.augmentation import (
    SamplingConfig,
    crop_or_pad,
    degrade,
    move,
    normalisation_error,
)
from liverleaf.data.batch import BatchStream
from liverleaf.data.network_input import InputConfig, air
from liverleaf.data.normalisation import CONTRAST_LIMIT
from liverleaf.data.prepared import PreparedCase
from liverleaf.data.slices import UNTYPED, SliceDraw, keep_channels

SMALLEST_VOXELS = 4
"""A lesion of fewer voxels in a patch is not asked for there."""


@dataclass(frozen=True)
class PatchBatch:
    """Patches with their lesions.

    Attributes:
        images_BPZYX: normalised intensities.
        present_BP: bool, which channels are there.
        liver_BZYX: bool, the liver with its lesions.
        lesions_BZYX: uint8, lesions by label, 0 elsewhere.
        labels: per patch, the labels of the lesions that are asked for, int64.
        types: per patch, their types as indices into `InputConfig.types`, `UNTYPED` where nobody
            said, int64.
        normalised_B: bool, whether intensities are as right as a normalisation is; where they are
            not, only the liver can be told.
    """

    images_BPZYX: Tensor
    present_BP: Tensor
    liver_BZYX: Tensor
    lesions_BZYX: Tensor
    labels: tuple[Tensor, ...]
    types: tuple[Tensor, ...]
    normalised_B: Tensor

    def to(self, device: torch.device) -> PatchBatch:
        """The same on another device."""
        return PatchBatch(
            self.images_BPZYX.to(device),
            self.present_BP.to(device),
            self.liver_BZYX.to(device),
            self.lesions_BZYX.to(device),
            tuple(labels.to(device) for labels in self.labels),
            tuple(types.to(device) for types in self.types),
            self.normalised_B.to(device),
        )


class PatchSampler(BatchStream):
    """Draws patches from prepared cases; batch number `step` is the same whenever it is asked for.

    Args:
        cases: prepared cases, at least one.
        config: what the network sees.
        sampling: how to draw and vary; a slice is drawn, and a patch around a lesion in it, or
            around liver.
        slices: of a patch, at least 1; its rows and columns are `config.size`.
        seed: of the draws.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        config: InputConfig,
        sampling: SamplingConfig,
        *,
        slices: int,
        seed: int,
    ) -> None:
        if slices < 1:
            raise ValueError(f"a patch needs at least one slice, got slices={slices}")
        self.cases, self.config, self.sampling = cases, config, sampling
        self.slices, self.seed = slices, seed
        self._draw_slice = SliceDraw(cases, sampling)

    @property
    def samples_per_epoch(self) -> int:
        """One patch of each case."""
        return len(self.cases)

    def __call__(self, step: int) -> PatchBatch:
        """Batch number `step`."""
        rng = np.random.default_rng([self.seed, step])
        return _join([self._sample(rng) for _ in range(self.sampling.batch)])

    def _sample(self, rng: np.random.Generator) -> PatchBatch:
        case, z = self._draw_slice(rng)
        images_ZPYX, labels_Z2YX = self._cut(case, z, rng)
        present_P = keep_channels(
            np.array(case.present), self.config.channel_phases, self.sampling, rng
        )
        images_ZPYX, labels_Z2YX, normalised = self._show(case, images_ZPYX, labels_Z2YX, rng)
        liver_ZYX, lesions_ZYX = labels_Z2YX[:, 0] > 0, labels_Z2YX[:, 1]
        labels, types = _asked_for(case, lesions_ZYX)
        images_PZYX = np.clip(images_ZPYX, -CONTRAST_LIMIT, CONTRAST_LIMIT).swapaxes(0, 1)
        return PatchBatch(
            images_BPZYX=torch.from_numpy(np.ascontiguousarray(images_PZYX))[None],
            present_BP=torch.from_numpy(present_P)[None],
            liver_BZYX=torch.from_numpy(liver_ZYX)[None],
            lesions_BZYX=torch.from_numpy(np.ascontiguousarray(lesions_ZYX))[None],
            labels=(torch.tensor(labels, dtype=torch.int64),),
            types=(torch.tensor(types, dtype=torch.int64),),
            normalised_B=torch.tensor([normalised]),
        )

    def _cut(
        self, case: PreparedCase, z: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """A block around a place in a slice, with a margin in the plane to move in."""
        size, slices = self.config.size, self.slices
        margin = size // 4 if self.sampling.augment else 0
        first = z - slices // 2 + int(rng.integers(-(slices // 4), slices // 4 + 1))
        middle = _place(case.slice(z)[1], rng)
        rows, columns = case.plane
        box = [_window(first + slices // 2, slices, case.slices)]
        box += [
            _window(at, size + margin, length)
            for at, length in zip(middle, (rows, columns), strict=True)
        ]
        images_ZPYX, labels_Z2YX = case.block((box[0], box[1], box[2]))
        return (
            _pad(images_ZPYX, slices, size, air(self.config.modality)),
            _pad(labels_Z2YX, slices, size, 0),
        )

    def _show(
        self,
        case: PreparedCase,
        images_ZPYX: NDArray[np.float32],
        labels_Z2YX: NDArray[np.uint8],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8], bool]:
        """The block at the patch's size, varied at random with `augment`; whether normalised."""
        size = self.config.size
        if not self.sampling.augment:
            floor = air(self.config.modality)
            return crop_or_pad(images_ZPYX, size, floor), crop_or_pad(labels_Z2YX, size, 0), True
        slices, channels = images_ZPYX.shape[:2]
        # all slices move alike: they are channels of one image
        flat, flat_labels, _ = move(
            images_ZPYX.reshape(-1, *images_ZPYX.shape[2:]),
            labels_Z2YX.reshape(-1, *labels_Z2YX.shape[2:]),
            self.config,
            rng,
            self.sampling,
            pixel_mm=float(np.mean(case.pixel_mm)),
        )
        normalised = bool(rng.random() >= self.sampling.wrong_normalisation)
        gain_P, offset_P = normalisation_error(
            channels, self.config.modality, rng, wrong=not normalised
        )
        images = flat.reshape(slices, channels, size, size)
        images = images * gain_P[:, None, None] + offset_P[:, None, None]
        images = degrade(images.reshape(-1, size, size), rng, self.sampling)
        return (
            images.reshape(slices, channels, size, size),
            flat_labels.reshape(slices, 2, size, size),
            normalised,
        )


def _place(labels_2YX: NDArray[np.uint8], rng: np.random.Generator) -> tuple[int, int]:
    """Row and column of a lesion in a slice, or of the liver, or anywhere."""
    for mask_YX in labels_2YX[::-1]:
        rows, columns = np.nonzero(mask_YX)
        if len(rows):
            chosen = int(rng.integers(len(rows)))
            return int(rows[chosen]), int(columns[chosen])
    height, width = labels_2YX.shape[1:]
    return int(rng.integers(height)), int(rng.integers(width))


def _window(middle: int, length: int, whole: int) -> slice:
    """So much around a place, moved to lie inside; all where there is less."""
    start = min(max(middle - length // 2, 0), max(whole - length, 0))
    return slice(start, min(start + length, whole))


def _pad(array_ZCYX: NDArray, slices: int, size: int, fill: float) -> NDArray:
    """Padded about its middle to at least so many slices, rows and columns."""
    missing = [
        max(wanted - length, 0)
        for wanted, length in zip((slices, 0, size, size), array_ZCYX.shape, strict=True)
    ]
    if not any(missing):
        return array_ZCYX
    return np.pad(array_ZCYX, [(n // 2, n - n // 2) for n in missing], constant_values=fill)


def _asked_for(case: PreparedCase, lesions_ZYX: NDArray[np.uint8]) -> tuple[list[int], list[int]]:
    """Labels and types of the lesions that a patch shows enough of."""
    voxels = np.bincount(lesions_ZYX.ravel())
    labels = [int(n) for n in np.flatnonzero(voxels >= SMALLEST_VOXELS) if n > 0]
    type_of = {lesion.label: lesion.type for lesion in case.lesions}
    return labels, [type_of.get(label, UNTYPED) for label in labels]


def _join(patches: Sequence[PatchBatch]) -> PatchBatch:
    return PatchBatch(
        torch.cat([patch.images_BPZYX for patch in patches]),
        torch.cat([patch.present_BP for patch in patches]),
        torch.cat([patch.liver_BZYX for patch in patches]),
        torch.cat([patch.lesions_BZYX for patch in patches]),
        tuple(labels for patch in patches for labels in patch.labels),
        tuple(types for patch in patches for types in patch.types),
        torch.cat([patch.normalised_B for patch in patches]),
    )
