"""Vessels of the abdomen: aorta and vena cava with their branches, portal and hepatic veins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from liverleaf.phantom.anatomy.body import spine_y
from liverleaf.phantom.anatomy.canvas import Canvas, Tissue, tube


def paint_great_vessels(rng: np.random.Generator, canvas: Canvas) -> None:
    """Aorta with its branches down to the iliac arteries, vena cava with iliac veins."""
    heights = np.array([220, 150, 90, 40, 0, -50, -100, -140])
    front = spine_y(heights)
    radius = rng.uniform(8.5, 12)
    over = (Tissue.FAT, Tissue.LUNG, Tissue.SOFT_TISSUE, Tissue.MUSCLE, Tissue.LIVER)
    aorta_x = np.interp(heights, (-140, 40, 90, 220), (3, 8, 14, 22)) + rng.normal(0, 2)
    aorta = np.stack([aorta_x, front - 29 + np.interp(heights, (0, 120), (0, 12)), heights], axis=1)
    canvas.paint(
        tube(aorta, radius * np.interp(heights, (-140, 200), (0.8, 1.15))), Tissue.AORTA, over=over
    )
    cava_y = np.interp(heights, (-140, 0, 60, 110), (4, 2, 6, -8))
    cava = np.stack([np.interp(heights, (-140, 60, 110), (-20, -24, -28)), cava_y, heights], axis=1)
    canvas.paint(tube(cava[2:], rng.uniform(9, 13)), Tissue.VENA_CAVA, over=over)
    coeliac = aorta[3] + np.array([(0, 0, -14), (-2, -20, -12), (-14, -30, -10), (-34, -28, -14)])
    canvas.paint(tube(coeliac, [4.5, 4, 3, 2.5]), Tissue.AORTA, over=over)
    canvas.paint(
        tube([coeliac[1], coeliac[1] + [28, 4, 6], coeliac[1] + [62, 26, 20]], [3.5, 3, 2.5]),
        Tissue.AORTA,
        over=over,
    )
    canvas.paint(
        tube([aorta[4], aorta[4] + [-2, -18, -18], aorta[4] + [-6, -24, -90]], [4.5, 4, 3]),
        Tissue.AORTA,
        over=over,
    )
    canvas.paint(
        tube([aorta[4] + [0, -22, -20], (8, -30, -110)], [5, 4]), Tissue.PORTAL_VEIN, over=over
    )
    for side in (-1, 1):
        canvas.paint(
            tube([aorta[4] + [0, 0, -22], (side * 45, aorta[4][1] + 14, -32)], 3),
            Tissue.AORTA,
            over=over,
        )
        iliac = np.array(
            [(0, 0, -140), (side * 38, 10, -210), (side * 72, -52, -290), (side * 84, -58, -400)]
        )
        canvas.paint(tube(iliac, [7, 6, 5, 4]), Tissue.AORTA, over=over)
        canvas.paint(
            tube(iliac + np.array([-side * 2 - 6, 14, 0]), [9, 8, 6, 5]),
            Tissue.VENA_CAVA,
            over=over,
        )


def _branch(
    rng: np.random.Generator, start: NDArray, towards: NDArray, radius: float, depth: int
) -> list[tuple[NDArray, NDArray, float, float]]:
    """Branch a vessel, each branch thinner and shorter than its parent.

    `towards` is the direction and length of the first branch from `start`.
    """
    middle = start + towards / 2 + rng.normal(0, 0.08, 3) * np.linalg.norm(towards)
    end = start + towards
    branches = [(start, middle, radius, 0.9 * radius), (middle, end, 0.9 * radius, 0.8 * radius)]
    if depth:
        length = float(np.linalg.norm(towards))
        aside = np.cross(towards, rng.normal(size=3))
        aside /= np.linalg.norm(aside) + 1e-6
        for sign, origin in ((1, end), (-1, end), (rng.choice((-1, 1)), middle)):
            turn = sign * np.tan(np.deg2rad(rng.uniform(22, 48)))
            child = towards / length + turn * aside
            child *= length * rng.uniform(0.62, 0.85) / np.linalg.norm(child)
            branches += _branch(rng, origin, child, radius * rng.uniform(0.58, 0.74), depth - 1)
    return branches


def paint_liver_vessels(rng: np.random.Generator, canvas: Canvas) -> None:
    """The portal tree from the hilum, the hepatic veins to the vena cava under the dome."""
    hilum, split = np.array([-8.0, -12.0, -26.0]), np.array([-30.0, -6.0, 2.0])
    main_mm = rng.uniform(6, 8)
    canvas.paint(
        tube(np.stack([(2, -14, -34), hilum, split]), main_mm),
        Tissue.PORTAL_VEIN,
        over=(Tissue.FAT, Tissue.LIVER),
    )
    canvas.paint(
        tube([(2, -14, -34), (40, 2, -18), (90, 30, 10)], [main_mm, 5, 4]),
        Tissue.PORTAL_VEIN,
        over=(Tissue.FAT,),
    )
    turn = np.array([6.0, -34.0, 20.0])
    portal = [(split, turn, 0.75 * main_mm, 0.65 * main_mm)]
    fork = np.array([-58.0, 2.0, 8.0])
    portal.append((split, fork, 0.85 * main_mm, 0.8 * main_mm))
    for start, towards, share in (
        (fork, (-22, -34, 26), 0.6),
        (fork, (-24, -28, -26), 0.55),
        (fork, (-28, 34, 24), 0.6),
        (fork, (-26, 32, -24), 0.6),
        (turn, (2, -28, 4), 0.5),
        (turn, (34, -14, 14), 0.5),
        (turn, (26, -10, -10), 0.45),
    ):
        portal += _branch(
            rng, start, np.array(towards, float) + rng.normal(0, 4, 3), share * main_mm, 3
        )
    cava = np.array([-26.0, 4.0, 76.0])
    hepatic = []
    for towards, radius in (
        ((-46, 16, -26), 5.0),
        ((-24, -38, -22), 4.5),
        ((28, -38, -18), 4.0),
        ((-30, 26, -62), 3.0),
    ):
        hepatic += _branch(
            rng,
            cava,
            np.array(towards, float) + rng.normal(0, 4, 3),
            radius * rng.uniform(0.8, 1.2),
            3,
        )
    if rng.random() < 0.12:  # dilated bile ducts run beside the portal branches
        aside = np.array([0, -6, 2])
        for start, end, first, last in portal:
            canvas.paint(
                tube([start + aside, end + aside], [0.7 * first, 0.7 * last]),
                Tissue.BILE,
                over=(Tissue.LIVER,),
            )
    for tissue, branches in ((Tissue.HEPATIC_VEIN, hepatic), (Tissue.PORTAL_VEIN, portal)):
        for start, end, first, last in branches:
            canvas.paint(tube([start, end], [first, last]), tissue, over=(Tissue.LIVER,))
