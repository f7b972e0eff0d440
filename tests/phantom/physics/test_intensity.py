"""Intensities of labelled tissue: HU and signal by hand; texture and heterogeneity as asked."""

from dataclasses import replace

import numpy as np
import pytest

from liverleaf.phantom.anatomy.canvas import Tissue
from liverleaf.phantom.physics.intensity import (
    CODES_PER_LESION,
    ORGANS,
    Compartment,
    ct_intensities,
    draw_heterogeneity,
    draw_texture,
    kinetics_of,
    mr_intensities,
    organ_values,
)
from liverleaf.phantom.physics.kinetics import AGENTS, PERFUSION
from liverleaf.phantom.physics.protocol import Protocol
from liverleaf.phantom.physics.signal import FAT_T1_S, PROPERTIES, iodine_hu, spgr_signal
from liverleaf.study import Modality, Phase
from liverleaf.terminology import Organ

CT = Protocol(Modality.CT, AGENTS["iodine"], {Phase.PORTAL: 70.0})
MR = Protocol(Modality.MR, AGENTS["gadobutrol"], {Phase.PORTAL: 70.0}, fat_suppressed=False)
SHAPE = (40, 60, 60)


def compartment(tissue: Tissue, lesion: int = 0, voxels: int = 0, **changes: float) -> Compartment:
    return Compartment(
        lesion * CODES_PER_LESION + tissue,
        tissue,
        voxels,
        replace(PROPERTIES[tissue], **changes),
        PERFUSION[tissue],
    )


def test_hu_is_that_of_the_tissue_and_of_the_iodine_in_it() -> None:
    properties = [PROPERTIES[Tissue.LIVER], PROPERTIES[Tissue.FAT]]
    found = ct_intensities(properties, np.array([[0.0, 10.0], [0.0, 0.0]]), CT)
    liver, fat = (p.hu for p in properties)
    np.testing.assert_allclose(found, [[liver, liver + iodine_hu(10.0)], [fat, fat]])


def test_less_iodine_is_given_at_a_lower_voltage() -> None:
    low = replace(CT, kilovolt=100)
    (added,) = (
        ct_intensities([PROPERTIES[Tissue.CYST]], np.array([[10.0]]), low)[0]
        - PROPERTIES[Tissue.CYST].hu
    )
    assert added == pytest.approx(0.85 * iodine_hu(10.0, kilovolt=100))


def test_the_signal_of_pure_water_is_the_spoiled_gradient_echo() -> None:
    properties = replace(PROPERTIES[Tissue.CYST], fat_fraction=0.0, proton_density=0.5)
    none = np.zeros((1, 1))
    ((found,),) = mr_intensities([properties], none, none, MR)
    decay = np.exp(-MR.te_s / (properties.t2_star_s * 2 / 3))
    wanted = spgr_signal(properties.t1_s[1], tr_s=MR.tr_s, flip_deg=MR.flip_deg, decay=decay)
    assert found == pytest.approx(MR.scale * 0.5 * float(wanted))


def test_fat_is_bright_unless_it_is_suppressed() -> None:
    properties = replace(PROPERTIES[Tissue.FAT], fat_fraction=1.0, proton_density=1.0)
    none = np.zeros((1, 1))
    ((bright,),) = mr_intensities([properties], none, none, MR)
    ((dark,),) = mr_intensities([properties], none, none, replace(MR, fat_suppressed=True))
    lipid = spgr_signal(FAT_T1_S[1], tr_s=MR.tr_s, flip_deg=MR.flip_deg)
    assert bright == pytest.approx(MR.scale * float(lipid))
    assert dark == pytest.approx(0.08 * bright)


def test_agent_brightens_outside_and_inside_hepatocytes() -> None:
    gadoxetate = replace(MR, agent=AGENTS["gadoxetate"])
    some, none = np.array([[0.2]]), np.zeros((1, 1))
    liver = [PROPERTIES[Tissue.LIVER]]
    ((native,),), ((outside,),), ((inside,),) = (
        mr_intensities(liver, *pair, gadoxetate)
        for pair in ((none, none), (some, none), (none, some))
    )
    assert inside > outside > native


@pytest.mark.parametrize("modality", Modality)
def test_texture_has_the_asked_spread(modality: Modality) -> None:
    codes = np.full(SHAPE, Tissue.LIVER, np.uint16)
    native = np.full(Tissue.LIVER + 1, 400.0, np.float32)
    protocol = CT if modality is Modality.CT else MR
    body = [compartment(Tissue.LIVER, texture=5.0)]
    field = draw_texture(codes, body, protocol, native, np.random.default_rng(0), (3.0, 3.0, 3.0))
    # HU on CT, percent of the tissue's own signal on MR
    assert field.std() == pytest.approx(5.0 if modality is Modality.CT else 20.0, rel=0.25)
    assert abs(field.mean()) < field.std()


def test_tissues_without_texture_have_none() -> None:
    codes = np.full(SHAPE, Tissue.LIVER, np.uint16)
    native = np.full(Tissue.LIVER + 1, 400.0, np.float32)
    body = [compartment(Tissue.LIVER, texture=0.0)]
    rng = np.random.default_rng(0)
    assert not draw_texture(codes, body, CT, native, rng, (3.0, 3.0, 3.0)).any()


def test_larger_lesions_are_more_heterogeneous() -> None:
    codes = np.zeros(SHAPE, np.uint16)
    small, large = (label * CODES_PER_LESION + Tissue.HCC for label in (1, 2))
    codes[:, :, :30], codes[:, :, 30:] = small, large
    # balls of 10 and of 60 mm across
    volumes = [np.pi / 6 * d**3 for d in (10.0, 60.0)]
    body = [
        compartment(Tissue.HCC, lesion=label, voxels=round(v / 27), heterogeneity=0.2)
        for label, v in zip((1, 2), volumes, strict=True)
    ]
    field = draw_heterogeneity(codes, body, np.random.default_rng(0), (3.0, 3.0, 3.0))
    spread = field[:, :, :30].std(), field[:, :, 30:].std()
    assert spread[1] / spread[0] == pytest.approx(1.5 / 0.5, rel=0.25)
    assert field.min() >= 0.1 and field.max() <= 2.5


def test_a_compartment_knows_its_lesion() -> None:
    assert compartment(Tissue.LIVER).lesion == 0
    assert compartment(Tissue.FNH_SCAR, lesion=3).lesion == 3


def test_kinetics_are_named_after_their_compartment() -> None:
    found = kinetics_of([compartment(Tissue.FNH, 1), compartment(Tissue.FNH_SCAR, 1)])
    assert found["fnh.arterial_fraction"] == PERFUSION[Tissue.FNH].arterial_fraction
    assert found["fnh_scar.slow_volume"] == PERFUSION[Tissue.FNH_SCAR].slow_volume


def test_every_tissue_belongs_to_an_organ_and_lesions_to_the_liver() -> None:
    values = organ_values()
    for tissue in Tissue:
        assert values[tissue] == (Organ.LIVER if tissue >= Tissue.HCC else ORGANS[tissue])
