"""Masks of organs and lesions in one study, whoever drew them: a model, a program or a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import highdicom as hd
import numpy as np

from liverleaf.study import Phase, same_grid
from liverleaf.terminology import Organ

MANUAL_SOURCE = "manual"
"""`Segmentation.source` of what a person drew."""


class Method(StrEnum):
    """How masks were made, in the terms of DICOM (Segment Algorithm Type)."""

    AUTOMATIC = "automatic"
    """By a model of liverleaf, as it gave them."""
    SEMIAUTOMATIC = "semiautomatic"
    """By another program: whether a person helped it or corrected it is not known."""
    MANUAL = "manual"
    """By a person."""


@dataclass(frozen=True)
class Segmentation:
    """Masks on the reference phase's grid.

    Attributes:
        lesions: instance labels, unsigned integers of shape (Z, Y, X): 0 outside lesions, and a
            number from 1 for each lesion. Numbers may be left out.
        organs: a bool mask of shape (Z, Y, X) per organ that was outlined, the liver with its
            lesions and vessels. An organ that nobody outlined is absent, which is not the same as
            an empty mask: looked for and not found.
        source: who drew them: the name of a model or a program, or "manual".
        method: how; from "manual" as source follows MANUAL.
        drawn_on: the phase on whose images the lesions were drawn, from where they were carried to
            the reference phase; None where they were made on the reference grid.
        liver_source: who outlined the liver, where that was somebody else.
        liver_method: how, where that was somebody else.

    Raises:
        ValueError: there are not three axes, the labels are no unsigned integers, an organ's mask
            is not bool, the masks lie on different grids, or nobody is named as their source.
    """

    lesions: hd.Volume
    organs: Mapping[Organ, hd.Volume] = field(default_factory=dict)
    source: str = MANUAL_SOURCE
    method: Method = Method.AUTOMATIC
    drawn_on: Phase | None = None
    liver_source: str | None = None
    liver_method: Method = Method.AUTOMATIC

    def __post_init__(self) -> None:
        if self.lesions.array.ndim != 3:
            raise ValueError(
                f"lesion labels have three axes (Z, Y, X), got shape {self.lesions.array.shape}"
            )
        if not np.issubdtype(self.lesions.array.dtype, np.unsignedinteger):
            raise ValueError(f"lesion labels are unsigned integers, got {self.lesions.array.dtype}")
        for organ, mask in self.organs.items():
            if mask.array.dtype != bool:
                raise ValueError(f"the mask of {organ.name} is bool, got {mask.array.dtype}")
            if not same_grid(mask, self.lesions):
                raise ValueError(f"the mask of {organ.name} lies on another grid than the lesions")
        if not self.source:
            raise ValueError("source is empty: name the model or program, or say 'manual'")
        if self.source == MANUAL_SOURCE:
            object.__setattr__(self, "method", Method.MANUAL)

    @property
    def liver(self) -> hd.Volume | None:
        """The liver with its lesions; None where nobody outlined it."""
        return self.organs.get(Organ.LIVER)

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels that occur, in rising order."""
        array = self.lesions.array
        return tuple(int(label) for label in np.unique(array[array > 0]))
