"""LiverHccSeg: registered phases first, one rater, and masks of other slices are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from liverleaf.ingest.collections import cases_of
from liverleaf.study import InputError, Phase
from liverleaf.terminology import LesionType

FLIPPED = np.array([[2.0, 0, 0, -30], [0, -2.0, 0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1]])
"""The same voxels as the default grid's, counted from the other side."""


@pytest.fixture
def collection(tmp_path: Path, nifti, image: NDArray, liver: NDArray, tumour: NDArray) -> Path:
    folder = tmp_path / "nifti_and_segms/TCGA-AA-0001/2001-01-01"
    for name, array, affine in (
        ("art", image, None),
        ("art_pv", image[:, :, ::-1], FLIPPED),
        ("pv", image + 5, None),
        ("pre", image, None),
    ):
        nifti(folder / f"{name}.nii.gz", array, *(() if affine is None else (affine,)))
    for rater in ("rater1", "rater2"):
        nifti(folder / f"{rater}_liver.nii.gz", liver)
        nifti(folder / f"{rater}_tumor1.nii.gz", tumour)
    return tmp_path


def test_masks_of_the_first_rater_on_the_registered_phases(
    collection: Path, image: NDArray, tumour: NDArray
) -> None:
    (found,) = cases_of("liverhccseg", collection)
    annotated = found.read()
    assert (found.subject_id, list(annotated.study.phases)) == (
        "liverhccseg-TCGA-AA-0001",
        [Phase.PRE, Phase.ARTERIAL, Phase.PORTAL],
    )
    np.testing.assert_array_equal(annotated.study.grid.array, image)
    np.testing.assert_array_equal(annotated.truth.lesions.array, tumour)
    assert [lesion.type for lesion in annotated.truth.lesion_list] == [LesionType.HCC]
    said = " ".join(annotated.study.warnings)
    assert "not those of rater2" in said
    assert "breathing" not in said
    assert "pre-contrast phase: not registered by the authors" in said
    assert "delayed phase: its file is missing" in said


def test_a_reference_phase_the_authors_did_not_register_is_said(
    collection: Path, image: NDArray
) -> None:
    (collection / "nifti_and_segms/TCGA-AA-0001/2001-01-01/art_pv.nii.gz").unlink()
    annotated = next(cases_of("liverhccseg", collection)).read()
    np.testing.assert_array_equal(annotated.study.grid.array, image + 5)
    assert any("breathing in between" in warning for warning in annotated.study.warnings)


def test_another_number_of_slices_is_refused(collection: Path, nifti, liver: NDArray) -> None:
    nifti(collection / "nifti_and_segms/TCGA-AA-0001/2001-01-01/rater1_liver.nii.gz", liver[:6])
    with pytest.raises(InputError, match="6 slices and the arterial phase 8"):
        next(cases_of("liverhccseg", collection)).read()


def test_a_case_nobody_outlined_is_refused(tmp_path: Path, nifti, image: NDArray) -> None:
    nifti(tmp_path / "TCGA-AA-0002/2001-01-01/art.nii.gz", image)
    assert [case.refused for case in cases_of("liverhccseg", tmp_path)] == [
        "neither rater outlined anything"
    ]
