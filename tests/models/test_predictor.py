"""What every predictor shares: the device, the clock, and which studies are doubtful."""

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from liverleaf.data.network_input import InputConfig, model_input, with_phases
from liverleaf.models.checkpoint import ModelCard
from liverleaf.models.predictor import (
    TimedNetwork,
    chosen_device,
    foreign_study_warnings,
    input_warnings,
    predict_from_fit_phases,
)
from liverleaf.prediction import Prediction
from liverleaf.registration.align import Registration
from liverleaf.segmentation import Segmentation
from liverleaf.study import (
    Alignment,
    AlignmentReason,
    BodyPart,
    InputError,
    Modality,
    Phase,
    Species,
    Study,
)
from liverleaf.terminology import Organ

CARD = ModelCard("m", "mti-net", None, InputConfig(Modality.CT), (), ())


def test_the_device_is_the_one_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_device("auto") == chosen_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="cuda was asked for, but torch sees none"):
        chosen_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert chosen_device("auto").type == "cuda"


def test_the_clock_adds_up_what_the_network_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([1.0, 1.5, 10.0, 12.0])
    monkeypatch.setattr("liverleaf.models.predictor.perf_counter", lambda: next(ticks))
    network = TimedNetwork(torch.nn.Identity(), torch.device("cpu"))
    for _ in range(2):
        with network.timed():
            network.module(torch.zeros(1))
    assert network.seconds == 2.5


def test_studies_that_a_model_was_not_made_for_are_named(tiny_case: Callable) -> None:
    study, _ = tiny_case(0)
    assert foreign_study_warnings(study, CARD) == []
    chest = dataclasses.replace(study, body_part=BodyPart.CHEST)
    (warning,) = foreign_study_warnings(chest, CARD)
    assert "m was trained on the abdomen, this study is of the chest" in warning
    of_rats = dataclasses.replace(CARD.input_config, species=Species.RAT)
    (warning,) = foreign_study_warnings(study, dataclasses.replace(CARD, input_config=of_rats))
    assert "trained on the rat, this study is of the human" in warning


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ({Phase.PRE, Phase.PORTAL}, []),
        ({Phase.PORTAL}, ["only one phase"]),
        ({Phase.PRE}, ["only one phase", "no contrast-enhanced phase"]),
        ({Phase.PORTAL, Phase.PRE, Phase.HEPATOBILIARY}, ["does not use the hepatobiliary"]),
    ],
    ids=str,
)
def test_phases_that_make_a_prediction_doubtful(
    phases: set[Phase], words: list[str], tiny_case: Callable
) -> None:
    study = with_phases(tiny_case(0, phases=tuple(Phase))[0], phases)
    warnings = input_warnings(study, model_input(study, CARD.input_config), CARD.input_config)
    assert len(warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, warnings, strict=True))


def test_a_study_without_any_channel_is_refused(tiny_case: Callable) -> None:
    study = with_phases(tiny_case(0, phases=tuple(Phase))[0], {Phase.HEPATOBILIARY})
    with pytest.raises(InputError, match="this study has only hepatobiliary"):
        model_input(study, CARD.input_config)


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        (AlignmentReason.OK, [{Phase.ARTERIAL, Phase.PORTAL}]),
        (AlignmentReason.NOT_ALIGNED, [{Phase.PORTAL}]),
        (AlignmentReason.LIVER_NOT_ALIGNED, [{Phase.ARTERIAL, Phase.PORTAL}, {Phase.PORTAL}]),
    ],
)
def test_a_model_is_asked_again_without_a_phase_that_is_found_unfit_in_the_liver(
    tiny_case: Callable, reason: AlignmentReason, shown: list[set[Phase]]
) -> None:
    study, truth = tiny_case(phases=[Phase.ARTERIAL, Phase.PORTAL])
    alignment = Alignment("rigid", 0.1, 0.1, 0.0, 0.0, reason is AlignmentReason.OK, reason=reason)
    arterial = replace(study.phases[Phase.ARTERIAL], alignment=alignment)
    assessed = replace(study, phases={**study.phases, Phase.ARTERIAL: arterial})
    before = assessed if reason is AlignmentReason.NOT_ALIGNED else study
    liver = {Organ.LIVER: study.grid.with_array(truth.lesions.array >= 0)}
    segmentation = Segmentation(truth.lesions, liver, "model")
    predictor = SimpleNamespace(
        card=SimpleNamespace(input_config=SimpleNamespace(phases=tuple(Phase)))
    )
    asked: list[set[Phase]] = []

    def ask(study: Study) -> Prediction:
        asked.append(set(study.phases))
        return Prediction("model", segmentation)

    _, left_out, _ = predict_from_fit_phases(
        predictor, Registration(before, None, {}, {}), ask=ask, assess=lambda _: assessed
    )
    assert asked == shown
    assert left_out == {Phase.ARTERIAL, Phase.PORTAL} - shown[-1]
