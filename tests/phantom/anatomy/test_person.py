"""Anatomy: reproducible, the right way round, lesions where and what they should be."""

from functools import cache

import numpy as np
import pytest

from liverleaf.phantom.anatomy.person import Anatomy, Tissue, build_anatomy
from liverleaf.study import Modality
from liverleaf.terminology import LesionType

FIRST_LESION_TISSUE = Tissue.HCC
COMPARTMENTS = {
    LesionType.HCC: {Tissue.HCC, Tissue.HCC_NECROSIS, Tissue.HCC_CAPSULE},
    LesionType.ICC: {Tissue.ICC_RIM, Tissue.ICC_CENTRE},
    LesionType.METASTASIS: {Tissue.METASTASIS_RIM, Tissue.METASTASIS_CENTRE},
    LesionType.HAEMANGIOMA: {
        Tissue.HAEMANGIOMA_NODULE,
        Tissue.HAEMANGIOMA_MIDDLE,
        Tissue.HAEMANGIOMA_CENTRE,
    },
    LesionType.FNH: {Tissue.FNH, Tissue.FNH_SCAR},
    LesionType.CYST: {Tissue.CYST},
    LesionType.CALCIFICATION: {Tissue.CALCIFICATION},
    LesionType.OTHER: {
        Tissue.ABSCESS_RIM,
        Tissue.ABSCESS_CENTRE,
        Tissue.ADENOMA,
        Tissue.ANGIOMYOLIPOMA,
        Tissue.ANGIOMYOLIPOMA_FAT,
        Tissue.LYMPHOMA,
    },
}


@cache
def anatomy(
    seed: int, modality: Modality = Modality.MR, lesion_types: tuple[LesionType, ...] | None = None
) -> Anatomy:
    shape, spacing_mm = (
        ((30, 80, 96), (8.0, 4.5, 4.5))
        if modality is Modality.MR
        else ((60, 80, 96), (9.0, 4.5, 4.5))
    )
    return build_anatomy(
        np.random.default_rng(seed),
        shape=shape,
        spacing_mm=spacing_mm,
        modality=modality,
        lesion_types=lesion_types,
    )


def centre_mm(case: Anatomy, *tissues: Tissue) -> np.ndarray:
    """Centre of some tissues in LPS."""
    index = np.argwhere(np.isin(case.tissue.array, tissues)).mean(0)
    return (case.tissue.affine @ [*index, 1])[:3]


def test_one_seed_gives_one_anatomy() -> None:
    first, again, other = anatomy(0), anatomy.__wrapped__(0), anatomy(1)
    assert (first.tissue.array == again.tissue.array).all() and (
        first.lesions.array == again.lesions.array
    ).all()
    assert first.lesion_types == again.lesion_types and first.subject == again.subject
    assert (first.tissue.array != other.tissue.array).any()


@pytest.mark.parametrize("seed", range(3))
def test_organs_lie_the_right_way_round(seed: int) -> None:
    case = anatomy(seed)
    liver, spleen = centre_mm(case, Tissue.LIVER), centre_mm(case, Tissue.SPLEEN)
    aorta, cava = centre_mm(case, Tissue.AORTA), centre_mm(case, Tissue.VENA_CAVA)
    assert liver[0] < -20 < 60 < spleen[0]  # x grows to the patient's left
    assert cava[0] < aorta[0]
    assert aorta[1] < centre_mm(case, Tissue.BONE_MARROW)[1]  # y grows to the back
    # z grows to the head
    assert centre_mm(case, Tissue.LUNG)[2] > liver[2] > centre_mm(case, Tissue.KIDNEY_CORTEX)[2]
    np.testing.assert_allclose(case.tissue.direction[:, 0], (0, 0, 1), atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_liver_has_a_human_size(seed: int) -> None:
    case = anatomy(seed, lesion_types=())
    parts = (Tissue.LIVER, Tissue.PORTAL_VEIN, Tissue.HEPATIC_VEIN)
    # ml
    assert 700 < np.isin(case.tissue.array, parts).sum() * case.tissue.voxel_volume / 1000 < 3200


def test_a_long_ct_reaches_from_the_lungs_to_the_pelvis() -> None:
    tissue = anatomy(0, Modality.CT).tissue.array
    assert (tissue[-4:] == Tissue.LUNG).sum() > 100
    assert (tissue[:12] == Tissue.MUSCLE).mean() > 0.1 and (tissue[:15] == Tissue.BONE_CORTEX).any()
    assert not np.isin(tissue[:12], (Tissue.LIVER, Tissue.LUNG)).any()
    assert {t for t in Tissue if t < FIRST_LESION_TISSUE} - {Tissue.BILE} <= set(np.unique(tissue))


@pytest.mark.parametrize("seed", range(12))
def test_lesions_are_whole_apart_and_of_the_liver(seed: int) -> None:
    case = anatomy(seed)
    labels, tissue = case.lesions.array, case.tissue.array
    assert labels.dtype == np.uint16 and tissue.dtype == np.uint8
    assert len(case.lesion_types) <= 8
    assert set(np.unique(labels)) == set(range(len(case.lesion_types) + 1))
    assert ((labels > 0) == (tissue >= FIRST_LESION_TISSUE)).all()
    liver = np.isin(tissue, (Tissue.LIVER, Tissue.PORTAL_VEIN, Tissue.HEPATIC_VEIN))
    for label, kind in enumerate(case.lesion_types, start=1):
        mask = labels == label
        assert set(np.unique(tissue[mask])) <= COMPARTMENTS[kind]
        box = tuple(slice(max(i.min() - 1, 0), i.max() + 2) for i in np.nonzero(mask))
        assert liver[box].any()
        assert mask.sum() * case.lesions.voxel_volume < 4 / 3 * np.pi * 75**3


def test_asked_types_are_honoured() -> None:
    for kind in LesionType:
        assert anatomy(5, lesion_types=(kind,)).lesion_types == (kind,)
    both = (LesionType.CYST, LesionType.HCC)
    assert sorted(anatomy(6, lesion_types=both).lesion_types) == sorted(both)
    assert anatomy(7, lesion_types=()).lesion_types == ()


def test_a_slab_without_liver_has_no_lesions() -> None:
    pelvis = build_anatomy(
        np.random.default_rng(0),
        shape=(8, 60, 70),
        spacing_mm=(8.0, 6.0, 6.0),
        modality=Modality.CT,
        lesion_types=[LesionType.HCC],
        centre_z_mm=-300,
    )
    assert pelvis.lesion_types == () and not pelvis.lesions.array.any()
    assert (pelvis.tissue.array == Tissue.BONE_MARROW).any()


@pytest.mark.parametrize(
    ("shape", "spacing_mm"), [((0, 8, 8), (1.0, 1.0, 1.0)), ((8, 8, 8), (1.0, -1.0, 1.0))]
)
def test_an_impossible_grid_is_refused(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        build_anatomy(
            np.random.default_rng(0), shape=shape, spacing_mm=spacing_mm, modality=Modality.MR
        )
