"""OpenSwissHCC: masks per image, some cropped; without lesion masks there is no truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liverleaf.ingest.collections import cases_of
from liverleaf.study import Phase

CROPPED = np.diag([-2.0, -2.0, 3.0, 1.0]) + np.array(
    [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 6.0], [0, 0, 0, 0]]
)
"""The grid without its first two slices."""


def test_cropped_masks_of_the_reference_phase(
    tmp_path: Path, nifti, image: NDArray, liver: NDArray, tumour: NDArray
) -> None:
    stem = "sub-001_acq-water_phase-{}_T1w"
    for name in ("arterial", "venous", "unheard"):
        nifti(tmp_path / f"raw/sub-001-sub-044/sub-001/dyn/{stem.format(name)}.nii.gz", image)
    masks = tmp_path / "derivatives/manual_lesion_annotations/sub-001/dyn"
    first, second = tumour.copy(), tumour.copy()
    first[4:], second[:4] = 0, 0
    nifti(masks / f"{stem.format('venous')}-L1_seg.nii.gz", first)
    nifti(masks / f"{stem.format('venous')}-L2_seg.nii.gz", second[2:], CROPPED)
    nifti(masks / f"{stem.format('arterial')}-L1_seg.nii.gz", first)
    nifti(
        tmp_path
        / "derivatives/manual_liver_annotations/sub-001/dyn"
        / f"{stem.format('venous')}-liver_seg.nii.gz",
        liver,
    )
    nifti(
        tmp_path / "raw/sub-001-sub-044/sub-002/dyn/sub-002_acq-water_phase-venous_T1w.nii.gz",
        image,
    )
    ill, free = cases_of("openswisshcc", tmp_path)
    annotated = ill.read()
    assert list(annotated.study.phases) == [Phase.ARTERIAL, Phase.PORTAL]
    np.testing.assert_array_equal(annotated.truth.lesions.array, first + 2 * second)
    np.testing.assert_array_equal(annotated.truth.organs.array > 0, liver > 0)
    assert any("another grid (6 x 16 x 16)" in warning for warning in annotated.study.warnings)
    assert (free.read().truth, free.refused) == (None, "")
