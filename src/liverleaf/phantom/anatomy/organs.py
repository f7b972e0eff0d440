"""The abdominal organs: liver, kidneys, spleen, stomach, pancreas, bowel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from liverleaf.phantom.anatomy.body import BodyCavity, body_noise
from liverleaf.phantom.anatomy.canvas import (
    Canvas,
    Field,
    Shape,
    Tissue,
    ellipsoid,
    tissue_mask,
    tube,
)
from liverleaf.phantom.anatomy.vessels import paint_great_vessels, paint_liver_vessels

_STOMACH = (Tissue.STOMACH_WALL, Tissue.STOMACH_CONTENT)


@dataclass(frozen=True)
class Viscera:
    """How a person's organs differ from the average.

    Attributes:
        cirrhosis: 0 (none) to 1 (severe).
        right_lobe: size of the right lobe of the liver against the average.
        left_tip_mm: how far the left lobe reaches to the left.
        spleen: length of the spleen against the average.
        gallbladder: whether it is there.
        bowel_loops: number of loops of small bowel.
    """

    cirrhosis: float
    right_lobe: float
    left_tip_mm: float
    spleen: float
    gallbladder: bool
    bowel_loops: int


def paint_organs(
    rng: np.random.Generator, canvas: Canvas, cavity: BodyCavity, viscera: Viscera
) -> None:
    """Paint the organs below the diaphragm, the liver first: the others make room for it."""
    paint_great_vessels(rng, canvas)
    _paint_liver(rng, canvas, cavity, viscera)
    paint_liver_vessels(rng, canvas)
    _paint_kidneys(rng, canvas)
    _paint_upper_organs(rng, canvas, cavity, viscera)
    _paint_bowel(rng, canvas, viscera)
    _paint_mimics(rng, canvas, cavity)


def _smooth_min(a: Field, b: Field, blend_mm: float) -> Field:
    """The union of two solids with a rounded seam."""
    h = np.maximum(blend_mm - np.abs(a - b), 0) / blend_mm
    return np.asarray(np.minimum(a, b) - h * h * (blend_mm / 4), np.float32)


def _paint_liver(
    rng: np.random.Generator, canvas: Canvas, cavity: BodyCavity, viscera: Viscera
) -> None:
    """The liver: two lobes and the caudate, hilum and fissures.

    It lies under the diaphragm and ends at the visceral surface.
    """
    size, severity = viscera.right_lobe, viscera.cirrhosis
    right = ellipsoid(np.array([-74, 0, 8]) + rng.normal(0, 3, 3), np.array([90, 108, 112]) * size)
    left_size = 1 + 0.15 * severity
    left = ellipsoid((viscera.left_tip_mm - 90, -50, 42), np.array([90, 46, 44]) * left_size)
    caudate = ellipsoid((-10, 4, 28), np.array([22, 19, 30]) * (1 + 0.4 * severity))
    window = canvas.box((-190, -150, -130), (150, 140, 150))
    x, y, z = canvas.x[window], canvas.y[window], canvas.z[window]
    if not x.size:
        return
    slope, drop = rng.normal(0.5, 0.06), rng.normal(-44, 10) + 18 * severity
    visceral = drop + slope * (x + 80) + 0.35 * (y + 20) - z
    right_part = -_smooth_min(-right.distance(x, y, z), 10 - x - 0.4 * y, 12)
    liver = _smooth_min(right_part, left.distance(x, y, z), 26)
    liver = (
        -_smooth_min(-liver, -visceral * 0.8, 14)
        + np.float32(1.2) * body_noise(rng, canvas.axes, 45)[window]
    )
    liver = _smooth_min(liver, caudate.distance(x, y, z), 10)
    # fat between liver and wall, mostly none
    gap_mm = 2 * body_noise(rng, canvas.axes, 60)[window] - 0.5
    liver = np.maximum(
        liver,
        np.maximum(
            cavity.inner_wall[window] + np.maximum(0, gap_mm), cavity.diaphragm[window] + 0.7
        ),
    )
    if severity > 0:
        nodules = np.abs(body_noise(rng, canvas.axes, 13)[window]) - np.float32(0.65)
        liver = liver - np.float32(3 * severity) * nodules
    canvas.fill(window, liver < 0, Tissue.LIVER, over=(Tissue.FAT, Tissue.MUSCLE))
    _cut_fissures(rng, canvas)


def _cut_fissures(rng: np.random.Generator, canvas: Canvas) -> None:
    """Fat in the hilum and in the fissures of the ligaments."""
    over = (Tissue.LIVER,)
    canvas.paint(ellipsoid((-24, -4, -6), (19, 11, 13)), Tissue.FAT, over=over)
    bend, width_mm = rng.normal(0, 5), rng.uniform(1, 4)
    teres = Shape(
        np.array([-25.0, -130.0, -60.0]),
        np.array([40.0, -25.0, 28.0]),
        lambda x, y, z: np.maximum(
            np.abs(x - 6 - bend - 0.15 * (y + 50)) - width_mm * np.clip((24 - z) / 20, 0, 1.5),
            y + 25,
        ),
    )
    venosum = Shape(
        np.array([-28.0, -30.0, 2.0]),
        np.array([30.0, 0.0, 62.0]),
        lambda x, y, z: np.maximum(
            np.abs(y + 17 - 0.25 * x - 3 * np.sin(x / 10 + bend))
            - width_mm * np.clip((x + 28) / 60, 0, 1) ** 1.5,
            np.abs(z - 32) - 30,
        ),
    )
    for shape in (teres, venosum) if rng.random() < 0.75 else (teres,):
        canvas.paint(shape, Tissue.FAT, over=over)


def _paint_kidneys(rng: np.random.Generator, canvas: Canvas) -> None:
    """Kidneys in their fat, with cortex, pyramids and sinus, and the adrenals above them."""
    soft = (Tissue.FAT, Tissue.LIVER, Tissue.PORTAL_VEIN, Tissue.HEPATIC_VEIN)
    for side, height in ((-1, -48), (1, -32)):
        centre = np.array([side * 66, 34, height]) + rng.normal(0, 5, 3)
        size = np.array([27, 31, 54]) * rng.uniform(0.88, 1.12)
        lean = np.deg2rad(rng.uniform(8, 18)) * side
        turn = np.deg2rad(rng.uniform(20, 45)) * side
        upright = np.array(
            [[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
        )
        axes = upright @ np.array(
            [[np.cos(lean), 0, np.sin(lean)], [0, 1, 0], [-np.sin(lean), 0, np.cos(lean)]]
        )
        canvas.paint(ellipsoid(centre, size + 4, axes), Tissue.FAT, over=soft)
        kidney = ellipsoid(centre, size, axes)
        canvas.paint(kidney, Tissue.KIDNEY_CORTEX, over=(Tissue.FAT,))
        for level in np.linspace(-0.6, 0.6, 4):
            for angle in np.linspace(-1.3, 1.3, 4):
                out = (
                    np.array([np.cos(angle) * side, np.sin(angle), 0])
                    * size[:2].mean()
                    * 0.56
                    * np.sqrt(1 - level**2)
                )
                where = centre + out @ upright + axes[2] * level * size[2]
                canvas.paint(
                    ellipsoid(where, (6.5, 6.5, 7.5)),
                    Tissue.KIDNEY_MEDULLA,
                    over=(Tissue.KIDNEY_CORTEX,),
                )
        inner = centre - np.array([side, 0, 0]) @ upright * 12
        sinus = ellipsoid(inner, size * [0.62, 0.42, 0.55], axes)
        canvas.paint(sinus, Tissue.FAT, over=(Tissue.KIDNEY_CORTEX, Tissue.KIDNEY_MEDULLA))
        canvas.paint(
            ellipsoid(inner, size * [0.35, 0.2, 0.3], axes), Tissue.SOFT_TISSUE, over=(Tissue.FAT,)
        )
        gland = centre + np.array([-side * 26, -8, size[2] + 4])
        for arm in ((side * 14, 10, -6), (side * 2, 18, -8)):
            canvas.paint(tube([gland, gland + arm], 2.5), Tissue.SOFT_TISSUE, over=(Tissue.FAT,))


def _paint_upper_organs(
    rng: np.random.Generator, canvas: Canvas, cavity: BodyCavity, viscera: Viscera
) -> None:
    """Gallbladder, spleen, stomach with gas above its fluid, pancreas."""
    if viscera.gallbladder:
        neck = np.array([-34, -26, -12]) + rng.normal(0, 3, 3)
        fundus = neck + [-22, -40, -34] * rng.uniform(0.6, 1.1, 3)
        bag = tube(
            [neck, (neck + fundus) / 2, fundus], np.array([5, 12, 14]) * rng.uniform(0.6, 1.2)
        )
        over = (Tissue.FAT, Tissue.LIVER, Tissue.PORTAL_VEIN, Tissue.HEPATIC_VEIN)
        canvas.paint(bag, Tissue.SOFT_TISSUE, over=over, grow_mm=1.5)
        canvas.paint(bag, Tissue.BILE, over=(Tissue.SOFT_TISSUE,))
    s = viscera.spleen
    centre = np.array([112 - 6 * s, 36, 34 - 14 * (s - 1)]) + rng.normal(0, 4, 3)
    tilt = np.deg2rad(rng.uniform(20, 40))
    axes = np.array(
        [[np.cos(tilt), np.sin(tilt), 0.0], [-np.sin(tilt), np.cos(tilt), 0.0], [0.0, 0.0, 1.0]]
    )
    spleen = ellipsoid(centre, np.array([24, 44, 50]) * s, axes)
    canvas.paint(spleen, Tissue.SPLEEN, over=(Tissue.FAT,), within=cavity.abdomen)
    fill = rng.uniform(0.55, 1.15)
    body = np.array(
        [(58, 26, 62), (62, 0, 40), (56, -36, 14), (34, -58, -16), (2, -50, -32)]
    ) + rng.normal(0, 4, (5, 3))
    stomach = tube(body, np.array([34, 36, 30, 20, 12]) * fill)
    canvas.paint_hollow(
        stomach, *_STOMACH, rng.uniform(3, 6), over=(Tissue.FAT,), within=cavity.abdomen
    )
    _paint_gas_above_fluid(
        canvas, stomach, Tissue.STOMACH_CONTENT, float(body[2, 1] + rng.uniform(-25, 10))
    )
    pancreas = tube(
        [(-32, -10, -42), (-8, -30, -30), (24, -30, -14), (62, -2, 8), (88, 18, 20)],
        [13, 9, 9, 10, 8],
    )
    canvas.paint(pancreas, Tissue.PANCREAS, over=(Tissue.FAT,))


def _paint_gas_above_fluid(
    canvas: Canvas, shape: Shape, content: Tissue, level_y_mm: float
) -> None:
    """Gas above a fluid level: the front of the content of a person lying on the back."""
    window, inside = canvas.inside(shape)
    canvas.fill(window, inside & (canvas.y[window] < level_y_mm), Tissue.BOWEL_GAS, over=(content,))


def _random_walk(
    rng: np.random.Generator,
    start: NDArray,
    steps: int,
    step_mm: float,
    low: Sequence[float],
    high: Sequence[float],
) -> NDArray:
    """A smooth random walk in a box, (steps + 1, 3)."""
    points, heading = [start], rng.normal(size=3)
    for _ in range(steps):
        heading = 0.6 * heading / np.linalg.norm(heading) + 0.7 * rng.normal(size=3) * [1, 1, 0.6]
        points.append(np.clip(points[-1] + step_mm * heading / np.linalg.norm(heading), low, high))
    return np.array(points)


def _paint_loop(
    rng: np.random.Generator, canvas: Canvas, loop: Shape, wall_mm: float, gas_share: float
) -> None:
    canvas.paint_hollow(loop, Tissue.BOWEL_WALL, Tissue.BOWEL_CONTENT, wall_mm, over=(Tissue.FAT,))
    if rng.random() < gas_share:
        _paint_gas_above_fluid(
            canvas, loop, Tissue.BOWEL_CONTENT, float(rng.uniform(loop.low[1] + 8, loop.high[1]))
        )


def _paint_bowel(rng: np.random.Generator, canvas: Canvas, viscera: Viscera) -> None:
    """Duodenum, colon as a frame with pouches, and loops of small bowel inside it."""
    duodenum = tube(
        [(-14, -42, -30), (-46, -20, -40), (-50, 0, -75), (-10, 2, -88), (30, -8, -70)], 11
    )
    _paint_loop(rng, canvas, duodenum, 2.5, 0.4)
    transverse_z = rng.uniform(-95, -45)
    frame = [
        (-98, 10, -190),
        (-108, 20, -130),
        (-104, 0, -85),
        (-70, -62, transverse_z),
        (0, -78, transverse_z - 20),
    ]
    frame += [
        (64, -66, transverse_z + 15),
        (104, -20, 0),
        (112, 24, -50),
        (108, 34, -130),
        (86, 10, -195),
        (36, 0, -215),
        (0, 40, -228),
    ]
    course = np.array(frame) + rng.normal(0, 7, (len(frame), 3))
    for a, b in pairwise(course):
        pouches = np.linspace(a, b, 4) + rng.normal(0, 3, (4, 3))
        _paint_loop(rng, canvas, tube(pouches, rng.uniform(13, 24, 4)), 2.0, 0.75)
    low, high = (-88.0, -72.0, -235.0), (92.0, 12.0, -62.0)
    for _ in range(viscera.bowel_loops):
        path = _random_walk(rng, rng.uniform(low, high), 8, 24, low, high)
        _paint_loop(rng, canvas, tube(path, rng.uniform(9, 15)), rng.uniform(1.5, 3), 0.3)


def _paint_mimics(rng: np.random.Generator, canvas: Canvas, cavity: BodyCavity) -> None:
    """Mimics of lesions around the liver: nodes, masses and mesenteric vessels in the fat."""
    for _ in range(rng.integers(20, 60)):
        centre = rng.uniform((-130, -90, -120), (110, 60, 80))
        canvas.paint(
            ellipsoid(centre, rng.uniform(2, 6, 3) * rng.choice((1, 1, 1.8))),
            Tissue.SOFT_TISSUE,
            over=(Tissue.FAT,),
        )
    for _ in range(rng.integers(2, 9)):
        mass = ellipsoid(
            rng.uniform((-130, -90, -130), (110, 60, 60)),
            rng.uniform(7, 22) * rng.uniform(0.7, 1.3, 3),
        )
        tissue = (Tissue.SOFT_TISSUE, Tissue.MUSCLE, Tissue.BOWEL_CONTENT, Tissue.SPLEEN)[
            rng.integers(4)
        ]
        canvas.paint(mass, tissue, over=(Tissue.FAT,), within=cavity.abdomen)
    for _ in range(rng.integers(15, 40)):
        path = _random_walk(
            rng, rng.uniform((-80, -60, -220), (80, 20, -20)), 3, 18, (-90, -75, -230), (95, 20, 0)
        )
        tissue = Tissue.PORTAL_VEIN if rng.random() < 0.6 else Tissue.AORTA
        canvas.paint(tube(path, rng.uniform(1.2, 3)), tissue, over=(Tissue.FAT,))
    fat = tissue_mask(canvas.tissue, (Tissue.FAT,)) & cavity.abdomen
    share = rng.uniform(0.6, 1.7)
    # vessels and strands in all the fat
    for scale_mm, tissue in (
        (17, Tissue.PORTAL_VEIN),
        (23, Tissue.AORTA),
        (20, Tissue.SOFT_TISSUE),
    ):
        strand = (
            np.hypot(body_noise(rng, canvas.axes, scale_mm), body_noise(rng, canvas.axes, scale_mm))
            < share * 2.6 / scale_mm
        )
        canvas.tissue[strand & fat] = tissue
