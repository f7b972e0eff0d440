"""Heart, great vessels, airways, oesophagus and lymph nodes of the mediastinum, as shapes."""

from __future__ import annotations

import numpy as np

from liverleaf.phantom.anatomy.canvas import Shape, Tissue, ellipsoid, tube
from liverleaf.phantom.anatomy.trunk import HEART_AXES

SIDES = (-1, 1)
"""Right and left, as the sign of x."""


def mediastinal_shapes(rng: np.random.Generator, node_mm: float) -> list[tuple[Shape, Tissue]]:
    """Nodes, heart, great vessels, oesophagus and airways (as AIR), in the order of painting."""
    heart, wide = rng.uniform(0.88, 1.14), rng.uniform(0.9, 1.2)
    centre = np.array([20, -26, -76]) + rng.normal(0, 3, 3)
    size = np.array([62, 46, 48]) * heart
    blood, aorta, cava = Tissue.HEART_BLOOD, Tissue.AORTA, Tissue.VENA_CAVA
    arch = [
        (-14, -26, -35),
        (-17, -26, -5),
        (-10, -20, 20),
        (4, -4, 31),
        (18, 16, 31),
        (25, 34, 18),
        (24, 42, -10),
        (20, 40, -80),
    ]
    shapes = [
        (ellipsoid(centre, size, HEART_AXES), Tissue.MYOCARDIUM),
        (ellipsoid(centre + HEART_AXES[0] * 12 + 4, size * (0.6, 0.55, 0.55), HEART_AXES), blood),
        (ellipsoid(centre - HEART_AXES[0] * 26, size * (0.52, 0.62, 0.75), HEART_AXES), blood),
        (ellipsoid((-16, -24, -68), np.array([25, 33, 38]) * heart), blood),  # right atrium
        # the grooves of the coronary arteries
        (tube([(-6, -60, -48), (-20, -46, -72), (-14, -26, -104)], [4, 5, 4]), Tissue.FAT),
        (tube([(18, -68, -48), (48, -64, -82), (66, -48, -112)], [4, 5, 4]), Tissue.FAT),
        (ellipsoid((2, 4, -50), (36, 19, 22)), blood),  # left atrium
        # pulmonary trunk and arteries
        (tube([(14, -42, -48), (18, -34, -24), (20, -20, -8)], 13 * wide), blood),
        (tube([(18, -18, -10), (-14, -3, -13), (-44, 6, -20)], [12 * wide, 10.5, 8]), blood),
        (tube([(20, -20, -8), (34, 6, -3), (46, 20, -14)], [12 * wide, 10, 8]), blood),
        # lower pulmonary veins
        *((tube([(s * 26, 4, -48), (s * 44, 4, -50)], [9, 6]), blood) for s in SIDES),
        (
            tube(
                [*arch, (10, 34, -150), (4, 24, -230)],
                np.array([15, 15, 13.5, 13, 12.5, 12, 11.5, 11, 11, 11]) * wide,
            ),
            aorta,
        ),
        (tube([(-6, -16, 28), (-14, -14, 60), (-32, -6, 95), (-60, 4, 120)], [7, 6, 5, 5]), aorta),
        (tube([(6, -4, 32), (12, -6, 70), (18, -4, 130)], [5, 4, 4]), aorta),
        (tube([(16, 10, 34), (22, 10, 75), (42, 6, 100), (80, 8, 112)], [6, 5, 5, 5]), aorta),
        (tube([(-24, -18, 50), (-27, -18, 10), (-27, -14, -40)], [9, 9, 10]), cava),
        (tube([(-24, -20, 48), (4, -30, 56), (32, -26, 78), (40, -14, 110)], [7, 6, 7, 6]), cava),
        (tube([(-24, -20, 48), (-34, -20, 80), (-40, -10, 115)], [8, 8, 6]), cava),
        (tube([(-24, -4, -80), (-24, 0, -120), (-22, 4, -230)], [11, 12, 12]), cava),
        # azygos
        (tube([(-12, 36, -200), (-10, 40, -20), (-14, 30, 2), (-26, 2, 4)], [3.5, 4, 4, 4]), cava),
        (
            tube(
                [(3, 24, 130), (5, 28, 30), (2, 26, -40), (6, 24, -90), (16, 14, -140)],
                [7, 6, 6, 7, 8],
            ),
            Tissue.SOFT_TISSUE,
        ),
        (tube([(0, 4, 140), (-1, 9, 60), (-1, 13, 2)], 9.5 * wide), Tissue.SOFT_TISSUE),
        (tube([(-1, 13, 2), (-18, 15, -16), (-40, 14, -28)], [9, 8.5, 7]), Tissue.SOFT_TISSUE),
        (tube([(-1, 13, 2), (20, 18, -22), (46, 22, -34)], [9, 8, 6.5]), Tissue.SOFT_TISSUE),
    ]
    air = [
        tube([(0, 4, 140), (-1, 9, 60), (-1, 13, 2)], 8 * wide),
        tube([(-1, 13, 2), (-18, 15, -16), (-42, 14, -29)], [7, 6.5, 5]),
    ]
    air += [tube([(-1, 13, 2), (20, 18, -22), (48, 22, -35)], [7, 6, 4.7])]
    if rng.random() < 0.4:
        air.append(ellipsoid((4, 27, rng.uniform(-20, 90)), (3, 2.5, 12)))
    places = rng.normal((-4, -4, 6), (16, 14, 26), (int(rng.integers(6, 16)), 3))
    nodes = [ellipsoid(place, rng.uniform(0.45, 1, 3) * node_mm) for place in places]
    return [
        *((node, Tissue.SOFT_TISSUE) for node in nodes),
        *shapes,
        *((shape, Tissue.AIR) for shape in air),
    ]
