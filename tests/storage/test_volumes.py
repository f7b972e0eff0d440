"""Volumes and displacements written and read back equal, by their place and not by their axes."""

from itertools import permutations, product
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation
from nibabel.orientations import ornt_transform as turn_to

from liverleaf.storage.volumes import (
    between_nodes,
    load_field,
    load_labels,
    load_volume,
    notes_on_placement,
    reordered,
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
    grid = volume(np.zeros(shape, np.uint16))
    save_field(tmp_path / "field.nii.gz", field_mm, grid)
    assert np.prod(nib.load(tmp_path / "field.nii.gz").shape[:3]) <= np.prod(
        [n // 4 + 2 for n in shape]
    )
    np.testing.assert_allclose(load_field(tmp_path / "field.nii.gz", grid), field_mm, atol=1e-4)


def test_rough_displacements_come_back_whole(tmp_path: Path) -> None:
    field_mm = np.random.default_rng(1).normal(0, 3, (5, 6, 7, 3)).astype(np.float32)
    grid = volume(np.zeros((5, 6, 7)))
    save_field(tmp_path / "field.nii.gz", field_mm, grid)
    np.testing.assert_array_equal(load_field(tmp_path / "field.nii.gz", grid), field_mm)


AXES = [
    "".join(pair[sign] for pair, sign in zip(order, signs, strict=True))
    for order in permutations(("RL", "AP", "SI"))
    for signs in product((0, 1), repeat=3)
]
TURN = np.array([[0.9, -0.4, 0.1], [0.3, 0.8, 0.5], [-0.3, -0.4, 0.9]])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = np.linalg.qr(TURN)[0] @ np.array([[0, 0, 0.8], [0, 0.7, 0], [5.0, 0, 0]])


def save_again(file: Path, axes: str) -> None:
    """Store a file's voxels in another order of axes, each at its place, as other programs do."""
    image = nib.load(file)
    turn = turn_to(io_orientation(image.affine), axcodes2ornt(axes))
    array = apply_orientation(np.asarray(image.dataobj), turn)
    nib.save(nib.Nifti1Image(array, image.affine @ inv_ornt_aff(turn, image.shape[:3])), file)


def labels_on(affine: np.ndarray) -> hd.Volume:
    labels = np.random.default_rng(3).integers(0, 9, (4, 6, 5)).astype(np.uint16)
    return hd.Volume(labels, affine, "PATIENT", "1.2.3")


def test_there_are_48_orders_of_axes() -> None:
    assert len(set(AXES)) == 48


@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("axes", AXES)
def test_labels_are_read_by_their_place(tmp_path: Path, axes: str, affine: np.ndarray) -> None:
    known = labels_on(affine)
    save_volume(tmp_path / "labels.nii.gz", known)
    save_again(tmp_path / "labels.nii.gz", axes)
    read = load_labels(tmp_path / "labels.nii.gz", np.uint16, known)
    np.testing.assert_array_equal(read.array, known.array)
    np.testing.assert_array_equal(read.affine, known.affine)
    assert read.dtype == np.uint16


@pytest.mark.parametrize("axes", AXES)
def test_displacements_are_read_by_their_place(tmp_path: Path, axes: str) -> None:
    rng = np.random.default_rng(1)
    for shape, field_mm in (
        ((6, 9, 5), rng.normal(0, 3, (6, 9, 5, 3)).astype(np.float32)),
        ((6, 9, 5), between_nodes(rng.normal(0, 3, (3, 3, 2, 3)).astype(np.float32), (6, 9, 5))),
    ):
        grid = volume(np.zeros(shape))
        save_field(tmp_path / "field.nii.gz", field_mm, grid)
        save_again(tmp_path / "field.nii.gz", axes)
        np.testing.assert_allclose(load_field(tmp_path / "field.nii.gz", grid), field_mm, atol=1e-4)


def test_a_displacement_on_another_grid_is_refused(tmp_path: Path) -> None:
    save_field(
        tmp_path / "field.nii.gz", np.ones((5, 6, 7, 3), np.float32), volume(np.zeros((5, 6, 7)))
    )
    with pytest.raises(InputError, match="does not lie on the grid"):
        load_field(tmp_path / "field.nii.gz", volume(np.zeros((12, 6, 7))))


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SLA"])
def test_a_mask_is_written_index_by_index_as_the_file_it_was_drawn_on(
    tmp_path: Path, axes: str
) -> None:
    known = labels_on(OBLIQUE)
    save_volume(tmp_path / "image.nii.gz", known)
    save_again(tmp_path / "image.nii.gz", axes)
    image = nib.load(tmp_path / "image.nii.gz")
    file_grid = hd.VolumeGeometry(
        image.affine, image.shape, "PATIENT", from_reference_convention="RAS"
    )
    save_volume(tmp_path / "mask.nii.gz", known, file_grid=file_grid)
    mask = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(image.dataobj))
    np.testing.assert_array_equal(mask.affine, image.affine)
    assert mask.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize(
    ("array", "affine"),
    [
        (np.zeros((4, 6, 4)), AFFINE),
        (np.zeros((4, 6, 5)), AFFINE + np.eye(4, 4, 3) * 0.2),
        (np.zeros((4, 6, 5)), AFFINE @ np.diag([1, 1.1, 1, 1])),
        (np.zeros((4, 6, 5)), OBLIQUE),
    ],
    ids=["cropped", "shifted", "scaled", "turned"],
)
def test_grids_that_differ_otherwise_are_not_made_one(
    tmp_path: Path, array: np.ndarray, affine: np.ndarray
) -> None:
    moved = hd.Volume(array.astype(np.uint16), affine, "PATIENT")
    assert reordered(moved, labels_on(AFFINE)) is None
    save_volume(tmp_path / "labels.nii.gz", moved)
    with pytest.raises(InputError, match=r"labels\.nii\.gz has shape .* resample it") as caught:
        load_labels(tmp_path / "labels.nii.gz", np.uint16, labels_on(AFFINE))
    assert "\n" not in str(caught.value)


def test_rounding_by_other_programs_is_no_other_grid(tmp_path: Path) -> None:
    known = labels_on(AFFINE)
    save_volume(tmp_path / "labels.nii.gz", known)
    image = nib.load(tmp_path / "labels.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine.round(1)), tmp_path / "a.nii")
    read = load_labels(tmp_path / "a.nii", np.uint16, known)
    np.testing.assert_array_equal(read.affine, known.affine)


@pytest.mark.parametrize(
    ("value", "slope", "inter", "told"),
    [
        (0.5, 1, 0, "it holds 0.5,"),
        (np.nan, 1, 0, "it holds nan,"),
        (-1, 1, 0, "it holds -1,"),
        (70000, 1, 0, "it holds 70000,"),
        (1, 0.5, 0, "it holds 0.5,"),
        (1, 1, -2, "it holds -2,"),
    ],
    ids=["half", "no number", "negative", "too large", "scaled to halves", "shifted below 0"],
)
def test_values_that_are_no_labels_are_refused(
    tmp_path: Path, value: float, slope: float, inter: float, told: str
) -> None:
    grid = labels_on(AFFINE)
    array = np.zeros((5, 6, 4), np.float32)
    array[1, 2, 3] = value
    image = nib.Nifti1Image(array, grid.permute_spatial_axes([2, 1, 0]).get_affine("RAS"))
    if (slope, inter) != (1, 0):
        image = nib.Nifti1Image(array.astype(np.int16), image.affine)
        image.header.set_slope_inter(slope, inter)
    nib.save(image, tmp_path / "labels.nii")
    with pytest.raises(InputError, match=f"is no label map: {told}") as caught:
        load_labels(tmp_path / "labels.nii", np.uint16, grid)
    assert "\n" not in str(caught.value)


def test_the_scaling_of_the_header_comes_before_the_judgement(tmp_path: Path) -> None:
    grid = labels_on(AFFINE)
    stored = (grid.array.transpose(2, 1, 0) * 10 + 30).astype(np.int16)
    image = nib.Nifti1Image(stored, grid.permute_spatial_axes([2, 1, 0]).get_affine("RAS"))
    image.header.set_slope_inter(0.1, -3)
    nib.save(image, tmp_path / "labels.nii")
    read = load_labels(tmp_path / "labels.nii", np.uint16, grid)
    np.testing.assert_array_equal(read.array, grid.array)


@pytest.mark.parametrize(
    ("unit", "mm"), [("meter", 1000.0), ("micron", 0.001), ("mm", 1.0), ("unknown", 1.0)]
)
def test_lengths_are_in_mm_whatever_the_unit_of_the_file(
    tmp_path: Path, unit: str, mm: float
) -> None:
    known = labels_on(AFFINE)
    in_unit = np.diag([1 / mm, 1 / mm, 1 / mm, 1]) @ known.permute_spatial_axes(
        [2, 1, 0]
    ).get_affine("RAS")
    image = nib.Nifti1Image(known.array.transpose(2, 1, 0), in_unit)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "labels.nii")
    np.testing.assert_allclose(
        load_volume(tmp_path / "labels.nii", np.uint16, None).affine, AFFINE, rtol=1e-5
    )
    notes = notes_on_placement(tmp_path / "labels.nii")
    assert (notes != []) == (mm != 1), notes
    assert all(f"in {unit}s" in note for note in notes)


def test_an_unknown_code_of_unit_is_mm(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4))
    image.header["xyzt_units"] = 7
    nib.save(image, tmp_path / "labels.nii")
    read = load_volume(tmp_path / "labels.nii", np.uint8, None)
    assert read.spacing == (1, 1, 1)


def test_the_checksum_of_a_packed_file_is_read_and_what_follows_it_is_not(tmp_path: Path) -> None:
    file = tmp_path / "a.nii.gz"
    save_volume(file, volume(np.arange(4096, dtype=np.float32).reshape(16, 16, 16)))
    packed = file.read_bytes()
    file.write_bytes(packed + b"something else")
    assert load_volume(file, np.float32, "1.2.3").array[15, 15, 15] == 4095
    file.write_bytes(packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:])
    with pytest.raises(InputError, match="damaged"):
        load_volume(file, np.float32, "1.2.3")


def test_two_sizes_of_a_voxel_in_one_header_are_told(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.diag([2.0, 2, 5, 1]))
    image.header.set_zooms((2, 2, 10))
    nib.save(image, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[88:92] = np.float32(10).tobytes()  # pixdim[3]; saving puts it right
    (tmp_path / "a.nii").write_bytes(raw)
    assert any(
        "2 x 2 x 5 in its sform and 2 x 2 x 10" in n for n in notes_on_placement(tmp_path / "a.nii")
    )
