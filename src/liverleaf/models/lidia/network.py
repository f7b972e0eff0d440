"""LIDIA's network: phases in; a class and a mask from each query out, and a semantic map.

Shape suffixes: B samples, P phases, Q queries, D width of features, C liver and types, S =
background, liver and types, E width of an embedding, Z slices, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liverleaf.models.blocks import channels_last
from liverleaf.models.lidia.decoder import MaskTransformer, QueryOutput, mask_logits
from liverleaf.models.lidia.encoder import Encoder, FeaturePyramid
from liverleaf.models.lidia.fusion import FUSIONS
from liverleaf.models.lidia.losses import focal_posterior

LIVER = 0
"""The class of the liver outside its lesions; type t is class t + 1, "nothing" is the last."""


@dataclass(frozen=True)
class LidiaConfig:
    """What the network is made of; docs/fidelity.md says which numbers are whose.

    Attributes:
        phases: how many phases it knows, in the order of the bolus.
        types: how many lesion types it tells apart.
        slices: of the patches that it is shown; their rows and columns are `InputConfig.size`.
        fusion: how phases become one feature map, a key of `fusion.FUSIONS`.
        stride: of each phase's first convolution, along Z, Y and X.
        widths: channels of the encoder's levels, the finest (the fused one) first.
        pyramid: channels of the feature pyramid and width of the queries, a multiple of `heads`.
        queries: how many; 0 for a plain segmentation network, which needs `semantic`.
        layers: of the mask transformer.
        levels: the coarsest levels of the pyramid that it attends to.
        heads: of attention.
        feedforward: hidden units of its feed-forward networks.
        embedding: width of the embedding in which lesions are contrasted.
        semantic: whether the finest features are also classified voxel by voxel, as in PLAN's
            pixel branch.
    """

    phases: int = 4
    types: int = 8
    slices: int = 32
    fusion: str = "ifm"
    stride: tuple[int, int, int] = (1, 1, 1)
    widths: tuple[int, ...] = (32, 64, 128, 256, 320)
    pyramid: int = 64
    queries: int = 50
    layers: int = 3
    levels: int = 3
    heads: int = 8
    feedforward: int = 512
    embedding: int = 128
    semantic: bool = False

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion is one of {', '.join(FUSIONS)}, got {self.fusion!r}")
        if not self.queries and not self.semantic:
            raise ValueError("a network without queries says nothing: set network.semantic = true")
        if self.pyramid % self.heads:
            raise ValueError(
                f"pyramid must be a multiple of heads, got {self.pyramid} and {self.heads}"
            )
        if self.slices < 1:
            raise ValueError(f"a patch needs at least one slice, got slices={self.slices}")
        if not 1 <= self.levels <= len(self.widths):
            raise ValueError(f"levels are 1 to {len(self.widths)}, got {self.levels}")
        if len(self.stride) != 3 or min(self.stride) < 1:
            raise ValueError(f"stride has three numbers of at least 1, got {self.stride}")


class LidiaOutput(NamedTuple):
    """What the network says of patches.

    Attributes:
        finest_BDZYX: the features that masks are made of, see `decoder.mask_logits`.
        layers: what the queries say, before the first layer and after each; empty without queries.
        embeddings_BQE: the last layer's queries as unit vectors; None without queries.
        semantic_logits_BSZYX: voxel by voxel, background, liver and types, on the grid of the
            finest features; None without that head.
    """

    finest_BDZYX: Tensor
    layers: Sequence[QueryOutput]
    embeddings_BQE: Tensor | None
    semantic_logits_BSZYX: Tensor | None


class Lidia(nn.Module):
    """Fusion of phases, nnU-Net's encoder, a feature pyramid and a mask transformer on it.

    Reference: LIDIA (Huang et al., MICCAI 2024).
    """

    def __init__(self, config: LidiaConfig) -> None:
        super().__init__()
        self.config = config
        self.fusion = FUSIONS[config.fusion](config.phases, config.widths[0], stride=config.stride)
        self.encoder = Encoder(config.widths)
        count = len(config.widths)
        attended = range(count - config.levels, count) if config.queries else ()
        self.pyramid = FeaturePyramid(config.widths, config.pyramid, read=sorted({0, *attended}))
        self.decoder: MaskTransformer | None = None
        self.project: nn.Module | None = None
        if config.queries:
            self.decoder = MaskTransformer(
                width=config.pyramid,
                classes=config.types + 1,
                queries=config.queries,
                layers=config.layers,
                levels=config.levels,
                heads=config.heads,
                feedforward=config.feedforward,
            )
            self.project = nn.Sequential(
                nn.Linear(config.pyramid, config.embedding),
                nn.ReLU(),
                nn.Linear(config.embedding, config.embedding),
            )
        self.classify = nn.Conv3d(config.pyramid, config.types + 2, 1) if config.semantic else None
        channels_last(self)

    def forward(self, images_BPZYX: Tensor, present_BP: Tensor) -> LidiaOutput:
        """What it says of patches.

        Args:
            images_BPZYX: normalised intensities; those of missing phases are not looked at.
            present_BP: bool, the phases that are there, at least one each.

        Raises:
            ValueError: a sample has no phase.
        """
        pyramid = self.features(images_BPZYX, present_BP)
        layers: list[QueryOutput] = []
        embeddings = None
        if self.decoder is not None and self.project is not None:
            coarsest = pyramid[: -self.config.levels - 1 : -1]
            layers = self.decoder(pyramid[0], coarsest)
            embeddings = F.normalize(self.project(layers[-1].queries_BQD).float(), dim=-1)
        semantic = None if self.classify is None else self.classify(pyramid[0])
        return LidiaOutput(pyramid[0], layers, embeddings, semantic)

    def features(self, images_BPZYX: Tensor, present_BP: Tensor) -> list[Tensor]:
        """The levels of the pyramid that are read, the finest first.

        Samples have different phases, so each goes its own way.
        """
        of_samples = [
            self.pyramid(self.encoder(self.fusion(images_PZYX, present_P)))
            for images_PZYX, present_P in zip(images_BPZYX, present_BP, strict=True)
        ]
        return [torch.cat(level) for level in zip(*of_samples, strict=True)]


def semantic_map(output: LidiaOutput, *, gamma: float) -> Tensor:
    """Probabilities (B, S, Z, Y, X) of background, liver and types; they sum to 1 at each voxel.

    With queries it is the sum over them of p(class) x sigmoid(mask), as Mask2Former has it, which
    may exceed 1 where queries overlap: there it is divided by its sum; where it is less, the rest
    is background. Without queries it is the softmax of the head that classifies voxels.

    Args:
        output: of the network.
        gamma: of the focal loss that the classes of queries were learned by.
    """
    if not output.layers:
        assert output.semantic_logits_BSZYX is not None
        return output.semantic_logits_BSZYX.float().softmax(1)
    last = output.layers[-1]
    class_BQC = focal_posterior(last.class_logits_BQC.float().softmax(-1), gamma)[..., :-1]
    evidence = [
        torch.einsum("qc,qzyx->czyx", class_QC, mask_logits(masks_QD, finest_DZYX).sigmoid())
        for class_QC, masks_QD, finest_DZYX in zip(
            class_BQC, last.masks_BQD, output.finest_BDZYX, strict=True
        )
    ]
    return normalised_map(torch.stack(evidence))


def normalised_map(evidence_BCZYX: Tensor) -> Tensor:
    """Evidence of at least 0 for liver and types as probabilities with the background first."""
    total = evidence_BCZYX.sum(1, keepdim=True).clamp_min(1)
    shares = evidence_BCZYX / total
    return torch.cat([(1 - shares.sum(1, keepdim=True)).clamp_min(0), shares], dim=1)
