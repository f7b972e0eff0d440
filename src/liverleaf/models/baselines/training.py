"""Training of the baselines: each segmentation network by its own loss, classifiers by one task.

Shape suffixes: L lesions, A values of a classifier, P channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor

from liverleaf.data.batch import SliceBatch
from liverleaf.data.prepared import PreparedCase
from liverleaf.models import losses
from liverleaf.models.recipe import Recipe
from liverleaf.models.trainer import Trainer


@dataclass(frozen=True)
class ClassifierLoss:
    """What a classifier learns: exactly one of the two is not 0; its size changes nothing.

    Attributes:
        curve: of the curve's L1.
        type: of the type's cross-entropy.
    """

    curve: float = 1.0
    type: float = 1.0


class SegmentationTrainer(Trainer):
    """A segmentation network with the loss of its own paper, on the lesion mask."""

    def __init__(
        self, fabric: Fabric, recipe: Recipe, cases: Sequence[PreparedCase], total: int
    ) -> None:
        super().__init__(fabric, recipe, cases, total)
        self.network.mark_forward_method("loss")

    def _step(self, batch: SliceBatch) -> dict[str, Tensor]:
        loss = self.network.loss(
            batch.images_BPYX, batch.masks_BKYX[:, -1:], progress=self.progress
        )
        self._descend(loss)
        return {"loss": loss.detach()}


class ClassifierTrainer(Trainer):
    """A classifier that learns curve (L1) or type (cross-entropy) of slices that show a lesion."""

    columns = ("curve", "type")

    def _step(self, batch: SliceBatch) -> dict[str, Tensor]:
        if not len(batch.type_L):  # a slice without lesions teaches nothing
            return {"loss": torch.zeros(())}
        values_LA = self.network(batch.images_BPYX[batch.regions.slice_L]).float()
        if self.recipe.loss.curve:
            known_LP = batch.present_BP[batch.regions.slice_L] & batch.curve_LP.isfinite()
            name = "curve"
            loss = losses.curve_l1(values_LA, self._z_score(batch.curve_LP), known_LP)
        else:
            name, loss = "type", losses.type_cross_entropy(values_LA, batch.type_L)
        self._descend(loss)
        return {name: loss.detach(), "loss": loss.detach()}
