"""A model family in one file: the fat fraction of a liver, a score of the whole study.

Shape suffixes: B slices, P channels, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from liverleaf.data.augmentation import SamplingConfig
from liverleaf.data.batch import BatchStream
from liverleaf.data.network_input import model_input, normalisations, normalised
from liverleaf.data.prepared import PreparedCase
from liverleaf.models.family import ModelFamily, Output
from liverleaf.models.predictor import Predictor
from liverleaf.models.recipe import Recipe
from liverleaf.models.trainer import Trainer
from liverleaf.prediction import CaseScore, Prediction
from liverleaf.study import Study
from liverleaf.system.progress import Progress, silent

SCORE = "fat_fraction"
"""Of the liver, in percent: a name of `Annotation.markers` in the cohort."""


# 1. what the network is made of, and the network


@dataclass(frozen=True)
class FatNetConfig:
    """Channels in, and features per slice."""

    channels: int = 1
    width: int = 8


class FatNet(nn.Module):
    """Mean features of a slice to one percentage; `images_BPYX` to (B,)."""

    def __init__(self, config: FatNetConfig) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(config.channels, config.width, kernel_size=3, padding=1), nn.ReLU()
        )
        self.dropout = nn.Dropout(0.1)
        self.to_percent = nn.Linear(config.width, 1)

    def forward(self, images_BPYX: Tensor) -> Tensor:
        """Percent of fat in each slice."""
        features_BC = self.dropout(self.features(images_BPYX).mean((2, 3)))
        return 100 * self.to_percent(features_BC).squeeze(-1).sigmoid()


# 2. what it is fed: batch number `step` is a function of the seed and the step, and of nothing else


@dataclass(frozen=True)
class FatBatch:
    """Slices, and the fat fraction of the case that each is of."""

    images_BPYX: Tensor
    percent_B: Tensor

    def to(self, device: torch.device) -> FatBatch:
        """The same on another device."""
        return FatBatch(self.images_BPYX.to(device), self.percent_B.to(device))


class FatBatches(BatchStream):
    """Slices of cases, all alike likely."""

    def __init__(self, cases: Sequence[PreparedCase], recipe: Recipe) -> None:
        self.cases, self.batch, self.seed = cases, recipe.sampling.batch, recipe.seed

    @property
    def samples_per_epoch(self) -> int:
        """The slices of all cases."""
        return sum(case.slices for case in self.cases)

    def __call__(self, step: int) -> FatBatch:
        """Batch number `step`."""
        rng = np.random.default_rng([self.seed, step])
        chosen = [self.cases[int(rng.integers(len(self.cases)))] for _ in range(self.batch)]
        images = [case.slice(int(rng.integers(case.slices)))[0] for case in chosen]
        percent = [float(case.markers[SCORE]) for case in chosen]
        return FatBatch(torch.from_numpy(np.stack(images)), torch.tensor(percent))


# 3. how it is trained: the loss of a batch, and the columns of its log


class FatTrainer(Trainer):
    """Mean absolute error in percent."""

    columns = ("mae",)

    def _step(self, batch: FatBatch) -> dict[str, Tensor]:
        loss = (self.network(batch.images_BPYX) - batch.percent_B).abs().mean()
        self._descend(loss)
        return {"mae": loss.detach(), "loss": loss.detach()}


# 4. how it is asked: a study in, a prediction out


class FatPredictor(Predictor):
    """The mean over the slices of a study."""

    @torch.inference_mode()
    def predict(self, study: Study, *, progress: Progress = silent) -> Prediction:
        """As `__call__`."""
        config = self.card.input_config
        given = model_input(study, config)
        scales = normalisations(study, np.zeros(study.grid.spatial_shape, bool), config)
        images_ZPYX = normalised(given, scales, config, np.arange(len(given.raw_ZPYX)))
        with self.network.timed():
            percent_Z = self.network.module(torch.from_numpy(images_ZPYX).to(self.device))
        progress("running the network", 1, 1)
        score = CaseScore(SCORE, float(percent_Z.mean()), "percent")
        return Prediction(self.card.name, case_scores=(score,))


# 5. the family, which `registry.FAMILIES` names


def check(recipe: Recipe) -> None:
    """Refuse a recipe that this family cannot follow."""
    if recipe.input.normalise_on_liver:
        raise ValueError("the liver is not outlined here: set input.normalise_on_liver = false")


FAMILY = ModelFamily(
    name="fat-fraction",
    config=FatNetConfig,
    build=FatNet,
    batches=FatBatches,
    trainer=FatTrainer,
    predictor=FatPredictor,
    outputs=lambda _config, _loss: frozenset({Output.CASE_SCORE}),
    sampling=SamplingConfig,
    defaults=lambda wanted, _loss: {"channels": len(wanted.channels)},
    check=check,
)
