"""Temperatures of known scale, thresholds done by hand, and coverage on synthetic lesions."""

import numpy as np
import pytest
from scipy.special import softmax

from liverleaf.models.calibration import best_peak, fit_temperature, set_threshold, type_set


def synthetic(
    rng: np.random.Generator, n: int, scale: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax, divided by `scale`, is the true probability of each of five types."""
    logits = 2 * rng.standard_normal((n, 5))
    truth = (softmax(logits, axis=1).cumsum(1) < rng.random((n, 1))).sum(1)
    return scale * logits, truth


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_temperature_recovers_a_known_scale(scale: float) -> None:
    assert fit_temperature(*synthetic(np.random.default_rng(0), 8000, scale)) == pytest.approx(
        scale, rel=0.05
    )


def test_the_temperature_stays_in_its_range() -> None:
    certain = 2 * np.eye(3)
    assert fit_temperature(certain, np.array([0, 1, 2])) == pytest.approx(0.2, rel=0.01)
    assert fit_temperature(certain, np.array([1, 2, 0])) == pytest.approx(10.0, rel=0.01)
    with pytest.raises(ValueError, match="got none"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, int))


def test_the_threshold_by_hand() -> None:
    true_probability = np.arange(1, 20) / 20  # 0.05 ... 0.95: scores 0.95 ... 0.05
    probability = np.stack([true_probability, 1 - true_probability], axis=1)
    # ceil(20 * 0.9) = 18th smallest of 19 scores: 0.90, a probability of 0.10
    assert set_threshold(probability, np.zeros(19, int)) == pytest.approx(0.10)
    # ceil(20 * 0.5) = 10th smallest: 0.50
    assert set_threshold(probability, np.zeros(19, int), coverage=0.5) == pytest.approx(0.50)


@pytest.mark.parametrize(("n", "everything"), [(0, True), (8, True), (9, False)])
def test_too_few_lesions_promise_nothing_but_every_type(n: int, everything: bool) -> None:
    threshold = set_threshold(np.full((n, 2), 0.5), np.zeros(n, int))
    assert (threshold == 0.0) is everything


def test_the_lesion_that_sets_the_threshold_is_covered_itself() -> None:
    for true_probability in np.arange(1, 100) / 100:  # 1 - (1 - 0.05) is not 0.05 in floating point
        probability = np.tile([true_probability, 1 - true_probability], (9, 1))
        assert 0 in type_set(probability[0], set_threshold(probability, np.zeros(9, int)))


@pytest.mark.parametrize("n", [9, 30, 200])
def test_sets_hold_the_truth_in_nine_of_ten_new_lesions(n: int) -> None:
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(150):
        logits, truth = synthetic(rng, n + 40)
        # overconfident, which the promise does not mind
        probability = softmax(logits / 0.3, axis=1)
        threshold = set_threshold(probability[:n], truth[:n])
        covered += [truth[i] in type_set(probability[i], threshold) for i in range(n, n + 40)]
    assert np.mean(covered) >= 0.89


def test_a_set_is_ordered_and_never_empty() -> None:
    probability = np.array([0.1, 0.6, 0.3])
    assert type_set(probability, 0.3) == [1, 2]
    assert type_set(probability, 0.0) == [1, 2, 0]
    assert type_set(probability, 0.9) == [1]
    assert type_set(np.array([0.5, 0.5]), 0.9) == [0]


@pytest.mark.parametrize(
    ("candidates", "missed", "peak"),
    [
        ([(0.6, False), (0.7, False), (0.9, True), (0.95, True)], 0, 0.9),  # F1 1 instead of 2/3
        ([(0.6, True), (0.9, True)], 3, 0.0),  # nothing made up: nothing to gain
        ([(0.6, True), (0.7, False), (0.9, True)], 0, 0.0),  # F1 0.8 against 2/3
        ([], 2, 0.0),
    ],
    ids=["made-up ones below", "all real", "one made up between", "none"],
)
def test_the_peak_is_where_detection_is_best(
    candidates: list[tuple[float, bool]], missed: int, peak: float
) -> None:
    assert best_peak(candidates, missed) == peak
