"""A noise-free image in, the same image with a scanner's blur, noise or ghosts out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d


def blurred(image: NDArray[np.float32], sd_voxels: Sequence[float]) -> NDArray[np.float32]:
    """Point spread of slice profile and in-plane resolution; neighbouring tissues mix in border voxels."""
    return np.asarray(gaussian_filter(image, sd_voxels, truncate=3.0, mode="nearest"))


def ct_noise(rng: np.random.Generator, shape: Sequence[int], spacing_mm: Sequence[float], sd_hu: float) -> NDArray[np.float32]:
    """Noise of filtered back projection: a band of spatial frequencies in plane (ramp times soft kernel), weakly correlated across slices.

    Args:
        rng: source of chance.
        shape: (Z, Y, X).
        spacing_mm: of the grid.
        sd_hu: standard deviation.
    """
    noise = rng.standard_normal(tuple(shape), dtype=np.float32)
    for axis in (1, 2):
        noise = gaussian_filter1d(noise, 0.7 / spacing_mm[axis], axis=axis, truncate=3.0)
    low = noise
    for axis in (1, 2):
        low = gaussian_filter1d(low, 2.0 / spacing_mm[axis], axis=axis, truncate=3.0)
    noise = noise - np.float32(0.8) * low
    if shape[0] > 1:
        noise = gaussian_filter1d(noise, 0.4, axis=0, truncate=3.0)
    return np.asarray(noise * np.float32(sd_hu / noise.std()))


def rician(rng: np.random.Generator, image: NDArray[np.float32], sd: float) -> NDArray[np.float32]:
    """Magnitude of the image with complex Gaussian noise of standard deviation `sd` per channel."""
    real, imaginary = rng.standard_normal((2, *image.shape), dtype=np.float32) * np.float32(sd)
    return np.asarray(np.hypot(image + real, imaginary))


def ghosted(image: NDArray[np.float32], amplitude: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Breathing during the acquisition: fainter copies along the phase-encoding direction (rows), partly in opposite phase."""
    period = int(image.shape[1] * rng.uniform(0.08, 0.25)) + 1
    result = image.copy()
    for order in (1, 2, 3):
        sign = rng.choice([-1.0, 1.0])
        for shift in (order * period, -order * period):
            result += np.float32(sign * amplitude / order) * np.roll(image, shift, axis=1)
    return np.abs(result)
