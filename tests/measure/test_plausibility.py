"""Doubts by hand: each rule has a case that raises it and one that just does not."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest

from liverleaf.measure.enhancement import Curve
from liverleaf.measure.plausibility import (
    SENTENCES,
    SHIPPED,
    Doubt,
    Implausible,
    TrainedOn,
    doubt_of_share,
    doubts_of_images,
    doubts_of_liver,
    edge_areas_cm2,
    lies_at_lower_surface,
    looks_like_bile,
    trained_on,
)
from liverleaf.study import Modality, Phase, PhaseImage, Species, Study

CT = SHIPPED["liverleaf-net-ct"]
SHAPE, SPACING = (24, 40, 44), (8.0, 8.0, 8.0)
"""A field of 192 x 320 x 352 mm."""


def grid(shape=SHAPE, spacing_mm=SPACING, *, flipped: bool = False) -> hd.Volume:
    """Axial, from feet to head, front to back, right to left; flipped: from head to feet."""
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = spacing_mm
    affine[3, 3] = 1
    if flipped:
        affine[2, 0] *= -1
    return hd.Volume(np.zeros(shape, np.float32), affine, "PATIENT")


def study_with(liver: np.ndarray, species: Species = Species.HUMAN) -> Study:
    """A body with arms' length of air around it, and a liver in it."""
    image = np.full(SHAPE, -1000.0, np.float32)
    image[:, 4:36, 4:40] = 20.0
    image[liver & (image > -900)] = 100.0
    return Study(Modality.CT, {Phase.PORTAL: PhaseImage(grid().with_array(image))}, species=species)


def box(z=(8, 18), y=(10, 24), x=(6, 22)) -> np.ndarray:
    """A liver of 1147 ml on the patient's right, unless it is told to lie elsewhere."""
    liver = np.zeros(SHAPE, bool)
    liver[slice(*z), slice(*y), slice(*x)] = True
    return liver


def codes(liver: np.ndarray, **changes) -> list[Doubt]:
    study = study_with(liver, **changes)
    return [doubt.code for doubt in doubts_of_liver(study, study.grid.with_array(liver))]


@pytest.mark.parametrize(
    ("liver", "expected"),
    [
        (box(), []),
        (np.zeros(SHAPE, bool), []),
        (box(z=(8, 11)), [Doubt.LIVER_VOLUME]),  # 344 ml
        (box(z=(2, 22), y=(5, 35), x=(4, 24)), [Doubt.LIVER_VOLUME]),  # 6144 ml
        (box(x=(24, 40)), [Doubt.LIVER_ON_WRONG_SIDE]),
        (box(z=(0, 10)), [Doubt.LIVER_AT_EDGE]),  # 143 cm2
        (box(z=(0, 10), x=(8, 20)), []),  # 108 cm2: a scan that misses the tip
        (box(y=(0, 14)), [Doubt.LIVER_AT_EDGE, Doubt.LIVER_OUTSIDE_BODY]),
        (box(y=(2, 16)), [Doubt.LIVER_OUTSIDE_BODY]),  # 2 of 14 rows are air
        (box(y=(3, 17)), []),  # 1 of 14
    ],
    ids=["ordinary", "none", "small", "large", "left", "cut", "tip", "front", "in the air", "rim"],
)
def test_livers_of_impossible_volume_or_place(liver: np.ndarray, expected: list[Doubt]) -> None:
    assert codes(liver) == expected


def test_a_rats_liver_has_its_own_bounds() -> None:
    assert codes(box(), species=Species.RAT) == [Doubt.LIVER_VOLUME]


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "expected"),
    [
        ((56, 160, 160), (7.0, 2.2, 2.2), []),
        ((60, 512, 512), (5.0, 0.8, 0.8), []),  # finer is averaged
        ((26, 84, 84), (10.0, 4.2, 4.2), [Doubt.VOXELS_OUTSIDE_TRAINING]),
        ((56, 160, 160), (9.0, 2.2, 2.2), [Doubt.VOXELS_OUTSIDE_TRAINING]),
        ((20, 160, 160), (7.0, 2.2, 2.2), [Doubt.FIELD_OUTSIDE_TRAINING]),  # 140 of 392 mm
        ((56, 300, 300), (7.0, 2.2, 2.2), [Doubt.FIELD_OUTSIDE_TRAINING]),  # 660 of 352 mm
    ],
)
def test_images_unlike_the_training_data(shape, spacing_mm, expected) -> None:
    assert [doubt.code for doubt in doubts_of_images(grid(shape, spacing_mm), CT)] == expected


def test_voxels_are_compared_along_the_patients_axes() -> None:
    coronal = grid((160, 56, 160), (2.2, 7.0, 2.2)).with_array(np.zeros((160, 56, 160)))
    affine = coronal.affine[:, [1, 0, 2, 3]]  # the first axis runs from front to back
    turned = hd.Volume(np.zeros((56, 160, 160)), affine, "PATIENT")
    assert turned.spacing == (7.0, 2.2, 2.2)
    doubts = doubts_of_images(turned, CT)
    assert doubts[0].code is Doubt.VOXELS_OUTSIDE_TRAINING
    assert doubts[0].sentence.startswith("The voxels (2.2 x 7 x 2.2 mm) are larger")


def test_what_a_model_was_trained_on_is_read_from_its_card_first() -> None:
    facts = {"trained_on": {"spacing_mm": [3, 1, 1], "field_mm": [300, 300, 300]}}
    assert trained_on("liverleaf-net-ct", facts) == TrainedOn((3, 1, 1), (300, 300, 300))
    assert trained_on("liverleaf-net-ct", {}) == CT
    assert trained_on("somebody-elses", {}) is None


def test_a_lesion_that_fills_most_of_the_liver() -> None:
    assert doubt_of_share(3, 500.0, 1000.0) is None
    doubt = doubt_of_share(3, 900.0, 1000.0)
    assert doubt == Implausible(Doubt.LESION_FILLS_LIVER, 3, "90")
    assert doubt.sentence.startswith("Lesion 3 fills 90 % of the liver")
    assert doubt_of_share(1, 5.0, 0.0) is None


LIVER_HU = Curve({Phase.PRE: 55, Phase.ARTERIAL: 70, Phase.PORTAL: 110}, 999)
NOISE = dict.fromkeys(Phase, 12.0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((8.0, 9.0, 7.0), True),
        ((8.0, 9.0, 19.0), False),  # it takes up contrast agent
        ((30.0, 31.0, 30.0), False),  # sludge or tissue
        ((-40.0, -40.0, -40.0), False),  # fat
    ],
)
def test_bile_on_ct(values: tuple[float, ...], expected: bool) -> None:
    lesion = Curve(dict(zip(LIVER_HU.mean, values, strict=True)), 50)
    spread = dict.fromkeys(lesion.mean, 13.0)
    found = looks_like_bile(lesion, LIVER_HU, Modality.CT, spread=spread, liver_spread=NOISE)
    assert found is expected


def test_what_varies_more_than_liver_is_not_bile() -> None:
    lesion = Curve(dict.fromkeys(LIVER_HU.mean, 10.0), 50)
    spread = dict.fromkeys(lesion.mean, 19.0)
    assert not looks_like_bile(lesion, LIVER_HU, Modality.CT, spread=spread, liver_spread=NOISE)


@pytest.mark.parametrize(
    ("before", "portal", "expected"), [(100, 105, True), (100, 150, False), (250, 250, False)]
)
def test_bile_on_mr_is_dark_before_contrast(before: float, portal: float, expected: bool) -> None:
    liver = Curve({Phase.PRE: 300, Phase.PORTAL: 500}, 999)
    lesion = Curve({Phase.PRE: before, Phase.PORTAL: portal}, 50)
    spread = dict.fromkeys(lesion.mean, 10.0)
    found = looks_like_bile(lesion, liver, Modality.MR, spread=spread, liver_spread=NOISE)
    assert found is expected
    unknown = Curve({Phase.PORTAL: portal}, 50)
    assert not looks_like_bile(unknown, liver, Modality.MR, spread=spread, liver_spread=NOISE)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize(("z", "expected"), [((6, 9), True), ((12, 15), False), ((16, 18), False)])
def test_the_lower_surface_is_towards_the_feet(flipped: bool, z, expected: bool) -> None:
    lesion, liver = box(z=z, y=(14, 18), x=(10, 14)), box()
    axes = slice(None, None, -1 if flipped else 1)
    on = grid(flipped=flipped)
    assert lies_at_lower_surface(lesion[axes], liver[axes], on) is expected


def test_an_edge_is_measured_along_each_axis() -> None:
    mask = np.zeros((4, 5, 6), bool)
    mask[0, :2, :3] = True  # 6 voxels of 1 x 2 mm below, 3 of 5 x 2 mm in front
    # 2 voxels of 5 x 1 mm on the right
    assert edge_areas_cm2(mask, (5.0, 1.0, 2.0)) == pytest.approx([0.12, 0.3, 0.1])


def test_every_code_has_a_sentence() -> None:
    assert set(SENTENCES) == set(Doubt)
    for code in Doubt:
        sentence = Implausible(code, 1, "7", "5").sentence
        assert sentence[0].isupper() and sentence.endswith(".") and "{" not in sentence
