"""Trained models on disk: weights as safetensors, and one JSON file that says what they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import nn

from liverleaf.data.network_input import InputConfig
from liverleaf.models import registry
from liverleaf.models.calibration import ProbabilityCalibration
from liverleaf.models.family import Output
from liverleaf.models.recipe import input_record, read_input
from liverleaf.models.upgrade import upgrade_model
from liverleaf.study import InputError
from liverleaf.system.files import whole_file

SCHEMA_VERSION = 3
UPGRADED_VERSION = 2
"""Written by 0.1, and read by way of `upgrade.upgrade_model`."""


@dataclass(frozen=True)
class ModelCard:
    """What a model is, what it was trained on and how good it is.

    Attributes:
        name: of the model.
        family: name of its family, see `models.registry`.
        network_config: what the network is made of, of the family's `config` class.
        input_config: which studies it is for and what it sees of them.
        curve_mean, curve_sd: per channel, what the regressed curves were z-scored by, in normalised
            intensity.
        calibration: temperature, conformal thresholds and peaks.
        training: recipe, seed, steps, data, commit and versions.
        figures: measured figures, each {"mean", "low", "high", "n"}, by the phases scanned.
        members: how many networks it is the mean of, at least 1.
    """

    name: str
    family: str
    network_config: Any
    input_config: InputConfig
    curve_mean: tuple[float, ...]
    curve_sd: tuple[float, ...]
    calibration: ProbabilityCalibration = field(default_factory=ProbabilityCalibration)
    training: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    members: int = 1

    @property
    def outputs(self) -> frozenset[Output]:
        """What the model says of a study."""
        family = registry.family(self.family)
        loss = family.loss(**self.training.get("recipe", {}).get("loss", {}))
        return family.outputs(self.network_config, loss)


def save_model(directory: Path, card: ModelCard, network: nn.Module) -> None:
    """Write `weights.safetensors` and `model.json`; an existing model there is replaced."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    save_tensors(tensors, directory / "weights.safetensors")
    save_card(directory, card)


def save_card(directory: Path, card: ModelCard) -> None:
    """Write `model.json` alone."""
    record = {"schema_version": SCHEMA_VERSION, **asdict(card)}
    record["input_config"] = input_record(card.input_config)
    with whole_file(directory / "model.json") as part:
        part.write_text(json.dumps(record, indent=2) + "\n")


def load_card(directory: Path) -> ModelCard:
    """Read `model.json`.

    Raises:
        InputError: there is none, or it is of another version or broken.
    """
    path = directory / "model.json"
    try:
        record = json.loads(path.read_text())
        version = record.pop("schema_version")
        if version == UPGRADED_VERSION:
            record = upgrade_model(record)
        elif version != SCHEMA_VERSION:
            raise InputError(
                f"{path} was written by another version of liverleaf: train or download the model"
                " again"
            )
        return _read_card(record)
    except FileNotFoundError:
        raise InputError(
            f"no model in {directory}: it needs model.json and weights.safetensors"
        ) from None
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is not a model description of liverleaf ({type(error).__name__}: {error})"
        ) from None


def _read_card(record: Mapping[str, Any]) -> ModelCard:
    calibration = record["calibration"]
    return ModelCard(
        name=record["name"],
        family=record["family"],
        network_config=registry.network_config(record["family"], record["network_config"]),
        input_config=read_input(record["input_config"]),
        curve_mean=tuple(record["curve_mean"]),
        curve_sd=tuple(record["curve_sd"]),
        calibration=ProbabilityCalibration(
            calibration["temperature"],
            {int(n): float(t) for n, t in calibration["set_threshold"].items()},
            {int(n): int(count) for n, count in calibration["lesions"].items()},
            {int(n): float(peak) for n, peak in calibration["minimum_peak"].items()},
        ),
        training=record["training"],
        figures=record["figures"],
        members=int(record.get("members", 1)),
    )


def load_model(directory: Path) -> tuple[ModelCard, nn.Module]:
    """Read a model; the network is in evaluation mode on the CPU.

    Raises:
        InputError: the folder holds no model, or its weights do not fit its description.
    """
    card = load_card(directory)
    family = registry.family(card.family)
    network = family.build(card.network_config)
    if card.members > 1:
        if family.ensemble is None:
            raise InputError(f"{directory} is said to be an ensemble, which {card.family} has not")
        others = (family.build(card.network_config) for _ in range(card.members - 1))
        network = family.ensemble([network, *others])
    _load_weights(network, directory)
    return card, network.eval()


def _load_weights(network: nn.Module, directory: Path) -> None:
    try:
        # of its bytes: safetensors opens no file whose name is not UTF-8
        network.load_state_dict(load((directory / "weights.safetensors").read_bytes()))
    except Exception as error:  # safetensors raises its own types for a damaged file
        raise InputError(
            f"the weights in {directory} are damaged or do not fit model.json"
            f" ({type(error).__name__})"
        ) from None


def weights_hash(directory: Path) -> str:
    """SHA-256 of a model's weights, in hexadecimal."""
    return hashlib.sha256((directory / "weights.safetensors").read_bytes()).hexdigest()


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write safetensors; a killed process leaves the old file or the new one."""
    with whole_file(path) as part:
        part.write_bytes(save(dict(tensors)))
