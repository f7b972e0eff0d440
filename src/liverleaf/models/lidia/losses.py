"""Losses of LIDIA: pure functions of tensors to a scalar.

Shape suffixes: Q queries, C classes with "nothing" last, K masks, N points, B samples, S =
background, liver and types, Z slices, Y rows, X columns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

UNKNOWN = -1
"""The class of what nobody typed: it teaches nothing."""


def focal(logits_QC: Tensor, classes_Q: Tensor, *, gamma: float, nothing: float) -> Tensor:
    """Focal loss of the classes of queries, a mean weighted by class.

        L = sum w(c) (1 - p(c))^gamma (-log p(c)) / sum w(c),  w = `nothing` for the last class, 1
        for the others

    With gamma = 0 it is Mask2Former's cross-entropy. Queries of unknown class are left out; zero
    where all are.

    Reference: Lin et al., Focal loss for dense object detection, ICCV 2017, over a softmax.
    """
    known = classes_Q != UNKNOWN
    classes = classes_Q.clamp_min(0)
    log_p = logits_QC.float().log_softmax(-1).gather(-1, classes[..., None])[..., 0]
    weight = torch.where(classes == logits_QC.shape[-1] - 1, nothing, 1.0) * known
    each = weight * (1 - log_p.exp()).clamp_min(0) ** gamma * -log_p
    return each.sum() / weight.sum().clamp_min(1e-6)


def focal_posterior(probability_QC: Tensor, gamma: float) -> Tensor:
    """Probabilities that the focal loss of this gamma was trained to give, as posteriors.

        h(v) = v / ((1 - v)^gamma - gamma (1 - v)^(gamma - 1) v log v),  p(c) = h(v(c)) / sum h

    The focal loss rests before its probabilities reach those of the classes: 50 queries that are
    each 20 % sure to be something would fill the liver, where 2 % is meant.

    Reference: Charoenphakdee et al., On focal loss for class-posterior probability estimation, CVPR
    2021, theorem 11.
    """
    if gamma == 0:
        return probability_QC
    v = probability_QC.clamp(1e-7, 1 - 1e-7)
    slope = (1 - v) ** gamma - gamma * (1 - v) ** (gamma - 1) * v * v.log()
    h = v / slope
    return h / h.sum(-1, keepdim=True)


def point_cross_entropy(logits_KN: Tensor, truth_KN: Tensor) -> Tensor:
    """Mean binary cross-entropy over the points of each mask, averaged over masks."""
    return F.binary_cross_entropy_with_logits(logits_KN.float(), truth_KN)


def point_dice(logits_KN: Tensor, truth_KN: Tensor) -> Tensor:
    """One minus the soft Dice over the points of each mask, averaged over masks.

        L = 1 - (2 sum(p y) + 1) / (sum p + sum y + 1)

    Reference: Milletari et al., V-Net, 3DV 2016, on points as in Mask2Former.
    """
    p_KN = logits_KN.float().sigmoid()
    both, total = (p_KN * truth_KN).sum(1), p_KN.sum(1) + truth_KN.sum(1)
    return (1 - (2 * both + 1) / (total + 1)).mean()


def semantic_loss(logits_BSZYX: Tensor, truth_BZYX: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice of the voxels' classes, as nnU-Net has it.

    Dice is over the whole batch, averaged over the foreground classes that occur; voxels of unknown
    class are left out of both.

    Args:
        logits_BSZYX: on any grid of the same extent.
        truth_BZYX: int64, 0 background, 1 liver, 2 + type, -1 unknown.

    Reference: nnU-Net (Isensee et al., Nature Methods 2021).
    """
    if logits_BSZYX.shape[2:] != truth_BZYX.shape[1:]:
        logits_BSZYX = F.interpolate(
            logits_BSZYX, size=truth_BZYX.shape[1:], mode="trilinear", align_corners=False
        )
    logits = logits_BSZYX.float()
    entropy = F.cross_entropy(logits, truth_BZYX, ignore_index=UNKNOWN)
    known = truth_BZYX != UNKNOWN
    probability = logits.softmax(1) * known[:, None]
    dices = []
    for kind in range(1, logits.shape[1]):
        mask = truth_BZYX == kind
        if mask.any():
            both, total = probability[:, kind][mask].sum(), probability[:, kind].sum() + mask.sum()
            dices.append(1 - 2 * both / total)
    return entropy + torch.stack(dices).mean() if dices else entropy
