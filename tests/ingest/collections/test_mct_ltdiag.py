"""MCT-LTDiag: types by folder or table, markers by the table of tumours, and missing files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from liverleaf.ingest.collections import cases_of
from liverleaf.study import InputError, Phase
from liverleaf.terminology import LesionType

TABLE = "ID,Max3D_Diameter_mm,Arterial phase hyperenhancement,Capsule presence\nc1,35.25,Y?,\n"


@pytest.mark.parametrize(
    ("folder", "lesion_type", "primary"),
    [
        ("HCC", LesionType.HCC, None),
        ("ICC", LesionType.ICC, None),
        ("BCLM", LesionType.METASTASIS, "breast cancer"),
        ("CRLM", LesionType.METASTASIS, "colorectal cancer"),
        ("HH", LesionType.HAEMANGIOMA, None),
    ],
)
def test_each_folder_is_a_type(
    folder: str,
    lesion_type: LesionType,
    primary: str | None,
    tmp_path: Path,
    nifti,
    image: NDArray,
    tumour: NDArray,
) -> None:
    for number, name in enumerate(("nc", "art", "pvp", "delay")):
        nifti(tmp_path / f"volume/{folder}/c1/{name}.nii.gz", image + number)
    nifti(tmp_path / f"mask/{folder}/c1/mask_pvp.nii.gz", tumour)
    (tmp_path / "meta_info_tumor.csv").write_text(TABLE)
    (found,) = cases_of("mct-ltdiag", tmp_path)
    annotated = found.read()
    assert list(annotated.study.phases) == [Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED]
    np.testing.assert_array_equal(annotated.study.phases[Phase.ARTERIAL].volume.array, image + 1)
    assert [lesion.type for lesion in annotated.truth.lesion_list] == [lesion_type] * 2
    markers = {"max3d_diameter_mm": 35.25, "arterial_phase_hyperenhancement": "Y?"}
    assert annotated.truth.markers == markers | ({"primary": primary} if primary else {})
    assert annotated.truth.organs is None
    assert any("liver is not outlined" in warning for warning in annotated.study.warnings)


def test_the_layout_of_dataverse_with_a_liver_and_a_missing_phase(
    tmp_path: Path, nifti, image: NDArray, liver: NDArray, tumour: NDArray
) -> None:
    nifti(tmp_path / "c1/NIFTI/pvp.nii.gz", image)
    nifti(tmp_path / "c1/NIFTI/art.nii.gz", image)
    nifti(tmp_path / "c1/mask_pvp.nii.gz", tumour)
    nifti(tmp_path / "c1/liver_mask_pvp.nii.gz", liver)
    nifti(tmp_path / "c2/NIFTI/pvp.nii.gz", image)
    (tmp_path / "meta_info_patient.tab").write_text('"ID"\t"type"\n"c1"\t"HH"\n')
    first, second = cases_of("mct-ltdiag", tmp_path)
    annotated = first.read()
    assert annotated.truth.lesion_list[0].type is LesionType.HAEMANGIOMA
    assert (annotated.truth.organs.array > 0).sum() == 600
    assert {"pre-contrast phase: its file is missing", "delayed phase: its file is missing"} <= set(
        annotated.study.warnings
    )
    assert "mask_pvp.nii.gz is missing" in second.refused


def test_a_mask_of_a_portal_phase_that_is_gone_lies_in_the_next(
    tmp_path: Path, nifti, image: NDArray, tumour: NDArray
) -> None:
    nifti(tmp_path / "volume/HCC/c1/delay.nii.gz", image)
    nifti(tmp_path / "mask/HCC/c1/mask_pvp.nii.gz", tumour)
    annotated = next(cases_of("mct-ltdiag", tmp_path)).read()
    assert any(
        "in the portal venous phase and lie in the delayed phase" in warning
        for warning in annotated.study.warnings
    )


def test_an_empty_mask_of_a_known_tumour_is_refused(tmp_path: Path, nifti, image: NDArray) -> None:
    nifti(tmp_path / "volume/HCC/c1/pvp.nii.gz", image)
    nifti(tmp_path / "mask/HCC/c1/mask_pvp.nii.gz", 0 * image)
    with pytest.raises(InputError, match="lesion mask is empty"):
        next(cases_of("mct-ltdiag", tmp_path)).read()
