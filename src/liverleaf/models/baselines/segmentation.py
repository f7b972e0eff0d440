"""What the segmentation networks share whose loss is a sum of cross-entropy and soft Dice.

Shape suffixes: B slices, P channels, Y rows, X columns.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liverleaf.models import losses


class SegmentationNetwork(nn.Module):
    """A network from `images_BPYX` to the logits of one lesion mask, (B, 1, Y, X).

    Attributes:
        cross_entropy: weight of the mean binary cross-entropy of the pixels, as published.
        dice: weight of the soft Dice loss, as published. A term of weight 0 is not computed.
    """

    cross_entropy: ClassVar[float]
    dice: ClassVar[float]

    def loss(
        self,
        images_BPYX: Tensor,
        mask_B1YX: Tensor,
        *,
        progress: float,  # noqa: ARG002
    ) -> Tensor:
        """The weighted sum of both terms; `progress` changes nothing."""
        logits_B1YX = self(images_BPYX)
        loss = torch.zeros((), device=logits_B1YX.device)
        if self.cross_entropy:
            entropy = F.binary_cross_entropy_with_logits(logits_B1YX, mask_B1YX)
            loss = loss + self.cross_entropy * entropy
        if self.dice:
            loss = loss + self.dice * losses.soft_dice(logits_B1YX, mask_B1YX)
        return loss
