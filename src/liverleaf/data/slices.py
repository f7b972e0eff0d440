"""Training batches of slices, drawn at random from prepared cases.

Shape suffixes: B slices, P channels, K masks, L lesions, R regions, Z slices of a volume, Y rows, X
columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from liverleaf.data.augmentation import (
    SamplingConfig,
    crop_or_pad,
    degrade,
    move,
    normalisation_error,
)
from liverleaf.data.batch import BatchStream, Regions, SliceBatch, collate
from liverleaf.data.network_input import InputConfig, air, lesion_regions
from liverleaf.data.normalisation import CONTRAST_LIMIT
from liverleaf.data.prepared import PreparedCase, PreparedLesion
from liverleaf.study import Phase

UNTYPED = -1
SMALLEST_PIXELS = 4
"""A lesion of fewer pixels in a slice teaches neither curve nor type there."""


class _Slice(NamedTuple):
    """A slice as it is shown in training.

    Attributes:
        images_PYX: normalised intensities.
        labels_2YX: liver with lesions, and lesions by label.
        pixel_mm: size of a pixel in mm.
        gain_P, offset_P: what the channels' normalisation is wrong by.
        normalised: whether that is no more than a normalisation errs.
    """

    images_PYX: NDArray[np.float32]
    labels_2YX: NDArray[np.uint8]
    pixel_mm: float
    gain_P: NDArray[np.float32]
    offset_P: NDArray[np.float32]
    normalised: bool


class _SliceLesions(NamedTuple):
    """Regions (R, Y, X), area in mm2, curve and type of each lesion that a slice teaches."""

    regions: list[NDArray[np.float32]]
    areas_mm2: list[float]
    curves: list[Sequence[float]]
    types: list[int]


class SliceDraw:
    """Draws a slice: one with a lesion, types alike likely; one with liver; or any.

    Args:
        cases: prepared cases, at least one.
        sampling: how often which.
    """

    def __init__(self, cases: Sequence[PreparedCase], sampling: SamplingConfig) -> None:
        if not cases:
            raise ValueError("a sampler needs at least one case, got none")
        self.cases, self.sampling = cases, sampling
        self._lesions: dict[int, list[tuple[int, PreparedLesion]]] = {}
        for index, case in enumerate(cases):
            for lesion in case.lesions:
                self._lesions.setdefault(lesion.type, []).append((index, lesion))
        self._untyped = [
            (index, z) for index, case in enumerate(cases) for z in case.untyped_slices
        ]

    def __call__(self, rng: np.random.Generator) -> tuple[PreparedCase, int]:
        """A case and the index of a slice of it."""
        draw = rng.random()
        if draw < self.sampling.lesion_share and (self._lesions or self._untyped):
            drawn = [*sorted(self._lesions), *([UNTYPED] if self._untyped else [])]
            lesion_type = int(rng.choice(drawn))
            if lesion_type == UNTYPED:
                index, z = self._untyped[int(rng.integers(len(self._untyped)))]
                return self.cases[index], z
            lesions = self._lesions[lesion_type]
            size = (
                np.array([sum(lesion.pixels.values()) for _, lesion in lesions], float)
                ** self.sampling.size_exponent
            )
            index, lesion = lesions[int(rng.choice(len(lesions), p=size / size.sum()))]
            area = np.array(list(lesion.pixels.values()), float)
            return self.cases[index], int(rng.choice(list(lesion.pixels), p=area / area.sum()))
        case = self.cases[int(rng.integers(len(self.cases)))]
        if draw < self.sampling.lesion_share + self.sampling.liver_share and case.liver_slices:
            return case, int(rng.choice(case.liver_slices))
        return case, int(rng.integers(case.slices))


def keep_channels(
    present_P: NDArray[np.bool_],
    phases: Sequence[Phase | None],
    sampling: SamplingConfig,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Which channels are shown: all that are there, one, or any subset of them.

    Args:
        present_P: the channels that are there, at least one.
        phases: the phase of each channel, as `InputConfig.channel_phases`.
        sampling: how often which.
        rng: where randomness comes from.
    """
    draw, scanned = rng.random(), np.flatnonzero(present_P)
    if draw < sampling.all_phases:
        return present_P
    count = (
        1
        if draw < sampling.all_phases + sampling.one_phase
        else int(rng.integers(1, len(scanned) + 1))
    )
    # the phase that a lone series most often is
    portal = np.array([phase is Phase.PORTAL for phase in phases])
    weight = np.where(portal[scanned], 3.0, 1.0)
    kept = rng.choice(scanned, size=count, replace=False, p=weight / weight.sum())
    return np.isin(np.arange(len(present_P)), kept)


class SliceSampler(BatchStream):
    """Draws slices from prepared cases; batch number `step` is the same whenever it is asked for.

    Args:
        cases: prepared cases, at least one.
        config: what the network sees.
        sampling: how to draw and vary.
        masks: 2 for [liver with lesions, lesion], 1 for the lesion alone.
        per_lesion: one curve and type per lesion, or one per slice (that of its largest lesion; the
            mean curve over all).
        seed: of the draws.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        config: InputConfig,
        sampling: SamplingConfig,
        *,
        masks: int,
        per_lesion: bool,
        seed: int,
    ) -> None:
        self.cases, self.config, self.sampling = cases, config, sampling
        self.masks, self.per_lesion, self.seed = masks, per_lesion, seed
        self._draw_slice = SliceDraw(cases, sampling)

    @property
    def samples_per_epoch(self) -> int:
        """The slices of all cases."""
        return sum(case.slices for case in self.cases)

    def __call__(self, step: int) -> SliceBatch:
        """Batch number `step`."""
        rng = np.random.default_rng([self.seed, step])
        return collate([self._sample(rng) for _ in range(self.sampling.batch)])

    def _sample(self, rng: np.random.Generator) -> SliceBatch:
        case, z = self._draw_slice(rng)
        images_PYX, labels_2YX = case.slice(z)
        present_P = keep_channels(
            np.array(case.present), self.config.channel_phases, self.sampling, rng
        )
        shown = self._show(images_PYX, labels_2YX, float(np.mean(case.pixel_mm)), rng)
        liver_YX, lesion_YX = shown.labels_2YX
        masks = np.stack([liver_YX > 0, lesion_YX > 0])[-self.masks :]
        # wrongly normalised, a lesion cannot be told from liver; the liver itself can
        supervised = np.array([True, shown.normalised])[-self.masks :]
        lesions = _SliceLesions([], [], [], [])
        if shown.normalised:
            lesions = self._lesions_of(case, lesion_YX, shown.pixel_mm, rng)
        curve_LP = np.array(lesions.curves, np.float32).reshape(-1, len(present_P))
        return SliceBatch(
            images_BPYX=torch.from_numpy(
                np.clip(shown.images_PYX, -CONTRAST_LIMIT, CONTRAST_LIMIT)
            )[None],
            present_BP=torch.from_numpy(present_P)[None],
            masks_BKYX=torch.from_numpy(masks.astype(np.float32))[None],
            supervised_BK=torch.from_numpy(supervised)[None],
            regions=Regions(
                torch.from_numpy(
                    np.array(lesions.regions, np.float32).reshape(-1, 3, *lesion_YX.shape)
                ),
                torch.zeros(len(lesions.types), dtype=torch.int64),
                torch.tensor(lesions.areas_mm2, dtype=torch.float32),
            ),
            curve_LP=torch.from_numpy(curve_LP * shown.gain_P + shown.offset_P),
            type_L=torch.tensor(lesions.types, dtype=torch.int64),
        )

    def _show(
        self,
        images_PYX: NDArray[np.float32],
        labels_2YX: NDArray[np.uint8],
        pixel_mm: float,
        rng: np.random.Generator,
    ) -> _Slice:
        """The slice at the network's size, varied at random with `augment`."""
        channels, size = len(images_PYX), self.config.size
        if not self.sampling.augment:
            images_PYX = crop_or_pad(images_PYX, size, air(self.config.modality))
            one_P, zero_P = np.ones(channels, np.float32), np.zeros(channels, np.float32)
            return _Slice(
                images_PYX, crop_or_pad(labels_2YX, size, 0), pixel_mm, one_P, zero_P, True
            )
        images_PYX, labels_2YX, zoom = move(
            images_PYX, labels_2YX, self.config, rng, self.sampling, pixel_mm=pixel_mm
        )
        normalised = bool(rng.random() >= self.sampling.wrong_normalisation)
        gain_P, offset_P = normalisation_error(
            channels, self.config.modality, rng, wrong=not normalised
        )
        images_PYX = images_PYX * gain_P[:, None, None] + offset_P[:, None, None]
        images_PYX = degrade(images_PYX, rng, self.sampling)
        return _Slice(images_PYX, labels_2YX, pixel_mm / zoom, gain_P, offset_P, normalised)

    def _lesions_of(
        self,
        case: PreparedCase,
        lesion_YX: NDArray[np.uint8],
        pixel_mm: float,
        rng: np.random.Generator,
    ) -> _SliceLesions:
        shown = [(lesion, lesion_YX == lesion.label) for lesion in case.lesions]
        shown = [(lesion, mask) for lesion, mask in shown if mask.sum() >= SMALLEST_PIXELS]
        if not shown:
            return _SliceLesions([], [], [], [])
        sizes = np.array([mask.sum() for _, mask in shown], float)
        if not self.per_lesion:
            curve = np.average([lesion.curve for lesion, _ in shown], axis=0, weights=sizes)
            together = np.logical_or.reduce([mask for _, mask in shown])
            return _SliceLesions(
                [lesion_regions(together, pixel_mm=pixel_mm)],
                [float(sizes.sum()) * pixel_mm**2],
                [curve.tolist()],
                [shown[int(sizes.argmax())][0].type],
            )
        # outlines are never exact, neither people's nor networks'
        margins = np.zeros(len(shown))
        if self.sampling.augment:
            margins = rng.uniform(-1.2, 1.2, len(shown)) * pixel_mm
        return _SliceLesions(
            [
                lesion_regions(mask, pixel_mm=pixel_mm, margin_mm=margin)
                for (_, mask), margin in zip(shown, margins, strict=True)
            ],
            (sizes * pixel_mm**2).tolist(),
            [lesion.curve for lesion, _ in shown],
            [lesion.type for lesion, _ in shown],
        )
