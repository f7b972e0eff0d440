"""Differences of two evaluations of the same cases, with paired intervals by subject.

Shape suffixes: N cases or lesions, K counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liverleaf.evaluate.stats import Estimate, bootstrap, bootstrap_mean
from liverleaf.models.upgrade import RESULT_COLUMNS
from liverleaf.study import InputError

SEED = 0
MASK_MEANS = ("liver_dice", "lesion_dice", "lesion_iou")
COUNTS = ("true_positives", "false_positives", "false_negatives")
LESION_MEANS = {
    "type_accuracy": "right",
    "curve_mae": "curve_mae",
    "curve_mae_percent_of_liver": "curve_mae_percent_of_liver",
}
CASE_MEASURES = {"_error": "_mae", "_right": "_accuracy"}
"""How the columns of a score's error and a class's rightness end, and the measures they make."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` wrote; a model's tables have columns for its outputs only.

    Attributes:
        cohort: fingerprint of its cases.
        cases: `cases.csv`, a row per case, by its name.
        lesions: `lesions.csv`, a row per detected lesion, by the case's name and the true label;
            empty where the model outlines none.
    """

    cohort: str
    cases: pd.DataFrame
    lesions: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> Evaluation:
        """Read a folder that `evaluate` wrote, in this version or in 0.1.

        Raises:
            InputError: it is none.
        """
        names = {"case": str, "subject": str}
        try:
            cohort = json.loads((folder / "metrics.json").read_text())["cohort"]
            cases = pd.read_csv(folder / "cases.csv", index_col="case", dtype=names)
            cases = cases.rename(columns=RESULT_COLUMNS)
            cases["subject"]  # a KeyError says what is missing
            return cls(cohort, cases, _read_lesions(folder / "lesions.csv"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder} is no folder that liverleaf evaluate wrote: {error}"
            ) from None


def _read_lesions(path: Path) -> pd.DataFrame:
    keys = ["case", "true_label"]
    if not path.exists():
        empty = pd.MultiIndex.from_arrays([[], []], names=keys)
        return pd.DataFrame(columns=list(LESION_MEANS.values()), index=empty)
    return pd.read_csv(
        path, index_col=keys, dtype={"case": str}, usecols=[*keys, *LESION_MEANS.values()]
    )


@dataclass(frozen=True)
class Difference:
    """One measure of two evaluations.

    Attributes:
        first, second: its values.
        difference: first less second, with its interval by subject.
    """

    first: float
    second: float
    difference: Estimate


def differences(first: Evaluation, second: Evaluation) -> dict[str, Difference]:
    """The measures of two evaluations of the same cases, and their differences with 95 % intervals.

    Intervals are resampled by subject. Dice and IoU, the error of a case's score and the rightness
    of its class are means over the cases for which both define them. `lesion_sensitivity` and
    `lesion_precision` are pooled over lesions; `found_and_typed` is the share of true lesions that
    were detected and given the right type, where the truth names them all. Type accuracy and the
    curve's error, in the image's unit and in percent of the liver's intensity, are over the lesions
    that both detected, lest the one that detects the harder lesions be blamed for them. What
    nothing defines is left out.

    Raises:
        InputError: they were not made on the same cases.
    """
    if first.cohort != second.cohort or not first.cases.index.equals(second.cases.index):
        raise InputError(
            "the two evaluations were made on different cases, so nothing is paired: evaluate both"
            " models on one cohort"
        )
    return {
        **_of_columns(first, second, {name: name for name in MASK_MEANS}),
        **_of_detection(first, second),
        **_of_lesions(first, second),
        **_of_columns(first, second, _case_measures(first, second)),
    }


def _case_measures(first: Evaluation, second: Evaluation) -> dict[str, str]:
    """Measures of what both say of whole cases, and the columns that they are means of."""
    shared = [column for column in first.cases.columns if column in second.cases.columns]
    return {
        column.removesuffix(end) + measure: column
        for column in shared
        for end, measure in CASE_MEASURES.items()
        if column.endswith(end)
    }


def _of_columns(
    first: Evaluation, second: Evaluation, columns: Mapping[str, str]
) -> dict[str, Difference]:
    """Means over cases, by the measure's name and its column of `cases.csv`."""
    result, subjects = {}, first.cases["subject"]
    for name, column in columns.items():
        if column not in first.cases or column not in second.cases:
            continue
        pairs = pd.concat([first.cases[column], second.cases[column]], axis=1).dropna()
        if len(pairs):
            result[name] = _mean(pairs.to_numpy(float), subjects[pairs.index].tolist())
    return result


def _of_detection(first: Evaluation, second: Evaluation) -> dict[str, Difference]:
    """Shares of lesions, pooled over cases."""
    both = (first, second)
    if any(name not in evaluation.cases for evaluation in both for name in COUNTS):
        return {}
    shares: dict[str, tuple[str, ...]] = {
        "lesion_sensitivity": ("true_positives", "false_negatives"),
        "lesion_precision": ("true_positives", "false_positives"),
    }
    # the truth names every lesion
    if all(
        evaluation.cases["true_positives"].sum() == len(evaluation.lesions) for evaluation in both
    ):
        shares["found_and_typed"] = ("right", "wrong", "false_negatives")
    counts = [_counts(evaluation) for evaluation in both]
    result, subjects = {}, first.cases["subject"].tolist()
    for name, parts in shares.items():
        one, other = (count[list(parts)].to_numpy() for count in counts)
        if one.any() and other.any():
            result[name] = _share(one, other, subjects)
    return result


def _of_lesions(first: Evaluation, second: Evaluation) -> dict[str, Difference]:
    """Means over the lesions that both detected."""
    both = first.lesions.merge(
        second.lesions, left_index=True, right_index=True, suffixes=(" 1", " 2")
    )
    result, subjects = {}, first.cases["subject"]
    for name, column in LESION_MEANS.items():
        pairs = both[[f"{column} 1", f"{column} 2"]].dropna()
        if len(pairs):
            cases = pairs.index.get_level_values("case")
            result[name] = _mean(pairs.to_numpy(float), subjects[cases].tolist())
    return result


def _counts(evaluation: Evaluation) -> pd.DataFrame:
    right = (
        evaluation.lesions["right"]
        .astype(float)
        .groupby("case")
        .sum()
        .reindex(evaluation.cases.index, fill_value=0.0)
    )
    return evaluation.cases[list(COUNTS)].assign(
        right=right, wrong=evaluation.cases["true_positives"] - right
    )


def _mean(pairs_N2: NDArray[np.float64], subjects: Sequence[str]) -> Difference:
    first, second = pairs_N2.T
    rng = np.random.default_rng(SEED)
    return Difference(
        float(first.mean()), float(second.mean()), bootstrap_mean(first - second, subjects, rng=rng)
    )


def _share(
    first_NK: NDArray[np.float64], second_NK: NDArray[np.float64], subjects: Sequence[str]
) -> Difference:
    """Of the first of K counts among all of them, pooled over N cases."""

    def share(counts_NK: NDArray[np.float64]) -> float:
        total = counts_NK.sum()
        return float(counts_NK[:, 0].sum() / total) if total else np.nan

    estimate = bootstrap(
        lambda cases: share(first_NK[cases]) - share(second_NK[cases]),
        subjects,
        rng=np.random.default_rng(SEED),
    )
    return Difference(share(first_NK), share(second_NK), estimate)
