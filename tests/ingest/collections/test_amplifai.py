"""AMPLIFAI: four phases, lesions of unknown type, and a score where a table tells it."""

from __future__ import annotations

from pathlib import Path

from numpy.typing import NDArray

from liverleaf.ingest.collections import cases_of
from liverleaf.study import Phase


def test_phases_lesions_and_scores(tmp_path: Path, nifti, image: NDArray, tumour: NDArray) -> None:
    for name in ("ART", "VEN", "DEL", "DRY"):
        nifti(tmp_path / f"batch_1/cases/C1/ct/C1_{name}.nii.gz", image)
    nifti(tmp_path / "batch_1/cases/C1/annotations/lesion.nii.gz", tumour)
    nifti(tmp_path / "batch_1/cases/C2/ct/C2_VEN.nii.gz", image)
    (tmp_path / "train.csv").write_text("case_id,lirads_score\nC1,LR-5\n")
    first, second = cases_of("amplifai", tmp_path)
    annotated = first.read()
    assert list(annotated.study.phases) == [Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED]
    assert (int(annotated.truth.lesions.array.max()), annotated.truth.lesion_list) == (2, ())
    assert annotated.truth.markers == {"lirads": "LR-5"}
    assert "lesion mask is missing" in second.refused
