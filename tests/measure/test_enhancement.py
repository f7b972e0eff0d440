"""Curves done by hand, textbook lesions, and what must stay None."""

import numpy as np
import pytest

from liverleaf.measure.enhancement import (
    CONDITIONS,
    FEATURES,
    Curve,
    WashOutStatus,
    contrast,
    curve,
    enhancement,
    features,
    late_phase,
    liver_background,
    liver_to_lesion_percent,
    rim_and_core,
    wash_in,
    wash_in_against_liver,
    wash_out,
    wash_out_against_liver,
    wash_out_status,
)
from liverleaf.study import Modality, Phase

PRE, ARTERIAL, PORTAL, DELAYED, HEPATOBILIARY = Phase
CT, MR = Modality
SPACING = (2.0, 1.0, 1.0)
LIVER = Curve({PRE: 55.0, ARTERIAL: 70.0, PORTAL: 110.0, DELAYED: 95.0}, voxels=1000)
CARCINOMA = Curve({PRE: 45.0, ARTERIAL: 105.0, PORTAL: 100.0, DELAYED: 75.0}, voxels=50)


def without(region: Curve, *phases: Phase) -> Curve:
    return Curve(
        {phase: value for phase, value in region.mean.items() if phase not in phases}, region.voxels
    )


def test_curve_is_the_mean_under_the_mask() -> None:
    image = np.arange(8.0).reshape(2, 2, 2)
    assert curve({PRE: image, PORTAL: 2 * image}, image >= 6) == Curve(
        {PRE: 6.5, PORTAL: 13.0}, voxels=2
    )


def test_a_phase_that_does_not_cover_the_mask_is_left_out() -> None:
    image = np.ones((1, 2, 2))
    cut = np.array([[[1.0, np.nan], [1.0, 1.0]]])
    assert curve({PRE: image, PORTAL: cut}, np.ones((1, 2, 2), bool)).mean == {PRE: 1.0}


def test_another_grid_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"ARTERIAL has shape \(1, 2, 2\)"):
        curve({ARTERIAL: np.zeros((1, 2, 2))}, np.ones((2, 2, 2), bool))


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="was the mask empty"):
        curve({PRE: np.zeros((2, 2, 2))}, np.zeros((2, 2, 2), bool))


# The liver background


def test_background_is_the_parenchyma_away_from_lesions_vessels_and_edge() -> None:
    rng = np.random.default_rng(0)
    liver = np.zeros((20, 40, 40), bool)
    liver[2:18, 4:36, 4:36] = True
    lesions = np.zeros(liver.shape, np.uint16)
    lesions[8:12, 16:24, 16:24] = 1
    image = np.full(liver.shape, -100.0)  # fat, that blurs into the edge
    image[liver] = 100 + rng.normal(0, 5, liver.sum())
    image[liver & (rng.random(liver.shape) < 0.1)] = 180  # vessels
    image[6:14, 12:28, 12:28] = 40  # the lesion and its halo of 4 mm
    image[2, 4:36, 4:36] = 0  # the blurred edge
    background = liver_background({PORTAL: image}, liver, lesions, SPACING)
    assert background is not None
    assert background.mean[PORTAL] == pytest.approx(100, abs=1)
    # In voxels: 2 (Z) and 3 (Y, X) off the edge, 3 and 5 around the lesion.
    assert background.voxels == 12 * 26 * 26 - 10 * 18 * 18


def test_background_falls_back_to_all_parenchyma_then_to_none() -> None:
    liver, image = np.ones((4, 8, 8), bool), np.full((4, 8, 8), 7.0)
    lesions = np.zeros(liver.shape, np.uint16)
    lesions[:, :, :4] = 1
    background = liver_background({PORTAL: image}, liver, lesions, SPACING)
    assert background == Curve({PORTAL: 7.0}, voxels=128)
    assert liver_background({PORTAL: image}, liver, np.ones_like(lesions), SPACING) is None
    assert liver_background({PORTAL: image}, ~liver, lesions, SPACING) is None


# Wash-in and wash-out

GROWING = Curve({PRE: 45.0, ARTERIAL: 56.0, DELAYED: 131.0}, 9)
"""A haemangioma: 11 HU by the arterial phase, and 75 more later."""


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (contrast(CARCINOMA, LIVER, ARTERIAL, CT), 35),
        (contrast(CARCINOMA, LIVER, ARTERIAL, MR), 35 / 70),
        (enhancement(CARCINOMA, PORTAL, CT), 55),
        (enhancement(CARCINOMA, PORTAL, MR), 55 / 45),
        (wash_in(CARCINOMA, CT), 60),
        (wash_in(CARCINOMA, MR), 60 / 45),
        (wash_in_against_liver(CARCINOMA, LIVER, CT), 60 - 15),
        (wash_in_against_liver(CARCINOMA, LIVER, MR), 60 / 45 - 15 / 55),
        (wash_out(CARCINOMA, DELAYED, CT), 30 / 60),
        (wash_out(CARCINOMA, DELAYED, MR), 30 / 60),
        (wash_out_against_liver(CARCINOMA, LIVER, DELAYED, CT), 35 + 20),
        (wash_out_against_liver(CARCINOMA, LIVER, DELAYED, MR), 35 / 70 + 20 / 95),
        (liver_to_lesion_percent(CARCINOMA, LIVER, DELAYED), 100 * 95 / 75),
    ],
)
def test_a_textbook_carcinoma(measured, expected) -> None:
    assert measured == pytest.approx(expected)


def test_mr_measures_do_not_depend_on_the_scale_of_the_images() -> None:
    lesion, liver = (
        Curve({phase: 37 * value for phase, value in c.mean.items()}, c.voxels)
        for c in (CARCINOMA, LIVER)
    )
    for measure in (
        lambda a, b: contrast(a, b, DELAYED, MR),
        lambda a, b: wash_in_against_liver(a, b, MR),
        lambda a, _: wash_out(a, DELAYED, MR),
        lambda a, b: wash_out_against_liver(a, b, DELAYED, MR),
        lambda a, b: liver_to_lesion_percent(a, b, DELAYED),
    ):
        assert measure(lesion, liver) == pytest.approx(measure(CARCINOMA, LIVER))


@pytest.mark.parametrize(
    "measured",
    [
        wash_in(without(CARCINOMA, PRE), CT),
        wash_in(without(CARCINOMA, ARTERIAL), CT),
        wash_in(Curve({PRE: 0.0, ARTERIAL: 5.0}, 9), MR),
        wash_in_against_liver(CARCINOMA, without(LIVER, PRE), CT),
        wash_out(without(CARCINOMA, PRE), DELAYED, CT),
        wash_out(without(CARCINOMA, DELAYED), DELAYED, CT),
        # a cyst: it never enhanced
        wash_out(Curve({PRE: 10.0, ARTERIAL: 12.0, DELAYED: 11.0}, 9), DELAYED, CT),
        wash_out(GROWING, DELAYED, CT),  # not -687 %
        wash_out(Curve({PRE: 45.0, ARTERIAL: 64.0, DELAYED: 50.0}, 9), DELAYED, CT),  # of 19 HU
        wash_out(Curve({PRE: 45.0, ARTERIAL: 95.0, DELAYED: 97.0}, 9), DELAYED, CT),
        wash_out_against_liver(without(CARCINOMA, ARTERIAL), LIVER, DELAYED, CT),
        wash_out_against_liver(CARCINOMA, without(LIVER, DELAYED), DELAYED, CT),
        liver_to_lesion_percent(Curve({DELAYED: -3.0}, 9), LIVER, DELAYED),  # fat
        liver_to_lesion_percent(CARCINOMA, without(LIVER, DELAYED), DELAYED),
        contrast(CARCINOMA, Curve({ARTERIAL: 0.0}, 9), ARTERIAL, MR),
    ],
)
def test_none_rather_than_invented(measured) -> None:
    assert measured is None


@pytest.mark.parametrize(
    ("lesion", "liver", "expected"),
    [
        (CARCINOMA, LIVER, WashOutStatus.WASH_OUT),  # +35, then -20 HU
        (GROWING, LIVER, WashOutStatus.NO_WASH_OUT_STILL_ENHANCING),
        (GROWING, None, WashOutStatus.NO_WASH_OUT_STILL_ENHANCING),
        # darker than liver from the beginning on, and later still
        (Curve({ARTERIAL: 60.0, DELAYED: 62.0}, 9), LIVER, WashOutStatus.NO_WASH_OUT),
        # +8, then -9 HU: not clearly
        (Curve({ARTERIAL: 78.0, DELAYED: 86.0}, 9), LIVER, WashOutStatus.NO_WASH_OUT),
        # brighter itself, but outrun by the liver: +5, then -10 HU
        (Curve({ARTERIAL: 75.0, DELAYED: 85.0}, 9), LIVER, WashOutStatus.WASH_OUT),
        (CARCINOMA, None, WashOutStatus.NOT_MEASURABLE),
        (without(CARCINOMA, ARTERIAL), LIVER, WashOutStatus.NOT_MEASURABLE),
    ],
)
def test_wash_out_as_a_radiologist_means_it(lesion, liver, expected) -> None:
    assert wash_out_status(lesion, liver, DELAYED, CT) is expected


def test_still_enhancing_on_mr_is_told_of_the_pre_contrast_intensity() -> None:
    rising = Curve({PRE: 100.0, ARTERIAL: 400.0, DELAYED: 411.0}, 9)
    assert wash_out_status(rising, None, DELAYED, MR) is WashOutStatus.NO_WASH_OUT_STILL_ENHANCING
    arterial_only = without(rising, PRE)  # 2.75 % of the arterial intensity
    assert wash_out_status(arterial_only, None, DELAYED, MR) is WashOutStatus.NOT_MEASURABLE


def test_a_feature_holds_both_of_its_conditions() -> None:
    dark = {PRE: 45.0, ARTERIAL: 58.0, PORTAL: 50.0, DELAYED: 41.0}
    images, mask = lesion_images(dark, dark)
    found = {
        feature.name: feature
        for feature in features(images, mask, LIVER, CT, SPACING, late=DELAYED)
    }
    below, before = found["wash_out_non_peripheral"].conditions
    assert (below.name, below.value, below.threshold, below.met) == (
        "core_below_liver_late",
        54.0,
        10.0,
        True,
    )
    assert (before.value, before.threshold, before.met) == (-12.0, 0.0, False)
    assert not found["wash_out_non_peripheral"].present
    assert all(len(feature.conditions) == 2 for feature in found.values())
    names = {condition.name for feature in found.values() for condition in feature.conditions}
    assert names == set(CONDITIONS)


@pytest.mark.parametrize(
    ("phases", "agent", "expected"),
    [
        ((ARTERIAL, PORTAL, DELAYED), None, DELAYED),
        ((ARTERIAL, PORTAL), None, PORTAL),
        ((ARTERIAL, PORTAL, DELAYED), "gadoxetate", PORTAL),
        ((ARTERIAL, DELAYED), "gadoxetate", None),
        ((PRE, ARTERIAL, HEPATOBILIARY), None, None),
    ],
)
def test_late_phase(phases, agent, expected) -> None:
    assert late_phase(dict.fromkeys(phases, 0.0), agent=agent) is expected


# Features


def lesion_images(rim: dict[Phase, float], core: dict[Phase, float]):
    """A ball of 12 mm whose outer half and core have intensities of their own."""
    z, y, x = np.indices((15, 29, 29))
    radius = np.sqrt(((z - 7) * 2) ** 2 + (y - 14) ** 2 + (x - 14) ** 2)
    mask = radius <= 12
    return {
        phase: np.where(radius <= 7, core[phase], np.where(mask, rim[phase], LIVER.mean[phase]))
        for phase in rim
    }, mask


TEXTBOOK = {
    "carcinoma": (
        CARCINOMA.mean,
        CARCINOMA.mean,
        {"arterial_phase_hyperenhancement_non_rim", "wash_out_non_peripheral"},
    ),
    "haemangioma": (
        {PRE: 40, ARTERIAL: 140, PORTAL: 150, DELAYED: 125},
        {PRE: 40, ARTERIAL: 45, PORTAL: 100, DELAYED: 120},
        {"rim_enhancement", "progressive_fill_in"},
    ),
    "metastasis": (
        {PRE: 45, ARTERIAL: 100, PORTAL: 95, DELAYED: 85},
        {PRE: 40, ARTERIAL: 50, PORTAL: 55, DELAYED: 60},
        {"rim_enhancement"},
    ),
    "cyst": (
        {PRE: 10, ARTERIAL: 10, PORTAL: 10, DELAYED: 10},
        {PRE: 8, ARTERIAL: 8, PORTAL: 8, DELAYED: 8},
        set(),
    ),
    "calcification": (
        {PRE: 300, ARTERIAL: 300, PORTAL: 300, DELAYED: 300},
        {PRE: 300, ARTERIAL: 300, PORTAL: 300, DELAYED: 300},
        set(),
    ),
}


@pytest.mark.parametrize("name", TEXTBOOK)
@pytest.mark.parametrize("modality", [CT, MR])
def test_features_of_textbook_lesions(name, modality) -> None:
    rim, core, expected = TEXTBOOK[name]
    images, mask = lesion_images(rim, core)
    found = features(images, mask, LIVER, modality, SPACING, late=DELAYED)
    assert {feature.name for feature in found} == set(FEATURES)
    assert {feature.name for feature in found if feature.present} == expected


def test_the_evidence_of_a_carcinoma_by_hand() -> None:
    images, mask = lesion_images(CARCINOMA.mean, CARCINOMA.mean)
    evidence = {
        feature.name: (feature.evidence, feature.unit)
        for feature in features(images, mask, LIVER, CT, SPACING, late=DELAYED)
    }
    assert evidence == {
        "arterial_phase_hyperenhancement_non_rim": (35.0, "HU"),
        "rim_enhancement": (0.0, "HU"),
        "wash_out_non_peripheral": (20.0, "HU"),
        "progressive_fill_in": (-55.0, "HU"),
    }


def test_features_that_cannot_be_measured_are_absent() -> None:
    images, mask = lesion_images(CARCINOMA.mean, CARCINOMA.mean)
    early = {phase: images[phase] for phase in (PRE, ARTERIAL)}
    assert [feature.name for feature in features(early, mask, LIVER, CT, SPACING, late=None)] == [
        "arterial_phase_hyperenhancement_non_rim",
        "rim_enhancement",
    ]
    assert features({PORTAL: images[PORTAL]}, mask, LIVER, CT, SPACING, late=PORTAL) == ()
    speck = np.zeros_like(mask)
    speck[7, 14, 14] = True
    assert features(images, speck, LIVER, CT, SPACING, late=DELAYED) == ()


def test_rim_and_core_share_nothing_and_follow_millimetres() -> None:
    mask = np.ones((9, 21, 21), bool)
    split = rim_and_core(mask, (10.0, 1.0, 1.0))  # so thick that depth is in the plane: 1 ... 11
    assert split is not None
    rim, core = split
    assert not (rim & core).any()
    assert not rim[:, 3:-3, 3:-3].any()
    assert rim[:, :3].all()
    assert core[:, 5:-5, 5:-5].all()
    assert core.sum() == 9 * 11 * 11


def test_a_single_voxel_has_no_core() -> None:
    assert rim_and_core(np.ones((1, 1, 1), bool), SPACING) is None
