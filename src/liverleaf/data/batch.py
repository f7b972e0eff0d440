"""Batches of training: how they are numbered, and one of slices with their lesions.

Shape suffixes: B slices, P channels, K masks, L lesions, R regions, Y rows, X columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class BatchStream(ABC):
    """The batches of a training by number: batch `step` is the same whenever it is asked for.

    So training can stop anywhere and go on exactly as if it had not. A batch may be of any class
    that the family's trainer takes and that has `to(device)`.
    """

    @property
    @abstractmethod
    def samples_per_epoch(self) -> int:
        """How many samples one pass over the cases has."""

    @abstractmethod
    def __call__(self, step: int) -> Any:
        """Batch number `step`."""

    def stream(self, start: int, stop: int) -> Iterator[Any]:
        """Batches from `start` to `stop`, each made while the one before is being trained on."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            upcoming = pool.submit(self, start)
            for step in range(start, stop):
                batch = upcoming.result()
                if step + 1 < stop:
                    upcoming = pool.submit(self, step + 1)
                yield batch


class Regions(NamedTuple):
    """Where the lesions of a batch are.

    Attributes:
        weights_LRYX: the share of each pixel that belongs to the core, the rim and the surround of
            each lesion, in [0, 1].
        slice_L: the slice of the batch that each lesion is in, int64.
        area_L: area of each lesion in that slice in mm2.
    """

    weights_LRYX: Tensor
    slice_L: Tensor
    area_L: Tensor

    def to(self, device: torch.device) -> Regions:
        """The same on another device."""
        return Regions(
            self.weights_LRYX.to(device), self.slice_L.to(device), self.area_L.to(device)
        )


@dataclass(frozen=True)
class SliceBatch:
    """Slices with their lesions.

    Attributes:
        images_BPYX: normalised intensities.
        present_BP: bool, which channels are there.
        masks_BKYX: true masks, [liver with lesions, lesion] or [lesion].
        supervised_BK: bool, which masks the truth is known of and the loss is computed on.
        regions: where the lesions are.
        curve_LP: true mean per lesion and channel, normalised; NaN where unknown.
        type_L: index into `InputConfig.types`.
    """

    images_BPYX: Tensor
    present_BP: Tensor
    masks_BKYX: Tensor
    supervised_BK: Tensor
    regions: Regions
    curve_LP: Tensor
    type_L: Tensor

    def to(self, device: torch.device) -> SliceBatch:
        """The same on another device."""
        return SliceBatch(
            **{name: getattr(self, name).to(device) for name in self.__dataclass_fields__}
        )


def collate(samples: Sequence[SliceBatch]) -> SliceBatch:
    """Join batches into one; each lesion's slice is counted anew."""
    offsets = np.cumsum([0] + [len(sample.images_BPYX) for sample in samples])
    slices = [
        sample.regions.slice_L + int(offset)
        for sample, offset in zip(samples, offsets, strict=False)
    ]
    return SliceBatch(
        **{
            name: torch.cat([getattr(sample, name) for sample in samples])
            for name in SliceBatch.__dataclass_fields__
            if name != "regions"
        },
        regions=Regions(
            torch.cat([sample.regions.weights_LRYX for sample in samples]),
            torch.cat(slices),
            torch.cat([sample.regions.area_L for sample in samples]),
        ),
    )
