"""The task-driven discriminator, which tells true pairs of curve and type from predicted ones.

Shape suffixes: L lesions, P phases, T types, N tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from liverleaf.models.blocks import sinusoidal_positions, transformer


class TaskDrivenDiscriminator(nn.Module):
    """TDD: a Transformer that tells true pairs of curve and type from predicted ones.

    The sequence is [one intensity per phase, one probability per type], each value a token with its
    position.

    Args:
        phases: values of the curve.
        types: lesion types.
        width, heads, blocks: of the Transformer.
    """

    positions_ND: Tensor

    def __init__(
        self, phases: int, types: int, *, width: int = 64, heads: int = 4, blocks: int = 2
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(1, width)
        self.register_buffer(
            "positions_ND", sinusoidal_positions(phases + types, width), persistent=False
        )
        self.transformer = transformer(width, heads=heads, blocks=blocks)
        self.real = nn.Linear(width, 1)

    def forward(self, curve_LP: Tensor, probability_LT: Tensor, present_LP: Tensor) -> Tensor:
        """Logits of being real, shape (L,); missing phases take no part."""
        if not len(curve_LP):  # attention refuses an empty batch
            return curve_LP.new_zeros(0)
        tokens_LND = (
            self.embed(torch.cat([curve_LP, probability_LT], dim=1)[..., None]) + self.positions_ND
        )
        absent_LN = torch.cat(
            [~present_LP, torch.zeros_like(probability_LT, dtype=torch.bool)], dim=1
        )
        tokens_LND = self.transformer(tokens_LND, src_key_padding_mask=absent_LN)
        share_LN1 = (~absent_LN).float()[..., None]
        return self.real((tokens_LND * share_LN1).sum(1) / share_LN1.sum(1)).squeeze(-1)
