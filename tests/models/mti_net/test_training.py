"""The terms of MTI-Net's loss, and the two players of its game."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from liverleaf.data.augmentation import SamplingConfig
from liverleaf.data.batch import Regions, SliceBatch
from liverleaf.data.network_input import InputConfig
from liverleaf.data.prepared import PreparedCase, PreparedLesion
from liverleaf.models import losses
from liverleaf.models.mti_net.network import MTINetConfig
from liverleaf.models.mti_net.training import LossWeights, MTINetOptimisation, MTINetTrainer
from liverleaf.models.recipe import Recipe
from liverleaf.study import Modality
from liverleaf.terminology import LesionType

NETWORK = MTINetConfig(
    masks=2, widths=(2, 2, 4, 4), heads="lesion", token_width=8, head_width=4, blocks=1, size=32
)
INPUT = InputConfig(Modality.CT, types=(LesionType.HCC, LesionType.CYST), size=32)


def case(*curves: float) -> PreparedCase:
    lesions = tuple(PreparedLesion(1, 0, (value,) * 4, {0: 9}) for value in curves)
    return PreparedCase(Path(), (True,) * 4, (1.0,) * 4, (1.0, 1.0), (), (), 1, lesions)


def trainer(**weights: float) -> MTINetTrainer:
    recipe = Recipe(
        "m",
        "mti-net",
        NETWORK,
        INPUT,
        LossWeights(**weights),
        SamplingConfig(),
        MTINetOptimisation(precision="32-true"),
    )
    fabric = Fabric(accelerator="cpu", devices=1)
    return MTINetTrainer(fabric, recipe, [case(1.0, 3.0)], total=10)


def batch() -> SliceBatch:
    torch.manual_seed(1)
    weights = torch.zeros(2, 3, 32, 32)
    weights[:, 0, 8:16, 8:16] = 1
    masks = torch.zeros(2, 2, 32, 32)
    masks[:, :, 8:16, 8:16] = 1
    present = torch.tensor([[True] * 4, [True, False, True, True]])
    return SliceBatch(
        torch.randn(2, 4, 32, 32),
        present,
        masks,
        torch.ones(2, 2, dtype=torch.bool),
        Regions(weights, torch.tensor([0, 1]), torch.full((2,), 64.0)),
        torch.tensor([[1.0] * 4, [2.0, 3.0, float("nan"), 1.0]]),
        torch.tensor([0, 1]),
    )


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    weights = {"bce": 1.0, "dice": 0.5, "curve": 2.0, "type": 3.0, "tim": 0.25, "adversarial": 0.1}
    passed = trainer(**weights).forward(batch())
    assert set(passed.terms) == set(weights)
    expected = sum(weights[name] * term.item() for name, term in passed.terms.items())
    assert passed.loss.item() == pytest.approx(expected, rel=1e-5)
    # the phase that is missing, and the value that nobody knows
    assert passed.known_LP.tolist() == [[True] * 4, [True, False, False, True]]
    torch.testing.assert_close(passed.type_probability_LT.sum(1), torch.ones(2))


def test_curves_are_learned_z_scored_by_the_training_set() -> None:
    learner = trainer(tim=0.0, adversarial=0.0)
    assert learner.mean_P.tolist() == [2.0] * 4 and learner.sd_P.tolist() == [1.0] * 4
    shown = batch()
    passed = learner.forward(shown)
    z = (shown.curve_LP.nan_to_num() - 2.0) / 1.0
    expected = losses.curve_l1(passed.curve_LP, z, passed.known_LP)
    torch.testing.assert_close(passed.terms["curve"], expected)


def test_a_step_moves_both_players_and_says_so() -> None:
    learner = trainer()
    before = {
        name: [p.clone() for p in learner.parts[name].parameters()]
        for name in ("network", "discriminator")
    }
    terms = learner.step(0, batch())
    assert {"loss", "discriminator"} <= set(terms) <= {"loss", *learner.columns}
    for name, parameters in before.items():
        after = list(learner.parts[name].parameters())
        assert any(not torch.equal(a, b) for a, b in zip(parameters, after, strict=True)), name


def test_without_an_adversarial_weight_the_discriminator_stays() -> None:
    learner = trainer(adversarial=0.0)
    before = [p.clone() for p in learner.parts["discriminator"].parameters()]
    assert "discriminator" not in learner.step(0, batch())
    after = learner.parts["discriminator"].parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_discriminator_learns_to_tell_truth_from_prediction() -> None:
    learner = trainer()
    learner.discriminator_optimiser.param_groups[0]["lr"] = 1e-2
    shown = batch()
    passed = learner.forward(shown)
    told = [float(learner._step_discriminator(shown, passed)) for _ in range(30)]
    assert np.mean(told[-5:]) < 0.7 * told[0]
