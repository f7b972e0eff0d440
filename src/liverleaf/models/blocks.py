"""Pieces that networks share: convolution blocks, positions and Transformer stacks.

Shape suffixes: B slices, C channels, Y rows, X columns, N tokens, D token width.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def channels_last(network: Network) -> Network:
    """Lay the weights out with channels together in memory, up to twice as fast on CPUs."""
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in network.parameters():
        if layout := layouts.get(parameter.ndim):
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return network


class ConvBlock(nn.Sequential):
    """`convs` times (3x3 convolution, BatchNorm, ReLU); with `pool`, max pooling halves Y and X."""

    def __init__(self, inputs: int, outputs: int, *, convs: int = 1, pool: bool = False) -> None:
        layers: list[nn.Module] = []
        for index in range(convs):
            layers += [
                nn.Conv2d(
                    inputs if index == 0 else outputs, outputs, kernel_size=3, padding=1, bias=False
                ),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        if pool:
            # before the ReLU, which says the same of a quarter of the pixels
            layers.insert(-1, nn.MaxPool2d(2))
        super().__init__(*layers)


class UpBlock(nn.Module):
    """Transposed convolution that doubles Y and X, and a convolution that merges a skip.

    Args:
        inputs: channels from below.
        outputs: channels out.
        skip: channels of the skip connection, 0 for none.
    """

    def __init__(self, inputs: int, outputs: int, *, skip: int = 0) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )
        self.merge = ConvBlock(outputs + skip, outputs) if skip else None

    def forward(self, x_BCYX: Tensor, skip_BCYX: Tensor | None = None) -> Tensor:
        """Upsample and, where this block was built with a skip, merge it."""
        up: Tensor = self.up(x_BCYX)
        if self.merge is None or skip_BCYX is None:
            return up
        return self.merge(torch.cat([up, skip_BCYX], dim=1))


def sinusoidal_positions(length: int, width: int) -> Tensor:
    """Positions of shape (length, width) with sines in the even and cosines in the odd columns.

    Reference: Vaswani et al., Attention is all you need, NeurIPS 2017, section 3.5.
    """
    position_N1 = torch.arange(length, dtype=torch.float32)[:, None]
    frequency = torch.exp(
        torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10_000.0) / width)
    )
    table_ND = torch.zeros(length, width)
    table_ND[:, 0::2] = torch.sin(position_N1 * frequency)
    table_ND[:, 1::2] = torch.cos(position_N1 * frequency)[:, : width // 2]
    return table_ND


def transformer(
    width: int, *, heads: int, blocks: int, dropout: float = 0.0, norm_first: bool = False
) -> nn.TransformerEncoder:
    """Transformer blocks with a feed-forward layer four times as wide, as Vaswani et al. (2017).

    Post-norm; with `norm_first`, normalisation comes before each sublayer and once at the end,
    which trains at higher learning rates (Xiong et al., On layer normalization in the transformer
    architecture, ICML 2020).

    Raises:
        ValueError: the width is not a multiple of the heads.
    """
    if width % heads:
        raise ValueError(
            f"the token width must be a multiple of the heads, got width={width}, heads={heads}"
        )
    block = nn.TransformerEncoderLayer(
        width,
        heads,
        dim_feedforward=4 * width,
        dropout=dropout,
        batch_first=True,
        norm_first=norm_first,
    )
    return nn.TransformerEncoder(
        block, blocks, norm=nn.LayerNorm(width) if norm_first else None, enable_nested_tensor=False
    )
