"""ResUNet++; `test_segmentation.py` holds what every segmentation network must keep."""

import pytest
import torch

from liverleaf.models.baselines.resunetpp import ResUNetPP, ResUNetPPConfig

SMALL = ResUNetPPConfig(phases=2, size=32, widths=(8, 8, 8, 8, 8), reduction=2)


def test_slices_of_any_sides_that_are_multiples_of_eight_fit() -> None:
    network = ResUNetPP(SMALL).eval()
    assert network(torch.randn(1, 2, 24, 40)).shape == (1, 1, 24, 40)
    with pytest.raises(ValueError, match=r"multiples of 8, got \(24, 20\)"):
        network(torch.randn(1, 2, 24, 20))


def test_its_loss_is_the_soft_dice_which_a_perfect_mask_does_not_cost() -> None:
    network = ResUNetPP(SMALL).eval()
    mask = (torch.rand(1, 1, 32, 32) > 0.5).float()
    network.forward = lambda _: 100 * (2 * mask - 1)
    assert float(network.loss(torch.randn(1, 2, 32, 32), mask, progress=0.0)) < 1e-6
