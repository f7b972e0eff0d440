"""Tiny copies of collections: volumes of 8 x 16 x 16 voxels of 3 x 2 x 2 mm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

SHAPE = (8, 16, 16)
LPS_GRID = np.diag([-2.0, -2.0, 3.0, 1.0])
"""A NIfTI affine (RAS) whose voxels (x, y, z) run to the left, the back and the head, as the arrays
of a study do."""

WriteNifti = Callable[..., Path]


@pytest.fixture
def nifti() -> WriteNifti:
    """Writes an array (Z, Y, X) as NIfTI under a RAS affine."""

    def write(
        path: Path, array_ZYX: NDArray[np.generic], affine: NDArray[np.float64] = LPS_GRID
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.asarray(array_ZYX, np.int16).T, affine), path)
        return path

    return write


@pytest.fixture
def image() -> NDArray[np.int16]:
    """A volume in which every voxel differs."""
    return np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)


@pytest.fixture
def liver() -> NDArray[np.uint8]:
    """A block of 6 x 10 x 10 voxels."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:7, 3:13, 3:13] = 1
    return mask


@pytest.fixture
def tumour() -> NDArray[np.uint8]:
    """Two lesions inside the liver, of 8 and 12 voxels."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:4, 4:6, 4:6] = 1
    mask[4:6, 9:11, 8:11] = 1
    return mask
