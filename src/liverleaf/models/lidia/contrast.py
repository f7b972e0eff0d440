"""Asymmetric contrastive learning: common types gather, the rare ones only keep away from them.

Shape suffixes: A anchors, M samples to contrast with, E width of an embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

EMPTY = -1


def asymmetric_contrast(
    anchors_AE: Tensor,
    types_A: Tensor,
    bank_ME: Tensor,
    bank_types_M: Tensor,
    *,
    rare: int | None,
    temperature: float,
) -> Tensor:
    """Mean contrastive loss of the anchors, by another rule for the rare type.

        common x:  1/|P(x)| sum_p -log( exp(z(x) z(p) / tau) / sum_a exp(z(x) z(a) / tau) )
        rare x:    log sum_c exp(z(x) z(c) / tau)

    P(x) are the samples of its type, a runs over all samples, c over those of common types; an
    anchor is no sample of its own. Anchors for which there is nothing to sum over are left out;
    zero where all are.

    Args:
        anchors_AE: embeddings of unit length; each is a sample for the others.
        types_A: their types.
        bank_ME: earlier embeddings, which are samples only.
        bank_types_M: their types, `EMPTY` for places that are not filled.
        rare: the type that stands for all rare ones, None where there is none.
        temperature: tau, above 0.

    Reference: LIDIA (Huang et al., MICCAI 2024), Eq. 3 to 5.
    """
    samples = torch.cat([anchors_AE, bank_ME.to(anchors_AE)])
    types = torch.cat([types_A, bank_types_M.to(types_A)])
    logits = anchors_AE @ samples.T / temperature
    others = torch.ones_like(logits, dtype=torch.bool)
    others.fill_diagonal_(False)
    others &= types[None] != EMPTY
    is_rare = torch.zeros_like(types_A, dtype=torch.bool) if rare is None else types_A == rare
    common = others if rare is None else others & (types[None] != rare)
    positives = others & (types[None] == types_A[:, None])
    wanted = torch.where(is_rare, common.any(1), positives.any(1))
    if not wanted.any():
        return anchors_AE.sum() * 0
    log_p = logits - _log_sum(logits, others)[:, None]
    count = positives.sum(1).clamp_min(1)
    pull = -(log_p.masked_fill(~positives, 0)).sum(1) / count
    each = torch.where(is_rare, _log_sum(logits, common), pull)
    return each[wanted].mean()


def _log_sum(logits: Tensor, over: Tensor) -> Tensor:
    """Log of the sum of exponentials over some of each row; finite where there are none."""
    lowest = torch.finfo(logits.dtype).min / 2
    return logits.masked_fill(~over, lowest).logsumexp(1)


class MemoryBank(nn.Module):
    """The last embeddings of lesions and their types, first in, first out; no gradient flows back.

    Args:
        size: how many it keeps.
        width: of an embedding.
    """

    embeddings_ME: Tensor
    types_M: Tensor
    next_place: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("embeddings_ME", torch.zeros(size, width))
        self.register_buffer("types_M", torch.full((size,), EMPTY, dtype=torch.int64))
        self.register_buffer("next_place", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def add(self, embeddings_AE: Tensor, types_A: Tensor) -> None:
        """Keep embeddings in place of the oldest."""
        size = len(self.types_M)
        new, types = embeddings_AE.detach()[-size:], types_A[-size:]
        places = (self.next_place + torch.arange(len(new), device=self.next_place.device)) % size
        self.embeddings_ME[places] = new.to(self.embeddings_ME)
        self.types_M[places] = types.to(self.types_M)
        self.next_place.copy_((self.next_place + len(new)) % size)
