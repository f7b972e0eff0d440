"""One training batch of slices, and how batches are joined.

Shape suffixes: B slices, P phases, K masks, L lesions, R regions, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


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


def collate(samples: Sequence[Batch]) -> Batch:
    """Join batches into one; lesions are told which slice they are in."""
    offsets = np.cumsum([0] + [len(sample.images_BPYX) for sample in samples])
    slices = [
        sample.regions.slice_L + int(offset)
        for sample, offset in zip(samples, offsets, strict=False)
    ]
    return Batch(
        **{
            name: torch.cat([getattr(sample, name) for sample in samples])
            for name in (
                "images_BPYX",
                "present_BP",
                "masks_BKYX",
                "counts_BK",
                "curve_LP",
                "type_L",
            )
        },
        regions=Regions(
            torch.cat([sample.regions.weights_LRYX for sample in samples]),
            torch.cat(slices),
            torch.cat([sample.regions.area_L for sample in samples]),
        ),
    )
