"""ResUNet++: a lesion mask from the phases of a slice, as channels.

Jha, Smedsrud, Riegler, Johansen, de Lange, Halvorsen and Johansen, ResUNet++: an advanced
architecture for medical image segmentation, IEEE International Symposium on Multimedia (ISM) 2019.

The notable choices:
- filters 16 to 256, squeeze and excitation with ratio 8 after every residual block, as published;
- what the figure leaves open is read from the authors' programme: the branches of the atrous
  pyramid (rates 1, 6, 12, 18) are added, the attention is a convolution that multiplies, with no
  sigmoid, and the shortcuts are normalised;
- MONAI's squeeze and excitation has biases, the authors' none.

Shape suffixes: B slices, P phases, C channels, Y rows, X columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from monai.networks.blocks.squeeze_and_excitation import ChannelSELayer
from torch import Tensor, nn

from liverleaf.models.baselines.family import segmentation_family
from liverleaf.models.baselines.segmentation import SegmentationNetwork


@dataclass(frozen=True)
class ResUNetPPConfig:
    """What a ResUNet++ is made of; the defaults are the published network.

    Attributes:
        phases: how many contrast phases go in, as channels.
        size: side of the square input in pixels, a multiple of 8, not fixed by the network.
        widths: channels of the stem, the three encoder blocks and the bridge.
        reduction: ratio of squeeze and excitation.
        rates: dilations of the atrous pyramid.
    """

    phases: int = 4
    size: int = 256
    widths: tuple[int, int, int, int, int] = (16, 32, 64, 128, 256)
    reduction: int = 8
    rates: tuple[int, ...] = (1, 6, 12, 18)


def _conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1)


def _norm_relu_conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), _conv(inputs, outputs, stride=stride))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a projected shortcut, then squeeze and excitation.

    Args:
        inputs: channels in.
        outputs: channels out.
        stride: of the first convolution and the shortcut.
        reduction: ratio of squeeze and excitation.
        stem: the first block of the network, which does not normalise the images.
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int, reduction: int, stem: bool = False
    ) -> None:
        super().__init__()
        first = (
            _conv(inputs, outputs, stride=stride)
            if stem
            else _norm_relu_conv(inputs, outputs, stride=stride)
        )
        self.body = nn.Sequential(first, _norm_relu_conv(outputs, outputs))
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride), nn.BatchNorm2d(outputs)
        )
        self.excite = ChannelSELayer(
            2, outputs, r=reduction, acti_type_1="relu", acti_type_2="sigmoid"
        )

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """Y and X divided by the stride."""
        return self.excite(self.body(x_BCYX) + self.shortcut(x_BCYX))


class AtrousPyramid(nn.Module):
    """Parallel dilated 3x3 convolutions with BatchNorm, added, then a 1x1 convolution (ASPP)."""

    def __init__(self, inputs: int, outputs: int, *, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel_size=3, padding=rate, dilation=rate),
                nn.BatchNorm2d(outputs),
            )
            for rate in rates
        )
        self.merge = nn.Conv2d(outputs, outputs, kernel_size=1)

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """Y and X are kept."""
        return self.merge(torch.stack([branch(x_BCYX) for branch in self.branches]).sum(0))


class AttentionUp(nn.Module):
    """Attention on what comes from below, upsampling, a skip, and a residual block."""

    def __init__(self, inputs: int, skip: int, outputs: int, *, reduction: int) -> None:
        super().__init__()
        self.gate_skip = _norm_relu_conv(skip, inputs)
        self.gate_below = _norm_relu_conv(inputs, inputs)
        self.gate = _norm_relu_conv(inputs, inputs)
        self.block = ResidualBlock(inputs + skip, outputs, stride=1, reduction=reduction)

    def forward(self, x_BCYX: Tensor, skip_BCYX: Tensor) -> Tensor:
        """`skip_BCYX` has twice the rows and columns of `x_BCYX`, as has the answer."""
        weight = self.gate(F.max_pool2d(self.gate_skip(skip_BCYX), 2) + self.gate_below(x_BCYX))
        return self.block(
            torch.cat([F.interpolate(weight * x_BCYX, scale_factor=2.0), skip_BCYX], dim=1)
        )


class ResUNetPP(SegmentationNetwork):
    """Residual encoder, atrous bridge, attention decoder, atrous output.

    Raises:
        ValueError: on an image whose sides are not multiples of 8.
    """

    cross_entropy, dice = 0.0, 1.0

    def __init__(self, config: ResUNetPPConfig) -> None:
        super().__init__()
        self.config = config
        w1, w2, w3, w4, w5 = config.widths
        self.encoder = nn.ModuleList(
            [
                ResidualBlock(config.phases, w1, stride=1, reduction=config.reduction, stem=True),
                *(
                    ResidualBlock(inputs, outputs, stride=2, reduction=config.reduction)
                    for inputs, outputs in pairwise((w1, w2, w3, w4))
                ),
            ]
        )
        self.bridge = AtrousPyramid(w4, w5, rates=config.rates)
        self.decoder = nn.ModuleList(
            AttentionUp(inputs, skip, outputs, reduction=config.reduction)
            for inputs, skip, outputs in ((w5, w3, w4), (w4, w2, w3), (w3, w1, w2))
        )
        self.output = nn.Sequential(
            AtrousPyramid(w2, w1, rates=config.rates), nn.Conv2d(w1, 1, kernel_size=1)
        )

    def forward(self, images_BPYX: Tensor) -> Tensor:
        """Mask logits of shape (B, 1, Y, X), float32."""
        if any(side % 8 for side in images_BPYX.shape[-2:]):
            raise ValueError(
                "ResUNet++ needs sides that are multiples of 8, got"
                f" {tuple(images_BPYX.shape[-2:])}: pad the images"
            )
        levels = []
        x_BCYX = images_BPYX
        for block in self.encoder:
            x_BCYX = block(x_BCYX)
            levels.append(x_BCYX)
        x_BCYX = self.bridge(x_BCYX)
        for up, skip in zip(self.decoder, reversed(levels[:-1]), strict=True):
            x_BCYX = up(x_BCYX, skip)
        return self.output(x_BCYX).float()


FAMILY = segmentation_family("resunet++", ResUNetPPConfig, ResUNetPP)
