"""TransUNet: a lesion mask from the phases of a slice, as channels.

Chen, Lu, Yu, Luo, Adeli, Wang, Lu, Yuille and Zhou, TransUNet: transformers make strong encoders
for medical image segmentation, arXiv:2102.04306, 2021.

The notable choices:
- "R50-ViT-B/16": the first three stages of a ResNet-50 with weight-standardised convolutions and
  GroupNorm, whose 16 x 16 grid of features is the sequence of a ViT-B; the cascaded upsampler takes
  its skips from the ResNet;
- nothing is pretrained, where the paper starts from ImageNet: no baseline here, and not MTI-Net,
  has seen another picture;
- one logit for the lesion takes the place of a softmax over two classes; the Dice of the loss is
  the lesion's alone, with no squares in it;
- it is fixed to one size of input, by its learned positions.

Shape suffixes: B slices, P phases, C channels, Y rows, X columns, N tokens, D token width.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liverleaf.models.baselines.family import segmentation_family
from liverleaf.models.baselines.segmentation import SegmentationNetwork
from liverleaf.models.blocks import ConvBlock


@dataclass(frozen=True)
class TransUNetConfig:
    """What a TransUNet is made of; the defaults are the published R50-ViT-B/16.

    Attributes:
        phases: how many contrast phases go in, as channels.
        size: side of the square input in pixels, a multiple of 16.
        stem_width: channels of the ResNet's first convolution; its three stages have 4, 8 and 16
            times as many.
        stem_blocks: bottleneck blocks of the three stages.
        norm_groups: groups of the ResNet's GroupNorm.
        width: of a token.
        mlp_width: of the Transformer's hidden layer.
        blocks: of the Transformer.
        heads: of its attention.
        dropout: in the Transformer.
        neck: channels between the tokens and the decoder.
        decoder_widths: channels of the four decoder blocks.
    """

    phases: int = 4
    size: int = 256
    stem_width: int = 64
    stem_blocks: tuple[int, int, int] = (3, 4, 9)
    norm_groups: int = 32
    width: int = 768
    mlp_width: int = 3072
    blocks: int = 12
    heads: int = 12
    dropout: float = 0.1
    neck: int = 512
    decoder_widths: tuple[int, int, int, int] = (256, 128, 64, 16)

    def __post_init__(self) -> None:
        if self.size % 16:
            raise ValueError(
                f"TransUNet needs a size that is a multiple of 16, got size={self.size}"
            )


class StandardisedConv(nn.Conv2d):
    """A convolution with filters of mean 0 and variance 1.

    Reference: Qiao et al., Micro-batch training with weight standardization, 2019.
    """

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """As `Conv2d`."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        return F.conv2d(
            x_BCYX,
            (self.weight - mean) * (variance + 1e-5).rsqrt(),
            None,
            self.stride,
            self.padding,
        )


def _conv_norm(
    inputs: int, outputs: int, kernel: int, *, groups: int, stride: int = 1
) -> nn.Sequential:
    conv = StandardisedConv(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(groups, outputs, eps=1e-6))


class Bottleneck(nn.Module):
    """ResNet's block of 1x1, 3x3 and 1x1 convolutions, each with GroupNorm, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, groups: int) -> None:
        super().__init__()
        inner = outputs // 4
        self.body = nn.Sequential(
            _conv_norm(inputs, inner, 1, groups=groups),
            nn.ReLU(),
            _conv_norm(inner, inner, 3, groups=groups, stride=stride),
            nn.ReLU(),
            _conv_norm(inner, outputs, 1, groups=groups),
        )
        changes = stride != 1 or inputs != outputs
        self.shortcut = (
            _conv_norm(inputs, outputs, 1, groups=outputs, stride=stride)
            if changes
            else nn.Identity()
        )

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """Y and X divided by the stride."""
        return F.relu(self.body(x_BCYX) + self.shortcut(x_BCYX))


class Stem(nn.Module):
    """The first three stages of a ResNet-50: features at 1/2, 1/4, 1/8 and 1/16 of the size."""

    def __init__(self, config: TransUNetConfig) -> None:
        super().__init__()
        width, groups = config.stem_width, config.norm_groups
        self.root = nn.Sequential(
            _conv_norm(config.phases, width, 7, groups=groups, stride=2), nn.ReLU()
        )
        self.stages = nn.ModuleList()
        for stage, (inputs, outputs) in enumerate(
            pairwise((width, 4 * width, 8 * width, 16 * width))
        ):
            first = Bottleneck(inputs, outputs, stride=2 if stage else 1, groups=groups)
            rest = (
                Bottleneck(outputs, outputs, stride=1, groups=groups)
                for _ in range(config.stem_blocks[stage] - 1)
            )
            self.stages.append(nn.Sequential(first, *rest))

    def forward(self, images_BPYX: Tensor) -> list[Tensor]:
        """Finest first."""
        levels = [self.root(images_BPYX)]
        # unpadded, as published, but for the last row and column
        x_BCYX = F.max_pool2d(levels[0], 3, stride=2, ceil_mode=True)
        for stage in self.stages:
            x_BCYX = stage(x_BCYX)
            levels.append(x_BCYX)
        return levels


class TransUNet(SegmentationNetwork):
    """ResNet, Transformer over its last features, and a convolutional upsampler with three skips.

    Raises:
        ValueError: on an image of another size than the config's.
    """

    cross_entropy, dice = 0.5, 0.5

    def __init__(self, config: TransUNetConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = Stem(config)
        self.embed = nn.Conv2d(16 * config.stem_width, config.width, kernel_size=1)
        self.positions_ND = nn.Parameter(torch.zeros((config.size // 16) ** 2, config.width))
        self.dropout = nn.Dropout(config.dropout)
        block = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            config.mlp_width,
            config.dropout,
            activation=F.gelu,
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(
            block, config.blocks, norm=nn.LayerNorm(config.width), enable_nested_tensor=False
        )
        self.neck = ConvBlock(config.width, config.neck)
        skips = (8 * config.stem_width, 4 * config.stem_width, config.stem_width, 0)
        self.decoder = nn.ModuleList(
            ConvBlock(inputs + skip, outputs, convs=2)
            for (inputs, outputs), skip in zip(
                pairwise((config.neck, *config.decoder_widths)), skips, strict=True
            )
        )
        self.head = nn.Conv2d(config.decoder_widths[-1], 1, kernel_size=3, padding=1)

    def forward(self, images_BPYX: Tensor) -> Tensor:
        """Mask logits of shape (B, 1, Y, X), float32."""
        side = self.config.size
        if images_BPYX.shape[-2:] != (side, side):
            raise ValueError(
                f"this TransUNet was built for {side} x {side} pixels, got"
                f" {tuple(images_BPYX.shape[-2:])}"
            )
        *levels, last_BCYX = self.stem(images_BPYX)
        tokens_BND = self.embed(last_BCYX).flatten(2).transpose(1, 2) + self.positions_ND
        tokens_BND = self.transformer(self.dropout(tokens_BND))
        x_BCYX = self.neck(tokens_BND.transpose(1, 2).unflatten(2, last_BCYX.shape[-2:]))
        for block, skip in zip(self.decoder, [*reversed(levels), None], strict=True):
            up = F.interpolate(x_BCYX, scale_factor=2.0, mode="bilinear", align_corners=True)
            x_BCYX = block(up if skip is None else torch.cat([up, skip], dim=1))
        return self.head(x_BCYX).float()


FAMILY = segmentation_family("transunet", TransUNetConfig, TransUNet)
