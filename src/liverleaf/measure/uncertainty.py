"""How sure each measure of a lesion is: its 90 % interval, by the name it has in the findings."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from liverleaf.measure import enhancement
from liverleaf.measure.enhancement import Curve, Images
from liverleaf.measure.intervals import (
    ALIGNMENT_MM,
    BLUR_REACH,
    Interval,
    Means,
    Noise,
    Variants,
    interval,
    lesion_variants,
    liver_variants,
    noise_of,
    of_curves,
    shrunk_and_grown,
)
from liverleaf.measure.lesions import Box, Mask, diameters, volume_ml
from liverleaf.segmentation import Segmentation
from liverleaf.study import Modality, Phase, Study

OfCurves = Callable[[Curve, Curve | None], float | None]
WIDEN: Mapping[Modality, Mapping[str, float]] = {
    Modality.CT: {
        "volume_ml": 0.77,
        "long_axis_mm": 0.90,
        "short_axis_mm": 1.00,
        "curve.mean": 1.58,
        "contrast.by_phase": 1.59,
        "wash_in.enhancement": 1.74,
        "wash_in.against_liver": 1.74,
        "wash_out.share_lost": 0.99,
        "wash_out.against_liver": 1.16,
        "wash_out.liver_to_lesion_percent": 1.47,
    },
    Modality.MR: {
        "volume_ml": 0.79,
        "long_axis_mm": 1.03,
        "short_axis_mm": 1.09,
        "curve.mean": 1.49,
        "contrast.by_phase": 1.45,
        "wash_in.enhancement": 0.91,
        "wash_in.against_liver": 0.88,
        "wash_out.share_lost": 0.75,
        "wash_out.against_liver": 1.10,
        "wash_out.liver_to_lesion_percent": 1.35,
    },
}
"""k of the formula in `intervals`, by the path of a measure without its phase; 1 where it is not
named. They are the factors that `liverleaf benchmark intervals --fit --cases 11` asked for with all
of them at 1: with them, 90 % of intervals held the truth on 71 lesions of either modality, on
phantoms of another seed than those of docs/results/intervals.md."""


@dataclass(frozen=True)
class Spread:
    """What is known of the noise of a study and of its liver.

    Attributes:
        moved: the phases that may lie beside the masks.
        noise: per phase, where it could be told.
        liver: the liver's curve as it would be, were another part of the liver measured.
    """

    moved: frozenset[Phase] = frozenset()
    noise: Mapping[Phase, Noise] = field(default_factory=dict)
    liver: Mapping[str, tuple[Means, ...]] = field(default_factory=dict)


def spread_of(
    study: Study,
    images: Images,
    segmentation: Segmentation,
    background: Curve | None,
    where: tuple[Box, Mask] | None = None,
) -> Spread:
    """The noise and the spread of a study, in the liver away from lesions.

    Args:
        study: on one grid.
        images: of its trusted phases.
        segmentation: masks on that grid.
        background: the curve of the liver; None where there is too little of it.
        where: what that was measured over, as `enhancement.background_region` says; noise can be
            told there alone.
    """
    drawn_on = segmentation.drawn_on or study.reference
    moved = frozenset(phase for phase in images if phase is not drawn_on)
    if background is None or where is None:
        return Spread(moved)
    box, region = where
    inside = {phase: image[box] for phase, image in images.items()}
    told = {phase: noise_of(image, region) for phase, image in inside.items()}
    noise = {phase: found for phase, found in told.items() if found is not None}
    return Spread(
        moved,
        noise,
        liver_variants(inside, region, background),
    )


def lesion_intervals(
    images: Images,
    mask_ZYX: Mask,
    affine: NDArray[np.float64],
    lesion: Curve,
    liver: Curve | None,
    *,
    modality: Modality,
    late: Phase | None,
    spread: Spread,
) -> dict[str, Interval]:
    """The 90 % intervals of all that is measured of a lesion, by its path in the findings.

    Args:
        images: intensities of shape (Z, Y, X); `around` says how much of them is needed.
        mask_ZYX: the lesion.
        affine: of that grid.
        lesion: its curve.
        liver: that of the liver; None where there is none.
        modality: sets the scale.
        late: the phase at which wash-out is read.
        spread: of the study.
    """
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    shown = {phase: images[phase] for phase in lesion.mean}
    variants = Variants(
        lesion_variants(
            shown,
            mask_ZYX,
            spacing_mm.tolist(),
            moved=spread.moved & set(shown),
            noise=spread.noise,
        ),
        spread.liver,
    )
    found = size_intervals(mask_ZYX, affine, modality)
    for name, measure in curve_measures(lesion.mean, modality, late).items():
        bounds = of_curves(measure, lesion, liver, variants, widen=widening(name, modality))
        if bounds is not None:
            found[name] = bounds
    return found


def size_intervals(
    mask_ZYX: Mask, affine: NDArray[np.float64], modality: Modality
) -> dict[str, Interval]:
    """The 90 % intervals of a lesion's volume and diameters, by the outline alone."""
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    shrunk, grown, box = shrunk_and_grown(mask_ZYX, spacing_mm)
    own, *others = (_sizes(mask, affine) for mask in (mask_ZYX[box], shrunk, grown))
    return {
        name: _not_negative(
            interval(value, [[other[name] for other in others]], widen=widening(name, modality))
        )
        for name, value in own.items()
    }


def depth_interval(depth_mm: float, voxel_mm: float) -> Interval:
    """The 90 % interval of a lesion's distance to the surface: both outlines off by a voxel."""
    either = [depth_mm - voxel_mm, depth_mm + voxel_mm]
    return _not_negative(interval(depth_mm, [either, either]))


def volume_interval(mask_ZYX: Mask, spacing_mm: tuple[float, ...]) -> Interval:
    """The 90 % interval of an organ's volume in ml: its surface, one voxel thick, less or more.

    The surface is two thirds of the faces between voxels inside and outside, the share of a smooth
    surface of all directions, and its thickness the shortest edge of a voxel.
    """
    faces_mm2 = 0.0
    for axis in range(3):
        area_mm2 = math.prod(spacing_mm) / spacing_mm[axis]
        along = np.diff(mask_ZYX, axis=axis)
        ends = [np.count_nonzero(mask_ZYX.take(end, axis)) for end in (0, -1)]
        faces_mm2 += area_mm2 * (np.count_nonzero(along) + sum(ends))
    shell_ml = faces_mm2 * 2 / 3 * min(spacing_mm) / 1000
    own = volume_ml(mask_ZYX, spacing_mm)
    return _not_negative(interval(own, [[own - shell_ml, own + shell_ml]]))


def around(box: Box, shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> Box:
    """The box in which intervals of a lesion are measured: its own and what may be looked up."""
    z, y, x = (
        slice(max(axis.start - margin, 0), min(axis.stop + margin, size))
        for axis, size, margin in zip(
            box,
            shape,
            (math.ceil(ALIGNMENT_MM / mm) + 1 + BLUR_REACH for mm in spacing_mm),
            strict=True,
        )
    )
    return z, y, x


def curve_measures(
    phases: Collection[Phase], modality: Modality, late: Phase | None
) -> dict[str, OfCurves]:
    """What is measured of a lesion's and the liver's curve, by its path in the findings."""
    found: dict[str, OfCurves] = {}
    for phase in sorted(phases):
        found[f"curve.mean.{phase.key}"] = partial(_intensity, phase=phase)
        found[f"contrast.by_phase.{phase.key}"] = _of_both(
            partial(enhancement.contrast, phase=phase, modality=modality)
        )
    found["wash_in.enhancement"] = lambda lesion, _: enhancement.wash_in(lesion, modality)
    found["wash_in.against_liver"] = _of_both(
        partial(enhancement.wash_in_against_liver, modality=modality)
    )
    if late is not None:
        found["wash_out.share_lost"] = lambda lesion, _: enhancement.wash_out(
            lesion, late, modality
        )
        found["wash_out.against_liver"] = _of_both(
            partial(enhancement.wash_out_against_liver, late=late, modality=modality)
        )
        found["wash_out.liver_to_lesion_percent"] = _of_both(
            partial(enhancement.liver_to_lesion_percent, late=late)
        )
    return found


def widening(name: str, modality: Modality) -> float:
    """The k of the formula for a measure, by its path in the findings."""
    return WIDEN[modality].get(without_phase(name), 1.0)


def without_phase(name: str) -> str:
    """The path of a measure without its phase.

    >>> without_phase("curve.mean.portal"), without_phase("wash_in.enhancement")
    ('curve.mean', 'wash_in.enhancement')
    """
    head, _, last = name.rpartition(".")
    return head if last.upper() in Phase.__members__ else name


def _intensity(lesion: Curve, _: Curve | None, phase: Phase) -> float | None:
    return lesion.mean.get(phase)


def _of_both(measure: Callable[[Curve, Curve], float | None]) -> OfCurves:
    return lambda lesion, liver: None if liver is None else measure(lesion, liver)


def _sizes(mask: Mask, affine: NDArray[np.float64]) -> dict[str, float]:
    size = diameters(mask, affine)
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return {
        "volume_ml": volume_ml(mask, spacing_mm),
        "long_axis_mm": size.long_axis_mm,
        "short_axis_mm": size.short_axis_mm,
    }


def _not_negative(bounds: Interval) -> Interval:
    return Interval(max(bounds.low, 0.0), bounds.high)
