"""Mask2Former's decoder in three dimensions: queries that attend to what they outline.

Shape suffixes: B samples, Q queries, N voxels of a level, D width, C classes, Z slices, Y rows, X
columns, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class QueryOutput(NamedTuple):
    """What the queries say after one layer.

    Attributes:
        class_logits_BQC: logits of the classes, the last of which is "nothing".
        mask_logits_BQZYX: logits of each query's mask, on the grid of the finest features.
        queries_BQD: the queries themselves, normalised.
    """

    class_logits_BQC: Tensor
    mask_logits_BQZYX: Tensor
    queries_BQD: Tensor


class MaskTransformer(nn.Module):
    """Learned queries; each becomes a class and a mask.

    Layer by layer, queries attend to the voxels of one level of features that their mask so far
    covers, to each other, and pass a feed-forward network, each followed by a norm (post-norm).
    Levels take turns, the coarsest first. What the queries say is read before the first layer and
    after each.

    Args:
        width: of queries and features, a multiple of `heads`.
        classes: without "nothing".
        queries: how many.
        layers: how many.
        levels: of features that are attended to.
        heads: of attention.
        feedforward: hidden units of the feed-forward network.

    Reference: Cheng et al., Masked-attention mask transformer for universal image segmentation,
    CVPR 2022, in three dimensions.
    """

    def __init__(
        self,
        *,
        width: int,
        classes: int,
        queries: int,
        layers: int,
        levels: int,
        heads: int,
        feedforward: int,
    ) -> None:
        super().__init__()
        self.query_features = nn.Parameter(torch.randn(queries, width))
        self.query_positions = nn.Parameter(torch.randn(queries, width))
        self.level_embeddings = nn.Parameter(torch.randn(levels, width))
        self.layers = nn.ModuleList(DecoderLayer(width, heads, feedforward) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.to_class = nn.Linear(width, classes + 1)
        self.to_mask = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, width),
        )  # fmt: skip

    def forward(self, finest_BDZYX: Tensor, levels: Sequence[Tensor]) -> list[QueryOutput]:
        """What the queries say before the first layer and after each.

        Args:
            finest_BDZYX: features that masks are made of.
            levels: features (B, D, Z, Y, X) to attend to, the coarsest first.
        """
        samples = len(finest_BDZYX)
        queries_BQD = self.query_features.expand(samples, -1, -1)
        positions_BQD = self.query_positions.expand(samples, -1, -1)
        flat = [
            (level.flatten(2).transpose(1, 2) + self.level_embeddings[index], sine_positions(level))
            for index, level in enumerate(levels)
        ]
        said = [self._say(queries_BQD, finest_BDZYX)]
        for index, layer in enumerate(self.layers):
            turn = index % len(levels)
            hidden_BQN = hidden_voxels(said[-1].mask_logits_BQZYX, levels[turn].shape[2:])
            queries_BQD = layer(queries_BQD, positions_BQD, *flat[turn], hidden_BQN)
            said.append(self._say(queries_BQD, finest_BDZYX))
        return said

    def _say(self, queries_BQD: Tensor, finest_BDZYX: Tensor) -> QueryOutput:
        normed_BQD = self.norm(queries_BQD)
        masks = torch.einsum("bqd,bdzyx->bqzyx", self.to_mask(normed_BQD), finest_BDZYX)
        return QueryOutput(self.to_class(normed_BQD), masks, normed_BQD)


class DecoderLayer(nn.Module):
    """Masked attention to features, attention among queries, feed-forward network; post-norm."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.cross = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mutual = nn.MultiheadAttention(width, heads, batch_first=True)
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward), nn.ReLU(), nn.Linear(feedforward, width)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.heads = heads

    def forward(
        self,
        queries_BQD: Tensor,
        positions_BQD: Tensor,
        features_BND: Tensor,
        feature_positions_ND: Tensor,
        hidden_BQN: Tensor,
    ) -> Tensor:
        """The queries after this layer.

        Args:
            queries_BQD: before it.
            positions_BQD: learned positions of the queries.
            features_BND: features of one level.
            feature_positions_ND: positions of its voxels.
            hidden_BQN: bool, voxels that a query does not see; it must see at least one.
        """
        hidden_BhQN = hidden_BQN.repeat_interleave(self.heads, dim=0)
        seen, _ = self.cross(
            queries_BQD + positions_BQD,
            features_BND + feature_positions_ND,
            features_BND,
            attn_mask=hidden_BhQN,
            need_weights=False,
        )
        queries_BQD = self.norms[0](queries_BQD + seen)
        with_positions = queries_BQD + positions_BQD
        told, _ = self.mutual(with_positions, with_positions, queries_BQD, need_weights=False)
        queries_BQD = self.norms[1](queries_BQD + told)
        return self.norms[2](queries_BQD + self.feedforward(queries_BQD))


def hidden_voxels(mask_logits_BQZYX: Tensor, size: Sequence[int]) -> Tensor:
    """The voxels (B, Q, N) of a level that lie outside each query's mask, sigmoid under .5.

    A query whose mask is empty there sees everything. No gradient flows back.
    """
    smaller = F.interpolate(
        mask_logits_BQZYX.detach().float(), size=tuple(size), mode="trilinear", align_corners=False
    )
    hidden_BQN = smaller.flatten(2) < 0
    return hidden_BQN & ~hidden_BQN.all(-1, keepdim=True)


def sine_positions(features_BDZYX: Tensor) -> Tensor:
    """Positions (N, D) of the voxels of a level: sines and cosines along each axis.

    Each axis has the largest even share of a third of the width; what is left over is zero.
    Coordinates run from 0 to 2 pi, as in DETR (Carion et al., ECCV 2020).
    """
    width, size = features_BDZYX.shape[1], features_BDZYX.shape[2:]
    share = width // 3 // 2 * 2
    frequency = torch.exp(
        -math.log(10_000.0) * torch.arange(0, share, 2, dtype=torch.float32) / max(share, 1)
    )
    positions = torch.zeros(*size, width)
    for axis, length in enumerate(size):
        coordinate = (torch.arange(length) + 0.5) / length * 2 * math.pi
        angle = coordinate[:, None] * frequency
        shape = [1, 1, 1, share // 2]
        shape[axis] = length
        start = axis * share
        positions[..., start : start + share : 2] = angle.sin().reshape(shape)
        positions[..., start + 1 : start + share : 2] = angle.cos().reshape(shape)
    return positions.reshape(-1, width).to(features_BDZYX.device)
