"""Volumes and displacement fields as NIfTI files, written and read without loss."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import highdicom as hd
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from liverleaf.study import InputError, same_grid

TO_RAS = np.array([-1, -1, 1], np.float32)
FIELD_STEP = 4
"""Displacements are stored at every fourth voxel along each axis."""
SAME_GRID_VOXELS = 0.1
"""Share of the smallest voxel edge by which two grids may differ and be one: programs round what
they write."""
SAME_SIDE = 0.002
"""Share by which two sizes of a voxel may differ."""
MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
"""What the units of length that a NIfTI header may name are in mm; by convention unknown is mm."""


def save_volume(
    file: Path, volume: hd.Volume, *, file_grid: hd.VolumeGeometry | None = None
) -> None:
    """Write a volume (Z, Y, X); whole numbers in float32 are stored as int16 where they fit.

    Args:
        file: the file to write.
        volume: what is written.
        file_grid: the grid of the file that the volume was drawn on, in that file's own order of
            axes: the two then match index by index. None writes X, Y, Z.
    """
    array = volume.array
    if array.dtype == np.float32 and np.array_equal(array, np.clip(np.rint(array), -32768, 32767)):
        array = array.astype(np.int16)
    volume = volume.with_array(array)
    stored = None if file_grid is None else reordered(volume, file_grid)
    image: Any = (stored or volume.permute_spatial_axes([2, 1, 0])).to_nibabel()
    image.header.set_xyzt_units("mm")
    nib.save(image, file)


class AxisOrder(NamedTuple):
    """How the axes of one grid become those of another.

    Attributes:
        source: the axis of the first grid that each axis of the other one is.
        backwards: the axes of the other grid along which the first one runs the other way.
    """

    source: tuple[int, int, int]
    backwards: tuple[int, ...]


def axis_order(geometry: hd.VolumeGeometry, grid: hd.VolumeGeometry) -> AxisOrder | None:
    """How a grid's axes have to be permuted and flipped to run as another's; None for no way."""
    cosines = grid.direction.T @ geometry.direction
    source = np.abs(cosines).argmax(axis=1)
    if sorted(source) != [0, 1, 2]:
        return None
    backwards = tuple(axis for axis in range(3) if cosines[axis, source[axis]] < 0)
    return AxisOrder((int(source[0]), int(source[1]), int(source[2])), backwards)


def reordered(volume: hd.Volume, grid: hd.VolumeGeometry | hd.Volume) -> hd.Volume | None:
    """A volume on another grid by permuting and flipping its axes; nothing is resampled.

    Returns:
        The volume on exactly `grid`; None where the two differ by more than the order of axes.
    """
    target = grid.get_geometry() if isinstance(grid, hd.Volume) else grid
    order = axis_order(volume.get_geometry(), target)
    if order is None:
        return None
    turned = volume.permute_spatial_axes(order.source)
    if order.backwards:
        turned = turned.flip_spatial(order.backwards)
    if not same_grid(turned, target, tolerance_mm=SAME_GRID_VOXELS * min(target.spacing)):
        return None
    return hd.Volume(
        np.ascontiguousarray(turned.array),
        target.affine,
        target.coordinate_system,
        target.frame_of_reference_uid,
    )


def grid_in_words(grid: hd.VolumeGeometry | hd.Volume) -> str:
    """Shape, voxel size and position of a grid, for messages."""
    shape = " x ".join(map(str, grid.spatial_shape))
    spacing = " x ".join(f"{size:.3g}" for size in grid.spacing)
    position = ", ".join(f"{at:.1f}" for at in grid.affine[:3, 3])
    return f"{shape} voxels of {spacing} mm from {position} mm"


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


def load_labels(file: Path, dtype: type[np.unsignedinteger[Any]], grid: hd.Volume) -> hd.Volume:
    """Read a label map onto a grid, whatever the order of the axes it is stored in.

    Returns:
        The labels on exactly `grid`, as `dtype`.

    Raises:
        InputError: the file is missing or broken, its values are no whole numbers that fit into
            `dtype`, or it lies on another grid.
    """
    stored = load_volume(file, np.float64, None)
    labels = reordered(stored, grid)
    if labels is None:
        raise InputError(
            f"{file} has shape {stored.spatial_shape} ({grid_in_words(stored)}) and the reference"
            f" phase {grid.spatial_shape} ({grid_in_words(grid)}): no order of axes makes them one"
            " grid; resample it onto that phase with nearest neighbours"
        )
    check_labels(str(file), labels.array, np.iinfo(dtype).max)
    return labels.with_array(np.rint(labels.array).astype(dtype))


def check_labels(name: str, values: NDArray[Any], largest: int) -> None:
    """Refuse values that are no labels.

    Args:
        name: of the file, for the message.
        values: after the scaling that the file's header names.
        largest: the largest label that there may be.

    Raises:
        InputError: a value is not finite, no whole number, below 0 or above `largest`.
    """
    # scaling by the header may leave a whole number a little beside it
    whole = np.abs(values - np.rint(values)) <= 1e-3
    wrong = ~whole | (values < 0) | (values > largest)  # NaN and infinity are not whole
    if wrong.any():
        raise InputError(
            f"{name} is no label map: it holds {values[wrong].flat[0]:g}, where a voxel may hold 0"
            f" or a whole number from 1 to {largest}; export it again as labels"
        )


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


def load_field(file: Path, grid: hd.Volume) -> NDArray[np.float32]:
    """Read a displacement that `save_field` wrote, at every voxel of a grid.

    Returns:
        The displacement in mm, (Z, Y, X, LPS).

    Raises:
        InputError: the file is missing or broken, or lies on another grid.
    """
    ras_mm, affine = _stored(file, dimensions=4)
    field_mm = np.asarray(ras_mm.transpose(2, 1, 0, 3) * TO_RAS, np.float32)
    try:
        stored = hd.VolumeGeometry(
            affine, ras_mm.shape[:3], "PATIENT", from_reference_convention="RAS"
        ).permute_spatial_axes([2, 1, 0])
    except ValueError as error:
        raise _other_grid(file, grid) from error
    order = axis_order(stored, grid.get_geometry())
    if order is None:
        raise _other_grid(file, grid)
    field_mm = field_mm.transpose(*order.source, 3)
    to_grid = np.linalg.inv(grid.affine) @ stored.affine
    for axis, source in enumerate(order.source):
        nodes, size = np.arange(field_mm.shape[axis]), grid.spatial_shape[axis]
        at = to_grid[axis, 3] + to_grid[axis, source] * nodes
        if axis in order.backwards:
            field_mm, at = np.flip(field_mm, axis), at[::-1]
        if at[0] > SAME_GRID_VOXELS or at[-1] < size - 1 - SAME_GRID_VOXELS:
            raise _other_grid(file, grid)
        if len(at) != size or np.abs(at - np.arange(size)).max() > SAME_GRID_VOXELS:
            field_mm = _between(field_mm, axis, at, size)
    return np.ascontiguousarray(field_mm, np.float32)


def _other_grid(file: Path, grid: hd.Volume) -> InputError:
    return InputError(
        f"{file} does not lie on the grid of the reference phase ({grid_in_words(grid)}); write the"
        " case again"
    )


def between_nodes(nodes_mm: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A field at every voxel of a grid of `shape`, linearly between its nodes.

    Args:
        nodes_mm: values at every `FIELD_STEP`th voxel, (nodes along Z, Y, X, components).
        shape: voxels along Z, Y, X.
    """
    for axis, size in enumerate(shape):
        at = np.arange(nodes_mm.shape[axis], dtype=float) * FIELD_STEP
        nodes_mm = _between(nodes_mm, axis, at, size)
    return np.ascontiguousarray(nodes_mm, np.float32)


def _between(
    values: NDArray[np.float32], axis: int, at: NDArray[np.float64], size: int
) -> NDArray[np.float32]:
    """Values along an axis, known at the ascending indices `at`, at the indices 0 to size - 1."""
    weights = np.stack(
        [np.interp(np.arange(size), at, unit) for unit in np.eye(at.size)], axis=1
    ).astype(np.float32)
    return np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis)


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
        check_sums(file)
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
    return array, affine_mm(image)


def check_sums(file: Path) -> None:
    """Read a gzip file to its end, where its checksum stands, which reading an image does not.

    Raises:
        OSError: its content is not what was packed. What follows its end does not matter.
    """
    with file.open("rb") as stream:
        if stream.read(2) != b"\x1f\x8b":
            return
    try:
        with gzip.open(file) as unpacked:
            while unpacked.read(2**20):
                pass
    except gzip.BadGzipFile as error:
        if "Not a gzipped file" not in str(error):
            raise


def affine_mm(image: Any) -> NDArray[np.float64]:
    """The affine of a NIfTI image from its voxel indices to RAS millimetres, whatever its unit."""
    affine = np.array(image.affine, np.float64)
    affine[:3] *= MILLIMETRES[unit_of_length(image)]
    return affine


def unit_of_length(image: Any) -> str:
    """The unit in which a NIfTI header gives lengths: a key of `MILLIMETRES`."""
    try:
        unit = str(image.header.get_xyzt_units()[0])
    except KeyError:  # a code that the standard does not know
        return "unknown"
    return unit if unit in MILLIMETRES else "unknown"


def notes_on_placement(file: Path) -> list[str]:
    """As `placement_warnings`, of a file; nothing where it cannot be read, which reading tells."""
    try:
        return placement_warnings(nib.load(file))
    except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, OSError):
        return []


def placement_warnings(image: Any) -> list[str]:
    """What a NIfTI header leaves open about where the voxels lie.

    It may not say it, say it in another unit than mm, or say two things, of which the sform is
    believed.
    """
    unit = unit_of_length(image)
    told = []
    if MILLIMETRES[unit] != 1:
        told.append(f"a NIfTI file gives its lengths in {unit}s: they were converted to mm")
    sform, qform = image.header.get_sform(coded=True)[0], image.header.get_qform(coded=True)[0]
    if sform is not None:
        sides = np.linalg.norm(sform[:3, :3], axis=0)
        edges = np.abs(np.asarray(image.header.get_zooms()[:3], float))
        if (np.abs(edges - sides) > SAME_SIDE * sides).any():
            told.append(
                "a NIfTI file names two sizes of its voxels"
                f" ({' x '.join(f'{side:.4g}' for side in sides)} in its sform and"
                f" {' x '.join(f'{edge:.4g}' for edge in edges)}): that of the sform was used"
            )
    if sform is None and qform is None:
        told.append(
            "a NIfTI file does not tell how the patient lies: orientation and voxel size may be"
            " wrong"
        )
    if sform is None or qform is None:
        return told
    corners = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)]) * (*image.shape[:3], 1)
    apart = np.linalg.norm((corners @ (sform - qform).T)[:, :3], axis=1).max()
    if apart > SAME_GRID_VOXELS * np.linalg.norm(sform[:3, :3], axis=0).min():
        told.append(
            f"a NIfTI file names two places for its voxels, up to {apart * MILLIMETRES[unit]:.3g}"
            " mm apart (sform and qform): the sform was used"
        )
    return told
