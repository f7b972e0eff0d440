"""A body of blocks goes through the scanner: the truth describes the images."""

from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from scipy.ndimage import binary_erosion, map_coordinates

from liverleaf.phantom.anatomy.person import Anatomy, Subject, Tissue
from liverleaf.phantom.physics.acquisition import acquire
from liverleaf.phantom.physics.kinetics import AGENTS
from liverleaf.phantom.physics.protocol import Protocol
from liverleaf.study import Modality, Phase, same_grid
from liverleaf.terminology import LesionType, Organ

TIMES_S = {Phase.PRE: -60.0, Phase.ARTERIAL: 33.0, Phase.PORTAL: 70.0, Phase.DELAYED: 180.0}


def blocks() -> Anatomy:
    tissue = np.full((12, 48, 56), Tissue.AIR, np.uint8)
    tissue[:, 4:-4, 4:-4] = Tissue.FAT
    tissue[1:-1, 8:40, 8:40] = Tissue.LIVER
    tissue[:, 20:28, 44:50] = Tissue.AORTA
    lesions = np.zeros(tissue.shape, np.uint16)
    tissue[3:9, 12:22, 12:22], lesions[3:9, 12:22, 12:22] = Tissue.HCC, 1
    tissue[3:9, 26:36, 12:24], lesions[3:9, 26:36, 12:24] = Tissue.METASTASIS_RIM, 2
    tissue[4:8, 29:33, 16:20] = Tissue.METASTASIS_CENTRE
    affine = np.array([[0, 0, 2.0, -50], [0, 2.0, 0, -40], [5.0, 0, 0, 100], [0, 0, 0, 1]])
    volumes = (hd.Volume(array, affine, "PATIENT") for array in (tissue, lesions))
    return Anatomy(*volumes, (LesionType.HCC, LesionType.METASTASIS), Subject(75.0, 0.0, 0.05))


def still(modality: Modality, agent: str) -> Protocol:
    return Protocol(
        modality,
        AGENTS[agent],
        TIMES_S,
        noise=1.0 if modality is Modality.CT else 0.01,
        bias=0.0,
        shift_sd_mm=0,
        deformation_sd_mm=0,
    )


@pytest.mark.parametrize(
    ("modality", "agent"),
    [(Modality.CT, "iodine"), (Modality.MR, "gadobutrol"), (Modality.MR, "gadoxetate")],
)
def test_truth_describes_the_images(modality: Modality, agent: str) -> None:
    study, truth = acquire(blocks(), still(modality, agent), np.random.default_rng(3))
    assert list(study.phases) == list(TIMES_S)
    assert study.on_one_grid
    assert truth.organs is not None
    assert set(np.unique(truth.organs.array[truth.lesions.array > 0])) == {Organ.LIVER}
    inside = [
        binary_erosion(truth.lesions.array == 1),
        binary_erosion((truth.organs.array == Organ.LIVER) & (truth.lesions.array == 0)),
    ]
    for phase, image in study.phases.items():
        assert np.array_equal(image.volume.array, np.rint(image.volume.array))
        for mask, curve in zip(
            inside, (truth.lesion_list[0].curve, truth.liver_curve), strict=True
        ):
            assert image.volume.array[mask].mean() == pytest.approx(curve[phase], rel=0.08, abs=3)
    assert truth.lesion_list[0].kinetics["hcc.arterial_fraction"] > 0.8
    assert {name.split(".")[0] for name in truth.lesion_list[1].kinetics} == {
        "metastasis_rim",
        "metastasis_centre",
    }


def test_arms_cast_their_shadow_on_the_same_place_in_every_phase() -> None:
    study, _ = acquire(
        blocks(), replace(still(Modality.CT, "iodine"), streaks=150.0), np.random.default_rng(4)
    )
    # fat
    pre, *others = (
        image.volume.array[:, 6:-6, 5:7].mean(2).ravel() for image in study.phases.values()
    )
    assert pre.std() > 10
    assert all(np.corrcoef(pre, other)[0, 1] > 0.6 for other in others)


def test_aorta_brightens_first() -> None:
    study, truth = acquire(blocks(), still(Modality.CT, "iodine"), np.random.default_rng(0))
    assert truth.organs is not None
    aorta = binary_erosion(truth.organs.array == Organ.AORTA)
    means = {phase: image.volume.array[aorta].mean() for phase, image in study.phases.items()}
    assert (
        means[Phase.PRE] < 60 < means[Phase.DELAYED] < means[Phase.PORTAL] < means[Phase.ARTERIAL]
    )


@pytest.mark.parametrize("own_grids", [False, True])
def test_displacement_leads_to_the_same_tissue(own_grids: bool) -> None:
    protocol = replace(still(Modality.CT, "iodine"), shift_sd_mm=8.0, deformation_sd_mm=2.0)
    study, truth = acquire(blocks(), protocol, np.random.default_rng(5), own_grids=own_grids)
    assert set(truth.displacement_mm) == set(TIMES_S) - {Phase.PORTAL}
    assert study.on_one_grid != own_grids
    volume, field_mm = study.phases[Phase.ARTERIAL].volume, truth.displacement_mm[Phase.ARTERIAL]
    assert field_mm.shape == (*study.grid.spatial_shape, 3)
    assert np.abs(field_mm).max() > 2
    body = binary_erosion(truth.lesions.array == 1, iterations=1)
    index = np.argwhere(body)
    points_mm = study.grid.map_indices_to_reference(index) + field_mm[body]
    moved = volume.map_reference_to_indices(points_mm)
    values = map_coordinates(volume.array, moved.T, order=1, mode="nearest")
    assert values.mean() == pytest.approx(truth.lesion_list[0].curve[Phase.ARTERIAL], abs=8)


def test_own_grids_stay_inside_the_reference() -> None:
    study, _ = acquire(
        blocks(), still(Modality.CT, "iodine"), np.random.default_rng(1), own_grids=True
    )
    far = np.array(study.grid.spatial_shape) - 1
    for phase, image in study.phases.items():
        corners = np.array([[0, 0, 0], np.array(image.volume.spatial_shape) - 1])
        index = study.grid.map_reference_to_indices(image.volume.map_indices_to_reference(corners))
        assert (index > -0.01).all()
        assert (index < far + 0.01).all()
        assert same_grid(image.volume, study.grid) == (phase is Phase.PORTAL)


def test_gadoxetate_lights_the_liver_and_not_the_carcinoma() -> None:
    protocol = replace(
        still(Modality.MR, "gadoxetate"), times_s={Phase.PRE: -60.0, Phase.HEPATOBILIARY: 1200.0}
    )
    _, truth = acquire(blocks(), protocol, np.random.default_rng(0))
    liver, lesion = truth.liver_curve, truth.lesion_list[0].curve
    assert liver[Phase.HEPATOBILIARY] > 1.3 * liver[Phase.PRE]
    assert lesion[Phase.HEPATOBILIARY] < 1.15 * lesion[Phase.PRE]


def test_a_body_without_liver_has_no_liver_curve() -> None:
    empty = blocks()
    only_fat = Anatomy(
        empty.tissue.with_array(np.full(empty.tissue.spatial_shape, Tissue.FAT, np.uint8)),
        empty.lesions.with_array(np.zeros(empty.tissue.spatial_shape, np.uint16)),
        (),
        empty.subject,
    )
    _, truth = acquire(only_fat, still(Modality.CT, "iodine"), np.random.default_rng(0))
    assert truth.liver_curve == {}
    assert truth.lesion_list == ()
