"""Every loss on a case done by hand, and on nothing at all."""

import math

import pytest
import torch

from liverleaf.models.losses import (
    adversarial,
    binary_cross_entropy,
    curve_l1,
    soft_dice,
    type_cross_entropy,
)

THREE_QUARTERS = math.log(3.0)  # the logit of probability 3/4


def masks(*values: float) -> torch.Tensor:
    """One slice per value, one mask each, of 1 x 2 equal pixels."""
    return torch.tensor(values)[:, None, None, None].expand(-1, 1, 1, 2)


def test_binary_cross_entropy_by_hand() -> None:
    loss = binary_cross_entropy(
        masks(THREE_QUARTERS, THREE_QUARTERS), masks(1.0, 0.0), torch.ones(2, 1, dtype=torch.bool)
    )
    assert loss.item() == pytest.approx((-math.log(3 / 4) - math.log(1 / 4)) / 2)


def test_binary_cross_entropy_leaves_out_what_does_not_count() -> None:
    loss = binary_cross_entropy(
        masks(THREE_QUARTERS, -50.0), masks(1.0, 1.0), torch.tensor([[True], [False]])
    )
    assert loss.item() == pytest.approx(-math.log(3 / 4))


def test_soft_dice_by_hand() -> None:
    # p = 3/4 in four pixels, two of them true: 1 - (2 * 1.5 + 1) / (3 + 2 + 1)
    loss = soft_dice(
        masks(THREE_QUARTERS, THREE_QUARTERS), masks(1.0, 0.0), torch.ones(2, 1, dtype=torch.bool)
    )
    assert loss.item() == pytest.approx(1 - 4 / 6)


def test_soft_dice_averages_the_masks_and_leaves_out_what_does_not_count() -> None:
    logits = torch.cat([masks(THREE_QUARTERS, THREE_QUARTERS), masks(50.0, 50.0)], dim=1)
    truth = torch.cat([masks(1.0, 0.0), masks(1.0, 0.0)], dim=1)
    loss = soft_dice(logits, truth, torch.tensor([[True, True], [True, False]]))
    assert loss.item() == pytest.approx((1 - 4 / 6 + 0) / 2, abs=1e-6)


def test_soft_dice_counts_every_mask_when_not_told_which() -> None:
    logits, truth = masks(THREE_QUARTERS, -1.0), masks(1.0, 0.0)
    assert soft_dice(logits, truth) == soft_dice(logits, truth, torch.ones(2, 1, dtype=torch.bool))


def test_an_empty_mask_found_empty_costs_nothing() -> None:
    assert soft_dice(
        masks(-50.0), masks(0.0), torch.ones(1, 1, dtype=torch.bool)
    ).item() == pytest.approx(0.0, abs=1e-6)


def test_curve_l1_by_hand_over_the_phases_that_count() -> None:
    predicted = torch.tensor([[1.0, 2.0], [3.0, 99.0]])
    truth = torch.tensor([[0.0, 4.0], [3.0, 0.0]])
    assert curve_l1(
        predicted, truth, torch.tensor([[True, True], [True, False]])
    ).item() == pytest.approx((1 + 2 + 0) / 3)


def test_type_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    assert type_cross_entropy(logits, torch.tensor([0, 1])).item() == pytest.approx(
        (-math.log(3 / 4) - math.log(1 / 2)) / 2
    )


@pytest.mark.parametrize(
    ("real", "expected"), [(True, -math.log(3 / 4)), (False, -math.log(1 / 4))]
)
def test_adversarial_by_hand(real: bool, expected: float) -> None:
    assert adversarial(torch.full((5,), THREE_QUARTERS), real=real).item() == pytest.approx(
        expected
    )


NOTHING = torch.zeros(3, 1, dtype=torch.bool)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: binary_cross_entropy(x.expand(3, 1, 2, 2), torch.ones(3, 1, 2, 2), NOTHING),
        lambda x: soft_dice(x.expand(3, 1, 2, 2), torch.ones(3, 1, 2, 2), NOTHING),
        lambda x: curve_l1(x.expand(3, 1), torch.ones(3, 1), NOTHING),
        lambda x: curve_l1(x.expand(0, 4), torch.ones(0, 4), torch.zeros(0, 4, dtype=torch.bool)),
        lambda x: type_cross_entropy(x.expand(0, 2), torch.zeros(0, dtype=torch.int64)),
        lambda x: adversarial(x.expand(0), real=True),
    ],
    ids=["binary cross-entropy", "soft Dice", "curve", "no curve", "no type", "adversarial"],
)
def test_nothing_to_ask_for_costs_nothing(loss) -> None:
    logit = torch.zeros(1, requires_grad=True)
    value = loss(logit)
    assert value.item() == 0.0
    value.backward()
    assert logit.grad is None or logit.grad.item() == 0.0
