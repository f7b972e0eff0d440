"""Rows of MTI-Net's tables, from what each method scores on each case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liverleaf.benchmarks.mti_net.cross_validation import Answer, CaseScore, score
from liverleaf.benchmarks.mti_net.definitions import TRAINING_MEAN, Table
from liverleaf.benchmarks.mti_net.methods import METHODS, Scale
from liverleaf.benchmarks.table import MethodRow, Metric, Value
from liverleaf.benchmarks.training.network_cost import NetworkCost
from liverleaf.cohort.index import FOLDS, Cohort
from liverleaf.data.prepared import PreparedCase
from liverleaf.evaluate.metrics.classification import confusion
from liverleaf.models.recipe import Recipe
from liverleaf.terminology import LesionType

METRICS: Mapping[str, Metric] = {
    "dsc": Metric("DSC (%)", 100.0, higher_is_better=True),
    "iou": Metric("IoU (%)", 100.0, higher_is_better=True),
    "mae": Metric("MAE", 1.0, higher_is_better=False),
    "accuracy": Metric("accuracy (%)", 100.0, higher_is_better=True),
}
CONSTANT_CURVES = 0.1
"""A method whose curves vary less than this share of the true ones has about one answer."""


def method_row(
    name: str,
    scores: Sequence[CaseScore],
    table: Table,
    cost: NetworkCost,
    *,
    train_seconds: float,
    notes: Sequence[str],
) -> MethodRow:
    """The row of a method, from its scores of all cases and folds."""
    return MethodRow(
        name=name,
        values=_values(scores, table.metrics),
        published={
            metric: (value.mean, value.sd) for metric, value in METHODS[name].published.items()
        },
        train_seconds=train_seconds,
        notes=(*notes, *_warnings(scores, table.metrics)),
        **vars(cost),
    )


def notes_on_rates(recipe: Recipe, scale: Scale) -> list[str]:
    """The note of a row that is trained at other learning rates than the scale's."""
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


def _warnings(scores: Sequence[CaseScore], metrics: Sequence[str]) -> Iterator[str]:
    """What a mean would hide: that a method's answer is the same whatever the image."""
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
        if answered < CONSTANT_CURVES * true:
            yield (
                f"its curves vary by {100 * answered / true:.0f} % of how the true ones do: it"
                " answers about the mean of all"
            )
    types = {case.answered for case in scores if case.answered is not None}
    if "accuracy" in metrics and len(types) == 1:
        yield "it answers the same type for every case"


def training_mean_row(
    cohort: Cohort,
    prepared: Sequence[PreparedCase],
    recipe: Recipe,
    table: Table,
    curves: Mapping[int, NDArray[np.float64]],
) -> MethodRow:
    """The row of the training folds' mean curve and most frequent type, whatever the image.

    Args:
        cohort: the cases.
        prepared: the same, prepared.
        recipe: whose seed makes the folds.
        table: which metrics.
        curves: the mean curve of each fold's training cases, in the units that the network sees.
    """
    scores = []
    for fold, curve_P in curves.items():
        split = cohort.folds(FOLDS, recipe.seed)[fold]
        counts = Counter(lesion.type for index in split.train for lesion in prepared[index].lesions)
        likeliest = min(counts, key=lambda kind: (-counts[kind], kind))
        for index in split.test:
            case, record = prepared[index], cohort.records[index]
            answer = Answer(curve_P=curve_P * np.array(case.units), type=likeliest)
            scores.append(score(answer, case, CaseScore(record.case_id, record.subject_id, fold)))
    return MethodRow(
        TRAINING_MEAN,
        _values(scores, table.metrics),
        notes=("sees no image: mean curve and most frequent type of the training folds",),
    )


def confusion_counts(scores: Sequence[CaseScore], types: int) -> NDArray[np.int64]:
    """Cases by true (row) and answered type (column), (types, types)."""
    pairs = [
        (case.type, case.answered)
        for case in scores
        if case.type is not None and case.answered is not None
    ]
    return confusion([true for true, _ in pairs], [answered for _, answered in pairs], types)


def case_table(
    scores: Mapping[str, Sequence[CaseScore]], types: Sequence[LesionType]
) -> pd.DataFrame:
    """What every mean of a table is the mean of.

    A line per method and case, empty where there is nothing to measure.
    """
    cases = pd.DataFrame(
        [{"method": method, **vars(case)} for method, found in scores.items() for case in found]
    )
    names = {index: kind.key for index, kind in enumerate(types)}
    return cases.drop(columns=["curve", "true_curve"]).assign(
        **{key: cases[key].map(names) for key in ("type", "answered")}
    )
