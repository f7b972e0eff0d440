"""Training of MTI-Net: its loss, its discriminator, and a step of both.

Shape suffixes: B slices, P channels, K masks, L lesions, T types, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from liverleaf.data.batch import SliceBatch
from liverleaf.data.prepared import PreparedCase
from liverleaf.models import losses
from liverleaf.models.blocks import channels_last
from liverleaf.models.mti_net.discriminator import TaskDrivenDiscriminator
from liverleaf.models.mti_net.network import MTINet, MTINetOutput, tim
from liverleaf.models.optimisation import Optimisation
from liverleaf.models.recipe import Recipe
from liverleaf.models.trainer import Trainer


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of MTI-Net's loss; a term of weight 0 is not computed (the ablations).

    Attributes:
        bce: of the masks' binary cross-entropy (Eq. 2).
        dice: of the masks' soft Dice.
        curve: of the regressed curve's L1 (Eq. 3).
        type: of the type's cross-entropy (Eq. 4).
        tim: of the L1 of the curve that the mask implies (the task interaction module).
        adversarial: of the discriminator's verdict on curve and type.
        label_smoothing: of the one-hot truth shown to the discriminator, in [0, 1].
    """

    bce: float = 1.0
    dice: float = 0.0
    curve: float = 1.0
    type: float = 1.0
    tim: float = 1.0
    adversarial: float = 0.1
    label_smoothing: float = 0.1


@dataclass(frozen=True)
class MTINetOptimisation(Optimisation):
    """As `Optimisation`, and the discriminator's.

    Attributes:
        discriminator_rate: learning rate of the discriminator's Adam, above 0.
    """

    discriminator_rate: float = 1e-4


class ForwardPass(NamedTuple):
    """What a forward pass gives.

    Attributes:
        loss: the weighted sum of the terms.
        terms: the terms of the loss by name, unweighted.
        curve_LP: regressed curves, z-scored.
        type_probability_LT: probabilities of the types.
        known_LP: whether the true curve is known in a channel that is there.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    curve_LP: Tensor
    type_probability_LT: Tensor
    known_LP: Tensor


class MTINetTrainer(Trainer):
    """MTI-Net with its discriminator, which makes one step after each step of the network."""

    columns = ("bce", "dice", "curve", "type", "tim", "adversarial", "discriminator")

    def __init__(
        self, fabric: Fabric, recipe: Recipe, cases: Sequence[PreparedCase], total: int
    ) -> None:
        super().__init__(fabric, recipe, cases, total)
        self.network.module.z_score_by(self.mean_P, self.sd_P)
        discriminator = TaskDrivenDiscriminator(recipe.network.phases, recipe.network.types)
        assert isinstance(recipe.optimisation, MTINetOptimisation)
        rate = recipe.optimisation.discriminator_rate
        self.discriminator, self.discriminator_optimiser = fabric.setup(
            discriminator, torch.optim.Adam(discriminator.parameters(), lr=rate, fused=True)
        )
        self.parts |= {
            "discriminator": self.discriminator.module,
            "discriminator_optimiser": self.discriminator_optimiser,
        }

    def build(self, recipe: Recipe) -> nn.Module:
        """The network, laid out for fast convolutions."""
        return channels_last(MTINet(recipe.network))

    def forward(self, batch: SliceBatch) -> ForwardPass:
        """The loss of a batch."""
        output = self.network(batch.images_BPYX, batch.present_BP, batch.regions)
        curve_LP, type_LT = self._of_lesions(batch, output)
        known_LP = batch.present_BP[batch.regions.slice_L] & batch.curve_LP.isfinite()
        probability_LT = type_LT.softmax(-1)
        terms = self._mask_terms(batch, output)
        terms |= self._lesion_terms(batch, output, curve_LP, type_LT, known_LP)
        if self.recipe.loss.adversarial:
            self.discriminator.requires_grad_(False)
            verdict_L = self.discriminator(curve_LP, probability_LT, known_LP).float()
            terms["adversarial"] = losses.adversarial(verdict_L, real=True)
            self.discriminator.requires_grad_(True)
        weights = asdict(self.recipe.loss)
        loss = sum(
            (weights[name] * term for name, term in terms.items()),
            start=torch.zeros((), device=self.fabric.device),
        )
        return ForwardPass(loss, terms, curve_LP, probability_LT, known_LP)

    def _step(self, batch: SliceBatch) -> dict[str, Tensor]:
        passed = self.forward(batch)
        self._descend(passed.loss)
        terms = {name: term.detach() for name, term in passed.terms.items()}
        if self.recipe.loss.adversarial and len(batch.type_L):
            terms["discriminator"] = self._step_discriminator(batch, passed)
        return terms | {"loss": passed.loss.detach()}

    @property
    def _per_lesion(self) -> bool:
        return bool(self.recipe.network.heads == "lesion")

    def _of_lesions(self, batch: SliceBatch, output: MTINetOutput) -> tuple[Tensor, Tensor]:
        """Curves and type logits per lesion, whichever heads gave them."""
        both = (output.curve_LP, output.type_logits_LT)
        if self._per_lesion:
            return both[0].float(), both[1].float()
        curve_LP, type_LT = (of_slices[batch.regions.slice_L].float() for of_slices in both)
        return curve_LP, type_LT

    def _mask_terms(self, batch: SliceBatch, output: MTINetOutput) -> dict[str, Tensor]:
        masks = (output.mask_logits_BKYX.float(), batch.masks_BKYX, batch.supervised_BK)
        terms = {"bce": losses.binary_cross_entropy(*masks)}
        if self.recipe.loss.dice:
            terms["dice"] = losses.soft_dice(*masks)
        return terms

    def _lesion_terms(
        self,
        batch: SliceBatch,
        output: MTINetOutput,
        curve_LP: Tensor,
        type_LT: Tensor,
        known_LP: Tensor,
    ) -> dict[str, Tensor]:
        weights, truth_LP = self.recipe.loss, self._z_score(batch.curve_LP)
        terms = {}
        if weights.curve:
            terms["curve"] = losses.curve_l1(curve_LP, truth_LP, known_LP)
        if weights.type:
            terms["type"] = losses.type_cross_entropy(type_LT, batch.type_L)
        if weights.tim:
            implied_LP = self._implied_curve(batch, output.mask_logits_BKYX.float())
            terms["tim"] = losses.curve_l1(implied_LP, truth_LP, known_LP)
        return terms

    def _implied_curve(self, batch: SliceBatch, logits_BKYX: Tensor) -> Tensor:
        probability_BYX, regions = logits_BKYX[:, -1].sigmoid(), batch.regions
        if self._per_lesion:
            return self._z_score(tim(probability_BYX, batch.images_BPYX, support=regions))
        return self._z_score(tim(probability_BYX, batch.images_BPYX)[regions.slice_L])

    def _step_discriminator(self, batch: SliceBatch, passed: ForwardPass) -> Tensor:
        smoothing, types = self.recipe.loss.label_smoothing, self.recipe.network.types
        one_hot_LT = F.one_hot(batch.type_L, types) * (1 - smoothing) + smoothing / types
        curves = torch.cat([self._z_score(batch.curve_LP), passed.curve_LP.detach()])
        probabilities = torch.cat([one_hot_LT, passed.type_probability_LT.detach()])
        verdict = self.discriminator(curves, probabilities, passed.known_LP.repeat(2, 1))
        real, fake = verdict.chunk(2)
        loss = (
            losses.adversarial(real.float(), real=True)
            + losses.adversarial(fake.float(), real=False)
        ) / 2
        self.discriminator_optimiser.zero_grad()
        self.fabric.backward(loss)
        self.discriminator_optimiser.step()
        return loss.detach()
