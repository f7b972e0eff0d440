"""Features of image patches, by which a classifier may tell a phantom from a real image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.stats import kurtosis, skew

from liverleaf.benchmarks.phantom.texture import (
    PATCH,
    Image,
    corners,
    cut,
    detrended,
    grey_levels,
    homogeneous_patches,
    noise_power,
    radial,
)

BODY_PATCH_MM = 64.0
BODY_HU, BODY_SHARE = -200.0, 0.9
"""A body patch has this share of its pixels above this attenuation, so that air and lung stay out.
"""
WINDOW_HU = (-150.0, 250.0)
HISTOGRAM_HU = (-150, -75, 0, 25, 50, 75, 100, 125, 150, 200, 250)
BANDS_PER_MM = (0.05, 0.1, 0.2, 0.3, 0.4)
_SHARES = [
    f"share of power {a:g} to {b:g} /mm"
    for a, b in zip((0.0, *BANDS_PER_MM), (*BANDS_PER_MM, np.inf), strict=True)
]
_NEIGHBOURS = ["co-occurrence contrast", "co-occurrence homogeneity"]
BODY_FEATURES = (
    *[f"share of pixels {a} to {b} HU" for a, b in pairwise(HISTOGRAM_HU)],
    *[f"gradient, percentile {p}" for p in (50, 90, 99)],
    *[f"local SD, percentile {p}" for p in (10, 50, 90)],
    *_SHARES,
    *_NEIGHBOURS,
)
LIVER_FEATURES = ("SD", *_SHARES, "direction", "skewness", "kurtosis", *_NEIGHBOURS)


class Patches(NamedTuple):
    """Features of the patches of one image, (patches, features), and the slice of each."""

    features: NDArray[np.float64]
    slices: NDArray[np.intp]


def body_patches(image: Image, slices: Sequence[int]) -> NDArray[np.intp]:
    """First corners (z, y, x) of disjoint square patches of the body.

    They are `BODY_PATCH_MM` wide and have `BODY_SHARE` of their pixels inside the body.
    """
    side = _body_side(image)
    inside = [
        uniform_filter((image.hu[z] > BODY_HU).astype(np.float32), side) >= BODY_SHARE
        for z in slices
    ]
    found = corners(inside, side)
    found[:, 0] = np.asarray(slices, np.intp)[found[:, 0]]
    return found


def _body_side(image: Image) -> int:
    return round(BODY_PATCH_MM / image.spacing_mm[2])


def patches(image: Image) -> dict[str, Patches]:
    """The patches of the body and of the liver in one image."""
    liver = homogeneous_patches(image)
    body = body_patches(image, np.unique(liver[:, 0]).tolist())
    side = _body_side(image)
    return {
        "body": Patches(
            np.stack([body_features(cut(image.hu, at, side), image.spacing_mm[1:]) for at in body]),
            body[:, 0],
        ),
        "liver": Patches(
            np.stack(
                [liver_features(cut(image.hu, at, PATCH), image.spacing_mm[1:]) for at in liver]
            ),
            liver[:, 0],
        ),
    }


def body_features(patch: NDArray[np.float32], pixel_mm: tuple[float, float]) -> NDArray[np.float64]:
    """The `BODY_FEATURES` of a patch of the body, clipped to a soft-tissue window."""
    clipped = np.clip(patch, *WINDOW_HU)
    histogram = np.histogram(clipped, HISTOGRAM_HU)[0] / clipped.size
    steep = np.hypot(*np.gradient(clipped, *pixel_mm))
    mean = uniform_filter(clipped, 5)
    local = np.sqrt(np.maximum(uniform_filter(clipped * clipped, 5) - mean * mean, 0))
    taper = np.hanning(len(clipped))
    power = noise_power(((clipped - clipped.mean()) * taper[:, None] * taper)[None], pixel_mm)
    shares = np.log(_bands(*radial(power, pixel_mm)) + 1e-3)
    return np.concatenate(
        [
            histogram,
            np.percentile(steep, [50, 90, 99]),
            np.log1p(np.percentile(local, [10, 50, 90])),
            shares,
            grey_levels(clipped),
        ]
    )


def liver_features(
    patch: NDArray[np.float32], pixel_mm: tuple[float, float]
) -> NDArray[np.float64]:
    """The `LIVER_FEATURES` of a homogeneous patch: nothing of its mean."""
    noise = detrended(patch)
    power = noise_power(noise[None], pixel_mm)
    direction = np.log2(power[0, 1:].sum() / power[1:, 0].sum())
    shares = np.log(_bands(*radial(power, pixel_mm)) + 1e-3)
    return np.array(
        [
            np.log(noise.std()),
            *shares,
            direction,
            skew(noise, axis=None),
            kurtosis(noise, axis=None),
            *grey_levels(noise),
        ]
    )


def _bands(frequency: NDArray[np.float64], nps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares of the power in `BANDS_PER_MM`."""
    weight = nps * frequency
    band = np.digitize(frequency, BANDS_PER_MM)
    return np.asarray(np.bincount(band, weight, len(BANDS_PER_MM) + 1) / weight.sum())
