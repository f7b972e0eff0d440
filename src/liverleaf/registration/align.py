"""Registration of a study's phases onto the reference phase's own grid.

Breathing moves the liver against the spine, and contrast changes what is bright. So a rigid motion
is found by mutual information, then a smooth deformation by a discrete search over displacements of
a self-similarity descriptor (MIND), which sees shapes and not intensities, and by steps finer than
a voxel from there. Each motion is kept only where gradients match better after it than before.
"""

# mypy: allow-untyped-calls
# SimpleITK's wrappers carry no annotations.

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import highdicom as hd
import numpy as np
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_li

from liverleaf.registration.mind import deformation, descriptors, folded
from liverleaf.study import (
    Alignment,
    AlignmentReason,
    Modality,
    Phase,
    PhaseImage,
    Study,
    same_grid,
)

logger = logging.getLogger(__name__)

Array = NDArray[np.float32]
Window = tuple[float, float]

COARSE_VOXELS = 150_000
"""Motion is searched on a grid of about this many voxels, whatever the scan's size, which bounds
the time."""
FINEST_MM = 4.0
"""Spacing below which a finer search grid gains nothing."""
MIN_OVERLAP = 0.3
"""Share of the reference's body that a phase must show to be compared with it."""
MIN_SIMILARITY = 0.3
"""Gradient correlation below which two phases do not show the same anatomy."""
MIN_GAIN = 0.008
"""Gain in similarity without which moving a phase is not worth its interpolation."""
MAX_FOLDING = 0.01
"""Share of folded voxels above which a field is not anatomy."""
MAX_SHIFT_MM = 60.0
"""Mean shift above which a motion is not breathing."""
WINDOW_HU = (-200.0, 300.0)
"""CT intensities are clipped to soft tissue, lest bone and air outweigh the liver's own edges."""
PHASES_AT_A_TIME = 2
"""More would save little time, as ITK has threads of its own, and each holds a scan in memory."""


@dataclass(frozen=True)
class Motion:
    """A transform of a phase, and how well the phase lies on the reference through it.

    Attributes:
        method: as in `Alignment`.
        transform: points of the reference phase (LPS, mm) to those of the same tissue in the phase.
        similarity: normalised cross-correlation of gradient magnitudes over the body, in [-1, 1].
        image: the phase through the transform on the search grid, (Z, Y, X).
        inside: where on the search grid the phase was scanned, (Z, Y, X).
        coverage: share of the reference's body that it shows.
        shift_mm: mean displacement inside the body.
        folded: where the deformation folds, (Z, Y, X).
        folding: share of the body where it does.
    """

    method: str
    transform: sitk.Transform
    similarity: float
    image: Array
    inside: NDArray[np.bool_]
    coverage: float
    shift_mm: float = 0.0
    folded: NDArray[np.bool_] | None = None
    folding: float = 0.0


@dataclass(frozen=True)
class Registration:
    """A study on one grid, and how its phases came there.

    Attributes:
        study: every phase on the reference phase's own grid.
        search_grid: the reference phase, isotropic and coarse, on which motions were searched; None
            with nothing to register.
        before: per phase but the reference, no motion.
        after: the motion that was used.
        unmoved: the study as it was given, to go back to where a motion did harm.
        missing: where on the study's grid a phase shows nothing and holds its minimum, (Z, Y, X);
            phases that show everything are absent.
    """

    study: Study
    search_grid: sitk.Image | None
    before: Mapping[Phase, Motion]
    after: Mapping[Phase, Motion]
    unmoved: Study | None = None
    missing: Mapping[Phase, NDArray[np.bool_]] = field(default_factory=dict)

    def with_study(self, study: Study) -> Registration:
        """The registration of a study that has some of the phases of this one."""
        return replace(
            self,
            study=study,
            before={phase: self.before[phase] for phase in self.before if phase in study.phases},
            after={phase: self.after[phase] for phase in self.after if phase in study.phases},
            missing={phase: self.missing[phase] for phase in self.missing if phase in study.phases},
        )


@dataclass(frozen=True)
class _Coarse:
    """The reference phase on the search grid: image, body, gradient magnitudes, descriptors."""

    image: sitk.Image
    body: NDArray[np.bool_]
    edges: Array
    descriptors: tuple[Array, Array] | None


@dataclass(frozen=True)
class _Aligned:
    """One phase on the reference grid, how it came there, and what is doubtful about it."""

    image: PhaseImage
    missing: NDArray[np.bool_] | None
    before: Motion
    after: Motion
    warnings: list[str]


def register_phases(study: Study, *, deformable: bool = True) -> Registration:
    """Bring every phase onto the reference phase's own grid.

    A motion that does not improve the match, folds, or moves the body implausibly far is not used:
    a rigid one stands in for a deformable one, and resampling alone for both. Phases that do not
    match even so are only resampled, are not `trusted`, and are named in the warnings. The same
    study gives the same result.

    Args:
        study: phases on any grids; their coordinates are believed to a few centimetres.
        deformable: whether to look for a deformation after the rigid motion.

    Returns:
        The study on one grid. The reference phase is untouched; the others carry an `alignment` and
            no longer any headers, because their voxels are no longer those of a DICOM image. A
            study with one phase is returned as it is.
    """
    if len(study.phases) == 1:
        return Registration(study, None, {}, {})
    window = WINDOW_HU if study.modality is Modality.CT else (-np.inf, np.inf)
    coarse = _coarse_reference(study.grid, window)
    moving = {phase: image for phase, image in study.phases.items() if phase is not study.reference}
    align = partial(_align, grid=study.grid, reference=coarse, window=window, deformable=deformable)
    with ThreadPoolExecutor(PHASES_AT_A_TIME) as pool:
        aligned = dict(zip(moving, pool.map(align, moving.values()), strict=True))
    for phase, found in aligned.items():
        logger.info(
            "%s phase: %s, similarity %.2f before and %.2f after",
            phase.title,
            found.after.method,
            found.before.similarity,
            found.after.similarity,
        )
    phases = {study.reference: study.phases[study.reference]} | {
        phase: found.image for phase, found in aligned.items()
    }
    warnings = [
        f"{phase.title} phase: {warning}"
        for phase, found in aligned.items()
        for warning in found.warnings
    ]
    return Registration(
        replace(study, phases=phases, warnings=(*study.warnings, *warnings)),
        coarse.image,
        {phase: found.before for phase, found in aligned.items()},
        {phase: found.after for phase, found in aligned.items()},
        study,
        {phase: found.missing for phase, found in aligned.items() if found.missing is not None},
    )


def _align(
    image: PhaseImage, grid: hd.Volume, reference: _Coarse, window: Window, *, deformable: bool
) -> _Aligned:
    moving, warnings = _coarse(image.volume, window), []
    start = _assess("resampled", sitk.Transform(3, sitk.sitkIdentity), reference, moving)
    best = start
    if _foreign(image.volume, grid):
        warnings.append(
            "it has another frame of reference than the reference phase, so its position was found"
            " from the image alone"
        )
        best = _better(best, _assess("rigid", _centred(reference, moving), reference, moving))
    if best.coverage < MIN_OVERLAP:
        warnings.append(
            f"it shows only {best.coverage:.0%} of what the reference phase shows; do not compare"
            " it with other phases"
        )
        partial = replace(start, coverage=best.coverage)
        moved = resampled(image, grid, start, partial, AlignmentReason.PARTIAL_COVERAGE)
        return _Aligned(*moved, start, partial, warnings)
    best = _better(best, _rigid(reference, moving, best.transform))
    if deformable:
        best = _better(best, _deformed(reference, moving, best.transform))
    reason = AlignmentReason.OK
    if best.similarity < MIN_SIMILARITY:
        reason = AlignmentReason.NOT_ALIGNED
        warnings.append(
            "registration did not find its anatomy in the reference phase (similarity"
            f" {best.similarity:.2f}); it was not moved"
        )
        best = start
    return _Aligned(*resampled(image, grid, start, best, reason), start, best, warnings)


def _foreign(a: hd.Volume, b: hd.Volume) -> bool:
    """Whether two volumes are known to have coordinates of their own each."""
    return (
        None not in (a.frame_of_reference_uid, b.frame_of_reference_uid)
        and a.frame_of_reference_uid != b.frame_of_reference_uid
    )


def resampled(
    image: PhaseImage, grid: hd.Volume, start: Motion, motion: Motion, reason: AlignmentReason
) -> tuple[PhaseImage, NDArray[np.bool_] | None]:
    """The phase through a motion, on a grid, and where it shows nothing (None: it shows all).

    Intensities are interpolated linearly; what the phase does not show becomes its minimum.
    """
    method, volume = motion.method, image.volume
    missing = None
    if method == "resampled" and same_grid(volume, grid):
        method, on_grid = "none", grid.with_array(volume.array)
    else:
        moved = sitk.Resample(
            to_itk(volume),
            to_itk(grid),
            motion.transform,
            sitk.sitkLinear,
            float("nan"),
        )
        array = sitk.GetArrayFromImage(moved)
        outside = np.isnan(array)
        if outside.any():
            array[outside] = volume.array.min()
            missing = outside
        on_grid = grid.with_array(array)
    alignment = Alignment(
        method,
        start.similarity,
        motion.similarity,
        motion.shift_mm,
        motion.folding,
        reason is AlignmentReason.OK,
        reason=reason,
        coverage=motion.coverage,
    )
    return replace(image, volume=on_grid, headers=(), alignment=alignment), missing


def _better(before: Motion, after: Motion) -> Motion:
    """The later motion if it is plausible and gains enough, else the earlier one."""
    plausible = after.folding <= MAX_FOLDING and after.shift_mm <= MAX_SHIFT_MM
    # a phase that is moved anyway is interpolated anyway, so any gain is enough
    gain = MIN_GAIN if before.method == "resampled" else 0.0
    return after if plausible and after.similarity > before.similarity + gain else before


def to_itk(volume: hd.Volume) -> sitk.Image:
    """The volume as SimpleITK holds it; it comes back as an array of (Z, Y, X)."""
    # the last axis first, so that the voxels keep their order in memory
    image: sitk.Image = volume.permute_spatial_axes([2, 1, 0]).to_simpleitk()
    return image


def _coarse(volume: hd.Volume, window: Window) -> sitk.Image:
    """The volume clipped, and coarse: isotropic voxels along its own axes, each a mean."""
    image = sitk.Clamp(to_itk(volume), sitk.sitkFloat32, *window)
    extent_mm = np.multiply(image.GetSize(), image.GetSpacing())
    spacing = max(FINEST_MM, float(np.prod(extent_mm) / COARSE_VOXELS) ** (1 / 3))
    size = np.maximum(np.round(extent_mm / spacing), 1).astype(int)
    first = (
        np.subtract(image.GetSize(), 1) - (size - 1) * spacing / np.array(image.GetSpacing())
    ) / 2
    origin = image.TransformContinuousIndexToPhysicalPoint(first.tolist())
    blocks = np.clip(np.round(spacing / np.array(image.GetSpacing())), 1, image.GetSize()).astype(
        int
    )
    image = sitk.BinShrink(image, blocks.tolist())
    return sitk.Resample(
        image,
        size.tolist(),
        sitk.Transform(),
        sitk.sitkLinear,
        origin,
        [spacing] * 3,
        image.GetDirection(),
        0.0,
        sitk.sitkFloat32,
        True,
    )


def _coarse_reference(grid: hd.Volume, window: Window) -> _Coarse:
    """The reference phase on the search grid."""
    image = _coarse(grid, window)
    array = sitk.GetArrayFromImage(image)
    return _Coarse(image, _body(array), edges(array), descriptors(array))


def _body(array: Array) -> NDArray[np.bool_]:
    """The body and a rim of two voxels around it; everything where there is no background."""
    root = np.sqrt(array - array.min())  # lest bright organs alone pass for the body
    parts, count = ndimage.label(root > threshold_li(root))
    if count == 0:
        return np.ones(array.shape, bool)
    largest = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    return ndimage.binary_dilation(ndimage.binary_fill_holes(largest), iterations=2)


def edges(array: Array) -> Array:
    """Gradient magnitude at the scale of a voxel."""
    return ndimage.gaussian_gradient_magnitude(array, 1.0, mode="nearest")


def _assess(
    method: str,
    transform: sitk.Transform,
    reference: _Coarse,
    moving: sitk.Image,
    folds: NDArray[np.bool_] | None = None,
) -> Motion:
    """A transform judged over the part of the reference's body that the phase shows."""
    inside = _inside(reference, moving, transform)
    seen = reference.body & inside
    image = sitk.GetArrayFromImage(_moved(moving, reference, transform))
    field = sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat64,
        reference.image.GetSize(),
        reference.image.GetOrigin(),
        reference.image.GetSpacing(),
        reference.image.GetDirection(),
    )
    shift_mm = np.linalg.norm(sitk.GetArrayViewFromImage(field), axis=-1)[reference.body].mean()
    similarity = correlation(reference.edges[seen], edges(image)[seen])
    folding = 0.0 if folds is None else float(folds[reference.body].mean())
    coverage = float(inside[reference.body].mean())
    return Motion(
        method, transform, similarity, image, inside, coverage, float(shift_mm), folds, folding
    )


def correlation(a: Array, b: Array) -> float:
    """Normalised cross-correlation in [-1, 1]; 0 where one of them is constant or empty."""
    if a.size == 0 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _moved(moving: sitk.Image, reference: _Coarse, transform: sitk.Transform) -> sitk.Image:
    """The phase on the search grid.

    Its rim is continued outwards, lest the edge of the scan count as an edge of anatomy.
    """
    return sitk.Resample(
        moving, reference.image, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32, True
    )


def _inside(reference: _Coarse, moving: sitk.Image, transform: sitk.Transform) -> NDArray[np.bool_]:
    """Where on the search grid the phase was scanned."""
    everywhere = sitk.Image(moving.GetSize(), sitk.sitkUInt8) + 1
    everywhere.CopyInformation(moving)
    seen: NDArray[np.uint8] = sitk.GetArrayFromImage(
        sitk.Resample(everywhere, reference.image, transform, sitk.sitkNearestNeighbor)
    )
    return seen > 0


def _centred(reference: _Coarse, moving: sitk.Image) -> sitk.Transform:
    """The translation that lays the centre of the phase's body on that of the reference's."""
    centres = []
    for image, body in (
        (reference.image, reference.body),
        (moving, _body(sitk.GetArrayFromImage(moving))),
    ):
        index = ndimage.center_of_mass(body)[::-1]
        centres.append(image.TransformContinuousIndexToPhysicalPoint(index))
    return sitk.TranslationTransform(3, np.subtract(centres[1], centres[0]).tolist())


def _rigid(reference: _Coarse, moving: sitk.Image, start: sitk.Transform) -> Motion:
    """The rigid motion of greatest mutual information within the body, searched from `start`.

    `start` itself where there is none.
    """
    mask = sitk.GetImageFromArray(reference.body.astype(np.uint8))
    mask.CopyInformation(reference.image)
    rigid = sitk.Euler3DTransform()
    rigid.SetCenter(
        mask.TransformContinuousIndexToPhysicalPoint(ndimage.center_of_mass(reference.body)[::-1])
    )
    search = sitk.ImageRegistrationMethod()
    search.SetMetricAsMattesMutualInformation(32)
    search.SetMetricFixedMask(mask)
    search.SetInterpolator(sitk.sitkLinear)
    search.SetMovingInitialTransform(start)
    search.SetInitialTransform(rigid, inPlace=True)
    search.SetOptimizerAsRegularStepGradientDescent(
        learningRate=4.0, minStep=0.1, numberOfIterations=40
    )
    search.SetOptimizerScalesFromPhysicalShift()
    search.SetShrinkFactorsPerLevel([4, 2])
    search.SetSmoothingSigmasPerLevel([8.0, 4.0])
    try:
        search.Execute(sitk.Cast(reference.image, sitk.sitkFloat32), moving)
    except RuntimeError:  # what ITK raises for an image without structure
        return _assess("rigid", start, reference, moving)
    # the last digits depend on the order in which threads add
    rigid.SetParameters(np.round(rigid.GetParameters(), 6).tolist())
    return _assess("rigid", sitk.CompositeTransform([start, rigid]), reference, moving)


def _deformed(reference: _Coarse, moving: sitk.Image, start: sitk.Transform) -> Motion:
    """The smooth deformation, before `start`, that best matches self-similarity."""
    if reference.descriptors is None:
        return _assess("deformable", start, reference, moving)
    shift = deformation(
        reference.descriptors, sitk.GetArrayFromImage(_moved(moving, reference, start))
    )
    index_to_mm = np.reshape(reference.image.GetDirection(), (3, 3)) * reference.image.GetSpacing()
    field = sitk.GetImageFromArray(
        np.einsum("pi,izyx->zyxp", index_to_mm, shift[::-1]).astype(np.float64), isVector=True
    )
    field.CopyInformation(reference.image)
    transform = sitk.CompositeTransform([start, sitk.DisplacementFieldTransform(field)])
    return _assess("deformable", transform, reference, moving, folded(shift))
