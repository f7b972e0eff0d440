"""The compartments of each lesion type, such as capsule, necrosis and scar, as tissues."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from liverleaf.phantom.anatomy.canvas import Canvas, Field, Tissue, Window, smooth_noise
from liverleaf.terminology import LesionType


@dataclass(frozen=True)
class LesionRegion:
    """The voxels of one lesion.

    Attributes:
        window: the part of the grid it lies in.
        mask: its voxels in that window (Z, Y, X).
        depth_mm: distance below its margin, negative outside.
        radius_mm: its mean radius.
        offset_mm: position relative to its centre, (3, Z, Y, X), in the order z, y, x.
    """

    window: Window
    mask: NDArray[np.bool_]
    depth_mm: Field
    radius_mm: float
    offset_mm: Field


Compartments: TypeAlias = Callable[[np.random.Generator, Canvas, LesionRegion], NDArray[np.uint8]]
"""Fills a region's window with tissues; what lies outside its mask is not used."""


def local_noise(rng: np.random.Generator, axes: Sequence[Field], scale_mm: float) -> Field:
    """A smooth random field of unit variance around a lesion; `axes` are relative to its centre."""
    reach = 2.2 * max(float(np.abs(axis).max(initial=0)) for axis in axes) / 2
    return smooth_noise(rng, axes, (-reach,) * 3, (reach,) * 3, scale_mm)


def _axes(region: LesionRegion) -> list[Field]:
    return [
        region.offset_mm[0, :, 0, 0],
        region.offset_mm[1, 0, :, 0],
        region.offset_mm[2, 0, 0, :],
    ]


def _relative_noise(rng: np.random.Generator, region: LesionRegion, scale: float) -> Field:
    """Noise whose details are a share of the lesion's radius."""
    return local_noise(rng, _axes(region), max(scale * region.radius_mm, 1.5))


def _paint_layers(
    region: LesionRegion, *layers: tuple[Tissue, NDArray[np.bool_]]
) -> NDArray[np.uint8]:
    """Compartments painted one over the other, the first without a mask of its own."""
    out = np.zeros(region.depth_mm.shape, np.uint8)
    for tissue, mask in layers:
        out[mask] = tissue
    return out


def _hcc(rng: np.random.Generator, canvas: Canvas, region: LesionRegion) -> NDArray[np.uint8]:
    """Tumour with necrosis and septa when large, and a thin capsule in half of them."""
    everywhere = region.depth_mm > -np.inf
    large = np.clip((region.radius_mm - 12) / 30, 0, 1)
    lumps = (
        0.85 * _relative_noise(rng, region, 0.4)
        + 0.3 * _relative_noise(rng, region, 0.15)
        + 0.8 * np.clip(region.depth_mm / region.radius_mm, 0, 1)
    )
    necrosis = (
        (lumps > rng.uniform(0.8, 2.2) - 0.6 * large)
        & (region.depth_mm > 0.15 * region.radius_mm)
        & (large > 0)
    )
    septa = (
        (np.abs(_relative_noise(rng, region, 0.5)) < 0.05)
        & (rng.random() < 0.5)
        & (region.radius_mm > 15)
    )
    rim_mm = max(rng.uniform(1, 3), 1.05 * canvas.spacing_mm[2])
    capsule = (region.depth_mm < rim_mm) & (rng.random() < 0.5) & (region.radius_mm > 3 * rim_mm)
    return _paint_layers(
        region,
        (Tissue.HCC, everywhere),
        (Tissue.HCC_NECROSIS, necrosis),
        (Tissue.HCC_CAPSULE, septa),
        (Tissue.HCC_CAPSULE, capsule),
    )


def _haemangioma(
    rng: np.random.Generator,
    canvas: Canvas,  # noqa: ARG001
    region: LesionRegion,
) -> NDArray[np.uint8]:
    """Discontinuous peripheral nodules, a middle and a centre; small ones may fill at once."""
    everywhere = region.depth_mm > -np.inf
    if region.radius_mm < 10 and rng.random() < 0.5:
        return _paint_layers(region, (Tissue.HAEMANGIOMA_NODULE, everywhere))
    lumps = _relative_noise(rng, region, 0.3)
    thickness = region.radius_mm * (rng.uniform(0.2, 0.35) + 0.1 * lumps)
    nodules = (region.depth_mm < np.maximum(thickness, 2)) & (lumps > rng.uniform(-0.1, 0.5))
    centre = region.depth_mm > region.radius_mm * (0.6 + 0.22 * _relative_noise(rng, region, 0.4))
    return _paint_layers(
        region,
        (Tissue.HAEMANGIOMA_MIDDLE, everywhere),
        (Tissue.HAEMANGIOMA_CENTRE, centre),
        (Tissue.HAEMANGIOMA_NODULE, nodules),
    )


def _fnh(
    rng: np.random.Generator,
    canvas: Canvas,  # noqa: ARG001
    region: LesionRegion,
) -> NDArray[np.uint8]:
    """Homogeneous, with a stellate central scar in most that are large enough."""
    scar = np.zeros(region.mask.shape, bool)
    if region.radius_mm > 9 and rng.random() < 0.75:
        away = np.sqrt((region.offset_mm**2).sum(0)) / region.radius_mm
        scar = away < 0.16 + 0.05 * _relative_noise(rng, region, 0.25)
        for direction in rng.normal(size=(rng.integers(2, 5), 3)):
            plane = np.abs(
                np.einsum("i,izyx->zyx", direction / np.linalg.norm(direction), region.offset_mm)
            )
            scar |= (plane < 0.06 * region.radius_mm * (1 + _relative_noise(rng, region, 0.3))) & (
                away < rng.uniform(0.4, 0.75)
            )
    return _paint_layers(region, (Tissue.FNH, region.depth_mm > -np.inf), (Tissue.FNH_SCAR, scar))


def _rimmed(
    rim: Tissue,
    centre: Tissue,
    share: tuple[float, float],
    roughness: float,
    *,
    islands: bool = True,
) -> Compartments:
    """A rim around a centre of another tissue.

    Args:
        rim: tissue of the rim.
        centre: tissue of the centre.
        share: smallest and largest thickness of the rim, in radii.
        roughness: how uneven the thickness is, in radii.
        islands: whether large ones have islands of rim tissue in the centre.
    """

    def fill(rng: np.random.Generator, canvas: Canvas, region: LesionRegion) -> NDArray[np.uint8]:
        thickness = region.radius_mm * (
            rng.uniform(*share) + roughness * _relative_noise(rng, region, 0.3)
        )
        rim_mm = np.clip(thickness, max(1.5, 1.05 * canvas.spacing_mm[2]), 12)
        inner = (
            (_relative_noise(rng, region, 0.3) > rng.uniform(0.9, 2))
            & (region.radius_mm > 18)
            & islands
        )
        return _paint_layers(
            region,
            (centre, region.depth_mm > -np.inf),
            (rim, inner),
            (rim, region.depth_mm < rim_mm),
        )

    return fill


def _homogeneous(tissue: Tissue) -> Compartments:
    """The same tissue throughout."""

    def fill(
        rng: np.random.Generator,  # noqa: ARG001
        canvas: Canvas,  # noqa: ARG001
        region: LesionRegion,
    ) -> NDArray[np.uint8]:
        return _paint_layers(region, (tissue, region.depth_mm > -np.inf))

    return fill


def _angiomyolipoma(
    rng: np.random.Generator,
    canvas: Canvas,  # noqa: ARG001
    region: LesionRegion,
) -> NDArray[np.uint8]:
    """Islands of fat between vessels and muscle."""
    fat = _relative_noise(rng, region, 0.3) > rng.uniform(-1.0, 0.6)
    return _paint_layers(
        region, (Tissue.ANGIOMYOLIPOMA, region.depth_mm > -np.inf), (Tissue.ANGIOMYOLIPOMA_FAT, fat)
    )


def _other(rng: np.random.Generator, canvas: Canvas, region: LesionRegion) -> NDArray[np.uint8]:
    """Abscess, adenoma, angiomyolipoma or lymphoma."""
    kinds = (
        _rimmed(Tissue.ABSCESS_RIM, Tissue.ABSCESS_CENTRE, (0.1, 0.2), 0.05, islands=False),
        _homogeneous(Tissue.ADENOMA),
        _angiomyolipoma,
        _homogeneous(Tissue.LYMPHOMA),
    )
    return kinds[rng.integers(len(kinds))](rng, canvas, region)


COMPARTMENTS: Mapping[LesionType, Compartments] = {
    LesionType.HCC: _hcc,
    LesionType.ICC: _rimmed(Tissue.ICC_RIM, Tissue.ICC_CENTRE, (0.1, 0.25), 0.12),
    LesionType.METASTASIS: _rimmed(
        Tissue.METASTASIS_RIM, Tissue.METASTASIS_CENTRE, (0.08, 0.22), 0.10
    ),
    LesionType.HAEMANGIOMA: _haemangioma,
    LesionType.FNH: _fnh,
    LesionType.CYST: _homogeneous(Tissue.CYST),
    LesionType.CALCIFICATION: _homogeneous(Tissue.CALCIFICATION),
    LesionType.OTHER: _other,
}
