"""HU of aorta, liver and spleen in each series of a CT study, found in coarse images.

No organ map exists yet. A vertebra is a bright disc with the dark spinal canal and bone behind it.
The aorta is the path of homogeneous, round spots before the vertebrae that changes least from slice
to slice. The liver is the homogeneous tissue of which there is more on the right than on the left.
The spleen is the homogeneous tissue far on the left, behind, on the liver's slices.

Shape suffixes: K levels, N series, R rows from the patient's front, C columns from the right, S
spots that may be aorta.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_erosion,
    binary_fill_holes,
    convolve,
    gaussian_filter1d,
    label,
    maximum_filter,
    median_filter,
    minimum_filter,
    percentile_filter,
    shift,
    uniform_filter,
)

BODY_HU = -250.0
BONE_HU = 160.0
LIVER_HU, SPLEEN_HU = (-30.0, 220.0), (0.0, 250.0)
LIVER_RANGE_HU, SPLEEN_RANGE_HU = 60.0, 72.0
"""Range within 12 mm of tissue that is homogeneous."""

LIVER_WIDTH_HU = 25.0
"""How far the liver's tissue is from its commonest value."""

VERTEBRA_MM, CANAL_MM, ARCH_MM, FRONT_MM = 12.0, 27.0, 42.0, 16.0
"""Radius of the middle of a vertebra; from there to the spinal canal, to the arch behind it, and to
the vertebra's front."""

SPINE_HU = 0.0, 220.0
SPINE_HALF_WIDTH_MM = 45.0
"""Bone that tells the midline lies that near to it."""

MIDLINE_SD_MM = 14.0
"""Standard deviation of a vertebra's place from side to side."""

AORTA_MM, AORTA_SD_MM = (12.0, 10.0), (12.0, 14.0)
"""How far the middle of the aorta lies before the vertebra's front and left of its middle, and the
standard deviations."""

AORTA_REACH_SD = 2.5
"""Standard deviations within which the aorta is looked for."""

RING_MM = 18.0, 23.0
"""Radii of a ring around it."""

VESSEL_HU = 0.0, 600.0
STEP_MM, STEP_HU, STEP_SHARE = 8.0, 20.0, 0.05
"""By how much the aorta mostly moves and changes from slice to slice."""

MAX_MOVE_COST, MAX_CHANGE_COST = 4.0, 6.0
MIN_SPOT_SCORE = -0.8
"""Score below which a spot is no vessel."""

VERTEBRA_PENALTY, PLACE_WEIGHT = 3.0, 0.7
LEVELS_BESIDE_LIVER = 3
"""Levels above and below the liver on which the aorta is looked for as well."""

MIN_LEVELS = 4
MIN_LEVEL_VOXELS, MIN_LIVER_VOXELS, MIN_SPLEEN_VOXELS = 20, 250, 40


class OrganHU(NamedTuple):
    """HU of organs in each series, each of shape (N,); NaN where an organ was not found."""

    aorta: NDArray[np.float64]
    liver: NDArray[np.float64]
    spleen: NDArray[np.float64]


def organ_hu(images_NKRC: NDArray[np.float32], pixel_mm: float) -> OrganHU:
    """Find organs in the mean of all series and measure them in each.

    Args:
        images_NKRC: HU of one study at the same places, levels from the feet.
        pixel_mm: of rows and columns.
    """
    mean_KRC = images_NKRC.mean(axis=0)
    body_KRC = np.stack([_largest(binary_fill_holes(plane)) for plane in mean_KRC > BODY_HU])
    middle_K, front_K = _vertebrae(mean_KRC, body_KRC, pixel_mm)
    smooth_NKRC = uniform_filter(images_NKRC, (0, 0, 3, 3)).astype(np.float64)
    rows, columns = np.mgrid[: mean_KRC.shape[1], : mean_KRC.shape[2]]
    behind_mm = (rows - front_K[:, None, None]) * pixel_mm
    left_mm = (columns - middle_K[:, None, None]) * pixel_mm
    smooth_KRC = smooth_NKRC.mean(axis=0)
    liver_KRC = _liver(smooth_KRC, body_KRC & (behind_mm < 2 * FRONT_MM), left_mm)
    liver_levels = np.flatnonzero(liver_KRC.sum(axis=(1, 2)) > MIN_LEVEL_VOXELS)
    low, high = 0, len(liver_KRC)
    if liver_levels.size >= MIN_LEVELS:
        low = max(liver_levels[0] - LEVELS_BESIDE_LIVER, 0)
        high = min(liver_levels[-1] + LEVELS_BESIDE_LIVER + 1, high)
    aorta_KRC = np.zeros_like(body_KRC)
    aorta_KRC[low:high] = _aorta(
        mean_KRC[low:high], middle_K[low:high], front_K[low:high], pixel_mm
    )
    behind = (left_mm > 60) & (behind_mm > -25) & (behind_mm < 70) & body_KRC
    behind[np.setdiff1d(np.arange(len(behind)), liver_levels)] = False
    homogeneous = _homogeneous(smooth_KRC, SPLEEN_RANGE_HU, SPLEEN_HU)
    spleen_KRC = _largest(_eroded(homogeneous & behind))
    return OrganHU(
        _median(smooth_NKRC, aorta_KRC, MIN_LEVELS),
        _median(smooth_NKRC, liver_KRC, MIN_LIVER_VOXELS),
        _median(smooth_NKRC, spleen_KRC, MIN_SPLEEN_VOXELS),
    )


def _median(
    images_NKRC: NDArray[np.float64], mask_KRC: NDArray[np.bool_], least: int
) -> NDArray[np.float64]:
    """Median of each image in a mask, shape (N,); NaN where it has too few voxels."""
    if mask_KRC.sum() < least:
        return np.full(len(images_NKRC), np.nan)
    return np.asarray(np.median(images_NKRC[:, mask_KRC], axis=1))


def _vertebrae(
    mean_KRC: NDArray[np.float32], body_KRC: NDArray[np.bool_], pixel_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Column of the vertebra's middle and row of its front on each level."""
    bounded = gaussian_filter1d(np.clip(mean_KRC, *SPINE_HU), 0.7, axis=0)
    disc = _distance_mm(VERTEBRA_MM, pixel_mm) <= VERTEBRA_MM
    small = uniform_filter(bounded, (0, 3, 3))
    canal, arch = (
        shift(small, (0, -round(distance / pixel_mm), 0), order=0, mode="nearest")
        for distance in (CANAL_MM, ARCH_MM)
    )
    fits_KRC = convolve(bounded, disc[None] / disc.sum(), mode="nearest") - canal + 0.5 * arch
    rows, columns = np.mgrid[: mean_KRC.shape[1], : mean_KRC.shape[2]]
    for fits, plane, body in zip(fits_KRC, mean_KRC, body_KRC, strict=True):
        if not body.any():
            fits[:] = 0
            continue
        centre = np.median(columns[body])
        bone = body & (plane > BONE_HU) & (rows > np.percentile(rows[body], 60))
        bone &= np.abs(columns - centre) * pixel_mm < SPINE_HALF_WIDTH_MM
        centre = np.median(columns[bone]) if bone.sum() > 4 else centre
        fits -= 100 * ((columns - centre) * pixel_mm / MIDLINE_SD_MM) ** 2
        # heart, and contrast agent in the stomach
        fits[rows < np.percentile(rows[body], 50)] = -1000
    fits_KRC = gaussian_filter1d(fits_KRC, 1.0, axis=0, mode="nearest")
    best_K = fits_KRC.reshape(len(fits_KRC), -1).argmax(axis=1)
    middle_K, row_K = (
        median_filter(found.astype(np.float64), 5, mode="nearest")
        for found in (best_K % columns.shape[1], best_K // columns.shape[1])
    )
    return middle_K, row_K - FRONT_MM / pixel_mm


def _liver(
    smooth_KRC: NDArray[np.float64], where_KRC: NDArray[np.bool_], left_mm: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """The largest piece, right of the spine, of what there is more of there than on the left."""
    homogeneous = _eroded(_homogeneous(smooth_KRC, LIVER_RANGE_HU, LIVER_HU) & where_KRC)
    bins = np.arange(LIVER_HU[0], LIVER_HU[1] + 1, 4)
    on_right, on_left = (
        np.histogram(smooth_KRC[homogeneous & side], bins)[0].astype(np.float64)
        for side in (left_mm < 0, left_mm >= 0)
    )
    # muscle is alike on both sides
    commonest_hu = bins[gaussian_filter1d(on_right - on_left, 2).argmax()] + 2
    alike = np.abs(smooth_KRC - commonest_hu) < LIVER_WIDTH_HU
    return _largest(homogeneous & (left_mm < 0) & alike)


def _aorta(
    mean_KRC: NDArray[np.float32],
    middle_K: NDArray[np.float64],
    front_K: NDArray[np.float64],
    pixel_mm: float,
) -> NDArray[np.bool_]:
    """The middle of the aorta on each level where it is clear: one voxel of a mask (K, R, C)."""
    core_KRC = uniform_filter(mean_KRC, (0, 3, 3))
    reach_y, reach_x = (int(AORTA_REACH_SD * sd / pixel_mm) for sd in AORTA_SD_MM)
    away_y, away_x = np.mgrid[-reach_y : reach_y + 1, -reach_x : reach_x + 1]
    away_S2 = np.column_stack([away_y.ravel(), away_x.ravel()])
    usual_K2 = np.column_stack([front_K, middle_K]) + np.array([-1, 1]) * AORTA_MM / pixel_mm
    spots_KS2 = np.round(usual_K2).astype(int)[:, None] + away_S2
    spots_KS2 = np.clip(spots_KS2, 0, np.array(mean_KRC.shape[1:]) - 1)
    levels_K1 = np.arange(len(mean_KRC))[:, None]
    core_KS, scores_KS = (
        image[levels_K1, spots_KS2[..., 0], spots_KS2[..., 1]]
        for image in (core_KRC, _vessel_scores(mean_KRC, core_KRC, pixel_mm))
    )
    in_vertebra = (spots_KS2[..., 0] > front_K[:, None] - 4 / pixel_mm) & (
        np.abs(spots_KS2[..., 1] - middle_K[:, None]) < 18 / pixel_mm
    )
    scores_KS -= VERTEBRA_PENALTY * in_vertebra
    unusual_S = 0.5 * ((away_S2 * pixel_mm / AORTA_SD_MM) ** 2).sum(axis=1)
    path = _best_path(scores_KS - PLACE_WEIGHT * unusual_S, core_KS, spots_KS2 * pixel_mm)
    levels = np.arange(len(path))
    path_hu = core_KS[levels, path]
    clear = scores_KS[levels, path] > MIN_SPOT_SCORE
    if clear.any():
        usual_hu = np.median(path_hu[clear])
        clear &= np.abs(path_hu - usual_hu) < 40 + 0.15 * abs(usual_hu)
    out = np.zeros(mean_KRC.shape, dtype=bool)
    rows, columns = spots_KS2[levels, path].T
    out[levels[clear], rows[clear], columns[clear]] = True
    return out


def _best_path(
    scores_KS: NDArray[np.float64], core_KS: NDArray[np.float32], places_KS2: NDArray[np.float64]
) -> list[int]:
    """The spot on each level of the path of best score, by dynamic programming.

    Args:
        scores_KS: how well each spot fits by itself.
        core_KS: HU of each spot.
        places_KS2: row and column of each spot, mm.
    """
    total_S, back = scores_KS[0], []
    for level in range(1, len(scores_KS)):
        moved_mm = np.linalg.norm(places_KS2[level][:, None] - places_KS2[level - 1], axis=-1)
        changed_hu = np.abs(core_KS[level][:, None] - core_KS[level - 1])
        usual_hu = STEP_HU + STEP_SHARE * np.abs(core_KS[level][:, None])
        costs = np.minimum(0.5 * (moved_mm / STEP_MM) ** 2, MAX_MOVE_COST)
        costs += np.minimum(changed_hu / usual_hu, MAX_CHANGE_COST)
        back.append((total_S - costs).argmax(axis=1))
        total_S = (total_S - costs).max(axis=1) + scores_KS[level]
    path = [int(total_S.argmax())]
    for before_S in reversed(back):
        path.append(int(before_S[path[-1]]))
    return path[::-1]


def _vessel_scores(
    mean_KRC: NDArray[np.float32], core_KRC: NDArray[np.float32], pixel_mm: float
) -> NDArray[np.float64]:
    """How much each place looks like the middle of a vessel.

    It is homogeneous, and brighter than most of a ring around it.
    """
    away_mm = _distance_mm(RING_MM[1], pixel_mm)
    ring = (away_mm >= RING_MM[0]) & (away_mm <= RING_MM[1])
    around = percentile_filter(mean_KRC, 60, footprint=ring[None])
    uneven = _range(mean_KRC) / (50 + 0.3 * np.maximum(core_KRC, 0))
    scores = np.clip((core_KRC - around) / 60, -1, 1.5) - np.minimum(uneven, 3)
    scores[(core_KRC < VESSEL_HU[0]) | (core_KRC > VESSEL_HU[1])] -= 3
    return scores.astype(np.float64)


def _distance_mm(reach_mm: float, pixel_mm: float) -> NDArray[np.float64]:
    """Distance of each pixel of a small square from its middle, which reaches at least so far."""
    radius = int(np.ceil(reach_mm / pixel_mm))
    return np.asarray(pixel_mm * np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]))


def _range(planes_KRC: NDArray) -> NDArray:
    """Largest less smallest value of 3 x 3 pixels."""
    return np.asarray(maximum_filter(planes_KRC, (1, 3, 3)) - minimum_filter(planes_KRC, (1, 3, 3)))


def _homogeneous(
    smooth_KRC: NDArray[np.float64], range_hu: float, bounds_hu: tuple[float, float]
) -> NDArray[np.bool_]:
    within = (smooth_KRC > bounds_hu[0]) & (smooth_KRC < bounds_hu[1])
    return np.asarray(within & (_range(smooth_KRC) < range_hu))


def _eroded(mask_KRC: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Each level without its edge."""
    return np.stack([binary_erosion(plane) for plane in mask_KRC])


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest piece, pieces that touch at a corner being one."""
    pieces, count = label(mask, np.ones((3,) * mask.ndim))
    return pieces == np.bincount(pieces.ravel())[1:].argmax() + 1 if count else mask
