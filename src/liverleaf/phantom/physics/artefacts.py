"""A noise-free image in, the same image with a scanner's blur, noise, streaks or ghosts out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

NOISE_PIXEL_MM = 0.7
ZERO_FILLED_VOXELS = 0.5
REACH_MM = 80.0
FINEST_GRAIN = 0.42
"""Both fitted to the noise of two real scans (`bench/texture.py`)."""


def blurred(image: NDArray[np.float32], sd_voxels: Sequence[float]) -> NDArray[np.float32]:
    """Blur an image with the point spread of slice profile and in-plane resolution."""
    return np.asarray(gaussian_filter(image, sd_voxels, truncate=3.0, mode="nearest"))


def ct_noise(
    rng: np.random.Generator,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    sd_hu: float,
    *,
    grain_mm: float = 0.35,
    lateral: float = 0.5,
    overlap_mm: float = 1.0,
) -> NDArray[np.float32]:
    """Noise of filtered back projection with a soft kernel.

    It is coloured in plane, calmer towards the skin and correlated across slices.

    Rays from side to side lose most photons, so part of the noise runs from side to side as fine
    streaks, bent by a few degrees.

    Args:
        rng: source of chance.
        shape: (Z, Y, X).
        spacing_mm: of the grid.
        sd_hu: standard deviation in pixels of `NOISE_PIXEL_MM`; larger pixels average more photons
            and are calmer, as in practice.
        grain_mm: standard deviation of what smooths the noise in plane, at least `FINEST_GRAIN`
            pixels.
        lateral: share of the variance that runs from side to side, 0 to 1.
        overlap_mm: standard deviation of what smooths it across slices.
    """
    pixel_mm = float(np.mean(spacing_mm[1:]))
    calm = _density(pixel_mm, grain_mm) / _density(NOISE_PIXEL_MM, grain_mm)
    grain_mm = max(grain_mm, FINEST_GRAIN * pixel_mm)
    noise = np.sqrt(np.float32(1 - lateral)) * _smoothed(
        rng, shape, spacing_mm, (grain_mm, grain_mm)
    )
    if lateral:
        streaked = _smoothed(rng, shape, spacing_mm, (0.8 * grain_mm, 3 * grain_mm))
        bend = (
            np.rint(
                rng.normal(0, 0.05, 2)[:, None]
                * [np.arange(shape[2]), np.arange(shape[2]) ** 2 / shape[2]]
            )
            .sum(0)
            .astype(int)
        )
        rows = (np.arange(shape[1])[:, None] + bend) % shape[1]
        noise += np.sqrt(np.float32(lateral)) * streaked[:, rows, np.arange(shape[2])]
    if shape[0] > 1 and overlap_mm > 0:
        noise = gaussian_filter1d(noise, overlap_mm / spacing_mm[0], axis=0, truncate=3.0)
    y, x = (
        ((np.arange(n) - (n - 1) / 2) * size / REACH_MM) ** 2
        for n, size in zip(shape[1:], spacing_mm[1:], strict=True)
    )
    # more photons are lost on the way to the middle
    noise *= (0.7 + 0.5 * np.exp(-(y[:, None] + x) / 2)).astype(np.float32)
    return np.asarray(noise * np.float32(sd_hu * calm / max(float(noise.std()), 1e-6)), np.float32)


def _density(pixel_mm: float, grain_mm: float) -> float:
    """Variance along one axis of white noise averaged over pixels and smoothed.

    The noise has density 1; over two axes this is its standard deviation.
    """
    impulse = np.zeros(101)
    impulse[50] = 1.0
    return float(
        (gaussian_filter1d(impulse, max(grain_mm / pixel_mm, FINEST_GRAIN)) ** 2).sum() / pixel_mm
    )


def _smoothed(
    rng: np.random.Generator,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    sd_mm: tuple[float, float],
) -> NDArray[np.float32]:
    """White noise smoothed in plane (rows, columns); standard deviation 1."""
    noise = rng.standard_normal(tuple(shape), dtype=np.float32)
    for axis, sd in zip((1, 2), sd_mm, strict=True):
        noise = gaussian_filter1d(noise, sd / spacing_mm[axis], axis=axis, truncate=3.0)
    return np.asarray(noise / max(float(noise.std()), 1e-6), np.float32)


@dataclass(frozen=True)
class Shadow:
    """The shadow of one bone in both arms: where its rays run, and how dark it is.

    z is counted from the middle of the reference grid.

    Attributes:
        share: of the deepest band's depth.
        height_mm: of the line below the middle of the reference grid, in its middle slice.
        height_per_mm: change of it along z.
        slope: of the line against the rows, in the middle slice.
        slope_per_mm: change of it along z.
        width_mm: of the band.
        share_per_mm: relative change of the depth along z.
    """

    share: float
    height_mm: float
    height_per_mm: float
    slope: float
    slope_per_mm: float
    width_mm: float
    share_per_mm: float


def draw_arms(rng: np.random.Generator) -> tuple[Shadow, ...]:
    """Shadows of two arms beside the trunk: of humerus or radius, and of the ulna.

    They stay where they are for the whole study.
    """
    return tuple(
        Shadow(
            share=share,
            height_mm=rng.uniform(-60, 50),
            height_per_mm=rng.uniform(-0.3, 0.3),
            slope=float(np.tan(np.deg2rad(rng.normal(0, 6)))),
            slope_per_mm=rng.normal(0, 0.0004),
            width_mm=rng.uniform(7, 24),
            share_per_mm=rng.normal(0, 0.004),
        )
        for share in (1.0, rng.uniform(0.2, 0.7))
    )


def streaks(
    rng: np.random.Generator,
    places_mm: Sequence[NDArray[np.floating]],
    peak_hu: float,
    shadows: Sequence[Shadow],
) -> NDArray[np.float32]:
    """Streaks of two arms beside the trunk on CT.

    A dark band along the line that joins them, bright beside it, and fine streaks around.

    Photons are starved, and hardened, along the rays through both bones. The band is the arms', the
    same in every phase; the fine streaks are chance, new in every slice of every phase.

    Args:
        rng: source of chance.
        places_mm: of the voxels along z, y and x, from the middle of the reference grid.
        peak_hu: depth of the deepest band.
        shadows: of the arms.

    Returns:
        HU to add, (Z, Y, X).
    """
    z, y, x = (np.asarray(place, np.float32) for place in places_mm)
    result = np.zeros((z.size, y.size, x.size), np.float32)
    for shadow in shadows:
        height_mm = shadow.height_mm + shadow.height_per_mm * z
        slope = shadow.slope + shadow.slope_per_mm * z
        across = (
            y[None, :, None] - height_mm[:, None, None] - slope[:, None, None] * x[None, None, :]
        )
        depth = np.clip(1 + shadow.share_per_mm * z, 0.3, 1.7)[:, None, None]
        lines = rng.standard_normal((z.size, 96)).astype(np.float32)  # fine streaks, 2 mm apart
        position = np.clip(across / 2 + 48, 0, 94.999)
        below = position.astype(np.intp)
        rows = np.arange(z.size)[:, None, None]
        fine = lines[rows, below] + (position - below) * (
            lines[rows, below + 1] - lines[rows, below]
        )
        scaled = (across / shadow.width_mm) ** 2
        band = -(1 - 0.7 * scaled) * np.exp(-scaled / 2) + 0.35 * fine * np.exp(-scaled / 8)
        result += np.float32(shadow.share * peak_hu) * depth * band
    return np.asarray(result, np.float32)


def rician(rng: np.random.Generator, image: NDArray[np.float32], sd: float) -> NDArray[np.float32]:
    """Magnitude of an image with complex Gaussian noise (Rician noise).

    `sd` is the standard deviation per channel; the noise is correlated as after zero filling.
    """
    noise = rng.standard_normal((2, *image.shape), dtype=np.float32)
    for axis in (2, 3):
        noise = gaussian_filter1d(noise, ZERO_FILLED_VOXELS, axis=axis, truncate=3.0)
    real, imaginary = noise * np.float32(sd / max(float(noise.std()), 1e-6))
    return np.asarray(np.hypot(image + real, imaginary))


def ghosted(
    image: NDArray[np.float32], amplitude: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Ghosts of breathing: fainter copies along the phase-encoding direction (rows).

    Some are in opposite phase.
    """
    period = int(image.shape[1] * rng.uniform(0.08, 0.25)) + 1
    result = image.copy()
    for order in (1, 2, 3):
        sign = rng.choice([-1.0, 1.0])
        for shift in (order * period, -order * period):
            result += np.float32(sign * amplitude / order) * np.roll(image, shift, axis=1)
    return np.abs(result)
