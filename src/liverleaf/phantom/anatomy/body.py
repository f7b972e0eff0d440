"""The trunk around the abdominal organs: skin, fat, muscle, bones, lungs and heart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liverleaf.phantom.anatomy.canvas import (
    Canvas,
    Field,
    Tissue,
    ellipsoid,
    smooth_noise,
    tissue_mask,
    tube,
)
from liverleaf.phantom.anatomy.trunk import (
    HEART_AXES,
    Diaphragm,
    Dome,
    Outline,
    Vertebra,
    by_height,
    paint_bone,
    paint_skin,
    paint_vertebrae,
)

# The muscular wall (under the skin's fat) and the cavity in it, by height; below the hips x counts
# from a thigh's axis.
_HEIGHT_MM = (-480, -400, -360, -330, -300, -260, -220, -170, -120, -60, 0, 60, 120, 200)
_THIGH_X_MM = (85, 90, 86, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
_WALL = Outline(
    _HEIGHT_MM,
    half_x_mm=(68, 80, 84, 104, 164, 160, 152, 146, 142, 145, 150, 151, 147, 136),
    half_y_mm=(74, 86, 96, 100, 103, 104, 102, 99, 98, 101, 105, 108, 109, 100),
    shift_y_mm=None,
    exponent=2.2,
)
_CAVITY = Outline(
    _HEIGHT_MM,
    half_x_mm=(1, 1, 1, 1, 54, 60, 80, 112, 127, 132, 137, 138, 134, 122),
    half_y_mm=(1, 1, 1, 1, 60, 64, 74, 84, 87, 90, 93, 96, 97, 87),
    shift_y_mm=(0, 0, 0, -5, -8, -10, -12, -8, -4, -2, -1, 0, 0, 0),
    exponent=2.2,
)
_DIAPHRAGM = Diaphragm(
    right=Dome(centre_x_mm=-70, half_x_mm=80, fall_mm=90),
    left=Dome(centre_x_mm=72, half_x_mm=80, fall_mm=85),
    centre_y_mm=-5,
    front_mm=125,
    back_mm=84,
    tendon_lower_mm=24,
    tendon_y_mm=-10,
    tendon_fall_mm=90,
)
_LEFT_DOME_LOWER_MM = 15
_ARCH_LEVELS = (10, 26)
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
class BodyCavity:
    """Distances that the organs need, on the canvas's grid (Z, Y, X), mm.

    Attributes:
        inner_wall: to the inner wall of the trunk, negative inside.
        diaphragm: to the diaphragm, negative below.
    """

    inner_wall: Field
    diaphragm: Field

    @property
    def abdomen(self) -> NDArray[np.bool_]:
        """The room for the abdominal organs."""
        return np.asarray((self.inner_wall < -1.5) & (self.diaphragm < -1.3))


def body_noise(rng: np.random.Generator, axes: Sequence[Field], scale_mm: float) -> Field:
    """A smooth random field of unit variance over the whole body, the same on every grid.

    Args:
        rng: where randomness comes from.
        axes: body coordinates of the grid lines along (z, y, x).
        scale_mm: details are about twice as wide.
    """
    return smooth_noise(rng, axes, _LATTICE_LOW_MM, _LATTICE_HIGH_MM, scale_mm)


def spine_y(z: NDArray) -> Field:
    """Where the centre of the vertebral bodies lies from front to back, mm."""
    return by_height(z, _HEIGHT_MM, _SPINE_Y_MM)


def paint_trunk(rng: np.random.Generator, canvas: Canvas, habitus: Habitus) -> BodyCavity:
    """Paint everything but the abdominal organs and return where those may lie."""
    wall, cavity = _paint_wall(rng, canvas, habitus)
    diaphragm = _above_diaphragm(canvas, habitus)
    _paint_chest(rng, canvas, habitus, cavity, diaphragm)
    _paint_ribs(rng, canvas, wall, cavity)
    _paint_spine(rng, canvas, wall)
    _paint_pelvis(canvas)
    return BodyCavity(cavity, diaphragm)


def _across_trunk_or_thigh(canvas: Canvas) -> Field:
    """Distance from the midline (mm), below the hips from the axis of the nearer thigh."""
    x = np.abs(canvas.x)
    if canvas.axes[0].size and canvas.axes[0].min() - canvas.slack_mm < -300:
        x = np.abs(x - by_height(canvas.z, _HEIGHT_MM, _THIGH_X_MM))
    return np.asarray(x)


def _paint_wall(rng: np.random.Generator, canvas: Canvas, habitus: Habitus) -> tuple[Field, Field]:
    """Skin, fat, the muscular wall with fat between its muscles, and the cavity filled with fat.

    Returns:
        The distances to the wall and to the cavity, negative inside (mm).
    """
    x = _across_trunk_or_thigh(canvas)
    wall = _WALL.distance(x, canvas.y, canvas.z)
    cavity = _CAVITY.distance(x, canvas.y, canvas.z)
    behind = np.clip(canvas.y / 60, 0, 1)
    hips = np.clip((-canvas.z - 60) / 120, 0, 1)
    groove = np.exp(-((canvas.x / 30) ** 2)) * behind
    thickness = (
        habitus.skin_fat_mm
        * (0.75 + 0.5 * hips * (0.5 + behind) + 0.2 * body_noise(rng, canvas.axes, 90))
        - 7 * groove
    )
    paint_skin(canvas, wall, np.maximum(thickness, 2.5), skin_mm=2.0)
    muscle = (wall < 0) & (cavity > 0)
    canvas.tissue[muscle] = Tissue.MUSCLE
    septa = np.abs(body_noise(rng, canvas.axes, 38)) < 0.02 + 0.002 * habitus.skin_fat_mm
    canvas.tissue[muscle & septa & (cavity > 10) & (wall < -3)] = Tissue.FAT
    return wall, cavity


def _above_diaphragm(canvas: Canvas, habitus: Habitus) -> Field:
    """Distance (mm) above the diaphragm, negative below."""
    x, y = canvas.x, canvas.y
    height = _DIAPHRAGM.height(x, y, habitus.dome_mm, _LEFT_DOME_LOWER_MM)
    # of a dome: makes height a distance
    steepness = np.hypot(
        1, 2 * 88 * np.hypot((np.abs(x) - 71) / 80**2, (y + 5) / _DIAPHRAGM.depth(y) ** 2)
    )
    return np.asarray((canvas.z - height) / steepness, np.float32)


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
    size = np.array([68, 50, 52]) * habitus.heart
    pericardium = ellipsoid(heart_centre, size + 6, HEART_AXES)
    lung = chest & (np.abs(canvas.x) > mediastinum)
    canvas.tissue[lung] = Tissue.LUNG
    vessels = (
        lung
        & (np.abs(body_noise(rng, canvas.axes, 11)) < 0.035)
        & (np.abs(body_noise(rng, canvas.axes, 14)) < 0.25)
    )
    canvas.tissue[vessels] = Tissue.SOFT_TISSUE
    canvas.paint(pericardium, Tissue.FAT, within=chest)
    canvas.paint(ellipsoid(heart_centre, size, HEART_AXES), Tissue.MYOCARDIUM, within=chest)
    for shift, along, share in (
        ((4, 4, 4), 14, (0.6, 0.52, 0.52)),
        ((-8, -12, 0), -26, (0.52, 0.62, 0.75)),
    ):
        centre = heart_centre + HEART_AXES[0] * along + shift
        chamber = ellipsoid(centre, size * share, HEART_AXES)
        canvas.paint(chamber, Tissue.HEART_BLOOD, over=(Tissue.MYOCARDIUM,))
    # the oesophagus
    canvas.paint(tube([(4, 22, 60), (2, 20, 220)], 8), Tissue.SOFT_TISSUE, within=chest)


def _paint_ribs(rng: np.random.Generator, canvas: Canvas, wall: Field, cavity: Field) -> None:
    """Ribs as sloping bands in the wall down to the costal arch; in front cartilage and sternum."""
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
    erector = (((x - 34) / 32) ** 2 + ((y - 42) / (18 + 6 * lumbar)) ** 2 < 1) & (z > -225)
    psoas_size = np.clip((20 - z) / 140, 0, 1) * 26
    psoas = (
        ((x - 26 - 0.6 * psoas_size) ** 2 + (y + 2) ** 2 < psoas_size**2) & (z < 20) & (z > -260)
    )
    quadratus = (((x - 66) / 24) ** 2 + ((y - 24) / 11) ** 2 < 1) & (z < 0) & (z > -170)
    body = (wall[window] < -1) & tissue_mask(part, (Tissue.FAT, Tissue.LUNG))
    part[(erector | psoas | quadratus) & body] = Tissue.MUSCLE
    level = (z + rng.uniform(0, 33)) % 33.0
    upright = z > -180
    paint_vertebrae(
        part, x, y, level, _vertebra(lumbar), bone_within=upright, canal_within=z > -215
    )
    facet_mm = np.hypot(x - 20, y - 32)
    # the facet joints lie between the arches
    facet_mm[(level > _ARCH_LEVELS[0]) & (level < _ARCH_LEVELS[1])] = np.inf
    part[upright & (facet_mm < 9)] = Tissue.BONE_CORTEX
    part[upright & (facet_mm < 5.5)] = Tissue.BONE_MARROW


def _vertebra(lumbar: NDArray[np.floating]) -> Vertebra:
    """Measures of the thoracic vertebrae (`lumbar` 0), the lumbar ones (1) and those between."""
    return Vertebra(
        body_half_x=19 + 5 * lumbar,
        body_half_y=15 + 3 * lumbar,
        body_radius=17,
        cortex=1.8,
        disc_to=6,
        marrow=(7.5, 31.5),
        canal_y=27,
        canal_half=(11, 9),
        arch=6,
        arch_from_y=12,
        arch_levels=_ARCH_LEVELS,
        arch_over_body=True,
        spinous_half_x=3.5 + 0.5 * lumbar,
        spinous_y=(33, 60 + 6 * lumbar),
        spinous_levels=(4, 24),
        transverse_x=(12, 38 + 8 * lumbar),
        transverse_y=(25, 0),
        transverse_levels=(14, 24),
    )


def _paint_pelvis(canvas: Canvas) -> None:
    """Sacrum, hip bones, thigh bones and the bladder."""
    if canvas.axes[0].min() - canvas.slack_mm > -140:
        return
    paint_bone(canvas, ellipsoid((0, 54, -192), (48, 20, 26)), 2.5)
    paint_bone(
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
            paint_bone(canvas, tube(np.array([front, middle, back]) * mirror, [7.5, 5, 9]), 2.5)
        paint_bone(canvas, ellipsoid(np.array([84, 2, -288]) * mirror, (36, 38, 36)), 3)
        canvas.paint(ellipsoid(np.array([93, 2, -292]) * mirror, (28, 28, 28)), Tissue.SOFT_TISSUE)
        paint_bone(
            canvas,
            tube(
                np.array([(78, -28, -292), (45, -48, -305), (7, -52, -312)]) * mirror, [13, 9, 11]
            ),
            2.5,
        )
        paint_bone(
            canvas,
            tube(
                np.array([(70, 30, -300), (58, 44, -345), (30, 0, -350), (9, -44, -330)]) * mirror,
                [15, 15, 8, 8],
            ),
            2.5,
        )
        paint_bone(canvas, ellipsoid(np.array([92, 2, -292]) * mirror, (24, 24, 24)), 2)
        femur = (
            np.array(
                [(92, 2, -292), (130, 14, -318), (126, 10, -350), (112, 0, -480), (105, 0, -600)]
            )
            * mirror
        )
        paint_bone(canvas, tube(femur, [15, 21, 16, 14, 14]), 5)
