"""Compartments of lesions: rims, central scars, peripheral nodules, one tissue throughout."""

import numpy as np
import pytest

from liverleaf.phantom.anatomy.canvas import Canvas, Tissue
from liverleaf.phantom.anatomy.compartments import COMPARTMENTS, LesionRegion, local_noise
from liverleaf.terminology import LesionType

ALLOWED = {
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
}


def ball(radius_mm: float) -> tuple[Canvas, LesionRegion]:
    """A ball on voxels of 1 mm."""
    reach = int(radius_mm * 2)
    line = np.arange(-reach, reach + 1, dtype=np.float32)
    offset = np.stack(np.meshgrid(line, line, line, indexing="ij"))
    depth = np.float32(radius_mm) - np.sqrt((offset**2).sum(0))
    tissue = np.full(depth.shape, Tissue.LIVER, np.uint8)
    canvas = Canvas(
        (line, line, line), offset[2], offset[1], offset[0], 0.0, (1.0, 1.0, 1.0), tissue
    )
    whole = slice(0, line.size)
    return canvas, LesionRegion((whole, whole, whole), depth > 0, depth, radius_mm, offset)


def filled(kind: LesionType, radius_mm: float, seed: int) -> tuple[np.ndarray, LesionRegion]:
    canvas, region = ball(radius_mm)
    return COMPARTMENTS[kind](np.random.default_rng(seed), canvas, region), region


@pytest.mark.parametrize("kind", ALLOWED)
@pytest.mark.parametrize("radius_mm", [3.0, 14.0])
def test_every_voxel_has_a_compartment_of_its_type(kind: LesionType, radius_mm: float) -> None:
    for seed in range(5):
        tissues, region = filled(kind, radius_mm, seed)
        assert set(np.unique(tissues[region.mask])) <= ALLOWED[kind]


@pytest.mark.parametrize(
    ("kind", "rim", "centre"),
    [
        (LesionType.ICC, Tissue.ICC_RIM, Tissue.ICC_CENTRE),
        (LesionType.METASTASIS, Tissue.METASTASIS_RIM, Tissue.METASTASIS_CENTRE),
    ],
)
def test_a_rim_surrounds_the_centre(kind: LesionType, rim: Tissue, centre: Tissue) -> None:
    tissues, region = filled(kind, 15.0, 0)
    margin = region.mask & (region.depth_mm < 1)
    assert (tissues[margin] == rim).all()
    assert tissues[region.depth_mm > 14][0] == centre


def test_the_scar_of_an_fnh_is_central_and_small_ones_have_none() -> None:
    scars = 0
    for seed in range(12):
        tissues, region = filled(LesionType.FNH, 15.0, seed)
        scar = region.mask & (tissues == Tissue.FNH_SCAR)
        if scar.any():
            scars += 1
            assert scar[region.depth_mm > 14.5].all()
            assert region.depth_mm[scar].mean() > region.depth_mm[region.mask].mean()
        assert (filled(LesionType.FNH, 8.0, seed)[0] == Tissue.FNH).all()
    assert 5 < scars <= 12  # three in four


def test_small_carcinomas_are_viable_throughout_but_for_a_capsule() -> None:
    for seed in range(8):
        tissues, region = filled(LesionType.HCC, 8.0, seed)
        assert Tissue.HCC_NECROSIS not in tissues[region.mask]


def test_nodules_of_a_haemangioma_are_peripheral_and_leave_gaps() -> None:
    tissues, region = filled(LesionType.HAEMANGIOMA, 16.0, 3)
    nodules = region.mask & (tissues == Tissue.HAEMANGIOMA_NODULE)
    centre = region.mask & (tissues == Tissue.HAEMANGIOMA_CENTRE)
    margin = region.mask & (region.depth_mm < 1.5)
    assert 0 < nodules[margin].mean() < 1
    assert region.depth_mm[nodules].mean() < region.depth_mm[centre].mean()


def test_other_lesions_are_of_several_kinds() -> None:
    kinds = {int(filled(LesionType.OTHER, 8.0, seed)[0].max()) for seed in range(30)}
    assert {Tissue.ADENOMA, Tissue.LYMPHOMA, Tissue.ABSCESS_CENTRE} <= kinds


def test_local_noise_has_unit_variance_and_the_shape_of_its_axes() -> None:
    axes = [np.arange(-40, 41, dtype=np.float32)] * 2 + [np.arange(-20, 21, dtype=np.float32)]
    noise = local_noise(np.random.default_rng(0), axes, 5.0)
    assert noise.shape == (81, 81, 41)
    assert noise.std() == pytest.approx(1, abs=0.15)
