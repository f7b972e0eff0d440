"""Deformable registration of two images on one grid by a self-similarity descriptor (MIND).

The descriptor sees shapes and not intensities. A discrete search over displacements by whole steps
of two voxels comes first, then steps finer than a voxel from there. All displacements are in voxels
along the arrays' own axes.

References:
    Heinrich et al., MIND: modality independent neighbourhood descriptor, Med Image Anal
    2012;16(7):1423-1435. Heinrich et al., Non-parametric discrete registration with convex
    optimisation, WBIR 2014.
"""

# mypy: allow-untyped-calls
# SimpleITK's wrappers carry no annotations.

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]

REACH = 2
"""Largest displacement of the discrete search, in units of two coarse voxels: with the fine steps
about 30 mm beyond the rigid motion."""
FINE_STEPS = 3
FINE_SMOOTHING = 3.0
"""Standard deviation in control points over which fine steps agree: breathing moves neighbours
alike."""
SMOOTHING = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Weights that draw each control point's displacement towards its neighbours', in turn."""
SMALLEST_SIDE = 8
"""Voxels along the shortest axis below which there is nothing to search."""


def descriptors(array: Array) -> tuple[Array, Array] | None:
    """Descriptors of an image at half and at full size; None of an image that is too thin."""
    return (
        (descriptor(_halved(array)), descriptor(array))
        if min(array.shape) >= SMALLEST_SIDE
        else None
    )


def deformation(reference: tuple[Array, Array], moving: Array) -> Array:
    """Displacements from voxels of the reference to the same tissue in the moving image.

    Args:
        reference: the reference's `descriptors`.
        moving: an image of (Z, Y, X) on the same grid.

    Returns:
        Displacements in voxels, shape (3, Z, Y, X).
    """
    half, full = reference
    shift = 2 * _upsampled(_search(half, descriptor(_halved(moving)), reach=REACH), 4, moving.shape)
    for _ in range(FINE_STEPS):
        shift += _upsampled(_fine_step(full, descriptor(_warped(moving, shift))), 2, moving.shape)
    return shift


def folded(shift: Array) -> NDArray[np.bool_]:
    """Where x + shift(x) folds: its Jacobian determinant is 0 or less."""
    # in voxels, because the filter ignores an image's direction
    field = sitk.GetImageFromArray(
        np.moveaxis(shift[::-1], 0, -1).astype(np.float64), isVector=True
    )
    determinant: NDArray[np.float64] = sitk.GetArrayFromImage(
        sitk.DisplacementFieldJacobianDeterminant(field)
    )
    return determinant <= 0


def descriptor(array: Array) -> Array:
    """MIND of every voxel, shape (6, Z, Y, X) in (0, 1].

    How like its surroundings are to those of its six neighbours, on a scale of the voxel's own.
    """
    padded = np.pad(array, 1, mode="edge")
    centre = tuple(slice(1, -1) for _ in range(3))
    distance = np.empty((6, *array.shape), np.float32)
    for channel, (axis, step) in enumerate(itertools.product(range(3), (-1, 1))):
        neighbour = np.roll(padded, step, axis)[centre]
        ndimage.gaussian_filter((array - neighbour) ** 2, 0.8, output=distance[channel])
    distance -= distance.min(axis=0)
    variance = distance.mean(axis=0)
    typical = max(float(variance.mean()), 1e-20)  # a constant image has no variance
    similarity: Array = np.exp(-distance / np.clip(variance, 1e-3 * typical, 1e3 * typical))
    return similarity


def _search(fixed: Array, moving: Array, *, reach: int) -> Array:
    """Smooth displacements that match two descriptors, among all whole ones up to `reach` voxels.

    Each control point stands for 2 x 2 x 2 voxels. In turn, it takes the displacement of least cost
    given its neighbours' mean, and the means are taken anew, while the weight of smoothness grows.

    Returns:
        Displacements in voxels at the control points, shape (3, Z // 2, Y // 2, X // 2).
    """
    steps = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)), np.float32)
    costs = _costs(fixed, moving, steps.astype(int))
    cost = costs.reshape(len(steps), -1)
    mean = np.zeros((3, *costs.shape[1:]), np.float32)
    for weight in (0.0, *SMOOTHING):
        # squared, less a constant per control point
        distance = (steps**2).sum(axis=1)[:, None] - 2 * steps @ mean.reshape(3, -1)
        best = steps[(cost + weight * distance).argmin(axis=0)].T.reshape(mean.shape)
        mean = ndimage.uniform_filter(best, (0, 3, 3, 3), mode="nearest")
    return mean


def _fine_step(fixed: Array, moving: Array) -> Array:
    """Displacements of up to a voxel at the control points of `_search`.

    Each leads to the lowest point of a parabola through the costs along each axis.
    """
    here = _costs(fixed, moving, np.zeros((1, 3), int))[0]
    before, after = (_costs(fixed, moving, side * np.eye(3, dtype=int)) for side in (-1, 1))
    sigma = (0, *[FINE_SMOOTHING] * 3)
    slope = ndimage.gaussian_filter((after - before) / 2, sigma)
    curvature = ndimage.gaussian_filter(after + before - 2 * here, sigma)
    # where there is nothing to match, nothing moves
    flat = max(0.1 * float(curvature.mean()), 1e-20)
    step: Array = np.clip(-slope / np.maximum(curvature, flat), -1, 1)
    return step


def _costs(fixed: Array, moving: Array, steps: NDArray[np.integer]) -> Array:
    """Mean squared difference of two descriptors per control point and step of the moving one.

    Shape (steps, Z / 2, Y / 2, X / 2).
    """
    reach = int(np.abs(steps).max())
    padded = np.pad(moving, ((0, 0), *[(reach, reach)] * 3), mode="edge")
    costs = []
    for step in steps + reach:
        window = tuple(
            slice(first, first + size) for first, size in zip(step, fixed.shape[1:], strict=True)
        )
        difference = fixed - padded[(slice(None), *window)]
        costs.append(_halved(np.einsum("czyx,czyx->zyx", difference, difference) / len(fixed)))
    return np.stack(costs, dtype=np.float32)


def _halved(array: Array) -> Array:
    """Means of blocks of 2 x 2 x 2; a last voxel without a partner is left out."""
    for axis, size in enumerate(array.shape):
        along = np.moveaxis(array, axis, 0)[: size // 2 * 2]
        array = np.moveaxis(along[::2] + along[1::2], 0, axis)
    return array * np.float32(1 / 8)


def _upsampled(control: Array, factor: int, shape: Sequence[int]) -> Array:
    """Displacements at every voxel, linearly between the centres of blocks of `factor` voxels."""
    at = np.meshgrid(
        *[(np.arange(size, dtype=np.float32) - (factor - 1) / 2) / factor for size in shape],
        indexing="ij",
    )
    return np.stack(
        [ndimage.map_coordinates(component, at, order=1, mode="nearest") for component in control]
    )


def _warped(array: Array, shift: Array) -> Array:
    """The array at every voxel plus its shift, in voxels."""
    at = np.indices(array.shape, dtype=np.float32) + shift
    return ndimage.map_coordinates(array, at, order=1, mode="nearest")
