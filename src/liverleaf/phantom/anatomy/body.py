"""A random generator and a canvas in, a trunk on the canvas out: skin, fat, muscle, bones, lungs and heart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liverleaf.phantom.anatomy.canvas import (
    Canvas,
    Field,
    Shape,
    Tissue,
    ellipsoid,
    smooth_noise,
    tissue_mask,
    tube,
)

# Half-widths of the muscular wall (under the skin's fat) and of the cavity in it, by height; below
# the hips x counts from a thigh's axis.
_HEIGHT_MM = (-480, -400, -360, -330, -300, -260, -220, -170, -120, -60, 0, 60, 120, 200)
_THIGH_X_MM = (85, 90, 86, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
_WALL_X_MM = (68, 80, 84, 104, 164, 160, 152, 146, 142, 145, 150, 151, 147, 136)
_WALL_Y_MM = (74, 86, 96, 100, 103, 104, 102, 99, 98, 101, 105, 108, 109, 100)
_CAVITY_X_MM = (1, 1, 1, 1, 54, 60, 80, 112, 127, 132, 137, 138, 134, 122)
_CAVITY_Y_MM = (1, 1, 1, 1, 60, 64, 74, 84, 87, 90, 93, 96, 97, 87)
_CAVITY_SHIFT_Y_MM = (0, 0, 0, -5, -8, -10, -12, -8, -4, -2, -1, 0, 0, 0)
_SPINE_Y_MM = (80, 80, 80, 80, 86, 84, 62, 36, 26, 26, 30, 36, 42, 46)
_LATTICE_LOW_MM, _LATTICE_HIGH_MM = (-520, -220, -260), (260, 220, 260)


@dataclass(frozen=True)
class Habitus:
    """How a person is built.

    Attributes:
        skin_fat_mm: mean thickness of the fat under the skin.
        dome_mm: height of the right dome of the diaphragm in body coordinates.
        heart: size of the heart against the average.
    """

    skin_fat_mm: float
    dome_mm: float
    heart: float


@dataclass(frozen=True)
class Trunk:
    """Distances that the organs need, on the canvas's grid (Z, Y, X), mm.

    Attributes:
        cavity: to the inner wall of the trunk, negative inside.
        diaphragm: to the diaphragm, negative below.
    """

    cavity: Field
    diaphragm: Field

    @property
    def abdomen(self) -> NDArray[np.bool_]:
        """The room for the abdominal organs."""
        return np.asarray((self.cavity < -1.5) & (self.diaphragm < -1.3))


def noise(rng: np.random.Generator, axes: Sequence[Field], scale_mm: float) -> Field:
    """A smooth random field of unit variance over the whole body, (Z, Y, X); `axes` are body coordinates along (z, y, x)."""
    return smooth_noise(rng, axes, _LATTICE_LOW_MM, _LATTICE_HIGH_MM, scale_mm)


def spine_y(z: NDArray) -> Field:
    """Where the centre of the vertebral bodies lies from front to back, mm."""
    return np.asarray(np.interp(z, _HEIGHT_MM, _SPINE_Y_MM), np.float32)


def paint_trunk(rng: np.random.Generator, canvas: Canvas, habitus: Habitus) -> Trunk:
    """Paint everything but the abdominal organs and return where those may lie."""
    wall, cavity = _paint_wall(rng, canvas, habitus)
    diaphragm = _above_diaphragm(canvas, habitus)
    _paint_chest(rng, canvas, habitus, cavity, diaphragm)
    _paint_ribs(rng, canvas, wall, cavity)
    _paint_spine(rng, canvas, wall)
    _paint_pelvis(canvas)
    return Trunk(cavity, diaphragm)


def _outline(
    canvas: Canvas,
    widths_x: tuple[int, ...],
    widths_y: tuple[int, ...],
    shift_y: tuple[int, ...] | None = None,
) -> Field:
    """Distance along rays from the axis of the trunk (or of each thigh) to a superellipse whose half-widths change with height."""
    z = canvas.z
    half_x, half_y = (
        np.interp(z, _HEIGHT_MM, widths).astype(np.float32) for widths in (widths_x, widths_y)
    )
    x, y = np.abs(canvas.x), canvas.y
    if canvas.axes[0].size and canvas.axes[0].min() - canvas.slack_mm < -300:
        x = np.abs(x - np.interp(z, _HEIGHT_MM, _THIGH_X_MM).astype(np.float32))
    if shift_y is not None:
        y = y - np.interp(z, _HEIGHT_MM, shift_y).astype(np.float32)
    u, v = x / half_x, np.abs(y) / half_y
    power = np.float32(2.2)
    size = (u**power + v**power + np.float32(1e-6)) ** (1 / power)
    return np.asarray(np.hypot(x, y) * (1 - 1 / size), np.float32)


def _paint_wall(rng: np.random.Generator, canvas: Canvas, habitus: Habitus) -> tuple[Field, Field]:
    """Skin, fat under it, the muscular wall with fat between its muscles, and the cavity filled with fat; distances to wall and cavity."""
    wall = _outline(canvas, _WALL_X_MM, _WALL_Y_MM)
    cavity = _outline(canvas, _CAVITY_X_MM, _CAVITY_Y_MM, _CAVITY_SHIFT_Y_MM)
    behind = np.clip(canvas.y / 60, 0, 1)
    hips = np.clip((-canvas.z - 60) / 120, 0, 1)
    groove = np.exp(-((canvas.x / 30) ** 2)) * behind
    thickness = (
        habitus.skin_fat_mm
        * (0.75 + 0.5 * hips * (0.5 + behind) + 0.2 * noise(rng, canvas.axes, 90))
        - 7 * groove
    )
    canvas.tissue[wall < np.maximum(thickness, 2.5)] = Tissue.FAT
    skin = (wall < np.maximum(thickness, 2.5)) & (wall > np.maximum(thickness, 2.5) - 2.0)
    canvas.tissue[skin] = Tissue.SOFT_TISSUE
    muscle = (wall < 0) & (cavity > 0)
    canvas.tissue[muscle] = Tissue.MUSCLE
    septa = np.abs(noise(rng, canvas.axes, 38)) < 0.02 + 0.002 * habitus.skin_fat_mm
    canvas.tissue[muscle & septa & (cavity > 10) & (wall < -3)] = Tissue.FAT
    return wall, cavity


def _above_diaphragm(canvas: Canvas, habitus: Habitus) -> Field:
    """Distance above the diaphragm: two domes and the tendon under the heart."""
    x, y = canvas.x, canvas.y
    depth_y = np.where(y < -5, 125, 84).astype(np.float32)
    right = habitus.dome_mm - 90 * (((x + 70) / 80) ** 2 + ((y + 5) / depth_y) ** 2)
    left = habitus.dome_mm - 15 - 85 * (((x - 72) / 80) ** 2 + ((y + 5) / depth_y) ** 2)
    tendon = habitus.dome_mm - 24 - 0.004 * (x - 5) ** 2 - 90 * (np.maximum(y + 10, 0) / 80) ** 2
    # of a dome: makes height a distance
    steepness = np.hypot(1, 2 * 88 * np.hypot((np.abs(x) - 71) / 80**2, (y + 5) / depth_y**2))
    return np.asarray(
        (canvas.z - np.maximum(np.maximum(right, left), tendon)) / steepness, np.float32
    )


def _paint_chest(
    rng: np.random.Generator, canvas: Canvas, habitus: Habitus, cavity: Field, diaphragm: Field
) -> None:
    """The diaphragm, both lungs with their vessels, and the heart between them."""
    if canvas.axes[0].max() + canvas.slack_mm < -60:
        return
    inside = cavity < 0
    chest = inside & (diaphragm > 1.3)
    canvas.tissue[inside & (np.abs(diaphragm) < 1.3)] = Tissue.MUSCLE
    mediastinum = 16 + 14 * np.exp(-((canvas.y / 40) ** 2))
    heart_centre = np.array([22, -32, habitus.dome_mm + 28]) + rng.normal(0, 4, 3)
    axes = np.array([[0.75, -0.45, -0.48], [0.35, 0.89, -0.29], [0.56, 0.05, 0.83]])
    size = np.array([68, 50, 52]) * habitus.heart
    pericardium = ellipsoid(heart_centre, size + 6, axes)
    lung = chest & (np.abs(canvas.x) > mediastinum)
    canvas.tissue[lung] = Tissue.LUNG
    vessels = (
        lung
        & (np.abs(noise(rng, canvas.axes, 11)) < 0.035)
        & (np.abs(noise(rng, canvas.axes, 14)) < 0.25)
    )
    canvas.tissue[vessels] = Tissue.SOFT_TISSUE
    canvas.paint(pericardium, Tissue.FAT, within=chest)
    canvas.paint(ellipsoid(heart_centre, size, axes), Tissue.MYOCARDIUM, within=chest)
    for shift, along, share in (
        ((4, 4, 4), 14, (0.6, 0.52, 0.52)),
        ((-8, -12, 0), -26, (0.52, 0.62, 0.75)),
    ):
        chamber = ellipsoid(heart_centre + axes[0] * along + shift, size * share, axes)
        canvas.paint(chamber, Tissue.HEART_BLOOD, over=(Tissue.MYOCARDIUM,))
    # the oesophagus
    canvas.paint(tube([(4, 22, 60), (2, 20, 220)], 8), Tissue.SOFT_TISSUE, within=chest)


def _paint_ribs(rng: np.random.Generator, canvas: Canvas, wall: Field, cavity: Field) -> None:
    """Ribs as sloping bands in the wall, from the spine to the costal arch; cartilage and the sternum in front."""
    top = np.searchsorted(canvas.axes[0], -75 - canvas.slack_mm)
    x, y, z = canvas.x[top:], canvas.y[top:], canvas.z[top:]
    if not x.size:
        return
    wall, cavity, tissue = wall[top:], cavity[top:], canvas.tissue[top:]
    from_back = np.abs(np.arctan2(x, y)) / np.float32(np.pi)  # 0 at the spine, 1 at the sternum
    pitch_mm, offset_mm = rng.uniform(26, 31), rng.uniform(0, 30)
    height = (z + 140 * from_back + offset_mm) % pitch_mm - pitch_mm / 2
    across = (wall - np.clip((wall - cavity) * 0.6, -9, -5)) / 4
    rib = np.hypot(across, height / 6) - 1
    arch = -45 + np.maximum(from_back - 0.45, 0) * 240
    bony = (z > arch) & (from_back < 0.72) & (wall < -1)
    tissue[(rib < 0) & (z > arch) & (from_back >= 0.72) & (wall < -1)] = Tissue.SOFT_TISSUE
    tissue[(rib < 0) & bony] = Tissue.BONE_CORTEX
    tissue[(rib < -0.42) & bony] = Tissue.BONE_MARROW
    sternum = (np.abs(x) < 17) & (y < 0) & (z > 82) & (wall < -2) & (wall > -13)
    tissue[sternum] = Tissue.BONE_CORTEX
    tissue[sternum & (wall < -4) & (wall > -11) & (np.abs(x) < 15)] = Tissue.BONE_MARROW


def _paint_spine(rng: np.random.Generator, canvas: Canvas, wall: Field) -> None:
    """Vertebrae with discs, canal and processes, and the muscles beside them."""
    window = canvas.box((-95, -10, -270), (95, 130, 400))
    x, z = np.abs(canvas.x[window]), canvas.z[window]
    if not x.size:
        return
    y = canvas.y[window] - spine_y(z)
    part = canvas.tissue[window]
    lumbar = np.clip((40 - z) / 80, 0, 1)
    upright = z > -180
    erector = (((x - 34) / 32) ** 2 + ((y - 42) / (18 + 6 * lumbar)) ** 2 < 1) & (z > -225)
    psoas_size = np.clip((20 - z) / 140, 0, 1) * 26
    psoas = (
        ((x - 26 - 0.6 * psoas_size) ** 2 + (y + 2) ** 2 < psoas_size**2) & (z < 20) & (z > -260)
    )
    quadratus = (((x - 66) / 24) ** 2 + ((y - 24) / 11) ** 2 < 1) & (z < 0) & (z > -170)
    body = (wall[window] < -1) & tissue_mask(part, (Tissue.FAT, Tissue.LUNG))
    part[(erector | psoas | quadratus) & body] = Tissue.MUSCLE
    phase = (z + rng.uniform(0, 33)) % 33.0
    half_x, half_y = 19 + 5 * lumbar, 15 + 3 * lumbar
    vertebral_body = (np.hypot(x / half_x, y / half_y) - 1) * 17
    disc = phase < 6
    arch_level = (phase > 10) & (phase < 26)
    canal = (np.hypot(x / 11, (y - 27) / 9) - 1) * 9
    lamina = (canal < 6) & (y > 12)
    spinous = (
        (x < 3.5 + 0.5 * lumbar) & (y > 33) & (y < 60 + 6 * lumbar) & (phase > 4) & (phase < 24)
    )
    transverse = (
        (x > 12) & (x < 38 + 8 * lumbar) & (np.abs(y - 25) < 5) & (phase > 14) & (phase < 24)
    )
    facet = (np.hypot(x - 20, y - 32) < 9) & ~arch_level
    part[upright & (vertebral_body < 0)] = Tissue.BONE_CORTEX
    part[upright & (vertebral_body < -1.8) & (phase > 7.5) & (phase < 31.5)] = Tissue.BONE_MARROW
    part[upright & (vertebral_body < 0) & disc] = Tissue.SOFT_TISSUE
    part[upright & ((lamina & arch_level) | spinous | transverse | facet)] = Tissue.BONE_CORTEX
    part[upright & (np.hypot(x - 20, y - 32) < 5.5) & ~arch_level] = Tissue.BONE_MARROW
    part[(canal < 0) & (z > -215)] = Tissue.FAT
    part[(canal < -2) & (z > -215)] = Tissue.SOFT_TISSUE


def _paint_bone(canvas: Canvas, shape: Shape, cortex_mm: float) -> None:
    canvas.paint(shape, Tissue.BONE_CORTEX)
    canvas.paint(shape, Tissue.BONE_MARROW, grow_mm=-cortex_mm)


def _paint_pelvis(canvas: Canvas) -> None:
    """Sacrum, hip bones, thigh bones and the bladder."""
    if canvas.axes[0].min() - canvas.slack_mm > -140:
        return
    _paint_bone(canvas, ellipsoid((0, 54, -192), (48, 20, 26)), 2.5)
    _paint_bone(
        canvas,
        tube([(0, 44, -178), (0, 66, -210), (0, 84, -245), (0, 84, -275)], [30, 26, 17, 7]),
        2.5,
    )
    canvas.paint(ellipsoid((0, -22, -272), (44, 34, 34)), Tissue.SOFT_TISSUE)
    canvas.paint_hollow(
        tube([(0, 48, -225), (3, 55, -260), (0, 60, -320)], [17, 18, 13]),
        Tissue.BOWEL_WALL,
        Tissue.BOWEL_CONTENT,
        4,
        over=(Tissue.FAT,),
    )
    for side in (-1, 1):
        mirror = np.array([side, 1, 1])
        # the iliac wing, a thin plate that turns with height
        for z in np.arange(-255.0, -150.0, 7.0):
            open_ = np.clip((z + 265) / 110, 0, 1)
            front = np.array([92 + 34 * open_, -8 - 30 * np.sin(np.pi * np.clip(open_, 0, 0.8)), z])
            back = np.array([46 + 14 * open_, 66 + 6 * open_, z])
            middle = (front + back) / 2 + [6, 4, 0]
            _paint_bone(canvas, tube(np.array([front, middle, back]) * mirror, [7.5, 5, 9]), 2.5)
        _paint_bone(canvas, ellipsoid(np.array([84, 2, -288]) * mirror, (36, 38, 36)), 3)
        canvas.paint(ellipsoid(np.array([93, 2, -292]) * mirror, (28, 28, 28)), Tissue.SOFT_TISSUE)
        _paint_bone(
            canvas,
            tube(
                np.array([(78, -28, -292), (45, -48, -305), (7, -52, -312)]) * mirror, [13, 9, 11]
            ),
            2.5,
        )
        _paint_bone(
            canvas,
            tube(
                np.array([(70, 30, -300), (58, 44, -345), (30, 0, -350), (9, -44, -330)]) * mirror,
                [15, 15, 8, 8],
            ),
            2.5,
        )
        _paint_bone(canvas, ellipsoid(np.array([92, 2, -292]) * mirror, (24, 24, 24)), 2)
        femur = (
            np.array(
                [(92, 2, -292), (130, 14, -318), (126, 10, -350), (112, 0, -480), (105, 0, -600)]
            )
            * mirror
        )
        _paint_bone(canvas, tube(femur, [15, 21, 16, 14, 14]), 5)
