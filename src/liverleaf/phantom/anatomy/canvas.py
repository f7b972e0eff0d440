"""The grid that bodies and lesions are painted on, tissue over tissue, and the shapes they have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.interpolate import BSpline

from liverleaf.phantom.anatomy.fields import draw_field

Field: TypeAlias = NDArray[np.float32]
Window: TypeAlias = tuple[slice, slice, slice]


class Tissue(IntEnum):
    """What a phantom voxel is made of; kinetics and signal are looked up by it."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    BONE_CORTEX = 3
    BONE_MARROW = 4
    LUNG = 5
    MYOCARDIUM = 6
    HEART_BLOOD = 7
    LIVER = 8
    PORTAL_VEIN = 9
    HEPATIC_VEIN = 10
    AORTA = 11
    VENA_CAVA = 12
    SPLEEN = 13
    KIDNEY_CORTEX = 14
    KIDNEY_MEDULLA = 15
    STOMACH_WALL = 16
    STOMACH_CONTENT = 17
    BOWEL_WALL = 18
    BOWEL_CONTENT = 19
    BOWEL_GAS = 20
    BILE = 21
    PANCREAS = 22
    SOFT_TISSUE = 23  # anything else inside the body: fascia, nodes, bladder wall
    # lesion compartments; every voxel of a lesion has one of these
    HCC = 32
    HCC_NECROSIS = 33
    HCC_CAPSULE = 34
    HAEMANGIOMA_NODULE = 35
    HAEMANGIOMA_MIDDLE = 36
    HAEMANGIOMA_CENTRE = 37
    FNH = 38
    FNH_SCAR = 39
    METASTASIS_RIM = 40
    METASTASIS_CENTRE = 41
    ICC_RIM = 42
    ICC_CENTRE = 43
    CYST = 44
    CALCIFICATION = 45
    ABSCESS_RIM = 46
    ABSCESS_CENTRE = 47
    ADENOMA = 48
    ANGIOMYOLIPOMA = 49
    LYMPHOMA = 50
    ANGIOMYOLIPOMA_FAT = 51


class Shape(NamedTuple):
    """A solid in body coordinates (x to the left, y to the back, z to the head, mm).

    Attributes:
        low: lower corner of a box that holds it, (x, y, z).
        high: upper corner.
        distance: signed distance of points (x, y, z) to its surface, negative inside; exact only
            near the surface.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    distance: Callable[[Field, Field, Field], Field]


def ellipsoid(
    centre: ArrayLike, radii: ArrayLike, rotation: NDArray[np.float64] | None = None
) -> Shape:
    """An ellipsoid; the rows of `rotation` are the directions of its axes."""
    c, r = np.asarray(centre, float), np.asarray(radii, float)
    reach = r if rotation is None else np.abs(rotation.T) @ r

    def distance(x: Field, y: Field, z: Field) -> Field:
        points = [x - np.float32(c[0]), y - np.float32(c[1]), z - np.float32(c[2])]
        if rotation is not None:
            points = list(np.tensordot(rotation.astype(np.float32), np.stack(points), axes=1))
        u, v, w = (p / np.float32(s) for p, s in zip(points, r, strict=True))
        return np.asarray((np.sqrt(u * u + v * v + w * w) - 1) * np.float32(r.min()), np.float32)

    return Shape(c - reach, c + reach, distance)


def tube(points: ArrayLike, radii: ArrayLike) -> Shape:
    """A chain of round cones.

    Args:
        points: (n, 3), each (x, y, z).
        radii: one (mm) at each point, or one for all.
    """
    p = np.asarray(points, float)
    r = np.broadcast_to(np.asarray(radii, float), len(p))

    def distance(x: Field, y: Field, z: Field) -> Field:
        nearest = np.full(x.shape, np.inf, np.float32)
        for a, b, ra, rb in zip(p[:-1], p[1:], r[:-1], r[1:], strict=True):
            along = (b - a) / max(float((b - a) @ (b - a)), 1e-6)
            dx, dy, dz = x - np.float32(a[0]), y - np.float32(a[1]), z - np.float32(a[2])
            t = np.clip(
                np.float32(along[0]) * dx + np.float32(along[1]) * dy + np.float32(along[2]) * dz,
                0,
                1,
            )
            ex, ey, ez = (
                d - t * np.float32(step) for d, step in zip((dx, dy, dz), b - a, strict=True)
            )
            np.minimum(
                nearest,
                np.sqrt(ex * ex + ey * ey + ez * ez) - (np.float32(ra) + t * np.float32(rb - ra)),
                out=nearest,
            )
        return nearest

    return Shape((p - r[:, None]).min(0), (p + r[:, None]).max(0), distance)


def smooth_noise(
    rng: np.random.Generator,
    axes: Sequence[Field],
    low: ArrayLike,
    high: ArrayLike,
    scale_mm: float,
) -> Field:
    """Draw a smooth random field of unit variance.

    It is made of cubic B-splines with normal coefficients on a lattice. The lattice is fixed by
    `low`, `high` and `scale_mm` alone, so one generator state gives one field, whatever grid
    samples it.

    Args:
        rng: where randomness comes from.
        axes: positions of the grid lines along (z, y, x), mm.
        low: where the lattice begins, (z, y, x); positions outside take the value at its border.
        high: where it ends.
        scale_mm: spacing of the lattice; details are about twice as wide.

    Returns:
        float32 (Z, Y, X).
    """
    lows, highs = np.asarray(low, float), np.asarray(high, float)
    spans = np.maximum(np.ceil((highs - lows) / scale_mm).astype(int), 1)
    field = rng.standard_normal(tuple(spans + 3)).astype(np.float32)
    for axis, start, span in zip(axes, lows, spans, strict=True):
        knots = start + scale_mm * np.arange(-3, span + 4)
        inside = np.clip(np.asarray(axis, float), knots[3], knots[span + 3])
        weights = BSpline.design_matrix(inside, knots, 3).toarray().astype(np.float32)
        # contracts the first axis, appends the sampled one
        field = np.tensordot(field, weights, axes=(0, 1))
    # 0.479: mean sum of squared cubic B-splines
    return np.asarray(field / np.float32(0.479**1.5), np.float32)


@dataclass(frozen=True)
class Canvas:
    """A voxel grid on which a body is painted, tissue over tissue.

    Attributes:
        axes: body coordinates of the grid lines along (z, y, x), mm, before the deformation.
        x: deformed body coordinate of every voxel, towards the patient's left, (Z, Y, X).
        y: the same towards the back.
        z: the same towards the head.
        slack_mm: largest deformation along any axis.
        spacing_mm: voxel size along (z, y, x) in true millimetres.
        tissue: uint8 `Tissue` (Z, Y, X), changed in place.
    """

    axes: tuple[Field, Field, Field]
    x: Field
    y: Field
    z: Field
    slack_mm: float
    spacing_mm: tuple[float, float, float]
    tissue: NDArray[np.uint8]

    def noise(self, rng: np.random.Generator, scale_mm: float) -> Field:
        """A smooth random field of unit variance over the grid, another one on another grid."""
        shape = self.tissue.shape
        field = draw_field(rng, shape, self.spacing_mm, scale_mm)
        return np.asarray(field.on_axes([np.arange(n) for n in shape])[0])

    def box(self, low: ArrayLike, high: ArrayLike) -> Window:
        """The part of the grid that a box can touch, and a voxel around it.

        Args:
            low: lower corner in body coordinates, (x, y, z).
            high: upper corner.
        """
        starts = [
            max(np.searchsorted(axis, a - self.slack_mm) - 1, 0)
            for axis, a in zip(self.axes, np.asarray(low, float)[::-1], strict=True)
        ]
        stops = [
            np.searchsorted(axis, b + self.slack_mm) + 1
            for axis, b in zip(self.axes, np.asarray(high, float)[::-1], strict=True)
        ]
        z, y, x = (slice(int(a), int(b)) for a, b in zip(starts, stops, strict=True))
        return z, y, x

    def inside(self, shape: Shape, *, grow_mm: float = 0) -> tuple[Window, NDArray[np.bool_]]:
        """The window of a shape and its voxels there.

        `grow_mm` adds a margin, or takes it off below 0.
        """
        window = self.box(shape.low - grow_mm, shape.high + grow_mm)
        return window, shape.distance(self.x[window], self.y[window], self.z[window]) < grow_mm

    def fill(
        self,
        window: Window,
        mask: NDArray[np.bool_],
        tissue: Tissue,
        *,
        over: Sequence[Tissue] | None = None,
        within: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.bool_]:
        """Give a tissue to the voxels of a mask in a window.

        Args:
            window: the part of the grid.
            mask: voxels in it.
            tissue: what they become.
            over: only voxels that now are one of these change.
            within: only voxels in this mask of the whole grid change.

        Returns:
            The voxels that changed, in the window.
        """
        part = self.tissue[window]
        changed = mask if over is None else mask & tissue_mask(part, over)
        if within is not None:
            changed = changed & within[window]
        part[changed] = tissue
        return changed

    def paint(
        self,
        shape: Shape,
        tissue: Tissue,
        *,
        over: Sequence[Tissue] | None = None,
        within: NDArray[np.bool_] | None = None,
        grow_mm: float = 0,
    ) -> None:
        """Give a tissue to all voxels of a shape, as `inside` and `fill` do."""
        self.fill(*self.inside(shape, grow_mm=grow_mm), tissue, over=over, within=within)

    def paint_hollow(
        self,
        shape: Shape,
        wall: Tissue,
        content: Tissue,
        wall_mm: float,
        *,
        over: Sequence[Tissue],
        within: NDArray[np.bool_] | None = None,
    ) -> None:
        """Paint a hollow organ where there is room for it.

        It has a wall all around, also where another organ dents it.

        Args:
            shape: outside of the wall.
            wall: tissue of the wall.
            content: what is inside.
            wall_mm: thickness of the wall, at least a voxel.
            over: as in `fill`.
            within: as in `fill`.
        """
        window, mask = self.inside(shape)
        mask = self.fill(window, mask, wall, over=over, within=within)
        if mask.any():
            depth_mm = ndimage.distance_transform_edt(mask, sampling=self.spacing_mm)
            self.tissue[window][depth_mm > max(wall_mm, 1.01 * self.spacing_mm[2])] = content


def body_axes(
    origin_mm: NDArray[np.float64],
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    scale: NDArray[np.float64],
) -> tuple[Field, Field, Field]:
    """Body coordinates of the grid lines along (z, y, x) of an axial grid.

    Args:
        origin_mm: true position of the first voxel, (z, y, x).
        shape: voxels along (Z, Y, X).
        spacing_mm: voxel size along (Z, Y, X).
        scale: size of the person or animal against the average, along (z, y, x).
    """
    z, y, x = (
        ((start + np.arange(n) * step) / s).astype(np.float32)
        for start, n, step, s in zip(origin_mm, shape, spacing_mm, scale, strict=True)
    )
    return z, y, x


def axial_affine(
    origin_mm: NDArray[np.float64], spacing_mm: Sequence[float]
) -> NDArray[np.float64]:
    """LPS affine of an axial grid, Z towards the head; both arguments in the order (z, y, x)."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing_mm)[::-1]
    affine[:3, 3] = origin_mm[::-1]
    return affine


def tissue_mask(labels: NDArray[np.uint8], tissues: Sequence[Tissue]) -> NDArray[np.bool_]:
    """Where a label map holds one of some tissues."""
    table = np.zeros(256, bool)
    table[list(tissues)] = True
    return np.asarray(table[labels])
