"""Training by a recipe on a cohort, stopped anywhere and resumed exactly."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from liverleaf.cohort.index import FOLDS, Cohort
from liverleaf.data.batch import BatchStream
from liverleaf.data.identity import subject_hash
from liverleaf.data.prepared import data_fingerprint, prepare
from liverleaf.models import checkpoint, registry
from liverleaf.models.recipe import Recipe, read_recipe, recipe_record
from liverleaf.models.trainer import Trainer, fabric_for, step_seed_0_1, trainer_for
from liverleaf.models.upgrade import upgrade_run
from liverleaf.study import InputError
from liverleaf.system import provenance
from liverleaf.system.progress import Progress, silent
from liverleaf.train.log import TrainingLog
from liverleaf.train.requirements import check_cases, what_is_not_learned

logger = logging.getLogger(__name__)

RUN_FILE, STATE_FILE = "run.json", "state.safetensors"
RUN_VERSION = 2
"""Of run.json; 0.1 wrote none."""


def train(
    recipe: Recipe,
    cohort: Cohort,
    out: Path,
    *,
    fold: int | None = None,
    resume: bool = False,
    device: str = "auto",
    prepared_in: Path | None = None,
    warn: Callable[[str], None] = logger.warning,
    progress: Progress = silent,
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
        warn: told, before the first step, what the cohort cannot teach.
        progress: called with (what, done, total).

    Returns:
        The folder of the model.

    Raises:
        InputError: the folder holds another run, the cohort does not fit the recipe
            (`requirements.check_cases`), or there is nothing to resume.
    """
    if fold is not None and not 0 <= fold < FOLDS:
        raise InputError(f"fold is 0 to {FOLDS - 1}, got {fold}")
    commit = provenance.commit()  # of the code that runs, whatever is committed meanwhile
    cases = (
        tuple(range(len(cohort))) if fold is None else cohort.folds(FOLDS, recipe.seed)[fold].train
    )
    records = [cohort.records[case] for case in cases]
    check_cases(recipe, records)
    run = {
        "schema_version": RUN_VERSION,
        "family": recipe.family,
        "recipe": recipe_record(recipe),
        "fold": fold,
        "cohort": data_fingerprint(cohort, cases),
    }
    _check_name(out)
    begun = _claim(out, recipe, run, resume=resume)
    if unlearned := what_is_not_learned(recipe, records):
        warn(unlearned)
    fabric = fabric_for(recipe, device)
    prepared = prepare(
        cohort, cases, recipe.input, prepared_in or out / "prepared", progress=progress
    )
    if begun is None:
        out.mkdir(parents=True, exist_ok=True)
        (out / RUN_FILE).write_text(json.dumps(run, indent=2) + "\n")
    batches = registry.family(recipe.family).batches(prepared, recipe)
    total = training_steps(recipe, batches)
    trainer = trainer_for(fabric, recipe, prepared, total)
    if begun is not None and "schema_version" not in begun:
        trainer.seed_of_step = step_seed_0_1
    _run_steps(trainer, batches, out, resume=begun is not None, progress=progress)
    known_by = {
        "images": sorted({image for case in prepared for image in case.images}),
        "subjects": sorted({subject_hash(record.subject_id) for record in records}),
    }
    card = _card(trainer, run, len(cases), commit=commit, known_by=known_by)
    checkpoint.save_model(out / "model", card, trainer.network.module)
    logger.info("%s: trained to step %d on %s", recipe.name, total, fabric.device.type)
    if prepared_in is None:
        shutil.rmtree(out / "prepared")
    return out / "model"


def training_steps(recipe: Recipe, batches: BatchStream) -> int:
    """How many steps a recipe asks for."""
    if recipe.optimisation.steps is not None:
        return recipe.optimisation.steps
    passes, batch = recipe.optimisation.epochs, int(recipe.sampling.batch)
    return passes * batches.samples_per_epoch // batch


def _check_name(out: Path) -> None:
    """Refuse a folder whose name TensorBoard cannot write to."""
    try:
        str(out).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{out} is no name in UTF-8, which TensorBoard's files need: choose another folder"
        ) from None


def _claim(
    out: Path, recipe: Recipe, run: Mapping[str, Any], *, resume: bool
) -> dict[str, Any] | None:
    """The run.json of a run that is to be resumed, None for a new run.

    Raises:
        InputError: there is no run to resume, another one, or one that was not to be resumed.
    """
    if not (out / RUN_FILE).exists():
        if resume:
            raise InputError(
                f"{out} holds no run to go on with: leave out --resume, or choose the folder of a"
                " run"
            )
        return None
    if not resume:
        raise InputError(
            f"{out} already holds a run: add --resume to go on with it, or choose another folder"
        )
    begun: dict[str, Any] = json.loads((out / RUN_FILE).read_text())
    same = all(begun.get(key) == run[key] for key in ("fold", "cohort"))
    if not same or not is_run_of(out, recipe):
        raise InputError(
            f"{out} holds a run of another recipe, fold or cohort: resume it with the same, or"
            " choose another folder"
        )
    return begun


def is_run_of(out: Path, recipe: Recipe) -> bool:
    """Whether the run in a folder is of this recipe.

    Fields that came to recipes after it was begun have their defaults.
    """
    record = upgrade_run(json.loads((out / RUN_FILE).read_text()))["recipe"]
    try:
        return read_recipe(record) == recipe
    except (KeyError, TypeError, ValueError):  # a recipe that cannot be any more
        return False


def _run_steps(
    trainer: Trainer, batches: BatchStream, out: Path, *, resume: bool, progress: Progress
) -> None:
    """All steps from the last checkpoint on, logged and saved."""
    state, total = out / STATE_FILE, trainer.total
    start = trainer.restore(state) if resume and state.exists() else 0
    logger.info("%s: steps %d to %d", trainer.recipe.name, start, total)
    with TrainingLog(out, start, trainer.columns) as log:
        before = perf_counter()
        for step, batch in enumerate(batches.stream(start, total), start):
            terms = trainer.step(step, batch.to(trainer.fabric.device))
            log.add(step, terms, (now := perf_counter()) - before)
            before = now
            if (step + 1) % trainer.recipe.optimisation.save_every == 0 or step + 1 == total:
                # before the checkpoint: rows too many are dropped on resuming, rows too few are
                # lost
                log.flush()
                trainer.save(state, step + 1)
            progress("training", step + 1, total)


def _card(
    trainer: Trainer,
    run: Mapping[str, Any],
    cases: int,
    *,
    commit: str | None,
    known_by: Mapping[str, Sequence[str]],
) -> checkpoint.ModelCard:
    """The card of a new model; `known_by` is what its training cases are recognised by."""
    recipe, fabric = trainer.recipe, trainer.fabric
    return checkpoint.ModelCard(
        name=recipe.name,
        family=recipe.family,
        network_config=recipe.network,
        input_config=recipe.input,
        curve_mean=tuple(trainer.curves.mean_P.tolist()),
        curve_sd=tuple(trainer.curves.sd_P.tolist()),
        training={
            "recipe": run["recipe"],
            "fold": run["fold"],
            "steps": trainer.total,
            "cases": cases,
            "cohort": run["cohort"],
            **known_by,
            "commit": commit,
            "versions": provenance.versions(),
            "precision": str(fabric._precision.precision),
            "device": fabric.device.type,
        },
    )
