"""What the baselines learn from a batch, and what they leave alone."""

import dataclasses
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from liverleaf.data.augmentation import SamplingConfig
from liverleaf.data.batch import Regions, SliceBatch
from liverleaf.data.network_input import InputConfig
from liverleaf.data.prepared import PreparedCase
from liverleaf.models.baselines.classifiers import ClassifierConfig
from liverleaf.models.baselines.training import ClassifierLoss, ClassifierTrainer
from liverleaf.models.optimisation import Optimisation
from liverleaf.models.recipe import Recipe
from liverleaf.study import Modality

CASE = PreparedCase(Path(), (True, True), (1.0, 1.0), (1.0, 1.0), (), (), 1, ())
INPUT = InputConfig(
    Modality.MR, channels=("pre", "portal"), pixel_mm=None, size=64, normalise_on_liver=False
)


def trainer(learns: str) -> ClassifierTrainer:
    config = ClassifierConfig(architecture="resnet-50", outputs=2, inputs=2, size=64, width=1 / 16)
    loss = ClassifierLoss(curve=float(learns == "curve"), type=float(learns == "type"))
    recipe = Recipe("c", "classifier", config, INPUT, loss, SamplingConfig(), Optimisation())
    return ClassifierTrainer(Fabric(accelerator="cpu", devices=1), recipe, [CASE], 10)


def batch(lesions: int) -> SliceBatch:
    torch.manual_seed(0)
    regions = Regions(torch.zeros(lesions, 3, 64, 64), torch.arange(lesions), torch.ones(lesions))
    return SliceBatch(
        torch.randn(2, 2, 64, 64),
        torch.ones(2, 2, dtype=torch.bool),
        torch.zeros(2, 1, 64, 64),
        torch.ones(2, 1, dtype=torch.bool),
        regions,
        torch.randn(lesions, 2),
        torch.zeros(lesions, dtype=torch.int64),
    )


@pytest.mark.parametrize("learns", ["curve", "type"])
def test_a_classifier_learns_one_thing_from_slices_with_a_lesion(learns: str) -> None:
    learner = trainer(learns)
    before = [p.clone() for p in learner.network.module.parameters()]
    terms = learner.step(0, batch(2))
    assert set(terms) == {learns, "loss"} and terms["loss"] == terms[learns] > 0
    after = list(learner.network.module.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_batch_without_a_lesion_teaches_a_classifier_nothing() -> None:
    learner = trainer("type")
    before = [p.clone() for p in learner.network.module.parameters()]
    assert float(learner.step(0, batch(0))["loss"]) == 0
    after = learner.network.module.parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_an_unknown_value_of_a_curve_costs_nothing() -> None:
    shown = batch(2)
    curve = torch.full((2, 2), float("nan"))
    assert float(trainer("curve").step(0, dataclasses.replace(shown, curve_LP=curve))["loss"]) == 0
