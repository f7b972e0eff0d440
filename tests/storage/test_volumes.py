"""Volumes and displacements written and read back equal; smooth displacements take little space."""

from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest

from liverleaf.storage.volumes import (
    between_nodes,
    load_field,
    load_volume,
    save_field,
    save_volume,
)
from liverleaf.study import InputError, same_grid

AFFINE = np.array([[0, 0, 0.8, -150], [0, 0.8, 0, -120], [5.0, 0, 0, -900], [0, 0, 0, 1]])


def volume(array: np.ndarray) -> hd.Volume:
    return hd.Volume(array, AFFINE, "PATIENT", "1.2.3")


@pytest.mark.parametrize(
    ("values", "dtype", "stored"),
    [
        ([-1024, 0, 3071], np.float32, np.int16),
        ([0, 0.5, 1], np.float32, np.float32),
        ([0, 40000, 7], np.float32, np.float32),
        ([0, 1, 255], np.uint8, np.uint8),
        ([0, 1, 300], np.uint16, np.uint16),
    ],
)
def test_a_volume_comes_back_as_it_was(
    tmp_path: Path, values: list[float], dtype: type, stored: type
) -> None:
    written = volume(np.resize(np.array(values, dtype), (2, 3, 4)))
    save_volume(tmp_path / "volume.nii.gz", written)
    assert nib.load(tmp_path / "volume.nii.gz").get_data_dtype() == stored
    read = load_volume(tmp_path / "volume.nii.gz", dtype, "1.2.3")
    assert read.array.dtype == dtype
    np.testing.assert_array_equal(read.array, written.array)
    assert same_grid(read, written)


def test_a_field_is_no_volume(tmp_path: Path) -> None:
    save_field(
        tmp_path / "field.nii.gz", np.zeros((2, 3, 4, 3), np.float32), volume(np.zeros((2, 3, 4)))
    )
    with pytest.raises(InputError, match="has 4 dimensions, expected 3"):
        load_volume(tmp_path / "field.nii.gz", np.float32, None)


@pytest.mark.parametrize("shape", [(9, 13, 5), (10, 14, 15), (2, 8, 3), (1, 6, 9)])
def test_smooth_displacements_are_stored_small_and_come_back(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(1)
    field_mm = between_nodes(
        rng.normal(0, 3, (*(-(-(n - 1) // 4) + 1 for n in shape), 3)).astype(np.float32), shape
    )
    save_field(tmp_path / "field.nii.gz", field_mm, volume(np.zeros(shape, np.uint16)))
    assert np.prod(nib.load(tmp_path / "field.nii.gz").shape[:3]) <= np.prod(
        [n // 4 + 2 for n in shape]
    )
    np.testing.assert_allclose(load_field(tmp_path / "field.nii.gz", shape), field_mm, atol=1e-4)


def test_rough_displacements_come_back_whole(tmp_path: Path) -> None:
    field_mm = np.random.default_rng(1).normal(0, 3, (5, 6, 7, 3)).astype(np.float32)
    save_field(tmp_path / "field.nii.gz", field_mm, volume(np.zeros((5, 6, 7))))
    np.testing.assert_array_equal(load_field(tmp_path / "field.nii.gz", (5, 6, 7)), field_mm)
