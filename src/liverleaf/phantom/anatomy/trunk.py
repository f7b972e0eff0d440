"""How trunks are drawn, whatever part of them: outline, skin, diaphragm, bones and vertebrae.

The tables with the measures stand where they are used, in `body` and in `thorax`. Body coordinates:
x to the left, y to the back, z to the head, mm.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from liverleaf.phantom.anatomy.canvas import Canvas, Field, Shape, Tissue

HEART_AXES = np.array([[0.75, -0.45, -0.48], [0.35, 0.89, -0.29], [0.56, 0.05, 0.83]])
"""Directions of the heart's long axis, to the left front, and of two across it."""


class Outline(NamedTuple):
    """A cross-section of the trunk by height: superellipses that change from level to level.

    Attributes:
        height_mm: rising heights, z.
        half_x_mm: half-width at each height.
        half_y_mm: half-depth at each height.
        shift_y_mm: how far the centre lies behind the axis at each height; None for not at all.
        exponent: 2 for ellipses; larger ones are more like boxes.
    """

    height_mm: tuple[int, ...]
    half_x_mm: tuple[int, ...]
    half_y_mm: tuple[int, ...]
    shift_y_mm: tuple[int, ...] | None
    exponent: float

    def distance(self, x: Field, y: Field, z: Field) -> Field:
        """Distance (mm) of points to the outline along rays from its centre, negative inside."""
        if self.shift_y_mm is not None:
            y = y - by_height(z, self.height_mm, self.shift_y_mm)
        u = np.abs(x) / by_height(z, self.height_mm, self.half_x_mm)
        v = np.abs(y) / by_height(z, self.height_mm, self.half_y_mm)
        power = np.float32(self.exponent)
        size = (u**power + v**power + np.float32(1e-6)) ** (1 / power)
        return np.asarray(np.hypot(x, y) * (1 - 1 / size), np.float32)


def by_height(z: NDArray, height_mm: tuple[int, ...], values: tuple[int, ...]) -> Field:
    """A measure given at some heights, interpolated linearly at heights z of any shape."""
    return np.asarray(np.interp(z, height_mm, values), np.float32)


def paint_skin(canvas: Canvas, wall: Field, thickness_mm: Field, skin_mm: float) -> None:
    """Fat under the skin, and the skin around it.

    Args:
        canvas: what is painted on.
        wall: distance to the muscular wall, negative inside (mm).
        thickness_mm: of skin and fat together.
        skin_mm: of the skin.
    """
    canvas.tissue[wall < thickness_mm] = Tissue.FAT
    canvas.tissue[(wall < thickness_mm) & (wall > thickness_mm - skin_mm)] = Tissue.SOFT_TISSUE


def paint_bone(canvas: Canvas, shape: Shape, cortex_mm: float) -> None:
    """A bone: cortex around marrow."""
    canvas.paint(shape, Tissue.BONE_CORTEX)
    canvas.paint(shape, Tissue.BONE_MARROW, grow_mm=-cortex_mm)


class Dome(NamedTuple):
    """One dome of the diaphragm, a paraboloid.

    Attributes:
        centre_x_mm: of its top.
        half_x_mm: distance from the top at which it has fallen by `fall_mm`.
        fall_mm: see `half_x_mm`.
    """

    centre_x_mm: float
    half_x_mm: float
    fall_mm: float


class Diaphragm(NamedTuple):
    """Two domes, and the tendon under the heart between them.

    Attributes:
        right: dome over the liver, the highest.
        left: dome over the spleen.
        centre_y_mm: of both domes.
        front_mm: distance to the front at which a dome has fallen by its `fall_mm`.
        back_mm: the same to the back.
        tendon_lower_mm: how far the tendon lies below the top of the right dome.
        tendon_y_mm: from where the tendon falls to the back.
        tendon_fall_mm: by how much it has fallen 80 mm behind that.
    """

    right: Dome
    left: Dome
    centre_y_mm: float
    front_mm: float
    back_mm: float
    tendon_lower_mm: float
    tendon_y_mm: float
    tendon_fall_mm: float

    def height(self, x: Field, y: Field, dome_mm: float, left_lower_mm: float) -> Field:
        """Height z of the diaphragm (mm) at (x, y).

        Args:
            x: positions.
            y: positions.
            dome_mm: height of the right dome.
            left_lower_mm: how far the left dome lies below it.
        """
        depth = self.depth(y)

        def dome(of: Dome, top_mm: float) -> Field:
            away = ((x - of.centre_x_mm) / of.half_x_mm) ** 2 + (
                (y - self.centre_y_mm) / depth
            ) ** 2
            return np.asarray(top_mm - of.fall_mm * away)

        behind = np.maximum(y - self.tendon_y_mm, 0) / 80
        tendon = dome_mm - self.tendon_lower_mm - 0.004 * (x - 5) ** 2
        tendon = tendon - self.tendon_fall_mm * behind**2
        domes = np.maximum(dome(self.right, dome_mm), dome(self.left, dome_mm - left_lower_mm))
        return np.asarray(np.maximum(domes, tendon))

    def depth(self, y: Field) -> Field:
        """`front_mm` or `back_mm`, whichever holds at y."""
        return np.where(y < -5, self.front_mm, self.back_mm).astype(np.float32)


class Vertebra(NamedTuple):
    """Measures of a vertebra and its disc, mm; levels count up from the lower face of the disc.

    Those that change along the spine may be fields.

    Attributes:
        body_half_x: half-width of the vertebral body; `y` is counted from its centre.
        body_half_y: its half-depth.
        body_radius: what turns the relative distance from its surface into mm.
        cortex: thickness of its cortex.
        disc_to: level up to which the disc reaches.
        marrow: levels between which the body holds marrow.
        canal_y: centre of the spinal canal.
        canal_half: half-width and half-depth of the canal.
        arch: thickness of the arch around the canal.
        arch_from_y: from where the arch is bone.
        arch_levels: between which it is.
        arch_over_body: whether the arch is painted over the body where they meet.
        spinous_half_x: half-width of the spinous process.
        spinous_y: from where to where it reaches.
        spinous_levels: between which it lies.
        transverse_x: from where to where the transverse processes reach.
        transverse_y: their centre at the midline, and how much further back they lie per mm of x.
        transverse_levels: between which they lie.
    """

    body_half_x: NDArray[np.floating] | float
    body_half_y: NDArray[np.floating] | float
    body_radius: float
    cortex: float
    disc_to: float
    marrow: tuple[float, float]
    canal_y: float
    canal_half: tuple[float, float]
    arch: float
    arch_from_y: float
    arch_levels: tuple[float, float]
    arch_over_body: bool
    spinous_half_x: NDArray[np.floating] | float
    spinous_y: tuple[float, NDArray[np.floating] | float]
    spinous_levels: tuple[float, float]
    transverse_x: tuple[float, NDArray[np.floating] | float]
    transverse_y: tuple[float, float]
    transverse_levels: tuple[float, float]


def paint_vertebrae(
    tissue: NDArray[np.uint8],
    x: Field,
    y: Field,
    level: Field,
    vertebra: Vertebra,
    *,
    bone_within: NDArray[np.bool_] | bool = True,
    canal_within: NDArray[np.bool_] | bool = True,
) -> None:
    """Paint vertebral bodies with discs, arches and processes, and the canal with fat and cord.

    Args:
        tissue: values of `Tissue` in a window, changed in place.
        x: distance from the midline.
        y: distance behind the centre of the vertebral bodies.
        level: height above the lower face of each disc.
        vertebra: the measures.
        bone_within: where there are vertebrae.
        canal_within: where there is a canal.
    """
    body = np.hypot(x / vertebra.body_half_x, y / vertebra.body_half_y) - 1
    body = body * vertebra.body_radius
    canal_x, canal_y = vertebra.canal_half
    canal = (np.hypot(x / canal_x, (y - vertebra.canal_y) / canal_y) - 1) * 9
    processes = bone_within & _processes(x, y, level, canal, vertebra)
    if not vertebra.arch_over_body:
        tissue[processes] = Tissue.BONE_CORTEX
    tissue[bone_within & (body < 0)] = Tissue.BONE_CORTEX
    marrow = (body < -vertebra.cortex) & _between(level, vertebra.marrow)
    tissue[bone_within & marrow] = Tissue.BONE_MARROW
    tissue[bone_within & (body < 0) & (level < vertebra.disc_to)] = Tissue.SOFT_TISSUE
    if vertebra.arch_over_body:
        tissue[processes] = Tissue.BONE_CORTEX
    tissue[(canal < 0) & canal_within] = Tissue.FAT
    tissue[(canal < -2) & canal_within] = Tissue.SOFT_TISSUE


def _processes(
    x: Field, y: Field, level: Field, canal: Field, vertebra: Vertebra
) -> NDArray[np.bool_]:
    """The arch around the canal with its spinous and transverse processes."""
    arch = (canal < vertebra.arch) & (y > vertebra.arch_from_y)
    spinous = (x < vertebra.spinous_half_x) & _between(y, vertebra.spinous_y)
    centre_y, slope = vertebra.transverse_y
    transverse = _between(x, vertebra.transverse_x) & (np.abs(y - centre_y - slope * x) < 5)
    return np.asarray(
        (arch & _between(level, vertebra.arch_levels))
        | (spinous & _between(level, vertebra.spinous_levels))
        | (transverse & _between(level, vertebra.transverse_levels))
    )


def _between(
    values: Field, limits: tuple[float, NDArray[np.floating] | float]
) -> NDArray[np.bool_]:
    return np.asarray((values > limits[0]) & (values < limits[1]))
