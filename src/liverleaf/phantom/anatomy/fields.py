"""Smooth random fields: cubic B-splines that are evaluated on grids or at points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import BSpline
from scipy.ndimage import map_coordinates

DEGREE: Final = 3


@dataclass(frozen=True)
class SplineField:
    """Scalar fields over a voxel grid, as uniform cubic B-splines.

    Attributes:
        coefficients: float32 (C, CZ, CY, CX), C fields.
        step: distance of the control points in voxels, per axis.
    """

    coefficients: NDArray[np.float32]
    step: tuple[float, float, float]

    def on_axes(self, axes: Sequence[ArrayLike]) -> NDArray[np.float32]:
        """Values on a rectilinear grid.

        Args:
            axes: voxel indices along Z, Y and X (not necessarily whole), of lengths Z, Y, X.

        Returns:
            float32 (C, Z, Y, X).
        """
        values = self.coefficients
        for axis, step in zip(axes, self.step, strict=True):
            # each turn contracts the first spatial axis and appends its samples last
            values = np.tensordot(
                values, _basis(np.asarray(axis) / step, values.shape[1]), axes=(1, 1)
            )
        return values

    def at(self, points: ArrayLike) -> NDArray[np.float32]:
        """Values at scattered voxel indices of shape (3, ...), as float32 (C, ...)."""
        knots = np.asarray(points) / np.reshape(self.step, (3, *[1] * (np.ndim(points) - 1))) + 1
        return np.stack(
            [
                map_coordinates(c, knots, order=DEGREE, prefilter=False, mode="nearest")
                for c in self.coefficients
            ]
        )


def draw_field(
    rng: np.random.Generator,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    scale_mm: float,
    *,
    count: int = 1,
) -> SplineField:
    """Smooth fields of mean 0 and standard deviation 1 in expectation.

    Args:
        rng: source of chance.
        shape: of the voxel grid (Z, Y, X).
        spacing_mm: of the voxel grid.
        scale_mm: distance of the control points; never finer than the voxels.
        count: number of independent fields.
    """
    step = tuple(max(scale_mm / s, 1.0) for s in spacing_mm)
    control = [int(np.ceil((n - 1) / s)) + DEGREE + 1 for n, s in zip(shape, step, strict=True)]
    coefficients = rng.standard_normal((count, *control), dtype=np.float32)
    mean_square = 151 / 315  # of the cubic B-spline's weights, averaged over positions
    return SplineField(
        coefficients / np.float32(mean_square ** (3 / 2)), (step[0], step[1], step[2])
    )


def _basis(positions: NDArray[np.float64], control: int) -> NDArray[np.float32]:
    """Weights of uniform cubic B-splines, (positions, control); positions in control distances."""
    knots = np.arange(control + DEGREE + 1) - float(DEGREE)
    inside = np.clip(positions, 0.0, control - DEGREE - 1e-9)
    return np.asarray(BSpline.design_matrix(inside, knots, DEGREE).toarray(), np.float32)
