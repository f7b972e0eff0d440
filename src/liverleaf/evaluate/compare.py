"""Two evaluations of the same cases in, their differences with paired intervals out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liverleaf.evaluate.stats import Estimate, bootstrap, bootstrap_mean
from liverleaf.study import InputError

SEED = 0
CASE_MEANS = ("liver_dice", "lesion_dice", "lesion_iou")
COUNTS = ("found", "made_up", "missed")
LESION_MEANS = {
    "type_accuracy": "right",
    "curve_mae": "curve_mae",
    "curve_mae_percent_of_liver": "curve_mae_percent_of_liver",
}


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` wrote.

    Attributes:
        cohort: fingerprint of its cases.
        cases: `cases.csv`, a row per case, by its name.
        lesions: `lesions.csv`, a row per found lesion, by the case's name and the true label.
    """

    cohort: str
    cases: pd.DataFrame
    lesions: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> Evaluation:
        """Read a folder that `evaluate` wrote.

        Raises:
            InputError: it is none.
        """
        try:
            cohort = json.loads((folder / "metrics.json").read_text())["cohort"]
            names = {"case": str, "subject": str}
            cases = pd.read_csv(
                folder / "cases.csv",
                index_col="case",
                dtype=names,
                usecols=["case", "subject", *CASE_MEANS, *COUNTS],
            )
            keys = ["case", "true_label"]
            lesions = pd.read_csv(
                folder / "lesions.csv",
                index_col=keys,
                dtype=names,
                usecols=[*keys, *LESION_MEANS.values()],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder} is no folder that liverleaf evaluate wrote: {error}"
            ) from None
        return cls(cohort, cases, lesions)


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
    """The measures of two evaluations of the same cases, and their differences with 95 % intervals, resampled by subject.

    Dice and IoU are means over the cases for which they are defined. `lesion_sensitivity` and
    `lesion_precision` are pooled over lesions; `found_and_typed` is the share of true lesions that
    were found and given the right type, where the truth names them all. Type accuracy and the
    curve's error, in the image's unit and in percent of the liver's intensity, are over the lesions
    that both found, lest the one that finds the harder lesions be blamed for them. What nothing
    defines is left out.

    Raises:
        InputError: they were not made on the same cases.
    """
    if first.cohort != second.cohort or not first.cases.index.equals(second.cases.index):
        raise InputError(
            "the two evaluations were made on different cases, so nothing is paired: evaluate both"
            " models on one cohort"
        )
    subjects = first.cases["subject"]
    result = {}
    for name in CASE_MEANS:
        pairs = pd.concat([first.cases[name], second.cases[name]], axis=1).dropna()
        if len(pairs):
            result[name] = _mean(pairs.to_numpy(float), subjects[pairs.index].tolist())
    counts = [_counts(evaluation) for evaluation in (first, second)]
    shares: dict[str, tuple[str, ...]] = {
        "lesion_sensitivity": ("found", "missed"),
        "lesion_precision": ("found", "made_up"),
    }
    # the truth names every lesion
    if all(
        evaluation.cases["found"].sum() == len(evaluation.lesions) for evaluation in (first, second)
    ):
        shares["found_and_typed"] = ("right", "wrong", "missed")
    for name, parts in shares.items():
        pooled = [count[list(parts)].to_numpy() for count in counts]
        if all(part.any() for part in pooled):
            result[name] = _share(pooled[0], pooled[1], subjects.tolist())
    both = first.lesions.merge(
        second.lesions, left_index=True, right_index=True, suffixes=(" 1", " 2")
    )
    for name, column in LESION_MEANS.items():
        pairs = both[[f"{column} 1", f"{column} 2"]].dropna()
        if len(pairs):
            result[name] = _mean(
                pairs.to_numpy(float), subjects[pairs.index.get_level_values("case")].tolist()
            )
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
        right=right, wrong=evaluation.cases["found"] - right
    )


def _mean(pairs_N2: NDArray[np.float64], subjects: list[str]) -> Difference:
    first, second = pairs_N2.T
    rng = np.random.default_rng(SEED)
    return Difference(
        float(first.mean()), float(second.mean()), bootstrap_mean(first - second, subjects, rng=rng)
    )


def _share(
    first_NK: NDArray[np.float64], second_NK: NDArray[np.float64], subjects: list[str]
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
