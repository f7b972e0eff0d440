"""Names of classes as datasets have them: the type they tell, or that they tell none."""

import pytest

from liverleaf.ingest.collections.lesion_names import lesion_name
from liverleaf.terminology import LesionType

TYPED = {
    LesionType.HCC: "HCC, hcc_lesion, Hepatocellular carcinoma, hepatocellular-cancer, hepatoma",
    LesionType.ICC: "ICC, iCCA, intrahepatic cholangiocarcinoma, Cholangiocellular carcinoma",
    LesionType.METASTASIS: "metastasis, Metastases, liver_mets, CRLM, colorectal liver metastasis",
    LesionType.HAEMANGIOMA: "haemangioma, Hemangiomas, Hämangiom, hepatic_hemangioma",
    LesionType.FNH: "FNH, focal nodular hyperplasia",
    LesionType.CYST: "cyst, simple cysts, liver-cyst, Zyste",
    LesionType.CALCIFICATION: "calcification, calcified lesion",
    LesionType.OTHER: "other_lesion, other liver tumours",
}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in TYPED.items() for name in names.split(", ")]
)
def test_a_name_tells_its_type(kind: LesionType, name: str) -> None:
    found = lesion_name(name)
    assert found is not None and found.type is kind


@pytest.mark.parametrize("kind", LesionType)
def test_our_own_titles_and_keys_are_understood(kind: LesionType) -> None:
    ending = " lesion" if kind is LesionType.OTHER else ""
    for name in (kind.key, kind.title):
        found = lesion_name(name + ending)
        assert found is not None and found.type is kind


@pytest.mark.parametrize(
    "name", ["lesion", "Tumor", "liver_tumour", "cancer", "malignant liver lesions", "lesion 2"]
)
def test_a_name_that_says_lesion_and_no_more_is_generic(name: str) -> None:
    assert lesion_name(name) == (None, True)


@pytest.mark.parametrize(
    "name",
    [
        "adenoma",
        "hepatocellular adenoma",
        "abscess",
        "cystic lesion",
        "biliary cystadenoma",
        "hemangioendothelioma",
        "hepatocellular-cholangiocarcinoma",
        "cyst or haemangioma",
        "non-HCC malignancy",
    ],
)
def test_a_lesion_of_no_type_of_ours_or_of_two_has_none(name: str) -> None:
    assert lesion_name(name) == (None, False)


@pytest.mark.parametrize(
    "name", ["liver", "spleen", "portal vein", "kidney cyst", "lung_nodule", "pancreatic tumor"]
)
def test_organs_and_their_lesions_are_no_lesions_of_the_liver(name: str) -> None:
    assert lesion_name(name) is None
