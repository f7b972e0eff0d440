"""A small study with known lesions, measured: sizes, enhancement, what is left out and what is warned about."""

import json
from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest

from liverleaf.findings import Findings, Provenance, WashIn, WashOut
from liverleaf.measure.findings import measure
from liverleaf.prediction import LesionPrediction, Prediction
from liverleaf.segmentation import Segmentation
from liverleaf.study import Alignment, Modality, Phase, PhaseImage, Study
from liverleaf.terminology import LesionType, Organ

SHAPE, SPACING = (16, 40, 44), (3.0, 1.5, 1.5)
LIVER = {Phase.PRE: 55.0, Phase.ARTERIAL: 70.0, Phase.PORTAL: 110.0, Phase.DELAYED: 95.0}
CARCINOMA = {Phase.PRE: 45.0, Phase.ARTERIAL: 105.0, Phase.PORTAL: 100.0, Phase.DELAYED: 75.0}
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
    assert found.warnings[0] == "From the model."
    assert [warning[:26] for warning in found.warnings[1:]] == ["A liver of 117 ml is hardl"]
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
        (distrusted(), prediction_of(), "arterial phase is not aligned reliably and is left out"),
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
