"""Intervals against published numbers, scipy, and their own promise of coverage."""

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from liverleaf.evaluate.metrics.classification import auc
from liverleaf.evaluate.stats import Estimate, bootstrap, bootstrap_mean, holm, paired_test, wilson


def test_an_estimate_reads_well() -> None:
    assert (
        str(Estimate(0.5, 0.25, 0.75, 12, confidence=0.9)) == "0.500 (90% CI 0.250 to 0.750, n=12)"
    )


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_wilson_against_newcombe_1998(successes, trials, low, high) -> None:
    estimate = wilson(successes, trials)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=6e-5)
    assert (estimate.mean, estimate.n) == (successes / trials, trials)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_needs_a_proportion(successes, trials) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, trials)


def test_one_case_per_subject_is_the_ordinary_bootstrap() -> None:
    values = np.random.default_rng(0).normal(10, 2, 40)
    ours = bootstrap_mean(values, range(40), rng=np.random.default_rng(1), resamples=4000)
    theirs = scipy_bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.06)


def test_copies_of_a_subject_add_no_certainty() -> None:
    values, rng = np.random.default_rng(0).normal(size=20), np.random.default_rng
    once = bootstrap_mean(values, range(20), rng=rng(1))
    copied = bootstrap_mean(np.repeat(values, 9), np.repeat(np.arange(20), 9), rng=rng(1))
    assert (copied.low, copied.high, copied.n) == pytest.approx((once.low, once.high, once.n))


def test_the_interval_covers_the_mean_of_correlated_cases() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(100):
        values = np.repeat(rng.normal(size=30), 4) + rng.normal(0, 0.3, 120)
        estimate = bootstrap_mean(values, np.repeat(np.arange(30), 4), rng=rng, resamples=200)
        covered += estimate.low <= 0 <= estimate.high
    assert 86 <= covered <= 99


def test_any_statistic_and_resamples_without_one_are_left_out() -> None:
    truth, score = np.array([1, 0, 0, 1, 0, 0], bool), np.array([0.9, 0.2, 0.3, 0.4, 0.5, 0.1])
    estimate = bootstrap(
        lambda cases: auc(truth[cases], score[cases]),
        list("abcdef"),
        rng=np.random.default_rng(0),
        resamples=300,
    )
    assert estimate.mean == auc(truth, score)
    assert 0 <= estimate.low <= estimate.mean <= estimate.high <= 1


def test_the_same_generator_gives_the_same_interval() -> None:
    first, second = (
        bootstrap_mean([1.0, 2.0, 4.0], [1, 2, 2], rng=np.random.default_rng(5)) for _ in range(2)
    )
    assert first == second
    assert first.n == 2


def test_one_subject_has_an_interval_of_no_width() -> None:
    estimate = bootstrap_mean([1.0, 3.0], ["a", "a"], rng=np.random.default_rng(0))
    assert (estimate.mean, estimate.low, estimate.high, estimate.n) == (2.0, 2.0, 2.0, 1)


def test_what_has_no_interval_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="at least one case"):
        bootstrap_mean([], [], rng=rng)
    with pytest.raises(ValueError, match="2 values and 1 subjects"):
        bootstrap_mean([1.0, 2.0], ["a"], rng=rng)
    with pytest.raises(ValueError, match="undefined"):
        bootstrap(lambda _: None, ["a"], rng=rng)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_paired_test_by_hand() -> None:
    # all five signs alike
    assert paired_test([1, 2, 3, 4, 5], [0, 0, 0, 0, 0]) == pytest.approx(2 / 2**5)
    assert paired_test([0.3, 0.5], [0.3, 0.5]) == 1
    with pytest.raises(ValueError, match="as many values"):
        paired_test([1.0], [])


def test_a_paired_test_keeps_its_level() -> None:
    rng = np.random.default_rng(0)
    p = [
        paired_test(rng.normal(size=20).tolist(), rng.normal(size=20).tolist()) for _ in range(400)
    ]
    assert np.mean(np.array(p) < 0.05) < 0.08
