"""Convolution blocks in three dimensions, with the instance norm that they share.

MONAI's `UnetBasicBlock` is the same, but for its norm: torch's instance norm leaves the layout with
channels last in memory, which halves the speed on CPUs.

Shape suffixes: B samples, C channels, Z slices, Y rows, X columns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = tuple[int, int, int]


class InstanceNorm(nn.Module):
    """Each channel of each sample to mean 0 and variance 1, then scaled and shifted.

    Reference: Ulyanov et al., Instance normalization, arXiv:1607.08022, 2016.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        """Same shape and type; a single voxel becomes the shift."""
        if x_BCZYX[0, 0].numel() == 1:  # nothing varies, which torch refuses
            shift = self.bias.to(x_BCZYX.dtype)[None, :, None, None, None]
            return x_BCZYX * 0 + shift
        if len(x_BCZYX) == 1:  # the same numbers, and the layout stays
            return F.batch_norm(x_BCZYX, None, None, self.weight, self.bias, training=True)
        return F.instance_norm(x_BCZYX, weight=self.weight, bias=self.bias)


class Convolution(nn.Sequential):
    """3x3x3 convolution, instance norm, LeakyReLU; with a stride, the first two shrink the grid."""

    def __init__(self, inputs: int, outputs: int, *, stride: Size = (1, 1, 1)) -> None:
        super().__init__(
            nn.Conv3d(inputs, outputs, kernel_size=3, padding=1, stride=stride, bias=False),
            InstanceNorm(outputs),
            nn.LeakyReLU(0.01, inplace=True),
        )


class TwoConvolutions(nn.Sequential):
    """nnU-Net's block: two convolutions, the first with the stride."""

    def __init__(self, inputs: int, outputs: int, *, stride: Size = (1, 1, 1)) -> None:
        super().__init__(Convolution(inputs, outputs, stride=stride), Convolution(outputs, outputs))
