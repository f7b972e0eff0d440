"""The thorax: wall, bones, mediastinum, upper abdomen, and the lungs with their lobes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from liverleaf.phantom.anatomy.canvas import (
    Canvas,
    Field,
    Shape,
    Tissue,
    body_axes,
    ellipsoid,
    tube,
)
from liverleaf.phantom.anatomy.fields import draw_field
from liverleaf.phantom.anatomy.mediastinum import SIDES, mediastinal_shapes
from liverleaf.phantom.anatomy.trunk import (
    Diaphragm,
    Dome,
    Outline,
    Vertebra,
    by_height,
    paint_bone,
    paint_skin,
    paint_vertebrae,
)

# Body coordinates: 0 is the carina, x to the left, y to the back, z to the head. The muscular wall
# and the rib cage, by height.
_HEIGHT_MM = (-220, -150, -100, -50, 0, 40, 70, 95, 112, 124, 150)
_WALL = Outline(
    _HEIGHT_MM,
    half_x_mm=(150, 154, 157, 158, 160, 166, 178, 180, 160, 130, 90),
    half_y_mm=(106, 110, 111, 109, 104, 97, 90, 82, 76, 72, 68),
    shift_y_mm=(0, 0, 0, 2, 5, 9, 13, 18, 20, 20, 18),
    exponent=2.3,
)
_RIB_CAGE_SHIFT_Y_MM = (0, 0, 1, 4, 8, 15, 22, 28, 31, 33, 33)
_RIB_CAGE = Outline(
    _HEIGHT_MM,
    half_x_mm=(134, 138, 137, 131, 121, 106, 88, 66, 46, 26, 1),
    half_y_mm=(92, 96, 96, 93, 86, 75, 63, 48, 34, 20, 1),
    shift_y_mm=_RIB_CAGE_SHIFT_Y_MM,
    exponent=2.3,
)
_DIAPHRAGM = Diaphragm(
    right=Dome(centre_x_mm=-72, half_x_mm=76, fall_mm=75),
    left=Dome(centre_x_mm=76, half_x_mm=74, fall_mm=75),
    centre_y_mm=-8,
    front_mm=120,
    back_mm=84,
    tendon_lower_mm=18,
    tendon_y_mm=-15,
    tendon_fall_mm=80,
)
_SPINE_Y_MM = (34, 42, 50, 57, 62, 62, 58, 52, 46, 42, 32)
_VERTEBRA = Vertebra(
    body_half_x=16,
    body_half_y=14,
    body_radius=15,
    cortex=1.6,
    disc_to=4,
    marrow=(5.5, 23.5),
    canal_y=23,
    canal_half=(10, 8),
    arch=5,
    arch_from_y=-np.inf,
    arch_levels=(6, 20),
    arch_over_body=False,
    spinous_half_x=3.5,
    spinous_y=(30, 50),
    spinous_levels=(3, 18),
    transverse_x=(9, 32),
    transverse_y=(20, 0.25),
    transverse_levels=(9, 20),
)


@dataclass(frozen=True)
class Chest:
    """A painted thorax on its canvas's grid (Z, Y, X).

    Attributes:
        canvas: the grid with its tissues.
        origin_mm: true position of the first voxel, (z, y, x), and `scale` the person's size
            against the average.
        scale: along (z, y, x).
        lung: both lungs with what is in them.
        depth_mm: distance of lung voxels from the border of the lung.
        lobe: 0 to 4: right lower, right upper, right middle, left lower, left upper.
        fissure_mm: distance to the nearest fissure.
    """

    canvas: Canvas
    origin_mm: NDArray[np.float64]
    scale: NDArray[np.float64]
    lung: NDArray[np.bool_]
    depth_mm: Field
    lobe: NDArray[np.uint8]
    fissure_mm: Field

    def to_grid_mm(self, points: ArrayLike) -> NDArray[np.float64]:
        """True positions of points given in body coordinates.

        Args:
            points: body coordinates (x, y, z), (n, 3).

        Returns:
            Positions (z, y, x) in mm from the first voxel, (n, 3).
        """
        canvas, body = self.canvas, np.asarray(points, float)[:, ::-1]
        spacing, last = np.array(canvas.spacing_mm), np.array(self.lung.shape) - 1
        place = body * self.scale - self.origin_mm
        for _ in range(3):  # the deformation is small and smooth: its inverse is found by iteration
            index = tuple(np.clip(np.rint(place / spacing), 0, last).astype(int).T)
            undeformed = np.stack(
                [axis[i] for axis, i in zip(canvas.axes, index, strict=True)], axis=1
            )
            shift = (
                np.stack([canvas.z[index], canvas.y[index], canvas.x[index]], axis=1) - undeformed
            )
            place = (body - shift) * self.scale - self.origin_mm
        return place


def draw_chest(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    *,
    node_mm: float,
) -> Chest:
    """Draw a person of random size on a grid around the lungs.

    Args:
        rng: where randomness comes from.
        shape: voxels along (Z, Y, X).
        spacing_mm: voxel size along (Z, Y, X).
        node_mm: largest radius of the mediastinal lymph nodes.
    """
    # z, y, x
    scale = np.array([rng.uniform(0.9, 1.06), rng.uniform(0.9, 1.1), rng.uniform(0.9, 1.06)])
    centre = np.array([-36, 4, 0]) * scale + rng.normal(0, (6, 4, 4))
    origin_mm = centre - (np.array(shape) - 1) / 2 * spacing_mm
    axes = body_axes(origin_mm, shape, spacing_mm, scale)
    fields = draw_field(rng, shape, spacing_mm, 70.0, count=3).on_axes(
        [np.arange(n) for n in shape]
    )
    shifts = 4 * np.clip(fields, -2.5, 2.5)
    z, y, x = (
        line + shift
        for line, shift in zip(np.meshgrid(*axes, indexing="ij", sparse=True), shifts, strict=True)
    )
    canvas = Canvas(
        axes, x, y, z, float(np.abs(shifts).max()), spacing_mm, np.zeros(shape, np.uint8)
    )
    cavity = _paint_wall(rng, canvas)
    _paint_bones(rng, canvas, cavity)
    diaphragm = _above_diaphragm(rng, canvas)
    canvas.tissue[cavity < 0] = Tissue.FAT
    lung = _paint_mediastinum(rng, canvas, cavity, diaphragm, mediastinal_shapes(rng, node_mm))
    _paint_abdomen(rng, canvas, cavity, diaphragm)
    _paint_spine(rng, canvas)
    lung &= canvas.tissue == Tissue.LUNG
    lobe, fissure_mm = _lobes(rng, canvas)
    return Chest(canvas, origin_mm, scale, lung, _depth(lung, spacing_mm), lobe, fissure_mm)


def _levels(canvas: Canvas) -> Field:
    """Height of every slice, (Z, 1, 1): the outlines are level, whatever the deformation."""
    return canvas.axes[0][:, None, None]


def _from_back(canvas: Canvas) -> Field:
    """0 at the spine, 1 at the sternum, by angle."""
    shift_y = by_height(_levels(canvas), _HEIGHT_MM, _RIB_CAGE_SHIFT_Y_MM)
    return np.asarray(np.arctan2(np.abs(canvas.x), canvas.y - shift_y) / np.float32(np.pi))


def _paint_wall(rng: np.random.Generator, canvas: Canvas) -> Field:
    """Skin, fat with breasts in half of the population, and the muscles of chest and shoulders.

    Returns:
        The distance to the rib cage, negative inside (mm).
    """
    wall = _WALL.distance(canvas.x, canvas.y, _levels(canvas))
    cavity = _RIB_CAGE.distance(canvas.x, canvas.y, _levels(canvas)) + 2 * canvas.noise(rng, 50)
    skin_fat_mm = float(np.clip(rng.lognormal(2.4, 0.5), 4, 30))
    _paint_breasts_and_fat(rng, canvas, wall, skin_fat_mm)
    _paint_muscles(rng, canvas, wall, cavity, skin_fat_mm)
    return cavity


def _paint_breasts_and_fat(
    rng: np.random.Generator, canvas: Canvas, wall: Field, skin_fat_mm: float
) -> None:
    z, y, x = np.meshgrid(*canvas.axes, indexing="ij", sparse=True)
    x = np.abs(x)
    breast_mm = rng.uniform(12, 42) if rng.random() < 0.5 else rng.uniform(0, 6)
    front, back = np.clip(-y / 50, 0, 1), np.clip(y / 50, 0, 1)
    breast = front * np.exp(-(((x - 78) / 42) ** 2) - ((z + 55) / 42) ** 2)
    thickness = np.maximum(
        skin_fat_mm * (0.9 + 0.2 * canvas.noise(rng, 80))
        + breast_mm * breast
        - 8 * np.exp(-((x / 28) ** 2)) * back,
        3,
    )
    paint_skin(canvas, wall, thickness, skin_mm=2.2)
    lobules = (wall > 4) & (wall < thickness - 6) & (canvas.noise(rng, 11) > 0.5)
    if breast_mm > 10:
        canvas.tissue[(breast > 0.25) & lobules] = Tissue.SOFT_TISSUE


def _paint_muscles(
    rng: np.random.Generator, canvas: Canvas, wall: Field, cavity: Field, skin_fat_mm: float
) -> None:
    """Pectoral, latissimus and back muscles, those around the scapulae and of the neck."""
    z, y, x = np.meshgrid(*canvas.axes, indexing="ij", sparse=True)
    x = np.abs(x)
    front, back = np.clip(-y / 50, 0, 1), np.clip(y / 50, 0, 1)
    pectoral = (
        front
        * np.exp(-(((x - 75) / 55) ** 2))
        * np.clip((z + 75) / 50, 0, 1)
        * np.clip((x - 8) / 15, 0, 1)
    )
    from_back = _from_back(canvas)
    latissimus = 14 * np.exp(-(((from_back - 0.4) / 0.1) ** 2)) * np.clip((z + 130) / 60, 0.2, 1)
    sheet = 4 + 14 * pectoral + latissimus + back * (4 + 12 * np.exp(-((x / 70) ** 2)))
    scapular = (
        (cavity > 10)
        & (cavity < 34)
        & (from_back > 0.13)
        & (from_back < 0.45)
        & (z > -75)
        & (z < 90)
    )
    ragged = canvas.noise(rng, 26)
    neck = (z + 0.25 * x + 12 * ragged > 105) & (cavity > 7)
    muscle = (wall < 0) & ((cavity < 9) | (wall > -sheet) | scapular | neck)
    septa = np.abs(ragged) < 0.04 + 0.004 * skin_fat_mm + 0.12 * neck
    canvas.tissue[muscle & ~(septa & (cavity > 9) & (wall < -2))] = Tissue.MUSCLE


def _paint_bones(rng: np.random.Generator, canvas: Canvas, cavity: Field) -> None:
    """Ribs as sloping bands on the rib cage, with cartilage; sternum, scapulae and clavicles."""
    x, y, z, tissue = np.abs(canvas.x), canvas.y, canvas.z, canvas.tissue
    from_back = _from_back(canvas)
    pitch_mm = rng.uniform(25, 29)
    height = (z + 115 * from_back + rng.uniform(0, pitch_mm)) % pitch_mm - pitch_mm / 2
    rib = np.hypot((cavity - 5) / 4.2, height / 6.5) - 1
    rib[z > 112] = 1
    cartilage = from_back >= 0.74
    tissue[(rib < 0) & cartilage] = Tissue.SOFT_TISSUE
    tissue[(rib < 0) & ~cartilage] = Tissue.BONE_CORTEX
    tissue[(rib < -0.45) & ~cartilage] = Tissue.BONE_MARROW
    front = np.flatnonzero((x < 28) & (y <= 0) & (cavity > -1) & (cavity < 13))
    width = np.interp(
        z.ravel()[front], (-130, -110, -60, 0, 10, 45, 55), (0, 9, 17, 15, 22, 28, 10)
    )
    sternum = (
        np.cbrt(
            np.abs((cavity.ravel()[front] - 6) / 6.5) ** 3
            + (x.ravel()[front] / np.maximum(width, 0.1)) ** 3
        )
        - 1
    )
    tissue.flat[front[sternum < 0]] = Tissue.BONE_CORTEX
    tissue.flat[front[sternum < -0.25]] = Tissue.BONE_MARROW
    blade = np.abs((cavity - 20 - 4 * np.cos(12 * from_back)) / 3.2)
    reach = np.clip((z + 70) / 120, 0, 1)  # a triangle that points down
    scapula = (
        (blade < 1) & (from_back > 0.2) & (from_back < 0.2 + 0.22 * reach) & (z > -70) & (z < 72)
    )
    tissue[scapula] = Tissue.BONE_CORTEX
    tissue[scapula & (blade < 0.45)] = Tissue.BONE_MARROW
    for side in SIDES:
        clavicle = np.array([(20, -62, 52), (55, -58, 66), (100, -30, 84), (150, -10, 100)]) * (
            side,
            1,
            1,
        )
        shoulder = ellipsoid((side * 168, 14, 96), (24, 24, 24))
        for shape in (tube(clavicle, [9, 6, 6, 8]), shoulder):
            paint_bone(canvas, shape, 2.5)


def _paint_spine(rng: np.random.Generator, canvas: Canvas) -> None:
    """Vertebrae, and the muscle around their processes."""
    window = canvas.box((-60, 15, -1000), (60, 115, 1000))
    x, z, part = np.abs(canvas.x[window]), canvas.z[window], canvas.tissue[window]
    y = canvas.y[window] - by_height(_levels(canvas)[window[0]], _HEIGHT_MM, _SPINE_Y_MM)
    level = (z + rng.uniform(0, 25)) % 25.0
    part[(x < 60) & (y > 8 + 0.1 * x) & (y < 46 - 0.15 * x) & (part == Tissue.FAT)] = Tissue.MUSCLE
    paint_vertebrae(part, x, y, level, _VERTEBRA)


def _above_diaphragm(rng: np.random.Generator, canvas: Canvas) -> Field:
    """Height above the diaphragm (mm), negative below."""
    dome_mm = rng.uniform(-122, -98)
    height = _DIAPHRAGM.height(canvas.x, canvas.y, dome_mm, left_lower_mm=rng.uniform(8, 20))
    return np.asarray(canvas.z - height + 1.5 * canvas.noise(rng, 40), np.float32)


def _paint_mediastinum(
    rng: np.random.Generator,
    canvas: Canvas,
    cavity: Field,
    diaphragm: Field,
    shapes: list[tuple[Shape, Tissue]],
) -> NDArray[np.bool_]:
    """The lungs, and between them everything in its fat; returns the lungs."""
    x, y, z = np.abs(canvas.x), canvas.y, canvas.z
    fat_mm = rng.uniform(2, 5)
    # widest behind and around the hila
    half = 1.5 + fat_mm + 4 * np.clip(1 + y / 70, 0, 1) + np.maximum(y - 75, 0) * 1.1
    half += 12 * np.exp(-(((y + 5) / 28) ** 2)) + 12 * np.clip((y - 15) / 25, 0, 1)
    half += 14 * np.clip((z - 20) / 50, 0, 1) * np.exp(-(((y + 5) / 40) ** 2))
    half += 0.35 * np.clip(-50 - y, 0, 40) * np.clip(-(z + 20) / 50, 0, 1)
    middle = x < half
    for shape, _ in shapes:
        window, mask = canvas.inside(shape, grow_mm=fat_mm)
        middle[window] |= mask
    middle = (
        ndimage.gaussian_filter(
            middle.astype(np.float32), [min(2.5 / s, 3) for s in canvas.spacing_mm], truncate=2.5
        )
        > 0.5
    )
    lung = (cavity < -1.5) & (diaphragm > 1.5) & ~middle
    canvas.tissue[lung] = Tissue.LUNG
    canvas.tissue[(cavity < 0) & (np.abs(diaphragm) < 1.5)] = Tissue.MUSCLE
    anywhere = ~lung
    above = anywhere & (diaphragm > 0)
    for shape, tissue in shapes:
        canvas.paint(
            shape, tissue, within=anywhere if tissue in (Tissue.AORTA, Tissue.VENA_CAVA) else above
        )
    return lung


def _paint_abdomen(
    rng: np.random.Generator, canvas: Canvas, cavity: Field, diaphragm: Field
) -> None:
    """Liver, spleen and a stomach with gas, as far as they lie under the domes."""
    x, y, z = canvas.x, canvas.y, canvas.z
    below = (cavity < -1.5) & (diaphragm < -1.5) & (canvas.tissue == Tissue.FAT)
    edge = 25 + rng.normal(0, 12) + 6 * canvas.noise(rng, 40)
    liver = below & (x + 0.35 * y - 0.4 * (z + 150) < edge) & ((x < -26) | (y < 22))
    canvas.tissue[liver] = Tissue.LIVER
    spleen = ellipsoid(
        (92, 42, -168 + rng.normal(0, 8)), np.array([40, 34, 52]) * rng.uniform(0.85, 1.15)
    )
    canvas.paint(spleen, Tissue.SPLEEN, within=below & ~liver)
    stomach = ellipsoid((66, -12, -165), np.array([42, 46, 44]) * rng.uniform(0.8, 1.1))
    canvas.paint(stomach, Tissue.STOMACH_WALL, over=(Tissue.FAT,), within=below)
    canvas.paint(stomach, Tissue.STOMACH_CONTENT, over=(Tissue.STOMACH_WALL,), grow_mm=-3.5)
    gas = (canvas.tissue == Tissue.STOMACH_CONTENT) & (y < rng.uniform(-40, 5))
    canvas.tissue[gas] = Tissue.BOWEL_GAS


def _lobes(rng: np.random.Generator, canvas: Canvas) -> tuple[NDArray[np.uint8], Field]:
    """Number of the lobe and distance to the nearest fissure, mm."""
    wave = 7 * canvas.noise(rng, 50) + 0.004 * (np.abs(canvas.x) - 70) ** 2
    slope = np.float32(rng.uniform(0.75, 1.05))  # the oblique fissure rises to the back
    oblique = (canvas.z + 62 - slope * (canvas.y + 25) + wave) / np.hypot(1, slope)
    horizontal = canvas.z + 32 - wave + 0.15 * canvas.y
    right, upper = canvas.x < 0, oblique > 0
    lobe = np.where(
        right, np.where(upper, np.where(horizontal > 0, 1, 2), 0), np.where(upper, 4, 3)
    ).astype(np.uint8)
    fissure_mm = np.where(
        right & upper, np.minimum(np.abs(oblique), np.abs(horizontal)), np.abs(oblique)
    )
    return lobe, np.asarray(fissure_mm, np.float32)


def _depth(lung: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> Field:
    """Distance from the border of the lungs, computed on a grid of about 3 mm."""
    steps = [max(int(3 / s), 1) for s in spacing_mm]
    coarse = lung[:: steps[0], :: steps[1], :: steps[2]]
    padded = np.pad(coarse, 1, mode="edge")  # the edge of the grid is no border
    depth = ndimage.distance_transform_edt(
        padded, sampling=[n * s for n, s in zip(steps, spacing_mm, strict=True)]
    )[1:-1, 1:-1, 1:-1]
    for axis, step in enumerate(steps):
        depth = np.repeat(depth, step, axis)
    z, y, x = lung.shape
    return np.asarray(depth[:z, :y, :x] * lung, np.float32)
