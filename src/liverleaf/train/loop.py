"""A recipe and a cohort in, a trained network out: one loop on Lightning Fabric that can be stopped anywhere and resumed exactly."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liverleaf.cohort.index import Cohort
from liverleaf.data.prepared import PreparedCase, data_fingerprint, prepare
from liverleaf.data.slices import Sampler
from liverleaf.models import checkpoint
from liverleaf.models.recipe import LossWeights, Recipe
from liverleaf.models.registry import name_of
from liverleaf.models.trainer import fabric_for, trainer_for
from liverleaf.study import InputError
from liverleaf.system import provenance
from liverleaf.system.files import whole_file

logger = logging.getLogger(__name__)

FOLDS = 5


def train(
    recipe: Recipe,
    cohort: Cohort,
    out: Path,
    *,
    fold: int | None = None,
    resume: bool = False,
    device: str = "auto",
    prepared_in: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Train and write `out/model/`; `out/log.csv` and TensorBoard events tell the story.

    Args:
        recipe: what to train.
        cohort: studies with truth.
        out: folder of the run.
        fold: train on all but this of five folds by subject (0 to 4); None trains on all.
        resume: go on from the last checkpoint in `out`, bit for bit as if the run had not stopped
            (on the same machine).
        device: "auto", "cpu" or "cuda".
        prepared_in: folder for prepared cases that other runs share and that is kept; None for one
            of this run's own.
        progress: called with (what, done, total).

    Returns:
        The folder of the model.

    Raises:
        InputError: the folder holds another run, the cohort does not fit the recipe, or there is
            nothing to resume.
    """
    if fold is not None and not 0 <= fold < FOLDS:
        raise InputError(f"fold is 0 to {FOLDS - 1}, got {fold}")
    commit = provenance.commit()  # of the code that runs, whatever is committed meanwhile
    state_path = out / "state.safetensors"
    started = (out / "run.json").exists()
    if resume and not started:
        raise InputError(
            f"{out} holds no run to go on with: leave out --resume, or choose the folder of a run"
        )
    if started and not resume:
        raise InputError(
            f"{out} already holds a run: add --resume to go on with it, or choose another folder"
        )
    cases = (
        tuple(range(len(cohort))) if fold is None else cohort.folds(FOLDS, recipe.seed)[fold].train
    )
    run = _as_json(
        {
            "network": name_of(recipe.network),
            "recipe": asdict(recipe),
            "fold": fold,
            "cohort": data_fingerprint(cohort, cases),
        }
    )
    if started and _stored(out, recipe) != run:
        raise InputError(
            f"{out} holds a run of another recipe, fold or cohort: resume it with the same, or"
            " choose another folder"
        )
    fabric = fabric_for(recipe, device)
    prepared = prepare(
        cohort,
        cases,
        recipe.input,
        prepared_in or out / "prepared",
        progress=progress and (lambda i, n: progress("preparing cases", i, n)),
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.json").write_text(json.dumps(run, indent=2) + "\n")
    mean_P, sd_P = curve_statistics(prepared)
    total = (
        recipe.optimisation.steps
        or recipe.optimisation.epochs * sum(c.slices for c in prepared) // recipe.sampling.batch
    )
    trainer = trainer_for(fabric, recipe, mean_P, sd_P, total)
    start = trainer.restore(state_path) if started and state_path.exists() else 0
    sampler = Sampler(
        prepared,
        recipe.input,
        recipe.sampling,
        masks=getattr(recipe.network, "masks", 1),
        per_lesion=getattr(recipe.network, "heads", "slice") == "lesion",
        seed=recipe.seed,
    )
    logger.info("%s: %d cases, steps %d to %d", recipe.name, len(cases), start, total)
    with _Log(out, start) as log:
        before = perf_counter()
        for step, batch in enumerate(sampler.stream(start, total), start):
            terms = trainer.step(step, batch.to(fabric.device))
            log.add(step, terms, (now := perf_counter()) - before)
            before = now
            if (step + 1) % recipe.optimisation.save_every == 0 or step + 1 == total:
                # before the checkpoint: rows too many are dropped on resuming, rows too few are
                # lost
                log.flush()
                trainer.save(state_path, step + 1)
            if progress:
                progress("training", step + 1, total)
    card = checkpoint.ModelCard(
        name=recipe.name,
        network=name_of(recipe.network),
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
            "versions": provenance.versions(),
            "precision": str(fabric._precision.precision),
            "device": fabric.device.type,
        },
    )
    checkpoint.save_model(out / "model", card, trainer.network.module)
    logger.info("%s: trained to step %d on %s", recipe.name, total, fabric.device.type)
    if prepared_in is None:
        shutil.rmtree(out / "prepared")
    return out / "model"


def holds(out: Path, recipe: Recipe) -> bool:
    """Whether the run in a folder is of this recipe; fields that came to recipes after it was begun have their defaults."""
    return bool(_stored(out, recipe)["recipe"] == _as_json(asdict(recipe)))


def _stored(out: Path, recipe: Recipe) -> Any:
    """What `run.json` says, with the defaults of the fields that it does not know."""
    run = json.loads((out / "run.json").read_text())
    return _as_json(run | {"recipe": _with_defaults(run["recipe"], recipe)})


def _as_json(record: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(record, default=str))


def _with_defaults(stored: Mapping[str, Any], config: Any) -> dict[str, Any]:
    filled = dict(stored)
    for entry in fields(config):
        value = getattr(config, entry.name)
        if is_dataclass(value) and entry.name in filled:
            filled[entry.name] = _with_defaults(filled[entry.name], value)
        elif entry.default is not MISSING:
            filled.setdefault(entry.name, entry.default)
    return filled


def curve_statistics(cases: Sequence[PreparedCase]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the training lesions' curves per phase, in contrast to the liver; 0 and 1 where there are none."""
    phases = len(cases[0].present)
    curves = np.array([lesion.curve for case in cases for lesion in case.lesions], float).reshape(
        -1, phases
    )
    mean, sd = np.zeros(phases), np.ones(phases)
    for phase, values in enumerate(curves.T):
        values = values[np.isfinite(values)]
        if len(values) > 1:
            mean[phase], sd[phase] = values.mean(), max(values.std(), 1e-3)
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(sd, dtype=torch.float32)


class _Log:
    """Terms of the loss to `log.csv` and to TensorBoard; a resumed run drops the rows after its checkpoint."""

    COLUMNS = (
        "step",
        "loss",
        *[f.name for f in fields(LossWeights) if f.name != "label_smoothing"],
        "discriminator",
        "seconds",
    )

    def __init__(self, out: Path, start: int) -> None:
        self.path, self.start = out / "log.csv", start
        self.pending: list[tuple[int, Mapping[str, Tensor], float]] = []

    def __enter__(self) -> _Log:
        from torch.utils.tensorboard import SummaryWriter

        kept: list[dict[str, str]] = []
        if self.start and self.path.exists():
            with self.path.open(newline="") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) < self.start]
        with whole_file(self.path) as part, part.open("w", newline="") as file:
            csv.DictWriter(file, self.COLUMNS).writeheader()
            csv.DictWriter(file, self.COLUMNS).writerows(kept)
        self.file = self.path.open("a", newline="")
        self.writer = csv.DictWriter(self.file, self.COLUMNS, restval="")
        self.board = SummaryWriter(str(self.path.parent / "tensorboard"), purge_step=self.start)
        return self

    def add(self, step: int, terms: Mapping[str, Tensor], seconds: float) -> None:
        self.pending.append((step, terms, seconds))

    def flush(self) -> None:
        for step, terms, seconds in self.pending:
            values = {name: float(value) for name, value in terms.items()} | {"seconds": seconds}
            self.writer.writerow(
                {"step": step} | {name: f"{value:.6g}" for name, value in values.items()}
            )
            for name, value in values.items():
                self.board.add_scalar(name, value, step)
        self.pending.clear()
        self.file.flush()

    def __exit__(self, *_: object) -> None:
        self.flush()
        self.file.close()
        self.board.close()
