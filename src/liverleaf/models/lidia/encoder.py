"""nnU-Net's encoder behind the fusion of phases, and a feature pyramid on top of it.

Shape suffixes: C channels, Z slices, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from liverleaf.models.lidia.convolutions import InstanceNorm, TwoConvolutions


class Encoder(nn.Module):
    """Levels after the fused one, each with half the voxels along every axis.

    Args:
        widths: channels of the levels, the fused one first.

    Reference: nnU-Net (Isensee et al., Nature Methods 2021).
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            TwoConvolutions(finer, coarser, stride=(2, 2, 2)) for finer, coarser in pairwise(widths)
        )

    def forward(self, fused_1CZYX: Tensor) -> list[Tensor]:
        """Features of every level, the finest (the fused one itself) first."""
        features = [fused_1CZYX]
        for level in self.levels:
            features.append(level(features[-1]))
        return features


class FeaturePyramid(nn.Module):
    """Every level in the same width, with what the coarser ones know.

    A lateral 1x1x1 convolution, plus the coarser level stretched to its size; then a 3x3x3
    convolution, instance norm and ReLU.

    Args:
        widths: channels of the encoder's levels, the finest first.
        width: channels of each level of the pyramid.
        read: the levels that somebody reads, 0 for the finest, in rising order.

    Reference: Lin et al., Feature pyramid networks, CVPR 2017. Norm and ReLU are those of the
    published code of PLAN (Yan et al., MICCAI 2023).
    """

    def __init__(self, widths: Sequence[int], width: int, *, read: Sequence[int]) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv3d(channels, width, 1) for channels in widths)
        self.smooth = nn.ModuleDict(
            {
                str(level): nn.Sequential(
                    nn.Conv3d(width, width, 3, padding=1, bias=False),
                    InstanceNorm(width),
                    nn.ReLU(inplace=True),
                )
                for level in read
            }
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The levels that are read, the finest first; each has the size of the encoder's."""
        merged = [self.lateral[-1](features[-1])]
        for lateral, given in zip(self.lateral[-2::-1], features[-2::-1], strict=True):
            here = lateral(given)
            merged.insert(0, here + F.interpolate(merged[0], size=here.shape[2:], mode="nearest"))
        return [smooth(merged[int(level)]) for level, smooth in self.smooth.items()]
