"""Motion between phases: breath-hold shifts and smooth deformation, both ways.

A motion is a `SplineField` of three components: from a voxel index of the reference grid to the LPS
shift (mm) that leads from that place in the phase to the same tissue in the reference phase.
"""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from liverleaf.phantom.anatomy.fields import SplineField, draw_field
from liverleaf.phantom.physics.protocol import Protocol
from liverleaf.storage.volumes import FIELD_STEP, between_nodes
from liverleaf.study import Phase

CONTROL_MM = 60.0
REACH_MM = 150.0
"""The breath-hold shift fades with this standard deviation from the middle of the grid, where the
liver is; the spine moves little."""


def draw_motion(
    reference: hd.Volume, protocol: Protocol, phase: Phase, rng: np.random.Generator
) -> SplineField:
    """A breath-hold shift, mostly along the body, and a deformation.

    Both are larger when the arterial breath-hold failed.
    """
    failed = 1.5 if phase is Phase.ARTERIAL and protocol.ghost else 1.0
    field = draw_field(rng, reference.spatial_shape, reference.spacing, CONTROL_MM, count=3)
    shift_mm = rng.normal(0.0, np.array([0.15, 0.3, 1.0]) * protocol.shift_sd_mm * failed)
    near = np.ones(field.coefficients.shape[1:])
    for axis, (step, spacing) in enumerate(zip(field.step, reference.spacing, strict=True)):
        distance_mm = (
            (np.arange(near.shape[axis]) - 1) * step - (reference.spatial_shape[axis] - 1) / 2
        ) * spacing
        near *= np.exp(-0.5 * (distance_mm / REACH_MM) ** 2).reshape(
            [-1 if a == axis else 1 for a in range(3)]
        )
    deformation_mm = field.coefficients * np.float32(protocol.deformation_sd_mm)
    return SplineField(
        deformation_mm + (shift_mm[:, None, None, None] * near).astype(np.float32), field.step
    )


def forward_shift_mm(motion: SplineField, reference: hd.Volume) -> NDArray[np.float32]:
    """Invert a motion: LPS shifts (mm) from the reference phase to the phase.

    From each voxel of the reference phase to the same tissue in the phase, (Z, Y, X, 3).

    Solved by fixed-point iteration at every fourth voxel, which is enough for so smooth a field,
    and interpolated linearly.
    """
    to_index = np.linalg.inv(reference.affine[:3, :3])
    nodes = [
        np.arange(0, n - 1 + FIELD_STEP, FIELD_STEP, dtype=float) for n in reference.spatial_shape
    ]
    points = np.stack(np.meshgrid(*nodes, indexing="ij"))
    shift_mm = -motion.at(points)
    for _ in range(2):
        shift_mm = -motion.at(points + np.tensordot(to_index, shift_mm, 1))
    return between_nodes(np.moveaxis(shift_mm, 0, -1), reference.spatial_shape)


def resampled(
    image: NDArray[np.float32],
    axes: Sequence[NDArray[np.float64]],
    motion: SplineField | None,
    reference: hd.Volume,
) -> NDArray[np.float32]:
    """An image on the reference grid, moved, at the voxels of a phase's grid.

    Args:
        image: (Z, Y, X) on the reference grid.
        axes: reference voxel indices of the phase's slices, rows and columns.
        motion: None for no motion.
        reference: the reference grid.
    """
    if motion is None and all(
        axis.size == n and axis[0] == 0 for axis, n in zip(axes, image.shape, strict=True)
    ):
        return image
    points = np.stack(np.meshgrid(*axes, indexing="ij"), dtype=np.float32)
    if motion is not None:
        points += np.tensordot(
            np.linalg.inv(reference.affine[:3, :3]).astype(np.float32), motion.on_axes(axes), 1
        )
    return np.asarray(map_coordinates(image, points, order=1, mode="nearest"))
