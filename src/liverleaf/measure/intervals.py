"""90 % intervals of what is measured: from the outline, the alignment of phases and the noise.

A measure f is taken once more for each thing that may be wrong, by as much as it is wrong in nine
of ten cases, one thing s at a time. The changes add as independent errors do, upwards and downwards
apart (the law of propagation of uncertainty, in differences instead of derivatives):

    low  = f - k sqrt(sum over s of max(0, f - f_s)^2)
    high = f + k sqrt(sum over s of max(0, f_s - f)^2)

What may be wrong: the outline lies one voxel further in, or out; the scanner's blur mixed the
lesion with what lies around it; a phase lies beside the reference phase along an axis; a mean is
off by the noise of its voxels, or because the same tissue is not as bright everywhere, in each
phase by itself; the liver is not the same everywhere. That coils make MR uneven in all phases
alike, which `lesion_variants` can tell by its `field`, is not used: the factors were fitted without
it.
`liverleaf benchmark intervals` counts how many of these intervals hold the truth in phantoms.

Reference: JCGM 100:2008 (GUM), 5.1.2 and note 2 of 5.1.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    distance_transform_edt,
    gaussian_filter,
    map_coordinates,
)

from liverleaf.measure.enhancement import Curve
from liverleaf.measure.lesions import Box, bounding_box, widened
from liverleaf.study import Phase

Mask = NDArray[np.bool_]
Images = Mapping[Phase, NDArray[np.floating]]
Means = Mapping[Phase, float]

Z_90 = 1.645
"""Standard deviations that hold 90 % of a normal distribution around its middle."""
ALIGNMENT_MM = 1.35
"""How far a phase lies from the reference phase along an axis, at most, in 90 % of places in the
liver: docs/results/registration.md has a median distance of 1.1 to 1.3 mm on CT and MR, which is
that of three normal errors of 0.8 mm each."""
ROBUST_SD = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""
SMOOTH_VOXELS = 3.0
"""What is coarser than this is anatomy and not noise."""
LAGS = 3
"""Voxels up to which noise is taken to be correlated."""
MOST_VOXELS = 20_000
"""Voxels of a lesion that are looked up where a phase may lie beside; more say no more."""
MOST_NOISE_VOXELS = 2_000_000
"""Voxels of a box around the liver that noise is told from; more say no more of it."""
BLUR_VOXELS = 0.64
"""Standard deviation of the scanner's blur in voxels: a width at half maximum of 1.5."""
BLUR_REACH = 3
SMALLEST_REGION = 30
"""Voxels without which noise cannot be told."""


class Interval(NamedTuple):
    """The bounds that hold the truth in nine of ten cases, in the unit of the measure."""

    low: float
    high: float


@dataclass(frozen=True)
class Noise:
    """Noise of one image.

    Attributes:
        sd: standard deviation of a voxel.
        together: how many voxels vary as one, at least 1.
        uneven: standard deviation, robust, of what smoothing leaves of an even region: shading, the
            field of coils, coarse texture.
    """

    sd: float
    together: float
    uneven: float = 0.0

    def of_mean(self, voxels: int) -> float:
        """The standard error of a mean over so many voxels: sd sqrt(together / voxels)."""
        return self.sd * math.sqrt(min(1.0, self.together / max(voxels, 1)))


@dataclass(frozen=True)
class Variants:
    """A lesion's and the liver's curves as they would be, were one thing wrong.

    Attributes:
        lesion: per thing that may be wrong, the means of the lesion with it.
        liver: the same of the liver.
    """

    lesion: Mapping[str, tuple[Means, ...]] = field(default_factory=dict)
    liver: Mapping[str, tuple[Means, ...]] = field(default_factory=dict)


def interval(value: float, variants: Iterable[Sequence[float]], *, widen: float = 1.0) -> Interval:
    """The interval of a measure by the formula of this module.

    Args:
        value: as measured.
        variants: for each thing that may be wrong, the measure with it; none for a measure that
            nothing can change, whose interval is the value alone.
        widen: k of the formula.

    >>> interval(10.0, [[7.0, 14.0], [10.0, 13.0]])
    Interval(low=7.0, high=15.0)
    """
    fall = rise = 0.0
    for others in variants:
        changes = [other - value for other in others if math.isfinite(other)]
        fall += max([0.0, *(-change for change in changes)]) ** 2
        rise += max([0.0, *changes]) ** 2
    return Interval(value - widen * math.sqrt(fall), value + widen * math.sqrt(rise))


def of_curves(
    measure: Callable[[Curve, Curve | None], float | None],
    lesion: Curve,
    liver: Curve | None,
    variants: Variants,
    *,
    widen: float = 1.0,
) -> Interval | None:
    """The interval of a measure of two curves; None where it cannot be measured.

    Args:
        measure: of the lesion's and the liver's curve.
        lesion: as measured.
        liver: as measured, None without a liver.
        variants: of both.
        widen: k of the formula.
    """
    value = measure(lesion, liver)
    if value is None:
        return None
    found: list[list[float]] = []
    for samples in variants.lesion.values():
        others = [measure(Curve(means, lesion.voxels), liver) for means in samples]
        found.append([other for other in others if other is not None])
    if liver is not None:
        for samples in variants.liver.values():
            others = [measure(lesion, Curve(means, liver.voxels)) for means in samples]
            found.append([other for other in others if other is not None])
    return interval(value, found, widen=widen)


def shrunk_and_grown(mask_ZYX: Mask, spacing_mm: Sequence[float]) -> tuple[Mask, Mask, Box]:
    """A mask with its outline one voxel further in, and out, and the box in which both lie.

    One voxel is the shortest edge of it. Voxels whose centres that surface passes change sides, so
    slices over twice as thick stay. A mask that would vanish keeps its deepest voxels.

    Returns:
        Both cropped to the box, which is the mask's with a voxel around it as far as there is one.
    """
    inner = bounding_box(mask_ZYX)
    if inner is None:
        raise ValueError("the outline of an empty mask: a lesion needs at least one voxel")
    box = widened(inner, 1)
    depth = depth_mm(mask_ZYX[box], spacing_mm)
    edge_mm = min(spacing_mm)
    shrunk: Mask = depth > edge_mm
    if not shrunk.any():
        shrunk = depth == depth.max()
    return shrunk, depth > -edge_mm, box


def depth_mm(mask_ZYX: Mask, spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """How deep the centre of each voxel lies under the surface of a mask, negative outside, in mm.

    The surface runs along the faces of voxels. The mask ends where its array does.
    """
    padded = np.pad(mask_ZYX, 1)
    inside, outside = (_to_surface(where, spacing_mm) for where in (padded, ~padded))
    return np.where(padded, inside, -outside)[1:-1, 1:-1, 1:-1]


def _to_surface(where: Mask, spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """From the centre of each voxel of a mask to the box of the nearest voxel that is not in it."""
    nearest = distance_transform_edt(
        where, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    apart = np.abs(nearest - np.indices(where.shape)).astype(np.float64)
    sizes = np.asarray(spacing_mm, float).reshape(3, 1, 1, 1)
    distance: NDArray[np.float64] = np.linalg.norm(np.maximum(apart - 0.5, 0.0) * sizes, axis=0)
    return distance


def noise_of(image_ZYX: NDArray[np.floating], region_ZYX: Mask) -> Noise | None:
    """The noise of an image in a region that should be even, None in one of too few voxels.

    What remains after the image is smoothed is noise; its correlation along each axis says how many
    voxels vary as one: the product over the axes of 1 + 2 sum of the correlations at lags 1 to
    `LAGS`, as long as they are positive.
    """
    box = bounding_box(region_ZYX)
    if box is None or region_ZYX.sum() < SMALLEST_REGION:
        return None
    box = _middle(box)
    inside = region_ZYX[box] & np.isfinite(image_ZYX[box])
    image = np.where(inside, image_ZYX[box], 0.0).astype(np.float64)
    weight = gaussian_filter(inside.astype(np.float64), SMOOTH_VOXELS)
    smooth = gaussian_filter(image, SMOOTH_VOXELS) / np.maximum(weight, 1e-6)
    rest = np.where(inside, image - smooth, 0.0)
    variance = float(np.square(rest[inside]).mean()) if inside.any() else 0.0
    if variance <= 0:
        return Noise(0.0, 1.0)
    even = smooth[inside]
    uneven = ROBUST_SD * float(np.median(np.abs(even - np.median(even))))
    return Noise(math.sqrt(variance), _together(rest, inside, variance), uneven)


def _middle(box: Box) -> Box:
    """The middle slices of a box that is larger than noise needs."""
    slices = max(
        2 * LAGS, MOST_NOISE_VOXELS // math.prod(axis.stop - axis.start for axis in box[1:])
    )
    cut = max(0, (box[0].stop - box[0].start - slices) // 2)
    return slice(box[0].start + cut, box[0].stop - cut), box[1], box[2]


def _together(rest: NDArray[np.float64], inside: Mask, variance: float) -> float:
    together = 1.0
    for axis in range(3):
        along = 1.0
        for lag in range(1, min(LAGS + 1, rest.shape[axis])):
            first = [slice(None)] * 3
            second = [slice(None)] * 3
            first[axis], second[axis] = slice(None, -lag), slice(lag, None)
            both = inside[tuple(first)] & inside[tuple(second)]
            if not both.any():
                break
            product = rest[tuple(first)] * rest[tuple(second)]
            correlation = float(product[both].mean()) / variance
            if correlation <= 0:
                break
            along += 2 * correlation
        together *= along
    return together


def lesion_variants(
    images: Images,
    mask_ZYX: Mask,
    spacing_mm: Sequence[float],
    *,
    moved: Collection[Phase],
    noise: Mapping[Phase, Noise],
    field: float = 0.0,
) -> dict[str, tuple[Means, ...]]:
    """A lesion's means with the outline further in or out, less blur, each phase beside, or noise.

    Args:
        images: intensities of shape (Z, Y, X), all on one grid.
        mask_ZYX: the lesion on that grid.
        spacing_mm: voxel size along Z, Y, X.
        moved: the phases that registration brought to the grid, which may lie beside it.
        noise: per phase.
        field: by which share the same tissue differs from place to place in all phases alike, as
            `field_of` says of MR; where it is 0, each phase is uneven by itself, as in CT.
    """
    shrunk, grown, box = shrunk_and_grown(mask_ZYX, spacing_mm)
    own = {phase: _mean(image[box], mask_ZYX[box]) for phase, image in images.items()}
    found: dict[str, tuple[Means, ...]] = {
        "boundary": tuple(
            {phase: _mean(image[box], mask) for phase, image in images.items()}
            for mask in (shrunk, grown)
        ),
        "blur": (_sharper(images, mask_ZYX, box, own),),
    }
    if field:
        found["field"] = tuple(
            {phase: mean * (1 + side * Z_90 * field) for phase, mean in own.items()}
            for side in (-1, 1)
        )
    else:
        for phase in noise.keys() & own.keys():
            error = Z_90 * noise[phase].uneven
            found[f"shading of {phase.key}"] = _both_ways(own, phase, error)
    voxels = np.argwhere(mask_ZYX)
    chosen = voxels[:: max(1, len(voxels) // MOST_VOXELS)].T.astype(np.float64)
    for phase in moved:
        still = _looked_up(images[phase], chosen)
        for axis in range(3):
            step = np.zeros((3, 1))
            step[axis] = ALIGNMENT_MM / spacing_mm[axis]
            change = max(
                abs(_looked_up(images[phase], chosen + side * step) - still) for side in (-1, 1)
            )
            found[f"alignment of {phase.key} along axis {axis}"] = _both_ways(own, phase, change)
    for phase in noise.keys() & own.keys():
        error = Z_90 * noise[phase].of_mean(len(voxels))
        found[f"noise of {phase.key}"] = _both_ways(own, phase, error)
    return found


def liver_variants(
    images: Images, parenchyma_ZYX: Mask, liver: Curve
) -> dict[str, tuple[Means, ...]]:
    """The liver's means with that of another part of it: the spread of its eighths.

    Args:
        images: intensities of shape (Z, Y, X), all on one grid.
        parenchyma_ZYX: what the liver's curve was measured over.
        liver: its curve.
    """
    parts = _eighths(parenchyma_ZYX)
    found: dict[str, tuple[Means, ...]] = {}
    for phase in liver.mean:
        medians = _medians(images[phase][parenchyma_ZYX], parts)
        if len(medians) > 1:
            error = Z_90 * float(np.std(medians, ddof=1)) / math.sqrt(len(medians))
            found[f"liver in {phase.key}"] = _both_ways(liver.mean, phase, error)
    return found


def field_of(noise: Mapping[Phase, Noise], liver: Curve) -> float:
    """By which share the liver differs from place to place in all phases, as coils make it in MR.

    What is uneven over the liver's mean, averaged over the phases; 0 where it cannot be told.
    """
    shares = [
        noise[phase].uneven / mean
        for phase, mean in liver.mean.items()
        if phase in noise and mean > 0
    ]
    return float(np.mean(shares)) if shares else 0.0


def _eighths(region_ZYX: Mask) -> NDArray[np.intp]:
    """In which eighth of a region each of its voxels lies, from 0: it is halved along each axis."""
    voxels = np.argwhere(region_ZYX)
    if not len(voxels):
        return np.zeros(0, np.intp)
    parts: NDArray[np.intp] = (voxels > np.median(voxels, axis=0)) @ np.array([4, 2, 1])
    return parts


def _medians(values: NDArray[np.floating], parts: NDArray[np.intp]) -> list[float]:
    """The median of each part that has enough voxels."""
    found = []
    for part in range(8):
        own = values[parts == part]
        shown = own[np.isfinite(own)]
        if len(shown) >= SMALLEST_REGION:
            found.append(float(np.median(shown)))
    return found


def _sharper(images: Images, mask_ZYX: Mask, box: Box, own: Means) -> Means:
    """A lesion's means without the scanner's blur: as far above as blurring once more brings below.

    It is the first step of Van Cittert's deconvolution, on the means alone.
    """
    wide = widened(box, BLUR_REACH)
    found = {}
    for phase, image in images.items():
        part = image[wide].astype(np.float64)
        shown = np.isfinite(part)
        blurred = gaussian_filter(np.where(shown, part, own[phase]), BLUR_VOXELS)
        found[phase] = 2 * own[phase] - _mean(blurred, mask_ZYX[wide] & shown)
    return found


def _both_ways(means: Means, phase: Phase, error: float) -> tuple[Means, Means]:
    """The means with one of them lower, and higher, by an error of either sign."""
    return {**means, phase: means[phase] - error}, {**means, phase: means[phase] + error}


def _mean(image: NDArray[np.floating], mask: Mask) -> float:
    values = image[mask]
    shown = values[np.isfinite(values)]
    return float(shown.mean(dtype=np.float64)) if len(shown) else math.nan


def _looked_up(image: NDArray[np.floating], at: NDArray[np.float64]) -> float:
    """The mean of an image at places between voxels, by linear interpolation."""
    low = np.maximum(np.floor(at.min(axis=1)).astype(int), 0)
    high = np.ceil(at.max(axis=1)).astype(int) + 2
    part = image[tuple(slice(a, max(b, a + 1)) for a, b in zip(low, high, strict=True))]
    values = map_coordinates(part.astype(np.float64), at - low[:, None], order=1, mode="nearest")
    shown = values[np.isfinite(values)]
    return float(shown.mean()) if len(shown) else math.nan
