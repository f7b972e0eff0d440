"""Noise power and texture of the even, liver-like tissue in a CT volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter, minimum_filter
from scipy.stats import kurtosis, skew
from skimage.feature import graycomatrix, graycoprops

from liverleaf.study import InputError

PATCH = 32
"""Side of a homogeneous patch, in pixels."""
SMOOTHING_MM = 3.0
TISSUE_HU = (75.0, 165.0)
EVENNESS_HU = 25.0
"""A patch is homogeneous where its smoothed values lie within `TISSUE_HU` and span no more than
this."""
EDGE_SMOOTHING_MM = 0.7
EDGE_LEVELS_HU = ((-140, -60), (40, 200))
FEWEST_PATCHES = 8
MEASURES: Mapping[str, str] = {
    "sd_hu": "noise SD (HU)",
    "sd_spread": "spread of the SD over patches (interquartile range over median)",
    "mean_frequency_per_mm": "mean frequency of the noise (/mm)",
    "peak_frequency_per_mm": "peak frequency of the noise (/mm)",
    "low_share": "share of the power below 0.1 /mm",
    "high_share": "share of the power above 0.4 /mm",
    "correlation_length_mm": "autocorrelation length (mm)",
    "direction": "power along rows over power along columns (log2)",
    "slice_correlation": "correlation with the next slice",
    "edge_sd_mm": "edge spread between fat and organs (SD, mm)",
    "skewness": "skewness",
    "kurtosis": "excess kurtosis",
    "glcm_contrast": "grey-level co-occurrence contrast, noise-normalised",
    "glcm_homogeneity": "grey-level co-occurrence homogeneity, noise-normalised",
}


class Image(NamedTuple):
    """A CT volume in HU, (Z, Y, X), with its voxel size."""

    hu: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]


class Texture(NamedTuple):
    """Noise power and texture of one image.

    Attributes:
        nps: radial noise power spectrum in HU^2 mm^2, (bins,).
        measures: by the keys of `MEASURES`.
        patches: how many homogeneous patches it rests on.
    """

    nps: NDArray[np.float64]
    measures: dict[str, float]
    patches: int


def homogeneous_patches(image: Image) -> NDArray[np.intp]:
    """First corners (z, y, x) of disjoint square patches of even, liver-like tissue.

    The rule is the same for real images and phantoms. Each slice is smoothed with a Gaussian of
    `SMOOTHING_MM`. A patch of `PATCH` x `PATCH` pixels counts where all its smoothed values lie
    within `TISSUE_HU` and span at most `EVENNESS_HU`; patches are taken in raster order, none
    overlapping an earlier one.
    """
    return corners([_even(plane, image.spacing_mm) for plane in image.hu], PATCH)


def detrended(patch: NDArray[np.floating]) -> NDArray[np.float64]:
    """Patches (..., N, N) without their least-squares quadratic surface: noise and texture."""
    n = patch.shape[-1]
    y, x = np.meshgrid(*[np.linspace(-1, 1, n)] * 2, indexing="ij")
    basis, _ = np.linalg.qr(
        np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(n * n, 6)
    )
    flat = np.asarray(patch, float).reshape(-1, n * n)
    return np.asarray((flat - flat @ basis @ basis.T).reshape(patch.shape))


def noise_power(
    patches: NDArray[np.floating], pixel_mm: tuple[float, float]
) -> NDArray[np.float64]:
    """Two-dimensional noise power spectrum, the mean over patches.

        NPS(u, v) = dx dy / (N N) * mean |DFT(patch)|^2

    Its sum times the area of a frequency bin, 1 / (N dx N dy), is the mean square of the patches.

    Args:
        patches: without their mean and trend, (patches, N, N), in HU.
        pixel_mm: pixel size along rows' and columns' axes (Y, X).

    Returns:
        HU^2 mm^2, (N, N), in the order of `np.fft.fftfreq`.

    Reference: ICRU Report 87, 2012; Siewerdsen et al., Med Phys 2002;29:2655-2671.
    """
    n = patches.shape[-1]
    return np.asarray(
        pixel_mm[0] * pixel_mm[1] / n**2 * (np.abs(np.fft.fft2(patches)) ** 2).mean(axis=0)
    )


def radial(
    power: NDArray[np.float64], pixel_mm: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies (/mm) and the mean of a two-dimensional spectrum on rings.

    They are one frequency bin wide and reach up to the Nyquist frequency.
    """
    n = power.shape[-1]
    step = 1 / (n * max(pixel_mm))
    rows, columns = (np.fft.fftfreq(n, size) for size in pixel_mm)
    ring = np.rint(np.hypot(rows[:, None], columns) / step).astype(int).ravel()
    total, count = np.bincount(ring, power.ravel()), np.bincount(ring)
    return np.arange(n // 2 + 1) * step, (total / np.maximum(count, 1))[: n // 2 + 1]


def texture(image: Image) -> Texture:
    """Noise power spectrum and texture measures of the homogeneous patches of an image.

    Raises:
        InputError: there are fewer than `FEWEST_PATCHES` of them.
    """
    corners = homogeneous_patches(image)
    if len(corners) < FEWEST_PATCHES:
        raise InputError(
            f"a texture needs {FEWEST_PATCHES} homogeneous liver-like patches of {PATCH} pixels,"
            f" found {len(corners)}"
        )
    pixel_mm = image.spacing_mm[1:]
    noise = detrended(np.stack([cut(image.hu, corner, PATCH) for corner in corners]))
    power = noise_power(noise, pixel_mm)
    frequency, nps = radial(power, pixel_mm)
    sd = noise.std(axis=(1, 2))
    low, high = np.percentile(sd, [25, 75])
    shapes = np.median([grey_levels(patch) for patch in noise], axis=0)
    weight = nps * frequency
    measures = {
        "sd_hu": np.median(sd),
        "sd_spread": (high - low) / np.median(sd),
        "mean_frequency_per_mm": (weight * frequency).sum() / weight.sum(),
        "peak_frequency_per_mm": frequency[nps.argmax()],
        "low_share": weight[frequency < 0.1].sum() / weight.sum(),
        "high_share": weight[frequency > 0.4].sum() / weight.sum(),
        "correlation_length_mm": correlation_length(power, pixel_mm),
        "direction": np.log2(power[0, 1:].sum() / power[1:, 0].sum()),
        "slice_correlation": _slice_correlation(image, corners),
        "skewness": np.median(skew(noise.reshape(len(noise), -1), axis=1)),
        "edge_sd_mm": edge_spread(image, np.unique(corners[:, 0])),
        "kurtosis": np.median(kurtosis(noise.reshape(len(noise), -1), axis=1)),
        "glcm_contrast": shapes[0],
        "glcm_homogeneity": shapes[1],
    }
    return Texture(nps, {name: float(value) for name, value in measures.items()}, len(corners))


def correlation_length(power: NDArray[np.float64], pixel_mm: tuple[float, float]) -> float:
    """Distance (mm) at which the autocorrelation falls to 1/e, the mean of both axes.

    The autocorrelation is the transform of the power spectrum.
    """
    correlation = np.fft.ifft2(power).real
    lengths = []
    for line, size in zip((correlation[:, 0], correlation[0]), pixel_mm, strict=True):
        level = line[: len(line) // 2] / line[0]
        below = int(np.argmax(level < np.exp(-1)))
        lengths.append(
            size * (below - 1 + (level[below - 1] - np.exp(-1)) / (level[below - 1] - level[below]))
        )
    return float(np.mean(lengths))


def edge_spread(image: Image, slices: Sequence[int] | NDArray[np.intp]) -> float:
    """Standard deviation (mm) of the blur of in-plane borders between fat and organs.

    It is that of a Gaussian, the median over borders. A border is a pixel where the gradient of the
    slice, smoothed by `EDGE_SMOOTHING_MM`, is largest along its own direction, and whose profile
    (1 mm wide steps, unsmoothed) rises from fat on one side to tissue on the other: means of
    `EDGE_LEVELS_HU`, each flat to 40 HU. The spread is the distance between a quarter and three
    quarters of the rise, over 1.349. NaN without borders.
    """
    spacing = np.array(image.spacing_mm[1:])
    at_mm = np.arange(-5, 5.01, 0.1)
    found: list[float] = []
    for z in slices:
        smooth = gaussian_filter(image.hu[z], EDGE_SMOOTHING_MM / spacing)
        slope = np.array(np.gradient(smooth, *spacing))
        steep = np.hypot(*slope)
        points = np.argwhere((steep > 25) & (steep == maximum_filter(steep, 5)))
        way = slope[:, points[:, 0], points[:, 1]] / steep[points[:, 0], points[:, 1]]
        lines = points.T[:, :, None] + way[:, :, None] / spacing[:, None, None] * at_mm
        for profile in map_coordinates(image.hu[z], lines, order=1, mode="nearest"):
            low, high = profile[:26], profile[-26:]
            (a, b), (c, d) = EDGE_LEVELS_HU
            if a <= low.mean() <= b and c <= high.mean() <= d and max(low.std(), high.std()) < 40:
                share = (profile - low.mean()) / (high.mean() - low.mean())
                found.append((np.argmax(share > 0.75) - np.argmax(share > 0.25)) * 0.1 / 1.349)
    return float(np.median(found)) if found else float("nan")


def _even(plane: NDArray[np.float32], spacing_mm: Sequence[float]) -> NDArray[np.bool_]:
    """Whether a patch centred on a pixel is homogeneous."""
    smooth = gaussian_filter(plane, [SMOOTHING_MM / s for s in spacing_mm[1:]])
    low, high = minimum_filter(smooth, PATCH), maximum_filter(smooth, PATCH)
    return np.asarray((low >= TISSUE_HU[0]) & (high <= TISSUE_HU[1]) & (high - low <= EVENNESS_HU))


def corners(centres: Sequence[NDArray[np.bool_]], side: int) -> NDArray[np.intp]:
    """First corners of disjoint windows that lie inside and whose centre is marked.

    They come by slice and in raster order; the centre is that of `scipy.ndimage`'s filters.
    """
    found = []
    for z, marked in enumerate(centres):
        free = np.argwhere(marked) - side // 2
        free = free[((free >= 0) & (free + side <= marked.shape)).all(axis=1)]
        while len(free):
            found.append((z, *free[0]))
            free = free[(np.abs(free - free[0]) >= side).any(axis=1)]
    return np.array(found, np.intp).reshape(-1, 3)


def cut(
    hu: NDArray[np.float32], corner: Sequence[int] | NDArray[np.intp], side: int
) -> NDArray[np.float32]:
    """The square of a slice from its first corner (z, y, x) on."""
    z, y, x = corner
    return hu[z, y : y + side, x : x + side]


def _slice_correlation(image: Image, corners: NDArray[np.intp]) -> float:
    """Median correlation of a patch with the next slice, where both are homogeneous, or 0."""
    found = []
    for z, y, x in corners:
        if (
            z + 1 < len(image.hu)
            and _even(image.hu[z + 1, y : y + PATCH, x : x + PATCH], image.spacing_mm)[
                PATCH // 2, PATCH // 2
            ]
        ):
            a, b = (detrended(cut(image.hu, (at, y, x), PATCH)) for at in (z, z + 1))
            found.append(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    return float(np.median(found)) if found else 0.0


def grey_levels(patch: NDArray[np.floating]) -> tuple[float, float]:
    """Contrast and homogeneity of neighbouring pixels, 16 levels over 3 SD to either side."""
    levels = np.clip((patch / patch.std() + 3) / 6 * 16, 0, 15).astype(np.uint8)
    matrix = graycomatrix(levels, [1], [0, np.pi / 2], levels=16, symmetric=True, normed=True)
    contrast, homogeneity = (
        graycoprops(matrix, name).mean() for name in ("contrast", "homogeneity")
    )
    return float(contrast), float(homogeneity)
