"""Measures of classification: accuracy, confusion and areas under the ROC curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sklearn.metrics
from numpy.typing import NDArray


def accuracy(
    truth: Sequence[int] | NDArray[np.integer], predicted: Sequence[int] | NDArray[np.integer]
) -> float:
    """The share of cases with the right class, in [0, 1].

    Raises:
        ValueError: there are no cases, or different numbers of them.
    """
    _check(len(truth), len(predicted))
    return float(np.mean(np.asarray(truth) == np.asarray(predicted)))


def confusion(
    truth: Sequence[int] | NDArray[np.integer],
    predicted: Sequence[int] | NDArray[np.integer],
    classes: int,
) -> NDArray[np.int64]:
    """Count of cases per true class (row) and predicted class (column), shape (classes, classes).

    Raises:
        ValueError: there are no cases, different numbers of them, or a class outside 0 ... classes
            - 1.
    """
    _check(len(truth), len(predicted))
    outside = set(np.union1d(truth, predicted).tolist()) - set(range(classes))
    if outside:
        raise ValueError(f"classes run from 0 to {classes - 1}, got {sorted(outside)}")
    counts: NDArray[np.int64] = sklearn.metrics.confusion_matrix(
        truth, predicted, labels=range(classes)
    ).astype(np.int64)
    return counts


def auc(
    truth: Sequence[bool] | NDArray[np.bool_], score: Sequence[float] | NDArray[np.floating]
) -> float | None:
    """Area under the ROC curve, in [0, 1].

    It is the chance that a positive case scores over a negative one, ties counting half. None where
    the truth holds positives only or negatives only.

    Raises:
        ValueError: there are no cases, or different numbers of them.
    """
    _check(len(truth), len(score))
    positives = np.count_nonzero(truth)
    return (
        float(sklearn.metrics.roc_auc_score(truth, score)) if 0 < positives < len(truth) else None
    )


def auc_per_class(
    truth_NC: NDArray[np.bool_], score_NC: NDArray[np.floating]
) -> tuple[float | None, ...]:
    """One-vs-rest `auc` of every class.

    Classes may exclude each other (one-hot truth) or not (a patient's lesion types).

    Args:
        truth_NC: whether case n has class c, shape (N, C).
        score_NC: its predicted probability, shape (N, C).

    Raises:
        ValueError: the shapes differ or there are no cases.
    """
    if truth_NC.shape != score_NC.shape:
        raise ValueError(f"the truth has shape {truth_NC.shape}, the scores {score_NC.shape}")
    return tuple(auc(truth, score) for truth, score in zip(truth_NC.T, score_NC.T, strict=True))


def mean_auc(truth_NC: NDArray[np.bool_], score_NC: NDArray[np.floating]) -> float | None:
    """The mean of `auc_per_class` over the classes that have one; None where none has.

    Over eight lesion types it is LIDIA's AUC-8.
    """
    defined = [value for value in auc_per_class(truth_NC, score_NC) if value is not None]
    return float(np.mean(defined)) if defined else None


def _check(cases: int, predictions: int) -> None:
    if cases == 0 or cases != predictions:
        raise ValueError(
            f"expected one prediction for each of one or more cases, got {cases} cases and"
            f" {predictions} predictions"
        )
