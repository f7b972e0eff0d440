"""Training of a network by a recipe: the step that every family shares, and its state on disk.

Shape suffixes: L lesions, P channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor, nn

from liverleaf.data.prepared import PreparedCase, curve_statistics
from liverleaf.models import checkpoint, registry
from liverleaf.models.recipe import Recipe
from liverleaf.models.upgrade import CHECKPOINT_PARTS


def step_seed(seed: int, step: int) -> int:
    """The seed of torch's generator in one step of a run."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0])


def step_seed_0_1(seed: int, step: int) -> int:
    """As version 0.1 had it, for runs that it began; a tuple's hash is CPython's own affair."""
    return hash((seed, step))


class Trainer(ABC):
    """A network, its optimiser and one step of it; a family adds the loss.

    Args:
        fabric: where to compute, and how precisely.
        recipe: what to train.
        cases: what is trained on, for the statistics that a family needs.
        total: how many steps there will be.

    Attributes:
        columns: the terms that `step` returns beside "loss", in the order of the log.
        parts: the networks and optimisers, by the names they have in a checkpoint.
        seed_of_step: what torch is seeded with in each step.
        progress: share of the training that is done, in [0, 1].
    """

    columns: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, fabric: Fabric, recipe: Recipe, cases: Sequence[PreparedCase], total: int
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.fabric, self.recipe, self.total = fabric, recipe, total
        self.curves = curve_statistics(cases)
        self.mean_P = torch.from_numpy(self.curves.mean_P).to(fabric.device)
        self.sd_P = torch.from_numpy(self.curves.sd_P).to(fabric.device)
        network = self.build(recipe)
        self.network, self.optimiser = fabric.setup(
            network, self.build_optimiser(self._groups(network))
        )
        self.progress = 0.0
        self.parts: dict[str, Any] = {"network": self.network.module, "optimiser": self.optimiser}
        self.seed_of_step: Callable[[int, int], int] = step_seed

    def build(self, recipe: Recipe) -> nn.Module:
        """The network, its weights drawn from torch's generator."""
        return registry.family(recipe.family).build(recipe.network)

    def build_optimiser(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """What steps the network's parameters; `step` sets the learning rate of each group."""
        return torch.optim.Adam(groups, fused=True)

    def step(self, step: int, batch: Any) -> dict[str, Tensor]:
        """One step of the network; returns "loss" and the terms that it is the weighted sum of."""
        # what is drawn in a step is the same wherever the run was resumed
        torch.manual_seed(self.seed_of_step(self.recipe.seed, step))
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * self._share_of_peak(step)
        self.progress = step / self.total
        return self._step(batch)

    @abstractmethod
    def _step(self, batch: Any) -> dict[str, Tensor]:
        """As `step`, the generator seeded and the learning rates set."""

    def _descend(self, loss: Tensor) -> None:
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        self.optimiser.step()

    def _z_score(self, curve_LP: Tensor) -> Tensor:
        """Curves by the mean and standard deviation of the training set's."""
        return (curve_LP.nan_to_num() - self.mean_P) / self.sd_P

    def _groups(self, network: nn.Module) -> list[dict[str, Any]]:
        """Parameters with their peak learning rates: the heads' own, and everybody else's."""
        rates, named = self.recipe.optimisation, list(network.named_parameters())
        heads = [parameter for name, parameter in named if name.startswith("heads.")]
        rest = [parameter for name, parameter in named if not name.startswith("heads.")]
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
        """Everything that step number `step` depends on, as safetensors."""
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
        states: dict[str, dict[str, Tensor]] = {name: {} for name in self.parts}
        for key, tensor in tensors.items():
            part, _, name = key.partition("/")
            if name:
                states[CHECKPOINT_PARTS.get(part, part)][name] = tensor
        for name, part in self.parts.items():
            if "optimiser" in name:
                _restore_optimiser(part, states[name])
            else:
                part.load_state_dict(states[name])
        return int(tensors["step"])


def _restore_optimiser(optimiser: Any, state: dict[str, Tensor]) -> None:
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        index, _, slot = key.partition(".")
        slots.setdefault(int(index), {})[slot] = value
    optimiser.load_state_dict(optimiser.state_dict() | {"state": slots})
    # in the layout of the weights, else sums are rounded otherwise
    for parameter, held in optimiser.state.items():
        held |= {
            key: torch.empty_like(parameter).copy_(tensor)
            for key, tensor in held.items()
            if tensor.shape == parameter.shape
        }


def trainer_for(
    fabric: Fabric, recipe: Recipe, cases: Sequence[PreparedCase], total: int
) -> Trainer:
    """The trainer of a recipe's family; arguments as of `Trainer`."""
    return registry.family(recipe.family).trainer(fabric, recipe, cases, total)


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
