"""Curves compared by hand."""

import numpy as np
import pytest

from liverleaf.evaluate.metrics.regression import curve_mae


def test_by_hand_with_a_phase_that_was_not_scanned() -> None:
    truth = np.array([[50.0, 100.0, 90.0, 80.0], [50.0, 60.0, 70.0, np.nan]])
    predicted = np.array([[54.0, 90.0, 90.0, 82.0], [47.0, 60.0, 70.0, 999.0]])
    np.testing.assert_allclose(curve_mae(predicted, truth), [4.0, 1.0])


def test_no_cases_no_errors() -> None:
    assert curve_mae(np.zeros((0, 4)), np.zeros((0, 4))).shape == (0,)


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        ([[1.0, 2.0]], [[1.0]], "shape"),
        ([[1.0], [1.0]], [[1.0], [np.nan]], "case 1 has no phase"),
        ([[np.nan]], [[1.0]], "no finite prediction"),
    ],
)
def test_what_cannot_be_compared_is_refused(predicted, truth, message) -> None:
    with pytest.raises(ValueError, match=message):
        curve_mae(np.array(predicted), np.array(truth))
