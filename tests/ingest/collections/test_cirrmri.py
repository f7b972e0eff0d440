"""CirrMRI600+: T1 and T2 of a person are one study; livers without lesions are no truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liverleaf.ingest.collections import cases_of
from liverleaf.study import Phase
from liverleaf.terminology import Organ


def test_t1_is_the_phase_and_t2_lies_beside_it(
    tmp_path: Path, nifti, image: NDArray, liver: NDArray
) -> None:
    nifti(tmp_path / "Cirrhosis_T1_3D/train_images/12.nii.gz", image)
    nifti(tmp_path / "Cirrhosis_T1_3D/train_masks/12.nii.gz", liver)
    nifti(tmp_path / "Cirrhosis_T2_3D/valid_images/12.nii.gz", image + 1)
    nifti(tmp_path / "Cirrhosis_T2_3D/valid_images/13.nii.gz", image)
    nifti(tmp_path / "Healthy_subjects/T1_W_Healthy/T1_images/12.nii.gz", image)
    nifti(tmp_path / "Healthy_subjects/T1_W_Healthy/T1_masks/12.nii.gz", liver)
    ill, t2_only, healthy = cases_of("cirrmri600", tmp_path)
    annotated = ill.read()
    assert (ill.subject_id, healthy.subject_id) == ("cirrmri600-12", "cirrmri600-healthy-12")
    assert (list(annotated.study.phases), list(annotated.study.other)) == ([Phase.PRE], ["t2w"])
    assert annotated.truth is None
    np.testing.assert_array_equal(annotated.organs.array == Organ.LIVER, liver > 0)
    assert (annotated.diagnosis, healthy.read().diagnosis) == ("cirrhosis", "normal")
    assert any("no truth to train on" in warning for warning in annotated.study.warnings)
    assert "T2-weighted images only" in t2_only.refused
