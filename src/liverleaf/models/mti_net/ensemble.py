"""Several trained MTI-Nets as one network, which gives the mean of what they say.

Shape suffixes: B slices, P channels, C feature channels, Y rows, X columns, K masks, L lesions, T
types.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from liverleaf.data.batch import Regions
from liverleaf.models.mti_net.network import Features, MTINet


class EnsembleFeatures(NamedTuple):
    """As `Features`, of several networks.

    Attributes:
        members: each network's own features.
        mask_logits_BKYX: logits of the mean probabilities.
    """

    members: tuple[Features, ...]
    mask_logits_BKYX: Tensor

    @classmethod
    def gather(cls, batches: Sequence[EnsembleFeatures], slices: Iterable[int]) -> EnsembleFeatures:
        """As `Features.gather`."""
        chosen = list(slices)
        of_members = zip(*(batch.members for batch in batches), strict=True)
        # what all members say together is gathered as if it were a member without levels
        together = [Features((), batch.mask_logits_BKYX) for batch in batches]
        return cls(
            tuple(Features.gather(own, chosen) for own in of_members),
            Features.gather(together, chosen).mask_logits_BKYX,
        )


class Ensemble(nn.Module):
    """The mean of networks that differ by their seed only.

    It has the methods of `MTINet` that prediction needs.

    Probabilities of masks and types are averaged, and so are curves.

    Args:
        members: networks of one config, at least one.

    Raises:
        ValueError: there is no member, or their configs differ.

    Reference: Lakshminarayanan et al., Simple and scalable predictive uncertainty estimation using
    deep ensembles, NeurIPS 2017.
    """

    def __init__(self, members: Sequence[MTINet]) -> None:
        super().__init__()
        if not members or any(member.config != members[0].config for member in members):
            raise ValueError("an ensemble needs members, all of one config")
        self.members = nn.ModuleList(members)

    def features(self, images_BPYX: Tensor, present_BP: Tensor) -> EnsembleFeatures:
        """As `MTINet.features`."""
        each = tuple(
            member.features(images_BPYX, present_BP)  # type: ignore[operator]
            for member in self.members
        )
        masks_BKYX = torch.stack([one.mask_logits_BKYX.float().sigmoid() for one in each]).mean(0)
        return EnsembleFeatures(each, torch.logit(masks_BKYX, eps=1e-6))

    def run_heads(
        self,
        features: EnsembleFeatures,
        images_BPYX: Tensor,
        present_BP: Tensor,
        regions: Regions | None,
    ) -> tuple[Tensor, Tensor]:
        """As `MTINet.run_heads`; the type logits are logarithms of the mean probabilities."""
        each = [
            member.run_heads(own, images_BPYX, present_BP, regions)  # type: ignore[operator]
            for member, own in zip(self.members, features.members, strict=True)
        ]
        curve_LP = torch.stack([curve for curve, _ in each]).mean(0)
        probability_LT = torch.stack([logits.float().softmax(-1) for _, logits in each]).mean(0)
        return curve_LP, probability_LT.clamp_min(1e-6).log()
