"""Type logits and truth in, calibrated probabilities and sets of types that hold the true one out.

Arrays: logits_LT and probability_LT have one row per lesion, one column per type; truth_L the index
of the true type.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

COVERAGE = 0.9


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
    """The probability from which on a type belongs to the set, so that sets hold the truth in at least `coverage` of new lesions.

    Split conformal prediction with the score 1 - p(true type): the threshold is p(true type) of the
    lesion with the ceil((n + 1) coverage)-th smallest score, and 0 (every type belongs) when there
    are too few lesions to promise the coverage. The promise holds for lesions like those it was
    fitted on.

    Reference: Sadinle, Lei and Wasserman, Least ambiguous set-valued classifiers, JASA 2019.
    """
    n = len(truth_L)
    rank = int(np.ceil((n + 1) * coverage))
    if rank > n:
        return 0.0
    return float(np.sort(probability_LT[np.arange(n), truth_L])[n - rank])


def type_set(probability_T: NDArray[np.floating], threshold: float) -> list[int]:
    """Indices of the types in the set, most probable first; the most probable one always belongs."""
    order = np.argsort(-probability_T, kind="stable")
    return [int(i) for rank, i in enumerate(order) if rank == 0 or probability_T[i] >= threshold]
