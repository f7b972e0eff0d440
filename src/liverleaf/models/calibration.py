"""Calibration of probabilities: temperature, sets of types, and which peaks count as lesions.

Shape suffixes: L lesions, T types. logits_LT and probability_LT have one row per lesion, one column
per type; truth_L holds the index of the true type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

COVERAGE = 0.9


@dataclass(frozen=True)
class ProbabilityCalibration:
    """What was fitted on cases held back from training, so that probabilities mean what they say.

    Attributes:
        temperature: divides the type logits, above 0.
        set_threshold: by number of channels scanned, the probability from which on a type belongs
            to the 90 % set (split conformal).
        lesions: how many lesions it was fitted on, by number of channels scanned.
        minimum_peak: by number of channels scanned, a lesion whose probability nowhere reaches this
            is not reported.
    """

    temperature: float = 1.0
    set_threshold: Mapping[int, float] = field(default_factory=dict)
    lesions: Mapping[int, int] = field(default_factory=dict)
    minimum_peak: Mapping[int, float] = field(default_factory=dict)


def fitted_threshold(thresholds: Mapping[int, float], scanned: int) -> float:
    """The threshold for so many channels, or for the nearest smaller number it was fitted on.

    Without any it is 0: every lesion, every type.
    """
    fitted = [n for n in thresholds if n <= scanned] or list(thresholds)[:1]
    return thresholds[max(fitted)] if fitted else 0.0


def fit_temperature(logits_LT: NDArray[np.floating], truth_L: NDArray[np.integer]) -> float:
    """The temperature in [0.2, 10] that minimises the mean -log p of the truth.

    Raises:
        ValueError: no lesions.

    Reference: Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    if not len(truth_L):
        raise ValueError("a temperature needs at least one lesion, got none")
    rows = np.arange(len(truth_L))

    def cost(log_temperature: float) -> float:
        return float(
            -log_softmax(logits_LT / np.exp(log_temperature), axis=1)[rows, truth_L].mean()
        )

    return float(
        np.exp(minimize_scalar(cost, bounds=(np.log(0.2), np.log(10.0)), method="bounded").x)
    )


def set_threshold(
    probability_LT: NDArray[np.floating],
    truth_L: NDArray[np.integer],
    *,
    coverage: float = COVERAGE,
) -> float:
    """The probability from which on a type belongs to a lesion's set.

    With it, sets hold the truth in at least `coverage` of new lesions like those it was fitted on.
    Split conformal prediction with the score 1 - p(true type): the threshold is p(true type) of the
    lesion with the ceil((n + 1) coverage)-th smallest score, and 0 (every type belongs) when there
    are too few lesions to promise the coverage.

    Reference: Sadinle, Lei and Wasserman, Least ambiguous set-valued classifiers, JASA 2019.
    """
    n = len(truth_L)
    rank = int(np.ceil((n + 1) * coverage))
    if rank > n:
        return 0.0
    return float(np.sort(probability_LT[np.arange(n), truth_L])[n - rank])


def type_set(probability_T: NDArray[np.floating], threshold: float) -> list[int]:
    """Indices of the types in the set, most probable first; the most probable always belongs."""
    order = np.argsort(-probability_T, kind="stable")
    return [int(i) for rank, i in enumerate(order) if rank == 0 or probability_T[i] >= threshold]


def best_peak(candidates: Sequence[tuple[float, bool]], missed: int) -> float:
    """The peak probability from which on candidates count as lesions, for the best F1 of detection.

    Args:
        candidates: peak and whether it is a real lesion, for every lesion that was outlined.
        missed: real lesions that were not outlined at all.
    """
    best, best_f1 = 0.0, -1.0
    for threshold in [0.0, *sorted({peak for peak, _ in candidates})]:
        kept = [real for peak, real in candidates if peak >= threshold]
        lost = missed + sum(real for peak, real in candidates if peak < threshold)
        f1 = 2 * sum(kept) / max(len(kept) + sum(kept) + lost, 1)
        if f1 > best_f1:
            best, best_f1 = threshold, f1
    return best
