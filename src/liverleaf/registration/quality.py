"""Quality of a registration inside the liver, known once the liver has been outlined.

A fixed level of similarity cannot tell good from bad, because contrast and noise change it as much
as a misplaced liver does. So each phase is its own yardstick: where it lies well, it matches the
reference clearly better than it does when moved by a few millimetres.
"""

# mypy: allow-untyped-calls
# SimpleITK's wrappers carry no annotations.

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
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
    resampled,
    to_itk,
)
from liverleaf.registration.mind import Array, descriptor
from liverleaf.study import Alignment, AlignmentReason, Phase, PhaseImage, Study

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
MIN_LIVER_COVERAGE = 0.9
"""Share of the liver that a phase must show, or it cuts the liver."""
RIM_COVERAGE = 0.95
"""Share of the body below which a phase misses more than the rim that its motion uncovers."""
CUT_MM2 = 400.0
"""Area over which a liver may touch what such a phase does not show. A liver tapers off; an outline
that was made with the phase ends where the phase does, over a whole section."""
HARM = frozenset({AlignmentReason.LIVER_NOT_ALIGNED, AlignmentReason.WORSE_THAN_BEFORE})
"""Reasons for which a phase may be better where the scanner put it. One on a grid of its own may
be: interpolation blurs it before and after, and beside that a small motion gains little."""
MAX_MISMATCH_RATIO = 1.05
"""Mismatch after registration over mismatch before, above which registration has done harm."""


def assess_alignment(registration: Registration, *, within: hd.Volume | None) -> Study:
    """Assess how well each phase lies on the reference phase inside the liver.

    Args:
        registration: what `register_phases` returned.
        within: the liver, bool, on the study's grid.

    Returns:
        The registered study, in which a phase is not a number where it shows nothing. Phases whose
            liver does not lie on that of the reference phase are no longer trusted, phases that cut
            the liver have PARTIAL_COVERAGE as their reason, and the warnings say so. A phase that
            registration made worse is left where it was, if it lies well there. Without a liver
            (None, or an empty mask) nothing can be assessed, and alignments stay as they are.
    """
    study, grid = registration.study, registration.search_grid
    if grid is None or within is None or not (inside := on_search_grid(within, grid)).any():
        return _blanked(study, registration.missing)
    mask, box = surroundings(inside, grid)
    reference = _Reference.on(
        sitk.GetArrayFromImage(grid)[box],
        mask,
        offset=max(1, round(OFFSET_MM / grid.GetSpacing()[0])),
    )
    phases, warnings = dict(study.phases), []
    images = [study.phases[phase] for phase in registration.after]
    motions = [(registration.before[phase], after) for phase, after in registration.after.items()]
    assess = partial(
        _assess, reference=reference, box=box, liver=inside, voxel_mm=grid.GetSpacing()[0]
    )
    missing = dict(registration.missing)
    with ThreadPoolExecutor(PHASES_AT_A_TIME) as pool:
        alignments = list(pool.map(assess, images, motions))
    for phase, image, alignment in zip(registration.after, images, alignments, strict=True):
        before = registration.before[phase]
        if alignment.reason in HARM and registration.unmoved:
            left = assess(image, (before, before))
            if left.reason is AlignmentReason.OK:
                image, gap = resampled(
                    registration.unmoved.phases[phase], study.grid, before, before, left.reason
                )
                missing.pop(phase, None)
                missing |= {} if gap is None else {phase: gap}
                method = "none" if image.alignment is None else image.alignment.method
                alignment = replace(left, method=method, mean_shift_mm=0.0, folding=0.0)
                warnings.append(
                    f"{phase.title} phase: registration made its liver lie worse, so it was left"
                    " where the scanner put it"
                )
        phases[phase] = replace(image, alignment=alignment)
        logger.info("%s phase: %s inside the liver", phase.title, alignment.reason)
        if image.alignment is not None and image.alignment.fit_for_model:
            warnings += _alignment_warnings(phase, alignment)
    study = replace(study, phases=phases, warnings=(*study.warnings, *warnings))
    return _blanked(study, missing)


def fit_phases(study: Study, wanted: Collection[Phase]) -> tuple[Study, dict[Phase, str]]:
    """A registered study without the phases that masks should not be made with.

    Args:
        study: registered.
        wanted: the phases that the model looks at. If leaving phases out left none of these, the
            study stays whole.

    Returns:
        The study, and why each phase was left out, as people read it.
    """
    unfit = {
        phase: image.alignment.reason.text
        for phase, image in study.phases.items()
        if image.alignment is not None
        and not image.alignment.fit_for_model
        and image.alignment.reason is not None
    }
    kept = {phase: image for phase, image in study.phases.items() if phase not in unfit}
    if not unfit or not set(kept) & set(wanted):
        return study, {}
    return replace(study, phases=kept), unfit


def _blanked(study: Study, missing: Mapping[Phase, NDArray[np.bool_]]) -> Study:
    """The study with phases not a number where they show nothing, so that nothing is measured."""
    if not missing:
        return study
    phases = dict(study.phases)
    for phase, outside in missing.items():
        volume = phases[phase].volume
        array = np.where(outside, np.float32(np.nan), volume.array)
        phases[phase] = replace(phases[phase], volume=volume.with_array(array))
    return replace(study, phases=phases)


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

    def within(self, seen: NDArray[np.bool_]) -> _Reference:
        """Only the voxels that are seen, (Z, Y, X)."""
        seen_N = seen[self.at]
        if seen_N.all():
            return self
        return self._replace(
            at=tuple(axis[seen_N] for axis in self.at),
            descriptor_CN=self.descriptor_CN[:, seen_N],
            outline_N=self.outline_N[seen_N],
        )

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
    liver: NDArray[np.bool_],
    voxel_mm: float,
) -> Alignment:
    """How well a phase lies on the reference's liver, as far as it shows it, before and after."""
    before, after = motions
    alignment = image.alignment
    assert alignment is not None  # registration gave every phase but the reference one
    liver_coverage = float(after.inside[liver].mean())
    reference = reference.within((before.inside & after.inside)[box])
    if not len(reference.outline_N):
        partial_coverage = AlignmentReason.PARTIAL_COVERAGE
        return replace(
            alignment, liver_coverage=liver_coverage, trusted=False, reason=partial_coverage
        )
    similarity = [
        correlation(reference.outline_N, edges(motion.image[box])[reference.at])
        for motion in motions
    ]
    moved = descriptor(after.image[box])
    mismatch_before = reference.mismatch(descriptor(before.image[box]))
    mismatch_after = reference.mismatch(moved)
    elsewhere = reference.offset_mismatch(moved)
    match = 1 - mismatch_after / elsewhere if elsewhere > 0 else 0.0
    reason = alignment.reason
    if alignment.trusted and match < MIN_MATCH:
        reason = AlignmentReason.LIVER_NOT_ALIGNED
    elif alignment.trusted and mismatch_after > MAX_MISMATCH_RATIO * mismatch_before:
        reason = AlignmentReason.WORSE_THAN_BEFORE
    trusted = reason is AlignmentReason.OK
    if alignment.trusted and _cut(liver, after, liver_coverage, voxel_mm):
        reason = AlignmentReason.PARTIAL_COVERAGE
    return replace(
        alignment,
        liver_similarity_before=similarity[0],
        liver_similarity_after=similarity[1],
        liver_match=match,
        liver_folding=(
            0.0 if after.folded is None else float(after.folded[box][reference.at].mean())
        ),
        trusted=trusted,
        reason=reason,
        liver_coverage=liver_coverage,
    )


def _cut(liver: NDArray[np.bool_], motion: Motion, liver_coverage: float, voxel_mm: float) -> bool:
    """Whether a phase cuts the liver, or the outline ends where the phase does."""
    if liver_coverage < MIN_LIVER_COVERAGE:
        return True
    if motion.coverage >= RIM_COVERAGE:
        return False
    touched = ndimage.binary_dilation(liver) & ~motion.inside
    return bool(touched.sum() * voxel_mm**2 > CUT_MM2)


def _alignment_warnings(phase: Phase, alignment: Alignment) -> list[str]:
    match alignment.reason:
        case AlignmentReason.WORSE_THAN_BEFORE:
            return [
                f"{phase.title} phase: its liver lies worse on that of the reference phase after"
                " registration than before"
            ]
        case AlignmentReason.LIVER_NOT_ALIGNED:
            return [
                f"{phase.title} phase: its liver does not lie on that of the reference phase (match"
                f" {alignment.liver_match:.2f}, {MIN_MATCH} is needed)"
            ]
        case AlignmentReason.PARTIAL_COVERAGE:
            unmeasured = "what it does not show" if alignment.trusted else "it"
            return [
                f"{phase.title} phase: it cuts the liver (it shows"
                f" {alignment.liver_coverage:.0%} of it); {unmeasured} is not measured"
            ]
    return []
