"""Overlaps counted by hand, and their edges."""

import numpy as np
import pytest

from liverleaf.evaluate.metrics.overlap import dice, iou


@pytest.mark.parametrize(
    ("predicted", "truth", "expected_dice", "expected_iou"),
    [
        ([1, 1, 0, 0], [0, 1, 1, 1], 2 / 5, 1 / 4),
        ([1, 1, 0, 0], [1, 1, 0, 0], 1.0, 1.0),
        ([1, 0, 0, 0], [0, 0, 0, 1], 0.0, 0.0),
        ([0, 0, 0, 0], [0, 0, 0, 1], 0.0, 0.0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 1.0, 1.0),
    ],
    ids=["partial", "equal", "apart", "nothing found", "both empty"],
)
def test_overlap_by_hand(predicted, truth, expected_dice, expected_iou) -> None:
    a, b = (np.array(mask, bool).reshape(2, 2) for mask in (predicted, truth))
    assert dice(a, b) == dice(b, a) == pytest.approx(expected_dice)
    assert iou(a, b) == iou(b, a) == pytest.approx(expected_iou)


def test_dice_follows_from_iou() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 4, 5, 6)) < 0.4
    assert dice(a, b) == pytest.approx(2 * iou(a, b) / (1 + iou(a, b)))


@pytest.mark.parametrize("measure", [dice, iou])
def test_another_shape_is_refused(measure) -> None:
    with pytest.raises(ValueError, match=r"\(1, 4\), the true one \(4,\)"):
        measure(np.ones((1, 4), bool), np.ones(4, bool))
