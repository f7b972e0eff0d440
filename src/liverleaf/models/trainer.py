"""A recipe in, the networks and optimisers it asks for and one step of them out, for every kind of network of the catalogue."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor

from liverleaf.data.batch import Batch
from liverleaf.models import checkpoint, losses
from liverleaf.models.blocks import channels_last
from liverleaf.models.mti_net.discriminator import TaskDrivenDiscriminator
from liverleaf.models.mti_net.network import MTINetOutput, tim
from liverleaf.models.recipe import Optimisation, Recipe
from liverleaf.models.registry import NETWORKS, Answers, name_of


class Trainer:
    """A network, its optimiser and one step of it; the base of what a kind of network adds."""

    def __init__(
        self, fabric: Fabric, recipe: Recipe, mean_P: Tensor, sd_P: Tensor, total: int
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.fabric, self.recipe, self.total = fabric, recipe, total
        self.mean_P, self.sd_P = mean_P.to(fabric.device), sd_P.to(fabric.device)
        network = NETWORKS[name_of(recipe.network)].build(recipe.network)
        # strided convolutions, which rivals have, crash torch's CPU kernels in this layout
        if recipe.answers == "all":
            network = channels_last(network)
        self.network, self.optimiser = fabric.setup(
            network, torch.optim.Adam(self._groups(network, recipe.optimisation), fused=True)
        )
        self.done = 0.0
        self.parts: dict[str, Any] = {"network": self.network.module, "optimiser": self.optimiser}

    def step(self, step: int, batch: Batch) -> dict[str, Tensor]:
        """One step of the network; returns the terms of the loss and their weighted sum."""
        # what is drawn in a step is the same wherever the run was resumed
        torch.manual_seed(hash((self.recipe.seed, step)))
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * self._share_of_peak(step)
        self.done = step / self.total
        return self._step(batch)

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        raise NotImplementedError

    def _descend(self, loss: Tensor) -> None:
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        self.optimiser.step()

    def _z_score(self, curve_LP: Tensor) -> Tensor:
        return (curve_LP.nan_to_num() - self.mean_P) / self.sd_P

    @staticmethod
    def _groups(network: torch.nn.Module, rates: Optimisation) -> list[dict[str, Any]]:
        heads = [
            parameter for name, parameter in network.named_parameters() if name.startswith("heads.")
        ]
        rest = [
            parameter
            for name, parameter in network.named_parameters()
            if not name.startswith("heads.")
        ]
        return [
            {"params": rest, "peak": rates.learning_rate},
            {"params": heads, "peak": rates.rate_of_heads},
        ]

    def _share_of_peak(self, step: int) -> float:
        rates = self.recipe.optimisation
        if not rates.cosine:
            return 1.0
        if step < rates.warmup:
            return (step + 1) / rates.warmup
        return 0.5 * (
            1 + float(np.cos(np.pi * (step - rates.warmup) / max(1, self.total - rates.warmup)))
        )

    def save(self, path: Path, step: int) -> None:
        """Everything the next step depends on, as safetensors."""
        tensors: dict[str, Tensor] = {"step": torch.tensor(step)}
        for name, part in self.parts.items():
            state = part.state_dict()
            if "optimiser" in name:
                state = {
                    f"{index}.{key}": value
                    for index, slots in state["state"].items()
                    for key, value in slots.items()
                }
            tensors |= {
                f"{name}/{key}": value.detach().cpu().contiguous() for key, value in state.items()
            }
        checkpoint.save_tensors(tensors, path)

    def restore(self, path: Path) -> int:
        """Take up what `save` wrote; returns the number of the next step."""
        tensors = load_file(path)
        for name, part in self.parts.items():
            state: dict[str, Any] = {
                key.removeprefix(f"{name}/"): t
                for key, t in tensors.items()
                if key.startswith(f"{name}/")
            }
            if "optimiser" in name:
                slots: dict[int, dict[str, Tensor]] = {}
                for key, value in state.items():
                    index, _, slot = key.partition(".")
                    slots.setdefault(int(index), {})[slot] = value
                state = part.state_dict() | {"state": slots}
            part.load_state_dict(state)
            if "optimiser" in name:
                # in the layout of the weights, else sums are rounded otherwise
                for parameter, held in part.state.items():
                    held |= {
                        key: torch.empty_like(parameter).copy_(t)
                        for key, t in held.items()
                        if t.shape == parameter.shape
                    }
        return int(tensors["step"])


class MTINetTrainer(Trainer):
    """MTI-Net with its discriminator, which is stepped after the network, once for each of its steps."""

    def __init__(
        self, fabric: Fabric, recipe: Recipe, mean_P: Tensor, sd_P: Tensor, total: int
    ) -> None:
        super().__init__(fabric, recipe, mean_P, sd_P, total)
        self.network.module.z_score_by(mean_P, sd_P)
        critic = TaskDrivenDiscriminator(recipe.network.phases, recipe.network.types)
        self.critic, self.critic_optimiser = fabric.setup(
            critic,
            torch.optim.Adam(
                critic.parameters(), lr=recipe.optimisation.discriminator_rate, fused=True
            ),
        )
        self.parts |= {"critic": self.critic.module, "critic_optimiser": self.critic_optimiser}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], tuple[Tensor, Tensor], Tensor]:
        """A forward pass: the weighted loss, its terms, the curves and types answered, and which of the phases are known."""
        output = self.network(batch.images_BPYX, batch.present_BP, batch.regions)
        terms, fake, known_LP = self._terms(batch, output)
        weights = asdict(self.recipe.loss)
        loss = sum(
            (weights[name] * term for name, term in terms.items()),
            start=torch.zeros((), device=self.fabric.device),
        )
        return loss, terms, fake, known_LP

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        loss, terms, fake, known_LP = self.loss(batch)
        self._descend(loss)
        terms = {name: term.detach() for name, term in terms.items()}
        if self.recipe.loss.adversarial and len(batch.type_L):
            terms["discriminator"] = self._step_critic(batch, fake, known_LP)
        return terms | {"loss": loss.detach()}

    def _terms(
        self, batch: Batch, output: MTINetOutput
    ) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor], Tensor]:
        weights, at = self.recipe.loss, batch.regions
        logits_BKYX = output.mask_logits_BKYX.float()
        per_lesion = self.recipe.network.heads == "lesion"
        curve_LP, type_LT = (
            a.float() if per_lesion else a[at.slice_L].float()
            for a in (output.curve_LP, output.type_logits_LT)
        )
        known_LP = batch.present_BP[at.slice_L] & batch.curve_LP.isfinite()
        truth_LP = self._z_score(batch.curve_LP)
        terms = {"bce": losses.binary_cross_entropy(logits_BKYX, batch.masks_BKYX, batch.counts_BK)}
        if weights.dice:
            terms["dice"] = losses.soft_dice(logits_BKYX, batch.masks_BKYX, batch.counts_BK)
        if weights.curve:
            terms["curve"] = losses.curve_l1(curve_LP, truth_LP, known_LP)
        if weights.type:
            terms["type"] = losses.type_cross_entropy(type_LT, batch.type_L)
        if weights.tim:
            terms["tim"] = losses.curve_l1(
                self._implied_curve(batch, logits_BKYX, per_lesion), truth_LP, known_LP
            )
        fake = curve_LP, type_LT.softmax(-1)
        if weights.adversarial:
            self.critic.requires_grad_(False)
            terms["adversarial"] = losses.adversarial(
                self.critic(*fake, known_LP).float(), real=True
            )
            self.critic.requires_grad_(True)
        return terms, fake, known_LP

    def _implied_curve(self, batch: Batch, logits_BKYX: Tensor, per_lesion: bool) -> Tensor:
        probability_BYX, at = logits_BKYX[:, -1].sigmoid(), batch.regions
        if per_lesion:
            return self._z_score(tim(probability_BYX, batch.images_BPYX, support=at))
        return self._z_score(tim(probability_BYX, batch.images_BPYX)[at.slice_L])

    def _step_critic(self, batch: Batch, fake: tuple[Tensor, Tensor], known_LP: Tensor) -> Tensor:
        smoothing, kinds = self.recipe.loss.label_smoothing, self.recipe.network.types
        one_hot_LT = (
            torch.nn.functional.one_hot(batch.type_L, kinds) * (1 - smoothing) + smoothing / kinds
        )
        curves = torch.cat([self._z_score(batch.curve_LP), fake[0].detach()])
        types = torch.cat([one_hot_LT, fake[1].detach()])
        real, false = self.critic(curves, types, known_LP.repeat(2, 1)).chunk(2)
        loss = (
            losses.adversarial(real.float(), real=True)
            + losses.adversarial(false.float(), real=False)
        ) / 2
        self.critic_optimiser.zero_grad()
        self.fabric.backward(loss)
        self.critic_optimiser.step()
        return loss.detach()


class SegmentationTrainer(Trainer):
    """A segmentation rival with the loss of its own paper, on the last of the masks: the lesions."""

    def __init__(
        self, fabric: Fabric, recipe: Recipe, mean_P: Tensor, sd_P: Tensor, total: int
    ) -> None:
        super().__init__(fabric, recipe, mean_P, sd_P, total)
        self.network.mark_forward_method("loss")

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        loss = self.network.loss(batch.images_BPYX, batch.masks_BKYX[:, -1:], progress=self.done)
        self._descend(loss)
        return {"loss": loss.detach()}


class ClassifierTrainer(Trainer):
    """A classifier that learns the curve (L1) or the type (cross-entropy) of the slices that show a lesion; others teach it nothing."""

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        if not len(batch.type_L):
            return {"loss": torch.zeros(())}
        answer_LA = self.network(batch.images_BPYX[batch.regions.slice_L]).float()
        if self.recipe.loss.curve:
            known_LP = batch.present_BP[batch.regions.slice_L] & batch.curve_LP.isfinite()
            name = "curve"
            loss = losses.curve_l1(answer_LA, self._z_score(batch.curve_LP), known_LP)
        else:
            name, loss = "type", losses.type_cross_entropy(answer_LA, batch.type_L)
        self._descend(loss)
        return {name: loss.detach(), "loss": loss.detach()}


def fabric_for(recipe: Recipe, device: str) -> Fabric:
    """Where a recipe is computed, "auto", "cpu" or "cuda", and how precisely."""
    return Fabric(
        accelerator=device,
        devices=1,
        precision=precision_for(recipe.optimisation.precision, device),
    )


def precision_for(wanted: str, device: str) -> Any:
    """What Fabric calls a precision; "auto" is bf16 where the device multiplies matrices in it."""
    if wanted != "auto":
        return wanted
    if device != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "bf16-mixed" if torch.cpu._is_amx_tile_supported() else "32-true"


def trainer_for(
    fabric: Fabric, recipe: Recipe, mean_P: Tensor, sd_P: Tensor, total: int
) -> Trainer:
    """The trainer of a recipe's network.

    Args:
        fabric: where to compute, and how precisely.
        recipe: what to train.
        mean_P: what is taken from curves, per phase, before they are learned.
        sd_P: what they are divided by.
        total: how many steps there will be.
    """
    kinds: dict[Answers, type[Trainer]] = {
        "all": MTINetTrainer,
        "mask": SegmentationTrainer,
        "values": ClassifierTrainer,
    }
    return kinds[recipe.answers](fabric, recipe, mean_P, sd_P, total)
