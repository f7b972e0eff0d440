"""What a training step costs beyond its network, how its memory grows, and the paper beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from scipy.stats import theilslopes

from liverleaf.benchmarks.result import Result, interval, markdown_table, measured_by, origin
from liverleaf.benchmarks.training.network_cost import network_cost
from liverleaf.benchmarks.training.paper_transcription import PaperTrainer, copy_weights
from liverleaf.cohort.index import Cohort
from liverleaf.data.batch import BatchStream, SliceBatch
from liverleaf.data.prepared import PreparedCase, curve_statistics, prepare
from liverleaf.evaluate.stats import Estimate, bootstrap
from liverleaf.models import registry
from liverleaf.models.mti_net.network import MTINet
from liverleaf.models.mti_net.training import MTINetTrainer
from liverleaf.models.recipe import Recipe, load_recipe
from liverleaf.models.trainer import fabric_for, precision_for
from liverleaf.phantom.generator import Phantom, write_cohort
from liverleaf.system.memory import resident_mb
from liverleaf.system.progress import Progress, silent
from liverleaf.train.loop import train

SEED = 3
RECIPES = ("liverleaf-net-ct", "mti-net-paper")
PHANTOMS = {
    "liverleaf-net-ct": Phantom("ct", SEED, shape=(32, 160, 160), spacing_mm=(7.0, 2.2, 2.2)),
    "mti-net-paper": Phantom("mti-net", SEED, shape=(8, 256, 256), spacing_mm=(20.0, 1.4, 1.4)),
}
TINY = (
    "network.widths=[2, 2, 4, 4]",
    "network.token_width=8",
    "network.head_width=4",
    "input.size=48",
    "input.pixel_mm=6.0",
)


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        cases: phantom studies per recipe.
        rounds: pairs of blocks, one of the whole loop and one of the bare network.
        block: steps per block.
        pairs: steps of ours beside steps of the paper's.
        epochs: over the cases, for the memory.
        overrides: changes of every recipe, as `load_recipe` takes them.
    """

    cases: int = 4
    rounds: int = 8
    block: int = 4
    pairs: int = 10
    epochs: int = 40
    overrides: tuple[str, ...] = ()


def run(
    *,
    recipes: Path = Path("recipes"),
    effort: Effort = Effort(),
    device: str = "auto",
    progress: Progress = silent,
) -> Result:
    """Measure training on phantoms, with everything that is compared taking turns in one process.

    Args:
        recipes: folder with `liverleaf-net-ct.toml` and `mti-net-paper.toml`.
        effort: how much is measured.
        device: "auto", "cpu" or "cuda".
        progress: told what is measured.

    Raises:
        InputError: a recipe is missing or broken.
    """
    source = origin("training", SEED)
    source["hardware"]["threads"] = torch.get_num_threads()
    loaded = {name: load_recipe(recipes / f"{name}.toml", effort.overrides) for name in RECIPES}
    epochs = (f"optimisation.epochs={effort.epochs}", "optimisation.steps=0")
    tiny = load_recipe(recipes / f"{RECIPES[0]}.toml", (*effort.overrides, *TINY, *epochs))
    rng = np.random.default_rng(SEED)
    with TemporaryDirectory() as scratch:
        folders = {name: Path(scratch) / name for name in RECIPES}
        loops = {}
        for index, name in enumerate(RECIPES):
            write_cohort(PHANTOMS[name], effort.cases, folders[name] / "cohort")
            progress("timing the loop", index, len(RECIPES))
            loops[name] = _loop(loaded[name], folders[name], effort, device, rng)
        progress("timing the paper's words", 0, 1)
        precisions = dict.fromkeys(("32-true", precision_for("auto", device)))
        paper = {
            each: _beside_the_paper(
                loaded[RECIPES[1]], each, folders[RECIPES[1]], effort, device, rng
            )
            for each in precisions
        }
        progress("watching the memory", 0, 1)
        memory = _memory(tiny, folders[RECIPES[0]], device)
    record = {**source, "effort": asdict(effort), "loop": loops, "memory": memory, "paper": paper}
    return Result("training", record, _page(record))


class _AtFirstStep:
    """A trainer at its first step and the batches it would be fed.

    Args:
        recipe: what to train.
        folder: folder of the recipe's cohort.
        device: "auto", "cpu" or "cuda".
    """

    def __init__(self, recipe: Recipe, folder: Path, device: str) -> None:
        self.cases = _prepared(recipe, folder)
        self.fabric = fabric_for(recipe, device)
        self.mean_P, self.sd_P = map(torch.from_numpy, curve_statistics(self.cases))
        self.trainer = MTINetTrainer(self.fabric, recipe, self.cases, total=1000)
        self.sampler = registry.family(recipe.family).batches(self.cases, recipe)

    def seconds(self) -> float:
        """The clock, when all that was asked of the device is done."""
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize()
        return perf_counter()


def _prepared(recipe: Recipe, folder: Path) -> list[PreparedCase]:
    cohort = Cohort.open(folder / "cohort")
    return prepare(cohort, range(len(cohort)), recipe.input, folder / "prepared")


def _loop(
    recipe: Recipe, folder: Path, effort: Effort, device: str, rng: np.random.Generator
) -> dict[str, Any]:
    """Blocks of the training loop, each followed by bare passes over the same batches in memory."""
    first = _AtFirstStep(recipe, folder, device)
    loop_s, bare_s, waited_s = [], [], []
    for start in range(0, (effort.rounds + 1) * effort.block, effort.block):
        batches = first.sampler.stream(start, start + effort.block + 1)
        kept = [next(batches)]
        waited = 0.0
        begin = first.seconds()
        for step in range(start, start + effort.block):
            first.trainer.step(step, kept[-1].to(first.fabric.device))
            asked = perf_counter()
            kept.append(next(batches))
            waited += perf_counter() - asked
        loop_s.append(first.seconds() - begin)
        waited_s.append(waited)
        on_device = [batch.to(first.fabric.device) for batch in kept[:-1]]
        begin = first.seconds()
        for batch in on_device:
            first.fabric.backward(first.trainer.forward(batch).loss)
        bare_s.append(first.seconds() - begin)
    # the first round warms up
    loop, bare, waited_ = (np.array(seconds[1:]) for seconds in (loop_s, bare_s, waited_s))
    cost = network_cost(
        partial(MTINet, recipe.network),
        (kept[0].images_BPYX, kept[0].present_BP, kept[0].regions),
        device=first.fabric.device.type,
    )
    return {
        "batch": recipe.sampling.batch,
        "cost": asdict(cost),
        "loop_over_network": asdict(_ratio(loop, bare, rng)),
        "share_waiting": asdict(_ratio(waited_, loop, rng)),
        "loop_seconds": loop.tolist(),
        "bare_seconds": bare.tolist(),
        "waiting_seconds": waited_.tolist(),
        "precision": str(first.fabric._precision.precision),
        "device": first.fabric.device.type,
    }


def _memory(recipe: Recipe, folder: Path, device: str) -> dict[str, Any]:
    """Resident memory, without mapped files, at every step of a whole run of a small network."""
    steps: list[int] = []
    resident: list[float] = []

    def watch(what: str, done: int, _total: int) -> None:
        if what == "training":
            steps.append(done)
            resident.append(resident_mb("RssAnon"))

    train(recipe, Cohort.open(folder / "cohort"), folder / "run", device=device, progress=watch)
    per_epoch = sum(case.slices for case in _prepared(recipe, folder)) / recipe.sampling.batch
    half = len(steps) // 2
    slope, _, low, high = theilslopes(resident[half:], np.array(steps[half:]) / per_epoch)
    return {
        "steps": len(steps),
        "epochs": len(steps) / per_epoch,
        "mb_per_epoch": asdict(
            Estimate(float(slope), float(low), float(high), n=len(steps) - half)
        ),
        "resident_mb": [round(mb, 1) for mb in resident],
    }


def _beside_the_paper(
    recipe: Recipe,
    precision: str,
    folder: Path,
    effort: Effort,
    device: str,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Steps of ours and of the transcription in turn, on the same slices from the same weights.

    First with batch normalisation by fixed statistics, where every loss must be equal; then as in
    training, for the time.
    """
    recipe = replace(recipe, optimisation=replace(recipe.optimisation, precision=precision))
    fixed = _turns(recipe, folder, effort.pairs, device, fixed_statistics=True)
    timed = _turns(recipe, folder, effort.pairs, device, fixed_statistics=False)
    difference = float(np.abs(fixed["ours_loss"] / fixed["paper_loss"] - 1).max())
    return {
        "paper_over_ours": asdict(_ratio(timed["paper_s"][1:], timed["ours_s"][1:], rng)),
        "largest_relative_difference_of_losses": difference,
        "fixed_statistics": {name: values.tolist() for name, values in fixed.items()},
        "training": {name: values.tolist() for name, values in timed.items()},
    }


def _turns(
    recipe: Recipe, folder: Path, pairs: int, device: str, *, fixed_statistics: bool
) -> dict[str, np.ndarray]:
    first = _AtFirstStep(recipe, folder, device)
    at = first.fabric.device
    paper = PaperTrainer(
        recipe.network,
        learning_rate=recipe.optimisation.learning_rate,
        mean_P=first.mean_P.to(at),
        sd_P=first.sd_P.to(at),
        adversarial=recipe.loss.adversarial,
        smoothing=recipe.loss.label_smoothing,
    )
    copy_weights(first.trainer.network.module, paper.network)
    copy_weights(first.trainer.discriminator.module, paper.critic)
    for network in (first.trainer.network, paper.network):
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.train(not fixed_statistics)
    results: dict[str, list[float]] = {
        "ours_s": [],
        "paper_s": [],
        "ours_loss": [],
        "paper_loss": [],
    }
    for step, batch in enumerate(_with_lesions(first.sampler, pairs + 1)):
        moved = batch.to(at)
        begin = first.seconds()
        ours = first.trainer.step(step, moved)["loss"]
        between = first.seconds()
        theirs, _ = paper.step(
            moved.images_BPYX, moved.masks_BKYX[:, 0], moved.curve_LP, moved.type_L
        )
        results["paper_s"].append(first.seconds() - between)
        results["ours_s"].append(between - begin)
        results["ours_loss"].append(float(ours))
        results["paper_loss"].append(float(theirs))
    return {name: np.array(values) for name, values in results.items()}


def _with_lesions(sampler: BatchStream, number: int) -> list[SliceBatch]:
    """The first batches all of whose slices show a lesion."""
    batches = (sampler(step) for step in count())
    return list(
        islice((batch for batch in batches if len(batch.type_L) == len(batch.images_BPYX)), number)
    )


def _ratio(above: np.ndarray, below: np.ndarray, rng: np.random.Generator) -> Estimate:
    """Median of the paired ratios, with a bootstrap interval."""
    ratios = above / below
    return bootstrap(lambda pairs: float(np.median(ratios[pairs])), range(len(ratios)), rng=rng)


def _page(record: Mapping[str, Any]) -> str:
    memory = record["memory"]
    lines = [
        "# What training costs",
        "",
        (
            f"{measured_by(record, threads=record['hardware']['threads'])} On phantoms. What is"
            " compared took turns within one run. Seconds on a shared machine are no result by"
            " themselves; the ratios are."
        ),
        "",
        "## The loop beside its network",
        "",
        (
            "A step of the loop draws and augments a batch in the background, and steps the network"
            " and the discriminator with Adam. The bare network does a forward and a backward pass"
            " of the same loss over the same batch, held in memory. Operations are of a forward"
            " pass, a multiplication and an addition being two; memory is what a forward and a"
            " backward pass in 32 bits take beyond the weights."
        ),
        "",
        *_loop_table(record["loop"]),
        "",
        (
            f"A run of {memory['epochs']:.0f} epochs ({memory['steps']} steps, with log and"
            " checkpoints) of a small network: over its second half, memory grows by"
            f" {interval(memory['mb_per_epoch'])} MB per epoch."
        ),
        "",
        "## Beside the paper, transcribed word for word",
        "",
        (
            "`benchmarks/training/paper_transcription.py` has the same weights to begin with and is"
            " shown the same slices. With batch normalisation by fixed statistics, both must have"
            " the same losses; in training they differ, as the paper's words normalise each phase"
            " by itself. The transcription computes in 32 bits, as published."
        ),
        "",
        *_paper_table(record["paper"]),
    ]
    return "\n".join(lines) + "\n"


def _loop_table(loops: Mapping[str, Any]) -> list[str]:
    header = (
        "recipe",
        "batch",
        "parameters",
        "GFLOP per batch",
        "memory (MB)",
        "loop / bare network",
        "share of time spent waiting for data",
    )
    rows = (
        (
            f"{name} ({row['precision']}, {row['device']})",
            row["batch"],
            f"{row['cost']['parameters']:,}",
            f"{row['cost']['flops'] / 1e9:.1f}",
            f"{row['cost']['peak_memory_mb']:.0f}",
            interval(row["loop_over_network"]),
            interval(row["share_waiting"]),
        )
        for name, row in loops.items()
    )
    return markdown_table(header, rows)


def _paper_table(paper: Mapping[str, Any]) -> list[str]:
    header = (
        "precision of ours",
        "paper's step / our step",
        "largest relative difference of losses, fixed statistics",
        "mean loss in training, ours / paper",
    )

    def mean_loss(row: Mapping[str, Any], whose: str) -> str:
        return f"{np.mean(row['training'][f'{whose}_loss']):.2f}"

    rows = (
        (
            precision,
            interval(row["paper_over_ours"]),
            f"{row['largest_relative_difference_of_losses']:.1e}",
            f"{mean_loss(row, 'ours')} / {mean_loss(row, 'paper')}",
        )
        for precision, row in paper.items()
    )
    return markdown_table(header, rows)
