"""A cohort in; one of MTI-Net's five tables, every method trained and tested on the same folds of it, out."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import replace
from functools import partial
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from liverleaf.benchmarks.mti_net.cross_validation import (
    EXAMPLES_FILE,
    Answer,
    CaseScore,
    cross_validate,
    lesion_area,
    score,
    training_seconds,
)
from liverleaf.benchmarks.mti_net.methods import BASELINE, METHODS, SCALES, TABLES, Scale, Table
from liverleaf.benchmarks.table import SIGNIFICANT, Metric, Row, Value, figure, markdown, summarise
from liverleaf.benchmarks.training.network_cost import NetworkCost, network_cost
from liverleaf.cohort.index import Cohort
from liverleaf.data.network_input import InputConfig
from liverleaf.data.prepared import PreparedCase, data_fingerprint, prepare
from liverleaf.evaluate.metrics.classification import confusion
from liverleaf.models import checkpoint, registry
from liverleaf.models.recipe import Recipe
from liverleaf.study import InputError
from liverleaf.system import provenance
from liverleaf.system.progress import silent
from liverleaf.system.provenance import hardware
from liverleaf.system.workers import end_with_parent
from liverleaf.terminology import LesionType
from liverleaf.train.loop import FOLDS

METRICS: Mapping[str, Metric] = {
    "dsc": Metric("DSC (%)", 100.0, higher_is_better=True),
    "iou": Metric("IoU (%)", 100.0, higher_is_better=True),
    "mae": Metric("MAE", 1.0, higher_is_better=False),
    "accuracy": Metric("accuracy (%)", 100.0, higher_is_better=True),
}
CONSTANT = 0.1
"""A method whose curves vary less than this share of the true ones answers about the same for
everyone."""
Progress = Callable[[str, int, int], None]


class Job(NamedTuple):
    """One method on one fold."""

    method: str
    fold: int


def mti_net_table(
    table: str,
    cohort: Cohort,
    out: Path,
    *,
    scale: str = "cpu",
    runs: Path | None = None,
    jobs: int = 1,
    resume: bool = False,
    device: str = "auto",
    precision: str = "32-true",
    progress: Progress | None = None,
) -> str:
    """Train and test every method of a table, and write it; what an earlier call has finished is not done again.

    Args:
        table: a key of `TABLES`.
        cohort: cases with truth, five subjects or more.
        out: folder that gets `table.json`, `table.md`, `table.png`, every case's values as
            `cases.csv` and, for masks and types, `examples.png` and `confusion.png`.
        scale: a key of `SCALES`.
        runs: folder of the trainings, `out`/runs by default; tables that share it share what they
            have in common.
        jobs: number of processes, spread over the GPUs where there are any; their threads, and so
            the rounding, depend on it.
        resume: go on with what `runs` holds.
        device: "auto", "cpu" or "cuda".
        precision: what every row trains in, "32-true" or "bf16-mixed".
        progress: called with (what, done, total).

    Returns:
        The table, as Markdown.

    Raises:
        InputError: the cohort has no truth or too few subjects, or `runs` holds something and
            `resume` is not asked for, or was begun with another cohort, scale or precision.
    """
    chosen, what = replace(SCALES[scale], precision=precision), TABLES[table]
    commit, runs = provenance.commit(), runs or out / "runs"
    view = _view(cohort, chosen)
    recipes = {name: METHODS[name].recipe(chosen, view) for name in what.rows}
    folds = range(chosen.folds)
    # refuses a cohort with too few subjects before anything is written
    cohort.folds(FOLDS, recipes[what.ours].seed)
    _claim(
        runs,
        {
            "scale": scale,
            "precision": precision,
            "cohort": data_fingerprint(cohort, range(len(cohort))),
        },
        resume=resume,
    )
    everyone = prepare(
        cohort,
        range(len(cohort)),
        view,
        runs / "prepared",
        progress=progress or silent,
    )
    costs = {}
    for done, name in enumerate(what.rows):
        if progress:
            progress("measuring costs", done, len(what.rows))
        costs[name] = _cost(recipes[name], runs / slug(name), device)
    todo = [Job(name, fold) for fold in folds for name in recipes]
    work = partial(_work, recipes=recipes, cohort=cohort, runs=runs, device=device)
    scores: dict[str, list[CaseScore]] = {name: [] for name in recipes}
    gpus = [] if device == "cpu" else visible_gpus()
    for done, (job, found) in enumerate(_in_parallel(work, todo, jobs, gpus, progress), 1):
        scores[job.method] += found
        if progress:
            progress("training and testing", done, len(todo))
    rows = [
        _row(name, scores[name], what, costs[name], runs, folds, _rates(recipes[name], chosen))
        for name in what.rows
    ]
    if what.baseline:
        rows.insert(0, _baseline(cohort, everyone, recipes[what.ours], runs, what, folds))
    metrics = {name: METRICS[name] for name in what.metrics}
    record: dict[str, Any] = {
        "table": table,
        "title": what.title,
        "ours": what.ours,
        "command": (
            f"liverleaf benchmark {table} --cohort COHORT --scale {scale} --precision {precision}"
        ),
        "commit": commit,
        "cohort": {
            "fingerprint": data_fingerprint(cohort, range(len(cohort))),
            "cases": len(cohort),
            "subjects": len(cohort.subjects),
        },
        "scale": {"name": scale, **vars(chosen)},
        "seed": recipes[what.ours].seed,
        "hardware": hardware(),
        "versions": provenance.versions(),
        "rows": summarise(rows, metrics, ours=what.ours, seed=recipes[what.ours].seed),
    }
    record["about"], record["reading"] = _about(record), _reading(what)
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(text := markdown(record, metrics))
    _write_cases(out / "cases.csv", scores, view.types)
    figure(record, metrics).savefig(out / "table.png")
    if "dsc" in metrics:
        _examples(cohort, everyone, what, runs).savefig(out / "examples.png")
    if "accuracy" in metrics:
        answering = [
            name for name in what.rows if any(case.answered is not None for case in scores[name])
        ]
        record["confusion"] = counts = {
            name: _confusion(scores[name], len(view.types)).tolist() for name in answering
        }
        short = {
            name.removeprefix(f"{what.ours}, ").removesuffix(", type"): matrix
            for name, matrix in counts.items()
        }
        _confusions(short, view.types).savefig(out / "confusion.png")
    (out / "table.json").write_text(json.dumps(record, indent=1) + "\n")
    return text


def slug(name: str) -> str:
    """A method's name as a folder's."""
    return name.lower().replace(",", "").replace(" + ", "-").replace("++", "pp").replace(" ", "-")


def _view(cohort: Cohort, scale: Scale) -> InputConfig:
    """Whole slices, squeezed to the scale's size as published; the types are those that the cohort has."""
    types = sorted(
        frozenset[LesionType]().union(*(record.lesion_types for record in cohort.records))
    )
    if not types:
        raise InputError("no case of this cohort has a lesion of known type: give one with truth")
    return InputConfig(
        cohort.records[0].modality,
        types=tuple(types),
        pixel_mm=None,
        slice_mm=0.0,
        size=scale.size,
        normalise_on_liver=False,
        body_part=cohort.records[0].body_part,
        species=cohort.records[0].species,
    )


def _claim(runs: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
    path = runs / "settings.json"
    if not runs.exists() or not any(runs.iterdir()):
        runs.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))
    elif not path.exists():
        raise InputError(f"{runs} holds other things: choose another folder")
    elif json.loads(path.read_text()) != settings:
        raise InputError(
            f"{runs} was begun with another cohort, scale or precision: choose another folder, or"
            " the same three"
        )
    elif not resume:
        raise InputError(
            f"{runs} holds trainings already: add --resume to go on with them, or choose another"
            " folder"
        )


def _work(
    job: Job, *, recipes: Mapping[str, Recipe], cohort: Cohort, runs: Path, device: str
) -> tuple[Job, list[CaseScore]]:
    out = runs / slug(job.method) / f"fold-{job.fold}"
    return job, cross_validate(
        recipes[job.method], cohort, job.fold, out, prepared_in=runs / "prepared", device=device
    )


def _in_parallel(
    work: Callable[[Job], tuple[Job, list[CaseScore]]],
    todo: Sequence[Job],
    jobs: int,
    gpus: Sequence[str],
    progress: Progress | None,
) -> Iterator[tuple[Job, list[CaseScore]]]:
    if progress:
        progress("training and testing", 0, len(todo))
    if jobs == 1:
        yield from map(work, todo)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    places = context.SimpleQueue()
    for number in range(jobs if gpus else 0):
        places.put(gpus[number % len(gpus)])
    with ProcessPoolExecutor(
        jobs,
        mp_context=context,
        initializer=begin_worker,
        initargs=(threads, places if gpus else None),
    ) as pool:
        waiting = {pool.submit(work, job) for job in todo}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def begin_worker(threads: int, places: SimpleQueue[str] | None) -> None:
    """Settle a process that trains: its threads, and the one GPU that it sees, taken from `places` where there are any."""
    end_with_parent()
    torch.set_num_threads(threads)
    if places is not None:
        # read when CUDA is first used, which is later
        os.environ["CUDA_VISIBLE_DEVICES"] = places.get()


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    count, named = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


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
        path.write_text(json.dumps(vars(cost)))
    return NetworkCost(**json.loads(path.read_text()))


def one_slice(recipe: Recipe) -> tuple[Any, ...]:
    """What the network of a recipe takes: a slice with all its phases and, where its heads ask for one, a lesion."""
    example_input = registry.family(recipe.family).example_input
    assert example_input is not None, f"{recipe.family} has no example input"
    return example_input(recipe)


def _row(
    name: str,
    scores: Sequence[CaseScore],
    table: Table,
    cost: NetworkCost,
    runs: Path,
    folds: range,
    notes: Sequence[str],
) -> Row:
    return Row(
        name=name,
        values=_values(scores, table.metrics),
        published={
            metric: (value.mean, value.sd) for metric, value in METHODS[name].published.items()
        },
        train_seconds=sum(training_seconds(runs / slug(name) / f"fold-{fold}") for fold in folds),
        notes=(*notes, *_doubts(scores, table.metrics)),
        **vars(cost),
    )


def _rates(recipe: Recipe, scale: Scale) -> list[str]:
    """What a row must say that learns at other rates than the scale's."""
    body, heads = recipe.optimisation.learning_rate, recipe.optimisation.rate_of_heads
    same = body == heads == scale.learning_rate
    return [] if same else [f"learns at {body:g}, its heads at {heads:g}"]


def _values(scores: Sequence[CaseScore], metrics: Sequence[str]) -> dict[str, list[Value]]:
    def of(case: CaseScore, metric: str) -> float | None:
        if metric == "accuracy":
            return None if case.answered is None else float(case.answered == case.type)
        value: float | None = getattr(case, metric)
        return value

    return {
        metric: [
            Value(case.subject, case.fold, value)
            for case in scores
            if (value := of(case, metric)) is not None
        ]
        for metric in metrics
    }


def _doubts(scores: Sequence[CaseScore], metrics: Sequence[str]) -> Iterator[str]:
    """What a mean would hide: that a method answers the same whatever it is shown."""
    found = [case.dsc for case in scores if case.dsc is not None]
    if "dsc" in metrics and found and not any(found):
        yield "its masks meet no lesion of any case"
    curves = [
        (case.curve, case.true_curve)
        for case in scores
        if case.curve is not None and case.true_curve is not None
    ]
    if "mae" in metrics and len(curves) > 1:
        answered, true = (
            np.nanstd(np.array(side, float), axis=0).mean() for side in zip(*curves, strict=True)
        )
        if answered < CONSTANT * true:
            yield (
                f"its curves vary by {100 * answered / true:.0f} % of how the true ones do: it"
                " answers about the mean of all"
            )
    types = {case.answered for case in scores if case.answered is not None}
    if "accuracy" in metrics and len(types) == 1:
        yield "it answers the same type for every case"


def _baseline(
    cohort: Cohort,
    everyone: Sequence[PreparedCase],
    recipe: Recipe,
    runs: Path,
    table: Table,
    folds: range,
) -> Row:
    """Who has seen no image: the training folds' mean curve and most frequent type for every case."""
    scores = []
    for fold in folds:
        card = checkpoint.load_card(runs / slug(table.ours) / f"fold-{fold}" / "model")
        split = cohort.folds(FOLDS, recipe.seed)[fold]
        kinds = Counter(lesion.type for index in split.train for lesion in everyone[index].lesions)
        likeliest = min(kinds, key=lambda kind: (-kinds[kind], kind))
        for index in split.test:
            case, record = everyone[index], cohort.records[index]
            answer = Answer(
                curve_P=np.array(card.curve_mean) * np.array(case.units), type=likeliest
            )
            scores.append(score(answer, case, CaseScore(record.case_id, record.subject_id, fold)))
    return Row(
        BASELINE,
        _values(scores, table.metrics),
        notes=("sees no image: mean curve and most frequent type of the training folds",),
    )


def _write_cases(
    path: Path, scores: Mapping[str, Sequence[CaseScore]], types: Sequence[LesionType]
) -> None:
    """What every mean of a table is the mean of: a line per method and case, empty where there is nothing to measure."""
    cases = pd.DataFrame(
        [{"method": method, **vars(case)} for method, found in scores.items() for case in found]
    )
    names = {index: kind.key for index, kind in enumerate(types)}
    cases = cases.drop(columns=["curve", "true_curve"]).assign(
        **{key: cases[key].map(names) for key in ("type", "answered")}
    )
    cases.to_csv(path, index=False, float_format="%.6g")


def _about(record: Mapping[str, Any]) -> str:
    scale, cohort = record["scale"], record["cohort"]
    budget = f"{scale['steps']} steps" if scale["steps"] else "100 epochs"
    precision = (
        "32 bits" if scale["precision"] == "32-true" else "bfloat16 where it suffices, else 32 bits"
    )
    return (
        f"Written by `{record['command']}` at commit {record['commit']}, seed {record['seed']}, on"
        f" {record['hardware']['cores']} cores ({record['hardware']['cpu']}). {cohort['subjects']}"
        f" subjects, {cohort['cases']} cases; {scale['folds']} of {FOLDS} folds by subject. Every"
        f" method sees the same slices of {scale['size']} x {scale['size']} pixels, has"
        f" {scale['width']:g} of its published channels and the same budget: {budget} of"
        f" {scale['batch']} slices, Adam at {scale['learning_rate']:g} unless said below, in"
        f" {precision}. Research use only."
    )


def _reading(table: Table) -> str:
    text = (
        f"By how much {table.ours} is better (minus: worse), a mean over subjects with its 95 %"
        f" bootstrap interval. A difference is shown where the corrected p is below {SIGNIFICANT:g}"
        " and the interval does not hold 0."
    )
    lacking = (
        " Every row lacks a part or a task: where it is better than a row, what that row lacks"
        " helps here; where it is worse, it harms; where no difference is shown, it is not shown to"
        " do either."
    )
    return text + (lacking if table.ablation else "")


def _confusion(scores: Sequence[CaseScore], types: int) -> NDArray[np.int64]:
    pairs = [
        (case.type, case.answered)
        for case in scores
        if case.type is not None and case.answered is not None
    ]
    return confusion([true for true, _ in pairs], [answered for _, answered in pairs], types)


def _confusions(counts: Mapping[str, Any], types: Sequence[LesionType]) -> Figure:
    """Percent of the true type, a matrix per method, as Figure 4 of the paper."""
    drawn = Figure(figsize=(2.6 * len(counts), 3.1), dpi=130, layout="constrained")
    # HCC, ICC and FNH are abbreviations
    names = [kind.name if len(kind.name) == 3 else kind.key for kind in types]
    for panel, (name, matrix) in zip(
        drawn.subplots(1, len(counts), squeeze=False)[0], counts.items(), strict=True
    ):
        array = np.array(matrix, float)
        share = 100 * array / np.maximum(array.sum(axis=1, keepdims=True), 1)
        panel.imshow(share, vmin=0, vmax=100, cmap="Blues")
        for row, column in np.ndindex(share.shape):
            colour = "white" if share[row, column] > 55 else "#26323a"
            text = f"{share[row, column]:.0f} %\n({array[row, column]:.0f})"
            panel.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
        panel.set_title(name, fontsize=9)
        panel.set_xticks(range(len(names)), names, fontsize=8, rotation=30)
        panel.set_yticks(range(len(names)), names, fontsize=8)
    drawn.supxlabel("answered type", fontsize=9)
    drawn.supylabel("true type", fontsize=9)
    return drawn


def _examples(cohort: Cohort, everyone: Sequence[PreparedCase], table: Table, runs: Path) -> Figure:
    """The largest slice of some lesions of the first fold: truth in white, each method's outline in colour."""
    files = {name: runs / slug(name) / "fold-0" / EXAMPLES_FILE for name in table.rows}
    found = {name: dict(np.load(file)) for name, file in files.items() if file.exists()}
    shown = list(next(iter(found.values())))
    index_of = {record.case_id: index for index, record in enumerate(cohort.records)}
    drawn = Figure(
        figsize=(1.75 * len(found), 1.85 * len(shown) + 0.3), dpi=130, layout="constrained"
    )
    for panels, case_id in zip(
        drawn.subplots(len(shown), len(found), squeeze=False), shown, strict=True
    ):
        case = everyone[index_of[case_id]]
        images_PYX, labels_2YX = case.slice(int(lesion_area(case).argmax()))
        image_YX = images_PYX[int(np.flatnonzero(case.present)[min(2, sum(case.present) - 1)])]
        low, high = image_YX.min(), np.percentile(image_YX[image_YX > image_YX.mean()], 99.5)
        for panel, (name, masks) in zip(panels, found.items(), strict=True):
            panel.imshow(image_YX, cmap="gray", vmin=low, vmax=high)
            panel.contour(labels_2YX[1] > 0, [0.5], colors="white", linewidths=0.7)
            if masks[case_id].any():
                panel.contour(masks[case_id], [0.5], colors="#ff8c42", linewidths=0.9)
            panel.set_axis_off()
            panel.set_title(
                name.removeprefix(f"{table.ours}, ") if case_id == shown[0] else "", fontsize=8
            )
    drawn.supxlabel(
        "portal venous phase where there is one; white: truth, orange: what the method answers",
        fontsize=8,
    )
    return drawn
