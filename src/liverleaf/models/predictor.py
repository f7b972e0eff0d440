"""From a study to what a model says of it: what every family's predictor shares.

Shape suffixes: L lesions, T types, Z slices, Y rows, X columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import highdicom as hd
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from liverleaf.data.network_input import InputConfig, ModelInput
from liverleaf.models import registry
from liverleaf.models.checkpoint import ModelCard, load_card, load_model
from liverleaf.prediction import Prediction
from liverleaf.registration.align import Registration
from liverleaf.registration.quality import assess_alignment, fit_phases
from liverleaf.segmentation import Segmentation
from liverleaf.study import InputError, Phase, Study
from liverleaf.system.progress import Progress, silent

SLICES_AT_ONCE = 4


class TimedNetwork:
    """A network on its device, and the seconds that it took so far."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.module: Any = module.to(device)
        self.device, self.seconds = device, 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the seconds of a block as the network's."""
        start = perf_counter()
        yield
        self.seconds += perf_counter() - start


@dataclass(frozen=True)
class UncalibratedLesions:
    """Lesions of a study before probabilities are calibrated, on which the calibration is fitted.

    Attributes:
        labels_ZYX: instance labels on canonical axes of the study's grid, from 1.
        peak: highest lesion probability of each lesion.
        logits_LT: logits of the types.
    """

    labels_ZYX: NDArray[np.uint16]
    peak: list[float]
    logits_LT: NDArray[np.float64]


class Predictor(ABC):
    """A trained model that is ready for studies; a family adds `predict`.

    Args:
        directory: folder of the model.
        device: "auto", "cpu" or "cuda".

    Raises:
        InputError: there is no such model, or no such device.
    """

    def __init__(self, directory: Path, *, device: str = "auto") -> None:
        self.card, network = load_model(directory)
        self.directory = directory
        self.device = chosen_device(device)
        self.network = TimedNetwork(self.lay_out(network), self.device)

    def __call__(self, study: Study, *, progress: Progress = silent) -> Prediction:
        """What the model says of a study.

        Args:
            study: all images on one grid (`register_phases` brings them there).
            progress: called with (what, done, total).

        Raises:
            InputError: the study's modality is not the model's, or it has none of the model's
                channels.
            ValueError: the images lie on different grids.
        """
        self._start(study)
        prediction = self.predict(study, progress=progress)
        doubts = foreign_study_warnings(study, self.card)
        return replace(prediction, warnings=(*doubts, *prediction.warnings))

    @abstractmethod
    def predict(self, study: Study, *, progress: Progress = silent) -> Prediction:
        """As `__call__`; the modality is the model's."""

    def of_given(
        self,
        study: Study,  # noqa: ARG002
        segmentation: Segmentation,  # noqa: ARG002
        *,
        progress: Progress = silent,  # noqa: ARG002
    ) -> Prediction:
        """What the model says of lesions that somebody else outlined.

        Args:
            study: as for `__call__`.
            segmentation: masks on its grid; normalisation is on their liver where they have one.
            progress: called with (what, done, total).

        Returns:
            Types and curves under the given labels, without scores: nobody asked where lesions are.

        Raises:
            InputError: the model says nothing of lesions that it did not outline, or as `__call__`.
        """
        raise InputError(
            f"the model {self.card.name} types only what it outlined itself: choose another with"
            " --model, or leave the masks out"
        )

    def uncalibrated(
        self,
        study: Study,  # noqa: ARG002
        *,
        progress: Progress = silent,  # noqa: ARG002
    ) -> UncalibratedLesions:
        """Lesions and type logits, on which `evaluate` fits the probabilities.

        Raises:
            InputError: the model has no probabilities to fit, or as `__call__`.
        """
        raise InputError(
            f"the model {self.card.name} gives lesions no types, so there is nothing to calibrate"
        )

    @property
    def network_seconds(self) -> float:
        """Seconds that the network itself took in the last prediction."""
        return self.network.seconds

    def lay_out(self, network: nn.Module) -> nn.Module:
        """The network with its weights laid out in memory as it is fastest."""
        return network

    def _start(self, study: Study) -> None:
        if study.modality is not self.card.input_config.modality:
            raise InputError(
                f"the model {self.card.name} is for {self.card.input_config.modality}, this study"
                f" is {study.modality}: choose another model"
            )
        self.network.seconds = 0.0


def load_predictor(directory: Path, *, device: str = "auto") -> Predictor:
    """The predictor of a model's family; arguments and errors as of `Predictor`."""
    return registry.family(load_card(directory).family).predictor(directory, device=device)


class PredictionFromFitPhases(NamedTuple):
    """What a model says of the phases that are fit to be shown to it.

    Attributes:
        prediction: what it says.
        left_out: the phases that it was not shown.
        assessed: the study once its alignment was assessed inside the liver of this prediction;
            None where that was not done.
    """

    prediction: Prediction
    left_out: frozenset[Phase]
    assessed: Study | None = None


def predict_from_fit_phases(
    predictor: Predictor,
    registration: Registration,
    *,
    ask: Callable[[Study], Prediction] | None = None,
    assess: Callable[[hd.Volume], Study] | None = None,
) -> PredictionFromFitPhases:
    """What a model says of a study, from the phases that are fit to be shown to it.

    Some phases are found unfit only inside the liver, which the model outlines. Then it is asked
    once more, without them.

    Args:
        predictor: the model.
        registration: the study, as `register_phases` returned it.
        ask: what asks the model; None for the model itself.
        assess: what assesses the alignment inside a liver; None for `assess_alignment`.

    Raises:
        InputError: as from `Predictor`.
    """
    ask = ask or predictor
    assess = assess or (lambda liver: assess_alignment(registration, within=liver))
    wanted = predictor.card.input_config.phases
    seen, reasons = fit_phases(registration.study, wanted)
    prediction = ask(seen)
    if prediction.segmentation is None or prediction.segmentation.liver is None:
        return PredictionFromFitPhases(prediction, frozenset(reasons))
    assessed = assess(prediction.segmentation.liver)
    fit, found = fit_phases(assessed, wanted)
    if set(fit.phases) & set(wanted) < set(seen.phases) & set(wanted):
        kept = {phase: image for phase, image in seen.phases.items() if phase in fit.phases}
        prediction = ask(replace(seen, phases=kept))
        return PredictionFromFitPhases(prediction, frozenset(found | reasons))
    return PredictionFromFitPhases(prediction, frozenset(reasons), assessed)


def chosen_device(device: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" stands for.

    Raises:
        InputError: there is no such device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device {device} was asked for, but torch sees none: use --device cpu")
    return torch.device(device)


def foreign_study_warnings(study: Study, card: ModelCard) -> list[str]:
    """What makes a study one that the model was not made for."""
    made_for = card.input_config
    return [
        f"the model {card.name} was trained on {trained}, this study is of {shown}: trust nothing"
        " here"
        for trained, shown in (
            (f"the {made_for.body_part}", f"the {study.body_part}"),
            (f"the {made_for.species}", f"the {study.species}"),
        )
        if trained != shown
    ]


def input_warnings(study: Study, given: ModelInput, config: InputConfig) -> list[str]:
    """What is doubtful because of the phases that a study has."""
    warnings = []
    unused = [phase.title for phase in study.phases if phase not in config.phases]
    if unused:
        warnings.append(
            f"the model does not use the {' and '.join(unused)} phase; it is measured only"
        )
    if given.scanned == 1:
        warnings.append("only one phase: lesions may be missed and their types are doubtful")
    there = [
        phase
        for phase, present in zip(config.channel_phases, given.present_P, strict=True)
        if present
    ]
    if all(phase is Phase.PRE for phase in there):
        warnings.append(
            "no contrast-enhanced phase: lesion calls from a native phase alone are doubtful"
        )
    return warnings
