"""Livers and lesions as masks: cleaned, separated, and their sizes and positions in millimetres."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt, find_objects
from scipy.spatial import ConvexHull, KDTree
from scipy.spatial.distance import pdist, squareform
from skimage.measure import block_reduce
from skimage.morphology import reconstruction
from skimage.segmentation import watershed

Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]

MINIMUM_PART_RADIUS_MM = 3.0
"""Radius of the ball that each part of a split lesion must hold: that of the smallest lesion which
detection scores (`SMALLEST_SCORED_MM3`)."""
NECK_RATIO = 0.6
"""Two lesions touch, rather than being one, where the neck between them is under this share of the
smaller one's radius."""


def clean_liver(
    liver_ZYX: NDArray[Any],
    spacing_mm: Sequence[float],
    *,
    threshold: float = 0.5,
    minimum_volume_ml: float = 1.0,
) -> Mask:
    """One solid liver of a probability (or mask): threshold, largest piece, holes filled.

    Pieces are joined by faces only, so that a neighbour touching at a corner falls away. Lesions
    count as liver: give the probability of "liver or lesion".

    Args:
        liver_ZYX: probability in [0, 1] or bool mask, shape (Z, Y, X).
        spacing_mm: voxel size along Z, Y, X.
        threshold: voxels of at least this probability are liver.
        minimum_volume_ml: a largest piece smaller than this is no liver.

    Returns:
        The liver, shape (Z, Y, X); all False where there is none.
    """
    inside = np.asarray(liver_ZYX) >= threshold
    pieces = cc3d.connected_components(inside, connectivity=6, binary_image=True)
    voxels = np.bincount(pieces[inside])
    liver: Mask = np.zeros(pieces.shape, bool)
    if not len(voxels) or voxels.max() * math.prod(spacing_mm) / 1000 < minimum_volume_ml:
        return liver
    largest = pieces == voxels.argmax()
    box = cast(Box, bounding_box(largest))
    liver[box] = _filled(largest[box])
    return liver


def separate(
    lesion_ZYX: NDArray[Any],
    liver_ZYX: Mask,
    spacing_mm: Sequence[float],
    *,
    threshold: float = 0.5,
    minimum_volume_mm3: float = 25.0,
    maximum_distance_mm: float = 3.0,
) -> NDArray[np.uint16]:
    """Find the separate lesions in a lesion probability (or mask).

    Lesions are 26-connected components. One component is cut in two or more only where it clearly
    is: every part must hold a ball of `MINIMUM_PART_RADIUS_MM` and the neck to the next part must
    be under `NECK_RATIO` of the part's own radius, so that a lobulated giant stays one. Every
    lesion that is large enough and near the liver is kept, however many there are. Without a liver
    there are no lesions.

    Args:
        lesion_ZYX: probability in [0, 1] or bool mask, shape (Z, Y, X).
        liver_ZYX: the liver with its lesions, shape (Z, Y, X).
        spacing_mm: voxel size along Z, Y, X.
        threshold: voxels of at least this probability are lesion.
        minimum_volume_mm3: smaller lesions are dropped.
        maximum_distance_mm: lesions whose nearest voxel is farther than this from the liver are
            dropped.

    Returns:
        Instance labels of shape (Z, Y, X): 1 for the largest lesion, then 2, 3, ...; 0 elsewhere.

    Raises:
        ValueError: lesions and liver differ in shape.

    Components, smallest volume and largest distance are those of the published code of PLAN (Yan et
    al., MICCAI 2023), which measures the distance from the centroid. The cut is ours: a watershed
    from h-maxima of the distance map's logarithm.
    """
    if lesion_ZYX.shape != liver_ZYX.shape:
        raise ValueError(f"the lesions have shape {lesion_ZYX.shape}, the liver {liver_ZYX.shape}")
    spacing = np.asarray(spacing_mm, float)
    voxel_mm3 = float(np.prod(spacing))
    inside = np.asarray(lesion_ZYX) >= threshold
    components = cc3d.connected_components(inside, connectivity=26, binary_image=True)
    voxels_by_component = np.bincount(components[inside])
    found: list[tuple[int, Box, Mask]] = []
    for component, box in enumerate(boxes(components), start=1):
        if box is None or voxels_by_component[component] * voxel_mm3 < minimum_volume_mm3:
            continue
        for part in _parts(components[box] == component, spacing):
            voxels = int(part.sum())
            if voxels * voxel_mm3 >= minimum_volume_mm3 and _near(
                part, box, liver_ZYX, spacing, maximum_distance_mm
            ):
                found.append((voxels, box, part))
    labels = np.zeros(components.shape, np.uint16)
    for label, (_, box, part) in enumerate(sorted(found, key=lambda lesion: -lesion[0]), start=1):
        labels[box][part] = label
    return labels


@dataclass(frozen=True)
class Diameters:
    """The two diameters of a lesion in the one slice where it is longest, as RECIST has them.

    Attributes:
        long_axis_mm: the longest in-plane diameter.
        short_axis_mm: the longest diameter perpendicular to it in the same slice.
        long_ends_mm: LPS positions of the long axis' two ends, shape (2, 3).
        short_ends_mm: the same for the short axis.
        slice_index: index of the slice along Z.
    """

    long_axis_mm: float
    short_axis_mm: float
    long_ends_mm: NDArray[np.float64]
    short_ends_mm: NDArray[np.float64]
    slice_index: int


def diameters(mask_ZYX: Mask, affine: NDArray[np.float64]) -> Diameters:
    """The longest diameter of a lesion in any slice along Z, and the longest across it.

    A voxel reaches half its size to each side of its centre: diameters run between the middles of
    the outer voxel edges (as the Feret diameter of skimage), so that a single voxel measures its
    own width and a row of n voxels n widths. Round outlines come out long by under a pixel (0.8 on
    average, 0.4 for the short axis). Notches are bridged, as calipers do (convex hull).

    Args:
        mask_ZYX: the lesion, shape (Z, Y, X).
        affine: 4 x 4, voxel indices (z, y, x) to LPS millimetres; its rows and columns are
            perpendicular.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask_ZYX.any():
        raise ValueError("diameters of an empty mask: a lesion needs at least one voxel")
    spacing_mm = np.linalg.norm(affine[:3, 1:3], axis=0)
    slices = np.flatnonzero(mask_ZYX.any(axis=(1, 2)))
    outlines = {int(z): _hull(mask_ZYX[z]) * spacing_mm for z in slices}
    longest = max(outlines, key=lambda z: pdist(outlines[z]).max())
    hull_mm = outlines[longest]
    between_mm = squareform(pdist(hull_mm))
    long_ends = hull_mm[list(np.unravel_index(between_mm.argmax(), between_mm.shape))]
    short_ends = _across(hull_mm, long_ends)

    def patient(ends_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        index = np.column_stack([np.full(2, longest), ends_mm / spacing_mm])
        return index @ affine[:3, :3].T + affine[:3, 3]

    return Diameters(
        float(np.linalg.norm(long_ends[1] - long_ends[0])),
        float(np.linalg.norm(short_ends[1] - short_ends[0])),
        patient(long_ends),
        patient(short_ends),
        longest,
    )


def centroid_mm(mask_ZYX: Mask, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean position of a mask's voxel centres in LPS millimetres, shape (3,)."""
    centre: NDArray[np.float64] = (
        affine[:3, :3] @ np.argwhere(mask_ZYX).mean(axis=0) + affine[:3, 3]
    )
    return centre


def bounding_box(mask_ZYX: NDArray[Any]) -> Box | None:
    """The smallest box around all that is not zero in an array (Z, Y, X); None where all is."""
    slices = np.flatnonzero(np.any(mask_ZYX, axis=(1, 2)))
    if not len(slices):
        return None
    flat_YX = np.any(mask_ZYX[slices[0] : slices[-1] + 1], axis=0)
    rows, columns = np.flatnonzero(flat_YX.any(axis=1)), np.flatnonzero(flat_YX.any(axis=0))
    z, y, x = (slice(int(at[0]), int(at[-1]) + 1) for at in (slices, rows, columns))
    return z, y, x


def widened(box: Box, voxels: int) -> Box:
    """A box with so many voxels more around it, as far as an array has them.

    >>> widened((slice(0, 2), slice(3, 4), slice(5, 9)), 1)
    (slice(0, 3, None), slice(2, 5, None), slice(4, 10, None))
    """
    z, y, x = (slice(max(axis.start - voxels, 0), axis.stop + voxels) for axis in box)
    return z, y, x


def boxes(labels_ZYX: NDArray[np.integer]) -> list[Box | None]:
    """The smallest box of each label from 1 to the largest; None for a label that does not occur.

    As `scipy.ndimage.find_objects`, which takes several times as long over a volume that is mostly
    background.
    """
    whole = bounding_box(labels_ZYX)
    if whole is None:
        return []
    found = cast(list[Box | None], find_objects(labels_ZYX[whole]))
    return [
        box
        and cast(
            Box,
            tuple(
                slice(a.start + b.start, a.start + b.stop) for a, b in zip(whole, box, strict=True)
            ),
        )
        for box in found
    ]


def volume_ml(mask: Mask, spacing_mm: Sequence[float]) -> float:
    """The volume of a mask in millilitres: voxels times voxel size."""
    return float(np.count_nonzero(mask) * math.prod(spacing_mm) / 1000)


def capsule_distances_mm(
    lesions_ZYX: NDArray[np.integer], liver_ZYX: Mask, spacing_mm: Sequence[float]
) -> dict[int, float]:
    """How deep each lesion lies under the liver's surface, in mm, by label.

    That is the shortest way between its voxels and the liver's outermost ones, 0 for a lesion that
    reaches them or leaves the liver. The surface includes fissures and the hilum. Empty without a
    liver.
    """
    spacing = np.asarray(spacing_mm, float)
    within = bounding_box(liver_ZYX)
    if within is None:
        return {}
    surface = np.zeros(liver_ZYX.shape, bool)
    surface[within] = liver_ZYX[within] & ~binary_erosion(liver_ZYX[within])
    tree: KDTree | None = None
    depth: dict[int, float] = {}
    for label, box in enumerate(boxes(lesions_ZYX), start=1):
        if box is None:
            continue
        lesion = lesions_ZYX[box] == label
        if not liver_ZYX[box][lesion].all() or surface[box][lesion].any():
            depth[label] = 0.0
            continue
        tree = tree or KDTree(np.argwhere(surface) * spacing)
        rim = np.argwhere(lesion & ~binary_erosion(lesion)) + [axis.start for axis in box]
        depth[label] = float(np.min(tree.query(rim * spacing)[0]))
    return depth


def _hull(mask_YX: Mask) -> NDArray[np.float64]:
    """Corners (row, column) of the convex hull of a slice's outer voxel-edge middles, in order."""
    rows, columns = np.flatnonzero(mask_YX.any(axis=1)), np.flatnonzero(mask_YX.any(axis=0))
    by_row, by_column = mask_YX[rows], mask_YX[:, columns]
    height, width = mask_YX.shape
    points = np.concatenate(
        [
            np.column_stack([rows, by_row.argmax(axis=1) - 0.5]),
            np.column_stack([rows, width - by_row[:, ::-1].argmax(axis=1) - 0.5]),
            np.column_stack([by_column.argmax(axis=0) - 0.5, columns]),
            np.column_stack([height - by_column[::-1].argmax(axis=0) - 0.5, columns]),
        ]
    )
    corners: NDArray[np.float64] = points[ConvexHull(points).vertices]
    return corners


def _across(hull_mm: NDArray[np.float64], long_ends_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """The ends of a convex outline's longest chord across its long axis, shape (2, 2).

    The chord's length is concave and piecewise linear along the axis, so its maximum lies at a
    corner.
    """
    start = long_ends_mm[0]
    along = (long_ends_mm[1] - start) / np.linalg.norm(long_ends_mm[1] - start)
    across = np.array([-along[1], along[0]])
    position, height = (hull_mm - start) @ along, (hull_mm - start) @ across
    ends = []
    for side in (height >= -1e-9, height <= 1e-9):
        order = np.argsort(position[side])
        ends.append(np.interp(position, position[side][order], height[side][order]))
    best = int(np.argmax(ends[0] - ends[1]))
    return np.stack([start + position[best] * along + edge[best] * across for edge in ends])


def _filled(mask_ZYX: Mask) -> Mask:
    """The mask with all filled that cannot be reached from outside through faces."""
    outside = cc3d.connected_components(
        np.pad(~mask_ZYX, 1, constant_values=True), connectivity=6, binary_image=True
    )
    filled: Mask = outside[1:-1, 1:-1, 1:-1] != outside[0, 0, 0]
    return filled


def _parts(component_ZYX: Mask, spacing: NDArray[np.float64]) -> Iterator[Mask]:
    """The lesions that one connected component holds; mostly itself."""
    distance_mm = distance_transform_edt(np.pad(_filled(component_ZYX), 1), sampling=spacing)[
        1:-1, 1:-1, 1:-1
    ]
    markers = _summits(distance_mm, spacing)
    if markers.max() < 2:
        yield component_ZYX
        return
    parts = watershed(-distance_mm, markers, mask=component_ZYX)
    yield from (parts == label for label in range(1, int(parts.max()) + 1))


def _summits(distance_mm: NDArray[np.float64], spacing: NDArray[np.float64]) -> NDArray[np.int32]:
    """Label the summits of a distance map that are lesions of their own.

    A summit is `MINIMUM_PART_RADIUS_MM` high and `1 / NECK_RATIO` times as high as the way to the
    next. Standing out by a factor is standing out by a difference in the logarithm: the h-maxima
    transform, free of scale.
    """
    # Block maxima keep every summit and can only raise a neck, so the coarse grid saves a giant's
    # time and never cuts what is one.
    step = np.maximum(1, distance_mm.max() / (12 * spacing)).astype(int)
    peak_mm = block_reduce(distance_mm, tuple(step), np.max)
    height = np.log(np.maximum(peak_mm, MINIMUM_PART_RADIUS_MM * NECK_RATIO))
    rise = height - reconstruction(height + np.log(NECK_RATIO), height)
    domes = cc3d.connected_components(rise > 0, connectivity=26, binary_image=True)
    summits = np.zeros(distance_mm.shape, np.int32)
    kept = 0
    for label, box in enumerate(cast(list[Box], boxes(domes)), start=1):
        dome = domes[box] == label
        top_mm = peak_mm[box][dome].max()
        if top_mm < MINIMUM_PART_RADIUS_MM or rise[box][dome].max() < -np.log(NECK_RATIO) - 1e-6:
            continue
        kept += 1
        fine = tuple(
            slice(axis.start * size, axis.stop * size) for axis, size in zip(box, step, strict=True)
        )
        top = distance_mm[fine] == top_mm
        summits[fine][top & np.kron(dome, np.ones(step, bool))[tuple(map(slice, top.shape))]] = kept
    return summits


def _near(
    part_ZYX: Mask,
    box: Box,
    liver_ZYX: Mask,
    spacing: NDArray[np.float64],
    maximum_distance_mm: float,
) -> bool:
    """Whether a part's nearest voxel is within `maximum_distance_mm` of the liver's.

    Distances are between the centres of voxels.
    """
    if (part_ZYX & liver_ZYX[box]).any():
        return True
    reach = np.ceil(maximum_distance_mm / spacing).astype(int)
    low = [max(axis.start - margin, 0) for axis, margin in zip(box, reach, strict=True)]
    around = tuple(
        slice(start, axis.stop + margin)
        for start, axis, margin in zip(low, box, reach, strict=True)
    )
    liver = liver_ZYX[around]
    if not liver.any():
        return False
    distance_mm = distance_transform_edt(~liver, sampling=spacing)
    inner = tuple(
        slice(axis.start - start, axis.stop - start) for axis, start in zip(box, low, strict=True)
    )
    return bool(distance_mm[inner][part_ZYX].min() <= maximum_distance_mm)
