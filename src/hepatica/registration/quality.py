"""A registration and the liver that was found afterwards in, the study with the quality of each alignment inside that liver out.

A fixed level of similarity cannot tell good from bad, because contrast and noise change it as much as a misplaced liver does. So each phase
is its own yardstick: where it lies well, it matches the reference clearly better than it does when moved by a few millimetres.
"""

# mypy: allow-untyped-calls
# SimpleITK's wrappers carry no annotations.

from __future__ import annotations

from dataclasses import replace

import highdicom as hd
import numpy as np
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by
from numpy.typing import NDArray
from scipy import ndimage

from hepatica.registration import Motion, Registration, correlation, edges, to_itk
from hepatica.registration.deformable import Array, descriptor
from hepatica.study import Alignment, Phase, PhaseImage, Study

MARGIN_MM = 10.0
"""The liver is looked at with what lies this near, so that its surface counts."""
NUDGE_MM = 6.0
"""How far, to the nearest voxel of the search grid, a phase is moved to see whether it then matches worse."""
MIN_MATCH = 0.11
"""Match below which a phase is not trusted. Over 33 phantoms (MR, CT and `hard`), phases that registration had brought to a median error
under 3 mm had 0.12 and more; livers of other people brought onto this one 0.106 and less. docs/results/registration.md tests it."""
WORSE = 1.05
"""Mismatch, as a multiple of what it was before, above which registration is taken to have done harm."""


def judged(registration: Registration, liver: hd.Volume) -> Study:
    """The registered study; phases that do not lie on the reference's liver are no longer trusted, and the warnings say why.

    Args:
        registration: what `register_phases` returned.
        liver: bool, on the study's grid. Where it is empty, nothing can be judged, and the study is returned as it is.
    """
    study, grid = registration.study, registration.search_grid
    if grid is None or not (inside := on_search_grid(liver, grid)).any():
        return study
    mask, box = surroundings(inside, grid)
    reference = sitk.GetArrayFromImage(grid)[box]
    nudge = max(1, round(NUDGE_MM / grid.GetSpacing()[0]))
    phases, doubts = dict(study.phases), []
    for phase, after in registration.after.items():
        image = study.phases[phase]
        judgement = _judge(image, reference, registration.before[phase], after, mask, box, nudge)
        phases[phase] = replace(image, alignment=judgement)
        if image.alignment is not None and image.alignment.trusted and not judgement.trusted:
            doubts.append(_doubt(phase, judgement))
    return replace(study, phases=phases, warnings=(*study.warnings, *doubts))


def on_search_grid(mask: hd.Volume, grid: sitk.Image) -> NDArray[np.bool_]:
    """A mask at the voxels of the search grid."""
    image = to_itk(mask.with_array(np.asarray(mask.array, np.uint8)))
    inside: NDArray[np.uint8] = sitk.GetArrayFromImage(sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor))
    return inside > 0


def surroundings(inside: NDArray[np.bool_], grid: sitk.Image) -> tuple[NDArray[np.bool_], tuple[slice, ...]]:
    """A region of the search grid and `MARGIN_MM` around it, cropped, and where that crop lies."""
    mask = ndimage.distance_transform_edt(~inside) * grid.GetSpacing()[0] <= MARGIN_MM
    (found,) = ndimage.find_objects(mask.astype(np.uint8))
    box = tuple(slice(max(axis.start - 3, 0), axis.stop + 3) for axis in found)  # descriptors need surroundings
    return mask[box], box


def _judge(
    image: PhaseImage, reference: Array, before: Motion, after: Motion, mask: NDArray[np.bool_], box: tuple[slice, ...], nudge: int
) -> Alignment:
    alignment = image.alignment
    assert alignment is not None  # registration gave every phase but the reference one
    fixed, outline = descriptor(reference), edges(reference)[mask]
    similarity = [correlation(outline, edges(motion.image[box])[mask]) for motion in (before, after)]
    was, _ = _mismatch(fixed, descriptor(before.image[box]), mask, nudge)
    now, match = _mismatch(fixed, descriptor(after.image[box]), mask, nudge)
    return replace(
        alignment,
        liver_similarity_before=similarity[0],
        liver_similarity_after=similarity[1],
        liver_match=match,
        liver_folding=0.0 if after.folded is None else float(after.folded[box][mask].mean()),
        trusted=alignment.trusted and match >= MIN_MATCH and now <= WORSE * was,
    )


def _mismatch(fixed: Array, moving: Array, mask: NDArray[np.bool_], nudge: int) -> tuple[float, float]:
    """Mean squared difference of two descriptors over the mask, and by which share it is below the least one of six nudged positions."""

    def difference(moved: Array) -> float:
        return float(np.square(fixed[:, mask] - moved[:, mask]).mean())

    here = difference(moving)
    elsewhere = min(difference(np.roll(moving, side * nudge, axis)) for axis in (1, 2, 3) for side in (-1, 1))
    return here, 1 - here / elsewhere if elsewhere > 0 else 0.0


def _doubt(phase: Phase, judgement: Alignment) -> str:
    if judgement.liver_match is not None and judgement.liver_match >= MIN_MATCH:
        return f"{phase.title} phase: its liver lies worse on that of the reference phase after registration than before"
    return (
        f"{phase.title} phase: its liver does not lie on that of the reference phase "
        f"(match {judgement.liver_match:.2f}, {MIN_MATCH} is needed), and the prediction was made with it"
    )
