"""LiQA: any image may be missing, folders name the stage, and some livers are outlined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liverleaf.ingest.collections import cases_of
from liverleaf.study import Phase


def test_a_case_with_gaps(tmp_path: Path, nifti, image: NDArray, liver: NDArray) -> None:
    folder = tmp_path / "LiQA_training_data/Vendor_B2/1075-B2-S4"
    for name in ("T1", "GED1", "GED4", "T2", "DWI_800"):
        nifti(folder / f"{name}.nii.gz", image)
    nifti(folder / "mask_GED4.nii.gz", liver)
    nifti(tmp_path / "LiQA_training_data/Vendor_A/3-A-S1/GED2.nii.gz", image)
    nifti(tmp_path / "LiQA_training_data/Vendor_A/4-A-S1/T2.nii.gz", image)
    bare, t2_only, found = cases_of("liqa", tmp_path)
    annotated = found.read()
    assert found.subject_id == "liqa-1075-B2"
    assert list(annotated.study.phases) == [Phase.PRE, Phase.ARTERIAL, Phase.HEPATOBILIARY]
    assert (sorted(annotated.study.other), annotated.study.agent) == (
        ["dwi_800", "t2w"],
        "gadoxetate",
    )
    np.testing.assert_array_equal(annotated.organs.array > 0, liver > 0)
    assert annotated.markers == {"fibrosis_stage": 4.0}
    assert "GED2, GED3 are missing" in annotated.study.warnings
    assert bare.read().organs is None
    assert t2_only.refused == "it has no contrast phase"
