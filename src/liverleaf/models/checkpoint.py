"""Trained networks on disk: safetensors for the weights and one JSON file for everything that is needed to use and to trust them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from liverleaf.data.network_input import InputConfig
from liverleaf.models.ensemble import Ensemble
from liverleaf.models.mti_net.network import MTINet, MTINetConfig
from liverleaf.models.registry import NETWORKS, network_config
from liverleaf.study import InputError, Modality, Phase
from liverleaf.system.files import whole_file
from liverleaf.terminology import LesionType

SCHEMA_VERSION = 2
SHIPPED = Path(__file__).parent / "weights"
DEFAULT_MODEL = {Modality.CT: "liverleaf-net-ct", Modality.MR: "liverleaf-net-mr"}


@dataclass(frozen=True)
class Calibrated:
    """What was fitted on cases held back from training, so that probabilities mean what they say.

    Attributes:
        temperature: divides the type logits.
        set_threshold: by number of phases, the probability above which a type belongs to the 90 %
            set (split conformal).
        lesions: how many lesions it was fitted on, by number of phases.
        minimum_peak: by number of phases, a lesion whose probability nowhere reaches this is not
            reported.
    """

    temperature: float = 1.0
    set_threshold: Mapping[int, float] = field(default_factory=dict)
    lesions: Mapping[int, int] = field(default_factory=dict)
    minimum_peak: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelCard:
    """What a model is, what it was trained on and how good it is.

    Attributes:
        name: of the model.
        network: its name in `nets.catalog.NETWORKS`.
        network_config: what the network is made of, of the class that the catalogue names.
        input_config: how it looks at a study.
        members: how many networks it is the mean of.
        curve_mean, curve_sd: per phase, what the regressed curves were z-scored by, in contrast to
            the liver.
        calibrated: temperature and conformal thresholds.
        training: recipe, seed, steps, data, commit and versions.
        figures: measured figures, each {"mean", "low", "high", "n"}, and the command that measured
            them.
    """

    name: str
    network: str
    network_config: Any
    input_config: InputConfig
    curve_mean: tuple[float, ...]
    curve_sd: tuple[float, ...]
    calibrated: Calibrated = Calibrated()
    training: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    members: int = 1


def save_model(directory: Path, card: ModelCard, network: torch.nn.Module) -> None:
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
    record["input_config"]["phases"] = [phase.key for phase in card.input_config.phases]
    record["input_config"]["types"] = [kind.key for kind in card.input_config.types]
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
        if record.pop("schema_version") != SCHEMA_VERSION:
            raise InputError(
                f"{path} was written by another version of liverleaf: train or download the model"
                " again"
            )
        config = record["input_config"]
        calibrated = record["calibrated"]
        return ModelCard(
            name=record["name"],
            network=record["network"],
            network_config=network_config(record["network"], record["network_config"]),
            input_config=replace(
                InputConfig(Modality(config["modality"])),
                **{
                    **config,
                    "modality": Modality(config["modality"]),
                    "phases": tuple(Phase.parse(name) for name in config["phases"]),
                    "types": tuple(LesionType.parse(name) for name in config["types"]),
                },
            ),
            curve_mean=tuple(record["curve_mean"]),
            curve_sd=tuple(record["curve_sd"]),
            calibrated=Calibrated(
                calibrated["temperature"],
                {int(n): float(t) for n, t in calibrated["set_threshold"].items()},
                {int(n): int(count) for n, count in calibrated["lesions"].items()},
                {int(n): float(peak) for n, peak in calibrated["minimum_peak"].items()},
            ),
            training=record["training"],
            figures=record["figures"],
            members=int(record.get("members", 1)),
        )
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


def load_model(directory: Path) -> tuple[ModelCard, MTINet | Ensemble]:
    """Read an MTI-Net; the network is in evaluation mode on the CPU.

    Raises:
        InputError: the folder holds no model, one of another network, or its weights do not fit its
            description.
    """
    card = load_card(directory)
    if not isinstance(card.network_config, MTINetConfig):
        raise InputError(
            f"the model in {directory} is a {card.network}, which does not answer all that is"
            " asked: give an MTI-Net"
        )
    network = (
        MTINet(card.network_config)
        if card.members == 1
        else Ensemble([MTINet(card.network_config) for _ in range(card.members)])
    )
    _load_weights(network, directory)
    return card, network.eval()


def load_network(directory: Path) -> tuple[ModelCard, torch.nn.Module]:
    """Read any single network of the catalogue, in evaluation mode on the CPU.

    Raises:
        InputError: as `load_model`.
    """
    card = load_card(directory)
    network = NETWORKS[card.network].build(card.network_config)
    _load_weights(network, directory)
    return card, network.eval()


def _load_weights(network: torch.nn.Module, directory: Path) -> None:
    try:
        network.load_state_dict(load_file(directory / "weights.safetensors"))
    except Exception as error:  # safetensors raises its own types for a damaged file
        raise InputError(
            f"the weights in {directory} are damaged or do not fit model.json"
            f" ({type(error).__name__})"
        ) from None


def combine(directories: Sequence[Path], out: Path) -> Path:
    """Make one model of several that differ by their seed only; it is uncalibrated and unmeasured.

    Args:
        directories: models, or runs that hold them.
        out: folder of the new model.

    Raises:
        InputError: fewer than two models, models that differ in more than their seed, or `out`
            holds something.
    """
    loaded = [load_model(_model_in(directory) or directory) for directory in directories]
    if len(loaded) < 2:
        raise InputError("an ensemble needs at least two models")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} holds something already: choose another folder")
    first = loaded[0][0]
    seeds = [card.training.get("recipe", {}).get("seed") for card, _ in loaded]
    networks: list[MTINet] = []
    for directory, (card, network) in zip(directories, loaded, strict=True):
        alike = (
            card.network_config,
            card.input_config,
            card.curve_mean,
            card.training.get("cohort"),
        )
        if alike != (
            first.network_config,
            first.input_config,
            first.curve_mean,
            first.training.get("cohort"),
        ):
            raise InputError(
                f"{directory} differs from {directories[0]} in more than its seed: combine runs of"
                " one recipe on one cohort"
            )
        if not isinstance(network, MTINet):
            raise InputError(f"{directory} is an ensemble itself: combine single models")
        networks.append(network)
    if len(set(seeds)) < len(seeds):
        raise InputError(
            f"the models have the seeds {', '.join(map(str, seeds))}: combine runs that differ in"
            " their seed"
        )
    card = replace(
        first,
        calibrated=Calibrated(),
        figures={},
        members=len(networks),
        training={**first.training, "seeds": seeds},
    )
    save_model(out, card, Ensemble(networks))
    return out


def find_model(name: str | Path | None, modality: Modality) -> Path:
    """The folder of a model: a shipped one by name, a folder by path (a training run holds its model in `model/`), or the default.

    Raises:
        InputError: there is none.
    """
    if name is None:
        name = DEFAULT_MODEL[modality]
    for directory in (SHIPPED / str(name), Path(name)):
        if found := _model_in(directory):
            return found
    if (Path(name) / "run.json").is_file():
        raise InputError(
            f"the training run {name} is not finished: go on with it (liverleaf train ... --resume)"
        )
    raise InputError(
        f"no model {name}: shipped are {', '.join(shipped_models()) or 'none'}; or give the folder"
        " of a training run"
    )


def _model_in(directory: Path) -> Path | None:
    """The folder itself where it is a model, `model/` in it where it is a training run, else None."""
    return next(
        (
            folder
            for folder in (directory, directory / "model")
            if (folder / "model.json").is_file()
        ),
        None,
    )


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/model.json"))


def weights_hash(directory: Path) -> str:
    """SHA-256 of a model's weights, in hexadecimal."""
    return hashlib.sha256((directory / "weights.safetensors").read_bytes()).hexdigest()


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write safetensors; a killed process leaves the old file or the new one."""
    with whole_file(path) as part:
        save_file(dict(tensors), part)
