"""MD-FF (its authors write DM-FF): a lesion mask from the phases of a slice.

Xu, Wu, Wang, Chen, Gao, Liu and Zhang, Accurate segmentation of liver tumor from multi-modality
non-contrast images using a dual-stream multi-level fusion framework, Computerized Medical Imaging
and Graphics 116:102414, 2024.

The paper says: an attention-based encoder-decoder per modality; one module fuses learned features
into a representation that the modalities share, another fuses the evidence of their decisions, so
that modalities in conflict do not disturb each other. It gives no code, and what we could read of
it no layers. Our reading:
- the encoder-decoder is an Attention U-Net (Oktay et al., Attention U-Net: learning where to look
  for the pancreas, MIDL 2018), with MONAI's attention gates;
- features are fused at every level of the decoders, coarsest first: concatenated, weighted by
  squeeze and excitation, convolved with what was fused below;
- the shared stream and every modality vote with evidence for lesion and background (Sensoy et al.,
  NeurIPS 2018), and the votes are combined by Dempster's rule (Han et al., Trusted multi-view
  classification, ICLR 2021);
- every voter has the evidential loss, the combined vote the soft Dice.

Shape suffixes: B slices, P phases, S sources, C channels, 2 lesion and background, 3 masses, Y
rows, X columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from monai.networks.blocks.squeeze_and_excitation import ChannelSELayer
from monai.networks.nets.attentionunet import AttentionBlock
from torch import Tensor, nn

from liverleaf.models import losses
from liverleaf.models.baselines.evidence import combine, evidential_loss, log_odds, opinion
from liverleaf.models.baselines.family import segmentation_family
from liverleaf.models.blocks import ConvBlock, UpBlock


@dataclass(frozen=True)
class MDFFConfig:
    """What an MD-FF is made of; the widths are ours.

    Attributes:
        phases: how many contrast phases go in, each to an encoder-decoder of its own.
        size: side of the square input in pixels, a multiple of 16, not fixed by the network.
        widths: channels of the five levels, finest first.
        reduction: ratio of squeeze and excitation.
    """

    phases: int = 4
    size: int = 256
    widths: tuple[int, int, int, int, int] = (32, 64, 128, 256, 512)
    reduction: int = 8


class GatedUp(nn.Module):
    """Doubles Y and X, lets what came up decide where the skip is looked at, and convolves both."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = UpBlock(inputs, outputs)
        self.gate = AttentionBlock(2, f_int=outputs // 2, f_g=outputs, f_l=outputs)
        self.merge = ConvBlock(2 * outputs, outputs, convs=2)

    def forward(self, x_BCYX: Tensor, skip_BCYX: Tensor) -> Tensor:
        """`skip_BCYX` has twice the rows and columns of `x_BCYX`, as has the answer."""
        up = self.up(x_BCYX)
        return self.merge(torch.cat([self.gate(up, skip_BCYX), up], dim=1))


class AttentionUNet(nn.Module):
    """One phase's encoder-decoder: features of every level of its decoder, coarsest first."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            ConvBlock(inputs, outputs, convs=2) for inputs, outputs in pairwise((1, *widths))
        )
        self.decoder = nn.ModuleList(
            GatedUp(inputs, outputs) for inputs, outputs in pairwise(reversed(widths))
        )

    def forward(self, image_B1YX: Tensor) -> list[Tensor]:
        """At 1/16, 1/8, 1/4, 1/2 of the input's size and at its size."""
        levels = []
        x_BCYX = image_B1YX
        for depth, block in enumerate(self.encoder):
            x_BCYX = block(F.max_pool2d(x_BCYX, 2) if depth else x_BCYX)
            levels.append(x_BCYX)
        decoded = [levels.pop()]
        for up in self.decoder:
            decoded.append(up(decoded[-1], levels.pop()))
        return decoded


class FeatureFusion(nn.Module):
    """The phases' features of one level and what was fused below, as one representation."""

    def __init__(self, phases: int, width: int, *, below: int, reduction: int) -> None:
        super().__init__()
        self.weigh = ChannelSELayer(
            2, phases * width, r=reduction, acti_type_1="relu", acti_type_2="sigmoid"
        )
        self.up = UpBlock(below, width) if below else None
        self.merge = ConvBlock(phases * width + (width if below else 0), width)

    def forward(self, features: list[Tensor], below_BCYX: Tensor | None) -> Tensor:
        """`below_BCYX` has half the rows and columns; None at the coarsest level."""
        both = [self.weigh(torch.cat(features, dim=1))]
        if self.up is not None and below_BCYX is not None:
            both.append(self.up(below_BCYX))
        return self.merge(torch.cat(both, dim=1))


class MDFF(nn.Module):
    """A stream of shared features and the phases' own decisions, joined as evidence."""

    def __init__(self, config: MDFFConfig) -> None:
        super().__init__()
        self.config = config
        self.streams = nn.ModuleList(AttentionUNet(config.widths) for _ in range(config.phases))
        self.fusion = nn.ModuleList(
            FeatureFusion(config.phases, width, below=below, reduction=config.reduction)
            for below, width in pairwise((0, *reversed(config.widths)))
        )
        self.votes = nn.ModuleList(
            nn.Conv2d(config.widths[0], 2, kernel_size=1) for _ in range(config.phases + 1)
        )

    def forward(self, images_BPYX: Tensor) -> Tensor:
        """Log-odds of the pignistic probability of the lesion, shape (B, 1, Y, X), float32."""
        return log_odds(self._decide(self.evidence(images_BPYX)))

    def evidence(self, images_BPYX: Tensor) -> list[Tensor]:
        """Evidence of each phase and, last, of the shared stream: (B, 2, Y, X), float32, 0 or more.

        The two are evidence for lesion and for background.

        Raises:
            ValueError: on images whose sides are not multiples of 16.
        """
        if any(side % 16 for side in images_BPYX.shape[-2:]):
            raise ValueError(
                f"MD-FF needs sides that are multiples of 16, got {tuple(images_BPYX.shape[-2:])}:"
                " pad the images"
            )
        decoded = [
            stream(image)
            for stream, image in zip(
                self.streams, images_BPYX.chunk(self.config.phases, dim=1), strict=True
            )
        ]
        shared_BCYX = None
        for level, fuse in zip(zip(*decoded, strict=True), self.fusion, strict=True):
            shared_BCYX = fuse(list(level), shared_BCYX)
        finest = [*(levels[-1] for levels in decoded), shared_BCYX]
        return [
            F.softplus(vote(features).float())
            for vote, features in zip(self.votes, finest, strict=True)
        ]

    def loss(self, images_BPYX: Tensor, mask_B1YX: Tensor, *, progress: float) -> Tensor:
        """Mean evidential loss of the voters, plus one minus the soft Dice of the joint vote.

        Caution grows with `progress` from 0 to 1.
        """
        evidence = self.evidence(images_BPYX)
        alone = torch.stack(
            [evidential_loss(votes, mask_B1YX, caution=progress) for votes in evidence]
        ).mean()
        return alone + losses.soft_dice(log_odds(self._decide(evidence)), mask_B1YX)

    @staticmethod
    def _decide(evidence: list[Tensor]) -> Tensor:
        return combine(torch.stack([opinion(votes) for votes in evidence], dim=1))


FAMILY = segmentation_family("md-ff", MDFFConfig, MDFF)
