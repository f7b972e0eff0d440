"""Six cases counted by hand, and the edges where a measure is undefined."""

import numpy as np
import pytest

from liverleaf.evaluate.metrics.classification import (
    accuracy,
    auc,
    auc_per_class,
    confusion,
    mean_auc,
)

TRUTH = [0, 0, 0, 0, 1, 2]
PREDICTED = [0, 0, 0, 1, 1, 0]


def test_by_hand() -> None:
    assert accuracy(TRUTH, PREDICTED) == pytest.approx(4 / 6)
    np.testing.assert_array_equal(
        confusion(TRUTH, PREDICTED, 4), [[3, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    )


def test_auc_counts_pairs() -> None:
    truth, score = np.array([1, 1, 0, 0, 0], bool), np.array([0.9, 0.4, 0.4, 0.3, 0.8])
    pairs = [(p > n) + 0.5 * (p == n) for p in score[truth] for n in score[~truth]]
    assert auc(truth, score) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("truth", [[True, True], [False, False]])
def test_auc_of_one_class_is_none(truth) -> None:
    assert auc(truth, [0.1, 0.2]) is None


def test_auc_per_class_and_its_mean_over_those_defined() -> None:
    truth = np.eye(3, dtype=bool)[[0, 1, 0, 1]]
    score = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.1, 0.3], [0.7, 0.2, 0.1]])
    assert auc_per_class(truth, score) == (0.75, 1.0, None)
    assert mean_auc(truth, score) == 0.875
    assert mean_auc(truth[:1], score[:1]) is None


@pytest.mark.parametrize("measure", [accuracy, auc, lambda a, b: confusion(a, b, 3)])
@pytest.mark.parametrize(("truth", "predicted"), [([], []), ([1], [1, 1])])
def test_as_many_predictions_as_cases(measure, truth, predicted) -> None:
    with pytest.raises(ValueError, match="one prediction for each"):
        measure(truth, predicted)


def test_unknown_classes_and_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"from 0 to 2, got \[3\]"):
        confusion([0, 1], [1, 3], 3)
    with pytest.raises(ValueError, match="shape"):
        auc_per_class(np.ones((2, 3), bool), np.ones((2, 2)))
