"""A liver on a canvas in, lesions grown in it out: instance labels, with each type's compartments among the tissues."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from liverleaf.phantom.anatomy.canvas import (
    Canvas,
    Field,
    Tissue,
    Window,
    smooth_noise,
    tissue_mask,
)
from liverleaf.terminology import LesionType

_PARENCHYMA = (Tissue.LIVER, Tissue.PORTAL_VEIN, Tissue.HEPATIC_VEIN)
_VESSELS = (Tissue.PORTAL_VEIN, Tissue.HEPATIC_VEIN)
_YIELDING = (
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
_PUSH_REACH = 1.6  # how far a lesion displaces what surrounds it, in radii


class Habit(NamedTuple):
    """How a type of lesion grows.

    Attributes:
        radius_mm: smallest, median and largest radius of an ordinary one.
        giant: share of cases with it whose largest one has a radius of 35 to 70 mm.
        border: irregularity of its border, as a share of the radius.
        more: mean number of further lesions of the same type beside the first.
    """

    radius_mm: tuple[float, float, float]
    giant: float
    border: float
    more: float


HABITS: Mapping[LesionType, Habit] = {
    LesionType.HCC: Habit((4, 16, 45), 0.4, 0.13, 0.7),
    LesionType.ICC: Habit((7, 22, 45), 0.4, 0.20, 0.3),
    LesionType.METASTASIS: Habit((3, 10, 35), 0.25, 0.09, 2.5),
    LesionType.HAEMANGIOMA: Habit((3, 13, 40), 0.15, 0.13, 0.6),
    LesionType.FNH: Habit((5, 16, 40), 0.05, 0.09, 0.3),
    LesionType.CYST: Habit((2.5, 9, 40), 0.08, 0.03, 1.5),
    LesionType.CALCIFICATION: Habit((2, 4, 12), 0.0, 0.20, 0.8),
    LesionType.OTHER: Habit((4, 15, 40), 0.1, 0.13, 0.6),
}


@dataclass(frozen=True)
class Casting:
    """Which lesions a case gets.

    Attributes:
        kinds: the types to choose from; None for all.
        least: at least this many lesions, as far as the liver has room.
        healthy: share of cases without any.
        radius_mm: smallest and largest radius of every lesion; None for those of its type.
        likeness: range of how much of the liver's own signal and perfusion a lesion has, 0 none to
            1 all.
    """

    kinds: tuple[LesionType, ...] | None = None
    least: int = 0
    healthy: float = 0.08
    radius_mm: tuple[float, float] | None = None
    likeness: tuple[float, float] = (0.0, 0.0)


USUAL = Casting()


@dataclass(frozen=True)
class Blob:
    """One lesion's room on the grid.

    Attributes:
        window: the part of the grid it lies in.
        mask: its voxels in that window (Z, Y, X).
        depth_mm: distance below its border, negative outside.
        radius_mm: its mean radius.
        offset_mm: position relative to its centre, (3, Z, Y, X), in the order z, y, x.
    """

    window: Window
    mask: NDArray[np.bool_]
    depth_mm: Field
    radius_mm: float
    offset_mm: Field


Compartments: TypeAlias = Callable[[np.random.Generator, Canvas, Blob], NDArray[np.uint8]]
"""Fills a blob's window with tissues; what lies outside its mask is not used."""


def plan_lesions(
    rng: np.random.Generator, types: Sequence[LesionType] | None, casting: Casting = USUAL
) -> list[tuple[LesionType, float]]:
    """Choose types and radii (mm), largest first.

    Args:
        rng: where randomness comes from.
        types: one lesion of each of these; None draws up to 8 lesions, mostly of one type or two,
            all types equally often.
        casting: what is drawn.
    """
    planned = _draw_types(rng, casting) if types is None else list(types)
    lesions = []
    for number, kind in enumerate(planned):
        low, median, high = HABITS[kind].radius_mm
        first = kind not in planned[:number]
        if casting.radius_mm:
            lesions.append((kind, float(rng.uniform(*casting.radius_mm))))
        elif first and rng.random() < HABITS[kind].giant:
            lesions.append((kind, float(rng.uniform(*GIANT_RADIUS_MM))))
        else:
            lesions.append(
                (kind, float(np.clip(median * np.exp(0.55 * rng.standard_normal()), low, high)))
            )
    return sorted(lesions, key=lambda lesion: -lesion[1])


def _draw_types(rng: np.random.Generator, casting: Casting) -> list[LesionType]:
    choice = casting.kinds or tuple(LesionType)
    some = np.array([0.52, 0.28, 0.12])
    number = rng.choice(4, p=[casting.healthy, *some / some.sum() * (1 - casting.healthy)])
    kinds = [choice[k] for k in rng.permutation(len(choice))[:number]]
    planned = [kind for kind in kinds for _ in range(1 + rng.poisson(HABITS[kind].more))]
    while kinds and len(planned) < casting.least:
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
        blob = _find_room(rng, canvas, abdomen, labels, kind, radius_mm)
        if blob is None:
            continue
        if radius_mm > 10:
            _push(canvas, abdomen, labels, blob, share=rng.uniform(0.1, 0.6))
        grown.append(kind)
        labels[blob.window][blob.mask] = len(grown)
        canvas.tissue[blob.window][blob.mask] = COMPARTMENTS[kind](rng, canvas, blob)[blob.mask]
    return labels, tuple(grown)


def _find_room(
    rng: np.random.Generator,
    canvas: Canvas,
    abdomen: NDArray[np.bool_],
    labels: NDArray[np.uint16],
    kind: LesionType,
    radius_mm: float,
) -> Blob | None:
    """Try places until a lesion lies mostly in the liver and touches no other one."""
    liver = tissue_mask(canvas.tissue, _PARENCHYMA)
    places = np.argwhere(liver)
    if not len(places):
        return None
    low, high = places.min(0), places.max(0) + 1
    box = tuple(slice(max(a - 1, 0), b + 1) for a, b in zip(low, high, strict=True))
    solid = liver[box] | (labels[box] > 0)
    # a giant may bulge into the abdomen, but not into the wall or the chest: there the liver does
    # not end for it
    if radius_mm > 30:
        solid |= ~abdomen[box]
    depth_mm = ndimage.distance_transform_edt(solid, sampling=canvas.spacing_mm)
    # from the lower edge of the liver, most of it outside, on kidney and colon
    hanging = radius_mm > 30 and rng.random() < 0.5
    if hanging:
        height = np.broadcast_to(canvas.z, canvas.tissue.shape)[tuple(places.T)]
        places = places[height <= np.quantile(height, 0.25)]
    depths = depth_mm[tuple((places - [b.start for b in box]).T)]
    for attempt in range(12):
        size = radius_mm * 0.88 ** (attempt // 2)
        low_share, high_share = (
            (0.1, 0.7) if radius_mm > 30 else (0.2, 0.9) if rng.random() < 0.4 else (0.9, 3)
        )
        wanted = size * rng.uniform(low_share, high_share)
        nearest = np.argpartition(np.abs(depths - wanted), len(depths) // 12)[
            : len(depths) // 12 + 1
        ]
        seat = places[rng.choice(nearest)]
        blob = _blob(rng, canvas, seat, size, HABITS[kind].border)
        room = abdomen[blob.window] & tissue_mask(canvas.tissue[blob.window], _YIELDING)
        mask = _component(
            (blob.depth_mm > 0) & room,
            tuple(s - w.start for s, w in zip(seat, blob.window, strict=True)),
        )
        apart = not labels[blob.window][ndimage.binary_dilation(mask, iterations=2)].any()
        if apart and liver[blob.window][mask].mean() > (0.15 if hanging else 0.4):
            return Blob(blob.window, mask, blob.depth_mm, size, blob.offset_mm)
    return None


def _component(mask: NDArray[np.bool_], seat: tuple[int, ...]) -> NDArray[np.bool_]:
    """The connected part of a mask that holds a voxel; that voxel alone when the mask misses it."""
    mask = mask.copy()
    mask[seat] = True
    parts, _ = ndimage.label(mask)
    return np.asarray(parts == parts[seat])


def _blob(
    rng: np.random.Generator,
    canvas: Canvas,
    seat: NDArray[np.intp],
    radius_mm: float,
    border: float,
) -> Blob:
    """An ellipsoid of random direction, its border bent by noise of two scales."""
    spacing = np.array(canvas.spacing_mm)
    reach = np.ceil(radius_mm * _PUSH_REACH * 1.25 / spacing).astype(int) + 1
    starts = np.maximum(seat - reach, 0)
    stops = np.minimum(seat + reach + 1, canvas.tissue.shape)
    axes = [
        ((np.arange(a, b) - s) * h).astype(np.float32)
        for a, b, s, h in zip(starts, stops, seat, spacing, strict=True)
    ]
    offset = np.stack(np.meshgrid(*axes, indexing="ij"))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    stretch = np.exp(rng.normal(0, 0.6 * border + 0.03, 3))
    metric = (rotation / stretch).astype(np.float32)
    size = np.sqrt(sum(np.einsum("i,izyx->zyx", row, offset) ** 2 for row in metric.T))
    bend = border * (
        local_noise(rng, axes, radius_mm * 0.8)
        + 0.5 * local_noise(rng, axes, max(radius_mm * 0.3, 2))
    )
    depth = radius_mm - size - radius_mm * np.clip(bend, -0.5, 0.5)
    window = tuple(slice(int(a), int(b)) for a, b in zip(starts, stops, strict=True))
    return Blob(window, depth > 0, np.asarray(depth, np.float32), radius_mm, offset)  # type: ignore[arg-type]


def local_noise(rng: np.random.Generator, axes: Sequence[Field], scale_mm: float) -> Field:
    """A smooth random field of unit variance around a lesion; `axes` are relative to its centre."""
    reach = 2.2 * max(float(np.abs(axis).max(initial=0)) for axis in axes) / 2
    return smooth_noise(rng, axes, (-reach,) * 3, (reach,) * 3, scale_mm)


def _push(
    canvas: Canvas, abdomen: NDArray[np.bool_], labels: NDArray[np.uint16], blob: Blob, share: float
) -> None:
    """Displace what yields around a lesion away from its centre: tissue from inside comes to lie just outside, fading with distance."""
    part = canvas.tissue[blob.window]
    movable = abdomen[blob.window] & tissue_mask(part, _YIELDING) & (labels[blob.window] == 0)
    away = 1 - blob.depth_mm / blob.radius_mm  # 1 at the border
    around = movable & (away > 1) & (away < _PUSH_REACH)
    origin = (away - 1) / (_PUSH_REACH - 1) * _PUSH_REACH
    shrink = 1 - share + share * origin[around] / away[around]
    spacing = np.array(canvas.spacing_mm)
    where = np.array(np.nonzero(around))
    steps = np.rint((shrink - 1) * blob.offset_mm[:, around] / spacing[:, None]).astype(int)
    source = tuple(np.clip(where + steps, 0, np.array(part.shape)[:, None] - 1))
    moved = movable[source]
    pushed = part[source]
    # a vessel from deep inside would be smeared into a shell
    pushed[tissue_mask(pushed, _VESSELS) & (away[source] < 0.7)] = Tissue.LIVER
    part[tuple(where[:, moved])] = pushed[moved]


def _axes(blob: Blob) -> list[Field]:
    return [blob.offset_mm[0, :, 0, 0], blob.offset_mm[1, 0, :, 0], blob.offset_mm[2, 0, 0, :]]


def _patches(rng: np.random.Generator, blob: Blob, scale: float) -> Field:
    """Noise whose details are a share of the lesion's radius."""
    return local_noise(rng, _axes(blob), max(scale * blob.radius_mm, 1.5))


def _layers(blob: Blob, *layers: tuple[Tissue, NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Compartments painted one over the other, the first without a mask of its own."""
    out = np.zeros(blob.depth_mm.shape, np.uint8)
    for tissue, mask in layers:
        out[mask] = tissue
    return out


def _hcc(rng: np.random.Generator, canvas: Canvas, blob: Blob) -> NDArray[np.uint8]:
    """Mosaic with necrosis and septa when large, with a thin capsule in half."""
    everywhere = blob.depth_mm > -np.inf
    large = np.clip((blob.radius_mm - 12) / 30, 0, 1)
    lumps = (
        0.85 * _patches(rng, blob, 0.4)
        + 0.3 * _patches(rng, blob, 0.15)
        + 0.8 * np.clip(blob.depth_mm / blob.radius_mm, 0, 1)
    )
    necrosis = (
        (lumps > rng.uniform(0.8, 2.2) - 0.6 * large)
        & (blob.depth_mm > 0.15 * blob.radius_mm)
        & (large > 0)
    )
    septa = (np.abs(_patches(rng, blob, 0.5)) < 0.05) & (rng.random() < 0.5) & (blob.radius_mm > 15)
    rim_mm = max(rng.uniform(1, 3), 1.05 * canvas.spacing_mm[2])
    capsule = (blob.depth_mm < rim_mm) & (rng.random() < 0.5) & (blob.radius_mm > 3 * rim_mm)
    return _layers(
        blob,
        (Tissue.HCC, everywhere),
        (Tissue.HCC_NECROSIS, necrosis),
        (Tissue.HCC_CAPSULE, septa),
        (Tissue.HCC_CAPSULE, capsule),
    )


def _haemangioma(rng: np.random.Generator, canvas: Canvas, blob: Blob) -> NDArray[np.uint8]:  # noqa: ARG001
    """Peripheral nodules with gaps, a middle and a centre; small ones may be one nodule that fills at once."""
    everywhere = blob.depth_mm > -np.inf
    if blob.radius_mm < 10 and rng.random() < 0.5:
        return _layers(blob, (Tissue.HAEMANGIOMA_NODULE, everywhere))
    lumps = _patches(rng, blob, 0.3)
    thickness = blob.radius_mm * (rng.uniform(0.2, 0.35) + 0.1 * lumps)
    nodules = (blob.depth_mm < np.maximum(thickness, 2)) & (lumps > rng.uniform(-0.1, 0.5))
    centre = blob.depth_mm > blob.radius_mm * (0.6 + 0.22 * _patches(rng, blob, 0.4))
    return _layers(
        blob,
        (Tissue.HAEMANGIOMA_MIDDLE, everywhere),
        (Tissue.HAEMANGIOMA_CENTRE, centre),
        (Tissue.HAEMANGIOMA_NODULE, nodules),
    )


def _fnh(rng: np.random.Generator, canvas: Canvas, blob: Blob) -> NDArray[np.uint8]:  # noqa: ARG001
    """Even, with a star-shaped scar in most that are large enough."""
    scar = np.zeros(blob.mask.shape, bool)
    if blob.radius_mm > 9 and rng.random() < 0.75:
        away = np.sqrt((blob.offset_mm**2).sum(0)) / blob.radius_mm
        scar = away < 0.16 + 0.05 * _patches(rng, blob, 0.25)
        for direction in rng.normal(size=(rng.integers(2, 5), 3)):
            plane = np.abs(
                np.einsum("i,izyx->zyx", direction / np.linalg.norm(direction), blob.offset_mm)
            )
            scar |= (plane < 0.06 * blob.radius_mm * (1 + _patches(rng, blob, 0.3))) & (
                away < rng.uniform(0.4, 0.75)
            )
    return _layers(blob, (Tissue.FNH, blob.depth_mm > -np.inf), (Tissue.FNH_SCAR, scar))


def _rimmed(
    rim: Tissue,
    centre: Tissue,
    share: tuple[float, float],
    roughness: float,
    *,
    islands: bool = True,
) -> Compartments:
    """A rim (a range of shares of the radius) around another centre, with islands of rim tissue in large ones."""

    def fill(rng: np.random.Generator, canvas: Canvas, blob: Blob) -> NDArray[np.uint8]:
        thickness = blob.radius_mm * (rng.uniform(*share) + roughness * _patches(rng, blob, 0.3))
        rim_mm = np.clip(thickness, max(1.5, 1.05 * canvas.spacing_mm[2]), 12)
        inner = (_patches(rng, blob, 0.3) > rng.uniform(0.9, 2)) & (blob.radius_mm > 18) & islands
        return _layers(
            blob, (centre, blob.depth_mm > -np.inf), (rim, inner), (rim, blob.depth_mm < rim_mm)
        )

    return fill


def _even(tissue: Tissue) -> Compartments:
    """One tissue throughout."""

    def fill(rng: np.random.Generator, canvas: Canvas, blob: Blob) -> NDArray[np.uint8]:  # noqa: ARG001
        return _layers(blob, (tissue, blob.depth_mm > -np.inf))

    return fill


def _angiomyolipoma(rng: np.random.Generator, canvas: Canvas, blob: Blob) -> NDArray[np.uint8]:  # noqa: ARG001
    """Islands of fat between vessels and muscle."""
    fat = _patches(rng, blob, 0.3) > rng.uniform(-1.0, 0.6)
    return _layers(
        blob, (Tissue.ANGIOMYOLIPOMA, blob.depth_mm > -np.inf), (Tissue.ANGIOMYOLIPOMA_FAT, fat)
    )


def _other(rng: np.random.Generator, canvas: Canvas, blob: Blob) -> NDArray[np.uint8]:
    """Abscess, adenoma, angiomyolipoma or lymphoma."""
    kinds = (
        _rimmed(Tissue.ABSCESS_RIM, Tissue.ABSCESS_CENTRE, (0.1, 0.2), 0.05, islands=False),
        _even(Tissue.ADENOMA),
        _angiomyolipoma,
        _even(Tissue.LYMPHOMA),
    )
    return kinds[rng.integers(len(kinds))](rng, canvas, blob)


COMPARTMENTS: Mapping[LesionType, Compartments] = {
    LesionType.HCC: _hcc,
    LesionType.ICC: _rimmed(Tissue.ICC_RIM, Tissue.ICC_CENTRE, (0.1, 0.25), 0.12),
    LesionType.METASTASIS: _rimmed(
        Tissue.METASTASIS_RIM, Tissue.METASTASIS_CENTRE, (0.08, 0.22), 0.10
    ),
    LesionType.HAEMANGIOMA: _haemangioma,
    LesionType.FNH: _fnh,
    LesionType.CYST: _even(Tissue.CYST),
    LesionType.CALCIFICATION: _even(Tissue.CALCIFICATION),
    LesionType.OTHER: _other,
}
