"""Prediction with the baselines: a segmentation network outlines lesions; a classifier cannot.

Shape suffixes: Z slices, P channels, Y rows, X columns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from liverleaf.data.network_input import (
    InputConfig,
    ModelInput,
    channel_title,
    model_input,
    normalisations,
    normalised,
    on_study_grid,
)
from liverleaf.models.calibration import fitted_threshold
from liverleaf.models.lesion_masks import separate_lesions, smooth
from liverleaf.models.predictor import SLICES_AT_ONCE, Predictor, TimedNetwork, input_warnings
from liverleaf.prediction import LesionPrediction, Prediction
from liverleaf.segmentation import Segmentation
from liverleaf.study import InputError, Study
from liverleaf.system.progress import Progress, silent


class SegmentationPredictor(Predictor):
    """A trained segmentation network: lesion masks with a score each, and nothing else."""

    @torch.inference_mode()
    def predict(self, study: Study, *, progress: Progress = silent) -> Prediction:
        """As `__call__`."""
        config = self.card.input_config
        given = model_input(study, config)
        scales = normalisations(study, np.zeros(study.grid.spatial_shape, bool), config)
        images_ZPYX = normalised(given, scales, config, np.arange(len(given.raw_ZPYX)))
        probability_Z1YX = lesion_probability(images_ZPYX, self.network, progress=progress)
        peak = fitted_threshold(self.card.calibration.minimum_peak, given.scanned)
        masks = separate_lesions(smooth(probability_Z1YX, given), given, minimum_peak=peak)
        lesions = on_study_grid(masks.lesions_ZYX, given.grid, study.grid)
        return Prediction(
            model=self.card.name,
            segmentation=Segmentation(lesions, {}, source=self.card.name),
            lesions=tuple(
                LesionPrediction(label, score) for label, score in enumerate(masks.score, start=1)
            ),
            warnings=(
                f"the model {self.card.name} does not outline the liver",
                *missing_channel_warnings(given, config),
                *input_warnings(study, given, config),
            ),
        )


def lesion_probability(
    images_ZPYX: NDArray[np.float32], network: TimedNetwork, *, progress: Progress = silent
) -> NDArray[np.float32]:
    """Probability of lesion in every slice, (Z, 1, Y, X)."""
    probabilities, total = [], len(images_ZPYX)
    for start in range(0, total, SLICES_AT_ONCE):
        images = torch.from_numpy(images_ZPYX[start : start + SLICES_AT_ONCE]).to(network.device)
        with network.timed():
            logits = network.module(images)
        probabilities.append(logits.float().sigmoid().cpu().numpy())
        progress("running the network", min(start + SLICES_AT_ONCE, total), total)
    return np.concatenate(probabilities)


def missing_channel_warnings(given: ModelInput, config: InputConfig) -> list[str]:
    """The baselines were published for complete studies: zeros stand for what is missing."""
    missing = [
        channel_title(channel)
        for channel, present in zip(config.channels, given.present_P, strict=True)
        if not present
    ]
    if not missing:
        return []
    return [f"the model needs every phase, and {' and '.join(missing)} is missing: trust nothing"]


class ClassifierPredictor(Predictor):
    """A classifier of slices that show a lesion; it cannot tell which slices do."""

    def __init__(self, directory: Path, *, device: str = "auto") -> None:
        super().__init__(directory, device=device)
        raise InputError(
            f"the model {self.card.name} classifies slices that show a lesion and finds none"
            " itself: choose a model that outlines lesions"
        )

    def predict(self, study: Study, *, progress: Progress = silent) -> Prediction:
        """Never reached."""
        raise NotImplementedError
