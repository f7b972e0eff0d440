"""Which query answers for which true mask: the assignment of least cost.

Shape suffixes: Q queries, C classes with "nothing" last, K true masks, N points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@dataclass(frozen=True)
class MatchingCost:
    """Weights of the terms of the cost; those of the published code of PLAN, as of Mask2Former.

    Attributes:
        type: of minus the probability of the true class.
        cross_entropy: of the mask's cross-entropy.
        dice: of the mask's soft Dice.
    """

    type: float = 2.0
    cross_entropy: float = 5.0
    dice: float = 5.0


@torch.no_grad()
def cost_matrix(
    class_logits_QC: Tensor,
    mask_logits_QN: Tensor,
    classes_K: Tensor,
    truth_KN: Tensor,
    weights: MatchingCost,
) -> Tensor:
    """What it costs, (Q, K), that a query answers for a true mask.

    Args:
        class_logits_QC: of the queries.
        mask_logits_QN: the queries' masks at points.
        classes_K: true class of each mask, -1 where it is unknown and costs nothing.
        truth_KN: the true masks at the same points, in [0, 1].
        weights: of the terms.

    Reference: Cheng et al., Mask2Former, CVPR 2022.
    """
    logits, truth = mask_logits_QN.float(), truth_KN.float()
    probability_QC = class_logits_QC.float().softmax(-1)
    kind_QK = -probability_QC[:, classes_K.clamp_min(0)] * (classes_K >= 0)
    points = logits.shape[1]
    inside_QK = F.softplus(-logits) @ truth.T
    outside_QK = F.softplus(logits) @ (1 - truth).T
    mask_QN = logits.sigmoid()
    dice_QK = 1 - (2 * mask_QN @ truth.T + 1) / (
        mask_QN.sum(1)[:, None] + truth.sum(1)[None, :] + 1
    )
    return (
        weights.type * kind_QK
        + weights.cross_entropy * (inside_QK + outside_QK) / points
        + weights.dice * dice_QK
    )


def match(cost_QK: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and true masks, pair by pair, so that the sum of costs is least (int64).

    Every true mask has a query of its own, as long as there are enough.

    Raises:
        ValueError: a cost is not finite.
    """
    queries, masks = linear_sum_assignment(cost_QK.cpu().numpy())
    return torch.from_numpy(queries), torch.from_numpy(masks)
