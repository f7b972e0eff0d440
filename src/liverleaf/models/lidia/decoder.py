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
        masks_BQD: each query's mask as a vector: its product with the finest features is the mask's
            logits.
        queries_BQD: the queries themselves, normalised.
    """

    class_logits_BQC: Tensor
    masks_BQD: Tensor
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
        # the product with features is linear, so features are shrunk instead of masks
        shrunk = [
            F.interpolate(
                finest_BDZYX.detach(),
                size=level.shape[2:],
                mode="trilinear",
                align_corners=False,
            ).flatten(2)
            for level in levels
        ]
        said = [self._say(queries_BQD)]
        for index, layer in enumerate(self.layers):
            turn = index % len(levels)
            hidden_BQN = hidden_voxels(said[-1].masks_BQD, shrunk[turn])
            queries_BQD = layer(queries_BQD, positions_BQD, *flat[turn], hidden_BQN)
            said.append(self._say(queries_BQD))
        return said

    def _say(self, queries_BQD: Tensor) -> QueryOutput:
        normed_BQD = self.norm(queries_BQD)
        return QueryOutput(self.to_class(normed_BQD), self.to_mask(normed_BQD), normed_BQD)


class Attention(nn.Module):
    """Attention of several heads, in which some keys may be hidden from some queries.

    Reference: Vaswani et al., Attention is all you need, NeurIPS 2017.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_query, self.to_key, self.to_value, self.out = (
            nn.Linear(width, width) for _ in range(4)
        )

    def forward(
        self,
        queries_BQD: Tensor,
        keys_BND: Tensor,
        values_BND: Tensor,
        hidden_BQN: Tensor | None = None,
    ) -> Tensor:
        """What each query gathers, (B, Q, D); no row of `hidden_BQN` may be True throughout."""

        def of_heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        gathered = F.scaled_dot_product_attention(
            of_heads(self.to_query(queries_BQD)),
            of_heads(self.to_key(keys_BND)),
            of_heads(self.to_value(values_BND)),
            attn_mask=None if hidden_BQN is None else ~hidden_BQN[:, None],
        )
        return self.out(gathered.transpose(1, 2).flatten(2))


class DecoderLayer(nn.Module):
    """Masked attention to features, attention among queries, feed-forward network; post-norm."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.cross = Attention(width, heads)
        self.mutual = Attention(width, heads)
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward), nn.ReLU(), nn.Linear(feedforward, width)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

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
        seen = self.cross(
            queries_BQD + positions_BQD,
            features_BND + feature_positions_ND,
            features_BND,
            hidden_BQN,
        )
        queries_BQD = self.norms[0](queries_BQD + seen)
        with_positions = queries_BQD + positions_BQD
        told = self.mutual(with_positions, with_positions, queries_BQD)
        queries_BQD = self.norms[1](queries_BQD + told)
        return self.norms[2](queries_BQD + self.feedforward(queries_BQD))


def hidden_voxels(masks_BQD: Tensor, features_BDN: Tensor) -> Tensor:
    """The voxels (B, Q, N) of a level that lie outside each query's mask, sigmoid under .5.

    A query whose mask is empty there sees everything. No gradient flows back.

    Args:
        masks_BQD: the queries' masks as vectors.
        features_BDN: what masks are made of, on the level's grid.
    """
    hidden_BQN = (masks_BQD.detach() @ features_BDN.to(masks_BQD.dtype)) < 0
    return hidden_BQN & ~hidden_BQN.all(-1, keepdim=True)


def mask_logits(masks_KD: Tensor, features_DZYX: Tensor) -> Tensor:
    """Logits (K, Z, Y, X) of masks that are given as vectors, float32."""
    return torch.einsum("kd,dzyx->kzyx", masks_KD, features_DZYX.to(masks_KD.dtype)).float()


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
