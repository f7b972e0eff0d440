"""Lesions on a line, matched by hand: of 100 mm3 each, two voxels are scored, one is not."""

import numpy as np
import pytest

from liverleaf.evaluate.metrics.detection import Detection, detect

SPACING = (4.0, 5.0, 5.0)


def line(text: str) -> np.ndarray:
    """Labels along one row; "." is background."""
    return np.array([[[0 if letter == "." else int(letter) for letter in text]]], np.uint16)


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        (".11...22.", ".11...22.", Detection(2, 0, 0, ((1, 1), (2, 2)))),
        (".77...33.", ".22...99.", Detection(2, 0, 0, ((2, 7), (9, 3)))),
        (".11......", "......22.", Detection(0, 1, 1)),
        (".........", ".11...22.", Detection(0, 0, 2)),
        (".11...22.", ".........", Detection(0, 2, 0)),
        (".........", ".........", Detection(0, 0, 0)),
        (".........", ".1.......", Detection(0, 0, 0)),  # a small one missed costs nothing
        (".11......", ".1.......", Detection(0, 0, 0)),  # a small one found counts neither way
        (".1.......", ".11......", Detection(1, 0, 0, ((1, 1),))),  # small prediction, scored truth
        (".1.......", ".........", Detection(0, 1, 0)),  # a small one made up counts
        (".1.22....", ".1111....", Detection(1, 1, 0, ((1, 2),))),  # in two pieces: one is too many
        (".1111....", ".11.2....", Detection(1, 0, 0, ((1, 1),))),  # merged with a small one
        (".1111....", ".11.22...", Detection(1, 0, 1, ((1, 1),))),  # merged with a scored one
    ],
)
def test_by_hand(predicted, truth, expected) -> None:
    assert detect(line(predicted), line(truth), SPACING) == expected


def test_overlap_must_exceed_the_minimum() -> None:
    predicted, truth = line("11111" + 15 * "."), line("...." + 6 * "1" + 10 * ".")  # IoU 1 / 10
    assert detect(predicted, truth, SPACING) == Detection(0, 1, 1)
    assert detect(predicted, truth, SPACING, minimum_iou=0.09).true_positives == 1


def test_the_matching_as_a_whole_is_best_and_not_greedy() -> None:
    truth = line("11111111222222")
    # 1 overlaps most with true lesion 1 (5/12), but 2 has nothing else (3/8)
    predicted = line("222111111111..")
    assert detect(predicted, truth, SPACING).pairs == ((1, 2), (2, 1))


def test_cases_add_up_and_give_rates() -> None:
    pooled = sum(
        [Detection(2, 1, 0, ((1, 1), (2, 2))), Detection(1, 0, 3, ((1, 1),))], Detection(0, 0, 0)
    )
    assert pooled == Detection(3, 1, 3)
    assert (pooled.sensitivity, pooled.precision) == (0.5, 0.75)


def test_rates_of_nothing_are_none() -> None:
    assert Detection(0, 0, 0).sensitivity is None
    assert Detection(0, 0, 0).precision is None


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        detect(line("1"), line("11"), SPACING)
