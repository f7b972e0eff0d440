"""Several trained MTI-Nets in, one that answers as their mean out.

Shape suffixes: B slices, P phases, C channels, Y rows, X columns, K masks, L lesions, T types.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from liverleaf.data.batch import Regions
from liverleaf.models.mti_net.network import Features, MTINet


class Ensemble(nn.Module):
    """The mean of networks that differ by their seed only, with the two methods of `MTINet` that prediction needs.

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

    def features(self, images_BPYX: Tensor, present_BP: Tensor) -> Features:
        """As `MTINet.features`; the levels of one member after those of the other."""
        each = [member.features(images_BPYX, present_BP) for member in self.members]  # type: ignore[operator]
        levels = tuple(level for one in each for level in one.levels_BPCYX)
        masks_BKYX = torch.stack([one.mask_logits_BKYX.float().sigmoid() for one in each]).mean(0)
        return Features(levels, torch.logit(masks_BKYX, eps=1e-6))

    def answer(
        self,
        levels_BPCYX: tuple[Tensor, ...],
        images_BPYX: Tensor,
        present_BP: Tensor,
        regions: Regions | None,
    ) -> tuple[Tensor, Tensor]:
        """As `MTINet.answer`; the type logits are logarithms of the mean probabilities."""
        own = len(levels_BPCYX) // len(self.members)
        answers = [
            member.answer(
                levels_BPCYX[place * own : (place + 1) * own], images_BPYX, present_BP, regions
            )  # type: ignore[operator]
            for place, member in enumerate(self.members)
        ]
        curve_LP = torch.stack([curve for curve, _ in answers]).mean(0)
        probability_LT = torch.stack([logits.float().softmax(-1) for _, logits in answers]).mean(0)
        return curve_LP, probability_LT.clamp_min(1e-6).log()
