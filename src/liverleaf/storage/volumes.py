"""Volumes and displacement fields as NIfTI files, written and read without loss."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from liverleaf.study import InputError

TO_RAS = np.array([-1, -1, 1], np.float32)
FIELD_STEP = 4
"""Displacements are stored at every fourth voxel along each axis."""


def save_volume(file: Path, volume: hd.Volume) -> None:
    """Write a volume (Z, Y, X); whole numbers in float32 are stored as int16 where they fit."""
    array = volume.array
    if array.dtype == np.float32 and np.array_equal(array, np.clip(np.rint(array), -32768, 32767)):
        array = array.astype(np.int16)
    nib.save(volume.with_array(array).permute_spatial_axes([2, 1, 0]).to_nibabel(), file)


def load_volume(
    file: Path, dtype: type[np.generic], frame_of_reference_uid: str | None
) -> hd.Volume:
    """Read a volume (Z, Y, X) that `save_volume` wrote, as `dtype`.

    Raises:
        InputError: the file is missing or broken.
    """
    array, affine = _stored(file, dimensions=3)
    try:
        stored = hd.Volume(
            array, affine, "PATIENT", frame_of_reference_uid, from_reference_convention="RAS"
        )
    except ValueError as error:
        raise InputError(
            f"{file}: its axes are sheared or degenerate; write the case again"
        ) from error
    volume = stored.permute_spatial_axes([2, 1, 0])
    return volume.with_array(np.ascontiguousarray(volume.array).astype(dtype, copy=False))


def save_field(file: Path, field_mm: NDArray[np.float32], grid: hd.Volume) -> None:
    """Write a displacement (Z, Y, X, LPS) on a grid.

    At every fourth voxel where the rest follows from those, as of smooth fields; else at each.
    """
    shape = grid.spatial_shape
    nodes_mm = field_mm
    for axis, size in enumerate(shape):
        nodes_mm = np.tensordot(_onto_nodes(size), nodes_mm, axes=(1, axis))
        nodes_mm = np.moveaxis(nodes_mm, 0, axis)
    affine = grid.permute_spatial_axes([2, 1, 0]).to_nibabel().affine
    if nodes_mm.shape != field_mm.shape and np.allclose(
        between_nodes(nodes_mm, shape), field_mm, rtol=0, atol=1e-3
    ):
        field_mm, affine = nodes_mm, affine @ np.diag([FIELD_STEP, FIELD_STEP, FIELD_STEP, 1])
    nib.save(
        nib.Nifti1Image((field_mm.transpose(2, 1, 0, 3) * TO_RAS).astype(np.float32), affine), file
    )


def load_field(file: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Read a displacement that `save_field` wrote, at every voxel of a grid of `shape`.

    Returns:
        The displacement in mm, (Z, Y, X, LPS).

    Raises:
        InputError: the file is missing or broken.
    """
    ras_mm, _ = _stored(file, dimensions=4)
    field_mm = np.ascontiguousarray(ras_mm.transpose(2, 1, 0, 3) * TO_RAS, np.float32)
    return field_mm if field_mm.shape[:3] == shape else between_nodes(field_mm, shape)


def between_nodes(nodes_mm: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A field at every voxel of a grid of `shape`, linearly between its nodes.

    Args:
        nodes_mm: values at every `FIELD_STEP`th voxel, (nodes along Z, Y, X, components).
        shape: voxels along Z, Y, X.
    """
    for axis, size in enumerate(shape):
        at = np.arange(nodes_mm.shape[axis]) * FIELD_STEP
        weights = np.stack(
            [np.interp(np.arange(size), at, unit) for unit in np.eye(at.size)], axis=1
        ).astype(np.float32)
        nodes_mm = np.moveaxis(np.tensordot(weights, nodes_mm, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(nodes_mm, np.float32)


def _onto_nodes(size: int) -> NDArray[np.float32]:
    """Weights (nodes, size) that read a line of voxels at every fourth.

    A node beyond the end of the line continues its last two voxels.
    """
    nodes = -(-(size - 1) // FIELD_STEP) + 1
    weights = np.zeros((nodes, size), np.float32)
    inside = np.arange(0, size, FIELD_STEP)
    weights[np.arange(inside.size), inside] = 1
    if inside.size < nodes:
        beyond = FIELD_STEP * (nodes - 1) - (size - 1)
        weights[-1, -1], weights[-1, -2] = 1 + beyond, -beyond
    return weights


def _stored(file: Path, *, dimensions: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The array and the affine of a NIfTI file, in its own order and convention."""
    if not file.is_file():
        raise InputError(f"{file} is missing: the case folder is incomplete")
    try:
        image: Any = nib.load(file)
        array = np.asarray(image.dataobj)
    except (
        nib.filebasedimages.ImageFileError,
        nib.spatialimages.HeaderDataError,
        OSError,
        EOFError,
        ValueError,
        zlib.error,
    ) as error:
        raise InputError(
            f"{file} cannot be read as NIfTI: it is damaged or something else; write the case again"
        ) from error
    if array.ndim != dimensions:
        raise InputError(f"{file} has {array.ndim} dimensions, expected {dimensions}")
    return array, np.asarray(image.affine)
