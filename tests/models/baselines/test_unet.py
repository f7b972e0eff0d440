"""The U-Net of 2015; `test_segmentation.py` holds what every segmentation network must keep."""

import torch

from liverleaf.models.baselines.unet import UNet, UNetConfig


def test_it_has_five_levels_of_two_convolutions() -> None:
    network = UNet(UNetConfig(widths=(2, 3, 4, 5, 6)))
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 5 * 2 + 4 * 2 + 1  # down, up, and to the mask
    assert sum(isinstance(m, torch.nn.ConvTranspose2d) for m in network.modules()) == 4


def test_its_loss_is_the_mean_cross_entropy_of_the_pixels() -> None:
    network = UNet(UNetConfig(phases=1, size=32, widths=(2, 2, 2, 2, 2))).eval()
    images, mask = torch.randn(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    expected = -(1 - network(images).sigmoid()).log().mean()
    torch.testing.assert_close(network.loss(images, mask, progress=0.3), expected)
