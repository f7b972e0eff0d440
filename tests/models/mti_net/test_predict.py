"""From a study to a prediction, with a network that sees by a simple rule and with real ones."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import torch

from liverleaf.data.network_input import InputConfig, with_phases
from liverleaf.data.prepared import liver_mask
from liverleaf.evaluate.metrics.overlap import dice
from liverleaf.models import lesion_masks, liver_scales
from liverleaf.models import predictor as predictor_module
from liverleaf.models.calibration import ProbabilityCalibration
from liverleaf.models.checkpoint import ModelCard, save_model
from liverleaf.models.mti_net import predict
from liverleaf.models.mti_net.network import MTINet, MTINetConfig
from liverleaf.models.mti_net.predict import MTINetPredictor
from liverleaf.segmentation import Segmentation
from liverleaf.study import BodyPart, InputError, Modality, Phase, Species, Study
from liverleaf.terminology import LesionType, Organ

torch.set_num_threads(1)

TYPES = (LesionType.CYST, LesionType.HCC)
CURVE_MEAN, CURVE_SD = 0.5, 2.0
INPUT = InputConfig(Modality.CT, types=TYPES, pixel_mm=4.0, slice_mm=5.0, size=48)
CARD = ModelCard(
    name="seer",
    family="mti-net",
    network_config=MTINetConfig(masks=2, heads="lesion"),
    input_config=INPUT,
    curve_mean=(CURVE_MEAN,) * 4,
    curve_sd=(CURVE_SD,) * 4,
    calibration=ProbabilityCalibration(1.0, {1: 0.0, 3: 0.5}, {1: 20, 3: 20}),
)


@pytest.fixture
def seer(seer_network: Callable, monkeypatch: pytest.MonkeyPatch) -> Callable[..., MTINetPredictor]:
    """Makes a `MTINetPredictor` of the network that sees by a rule; settings change its view.

    Nothing is smoothed, so that masks can be compared exactly.
    """

    def make(**view: object) -> MTINetPredictor:
        card = dataclasses.replace(CARD, input_config=dataclasses.replace(INPUT, **view))
        monkeypatch.setattr(
            predictor_module, "load_model", lambda _: (card, seer_network(CURVE_MEAN, CURVE_SD))
        )
        monkeypatch.setattr(lesion_masks, "SMOOTHING_MM", 0.0)
        return MTINetPredictor(Path("nowhere"), device="cpu")

    return make


def turned(study: Study, turn: Callable[[hd.Volume], hd.Volume]) -> Study:
    return dataclasses.replace(
        study,
        phases={p: dataclasses.replace(i, volume=turn(i.volume)) for p, i in study.phases.items()},
    )


def shifted(study: Study, hu: float) -> Study:
    return turned(study, lambda volume: volume.with_array(volume.array + np.float32(hu)))


def oblique(*angles_deg: float) -> np.ndarray:
    """Axial voxels of 5 x 4 x 4 mm, turned about x, then about y, then about z."""
    affine = np.array([[0, 0, 4, -30], [0, 4, 0, 55], [5, 0, 0, 12], [0, 0, 0, 1]], float)
    for axis, angle in enumerate(np.deg2rad(angles_deg)):
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(4)
        turn[[i, i, j, j], [i, j, i, j]] = [
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        ]
        affine = turn @ affine
    return affine


# with a network that sees


@pytest.mark.parametrize("modality", list(Modality))
def test_what_is_there_is_found_and_measured(
    modality: Modality, tiny_case: Callable, seer: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, truth = tiny_case(1, modality=modality, types=[LesionType.HCC, LesionType.HCC])
    monkeypatch.setattr(
        liver_scales, "first_guess", lambda _image, *, phase, **_: 0.9 * truth.liver_curve[phase]
    )
    prediction = seer(modality=modality)(study)
    np.testing.assert_array_equal(
        prediction.segmentation.lesions.array > 0, truth.lesions.array > 0
    )
    np.testing.assert_array_equal(prediction.segmentation.liver.array, liver_mask(truth))
    assert (
        prediction.segmentation.lesions.array.dtype,
        prediction.segmentation.liver.array.dtype,
    ) == (np.uint16, bool)
    assert (
        [lesion.label for lesion in prediction.lesions]
        == [1, 2]
        == np.unique(prediction.segmentation.lesions.array)[1:].tolist()
    )
    for lesion in prediction.lesions:
        assert list(lesion.curve) == list(study.phases)
        for phase, intensity in lesion.curve.items():
            assert intensity == pytest.approx(truth.lesion_list[0].curve[phase], rel=0.03)
        assert max(lesion.type_probabilities, key=lesion.type_probabilities.get) is LesionType.HCC
        assert sum(lesion.type_probabilities.values()) == pytest.approx(1.0)
        assert lesion.type_set == (LesionType.HCC,)
        assert 0.5 < lesion.score <= 1
    assert prediction.patient[LesionType.HCC] == pytest.approx(prediction.malignant)
    assert prediction.patient[LesionType.HCC] > 0.9 > 0.1 > prediction.patient[LesionType.CYST]
    assert (prediction.model, prediction.warnings) == ("seer", ())


@pytest.mark.parametrize("liver", [True, False], ids=["liver", "no liver"])
def test_lesions_that_a_person_outlined_are_typed_under_their_own_labels(
    tiny_case: Callable, seer: Callable, liver: bool
) -> None:
    study, truth = tiny_case(1, types=[LesionType.HCC, LesionType.CYST])
    drawn = np.zeros(study.grid.spatial_shape, np.uint16)
    for label, own in ((1, 9), (2, 4)):  # numbered as people do, a part of each is drawn
        inside = np.argwhere(truth.lesions.array == label)
        for z, y, x in inside[: 2 * len(inside) // 3]:
            drawn[z, y, x] = own
    organs = {Organ.LIVER: study.grid.with_array(liver_mask(truth))} if liver else {}
    given = Segmentation(study.grid.with_array(drawn), organs)
    prediction = seer().of_given(study, given)
    assert prediction.segmentation is given
    types = {
        lesion.label: max(lesion.type_probabilities, key=lesion.type_probabilities.get)
        for lesion in prediction.lesions
    }
    assert types == {4: LesionType.CYST, 9: LesionType.HCC}
    assert {lesion.score for lesion in prediction.lesions} == {None}
    assert prediction.lesions[1].label == 9
    for phase, intensity in prediction.lesions[1].curve.items():
        assert intensity == pytest.approx(truth.lesion_list[0].curve[phase], rel=0.05)
    assert prediction.patient[LesionType.HCC] > 0.9


def test_no_given_lesion_is_no_prediction_of_any(tiny_case: Callable, seer: Callable) -> None:
    study, truth = tiny_case(1)
    none = study.grid.with_array(np.zeros(study.grid.spatial_shape, np.uint16))
    liver = {Organ.LIVER: study.grid.with_array(liver_mask(truth))}
    assert seer().of_given(study, Segmentation(none, liver)).lesions == ()


TURNS: dict[str, Callable[[hd.Volume], hd.Volume]] = {
    "upside down": lambda v: v.flip_spatial([0]),
    "mirrored": lambda v: v.flip_spatial([2]),
    "all flipped": lambda v: v.flip_spatial([0, 1, 2]),
    "sagittal": lambda v: v.permute_spatial_axes([2, 0, 1]),
    "coronal, flipped": lambda v: v.permute_spatial_axes([1, 0, 2]).flip_spatial([1]),
}


@pytest.mark.parametrize("name", TURNS)
def test_masks_lie_on_the_studys_own_axes(name: str, tiny_case: Callable, seer: Callable) -> None:
    study, truth = tiny_case(2, types=[LesionType.HCC])
    other = turned(study, TURNS[name])
    prediction = seer()(other)
    np.testing.assert_allclose(prediction.segmentation.lesions.affine, other.grid.affine)
    np.testing.assert_array_equal(
        prediction.segmentation.lesions.array, TURNS[name](truth.lesions).array
    )
    np.testing.assert_array_equal(
        prediction.segmentation.liver.array,
        TURNS[name](truth.lesions.with_array(liver_mask(truth))).array,
    )


@pytest.mark.parametrize("angles_deg", [(20, 0, 0), (10, -15, 25), (0, 0, 170)])
def test_masks_lie_on_oblique_grids(
    angles_deg: tuple[float, ...], tiny_case: Callable, seer: Callable
) -> None:
    study, truth = tiny_case(2, types=[LesionType.HCC], affine=oblique(*angles_deg))
    prediction = seer()(study)
    np.testing.assert_allclose(prediction.segmentation.lesions.affine, study.grid.affine, atol=1e-6)
    np.testing.assert_array_equal(prediction.segmentation.lesions.array, truth.lesions.array)
    assert (
        prediction.segmentation.lesions.frame_of_reference_uid == study.grid.frame_of_reference_uid
    )


@pytest.mark.parametrize(
    "view",
    [{"pixel_mm": 2.0}, {"pixel_mm": 3.1, "slice_mm": 6.0}, {"pixel_mm": None, "size": 80}],
    ids=str,
)
def test_masks_lie_on_the_studys_grid_whatever_the_networks(
    view: dict[str, float], tiny_case: Callable, seer: Callable
) -> None:
    study, truth = tiny_case(1, types=[LesionType.HCC])
    prediction = seer(**view)(study)
    assert prediction.segmentation.lesions.array.shape == (6, 48, 48)
    assert dice(prediction.segmentation.lesions.array > 0, truth.lesions.array > 0) > 0.8
    assert dice(prediction.segmentation.liver.array, liver_mask(truth)) > 0.93


def test_a_lesion_smaller_than_the_networks_pixel_gets_an_answer(
    tiny_case: Callable, seer: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = seer(pixel_mm=24.0)
    study, truth = tiny_case(1, types=[LesionType.HCC])
    dot = np.zeros((6, 48, 48), np.uint16)
    dot[2, 17, 21] = 1
    masks = lesion_masks.LesionMasks(liver_mask(truth), dot, [0.9], [0.95])
    monkeypatch.setattr(predict, "separate_lesions", lambda *_, **__: masks)
    (lesion,) = predictor(study).lesions
    assert sum(lesion.type_probabilities.values()) == pytest.approx(1.0)
    assert np.isfinite(list(lesion.curve.values())).all()


@pytest.mark.parametrize("hu", [-25.0, 25.0])
def test_a_shift_of_all_intensities_is_normalised_away(
    hu: float, tiny_case: Callable, seer: Callable
) -> None:
    study, truth = tiny_case(1, types=[LesionType.HCC])
    prediction = seer()(shifted(study, hu))
    np.testing.assert_array_equal(prediction.segmentation.lesions.array, truth.lesions.array)
    for phase, intensity in prediction.lesions[0].curve.items():
        assert intensity == pytest.approx(truth.lesion_list[0].curve[phase] + hu, abs=4.0)


@pytest.mark.parametrize("phase", [Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED])
def test_one_phase_is_enough_and_said_to_be_doubtful(
    phase: Phase, tiny_case: Callable, seer: Callable
) -> None:
    study, truth = tiny_case(1, types=[LesionType.HCC])
    prediction = seer()(with_phases(study, {phase}))
    np.testing.assert_array_equal(prediction.segmentation.lesions.array, truth.lesions.array)
    assert list(prediction.lesions[0].curve) == [phase]
    # nothing is promised for one phase
    assert prediction.lesions[0].type_set == (LesionType.HCC, LesionType.CYST)
    assert any("only one phase" in warning for warning in prediction.warnings)
    assert any("no contrast-enhanced phase" in warning for warning in prediction.warnings) is (
        phase is Phase.PRE
    )


def test_the_first_phase_of_a_network_need_not_be_the_native_one(
    tiny_case: Callable, seer: Callable
) -> None:
    study, _ = tiny_case(1, types=[LesionType.HCC], phases=[Phase.ARTERIAL])
    prediction = seer(channels=("arterial", "portal", "delayed", "pre"))(study)
    assert not any("no contrast-enhanced phase" in warning for warning in prediction.warnings)


def test_sets_are_those_fitted_for_as_many_phases_or_fewer(
    tiny_case: Callable, seer: Callable
) -> None:
    study, _ = tiny_case(1, types=[LesionType.HCC])
    sizes = [
        len(seer()(with_phases(study, set(list(Phase)[:count]))).lesions[0].type_set)
        for count in (1, 2, 3, 4)
    ]
    assert sizes == [2, 2, 1, 1]


def test_a_phase_the_network_does_not_know_is_named_and_not_used(
    tiny_case: Callable, seer: Callable
) -> None:
    study, _ = tiny_case(
        1, types=[LesionType.HCC], phases=[Phase.PORTAL, Phase.DELAYED, Phase.HEPATOBILIARY]
    )
    prediction = seer()(study)
    assert list(prediction.lesions[0].curve) == [Phase.PORTAL, Phase.DELAYED]
    assert any("does not use the hepatobiliary phase" in warning for warning in prediction.warnings)


def test_no_lesion_is_no_lesion(tiny_case: Callable, seer: Callable) -> None:
    prediction = seer()(tiny_case(1, types=[])[0])
    assert prediction.lesions == () and not prediction.segmentation.lesions.array.any()
    assert (
        prediction.patient == {LesionType.CYST: 0.0, LesionType.HCC: 0.0}
        and prediction.malignant == 0.0
    )


def test_an_image_without_a_liver_is_said_to_be_one(tiny_case: Callable, seer: Callable) -> None:
    study, _ = tiny_case(1, types=[])
    prediction = seer()(
        turned(study, lambda volume: volume.with_array(np.full_like(volume.array, -900.0)))
    )
    assert not prediction.segmentation.liver.array.any() and prediction.lesions == ()
    assert [warning.split(",")[0] for warning in prediction.warnings] == [
        "little or no liver was found",
    ]


def test_studies_that_do_not_fit_are_refused(tiny_case: Callable, seer: Callable) -> None:
    with pytest.raises(InputError, match="the model seer is for CT, this study is MR"):
        seer()(tiny_case(0, modality=Modality.MR)[0])
    with pytest.raises(InputError, match="has only hepatobiliary"):
        seer()(tiny_case(0, phases=[Phase.HEPATOBILIARY])[0])
    study, _ = tiny_case(0)
    phases = dict(study.phases)
    phases[Phase.PRE] = dataclasses.replace(
        phases[Phase.PRE], volume=phases[Phase.PRE].volume.flip_spatial([0])
    )
    with pytest.raises(ValueError, match="register the study first"):
        seer()(dataclasses.replace(study, phases=phases))


def test_a_device_that_is_not_there_is_refused(
    seer: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    seer()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="use --device cpu"):
        MTINetPredictor(Path("nowhere"), device="cuda")


def test_progress_is_told(tiny_case: Callable, seer: Callable) -> None:
    told: list[tuple[str, int, int]] = []
    seer()(tiny_case(0)[0], progress=lambda *step: told.append(step))
    assert told == [("running the network", 4, 6), ("running the network", 6, 6)]


def test_with_phases_keeps_only_those(tiny_case: Callable) -> None:
    study, _ = tiny_case(0)
    assert list(with_phases(study, {Phase.PORTAL, Phase.PRE}).phases) == [Phase.PRE, Phase.PORTAL]


# with real networks, whose last layer is set to see lesion everywhere

SMALL = {"widths": (2, 2, 4, 4), "masks": 2, "types": 2}
NETWORKS = {
    "lesion heads": (
        MTINetConfig(**SMALL, skips=True, heads="lesion", token_width=8, head_width=4),
        INPUT,
    ),
    "slice heads": (
        MTINetConfig(**SMALL, size=64, head_width=8),
        dataclasses.replace(INPUT, pixel_mm=None, size=64),
    ),
    "not normalised on the liver": (
        MTINetConfig(**SMALL | {"masks": 1}, size=64, head_width=8),
        dataclasses.replace(INPUT, pixel_mm=None, size=64, normalise_on_liver=False),
    ),
}


def all_lesion(name: str, folder: Path) -> MTINetPredictor:
    """A network with random heads that takes every voxel for liver and lesion."""
    config, view = NETWORKS[name]
    torch.manual_seed(0)
    network = MTINet(config)
    with torch.no_grad():
        network.decoder.masks.weight.zero_()
        network.decoder.masks.bias.fill_(3.0)
    save_model(folder, dataclasses.replace(CARD, network_config=config, input_config=view), network)
    return MTINetPredictor(folder, device="cpu")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_saved_network_answers_for_any_phases(
    name: str, tiny_case: Callable, tmp_path: Path
) -> None:
    predictor, config = all_lesion(name, tmp_path), NETWORKS[name][0]
    study, _ = tiny_case(1)
    for kept in ({Phase.PORTAL}, {Phase.PRE, Phase.DELAYED}, set(study.phases)):
        prediction = predictor(with_phases(study, kept))
        (lesion,) = prediction.lesions
        assert prediction.segmentation.lesions.array.all()
        liver = prediction.segmentation.liver
        assert (liver is None) if config.masks == 1 else liver.array.all()
        assert lesion.score == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-3)
        assert sum(lesion.type_probabilities.values()) == pytest.approx(1.0)
        assert set(lesion.curve) == kept and np.isfinite(list(lesion.curve.values())).all()
        assert set(lesion.type_set) <= set(TYPES)
        again = predictor(with_phases(study, kept))
        assert again.lesions == prediction.lesions
    assert any("does not outline the liver" in warning for warning in prediction.warnings) is (
        config.masks == 1
    )
    assert predictor.network_seconds > 0


def test_the_same_lesion_gets_the_same_answer_whichever_way_the_volume_lies(
    tiny_case: Callable, tmp_path: Path
) -> None:
    predictor = all_lesion("lesion heads", tmp_path)
    study, _ = tiny_case(1)
    expected = predictor(study).lesions[0]
    for turn in TURNS.values():
        (lesion,) = predictor(turned(study, turn)).lesions
        assert lesion.type_probabilities == pytest.approx(expected.type_probabilities, abs=1e-5)
        assert lesion.curve == pytest.approx(expected.curve, rel=1e-4)


def test_a_lesion_that_never_peaks_high_enough_is_left_out(
    tiny_case: Callable, seer: Callable
) -> None:
    predictor, (study, _) = seer(), tiny_case(1)
    everything = predictor.infer(study).masks
    weakest = min(everything.peak)
    fitted = {
        len(study.phases) - 1: float(np.nextafter(np.float32(weakest), 2)),
        len(study.phases) + 1: 2.0,
    }
    predictor.card = dataclasses.replace(
        predictor.card, calibration=ProbabilityCalibration(minimum_peak=fitted)
    )
    kept = predictor.infer(study)
    count = sum(peak > weakest for peak in everything.peak)
    assert len(kept.masks.peak) == count < len(everything.peak)
    assert kept.masks.lesions_ZYX.max() == count == len(kept.heads.logits_LT)


def test_what_was_not_learned_is_not_said(tiny_case: Callable, seer: Callable) -> None:
    predictor, (study, _) = seer(), tiny_case(1)
    loss = {"loss": {"curve": 0.0, "type": 0.0, "tim": 0.0, "adversarial": 0.0}}
    predictor.card = dataclasses.replace(predictor.card, training={"recipe": loss})
    prediction = predictor(study)
    assert prediction.patient is None and prediction.malignant is None
    for lesion in prediction.lesions:
        assert lesion.score and lesion.type_probabilities is None and lesion.curve is None


def test_a_study_of_another_body_part_or_species_is_doubtful_and_not_refused(
    tiny_case: Callable, seer: Callable
) -> None:
    study, _ = tiny_case(1)
    rat = dataclasses.replace(study, species=Species.RAT, body_part=BodyPart.CHEST)
    warnings = seer()(rat).warnings
    assert "trained on the abdomen, this study is of the chest" in warnings[0]
    assert "trained on the human, this study is of the rat" in warnings[1]
    assert seer()(study).warnings == ()


def test_a_channel_may_be_another_image_of_the_study(tiny_case: Callable, seer: Callable) -> None:
    study, _ = tiny_case(1, types=[LesionType.HCC])
    portal = study.phases[Phase.PORTAL]
    t2w = dataclasses.replace(with_phases(study, {Phase.PRE}), other={"t2w": portal})
    prediction = seer(channels=("t2w", "arterial", "portal", "delayed"))(t2w)
    assert prediction.segmentation.lesions.array.any()
    assert list(prediction.lesions[0].curve) == []  # a curve is of phases
    with pytest.raises(InputError, match="needs one of portal venous; this study has only"):
        seer(channels=("portal",))(t2w)
