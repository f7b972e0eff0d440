"""Focal liver lesions: which a case gets, how large they are, and where they grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from liverleaf.phantom.anatomy.canvas import (
    Canvas,
    Tissue,
    tissue_mask,
)
from liverleaf.phantom.anatomy.compartments import COMPARTMENTS, LesionRegion, local_noise
from liverleaf.terminology import LesionType

_PARENCHYMA = (Tissue.LIVER, Tissue.PORTAL_VEIN, Tissue.HEPATIC_VEIN)
_VESSELS = (Tissue.PORTAL_VEIN, Tissue.HEPATIC_VEIN)
_DISPLACEABLE = (
    *_PARENCHYMA,
    Tissue.FAT,
    Tissue.SOFT_TISSUE,
    Tissue.SPLEEN,
    Tissue.KIDNEY_CORTEX,
    Tissue.KIDNEY_MEDULLA,
    Tissue.STOMACH_WALL,
    Tissue.STOMACH_CONTENT,
    Tissue.BOWEL_WALL,
    Tissue.BOWEL_CONTENT,
    Tissue.BOWEL_GAS,
    Tissue.BILE,
    Tissue.PANCREAS,
)
GIANT_RADIUS_MM = (35.0, 70.0)
_BULGING_MM = 30.0  # radius from which a lesion may grow out of the liver
_MASS_EFFECT_REACH = 1.6  # how far a lesion displaces what surrounds it, in radii


class GrowthPattern(NamedTuple):
    """How a type of lesion grows.

    Attributes:
        radius_mm: smallest, median and largest radius of an ordinary one.
        share_giant: share of cases whose largest lesion of this type has a radius of 35 to 70 mm,
            in [0, 1].
        margin_irregularity: standard deviation of the margin, as a share of the radius.
        mean_satellites: mean number of further lesions of the same type beside the first.
    """

    radius_mm: tuple[float, float, float]
    share_giant: float
    margin_irregularity: float
    mean_satellites: float


GROWTH_PATTERNS: Mapping[LesionType, GrowthPattern] = {
    LesionType.HCC: GrowthPattern((4, 16, 45), 0.4, 0.13, 0.7),
    LesionType.ICC: GrowthPattern((7, 22, 45), 0.4, 0.20, 0.3),
    LesionType.METASTASIS: GrowthPattern((3, 10, 35), 0.25, 0.09, 2.5),
    LesionType.HAEMANGIOMA: GrowthPattern((3, 13, 40), 0.15, 0.13, 0.6),
    LesionType.FNH: GrowthPattern((5, 16, 40), 0.05, 0.09, 0.3),
    LesionType.CYST: GrowthPattern((2.5, 9, 40), 0.08, 0.03, 1.5),
    LesionType.CALCIFICATION: GrowthPattern((2, 4, 12), 0.0, 0.20, 0.8),
    LesionType.OTHER: GrowthPattern((4, 15, 40), 0.1, 0.13, 0.6),
}


@dataclass(frozen=True)
class LesionMix:
    """Which lesions a case gets.

    Attributes:
        types: the types to choose from; None for all.
        at_least: smallest number of lesions, as far as the liver has room for them.
        share_without: share of cases without any lesion, in [0, 1].
        radius_mm: smallest and largest radius of every lesion; None for those of its type.
        isointensity: range of the share of the liver's own signal and perfusion that a lesion has:
            0 for a lesion of its own tissue alone, 1 for one that cannot be told from liver.
    """

    types: tuple[LesionType, ...] | None = None
    at_least: int = 0
    share_without: float = 0.08
    radius_mm: tuple[float, float] | None = None
    isointensity: tuple[float, float] = (0.0, 0.0)


USUAL_MIX = LesionMix()


def plan_lesions(
    rng: np.random.Generator, types: Sequence[LesionType] | None, mix: LesionMix = USUAL_MIX
) -> list[tuple[LesionType, float]]:
    """Choose types and radii (mm), largest first.

    Args:
        rng: where randomness comes from.
        types: one lesion of each of these; None draws up to 8 lesions, mostly of one type or two,
            all types equally often.
        mix: which lesions are drawn where `types` is None, and their sizes.
    """
    planned = _draw_types(rng, mix) if types is None else list(types)
    lesions = []
    for number, kind in enumerate(planned):
        low, median, high = GROWTH_PATTERNS[kind].radius_mm
        first = kind not in planned[:number]
        if mix.radius_mm:
            lesions.append((kind, float(rng.uniform(*mix.radius_mm))))
        elif first and rng.random() < GROWTH_PATTERNS[kind].share_giant:
            lesions.append((kind, float(rng.uniform(*GIANT_RADIUS_MM))))
        else:
            lesions.append(
                (kind, float(np.clip(median * np.exp(0.55 * rng.standard_normal()), low, high)))
            )
    return sorted(lesions, key=lambda lesion: -lesion[1])


def _draw_types(rng: np.random.Generator, mix: LesionMix) -> list[LesionType]:
    """The type of each lesion of a case, mostly one type or two, with satellites."""
    choice = mix.types or tuple(LesionType)
    one_to_three = np.array([0.52, 0.28, 0.12])
    chances = one_to_three / one_to_three.sum() * (1 - mix.share_without)
    number = rng.choice(4, p=[mix.share_without, *chances])
    kinds = [choice[k] for k in rng.permutation(len(choice))[:number]]
    planned = [
        kind
        for kind in kinds
        for _ in range(1 + rng.poisson(GROWTH_PATTERNS[kind].mean_satellites))
    ]
    while kinds and len(planned) < mix.at_least:
        planned.append(kinds[rng.integers(len(kinds))])
    return planned[:8]


def grow_lesions(
    rng: np.random.Generator,
    canvas: Canvas,
    abdomen: NDArray[np.bool_],
    planned: Sequence[tuple[LesionType, float]],
) -> tuple[NDArray[np.uint16], tuple[LesionType, ...]]:
    """Grow lesions in the liver; the larger ones displace what surrounds them.

    Args:
        rng: where randomness comes from.
        canvas: the body; the lesions' compartments are painted on it.
        abdomen: where lesions may lie, the room below the diaphragm and inside the wall (Z, Y, X).
        planned: type and radius (mm) of each lesion, the largest first, so that it finds room.

    Returns:
        uint16 labels (Z, Y, X) and the type of label 1, 2, 3, ...; lesions for which the liver on
            this grid has no room are left out.
    """
    labels = np.zeros(canvas.tissue.shape, np.uint16)
    grown: list[LesionType] = []
    for kind, radius_mm in planned:
        region = _find_location(rng, canvas, abdomen, labels, kind, radius_mm)
        if region is None:
            continue
        if radius_mm > 10:
            _apply_mass_effect(canvas, abdomen, labels, region, share=rng.uniform(0.1, 0.6))
        grown.append(kind)
        labels[region.window][region.mask] = len(grown)
        tissues = COMPARTMENTS[kind](rng, canvas, region)
        canvas.tissue[region.window][region.mask] = tissues[region.mask]
    return labels, tuple(grown)


def _find_location(
    rng: np.random.Generator,
    canvas: Canvas,
    abdomen: NDArray[np.bool_],
    labels: NDArray[np.uint16],
    kind: LesionType,
    radius_mm: float,
) -> LesionRegion | None:
    """Try centres until a lesion is mostly in the liver and touches no other.

    Every second attempt is smaller. None where no attempt succeeds.
    """
    liver = tissue_mask(canvas.tissue, _PARENCHYMA)
    if not liver.any():
        return None
    exophytic = radius_mm > _BULGING_MM and rng.random() < 0.5
    centres, depths_mm = _candidate_centres(
        canvas, abdomen, labels, liver, bulging=radius_mm > _BULGING_MM, lowest=exophytic
    )
    for attempt in range(12):
        size_mm = radius_mm * 0.88 ** (attempt // 2)
        low_share, high_share = (
            (0.1, 0.7)
            if radius_mm > _BULGING_MM
            else (0.2, 0.9)  # subcapsular
            if rng.random() < 0.4
            else (0.9, 3)
        )
        wanted_mm = size_mm * rng.uniform(low_share, high_share)
        twelfth = len(centres) // 12
        nearest = np.argpartition(np.abs(depths_mm - wanted_mm), twelfth)[: twelfth + 1]
        centre = centres[rng.choice(nearest)]
        region = _draw_region(
            rng, canvas, centre, size_mm, GROWTH_PATTERNS[kind].margin_irregularity
        )
        room = abdomen[region.window] & tissue_mask(canvas.tissue[region.window], _DISPLACEABLE)
        mask = _component(
            (region.depth_mm > 0) & room,
            tuple(c - w.start for c, w in zip(centre, region.window, strict=True)),
        )
        apart = not labels[region.window][ndimage.binary_dilation(mask, iterations=2)].any()
        if apart and liver[region.window][mask].mean() > (0.15 if exophytic else 0.4):
            return replace(region, mask=mask)
    return None


def _candidate_centres(
    canvas: Canvas,
    abdomen: NDArray[np.bool_],
    labels: NDArray[np.uint16],
    liver: NDArray[np.bool_],
    *,
    bulging: bool,
    lowest: bool,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Voxels of the liver, (n, 3), and how deep each lies under the liver's surface (mm).

    Args:
        canvas: the body.
        abdomen: the room below the diaphragm and inside the wall.
        labels: of the lesions that are there already; they count as liver.
        liver: parenchyma with its vessels.
        bulging: let the surface towards the abdomen not count: a large lesion may bulge there, but
            not into the wall or the chest.
        lowest: only the lowest quarter, from where a lesion hangs out of the liver.
    """
    centres = np.argwhere(liver)
    low, high = centres.min(0), centres.max(0) + 1
    box = tuple(slice(max(a - 1, 0), b + 1) for a, b in zip(low, high, strict=True))
    solid = liver[box] | (labels[box] > 0)
    if bulging:
        solid |= ~abdomen[box]
    depth_mm = ndimage.distance_transform_edt(solid, sampling=canvas.spacing_mm)
    if lowest:
        height = np.broadcast_to(canvas.z, canvas.tissue.shape)[tuple(centres.T)]
        centres = centres[height <= np.quantile(height, 0.25)]
    return centres, depth_mm[tuple((centres - [b.start for b in box]).T)]


def _component(mask: NDArray[np.bool_], centre: tuple[int, ...]) -> NDArray[np.bool_]:
    """The connected part of a mask that holds a voxel; that voxel alone when the mask misses it."""
    mask = mask.copy()
    mask[centre] = True
    parts, _ = ndimage.label(mask)
    return np.asarray(parts == parts[centre])


def _draw_region(
    rng: np.random.Generator,
    canvas: Canvas,
    centre: NDArray[np.intp],
    radius_mm: float,
    irregularity: float,
) -> LesionRegion:
    """An ellipsoid of random direction, its margin made irregular by noise of two scales."""
    spacing = np.array(canvas.spacing_mm)
    reach = np.ceil(radius_mm * _MASS_EFFECT_REACH * 1.25 / spacing).astype(int) + 1
    starts = np.maximum(centre - reach, 0)
    stops = np.minimum(centre + reach + 1, canvas.tissue.shape)
    axes = [
        ((np.arange(a, b) - s) * h).astype(np.float32)
        for a, b, s, h in zip(starts, stops, centre, spacing, strict=True)
    ]
    offset = np.stack(np.meshgrid(*axes, indexing="ij"))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    stretch = np.exp(rng.normal(0, 0.6 * irregularity + 0.03, 3))
    metric = (rotation / stretch).astype(np.float32)
    size = np.sqrt(sum(np.einsum("i,izyx->zyx", row, offset) ** 2 for row in metric.T))
    bend = irregularity * (
        local_noise(rng, axes, radius_mm * 0.8)
        + 0.5 * local_noise(rng, axes, max(radius_mm * 0.3, 2))
    )
    depth = radius_mm - size - radius_mm * np.clip(bend, -0.5, 0.5)
    z, y, x = (slice(int(a), int(b)) for a, b in zip(starts, stops, strict=True))
    return LesionRegion((z, y, x), depth > 0, np.asarray(depth, np.float32), radius_mm, offset)


def _apply_mass_effect(
    canvas: Canvas,
    abdomen: NDArray[np.bool_],
    labels: NDArray[np.uint16],
    region: LesionRegion,
    share: float,
) -> None:
    """Displace soft tissue around a lesion away from its centre.

    Tissue from inside the lesion comes to lie just outside it, fading with distance.

    Args:
        canvas: the body, changed in place.
        abdomen: where tissue can be displaced.
        labels: of the lesions that are there already; they stay where they are.
        region: of the lesion.
        share: how much of the lesion's volume is made up for by displacement, in [0, 1].
    """
    window, part = region.window, canvas.tissue[region.window]
    movable = abdomen[window] & tissue_mask(part, _DISPLACEABLE) & (labels[window] == 0)
    away = 1 - region.depth_mm / region.radius_mm  # 1 at the margin
    around = movable & (away > 1) & (away < _MASS_EFFECT_REACH)
    origin = (away - 1) / (_MASS_EFFECT_REACH - 1) * _MASS_EFFECT_REACH
    shrink = 1 - share + share * origin[around] / away[around]
    spacing = np.array(canvas.spacing_mm)
    where = np.array(np.nonzero(around))
    steps = np.rint((shrink - 1) * region.offset_mm[:, around] / spacing[:, None]).astype(int)
    source = tuple(np.clip(where + steps, 0, np.array(part.shape)[:, None] - 1))
    moved = movable[source]
    pushed = part[source]
    # a vessel from deep inside would be smeared into a shell
    pushed[tissue_mask(pushed, _VESSELS) & (away[source] < 0.7)] = Tissue.LIVER
    part[tuple(where[:, moved])] = pushed[moved]
