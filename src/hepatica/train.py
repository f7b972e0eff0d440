"""A recipe and a cohort in, a trained MTI-Net out: one loop on Lightning Fabric that can be stopped anywhere and resumed exactly."""

from __future__ import annotations

import csv
import json
import shutil
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file
from torch import Tensor

from hepatica import checkpoint, losses
from hepatica.batches import Batch, PreparedCase, Sampler, SamplingConfig, data_fingerprint, prepare
from hepatica.cohort import Cohort
from hepatica.grid import InputConfig
from hepatica.labels import LesionType
from hepatica.nets.blocks import channels_last
from hepatica.nets.catalog import NETWORKS
from hepatica.nets.mti_net import MTINetConfig, MTINetOutput, TaskDrivenDiscriminator, tim
from hepatica.study import InputError, Modality, Phase

FOLDS = 5


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
        cosine: whether the rate falls to zero as a cosine after `warmup` steps of linear rise; otherwise it stays.
        warmup: see cosine.
        discriminator_rate: learning rate of the discriminator's Adam.
        precision: "32-true", "bf16-mixed", or "auto": bf16 where the machine multiplies matrices in it.
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
            raise ValueError(f"steps >= 0, epochs >= 1 and save_every >= 1, got {self.steps}, {self.epochs} and {self.save_every}")


@dataclass(frozen=True)
class Recipe:
    """One training run, whole. Read from TOML by `load_recipe`; any field can be set from the command line."""

    name: str
    network: MTINetConfig
    input: InputConfig
    seed: int = 0
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    loss: LossWeights = field(default_factory=LossWeights)
    optimisation: Optimisation = field(default_factory=Optimisation)

    def __post_init__(self) -> None:
        if self.input.calibrate and self.network.masks != 2:
            raise ValueError("calibration finds the liver by the network's own mask: set network.masks = 2, or input.calibrate = false")
        if self.network.heads == "slice" and (self.input.pixel_mm or self.network.size != self.input.size):
            raise ValueError("slice heads look at whole slices of their own size: set input.pixel_mm = 0 and network.size = input.size")


_TABLES: dict[str, type] = {
    "network": MTINetConfig,
    "input": InputConfig,
    "sampling": SamplingConfig,
    "loss": LossWeights,
    "optimisation": Optimisation,
}


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: a TOML file with `name`, `seed` and the tables `network`, `input`, `sampling`, `loss`, `optimisation`.
        overrides: "table.field=value" or "seed=value", values in TOML's notation.

    Raises:
        InputError: the file is missing or broken, or names a field that does not exist.
    """
    try:
        record = tomllib.loads(path.read_text())
        for override in overrides:
            key, _, value = override.partition("=")
            table, _, name = key.rpartition(".")
            target = record.setdefault(table, {}) if table else record
            target[name] = tomllib.loads(f"x = {value}")["x"]
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
        network: dict[str, Any] = {"phases": len(view.phases), "types": len(view.types), "size": view.size, **record.get("network", {})}
        recipe = Recipe(
            name=record["name"],
            seed=record.get("seed", 0),
            network=checkpoint.network_config("mti-net", network),
            input=view,
            sampling=SamplingConfig(**record.get("sampling", {})),
            loss=LossWeights(**record.get("loss", {})),
            optimisation=Optimisation(**record.get("optimisation", {})),
        )
        TypeAdapter(Recipe).validate_python(asdict(recipe))
        return recipe
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"recipe {path}: {where}: {first['msg'].lower()}, got {first['input']!r}") from None
    except FileNotFoundError:
        raise InputError(f"no recipe {path}: give the path of a TOML file, see recipes/") from None
    except KeyError as error:
        raise InputError(f"recipe {path}: {error} is missing or unknown") from None
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"recipe {path}: {error}") from None


def train(
    recipe: Recipe,
    cohort: Cohort,
    out: Path,
    *,
    fold: int | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Train and write `out/model/`; `out/log.csv` and TensorBoard events tell the story.

    Args:
        recipe: what to train.
        cohort: studies with truth.
        out: folder of the run.
        fold: train on all but this of five folds by subject (0 to 4); None trains on all.
        resume: go on from the last checkpoint in `out`, bit for bit as if the run had not stopped (on the same machine).
        device: "auto", "cpu" or "cuda".
        progress: called with (what, done, total).

    Returns:
        The folder of the model.

    Raises:
        InputError: the folder holds another run, the cohort does not fit the recipe, or there is nothing to resume.
    """
    if fold is not None and not 0 <= fold < FOLDS:
        raise InputError(f"fold is 0 to {FOLDS - 1}, got {fold}")
    commit = checkpoint.commit()  # of the code that runs, whatever is committed meanwhile
    state_path = out / "state.safetensors"
    started = (out / "run.json").exists()
    if resume and not started:
        raise InputError(f"{out} holds no run to go on with: leave out --resume, or choose the folder of a run")
    if started and not resume:
        raise InputError(f"{out} already holds a run: add --resume to go on with it, or choose another folder")
    cases = tuple(range(len(cohort))) if fold is None else cohort.folds(FOLDS, recipe.seed)[fold].train
    run = json.loads(json.dumps({"recipe": asdict(recipe), "fold": fold, "cohort": data_fingerprint(cohort, cases)}, default=str))
    if started and json.loads((out / "run.json").read_text()) != run:
        raise InputError(f"{out} holds a run of another recipe, fold or cohort: resume it with the same, or choose another folder")
    fabric = Fabric(accelerator=device, devices=1, precision=_precision(recipe.optimisation.precision, device))
    prepared = prepare(
        cohort, cases, recipe.input, out / "prepared", progress=progress and (lambda i, n: progress("preparing cases", i, n))
    )
    (out / "run.json").write_text(json.dumps(run, indent=2) + "\n")
    mean_P, sd_P = curve_statistics(prepared)
    total = recipe.optimisation.steps or recipe.optimisation.epochs * sum(c.slices for c in prepared) // recipe.sampling.batch
    trainer = _Trainer(fabric, recipe, mean_P, sd_P, total)
    start = trainer.restore(state_path) if started and state_path.exists() else 0
    sampler = Sampler(
        prepared,
        recipe.input,
        recipe.sampling,
        masks=recipe.network.masks,
        per_lesion=recipe.network.heads == "lesion",
        seed=recipe.seed,
    )
    with _Log(out, start) as log:
        for step, batch in enumerate(sampler.stream(start, total), start):
            terms = trainer.step(step, batch.to(fabric.device))
            log.add(step, terms)
            if (step + 1) % recipe.optimisation.save_every == 0 or step + 1 == total:
                trainer.save(state_path, step + 1)
                log.flush()
            if progress:
                progress("training", step + 1, total)
    card = checkpoint.ModelCard(
        name=recipe.name,
        network="mti-net",
        network_config=recipe.network,
        input_config=recipe.input,
        curve_mean=tuple(mean_P.tolist()),
        curve_sd=tuple(sd_P.tolist()),
        training={
            "recipe": run["recipe"],
            "fold": fold,
            "steps": total,
            "cases": len(cases),
            "cohort": run["cohort"],
            "case_hashes": [data_fingerprint(cohort, [case])[:16] for case in cases],
            "commit": commit,
            "versions": checkpoint.versions(),
            "precision": str(fabric._precision.precision),
            "device": fabric.device.type,
        },
    )
    checkpoint.save_model(out / "model", card, trainer.network.module)
    shutil.rmtree(out / "prepared")
    return out / "model"


def curve_statistics(cases: Sequence[PreparedCase]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the training lesions' curves per phase, in contrast to the liver; 0 and 1 where there are none."""
    phases = len(cases[0].present)
    curves = np.array([lesion.curve for case in cases for lesion in case.lesions], float).reshape(-1, phases)
    mean, sd = np.zeros(phases), np.ones(phases)
    for phase, values in enumerate(curves.T):
        values = values[np.isfinite(values)]
        if len(values) > 1:
            mean[phase], sd[phase] = values.mean(), max(values.std(), 1e-3)
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(sd, dtype=torch.float32)


class _Trainer:
    """The networks, their optimisers and one step of both."""

    def __init__(self, fabric: Fabric, recipe: Recipe, mean_P: Tensor, sd_P: Tensor, total: int) -> None:
        torch.manual_seed(recipe.seed)
        network = channels_last(NETWORKS["mti-net"].network(recipe.network))
        critic = TaskDrivenDiscriminator(recipe.network.phases, recipe.network.types)
        rates = recipe.optimisation
        self.network, self.optimiser = fabric.setup(network, torch.optim.Adam(self._groups(network, rates)))
        self.critic, self.critic_optimiser = fabric.setup(critic, torch.optim.Adam(critic.parameters(), lr=rates.discriminator_rate))
        self.fabric, self.recipe, self.total = fabric, recipe, total
        self.mean_P, self.sd_P = mean_P.to(fabric.device), sd_P.to(fabric.device)

    def step(self, step: int, batch: Batch) -> dict[str, Tensor]:
        """One step of the network and, where it is on, one of the discriminator; returns the terms of the loss."""
        torch.manual_seed(hash((self.recipe.seed, step)))  # dropout draws the same wherever the run was resumed
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * self._share_of_peak(step)
        output = self.network(batch.images_BPYX, batch.present_BP, batch.regions)
        terms, fake, known_LP = self._terms(batch, output)
        weights = asdict(self.recipe.loss)
        loss = sum((weights[name] * term for name, term in terms.items()), start=torch.zeros((), device=self.fabric.device))
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        self.optimiser.step()
        terms = {name: term.detach() for name, term in terms.items()}
        if weights["adversarial"] and len(batch.type_L):
            terms["discriminator"] = self._step_critic(batch, fake, known_LP)
        return terms | {"loss": loss.detach()}

    def _terms(self, batch: Batch, output: MTINetOutput) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor], Tensor]:
        weights, at = self.recipe.loss, batch.regions
        logits_BKYX = output.mask_logits_BKYX.float()
        per_lesion = self.recipe.network.heads == "lesion"
        curve_LP, type_LT = (a.float() if per_lesion else a[at.slice_L].float() for a in (output.curve_LP, output.type_logits_LT))
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
            terms["tim"] = losses.curve_l1(self._implied_curve(batch, logits_BKYX, per_lesion), truth_LP, known_LP)
        fake = curve_LP, type_LT.softmax(-1)
        if weights.adversarial:
            self.critic.requires_grad_(False)
            terms["adversarial"] = losses.adversarial(self.critic(*fake, known_LP).float(), real=True)
            self.critic.requires_grad_(True)
        return terms, fake, known_LP

    def _implied_curve(self, batch: Batch, logits_BKYX: Tensor, per_lesion: bool) -> Tensor:
        probability_BYX, at = logits_BKYX[:, -1].sigmoid(), batch.regions
        if per_lesion:
            return self._z_score(tim(probability_BYX, batch.images_BPYX, support=at))
        return self._z_score(tim(probability_BYX, batch.images_BPYX)[at.slice_L])

    def _step_critic(self, batch: Batch, fake: tuple[Tensor, Tensor], known_LP: Tensor) -> Tensor:
        smoothing, types = self.recipe.loss.label_smoothing, self.recipe.network.types
        one_hot_LT = torch.nn.functional.one_hot(batch.type_L, types) * (1 - smoothing) + smoothing / types
        real = self.critic(self._z_score(batch.curve_LP), one_hot_LT, known_LP)
        false = self.critic(fake[0].detach(), fake[1].detach(), known_LP)
        loss = (losses.adversarial(real.float(), real=True) + losses.adversarial(false.float(), real=False)) / 2
        self.critic_optimiser.zero_grad()
        self.fabric.backward(loss)
        self.critic_optimiser.step()
        return loss.detach()

    def _z_score(self, curve_LP: Tensor) -> Tensor:
        return (curve_LP.nan_to_num() - self.mean_P) / self.sd_P

    @staticmethod
    def _groups(network: torch.nn.Module, rates: Optimisation) -> list[dict[str, Any]]:
        heads = [parameter for name, parameter in network.named_parameters() if name.startswith("heads.")]
        rest = [parameter for name, parameter in network.named_parameters() if not name.startswith("heads.")]
        return [{"params": rest, "peak": rates.learning_rate}, {"params": heads, "peak": rates.head_rate or rates.learning_rate}]

    def _share_of_peak(self, step: int) -> float:
        rates = self.recipe.optimisation
        if not rates.cosine:
            return 1.0
        if step < rates.warmup:
            return (step + 1) / rates.warmup
        return 0.5 * (1 + float(np.cos(np.pi * (step - rates.warmup) / max(1, self.total - rates.warmup))))

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self.network.module,
            "critic": self.critic.module,
            "optimiser": self.optimiser,
            "critic_optimiser": self.critic_optimiser,
        }

    def save(self, path: Path, step: int) -> None:
        """Everything the next step depends on, as safetensors."""
        tensors: dict[str, Tensor] = {"step": torch.tensor(step)}
        for name, part in self._parts().items():
            state = part.state_dict()
            if "optimiser" in name:
                state = {f"{index}.{key}": value for index, slots in state["state"].items() for key, value in slots.items()}
            tensors |= {f"{name}/{key}": value.detach().cpu().contiguous() for key, value in state.items()}
        checkpoint.save_atomically(tensors, path)

    def restore(self, path: Path) -> int:
        """Take up what `save` wrote; returns the number of the next step."""
        tensors = load_file(path)
        for name, part in self._parts().items():
            state: dict[str, Any] = {key.removeprefix(f"{name}/"): t for key, t in tensors.items() if key.startswith(f"{name}/")}
            if "optimiser" in name:
                slots: dict[int, dict[str, Tensor]] = {}
                for key, value in state.items():
                    index, _, slot = key.partition(".")
                    slots.setdefault(int(index), {})[slot] = value
                state = part.state_dict() | {"state": slots}
            part.load_state_dict(state)
        return int(tensors["step"])


class _Log:
    """Terms of the loss to `log.csv` and to TensorBoard; a resumed run drops the rows after its checkpoint."""

    COLUMNS = ("step", "loss", *[f.name for f in fields(LossWeights) if f.name != "label_smoothing"], "discriminator")

    def __init__(self, out: Path, start: int) -> None:
        self.path, self.start = out / "log.csv", start
        self.pending: list[tuple[int, Mapping[str, Tensor]]] = []

    def __enter__(self) -> _Log:
        from torch.utils.tensorboard import SummaryWriter

        kept: list[dict[str, str]] = []
        if self.start and self.path.exists():
            with self.path.open(newline="") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) < self.start]
        self.file = self.path.open("w", newline="")
        self.writer = csv.DictWriter(self.file, self.COLUMNS, restval="")
        self.writer.writeheader()
        self.writer.writerows(kept)
        self.board = SummaryWriter(str(self.path.parent / "tensorboard"), purge_step=self.start)
        return self

    def add(self, step: int, terms: Mapping[str, Tensor]) -> None:
        self.pending.append((step, terms))

    def flush(self) -> None:
        for step, terms in self.pending:
            values = {name: float(value) for name, value in terms.items()}
            self.writer.writerow({"step": step} | {name: f"{value:.6g}" for name, value in values.items()})
            for name, value in values.items():
                self.board.add_scalar(name, value, step)
        self.pending.clear()
        self.file.flush()

    def __exit__(self, *_: object) -> None:
        self.flush()
        self.file.close()
        self.board.close()


def _precision(wanted: str, device: str) -> Any:
    if wanted != "auto":
        return wanted
    if device != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "bf16-mixed" if torch.cpu._is_amx_tile_supported() else "32-true"
