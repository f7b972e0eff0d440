"""WAW-TACE: NRRD masks in LPS on NIfTI scans in LAS, whose names may tell the wrong phase."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from liverleaf.ingest.collections import cases_of
from liverleaf.study import InputError, Phase
from liverleaf.terminology import LesionType

LAS = np.array([[-2.0, 0, 0, 10], [0, 2.0, 0, -20], [0, 0, 3.0, 30], [0, 0, 0, 1]])
"""Voxels run to the left, the front and the head."""


def nrrd(
    path: Path, mask_ZYX: NDArray, origin_lps: tuple[float, float, float] = (-10.0, -10.0, 30.0)
) -> None:
    """A mask (Z, Y, X) in LPS, whose default origin is that of the scans under LAS."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = sitk.GetImageFromArray(mask_ZYX.astype(np.uint8))
    picture.SetSpacing((2.0, 2.0, 3.0))
    picture.SetOrigin(origin_lps)
    sitk.WriteImage(picture, str(path))


def scan(tmp_path: Path, nifti, array_ZYX: NDArray, phase: int, affine: NDArray = LAS) -> None:
    nifti(tmp_path / f"ct_scans_1/35/35_{phase}_scan.nii.gz", array_ZYX[:, ::-1], affine)


def test_lps_masks_lie_right_on_las_scans(
    tmp_path: Path, nifti, image: NDArray, tumour: NDArray
) -> None:
    for phase in range(4):
        scan(tmp_path, nifti, image + phase, phase)
    first, second = tumour.copy(), tumour.copy()
    first[4:], second[:4] = 0, 0
    nrrd(tmp_path / "tumor_masks/35/35_2_0_tumor_seg.nrrd", second)
    nrrd(tmp_path / "tumor_masks/35/35_2_1_tumor_seg.nrrd", first)
    (found,) = cases_of("waw-tace", tmp_path)
    annotated = found.read()
    assert list(annotated.study.phases) == [Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED]
    np.testing.assert_array_equal(annotated.study.grid.array, image + 2)
    np.testing.assert_array_equal(annotated.truth.lesions.array, second + 2 * first)
    assert {lesion.type for lesion in annotated.truth.lesion_list} == {LesionType.HCC}
    assert not any("phase" in warning for warning in annotated.study.warnings)


def test_the_liver_of_totalsegmentator_is_named_as_such(
    tmp_path: Path, nifti, image: NDArray, liver: NDArray, tumour: NDArray
) -> None:
    scan(tmp_path, nifti, image, 2)
    nrrd(tmp_path / "tumor_masks/35/35_2_0_tumor_seg.nrrd", tumour)
    nifti(tmp_path / "organ_masks/35_2.nii.gz", (5 * liver)[:, ::-1], LAS)
    annotated = next(cases_of("waw-tace", tmp_path)).read()
    np.testing.assert_array_equal(annotated.truth.organs.array > 0, liver > 0)
    assert (
        "the liver was outlined by TotalSegmentator and not by people" in annotated.study.warnings
    )


def test_a_wrong_phase_in_the_name_is_mended_by_geometry(
    tmp_path: Path, nifti, image: NDArray, tumour: NDArray
) -> None:
    elsewhere = LAS + np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1.0], [0, 0, 0, 0]])
    scan(tmp_path, nifti, image, 1, elsewhere)
    scan(tmp_path, nifti, image, 2)
    nrrd(tmp_path / "tumor_masks/35/35_1_0_tumor_seg.nrrd", tumour)
    annotated = next(cases_of("waw-tace", tmp_path)).read()
    np.testing.assert_array_equal(annotated.truth.lesions.array, tumour)
    assert any(
        "named after the arterial phase but have the grid of the portal venous phase" in w
        for w in annotated.study.warnings
    )


def test_masks_of_a_phase_that_is_not_the_reference_say_so(
    tmp_path: Path, nifti, image: NDArray, tumour: NDArray
) -> None:
    scan(tmp_path, nifti, image, 1)
    scan(tmp_path, nifti, image, 2)
    nrrd(tmp_path / "tumor_masks/35/35_1_0_tumor_seg.nrrd", tumour)
    assert any(
        "breathing in between" in warning
        for warning in next(cases_of("waw-tace", tmp_path)).read().study.warnings
    )


def test_masks_of_no_scan_and_patients_without_either_are_refused(
    tmp_path: Path, nifti, image: NDArray, tumour: NDArray
) -> None:
    scan(tmp_path, nifti, image, 2)
    nrrd(tmp_path / "tumor_masks/35/35_2_0_tumor_seg.nrrd", tumour, (-10.0, -10.0, 31.5))
    nrrd(tmp_path / "tumor_masks/36/36_2_0_tumor_seg.nrrd", tumour)
    nifti(tmp_path / "ct_scans_1/37/37_2_scan.nii.gz", image)
    first, second, third = cases_of("waw-tace", tmp_path)
    with pytest.raises(InputError, match="grid of none of its scans"):
        first.read()
    assert (second.refused, third.refused) == ("it has no scans", "it has no tumour masks")
