"""Losses: pure functions of tensors to a scalar.

Shape suffixes: B slices, K masks, Y rows, X columns, L lesions, P channels, T types.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def binary_cross_entropy(logits_BKYX: Tensor, truth_BKYX: Tensor, supervised_BK: Tensor) -> Tensor:
    """Mean binary cross-entropy of the masks that are supervised.

        L = -1/N sum y log(p) + (1 - y) log(1 - p)

    Args:
        logits_BKYX: mask logits.
        truth_BKYX: masks, 0 or 1.
        supervised_BK: bool, masks whose truth is known; zero is returned when none is.

    Reference: MTI-Net (Xiao et al., arXiv:2511.20793, 2025), Eq. 2.
    """
    each_BK = F.binary_cross_entropy_with_logits(logits_BKYX, truth_BKYX, reduction="none").mean(
        (2, 3)
    )
    return _mean(each_BK, supervised_BK)


def soft_dice(
    logits_BKYX: Tensor, truth_BKYX: Tensor, supervised_BK: Tensor | None = None
) -> Tensor:
    """One minus the soft Dice of each mask over the whole batch, averaged over the masks.

        L = 1 - 2 sum(p y) / (sum p + sum y),  1 pixel added above and below, so that an empty mask
        found empty costs nothing

    Args:
        logits_BKYX: mask logits.
        truth_BKYX: masks, 0 or 1.
        supervised_BK: bool, masks whose truth is known; None for all.

    Reference: Milletari et al., V-Net, 3DV 2016, with sums over the batch rather than over each
    slice.
    """
    probability, truth = torch.sigmoid(logits_BKYX), truth_BKYX
    if supervised_BK is not None:
        weight_BK11 = supervised_BK[..., None, None].to(logits_BKYX.dtype)
        probability, truth = probability * weight_BK11, truth * weight_BK11
    both_K, total_K = (probability * truth).sum((0, 2, 3)), (probability + truth).sum((0, 2, 3))
    return (1 - (2 * both_K + 1) / (total_K + 1)).mean()


def curve_l1(predicted_LP: Tensor, truth_LP: Tensor, supervised_LP: Tensor) -> Tensor:
    """Mean absolute error of the curves where the truth is known; zero where it nowhere is.

    Reference: MTI-Net, Eq. 3, and the L1 term of its task interaction module.
    """
    return _mean((predicted_LP - truth_LP).abs(), supervised_LP)


def type_cross_entropy(logits_LT: Tensor, truth_L: Tensor) -> Tensor:
    """Mean cross-entropy of the types, -log p_u; zero without lesions.

    Reference: MTI-Net, Eq. 4.
    """
    if not len(truth_L):
        return logits_LT.sum() * 0
    return F.cross_entropy(logits_LT, truth_L)


def adversarial(logits_L: Tensor, *, real: bool) -> Tensor:
    """Cross-entropy of the discriminator's logits, all real or all fake; zero without lesions.

    Reference: MTI-Net, the adversarial loss of its task-driven discriminator.
    """
    if not len(logits_L):
        return logits_L.sum() * 0
    return F.binary_cross_entropy_with_logits(logits_L, torch.full_like(logits_L, float(real)))


def _mean(each: Tensor, supervised: Tensor) -> Tensor:
    weight = supervised.to(each.dtype)
    return (each * weight).sum() / weight.sum().clamp_min(1)
