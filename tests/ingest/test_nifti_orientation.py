"""NIfTI in every orientation: each voxel keeps its position in the patient, read and written."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from liverleaf.ingest.reader import read_study
from liverleaf.storage.case_folder import load_case, save_case
from liverleaf.storage.volumes import save_volume
from liverleaf.study import InputError, Modality, Phase, PhaseImage, Study

AXES = [
    "".join(signs[i] for i, signs in zip(order, chosen, strict=True))
    for order in permutations(range(3))
    for chosen in product(*[[("R", "A", "S"), ("L", "P", "I")]] * 3)
]
SHAPE = (5, 6, 4)
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def turned(degrees: tuple[float, float, float]) -> NDArray[np.float64]:
    """A rotation about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        turn = np.eye(3)
        a, b = [i for i in range(3) if i != axis]
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def affine_of(axes: str, degrees: tuple[float, float, float] = (0, 0, 0)) -> NDArray[np.float64]:
    """A RAS affine whose voxel axes run towards `axes`, of 0.7 x 0.8 x 2.5 mm, perhaps oblique."""
    direction = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(axes), (1, 1, 1))[
        :3, :3
    ]
    affine = np.eye(4)
    affine[:3, :3] = (
        turned(degrees) @ np.sign(np.rint(np.linalg.inv(direction))) @ np.diag([0.7, 0.8, 2.5])
    )
    affine[:3, 3] = (30.5, -20.25, 100.75)
    return affine


def stored(dtype: type = np.int16) -> NDArray:
    return (np.random.default_rng(1).permutation(np.prod(SHAPE)).reshape(SHAPE) - 1000).astype(
        dtype
    )


def write(path: Path, array: NDArray, affine: NDArray[np.float64] | None) -> nib.Nifti1Image:
    image = nib.Nifti1Image(array, affine)
    nib.save(image, path)
    return image


def only(path: Path) -> tuple[hd.Volume, str]:
    study = read_study(path)
    (image,) = study.phases.values()
    return image.volume, "; ".join(study.warnings)


def assert_each_voxel_at_its_place(
    volume: hd.Volume, array: NDArray, affine_ras: NDArray[np.float64]
) -> None:
    """Slow and obvious: ask for the value at the point where each stored voxel lies."""
    assert sorted(volume.spatial_shape) == sorted(array.shape)
    to_index = np.linalg.inv(volume.affine)
    for index in np.ndindex(array.shape):
        z, y, x, _ = to_index @ TO_LPS @ affine_ras @ (*index, 1)
        at = np.rint([z, y, x]).astype(int)
        np.testing.assert_allclose((z, y, x), at, atol=1e-3)
        assert volume.array[tuple(at)] == array[index]


def test_there_are_48_orientations() -> None:
    assert len(set(AXES)) == 48


@pytest.mark.parametrize("degrees", [(0, 0, 0), (12, -7, 20)], ids=["straight", "oblique"])
@pytest.mark.parametrize("axes", AXES)
def test_each_voxel_stays_at_its_place(
    tmp_path: Path, axes: str, degrees: tuple[float, float, float]
) -> None:
    array, affine = stored(), affine_of(axes, degrees)
    if degrees == (0, 0, 0):
        assert "".join(nib.aff2axcodes(affine)) == axes
    write(tmp_path / "pv.nii", array, affine)
    volume, told = only(tmp_path / "pv.nii")
    assert_each_voxel_at_its_place(volume, array, affine)
    towards = np.sign(np.rint(volume.affine[:3, :3] / np.array(volume.spacing)))
    np.testing.assert_array_equal(towards, [[0, 0, 1], [0, 1, 0], [1, 0, 0]])  # head, back, left
    assert "orientation" not in told


@pytest.mark.parametrize("kept", ["qform", "sform", "both"])
def test_one_form_is_enough(tmp_path: Path, kept: str) -> None:
    array, affine = stored(), affine_of("PIR", (5, 10, -15))
    image = nib.Nifti1Image(array, None)
    if kept in ("qform", "both"):
        image.set_qform(affine, code=1)
    if kept in ("sform", "both"):
        image.set_sform(affine, code=1)
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (
        kept != "sform",
        kept != "qform",
    )
    nib.save(image, tmp_path / "pv.nii.gz")
    volume, told = only(tmp_path / "pv.nii.gz")
    assert_each_voxel_at_its_place(volume, array, affine)
    assert "orient" not in told


def test_forms_that_disagree_are_told_and_the_sform_is_used(tmp_path: Path) -> None:
    array, affine = stored(), affine_of("LPS")
    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine @ np.diag([-1.0, 1.0, 1.0, 1.0]), code=1)
    image.set_sform(affine, code=2)
    nib.save(image, tmp_path / "pv.nii")
    volume, told = only(tmp_path / "pv.nii")
    assert_each_voxel_at_its_place(volume, array, affine)
    assert "two places" in told


def test_rounding_between_the_forms_is_no_disagreement(tmp_path: Path) -> None:
    affine = affine_of("RAS", (12, -7, 20))
    image = nib.Nifti1Image(stored(), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine + np.eye(4, 4) * 1e-5, code=1)
    nib.save(image, tmp_path / "pv.nii")
    assert "two places" not in only(tmp_path / "pv.nii")[1]


def test_without_any_form_a_warning_says_so(tmp_path: Path) -> None:
    image = nib.Nifti1Image(stored(), None)
    image.header["qform_code"] = image.header["sform_code"] = 0
    nib.save(image, tmp_path / "pv.nii")
    assert "does not tell how the patient lies" in only(tmp_path / "pv.nii")[1]


def test_scaled_integers(tmp_path: Path) -> None:
    array, affine = stored(), affine_of("RSA")
    image = nib.Nifti1Image(array, affine)
    image.header.set_slope_inter(0.5, 20)
    nib.save(image, tmp_path / "pv.nii")
    image = nib.load(tmp_path / "pv.nii")
    assert image.dataobj.slope == 0.5
    volume, _ = only(tmp_path / "pv.nii")
    assert_each_voxel_at_its_place(volume, np.asarray(image.dataobj, np.float32), affine)
    np.testing.assert_array_equal(
        np.sort(volume.array.ravel()),
        np.sort(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "pv.nii"))).ravel()),
    )


def test_time_points_in_one_file_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "pv.nii", np.stack([stored(), stored()], axis=-1), affine_of("RAS"))
    with pytest.raises(
        InputError, match=r"shape \(5, 6, 4, 2\), a phase has three axes; give one file per phase"
    ):
        read_study(tmp_path / "pv.nii")


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_what_we_write_others_read_alike(tmp_path: Path, dtype: type) -> None:
    affine = np.eye(4)
    affine[:3, :3] = turned((8, -4, 30)) @ np.array([[0, 0, 0.7], [0, 0.8, 0], [2.5, 0, 0]])
    affine[:3, 3] = (-30.5, 20.25, 100.75)
    array = stored(dtype).transpose(2, 1, 0).astype(np.float32) + (
        0.5 if dtype is np.float32 else 0
    )
    volume = hd.Volume(np.ascontiguousarray(array), affine, "PATIENT")
    save_case(tmp_path / "case", Study(Modality.CT, {Phase.PORTAL: PhaseImage(volume)}))
    file = tmp_path / "case/portal.nii.gz"

    itk = sitk.ReadImage(str(file))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(itk), array)
    for index in [(0, 0, 0), (3, 5, 4), (1, 4, 2)]:
        np.testing.assert_allclose(
            itk.TransformIndexToPhysicalPoint(index[::-1]), (affine @ (*index, 1))[:3], atol=1e-4
        )
    other = nib.load(file)
    assert_each_voxel_at_its_place(volume, np.asarray(other.dataobj), other.affine)
    np.testing.assert_allclose(other.get_qform(), other.get_sform(), atol=1e-4)

    again = load_case(tmp_path / "case")[0].phases[Phase.PORTAL].volume
    np.testing.assert_array_equal(again.array, array)
    np.testing.assert_allclose(again.affine, affine, atol=1e-4)
    np.testing.assert_array_equal(only(file)[0].array.shape, array.shape)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lesion_masks_are_read_alike_by_others(tmp_path: Path, dtype: type[np.generic]) -> None:
    affine = np.eye(4)
    affine[:3, :3] = turned((8, -4, 30)) @ np.array([[0, 0, 0.7], [0, 0.8, 0], [2.5, 0, 0]])
    labels = np.random.default_rng(2).integers(0, 9, (4, 6, 5)).astype(np.uint16)
    mask = hd.Volume(labels, affine, "PATIENT")
    save_volume(tmp_path / "lesions.nii.gz", mask.with_array(labels.astype(dtype)))
    itk = sitk.ReadImage(str(tmp_path / "lesions.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(itk), labels)
    np.testing.assert_allclose(
        itk.TransformIndexToPhysicalPoint((4, 5, 3)), (affine @ (3, 5, 4, 1))[:3], atol=1e-4
    )
    other = nib.load(tmp_path / "lesions.nii.gz")
    assert other.get_data_dtype() == dtype
    assert_each_voxel_at_its_place(mask, np.asarray(other.dataobj), other.affine)


def test_a_header_that_nibabel_mends_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = write(tmp_path / "pv.nii", stored(), affine_of("LPS"))
    image.header["sform_code"] = 4098
    content = bytearray((tmp_path / "pv.nii").read_bytes())
    content[:348] = image.header.binaryblock
    (tmp_path / "pv.nii").write_bytes(content)
    assert "held impossible values that were mended" in only(tmp_path / "pv.nii")[1]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 3e38, 0.0])
def test_an_impossible_place_is_refused(tmp_path: Path, wrong: float) -> None:
    affine = affine_of("LPS")
    affine[1, 1 if wrong == 0 else 3] = wrong
    header = nib.Nifti1Header()
    header.set_data_shape(SHAPE)
    header["sform_code"], header["magic"], header["vox_offset"] = 1, b"n+1", 352
    header["srow_x"], header["srow_y"], header["srow_z"] = affine[:3]
    header.set_data_dtype(np.int16)
    (tmp_path / "pv.nii").write_bytes(header.binaryblock + bytes(4) + stored().tobytes(order="F"))
    with pytest.raises(
        InputError, match=r"impossible voxel size or position|sheared or degenerate"
    ):
        read_study(tmp_path / "pv.nii")
