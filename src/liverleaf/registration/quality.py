"""Quality of a registration inside the liver, known once the liver has been outlined.

A fixed level of similarity cannot tell good from bad, because contrast and noise change it as much
as a misplaced liver does. So each phase is its own yardstick: where it lies well, it matches the
reference clearly better than it does when moved by a few millimetres.
"""

# mypy: allow-untyped-calls
# SimpleITK's wrappers carry no annotations.

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import highdicom as hd
import numpy as np
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by
from numpy.typing import NDArray
from scipy import ndimage

from liverleaf.registration.align import (
    PHASES_AT_A_TIME,
    Motion,
    Registration,
    correlation,
    edges,
    to_itk,
)
from liverleaf.registration.mind import Array, descriptor
from liverleaf.study import Alignment, Phase, PhaseImage, Study

logger = logging.getLogger(__name__)

MARGIN_MM = 10.0
"""The liver is compared with what lies this near, so that its surface counts."""
OFFSET_MM = 6.0
"""How far, to the nearest voxel of the search grid, a phase is moved to see whether it then matches
worse."""
MIN_MATCH = 0.11
"""`Alignment.liver_match` below which a phase is not trusted. Over 33 phantoms (MR, CT and `hard`),
phases that registration had brought to a median error under 3 mm had 0.12 and more; livers of other
people brought onto this one 0.106 and less. docs/results/registration.md tests it."""
MAX_MISMATCH_RATIO = 1.05
"""Mismatch after registration over mismatch before, above which registration has done harm."""


def assess_alignment(registration: Registration, *, within: hd.Volume | None) -> Study:
    """Assess how well each phase lies on the reference phase inside the liver.

    Args:
        registration: what `register_phases` returned.
        within: the liver, bool, on the study's grid.

    Returns:
        The registered study. Phases whose liver does not lie on that of the reference phase are no
            longer trusted, and the warnings say why. Without a liver (None, or an empty mask)
            nothing can be assessed, and the study is returned as it is.
    """
    study, grid = registration.study, registration.search_grid
    if grid is None or within is None or not (inside := on_search_grid(within, grid)).any():
        return study
    mask, box = surroundings(inside, grid)
    reference = _Reference.on(
        sitk.GetArrayFromImage(grid)[box],
        mask,
        offset=max(1, round(OFFSET_MM / grid.GetSpacing()[0])),
    )
    phases, warnings = dict(study.phases), []
    images = [study.phases[phase] for phase in registration.after]
    motions = [(registration.before[phase], after) for phase, after in registration.after.items()]
    with ThreadPoolExecutor(PHASES_AT_A_TIME) as pool:
        alignments = pool.map(partial(_assess, reference=reference, box=box), images, motions)
    for phase, image, alignment in zip(registration.after, images, alignments, strict=True):
        phases[phase] = replace(image, alignment=alignment)
        trust = "trusted" if alignment.trusted else "not trusted"
        logger.info("%s phase: %s inside the liver", phase.title, trust)
        if image.alignment is not None and image.alignment.trusted and not alignment.trusted:
            warnings.append(_alignment_warning(phase, alignment))
    return replace(study, phases=phases, warnings=(*study.warnings, *warnings))


def on_search_grid(mask: hd.Volume, grid: sitk.Image) -> NDArray[np.bool_]:
    """A mask at the voxels of the search grid."""
    image = to_itk(mask.with_array(np.asarray(mask.array, np.uint8)))
    inside: NDArray[np.uint8] = sitk.GetArrayFromImage(
        sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor)
    )
    return inside > 0


def surroundings(
    inside: NDArray[np.bool_], grid: sitk.Image
) -> tuple[NDArray[np.bool_], tuple[slice, ...]]:
    """A region of the search grid and `MARGIN_MM` around it, cropped, and where that crop lies."""
    mask = ndimage.distance_transform_edt(~inside) * grid.GetSpacing()[0] <= MARGIN_MM
    (found,) = ndimage.find_objects(mask.astype(np.uint8))
    # descriptors need surroundings
    box = tuple(slice(max(axis.start - 3, 0), axis.stop + 3) for axis in found)
    return mask[box], box


class _Reference(NamedTuple):
    """What the phases are compared with, C descriptors and the outline at the N voxels of a mask.

    Attributes:
        at: the voxels, an index array per axis.
        descriptor_CN: the reference's descriptor there.
        outline_N: the reference's edges there.
        offset: voxels by which phases are moved to compare.
        shape: of the grid that the mask lies in.
    """

    at: tuple[NDArray[np.intp], ...]
    descriptor_CN: Array
    outline_N: Array
    offset: int
    shape: tuple[int, ...]

    @classmethod
    def on(cls, reference: Array, mask: NDArray[np.bool_], *, offset: int) -> _Reference:
        at = np.nonzero(mask)
        return cls(at, descriptor(reference)[:, mask], edges(reference)[mask], offset, mask.shape)

    def mismatch(self, moving: Array) -> float:
        """Mean squared difference from a descriptor."""
        return self._mismatch(moving, self.at)

    def offset_mismatch(self, moving: Array) -> float:
        """The least mismatch of the six positions `offset` away along an axis."""
        elsewhere = []
        for axis, size in enumerate(self.shape):
            for side in (-1, 1):
                at = list(self.at)
                at[axis] = (at[axis] + side * self.offset) % size
                elsewhere.append(self._mismatch(moving, tuple(at)))
        return min(elsewhere)

    def _mismatch(self, moving: Array, at: tuple[NDArray[np.intp], ...]) -> float:
        z, y, x = at
        there: Array = moving[:, z, y, x]
        return float(np.square(self.descriptor_CN - there).mean())


def _assess(
    image: PhaseImage,
    motions: tuple[Motion, Motion],
    *,
    reference: _Reference,
    box: tuple[slice, ...],
) -> Alignment:
    """How well a phase lies on the reference's liver, before and after registration."""
    before, after = motions
    alignment = image.alignment
    assert alignment is not None  # registration gave every phase but the reference one
    similarity = [
        correlation(reference.outline_N, edges(motion.image[box])[reference.at])
        for motion in motions
    ]
    moved = descriptor(after.image[box])
    mismatch_before = reference.mismatch(descriptor(before.image[box]))
    mismatch_after = reference.mismatch(moved)
    elsewhere = reference.offset_mismatch(moved)
    match = 1 - mismatch_after / elsewhere if elsewhere > 0 else 0.0
    unharmed = mismatch_after <= MAX_MISMATCH_RATIO * mismatch_before
    return replace(
        alignment,
        liver_similarity_before=similarity[0],
        liver_similarity_after=similarity[1],
        liver_match=match,
        liver_folding=(
            0.0 if after.folded is None else float(after.folded[box][reference.at].mean())
        ),
        trusted=alignment.trusted and match >= MIN_MATCH and unharmed,
    )


def _alignment_warning(phase: Phase, alignment: Alignment) -> str:
    if alignment.liver_match is not None and alignment.liver_match >= MIN_MATCH:
        return (
            f"{phase.title} phase: its liver lies worse on that of the reference phase after"
            " registration than before"
        )
    return (
        f"{phase.title} phase: its liver does not lie on that of the reference phase (match"
        f" {alignment.liver_match:.2f}, {MIN_MATCH} is needed)"
    )
