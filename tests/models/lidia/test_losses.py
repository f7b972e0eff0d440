"""The terms of LIDIA's loss, against their formulae."""

import math

import pytest
import torch
import torch.nn.functional as F

from liverleaf.models.lidia.losses import (
    UNKNOWN,
    focal,
    focal_posterior,
    point_cross_entropy,
    point_dice,
    semantic_loss,
)


def test_focal_loss_is_its_formula() -> None:
    # two queries, three classes of which the last is "nothing": p = 1/2, 1/4, 1/4
    logits_QC = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]).log()
    found = focal(logits_QC, torch.tensor([0, 2]), gamma=2.0, nothing=0.1)
    each = 0.5**2 * -math.log(0.5)
    assert float(found) == pytest.approx((each + 0.1 * each) / 1.1)
    found = focal(logits_QC, torch.tensor([1, 2]), gamma=2.0, nothing=0.1)
    assert float(found) == pytest.approx((0.75**2 * -math.log(0.25) + 0.1 * each) / 1.1)


def test_without_gamma_focal_loss_is_weighted_cross_entropy() -> None:
    torch.manual_seed(0)
    logits_QC, classes_Q = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 3, 3])
    expected = F.cross_entropy(logits_QC, classes_Q, weight=torch.tensor([1.0, 1.0, 1.0, 0.1]))
    torch.testing.assert_close(focal(logits_QC, classes_Q, gamma=0.0, nothing=0.1), expected)


def test_queries_of_unknown_class_teach_nothing() -> None:
    logits_QC = torch.randn(3, 4, requires_grad=True)
    focal(logits_QC, torch.tensor([UNKNOWN, 1, UNKNOWN]), gamma=2.0, nothing=0.1).backward()
    assert logits_QC.grad is not None
    assert not logits_QC.grad[[0, 2]].any() and logits_QC.grad[1].all()
    nobody = torch.full((3,), UNKNOWN)
    assert float(focal(logits_QC.detach(), nobody, gamma=2.0, nothing=0.1)) == 0.0


def test_mask_losses_of_points_by_hand() -> None:
    logits_KN = torch.tensor([[0.0, 0.0], [math.log(3), -math.log(3)]])  # p = 1/2, 3/4, 1/4
    truth_KN = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    entropy = (-2 * math.log(0.5) - 2 * math.log(0.75)) / 4
    assert float(point_cross_entropy(logits_KN, truth_KN)) == pytest.approx(entropy)
    first, second = 1 - (2 * 0.5 + 1) / (2 + 1), 1 - (2 * 0.75 + 1) / (2 + 1)
    assert float(point_dice(logits_KN, truth_KN)) == pytest.approx((first + second) / 2)


def test_semantic_loss_of_one_voxel_each_by_hand() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]).log().T[None, :, :, None, None]
    truth = torch.tensor([0, 1])[None, :, None, None]
    dice = 1 - 2 * 0.5 / (0.25 + 0.5 + 1)  # of class 1; class 2 does not occur
    assert float(semantic_loss(logits, truth)) == pytest.approx(-math.log(0.5) + dice)


def test_voxels_of_unknown_class_change_nothing() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 2, 4, 4)
    truth = torch.randint(0, 3, (1, 2, 4, 4))
    truth[0, 1] = UNKNOWN
    expected = semantic_loss(logits[:, :, :1], truth[:, :1])
    torch.testing.assert_close(semantic_loss(logits, truth), expected)


def test_semantic_logits_may_be_coarser_than_the_truth() -> None:
    logits = torch.zeros(1, 3, 2, 4, 4)
    logits[:, 0, :, :, :2] = 20.0
    logits[:, 1, :, :, 2:] = 20.0
    truth = torch.zeros(1, 2, 8, 8, dtype=torch.int64)
    truth[..., 4:] = 1
    assert float(semantic_loss(logits, truth)) < 0.1
    assert float(semantic_loss(logits, 1 - truth)) > 5


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.0])
def test_the_posterior_is_what_focal_loss_was_trained_on(gamma: float) -> None:
    # the softmax that is best for classes that occur so often, found by descent
    true = torch.tensor([0.75, 0.2, 0.05], dtype=torch.float64)
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        v = logits.softmax(0)
        loss = (true * (1 - v) ** gamma * -v.log()).sum()
        loss.backward()
        return loss

    for _ in range(5):
        optimiser.step(closure)
    learned = logits.detach().softmax(0)
    torch.testing.assert_close(focal_posterior(learned, gamma), true, rtol=1e-3, atol=1e-4)
    assert (learned[0] < true[0] - 0.05) == (gamma > 0)


def test_the_posterior_of_certainty_is_certainty() -> None:
    found = focal_posterior(torch.tensor([[1.0, 0.0], [0.5, 0.5]]), 2.0)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0], [0.5, 0.5]]), atol=1e-4, rtol=0)
