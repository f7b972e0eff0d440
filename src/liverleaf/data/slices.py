"""Prepared cases in, training batches of slices out.

A batch is a pure function of the seed and the step: training can stop anywhere and go on exactly as
if it had not.

Shape suffixes: B slices, P phases, K masks, L lesions, R regions, Z slices of a volume, Y rows, X
columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

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
from liverleaf.data.batch import Batch, Regions, collate
from liverleaf.data.network_input import InputConfig, air, lesion_regions
from liverleaf.data.normalisation import CONTRAST_LIMIT
from liverleaf.data.prepared import PreparedCase, PreparedLesion
from liverleaf.study import Phase

UNTYPED = -1


class Sampler:
    """Draws batches from prepared cases; batch number `step` is the same whenever it is asked for.

    Args:
        cases: prepared cases, at least one.
        config: the network's view.
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
        if not cases:
            raise ValueError("a sampler needs at least one case, got none")
        self.cases, self.config, self.sampling = cases, config, sampling
        self.masks, self.per_lesion, self.seed = masks, per_lesion, seed
        self._lesions: dict[int, list[tuple[int, PreparedLesion]]] = {}
        for index, case in enumerate(cases):
            for lesion in case.lesions:
                self._lesions.setdefault(lesion.type, []).append((index, lesion))
        self._untyped = [
            (index, z) for index, case in enumerate(cases) for z in case.untyped_slices
        ]

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
            images_PYX, labels_2YX, zoom = move(
                images_PYX, labels_2YX, self.config, rng, self.sampling, pixel_mm=pixel_mm
            )
            pixel_mm /= zoom
            calibrated = rng.random() >= self.sampling.uncalibrated
            gain_P, offset_P = normalisation_error(
                len(present_P), self.config.modality, rng, wrong=not calibrated
            )
            images_PYX = images_PYX * gain_P[:, None, None] + offset_P[:, None, None]
            images_PYX = degrade(images_PYX, rng, self.sampling)
        else:
            images_PYX = crop_or_pad(images_PYX, self.config.size, air(self.config.modality))
            labels_2YX = crop_or_pad(labels_2YX, self.config.size, 0)
        liver_YX, lesion_YX = labels_2YX
        masks = np.stack([liver_YX > 0, lesion_YX > 0])[-self.masks :]
        counts = np.array([True, calibrated])[-self.masks :]
        regions, areas, curves, types = (
            self._lesions_of(case, lesion_YX, pixel_mm, rng) if calibrated else ([], [], [], [])
        )
        return Batch(
            images_BPYX=torch.from_numpy(np.clip(images_PYX, -CONTRAST_LIMIT, CONTRAST_LIMIT))[
                None
            ],
            present_BP=torch.from_numpy(present_P)[None],
            masks_BKYX=torch.from_numpy(masks.astype(np.float32))[None],
            counts_BK=torch.from_numpy(counts)[None],
            regions=Regions(
                torch.from_numpy(np.array(regions, np.float32).reshape(-1, 3, *lesion_YX.shape)),
                torch.zeros(len(areas), dtype=torch.int64),
                torch.tensor(areas, dtype=torch.float32),
            ),
            curve_LP=torch.from_numpy(
                np.array(curves, np.float32).reshape(-1, len(present_P)) * gain_P + offset_P
            ),
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

    def _keep_phases(
        self, present_P: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[np.bool_]:
        draw, scanned = rng.random(), np.flatnonzero(present_P)
        if draw < self.sampling.all_phases:
            return present_P
        count = (
            1
            if draw < self.sampling.all_phases + self.sampling.one_phase
            else int(rng.integers(1, len(scanned) + 1))
        )
        # the phase that a lone series most often is
        portal = np.array([phase is Phase.PORTAL for phase in self.config.phases])
        weight = np.where(portal[scanned], 3.0, 1.0)
        kept = rng.choice(scanned, size=count, replace=False, p=weight / weight.sum())
        return np.isin(np.arange(len(present_P)), kept)

    def _lesions_of(
        self,
        case: PreparedCase,
        lesion_YX: NDArray[np.uint8],
        pixel_mm: float,
        rng: np.random.Generator,
    ) -> tuple[list[NDArray[np.float32]], list[float], list[Sequence[float]], list[int]]:
        found = [(lesion, lesion_YX == lesion.label) for lesion in case.lesions]
        found = [(lesion, mask) for lesion, mask in found if mask.sum() >= 4]
        if not found:
            return [], [], [], []
        sizes = np.array([mask.sum() for _, mask in found], float)
        if not self.per_lesion:
            curve = np.average([lesion.curve for lesion, _ in found], axis=0, weights=sizes)
            regions = [
                lesion_regions(np.logical_or.reduce([mask for _, mask in found]), pixel_mm=pixel_mm)
            ]
            return (
                regions,
                [float(sizes.sum()) * pixel_mm**2],
                [curve.tolist()],
                [found[int(sizes.argmax())][0].type],
            )
        margins = (
            rng.uniform(-1.2, 1.2, len(found)) * pixel_mm
            if self.sampling.augment
            else np.zeros(len(found))
        )
        regions = [
            lesion_regions(mask, pixel_mm=pixel_mm, margin_mm=m)
            for (_, mask), m in zip(found, margins, strict=True)
        ]
        return (
            regions,
            (sizes * pixel_mm**2).tolist(),
            [lesion.curve for lesion, _ in found],
            [lesion.type for lesion, _ in found],
        )
