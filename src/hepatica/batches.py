"""Prepared cases in, training batches out.

A batch is a pure function of the seed and the step: training can stop anywhere and go on exactly as if it had not.

Shape suffixes: B slices, P phases, K masks, L lesions, R regions, Z slices of a volume, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from hepatica.calibration import CONTRAST_LIMIT
from hepatica.grid import InputConfig, air, lesion_regions
from hepatica.nets.mti_net import Regions
from hepatica.prepared import PreparedCase, PreparedLesion
from hepatica.study import Modality, Phase

UNTYPED = -1


@dataclass(frozen=True)
class SamplingConfig:
    """How batches are drawn and varied.

    Attributes:
        batch: slices per batch.
        lesion_share, liver_share: share of slices with a lesion (types drawn evenly, unknown ones as one more) and with liver; the rest is
            drawn from everywhere.
        size_exponent: among lesions of a type, one is drawn with probability proportional to its pixels to this power; 0 draws small and
            giant ones alike, 1 by volume.
        zoom_sd: standard deviation of the logarithm of the random magnification.
        bend_mm: standard deviation of a smooth random displacement along each axis.
        blur_pixels: largest standard deviation of the random blur that half of the slices get.
        unevenness: standard deviation of a smooth field added to the contrast, one for all phases.
        augment: whether slices are moved, scaled and made noisy, and all of the above.
        all_phases: probability that every scanned phase is kept.
        one_phase: probability that only one is kept; otherwise any subset.
        uncalibrated: share of slices shown with a wrong calibration, on which only the liver is asked for.
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
    uncalibrated: float = 0.15

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"a batch needs at least one slice, got batch={self.batch}")


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        images_BPYX: contrast to the liver.
        present_BP: which phases are there.
        masks_BKYX: truth, [liver with lesions, lesion] or [lesion].
        counts_BK: which masks the loss may ask for.
        regions: where the lesions are.
        curve_LP: true mean per lesion and phase, in contrast to the liver.
        type_L: index into `InputConfig.types`.
    """

    images_BPYX: Tensor
    present_BP: Tensor
    masks_BKYX: Tensor
    counts_BK: Tensor
    regions: Regions
    curve_LP: Tensor
    type_L: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(**{name: getattr(self, name).to(device) for name in self.__dataclass_fields__})


class Sampler:
    """Draws batches from prepared cases; batch number `step` is the same whenever it is asked for.

    Args:
        cases: prepared cases, at least one.
        config: the network's view.
        sampling: how to draw and vary.
        masks: 2 for [liver with lesions, lesion], 1 for the lesion alone.
        per_lesion: one curve and type per lesion, or one per slice (that of its largest lesion; the mean curve over all).
        seed: of the draws.
    """

    def __init__(
        self, cases: Sequence[PreparedCase], config: InputConfig, sampling: SamplingConfig, *, masks: int, per_lesion: bool, seed: int
    ) -> None:
        if not cases:
            raise ValueError("a sampler needs at least one case, got none")
        self.cases, self.config, self.sampling = cases, config, sampling
        self.masks, self.per_lesion, self.seed = masks, per_lesion, seed
        self._lesions: dict[int, list[tuple[int, PreparedLesion]]] = {}
        for index, case in enumerate(cases):
            for lesion in case.lesions:
                self._lesions.setdefault(lesion.type, []).append((index, lesion))
        self._untyped = [(index, z) for index, case in enumerate(cases) for z in case.untyped_slices]

    def __call__(self, step: int) -> Batch:
        """Batch number `step`."""
        rng = np.random.default_rng([self.seed, step])
        return collate([self._sample(rng) for _ in range(self.sampling.batch)])

    def stream(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches from `start` to `stop`, each made while the one before is being trained on."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            upcoming = pool.submit(self, start)
            for step in range(start, stop):
                batch = upcoming.result()
                if step + 1 < stop:
                    upcoming = pool.submit(self, step + 1)
                yield batch

    def _sample(self, rng: np.random.Generator) -> Batch:
        case, z = self._place(rng)
        images_PYX, labels_2YX = case.slice(z)
        present_P = self._keep_phases(np.array(case.present), rng)
        pixel_mm = float(np.mean(case.pixel_mm))
        calibrated = True
        gain_P, offset_P = np.ones(len(present_P), np.float32), np.zeros(len(present_P), np.float32)
        if self.sampling.augment:
            images_PYX, labels_2YX, zoom = _move(images_PYX, labels_2YX, self.config, rng, self.sampling, pixel_mm=pixel_mm)
            pixel_mm /= zoom
            calibrated = rng.random() >= self.sampling.uncalibrated
            gain_P, offset_P = _calibration_error(len(present_P), self.config.modality, rng, wrong=not calibrated)
            images_PYX = images_PYX * gain_P[:, None, None] + offset_P[:, None, None]
            images_PYX = _worsened(images_PYX, rng, self.sampling)
        else:
            images_PYX = _fit(images_PYX, self.config.size, air(self.config.modality))
            labels_2YX = _fit(labels_2YX, self.config.size, 0)
        liver_YX, lesion_YX = labels_2YX
        masks = np.stack([liver_YX > 0, lesion_YX > 0])[-self.masks :]
        counts = np.array([True, calibrated])[-self.masks :]
        regions, areas, curves, types = self._lesions_of(case, lesion_YX, pixel_mm, rng) if calibrated else ([], [], [], [])
        return Batch(
            images_BPYX=torch.from_numpy(np.clip(images_PYX, -CONTRAST_LIMIT, CONTRAST_LIMIT))[None],
            present_BP=torch.from_numpy(present_P)[None],
            masks_BKYX=torch.from_numpy(masks.astype(np.float32))[None],
            counts_BK=torch.from_numpy(counts)[None],
            regions=Regions(
                torch.from_numpy(np.array(regions, np.float32).reshape(-1, 3, *lesion_YX.shape)),
                torch.zeros(len(areas), dtype=torch.int64),
                torch.tensor(areas, dtype=torch.float32),
            ),
            curve_LP=torch.from_numpy(np.array(curves, np.float32).reshape(-1, len(present_P)) * gain_P + offset_P),
            type_L=torch.tensor(types, dtype=torch.int64),
        )

    def _place(self, rng: np.random.Generator) -> tuple[PreparedCase, int]:
        draw = rng.random()
        if draw < self.sampling.lesion_share and (self._lesions or self._untyped):
            kind = int(rng.choice([*sorted(self._lesions), *([UNTYPED] if self._untyped else [])]))
            if kind == UNTYPED:
                index, z = self._untyped[int(rng.integers(len(self._untyped)))]
                return self.cases[index], z
            lesions = self._lesions[kind]
            size = np.array([sum(lesion.pixels.values()) for _, lesion in lesions], float) ** self.sampling.size_exponent
            index, lesion = lesions[int(rng.choice(len(lesions), p=size / size.sum()))]
            area = np.array(list(lesion.pixels.values()), float)
            return self.cases[index], int(rng.choice(list(lesion.pixels), p=area / area.sum()))
        case = self.cases[int(rng.integers(len(self.cases)))]
        if draw < self.sampling.lesion_share + self.sampling.liver_share and case.liver_slices:
            return case, int(rng.choice(case.liver_slices))
        return case, int(rng.integers(case.slices))

    def _keep_phases(self, present_P: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
        draw, scanned = rng.random(), np.flatnonzero(present_P)
        if draw < self.sampling.all_phases:
            return present_P
        count = 1 if draw < self.sampling.all_phases + self.sampling.one_phase else int(rng.integers(1, len(scanned) + 1))
        portal = np.array([phase is Phase.PORTAL for phase in self.config.phases])  # the phase that a lone series most often is
        weight = np.where(portal[scanned], 3.0, 1.0)
        kept = rng.choice(scanned, size=count, replace=False, p=weight / weight.sum())
        return np.isin(np.arange(len(present_P)), kept)

    def _lesions_of(
        self, case: PreparedCase, lesion_YX: NDArray[np.uint8], pixel_mm: float, rng: np.random.Generator
    ) -> tuple[list[NDArray[np.float32]], list[float], list[Sequence[float]], list[int]]:
        found = [(lesion, lesion_YX == lesion.label) for lesion in case.lesions]
        found = [(lesion, mask) for lesion, mask in found if mask.sum() >= 4]
        if not found:
            return [], [], [], []
        sizes = np.array([mask.sum() for _, mask in found], float)
        if not self.per_lesion:
            curve = np.average([lesion.curve for lesion, _ in found], axis=0, weights=sizes)
            regions = [lesion_regions(np.logical_or.reduce([mask for _, mask in found]), pixel_mm=pixel_mm)]
            return regions, [float(sizes.sum()) * pixel_mm**2], [curve.tolist()], [found[int(sizes.argmax())][0].type]
        margins = rng.uniform(-1.2, 1.2, len(found)) * pixel_mm if self.sampling.augment else np.zeros(len(found))
        regions = [lesion_regions(mask, pixel_mm=pixel_mm, margin_mm=m) for (_, mask), m in zip(found, margins, strict=True)]
        return regions, (sizes * pixel_mm**2).tolist(), [lesion.curve for lesion, _ in found], [lesion.type for lesion, _ in found]


def collate(samples: Sequence[Batch]) -> Batch:
    """Join batches into one; lesions are told which slice they are in."""
    offsets = np.cumsum([0] + [len(sample.images_BPYX) for sample in samples])
    slices = [sample.regions.slice_L + int(offset) for sample, offset in zip(samples, offsets, strict=False)]
    return Batch(
        **{
            name: torch.cat([getattr(sample, name) for sample in samples])
            for name in ("images_BPYX", "present_BP", "masks_BKYX", "counts_BK", "curve_LP", "type_L")
        },
        regions=Regions(
            torch.cat([sample.regions.weights_LRYX for sample in samples]),
            torch.cat(slices),
            torch.cat([sample.regions.area_L for sample in samples]),
        ),
    )


def _move(
    images_PYX: NDArray[np.float32],
    labels_2YX: NDArray[np.uint8],
    config: InputConfig,
    rng: np.random.Generator,
    sampling: SamplingConfig,
    *,
    pixel_mm: float,
) -> tuple[NDArray[np.float32], NDArray[np.uint8], float]:
    """Rotate, scale, shear slightly, bend, shift and crop both alike; also says by how much the pixels were magnified."""
    angle, zoom, shear = rng.normal(0, 0.12), float(np.exp(rng.normal(0, sampling.zoom_sd))), rng.normal(0, 0.05)
    rows, columns = images_PYX.shape[1:]
    turn = np.array([[np.cos(angle), -np.sin(angle) + shear], [np.sin(angle), np.cos(angle)]]) / zoom
    slack = np.maximum(np.array([columns, rows]) - config.size, 0) / 2 + 0.06 * config.size
    shift = rng.uniform(-slack, slack)
    theta = np.empty((2, 3), np.float32)  # maps output to input, in grid_sample's units of half an image
    theta[:, :2] = turn * config.size / np.array([[columns], [rows]])
    theta[:, 2] = 2 * shift / np.array([columns, rows])
    grid = F.affine_grid(torch.from_numpy(theta)[None], [1, 1, config.size, config.size], align_corners=False)
    if sampling.bend_mm:
        bend = sampling.bend_mm / pixel_mm * _smooth_fields(rng, 2, 5, config.size) / torch.tensor([columns / 2, rows / 2])[:, None, None]
        grid = grid + bend.permute(1, 2, 0)
    floor = air(config.modality)
    moved = F.grid_sample(torch.from_numpy(images_PYX - floor)[None], grid, align_corners=False)[0].numpy() + np.float32(floor)
    labels = F.grid_sample(torch.from_numpy(labels_2YX.astype(np.float32))[None], grid, mode="nearest", align_corners=False)[0]
    return moved, labels.numpy().round().astype(np.uint8), zoom


def _smooth_fields(rng: np.random.Generator, fields: int, knots: int, size: int) -> Tensor:
    """Smooth random fields of about unit variance, (fields, size, size), from a coarse grid of knots."""
    coarse = torch.from_numpy(rng.standard_normal((1, fields, knots, knots), dtype=np.float32))
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)[0]


def _worsened(images_PYX: NDArray[np.float32], rng: np.random.Generator, sampling: SamplingConfig) -> NDArray[np.float32]:
    """Blurred, uneven and noisy, as other scanners and reconstructions are."""
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
        noise = gaussian_filter(noise, (0, sd, sd), truncate=3) * np.float32(2 * np.sqrt(np.pi) * sd)
    return images_PYX + amplitude * noise


def _calibration_error(
    phases: int, modality: Modality, rng: np.random.Generator, *, wrong: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gain and offset of each phase: small, as a calibration errs; or large, as before the first calibration."""
    if modality is Modality.CT:
        gain, offset = rng.uniform(0.9, 1.1, phases), rng.normal(0, 0.6 if wrong else 0.08, phases)
    else:
        gain = np.exp(rng.normal(0, 0.35 if wrong else 0.04, phases))
        offset = 2 * gain - 2  # a scale of the signal: contrast + 2 is proportional to it
    return gain.astype(np.float32), offset.astype(np.float32)


def _fit(array: NDArray, size: int, fill: float) -> NDArray:
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
