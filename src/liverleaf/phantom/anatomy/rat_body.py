"""The trunk of a rat with liver tumours, which push its organs aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import generate_uid

from liverleaf.phantom.anatomy.canvas import (
    Canvas,
    Field,
    Tissue,
    Window,
    axial_affine,
    body_axes,
    ellipsoid,
    smooth_noise,
    tube,
)
from liverleaf.phantom.anatomy.fields import draw_field

# lobes of the liver: centre and radii (x to the left, y to the back, z to the head, mm); the
# tumours sit in the first two
LOBES: Final = (
    ((11.0, -5.0, -1.0), (12.5, 11.5, 12.5)),  # left lateral
    ((-3.0, -8.0, 5.0), (18.0, 10.5, 11.0)),  # median
    ((-13.0, 3.0, -1.0), (9.5, 10.5, 12.0)),  # right
    ((1.0, 5.0, 6.0), (10.5, 6.5, 9.0)),  # caudate
)


@dataclass(frozen=True)
class Tumour:
    """One tumour of one session: its centre (x, y, z) and the radius of a ball of its volume."""

    centre_mm: NDArray[np.float64]
    radius_mm: float


def draw_grid(
    body: np.random.Generator,
    session: np.random.Generator,
    shape: Sequence[int],
    spacing_mm: tuple[float, float, float],
    case_id: str,
) -> tuple[hd.Volume, Canvas]:
    """The grid of a session and an empty canvas on it.

    The animal's build and most of its deformation stay the same; it is laid down a little otherwise
    every week.
    """
    size = body.uniform(0.96, 1.08, 3)
    origin = session.normal(0, 0.8, 3) - (np.array(shape) - 1) / 2 * spacing_mm
    roll, yaw, pitch = session.normal(0, (0.06, 0.03, 0.04))
    axes = body_axes(origin, shape, spacing_mm, size)
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    turned = (z + yaw * x + pitch * y, y + roll * x - pitch * z, x - roll * y - yaw * z)
    bends = ((body, 12, 0.8), (body, 5, 0.25), (session, 18, 0.3))
    moved = [
        np.asarray(
            t + sum(mm * np.clip(_noise(rng, axes, scale), -2, 2) for rng, scale, mm in bends),
            np.float32,
        )
        for t in turned
    ]
    slack_mm = max(
        float(np.abs(new - old).max()) for new, old in zip(moved, (z, y, x), strict=True)
    )
    affine = axial_affine(origin, spacing_mm)
    grid = hd.Volume(
        np.zeros(shape, np.uint8),
        affine,
        "PATIENT",
        generate_uid(entropy_srcs=[case_id, str(shape), str(affine.tolist())]),
    )
    return grid, Canvas(axes, moved[2], moved[1], moved[0], slack_mm, spacing_mm, grid.array)


def paint_rat(
    body: np.random.Generator,
    session: np.random.Generator,
    canvas: Canvas,
    tumours: Sequence[Tumour],
    necrosis: float,
) -> NDArray[np.uint16]:
    """Paint the trunk, its organs and the tumours, which push the organs aside.

    Returns the tumours' labels, none for those off the grid.
    """
    cavity = _paint_trunk(body, canvas)
    regions = [_blob(body, canvas, tumour) for tumour in tumours]
    pushed = _pushed(canvas, tumours)
    lobes = _paint_liver(body, pushed, cavity)
    _paint_organs(body, session, pushed, cavity)
    _paint_bowel(body, session, pushed, (cavity < -0.2) & ~lobes)
    labels = np.zeros(canvas.tissue.shape, np.uint16)
    for tumour, (window, size, decay) in zip(tumours, regions, strict=True):
        free = (cavity[window] < 0) & (labels[window] == 0)
        wanted = round(4 / 3 * np.pi * tumour.radius_mm**3 / float(np.prod(canvas.spacing_mm)))
        border = np.partition(size[free], wanted)[wanted] if wanted < free.sum() else 1.0
        # makes good for the deformation, not for what lies off the grid
        mask = free & (size < np.clip(border, 0.85, 1.15))
        if mask.any():
            labels[window][mask] = labels.max() + 1
            canvas.tissue[window][mask] = Tissue.HCC
            canvas.tissue[window][mask & (decay > np.quantile(decay[mask], 1 - necrosis))] = (
                Tissue.HCC_NECROSIS
            )
    return labels


def _noise(rng: np.random.Generator, axes: Sequence[Field], scale_mm: float) -> Field:
    return smooth_noise(rng, axes, (-60, -45, -45), (60, 45, 45), scale_mm)


def _paint_trunk(rng: np.random.Generator, canvas: Canvas) -> Field:
    """Skin, fat, muscles, spine, ribs, lungs and heart.

    Returns the signed distance to the wall of the abdomen (mm), negative inside.
    """
    x, y, z = canvas.x, canvas.y, canvas.z
    half_x, half_y, wall_mm = rng.uniform(24.5, 26.5), rng.uniform(20, 22), rng.uniform(1.2, 1.8)
    flanks = np.clip(y / 12, 0, 1) * np.exp(-(((np.abs(x) - 16) / 8) ** 2))
    fat_mm = np.maximum(
        rng.uniform(0.3, 1.3) + 0.35 * _noise(rng, canvas.axes, 8) + 1.2 * flanks, 0.3
    )
    depth = half_y * (
        1
        - ((np.abs(x) / (half_x * (1 - 0.005 * z))) ** 2.2 + (np.abs(y + 0.02 * z) / half_y) ** 2.2)
        ** (1 / 2.2)
    )
    muscle = 1.0 + fat_mm + 0.8 * np.clip((-y - 14) / 5, 0, 1)
    cavity = np.maximum(muscle + wall_mm - depth, y - 11 + 3.4 * np.exp(-((x / 6.5) ** 2)))
    dome = z - rng.uniform(13, 15.5) + 9.5 * ((x / 21) ** 2 + ((y + 4) / 18) ** 2)
    septa = (np.abs(_noise(rng, canvas.axes, 8)) < 0.05) & (y > 8)
    layers = (
        (depth > 0, Tissue.SOFT_TISSUE),
        (depth > 1.0, Tissue.FAT),
        (depth > muscle, Tissue.MUSCLE),
        ((depth > muscle) & septa, Tissue.FAT),
        ((cavity < 0) & (dome < 0), Tissue.FAT),
        ((cavity < 0) & (dome > 0.6), Tissue.LUNG),
    )
    for mask, tissue in layers:
        canvas.tissue[mask] = tissue
    for shrink_mm, tissue in ((0.0, Tissue.MYOCARDIUM), (2.0, Tissue.HEART_BLOOD)):
        canvas.paint(
            ellipsoid((2, -5, 24), np.array([7.5, 7, 9]) - shrink_mm),
            tissue,
            over=(Tissue.LUNG, Tissue.MYOCARDIUM),
        )
    _paint_bones(rng, canvas, half_x, half_y)
    return np.asarray(np.maximum(cavity, dome), np.float32)


def _paint_bones(rng: np.random.Generator, canvas: Canvas, half_x: float, half_y: float) -> None:
    """A spine with disks and its canal, and ribs that fall from it to the front."""
    over = (Tissue.MUSCLE, Tissue.FAT, Tissue.SOFT_TISSUE)
    for level in np.arange(-44.0, 44, 5.6) + rng.uniform(-1, 1):
        for radius, tissue in ((2.8, Tissue.BONE_CORTEX), (2.2, Tissue.BONE_MARROW)):
            canvas.paint(tube([(0, 11.8, level - 2.1), (0, 11.8, level + 2.1)], radius), tissue)
        canvas.paint(
            tube([(0, 16.5, level), (0, 18.7, level - 1.5)], 0.6), Tissue.BONE_CORTEX, over=over
        )
        angle = np.linspace(0.35, 2.7, 9)
        for side in (-1, 1):
            process = tube(
                [(0, 14.5, level), (side * 3.2, 14.7, level), (side * 5.5, 13.5, level - 1)],
                (0.9, 0.8, 0.5),
            )
            canvas.paint(process, Tissue.BONE_CORTEX)
            rib = tube(
                np.stack(
                    [
                        side * (half_x - 3.2) * np.sin(angle),
                        (half_y - 3) * np.cos(angle),
                        level - 4.5 * angle,
                    ],
                    axis=1,
                ),
                0.75,
            )
            if level > -8:
                canvas.paint(rib, Tissue.BONE_CORTEX, over=over)
                canvas.paint(rib, Tissue.BONE_MARROW, over=(Tissue.BONE_CORTEX,), grow_mm=-0.4)
    # arch, cerebrospinal fluid, cord
    for radius, tissue in (
        (1.95, Tissue.BONE_CORTEX),
        (1.6, Tissue.BILE),
        (1.05, Tissue.SOFT_TISSUE),
    ):
        canvas.paint(tube([(0, 15.5, -50), (0, 15.5, 50)], radius), tissue)


def _blob(rng: np.random.Generator, canvas: Canvas, tumour: Tumour) -> tuple[Window, Field, Field]:
    """The window of a tumour, its shape and where it becomes necrotic first.

    The shape is a field below 1 inside, of the wanted volume; the other field is higher where
    tissue dies earlier.
    """
    stretched = np.linalg.qr(rng.normal(size=(3, 3)))[0] * np.exp(rng.normal(0, 0.1, (3, 1)))
    bend, lumps = (draw_field(rng, (64, 64, 64), (0.0625,) * 3, scale) for scale in (0.75, 0.4))

    def fields(points: NDArray[np.float32]) -> tuple[Field, Field]:
        away = np.sqrt((np.tensordot(stretched.astype(np.float32), points, axes=1) ** 2).sum(0))
        at = np.clip((points + 2) / 0.0625, 0, 63)
        return np.asarray(away * np.exp(0.15 * bend.at(at)[0]), np.float32), np.asarray(
            0.8 * lumps.at(at)[0] - 1.5 * away, np.float32
        )

    line = np.linspace(-2, 2, 41, dtype=np.float32)
    inside = (
        float((fields(np.stack(np.meshgrid(line, line, line, indexing="ij")))[0] < 1).sum())
        * 0.1**3
    )
    radius = tumour.radius_mm * (4 / 3 * np.pi / inside) ** (1 / 3)
    window = canvas.box(tumour.centre_mm - 2 * radius, tumour.centre_mm + 2 * radius)
    points = [
        axis[window] - np.float32(c)
        for axis, c in zip((canvas.x, canvas.y, canvas.z), tumour.centre_mm, strict=True)
    ]
    return window, *fields(np.asarray(np.stack(points) / np.float32(radius), np.float32))


def _pushed(canvas: Canvas, tumours: Sequence[Tumour]) -> Canvas:
    """The canvas with what surrounds the tumours displaced from their centres.

    Most of a tumour's volume comes on top of the liver's.
    """
    x, y, z = before = canvas.x, canvas.y, canvas.z
    for tumour in tumours:
        offset = [axis - np.float32(c) for axis, c in zip((x, y, z), tumour.centre_mm, strict=True)]
        away = np.sqrt(sum(o * o for o in offset)) + np.float32(1e-3)
        shrink = np.cbrt(np.maximum(away**3 - 0.6 * tumour.radius_mm**3, 0)) / away
        x, y, z = (
            np.asarray(c + o * shrink, np.float32)
            for c, o in zip(tumour.centre_mm, offset, strict=True)
        )
    shift_mm = max(
        float(np.abs(new - old).max()) for new, old in zip((x, y, z), before, strict=True)
    )
    return replace(canvas, x=x, y=y, z=z, slack_mm=canvas.slack_mm + shift_mm)


def _paint_liver(rng: np.random.Generator, canvas: Canvas, cavity: Field) -> NDArray[np.bool_]:
    """Lobes of the liver with fissures where they are not grown together, and vessels.

    Returns lobes and fissures.
    """
    window = canvas.box((-34, -30, -26), (34, 22, 26))
    x, y, z = canvas.x[window], canvas.y[window], canvas.z[window]
    lobes = [
        ellipsoid(np.add(c, rng.normal(0, 0.5, 3)), np.multiply(r, rng.uniform(0.95, 1.05, 3)))
        for c, r in LOBES
    ]
    first, second = np.sort(np.stack([lobe.distance(x, y, z) for lobe in lobes]), axis=0)[:2]
    bent = _noise(rng, canvas.axes, 7)[window]
    cleft = (np.abs(x + 2.5 + 0.15 * z + bent) < 0.3) & (y < -13 + 0.3 * z)  # in the median lobe
    canvas.fill(window, (first < 0) & (cavity[window] < 0), Tissue.LIVER)
    canvas.fill(
        window,
        (second < 0.25) & (second - first < 0.1 + 0.25 * bent) | cleft,
        Tissue.FAT,
        over=(Tissue.LIVER,),
    )
    hilum, confluence = np.array([-2.5, 0.0, -2.0]), np.array([-3.0, 4.5, 8.0])
    for centre, radii in LOBES:
        c, r = np.array(centre), np.array(radii)
        _paint_tree(
            rng,
            canvas,
            hilum,
            c + 0.35 * (c - hilum) + rng.normal(0, 0.8, 3),
            0.85,
            r,
            Tissue.PORTAL_VEIN,
        )
        _paint_tree(
            rng, canvas, confluence, c + rng.normal((0, 0, -4), 1), 0.75, r, Tissue.HEPATIC_VEIN
        )
    over = (Tissue.LIVER, Tissue.FAT, Tissue.MUSCLE, Tissue.LUNG)
    canvas.paint(
        tube([(-1, 3, -50), (-1, 2.5, -14), (-1.5, 2, -7), (-2.5, 0, -2)], (1, 1, 1.1, 0.9)),
        Tissue.PORTAL_VEIN,
        over=over,
    )
    cava = [
        (-2.5, 6.5, -50),
        (-2.5, 6.5, -14),
        (-4, 5, -4),
        (-3.5, 4.5, 6),
        (-2.5, 2, 14),
        (-2, 0, 22),
    ]
    canvas.paint(tube(cava, rng.uniform(1.2, 1.5)), Tissue.VENA_CAVA, over=over)
    lobe = np.zeros(canvas.tissue.shape, bool)
    lobe[window] = first < 0.6
    return lobe


def _paint_tree(
    rng: np.random.Generator,
    canvas: Canvas,
    start: NDArray,
    end: NDArray,
    radius_mm: float,
    spread_mm: NDArray,
    tissue: Tissue,
) -> None:
    """A vessel from `start` to `end`, with side branches that fork once more."""
    over = (Tissue.LIVER, Tissue.FAT)
    middle = (start + end) / 2 + rng.normal(0, 0.8, 3)
    canvas.paint(
        tube(np.stack([start, middle, end]), radius_mm * np.array([1.0, 0.8, 0.55])),
        tissue,
        over=over,
    )
    for root in (middle, end, end):
        tip = root + rng.normal(0, 0.38, 3) * spread_mm + 0.25 * (end - start)
        canvas.paint(
            tube(np.stack([root, tip]), radius_mm * np.array([0.5, 0.3])), tissue, over=over[:1]
        )
        for _ in range(2):
            fork = (root + tip) / 2
            twig = np.stack([fork, fork + rng.normal(0, 0.3, 3) * spread_mm])
            canvas.paint(tube(twig, radius_mm * np.array([0.35, 0.2])), tissue, over=over[:1])


def _paint_organs(
    body: np.random.Generator, session: np.random.Generator, canvas: Canvas, cavity: Field
) -> None:
    """Stomach with food, kidneys, spleen and aorta."""
    room, soft = cavity < 0, (Tissue.FAT, Tissue.LIVER)
    stomach = ellipsoid((12.5, 5.5, -1.5), np.array([9.5, 6.8, 9.5]) * session.uniform(0.92, 1.06))
    canvas.paint(stomach, Tissue.FAT, over=(Tissue.LIVER,), grow_mm=0.35)
    canvas.paint_hollow(
        stomach, Tissue.STOMACH_WALL, Tissue.STOMACH_CONTENT, 0.7, over=(Tissue.FAT,), within=room
    )
    for centre in ((-11.5, 6.0, -14.0), (11.5, 6.5, -20.5)):
        c = np.array(centre) + body.normal(0, 0.6, 3)
        hilum = c - np.array([np.sign(c[0]) * 4.6, 0, 0])
        canvas.paint(ellipsoid(c, (5.9, 5.6, 9.6)), Tissue.FAT, over=soft, within=room)
        canvas.paint(ellipsoid(c, (5.3, 5.0, 9.0)), Tissue.KIDNEY_CORTEX, over=soft, within=room)
        canvas.paint(
            ellipsoid(c, (3.6, 3.3, 6.8)), Tissue.KIDNEY_MEDULLA, over=(Tissue.KIDNEY_CORTEX,)
        )
        canvas.paint(
            ellipsoid(hilum, (2.2, 1.0, 2.2)),
            Tissue.FAT,
            over=(Tissue.KIDNEY_CORTEX, Tissue.KIDNEY_MEDULLA),
        )
    path = np.array([(21.5, 1, 0), (21.5, 6, -6), (19.5, 9, -12), (16, 3, -18)]) + body.normal(
        0, 0.6, (4, 3)
    )
    canvas.paint(
        tube(path, (1.2, 2.4, 2.6, 1.4)),
        Tissue.SPLEEN,
        over=(*soft, Tissue.STOMACH_WALL),
        within=room,
    )
    canvas.paint(tube([(1.5, 8.2, -50), (1.2, 8.2, 50)], body.uniform(0.85, 1.05)), Tissue.AORTA)


def _paint_bowel(
    body: np.random.Generator, rng: np.random.Generator, canvas: Canvas, room: NDArray[np.bool_]
) -> None:
    """Caecum and loops of bowel below the liver, and pancreas between them.

    The bowel lies anew every week.
    """
    over = (Tissue.FAT, Tissue.PANCREAS)
    below = canvas.box((-25, -20, -60), (25, 12, -3))
    canvas.fill(
        below, _noise(body, canvas.axes, 4)[below] > 0.9, Tissue.PANCREAS, over=over, within=room
    )
    caecum = ellipsoid(rng.normal((3, -8, -24), 1.5), rng.uniform(0.9, 1.1, 3) * (13, 8, 9))
    canvas.paint_hollow(
        caecum, Tissue.BOWEL_WALL, Tissue.BOWEL_CONTENT, 0.6, over=over, within=room
    )
    for _ in range(120):
        path = rng.uniform((-21, -18, -44), (21, 8, -3)) + np.cumsum(
            rng.normal(0, 3.2, (5, 3)), axis=0
        )
        # chyme, fluid, gas
        content = rng.choice(
            [Tissue.BOWEL_CONTENT, Tissue.BILE, Tissue.BOWEL_GAS], p=(0.72, 0.2, 0.08)
        )
        canvas.paint_hollow(
            tube(path, rng.uniform(1.3, 2.7)),
            Tissue.BOWEL_WALL,
            Tissue(int(content)),
            0.5,
            over=over,
            within=room,
        )
