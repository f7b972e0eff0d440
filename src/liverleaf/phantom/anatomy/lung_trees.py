"""Vessels, bronchi and scars of the lungs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from liverleaf.phantom.anatomy.canvas import Field
from liverleaf.phantom.anatomy.mediastinum import SIDES
from liverleaf.phantom.anatomy.thorax import Chest

VESSEL_HU, AIR_HU, WALL_HU = 40.0, -1000.0, 10.0


class Tree(NamedTuple):
    """n branches of a tree as quadratic curves, (n, 3) each.

    Positions are in mm from the first voxel, in the order (z, y, x).
    """

    start: NDArray[np.float64]
    control: NDArray[np.float64]
    end: NDArray[np.float64]
    radius_mm: NDArray[np.float64]  # (n, 2), at start and end


def with_trees(rng: np.random.Generator, chest: Chest, hu: Field) -> Field:
    """Draw arteries with the bronchi beside them, veins, and now and then scars and a granuloma.

    Args:
        rng: source of chance.
        chest: whose lungs they grow in.
        hu: of the lung without them, (Z, Y, X); it is not changed.

    Returns:
        HU of the lung with them, float32 (Z, Y, X).
    """
    spacing = chest.canvas.spacing_mm
    arteries: list[Tree] = []
    veins: list[Tree] = []
    for side in SIDES:
        for kind, hilum in (
            (arteries, (side * 42, 8 + 5 * (side > 0), -18)),
            (veins, (side * 36, 2, -48)),
        ):
            root = chest.to_grid_mm([hilum])[0]
            for lobe in (0, 1, 2) if side < 0 else (3, 4):
                tips = _tips(rng, chest, lobe)
                if len(tips):
                    kind.append(_grow(rng, root, np.array([-0.5, 0.2, side * 1.0]), tips))
    bronchi = [_bronchi(tree) for tree in arteries]
    shape = hu.shape
    outer, lumen = (
        coverage([t._replace(radius_mm=t.radius_mm * share) for t in bronchi], shape, spacing)
        for share in (1.0, 0.72)
    )
    vessels = coverage([*arteries, *veins, *_scars(rng, chest)], shape, spacing)
    hu = hu + np.maximum(outer - lumen, 0) * (WALL_HU - hu)
    hu += lumen * (AIR_HU - hu)
    vessels *= 1 - outer
    return np.asarray(hu + vessels * (VESSEL_HU - hu), np.float32)


def coverage(
    trees: list[Tree], shape: tuple[int, ...], spacing_mm: tuple[float, float, float]
) -> Field:
    """Share of each voxel that tubes fill.

    Taken from points spread over their cross-sections, which is right for thin tubes, too.

    Args:
        trees: the tubes.
        shape: of the grid (Z, Y, X).
        spacing_mm: voxel size along (Z, Y, X).

    Returns:
        Shares in [0, 1], float32 (Z, Y, X).
    """
    cover = np.zeros(int(np.prod(shape)))
    if not trees:
        return cover.reshape(shape).astype(np.float32)
    start, control, end, radius = (np.concatenate(columns) for columns in zip(*trees, strict=True))
    step = 0.5 * min(spacing_mm)
    length = np.linalg.norm(control - start, axis=1) + np.linalg.norm(end - control, axis=1)
    samples = np.ceil(length / step).astype(int) + 1
    branch = np.repeat(np.arange(len(start)), samples)
    t = (
        (np.arange(branch.size) - np.repeat(np.cumsum(samples) - samples, samples) + 0.5)
        / samples[branch]
    )[:, None]
    point = (1 - t) ** 2 * start[branch] + 2 * t * (1 - t) * control[branch] + t**2 * end[branch]
    tangent = (1 - t) * (control - start)[branch] + t * (end - control)[branch]
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-6)
    size = radius[branch, 0] * (1 - t[:, 0]) + radius[branch, 1] * t[:, 0]
    u = np.cross(tangent, np.where(np.abs(tangent[:, :1]) < 0.8, [[1.0, 0, 0]], [[0, 1.0, 0]]))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(tangent, u)
    spread = np.maximum(np.ceil(np.pi * (size / step) ** 2), 1).astype(int)
    sample = np.repeat(np.arange(size.size), spread)
    k = np.arange(sample.size) - np.repeat(np.cumsum(spread) - spread, spread)
    # a sunflower's spiral
    r = size[sample] * np.sqrt((k + 0.5) / spread[sample])
    angle = 2.39996 * k + sample
    place = (
        point[sample]
        + (r * np.cos(angle))[:, None] * u[sample]
        + (r * np.sin(angle))[:, None] * v[sample]
    )
    volume = (np.pi * size**2 * length[branch] / samples[branch] / spread)[sample] / np.prod(
        spacing_mm
    )
    index = np.rint(place / spacing_mm).astype(int)
    inside = ((index >= 0) & (index < shape)).all(1)
    cover += np.bincount(
        np.ravel_multi_index(tuple(index[inside].T), shape), volume[inside], cover.size
    )
    return np.minimum(cover, 1).reshape(shape).astype(np.float32)


def _bronchi(arteries: Tree) -> Tree:
    """The airways beside the larger arteries, about as wide."""
    start, control, end, radius_mm = (
        column[arteries.radius_mm[:, 1] > 1.15] for column in arteries
    )
    offset = np.array([0.35, -0.9, 0.25]) * 2 * radius_mm.mean(1, keepdims=True)
    return Tree(start + offset, control + offset, end + offset, 0.95 * radius_mm)


def _tips(rng: np.random.Generator, chest: Chest, lobe: int) -> NDArray[np.float64]:
    """Where the smallest vessels of a lobe end, mm from the first voxel.

    One per 0.9 ml, away from the pleura and the fissures.
    """
    voxels = np.flatnonzero(
        chest.lung & (chest.lobe == lobe) & (chest.depth_mm > 3.5) & (chest.fissure_mm > 3)
    )
    spacing = np.array(chest.canvas.spacing_mm)
    count = min(int(voxels.size * spacing.prod() / 900) + 1, voxels.size)
    index = (
        np.stack(
            np.unravel_index(rng.choice(voxels, count, replace=False), chest.lung.shape), axis=1
        )
        if count
        else np.zeros((0, 3))
    )
    return np.asarray((index + rng.uniform(-0.5, 0.5, index.shape)) * spacing)


def _grow(rng: np.random.Generator, root: NDArray, heading: NDArray, tips: NDArray) -> Tree:
    """Grow a tree whose branches end at given tips.

    The cloud of tips is halved again and again, each time with a branch towards the middle of the
    half; radii follow Murray's law.
    """
    stack, rows = [(root, heading / np.linalg.norm(heading), tips, len(tips))], []
    radius = 0.43 * np.arange(len(tips) + 1) ** (1 / 2.7)
    while stack:
        start, heading, cloud, parent = stack.pop()
        count = len(cloud)
        centre = cloud.sum(0) / count
        end = start + (centre - start) * (rng.uniform(0.35, 0.6) if count > 1 else 1.0)
        length = float(np.linalg.norm(end - start))
        control = start + heading * 0.4 * length
        rows.append(
            (start, control, end, (min(radius[parent], 1.25 * radius[count]), radius[count]))
        )
        if count > 1:
            offset = cloud - centre
            along = offset @ offset[np.argmax((offset**2).sum(1))]
            order = np.argsort(along, kind="stable")
            cut = min(max(round(count * rng.uniform(0.25, 0.6)), 1), count - 1)
            heading = (end - control) / max(float(np.linalg.norm(end - control)), 1e-6)
            stack += [
                (end, heading, cloud[order[:cut]], count),
                (end, heading, cloud[order[cut:]], count),
            ]
    return Tree(*(np.array(column, float) for column in zip(*rows, strict=True)))


def _scars(rng: np.random.Generator, chest: Chest) -> list[Tree]:
    """Bands from the pleura inwards and small granulomas, in some subjects."""
    voxels = np.flatnonzero(chest.lung & (chest.depth_mm < 12))
    count = int(rng.integers(1, 5)) if rng.random() < 0.4 and voxels.size else 0
    rows = []
    for voxel in rng.choice(voxels, count) if count else ():
        place = np.array(np.unravel_index(voxel, chest.lung.shape)) * chest.canvas.spacing_mm
        way = rng.normal(0, 1, (2, 3)) * rng.choice([1.5, 14.0])
        rows.append((place, place + way[0], place + way[0] + way[1], rng.uniform(0.5, 1.5, 2)))
    return [Tree(*(np.array(column, float) for column in zip(*rows, strict=True)))] if rows else []
