"""Masks of organs and lesions in one study, whoever drew them: a network, a person, another program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import highdicom as hd
import numpy as np

from liverleaf.study import same_grid
from liverleaf.terminology import Organ


@dataclass(frozen=True)
class Segmentation:
    """Masks on the reference phase's grid.

    Attributes:
        lesions: instance labels, unsigned integers of shape (Z, Y, X): 0 outside, 1, 2, ... inside.
        organs: a bool mask of shape (Z, Y, X) per organ that was outlined, the liver with its
            lesions and vessels. An organ that nobody outlined is absent, which is not the same as
            an empty mask: looked for and not found.
        source: who drew them: the name of a model, of a program, or "manual".

    Raises:
        ValueError: the labels are no unsigned integers, an organ's mask is not bool, or the masks
            lie on different grids.
    """

    lesions: hd.Volume
    organs: Mapping[Organ, hd.Volume]
    source: str

    def __post_init__(self) -> None:
        if not np.issubdtype(self.lesions.array.dtype, np.unsignedinteger):
            raise ValueError(f"lesion labels are unsigned integers, got {self.lesions.array.dtype}")
        for organ, mask in self.organs.items():
            if mask.array.dtype != bool:
                raise ValueError(f"the mask of {organ.name} is bool, got {mask.array.dtype}")
            if not same_grid(mask, self.lesions):
                raise ValueError(f"the mask of {organ.name} lies on another grid than the lesions")

    @property
    def liver(self) -> hd.Volume | None:
        """The liver with its lesions; None where nobody outlined it."""
        return self.organs.get(Organ.LIVER)

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels that occur, in rising order."""
        return tuple(int(label) for label in np.unique(self.lesions.array) if label)
