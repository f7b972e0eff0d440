"""A TOML file in, one training run described whole out."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from liverleaf.data.augmentation import SamplingConfig
from liverleaf.data.network_input import InputConfig
from liverleaf.models.mti_net.network import MTINetConfig
from liverleaf.models.registry import NETWORKS, Answers, name_of, network_config
from liverleaf.study import InputError, Modality, Phase
from liverleaf.terminology import LesionType


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of the loss; a term of weight 0 is not computed, which is how its part is ablated.

    Attributes:
        bce, dice: of the masks (Eq. 2, and soft Dice).
        curve: of the regressed curve (Eq. 3).
        type: of the type (Eq. 4).
        tim: of the curve that the mask implies (the task interaction module).
        adversarial: of fooling the task-driven discriminator.
        label_smoothing: of the one-hot truth shown to the discriminator.
    """

    bce: float = 1.0
    dice: float = 0.0
    curve: float = 1.0
    type: float = 1.0
    tim: float = 1.0
    adversarial: float = 0.1
    label_smoothing: float = 0.1


@dataclass(frozen=True)
class Optimisation:
    """How the weights are stepped.

    Attributes:
        steps: how many, or 0 for `epochs` passes over the slices.
        epochs: see steps.
        learning_rate: of Adam.
        head_rate: of the heads' own parameters; 0 for the same.
        cosine: whether the rate falls to zero as a cosine after `warmup` steps of linear rise;
            otherwise it stays.
        warmup: see cosine.
        discriminator_rate: learning rate of the discriminator's Adam.
        precision: "32-true", "bf16-mixed", or "auto": bf16 where the machine multiplies matrices in
            it.
        save_every: steps between checkpoints.
    """

    steps: int = 0
    epochs: int = 100
    learning_rate: float = 1e-4
    head_rate: float = 0.0
    cosine: bool = False
    warmup: int = 0
    discriminator_rate: float = 1e-4
    precision: str = "auto"
    save_every: int = 200

    def __post_init__(self) -> None:
        if self.steps < 0 or self.epochs < 1 or self.save_every < 1:
            raise ValueError(
                f"steps >= 0, epochs >= 1 and save_every >= 1, got {self.steps}, {self.epochs} and"
                f" {self.save_every}"
            )

    @property
    def rate_of_heads(self) -> float:
        """The learning rate of the heads, whether it is their own or everybody's."""
        return self.head_rate or self.learning_rate


@dataclass(frozen=True)
class Recipe:
    """One training run, whole. Read from TOML by `load_recipe`; any field can be set from the command line.

    Attributes:
        name: of the run and of the model.
        network: the config of a network of `nets.catalog.NETWORKS`; which class it is says which
            network.
        input, seed, sampling, optimisation: what it sees, where chance starts, how batches are
            drawn, how weights are stepped.
        loss: weights of MTI-Net's loss. A segmentation rival has its own loss and does not look at
            them; a classifier takes the curve or the type, so exactly one of these two has a
            weight.
    """

    name: str
    network: Any
    input: InputConfig
    seed: int = 0
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    loss: LossWeights = field(default_factory=LossWeights)
    optimisation: Optimisation = field(default_factory=Optimisation)

    def __post_init__(self) -> None:
        if self.answers == "values" and bool(self.loss.curve) == bool(self.loss.type):
            raise ValueError(
                "a classifier learns the curve or the type: set loss.type = 0 or loss.curve = 0"
            )
        if not isinstance(self.network, MTINetConfig):
            if self.input.calibrate or self.input.pixel_mm or self.network.size != self.input.size:
                raise ValueError(
                    "rivals look at whole slices of their own size: set input.calibrate = false,"
                    " input.pixel_mm = 0 and network.size"
                )
            return
        if self.input.calibrate and self.network.masks != 2:
            raise ValueError(
                "calibration finds the liver by the network's own mask: set network.masks = 2, or"
                " input.calibrate = false"
            )
        if self.network.heads == "slice" and (
            self.input.pixel_mm or self.network.size != self.input.size
        ):
            raise ValueError(
                "slice heads look at whole slices of their own size: set input.pixel_mm = 0 and"
                " network.size = input.size"
            )

    @property
    def answers(self) -> Answers:
        """What the network answers, see `nets.catalog.Entry`."""
        return NETWORKS[name_of(self.network)].answers


_TABLES: dict[str, type] = {
    "input": InputConfig,
    "sampling": SamplingConfig,
    "loss": LossWeights,
    "optimisation": Optimisation,
}


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: a TOML file with `name`, `seed` and the tables `network`, `input`, `sampling`, `loss`,
            `optimisation`.
        overrides: "table.field=value" or "seed=value", values in TOML's notation.

    Raises:
        InputError: the file is missing or broken, or names a field that does not exist.
    """
    changes = [_change(override) for override in overrides]
    try:
        record = tomllib.loads(path.read_text())
        for table, name, value in changes:
            target = record.setdefault(table, {}) if table else record
            target[name] = value
        unknown = set(record) - {f.name for f in fields(Recipe)}
        if unknown:
            raise ValueError(f"no such table or field: {', '.join(sorted(unknown))}")
        raw = dict(record["input"])
        raw["modality"] = Modality(raw["modality"])
        for key, kind in (("phases", Phase), ("types", LesionType)):
            if key in raw:
                raw[key] = tuple(kind[name.upper()] for name in raw[key])
        for table, config in _TABLES.items():
            strange = set(record.get(table, {})) - {f.name for f in fields(config)}
            if strange:
                raise ValueError(f"{table} has no field {', '.join(sorted(strange))}")
        view = InputConfig(**raw)
        network = dict(record.get("network", {}))
        kind = network.pop("kind", "mti-net")
        if kind == "mti-net":
            network = {
                "phases": len(view.phases),
                "types": len(view.types),
                "size": view.size,
            } | network
        recipe = Recipe(
            name=record["name"],
            seed=record.get("seed", 0),
            network=network_config(kind, network),
            input=view,
            sampling=SamplingConfig(**record.get("sampling", {})),
            loss=LossWeights(**record.get("loss", {})),
            optimisation=Optimisation(**record.get("optimisation", {})),
        )
        for part in (
            recipe.network,
            recipe.input,
            recipe.sampling,
            recipe.loss,
            recipe.optimisation,
        ):
            TypeAdapter(type(part)).validate_python(asdict(part))
        return recipe
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"recipe {path}: {where}: {first['msg'].lower()}, got {first['input']!r}"
        ) from None
    except FileNotFoundError:
        raise InputError(f"no recipe {path}: give the path of a TOML file, see recipes/") from None
    except KeyError as error:
        raise InputError(f"recipe {path}: {error} is missing or unknown") from None
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"recipe {path}: {error}") from None


def _change(override: str) -> tuple[str, str, Any]:
    """The table ("" for none), the field and the value of "table.field=value"."""
    key, _, value = override.partition("=")
    table, _, name = key.strip().rpartition(".")
    try:
        return table, name, tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        raise InputError(
            f"--set {override}: write TABLE.FIELD=VALUE, as optimisation.steps=100,"
            ' input.modality="CT" or network.skips=true'
        ) from None
