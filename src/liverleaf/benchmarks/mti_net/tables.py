"""MTI-Net's five tables: every method trained and tested on the same folds of a cohort."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch

from liverleaf.benchmarks.mti_net.cross_validation import (
    EXAMPLES_FILE,
    CaseScore,
    cross_validate,
    training_seconds,
)
from liverleaf.benchmarks.mti_net.definitions import TABLES, Table
from liverleaf.benchmarks.mti_net.figures import confusion_matrices, outlines
from liverleaf.benchmarks.mti_net.methods import METHODS, SCALES, Scale
from liverleaf.benchmarks.mti_net.requirements import check_table, input_of
from liverleaf.benchmarks.mti_net.rows import (
    METRICS,
    case_table,
    confusion_counts,
    method_row,
    notes_on_rates,
    training_mean_row,
)
from liverleaf.benchmarks.result import Content, Result, measured_by, origin
from liverleaf.benchmarks.table import ALPHA, MethodRow, figure, page, summarise
from liverleaf.benchmarks.training.network_cost import NetworkCost, network_cost
from liverleaf.cohort.index import FOLDS, Cohort
from liverleaf.data.prepared import PreparedCase, data_fingerprint, prepare
from liverleaf.models import checkpoint, registry
from liverleaf.models.processes import network_workers
from liverleaf.models.recipe import Recipe
from liverleaf.study import InputError
from liverleaf.system.files import own_folder, whole_file
from liverleaf.system.progress import Progress, silent
from liverleaf.train.requirements import what_is_not_learned

UNTESTED_SCALE = "smoke"
UNTESTED = (
    "So few steps show that everything runs, not which method is better: no difference is tested."
)
Scores = Mapping[str, Sequence[CaseScore]]


@dataclass(frozen=True)
class TrainingSetting:
    """How the methods of a table are trained.

    Attributes:
        runs: folder of the trainings; tables that share it train nothing twice.
        scale: how much is computed, a key of `SCALES`.
        jobs: number of processes, spread over the GPUs where there are any; their threads, and so
            the rounding, depend on it.
        resume: go on with what `runs` holds.
        device: "auto", "cpu" or "cuda".
        precision: what every row trains in, "32-true" or "bf16-mixed".
    """

    runs: Path
    scale: str = "cpu"
    jobs: int = 1
    resume: bool = False
    device: str = "auto"
    precision: str = "32-true"

    @property
    def prepared(self) -> Path:
        """The folder of the prepared cases."""
        return self.runs / "prepared"

    def run(self, method: str, fold: int) -> Path:
        """The folder of one training."""
        return self.runs / slug(method) / f"fold-{fold}"


class Job(NamedTuple):
    """One method on one fold."""

    method: str
    fold: int


@dataclass(frozen=True)
class Plan:
    """A table before any training.

    Attributes:
        name: a key of `TABLES`.
        table: what it compares.
        cohort: cases with truth.
        prepared: the same, as the networks see them.
        scale: how much is computed.
        recipes: by method.
        setting: how they are trained.
        source: where the result comes from.
    """

    name: str
    table: Table
    cohort: Cohort
    prepared: Sequence[PreparedCase]
    scale: Scale
    recipes: Mapping[str, Recipe]
    setting: TrainingSetting
    source: Mapping[str, Any]

    @property
    def recipe(self) -> Recipe:
        """The recipe of our row."""
        return self.recipes[self.table.ours]

    @property
    def tested(self) -> bool:
        """Whether differences are tested: what a few steps reach tells nothing of a method."""
        return self.setting.scale != UNTESTED_SCALE

    @property
    def jobs(self) -> list[Job]:
        """What there is to train."""
        return [Job(name, fold) for fold in range(self.scale.folds) for name in self.recipes]


def run(
    name: str, cohort: Cohort, setting: TrainingSetting, *, progress: Progress = silent
) -> Result:
    """Train and test every method of a table; what an earlier call has finished is kept.

    Args:
        name: a key of `TABLES`.
        cohort: cases with truth, five subjects or more.
        setting: how they are trained.
        progress: told what is prepared, measured, trained and tested.

    Raises:
        InputError: the cohort has no truth or too few subjects, or the folder of the trainings
            holds something and `resume` is not asked for, or was begun with another cohort, scale
            or precision.
    """
    plan = plan_table(name, cohort, setting, progress=progress)
    costs = measure_costs(plan, progress=progress)
    scores = train_and_test(plan, progress=progress)
    return tabulate(plan, costs, scores)


def plan_table(
    name: str, cohort: Cohort, setting: TrainingSetting, *, progress: Progress = silent
) -> Plan:
    """Make the recipes, claim the folder of the trainings, and prepare the cases."""
    table, scale = TABLES[name], replace(SCALES[setting.scale], precision=setting.precision)
    network_input = input_of(cohort, scale)
    recipes = {row: METHODS[row].recipe(scale, network_input) for row in table.rows}
    seed = recipes[table.ours].seed
    # before anything is written
    check_table(name, table, cohort, network_input, cohort.folds(FOLDS, seed)[: scale.folds])
    command = f"{name} --cohort COHORT --scale {setting.scale} --precision {setting.precision}"
    source = origin(command, seed)
    _claim_runs(setting, cohort)
    prepared = prepare(
        cohort,
        range(len(cohort)),
        network_input,
        setting.prepared,
        progress=progress,
    )
    return Plan(name, table, cohort, prepared, scale, recipes, setting, source)


def _claim_runs(setting: TrainingSetting, cohort: Cohort) -> None:
    settings = {
        "scale": setting.scale,
        "precision": setting.precision,
        "cohort": data_fingerprint(cohort, range(len(cohort))),
    }
    begun = own_folder(setting.runs, settings, file="settings.json")
    if begun and not setting.resume:
        raise InputError(
            f"{setting.runs} holds trainings already: add --resume to go on with them, or choose"
            " another folder"
        )


def measure_costs(plan: Plan, *, progress: Progress = silent) -> dict[str, NetworkCost]:
    """What each network costs; measured once and kept beside its trainings."""
    costs = {}
    for done, (name, recipe) in enumerate(plan.recipes.items()):
        progress("measuring costs", done, len(plan.recipes))
        costs[name] = _cost(recipe, plan.setting.runs / slug(name), plan.setting.device)
    return costs


def _cost(recipe: Recipe, folder: Path, device: str) -> NetworkCost:
    """Of one slice; measured once and kept."""
    path = folder / "cost.json"
    if not path.exists():
        build = partial(registry.family(recipe.family).build, recipe.network)
        cost = network_cost(
            build,
            one_slice(recipe),
            device="cuda" if device != "cpu" and torch.cuda.is_available() else "cpu",
        )
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part:
            part.write_text(json.dumps(vars(cost)))
    return NetworkCost(**json.loads(path.read_text()))


def one_slice(recipe: Recipe) -> tuple[Any, ...]:
    """What the network of a recipe takes.

    That is a slice with all its phases and, where its heads ask for one, a lesion.
    """
    example_input = registry.family(recipe.family).example_input
    assert example_input is not None, f"{recipe.family} has no example input"
    return example_input(recipe)


def train_and_test(plan: Plan, *, progress: Progress = silent) -> Scores:
    """Scores of every case in the folds it was not trained on, by method.

    Stopped and continued at any moment.
    """
    found: dict[Job, list[CaseScore]] = {}
    progress("training and testing", 0, len(plan.jobs))
    with network_workers(
        partial(_train_and_test_one, plan.recipes, plan.cohort, plan.setting),
        _lost,
        jobs=plan.setting.jobs,
        device=plan.setting.device,
    ) as run_all:
        for job, scores in run_all(plan.jobs):
            found[job] = scores
            progress("training and testing", len(found), len(plan.jobs))
    return {
        name: [case for job in plan.jobs if job.method == name for case in found[job]]
        for name in plan.recipes
    }


def _train_and_test_one(
    recipes: Mapping[str, Recipe], cohort: Cohort, setting: TrainingSetting, job: Job
) -> tuple[Job, list[CaseScore]]:
    return job, cross_validate(
        recipes[job.method],
        cohort,
        job.fold,
        setting.run(job.method, job.fold),
        prepared_in=setting.prepared,
        device=setting.device,
    )


def _lost(job: Job, reason: str) -> NoReturn:
    raise InputError(
        f"{job.method}, fold {job.fold} was not trained: {reason}; go on with --resume and fewer"
        " --jobs"
    )


def tabulate(plan: Plan, costs: Mapping[str, NetworkCost], scores: Scores) -> Result:
    """The table of what was measured: record, page, figures and every case's values."""
    table, types = plan.table, plan.recipe.input.types
    metrics = {name: METRICS[name] for name in table.metrics}
    confusion = _confusion(scores, len(types)) if "accuracy" in metrics else {}
    record: dict[str, Any] = {
        "table": plan.name,
        "title": table.title,
        "ours": table.ours,
        **plan.source,
        "cohort": {
            "fingerprint": data_fingerprint(plan.cohort, range(len(plan.cohort))),
            "cases": len(plan.cohort),
            "subjects": len(plan.cohort.subjects),
        },
        "scale": {"name": plan.setting.scale, **vars(plan.scale)},
        "rows": summarise(
            list(_rows(plan, costs, scores)),
            metrics,
            ours=table.ours,
            seed=plan.recipe.seed,
            tested=plan.tested,
        ),
    }
    record |= {"about": _about(record, tested=plan.tested)}
    record |= {"reading": _reading(table)} if plan.tested else {}
    figures: dict[str, Content] = {
        "table.png": figure(record, metrics),
        "cases.csv": case_table(scores, types),
    }
    if "dsc" in metrics and (masks := _example_masks(plan)):
        cases = {r.case_id: c for r, c in zip(plan.cohort.records, plan.prepared, strict=True)}
        figures["examples.png"] = outlines(masks, cases)
    if "accuracy" in metrics:
        record["confusion"] = confusion
        figures["confusion.png"] = confusion_matrices(record, types)
    return Result("table", record, page(record, metrics), figures)


def _rows(plan: Plan, costs: Mapping[str, NetworkCost], scores: Scores) -> Iterator[MethodRow]:
    folds = range(plan.scale.folds)
    if plan.table.training_mean:
        models = {fold: plan.setting.run(plan.table.ours, fold) / "model" for fold in folds}
        cards = {fold: checkpoint.load_card(model) for fold, model in models.items()}
        curves = {fold: np.array(card.curve_mean) for fold, card in cards.items()}
        yield training_mean_row(plan.cohort, plan.prepared, plan.recipe, plan.table, curves)
    for name, recipe in plan.recipes.items():
        yield method_row(
            name,
            scores[name],
            plan.table,
            costs[name],
            train_seconds=sum(training_seconds(plan.setting.run(name, fold)) for fold in folds),
            notes=[*notes_on_rates(recipe, plan.scale), *_unlearned(plan, recipe)],
        )


def _unlearned(plan: Plan, recipe: Recipe) -> list[str]:
    """The note of a row that could not learn all of its tasks from this cohort."""
    return [said] if (said := what_is_not_learned(recipe, plan.cohort.records)) else []


def _confusion(scores: Scores, types: int) -> dict[str, Any]:
    """Confusion matrices of the methods that tell types."""
    return {
        name: confusion_counts(cases, types).tolist()
        for name, cases in scores.items()
        if any(case.answered is not None for case in cases)
    }


def _example_masks(plan: Plan) -> dict[str, dict[str, Any]]:
    """Masks of a few cases of the first fold, by method and case."""
    files = {name: plan.setting.run(name, 0) / EXAMPLES_FILE for name in plan.table.rows}
    return {
        name.removeprefix(f"{plan.table.ours}, "): dict(np.load(file))
        for name, file in files.items()
        if file.exists()
    }


def slug(name: str) -> str:
    """A method's name as a folder's."""
    return name.lower().replace(",", "").replace(" + ", "-").replace("++", "pp").replace(" ", "-")


def _about(record: Mapping[str, Any], *, tested: bool) -> str:
    """What was compared, and how much was computed."""
    scale, cohort = record["scale"], record["cohort"]
    budget = f"{scale['steps']} steps" if scale["steps"] else "100 epochs"
    precision = (
        "32 bits" if scale["precision"] == "32-true" else "bfloat16 where it suffices, else 32 bits"
    )
    return (
        f"{measured_by(record)} {cohort['subjects']} subjects, {cohort['cases']} cases;"
        f" {scale['folds']} of {FOLDS} folds by subject. Every method sees the same slices of"
        f" {scale['size']} x {scale['size']} pixels, has"
        f" {scale['width']:g} of its published channels and the same budget: {budget} of"
        f" {scale['batch']} slices, Adam at {scale['learning_rate']:g} unless said below, in"
        f" {precision}. Research use only."
        f"{'' if tested else ' ' + UNTESTED}"
    )


def _reading(table: Table) -> str:
    """How the words below a table are meant."""
    text = (
        f"By how much {table.ours} is better (minus: worse), a mean over subjects with its 95 %"
        f" bootstrap interval. A difference is shown where the corrected p is below {ALPHA:g}"
        " and the interval does not hold 0."
    )
    lacking = (
        " Every row lacks a part or a task: where it is better than a row, what that row lacks"
        " helps here; where it is worse, it harms; where no difference is shown, it is not shown to"
        " do either."
    )
    return text + (lacking if table.ablation else "")
