"""A small study with known lesions, measured: sizes, enhancement, omissions and warnings."""

import json
from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest

from liverleaf.findings import CaseRecord, Findings, Provenance, WashIn, WashOut
from liverleaf.measure.findings import measure
from liverleaf.prediction import CaseClass, CaseScore, LesionPrediction, Prediction
from liverleaf.registration.travel import Place
from liverleaf.segmentation import Segmentation
from liverleaf.study import (
    Alignment,
    BodyPart,
    Modality,
    Phase,
    PhaseImage,
    SourceIds,
    Species,
    Study,
)
from liverleaf.terminology import LesionType, Organ

SHAPE, SPACING = (16, 40, 44), (3.0, 1.5, 1.5)
LIVER = {Phase.PRE: 55.0, Phase.ARTERIAL: 70.0, Phase.PORTAL: 110.0, Phase.DELAYED: 95.0}
CARCINOMA = {Phase.PRE: 45.0, Phase.ARTERIAL: 105.0, Phase.PORTAL: 100.0, Phase.DELAYED: 75.0}
AXIAL = np.array([[0, 0, 1.5, 0], [0, 1.5, 0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])
BAD = Alignment("deformable", 0.2, 0.1, 12.0, 0.05, trusted=False)


def affine() -> np.ndarray:
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * SPACING
    matrix[:3, 3] = (-80.0, 30.0, 410.0)
    return matrix


def volume(array) -> hd.Volume:
    return hd.Volume(array=array, affine=affine(), coordinate_system="PATIENT")


def masks() -> tuple[np.ndarray, np.ndarray]:
    """The liver but for two voxels of margin, a ball of 9 mm and a single voxel."""
    liver = np.zeros(SHAPE, bool)
    liver[2:-2, 2:-2, 2:-2] = True
    z, y, x = np.indices(SHAPE)
    labels = (
        np.sqrt(((z - 8) * 3) ** 2 + ((y - 20) * 1.5) ** 2 + ((x - 16) * 1.5) ** 2) <= 9
    ).astype(np.uint16)
    labels[8, 20, 36] = 2
    return liver, labels


def study_of(phases=tuple(LIVER), modality=Modality.CT, **changes) -> Study:
    _, labels = masks()
    images = {
        phase: PhaseImage(
            volume(np.where(labels > 0, CARCINOMA[phase], LIVER[phase]).astype(np.float32)),
            time_s=10.0 * phase,
            confidence=0.9,
        )
        for phase in phases
    }
    return Study(modality, images, **changes)


def prediction_of(liver=None, labels=None, **changes) -> Prediction:
    default = masks()
    liver, labels = default[0] if liver is None else liver, default[1] if labels is None else labels
    listed = tuple(
        LesionPrediction(
            label=int(label),
            score=0.87654321,
            type_probabilities={LesionType.CYST: 0.1, LesionType.HCC: 0.9},
            type_set=(LesionType.HCC, LesionType.CYST),
            curve={Phase.PORTAL: 101.23456, Phase.ARTERIAL: np.nan},
        )
        for label in np.unique(labels[labels > 0])
    )
    segmentation = Segmentation(volume(labels), {Organ.LIVER: volume(liver)}, "phantom-ct")
    made = Prediction(
        "phantom-ct",
        segmentation,
        listed,
        {LesionType.HCC: 0.95},
        0.95,
        warnings=("From the model.",),
    )
    return replace(made, **changes)


def measured(
    study: Study, prediction: Prediction, provenance: Provenance | None = None
) -> Findings:
    """What a model outlined, measured."""
    return measure(study, prediction.segmentation, prediction, provenance=provenance)


def test_a_carcinoma_measured() -> None:
    found = measured(study_of(agent="iodine"), prediction_of())
    lesion = found.lesions[0]
    assert lesion.curve.mean == {"pre": 45.0, "arterial": 105.0, "portal": 100.0, "delayed": 75.0}
    assert lesion.curve.unit == "HU"
    assert lesion.predicted_curve.mean == {"portal": 101.23}  # five digits, and no NaN
    assert lesion.liver_curve is not None
    assert lesion.liver_curve.mean == {
        "pre": 55.0,
        "arterial": 70.0,
        "portal": 110.0,
        "delayed": 95.0,
    }
    assert lesion.wash_in == WashIn(enhancement=60, against_liver=45, unit="HU")
    assert lesion.wash_out == WashOut(
        phase="delayed",
        status="wash_out",
        share_lost=0.5,
        against_liver=55,
        unit="HU",
        liver_to_lesion_percent=100 * 95 / 75,
    )
    assert {feature.name for feature in lesion.features if feature.present} == {
        "arterial_phase_hyperenhancement_non_rim",
        "wash_out_non_peripheral",
    }
    assert lesion.warnings == ()
    (doubt,) = found.doubts
    assert (doubt.code, doubt.lesion) == ("liver_volume", None)
    assert found.warnings == (doubt.text, "From the model.")
    assert doubt.text.startswith("A liver of 117 ml is hardly plausible")
    assert lesion.contrast is not None
    assert lesion.contrast.by_phase == {"pre": -10, "arterial": 35, "portal": -10, "delayed": -20}
    assert lesion.score == 0.8765
    assert list(lesion.type_probabilities) == ["hcc", "cyst"]
    assert lesion.type_set == ("hcc", "cyst")


def test_sizes_and_places() -> None:
    liver, labels = masks()
    ball, voxel = measured(study_of(), prediction_of()).lesions
    assert ball.bbox == ((5, 12), (14, 27), (10, 23))
    assert ball.volume_ml == round(np.sum(labels == 1) * 6.75 / 1000, 3)
    assert ball.long_axis_mm == pytest.approx(18, abs=1.5)
    assert ball.centroid_mm == tuple(np.round(affine() @ [8, 20, 16, 1], 1)[:3])
    assert (voxel.long_axis_mm, voxel.short_axis_mm, voxel.volume_ml) == (1.5, 1.5, 0.007)
    assert voxel.capsule_distance_mm == 7.5  # column 36; the liver's last is 41
    assert measured(study_of(), prediction_of()).liver.volume_ml == round(
        liver.sum() * 6.75 / 1000, 3
    )


def test_mr_is_relative() -> None:
    lesion = measured(study_of(modality=Modality.MR), prediction_of()).lesions[0]
    assert lesion.curve.unit == "a.u."
    assert lesion.wash_in == WashIn(
        enhancement=60 / 45, against_liver=60 / 45 - 15 / 55, unit="fraction of pre"
    )
    assert lesion.wash_out is not None
    assert lesion.wash_out.unit == "fraction of liver"


def test_gadoxetate_is_read_in_the_portal_phase() -> None:
    wash_out = (
        measured(study_of(modality=Modality.MR, agent="gadoxetate"), prediction_of())
        .lesions[0]
        .wash_out
    )
    assert wash_out is not None
    assert wash_out.phase == "portal"


def distrusted() -> Study:
    study = study_of()
    phases = dict(study.phases)
    phases[Phase.ARTERIAL] = replace(phases[Phase.ARTERIAL], alignment=BAD)
    return replace(study, phases=phases)


def reaching_the_border() -> Prediction:
    liver, labels = (mask.copy() for mask in masks())
    liver[:3], labels[:8, 18:22, 14:18] = True, 1
    return prediction_of(liver, labels)


@pytest.mark.parametrize(
    ("study", "prediction", "warning"),
    [
        (
            study_of((Phase.PRE, Phase.PORTAL)),
            prediction_of(),
            "no arterial phase: no wash-in, wash-out or features",
        ),
        (
            study_of((Phase.ARTERIAL, Phase.PORTAL)),
            prediction_of(),
            "no pre-contrast phase: no wash-in",
        ),
        (
            study_of((Phase.PORTAL,)),
            prediction_of(),
            "Only the portal venous phase was given: the type is doubtful",
        ),
        (
            distrusted(),
            prediction_of(),
            "arterial phase could not be aligned with the reference phase (alignment)",
        ),
        (study_of(), reaching_the_border(), "reaches the edge of the images"),
    ],
    ids=["no arterial", "no pre", "one phase", "distrusted", "border"],
)
def test_lesions_are_warned_about(study, prediction, warning) -> None:
    assert any(warning in text for text in measured(study, prediction).lesions[0].warnings)


def test_a_small_lesion_is_warned_about() -> None:
    assert [
        any("smaller than 113 mm3" in text for text in lesion.warnings)
        for lesion in measured(study_of(), prediction_of()).lesions
    ] == [
        False,
        True,
    ]


def test_a_distrusted_phase_is_left_out_of_everything_measured() -> None:
    found = measured(distrusted(), prediction_of())
    lesion = found.lesions[0]
    assert "arterial" not in lesion.curve.mean
    assert lesion.liver_curve is not None
    assert "arterial" not in lesion.liver_curve.mean
    assert lesion.wash_in is None
    assert lesion.features == ()
    assert any("arterial phase could not be aligned" in text for text in found.warnings)
    assert found.study.phases[1].alignment is not None
    assert not found.study.phases[1].alignment.trusted


def test_a_phase_that_does_not_cover_the_lesion() -> None:
    study = study_of()
    cut = study.phases[Phase.DELAYED].volume.array.copy()
    cut[:9] = np.nan
    phases = {**study.phases, Phase.DELAYED: PhaseImage(volume(cut))}
    lesion = measured(replace(study, phases=phases), prediction_of()).lesions[0]
    assert list(lesion.curve.mean) == ["pre", "arterial", "portal"]
    assert any("delayed phase does not cover the lesion" in text for text in lesion.warnings)


def test_one_phase_has_no_wash_in_or_wash_out_invented() -> None:
    lesion = measured(study_of((Phase.ARTERIAL,)), prediction_of()).lesions[0]
    assert lesion.wash_in is None
    assert lesion.wash_out is None


def test_nothing_found_is_a_result() -> None:
    nothing = np.zeros(SHAPE, bool)
    found = measured(study_of(), prediction_of(nothing, nothing.astype(np.uint16)))
    assert found.lesions == ()
    assert found.liver.volume_ml == 0
    assert any("No liver was found" in text for text in found.warnings)


def test_lesions_without_a_liver_are_still_measured() -> None:
    lesion = measured(study_of(), prediction_of(np.zeros(SHAPE, bool))).lesions[0]
    assert lesion.liver_curve is None
    assert lesion.capsule_distance_mm is None
    assert lesion.wash_in is not None
    assert lesion.wash_in.against_liver is None
    assert lesion.wash_out is not None
    assert lesion.wash_out.share_lost == 0.5


def test_a_liver_cut_by_the_images_is_warned_about() -> None:
    found = measured(study_of(), prediction_of(np.ones(SHAPE, bool)))
    assert any("The liver reaches the edge" in text for text in found.warnings)


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (
            Prediction(
                "elsewhere",
                Segmentation(
                    hd.Volume(masks()[1], np.eye(4), "PATIENT"), organs={}, source="elsewhere"
                ),
            ),
            "do not lie on the grid of the portal venous phase",
        ),
        (
            prediction_of(lesions=(LesionPrediction(1), LesionPrediction(3))),
            r"labels \[1, 2\], the prediction \[1, 3\]",
        ),
    ],
    ids=["another grid", "other lesions"],
)
def test_what_does_not_belong_together_is_refused(prediction, message) -> None:
    with pytest.raises(ValueError, match=message):
        measured(study_of(), prediction)


def test_phases_on_other_grids_are_refused() -> None:
    study = study_of()
    moved = hd.Volume(array=study.grid.array, affine=np.eye(4), coordinate_system="PATIENT")
    with pytest.raises(ValueError, match="register the study first"):
        measured(
            replace(study, phases={**study.phases, Phase.PRE: PhaseImage(moved)}), prediction_of()
        )


# Without a model


def drawn(**organs: np.ndarray) -> Segmentation:
    """The lesions as a person drew them."""
    outlined = {Organ[name.upper()]: volume(mask) for name, mask in organs.items()}
    return Segmentation(volume(masks()[1]), outlined)


def test_a_mask_that_a_person_drew_is_measured_as_a_models_is() -> None:
    by_model = measured(study_of(), prediction_of())
    by_hand = measure(study_of(), drawn(liver=masks()[0]))
    said_by_models = {"score", "type_probabilities", "type_set", "predicted_curve"}
    for ours, theirs in zip(by_hand.lesions, by_model.lesions, strict=True):
        for name in ours.__class__.model_fields.keys() - said_by_models - {"warnings"}:
            assert getattr(ours, name) == getattr(theirs, name), name
        assert {getattr(ours, name) for name in said_by_models} == {None}
    assert by_hand.liver == by_model.liver
    assert (by_hand.model, by_hand.patient, by_hand.case) == (None, None, None)
    assert by_hand.segmentation.model_dump() == {
        "source": "manual",
        "method": "manual",
        "organs": ("liver",),
        "drawn_on": None,
        "liver_source": None,
    }


def test_everything_measured_carries_an_interval_that_holds_it() -> None:
    found = measured(study_of(), prediction_of())
    for lesion in found.lesions:
        told = lesion.model_dump()
        paths = {"volume_ml", "long_axis_mm", "short_axis_mm", "capsule_distance_mm"}
        for part, inner in (
            ("curve", "mean"),
            ("contrast", "by_phase"),
        ):
            paths |= {f"{part}.{inner}.{phase}" for phase in told[part][inner]}
        for part in ("wash_in", "wash_out"):
            numbers = {key for key, value in told[part].items() if isinstance(value, float)}
            paths |= {f"{part}.{key}" for key in numbers}
        assert lesion.intervals.keys() == paths
        for path, (low, high) in lesion.intervals.items():
            value = told
            for key in path.split("."):
                value = value[key]
            assert low - 0.05 <= value <= high + 0.05, path  # rounded
    low, high = found.liver.volume_interval_ml
    assert low < found.liver.volume_ml < high


def test_places_in_phases_are_reported() -> None:
    lies = {1: {Phase.ARTERIAL: Place(np.array([1.0, 2.0, 3.04]), 0.5)}}
    found = measure(study_of(), drawn(liver=masks()[0]), places=lies)
    place = found.lesions[0].places["arterial"]
    assert (place.centre_mm, place.coverage) == ((1.0, 2.0, 3.0), 0.5)
    assert found.lesions[1].places == {}


def test_without_a_liver_mask_nothing_is_compared_with_the_liver() -> None:
    found = measure(study_of(), drawn())
    lesion = found.lesions[0]
    assert found.liver is None and found.segmentation.organs == ()
    assert (lesion.liver_curve, lesion.capsule_distance_mm, lesion.features) == (None, None, ())
    assert lesion.wash_in == WashIn(enhancement=60, against_liver=None, unit="HU")
    assert found.warnings == ("There is no liver mask: lesions are not compared with the liver.",)


def test_nobody_misses_the_liver_in_the_chest() -> None:
    assert measure(study_of(body_part=BodyPart.CHEST), drawn()).warnings == ()


def test_what_only_a_models_lesion_may_be_warned_about() -> None:
    *_, voxel = measure(study_of((Phase.PORTAL,)), drawn()).lesions
    assert voxel.volume_ml == 0.007
    assert not any("type is doubtful" in text or "113" in text for text in voxel.warnings)


def test_one_label_in_pieces_is_one_lesion_with_a_warning() -> None:
    labels = np.minimum(masks()[1], 1)
    (lesion,) = measure(study_of(), Segmentation(volume(labels))).lesions
    assert lesion.volume_ml == pytest.approx(labels.sum() * 6.75 / 1000, abs=1e-3)
    assert lesion.warnings == ("Its mask falls into 2 pieces, which are measured as one lesion.",)


def test_labels_may_be_left_out() -> None:
    labels = masks()[1] * np.uint16(200)
    found = measure(study_of(), Segmentation(volume(labels), source="ITK-SNAP"))
    assert [lesion.id for lesion in found.lesions] == [200, 400]


def test_a_model_that_only_scores_the_study_has_no_masks() -> None:
    said = Prediction(
        "fat-net",
        case_scores=(CaseScore("fat_fraction", 0.123456789),),
        case_classes=(CaseClass("steatosis", {"mild": 0.9, "severe": 0.1}),),
        warnings=("One phase is missing.",),
    )
    found = measure(study_of(), None, said)
    assert found.case == CaseRecord.model_validate(
        {
            "scores": [{"name": "fat_fraction", "value": 0.12346, "unit": ""}],
            "classes": [{"name": "steatosis", "probabilities": {"mild": 0.9, "severe": 0.1}}],
        }
    )
    assert (found.model, found.lesions, found.liver) == ("fat-net", (), None)
    assert (found.segmentation, found.patient) == (None, None)
    assert found.warnings == ("One phase is missing.",)


def test_a_rats_liver_is_plausible_in_a_rat() -> None:
    liver = np.zeros(SHAPE, bool)
    liver[4:10, 14:27, 10:30] = True  # 10.5 ml
    warned = {
        species: measure(study_of(species=species), drawn(liver=liver)).warnings
        for species in Species
    }
    assert warned[Species.RAT] == ()
    assert warned[Species.HUMAN][0].startswith("A liver of 11 ml is hardly plausible")


def test_a_doubt_widens_the_type_sets_of_the_lesions_it_stands_against() -> None:
    sure = tuple(replace(lesion, type_set=(LesionType.HCC,)) for lesion in prediction_of().lesions)
    found = measured(study_of(), prediction_of(lesions=sure))  # a liver of 117 ml
    assert [lesion.type_set for lesion in found.lesions] == [("hcc", "cyst")] * 2
    by_rat = measured(study_of(species=Species.RAT), prediction_of(lesions=sure))
    assert {doubt.code for doubt in by_rat.doubts} == {"liver_volume"}


def test_a_lesion_like_bile_at_the_lower_surface_may_be_the_gallbladder() -> None:
    liver, labels = masks()
    noise = np.random.default_rng(0).normal(0, 5, SHAPE)
    images = {}
    for phase, value in LIVER.items():
        array = np.where(liver, value, -50.0)
        array[labels == 1] = 8.0
        images[phase] = PhaseImage(hd.Volume((array + noise).astype(np.float32), AXIAL, "PATIENT"))

    def codes(lesions: np.ndarray, organ: np.ndarray) -> list[tuple[str, int | None]]:
        organs = {Organ.LIVER: hd.Volume(organ, AXIAL, "PATIENT")}
        drawn_here = Segmentation(hd.Volume(lesions, AXIAL, "PATIENT"), organs)
        found = measure(Study(Modality.CT, images), drawn_here)
        return [(doubt.code, doubt.lesion) for doubt in found.doubts if doubt.lesion]

    ball = np.where(labels == 1, 1, 0).astype(np.uint16)
    assert codes(ball, liver) == []  # deep in the liver: a cyst
    above = liver & (np.arange(SHAPE[0])[:, None, None] >= 8) | (ball > 0)
    assert codes(ball, above) == [("may_be_gallbladder", 1)]


# Where the images come from


def test_the_identifiers_of_the_source_are_told() -> None:
    study = study_of((Phase.ARTERIAL, Phase.PORTAL))
    image = replace(study.phases[Phase.PORTAL], source=SourceIds("1.2", "1.2.3", ("1.4", "1.5")))
    study = replace(study, phases={**study.phases, Phase.PORTAL: image})
    record = measure(study, None).study
    arterial, portal = record.phases
    assert record.study_instance_uid == "1.2"
    assert (portal.series_instance_uid, portal.sop_instance_uids) == ("1.2.3", ("1.4", "1.5"))
    assert (arterial.series_instance_uid, arterial.sop_instance_uids) == (None, ())
    assert (record.body_part, record.species) == ("abdomen", "human")


def test_measuring_again_gives_the_same_text() -> None:
    provenance = Provenance(versions={"liverleaf": "0.1.0"}, seconds={"read": 1.234})
    first, again = (
        measured(distrusted(), prediction_of(), provenance=provenance) for _ in range(2)
    )
    assert first.to_json() == again.to_json()
    assert Findings.model_validate_json(first.to_json()) == first


def test_provenance_can_come_later() -> None:
    found = measured(study_of(), prediction_of())
    assert found.provenance is None
    later = found.model_copy(update={"provenance": Provenance(versions={})})
    assert json.loads(later.to_json())["provenance"]["versions"] == {}
