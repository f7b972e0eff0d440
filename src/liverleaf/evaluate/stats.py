"""Estimates over cases with their intervals, and paired tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, wilcoxon
from statsmodels.stats.multitest import multipletests


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    >>> print(Estimate(0.8423, 0.8011, 0.8804, n=40))
    0.842 (95% CI 0.801 to 0.880, n=40)

    Attributes:
        mean: the estimate: a mean, a proportion, or whichever statistic was asked for.
        low: lower end of the interval.
        high: upper end.
        n: how many independent units it rests on (subjects, or trials of a proportion).
        confidence: the interval's coverage, in (0, 1).
    """

    mean: float
    low: float
    high: float
    n: int
    confidence: float = 0.95

    def __str__(self) -> str:
        return (
            f"{self.mean:.3f} ({100 * self.confidence:g}% CI {self.low:.3f} to {self.high:.3f},"
            f" n={self.n})"
        )


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], float | None],
    subjects: Sequence[str] | Sequence[int],
    *,
    rng: np.random.Generator,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Estimate:
    """Percentile bootstrap of any statistic over cases.

    Whole subjects are resampled, because one subject's cases are not independent.

    Args:
        statistic: of the cases with the given indices (an index may come more than once), such as
            `lambda cases: dice[cases].mean()`. Resamples for which it is None or NaN (an AUC with
            one class) are left out.
        subjects: the subject of each case.
        rng: source of randomness.
        resamples: number of resamples.
        confidence: the interval's coverage, in (0, 1).

    Raises:
        ValueError: there are no cases, or the statistic is undefined for all cases together.

    Reference: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. Clusters:
    Field and Welsh, J R Stat Soc B 2007;69:369-390.
    """
    if not len(subjects):
        raise ValueError("a bootstrap needs at least one case, got none")
    _, subject_of = np.unique(np.asarray(subjects), return_inverse=True)
    cases_of = [np.flatnonzero(subject_of == subject) for subject in range(subject_of.max() + 1)]
    mean = statistic(np.arange(len(subjects)))
    if mean is None or np.isnan(mean):
        raise ValueError("the statistic is undefined for all cases together, so it has no interval")
    draws = rng.integers(len(cases_of), size=(resamples, len(cases_of)))
    values = [statistic(np.concatenate([cases_of[subject] for subject in draw])) for draw in draws]
    defined = [value for value in values if value is not None and not np.isnan(value)]
    low, high = np.quantile(defined or [mean], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(mean), float(low), float(high), len(cases_of), confidence)


def bootstrap_mean(
    values: Sequence[float] | NDArray[np.floating],
    subjects: Sequence[str] | Sequence[int],
    *,
    rng: np.random.Generator,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Estimate:
    """`bootstrap` of the mean over cases.

    Raises:
        ValueError: there are no cases, or not one subject per value.
    """
    if len(values) != len(subjects):
        raise ValueError(
            f"every value needs its subject, got {len(values)} values and {len(subjects)} subjects"
        )
    array = np.asarray(values, float)
    return bootstrap(
        lambda cases: float(array[cases].mean()),
        subjects,
        rng=rng,
        resamples=resamples,
        confidence=confidence,
    )


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Estimate:
    """A proportion with its Wilson score interval; the trials are taken as independent.

    Raises:
        ValueError: there are no trials, or more successes than trials.

    Reference: Wilson, J Am Stat Assoc 1927;22:209-212.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(
            f"a proportion needs 0 <= successes <= trials and a trial, got {successes} of {trials}"
        )
    interval = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Estimate(
        successes / trials, float(interval.low), float(interval.high), trials, confidence
    )


def paired_test(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided p-value of the Wilcoxon signed-rank test on paired values; 1 where no pair differs.

    Raises:
        ValueError: there are no pairs, or different numbers of values.

    Reference: Wilcoxon, Biometrics Bulletin 1945;1:80-83.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"a paired test needs as many values twice, got {len(a)} and {len(b)}")
    difference = np.subtract(a, b)
    return float(wilcoxon(difference).pvalue) if difference.any() else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number by Holm's step-down procedure, in the given order.

    Reference: Holm, Scand J Stat 1979;6:65-70.
    """
    return [float(p) for p in multipletests(p_values, method="holm")[1]] if len(p_values) else []
