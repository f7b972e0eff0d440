"""Detection of lesions: which true ones were detected or missed, which predicted ones are false."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from liverleaf.terminology import SMALLEST_SCORED_MM3


@dataclass(frozen=True)
class Detection:
    """Counts of detected, false and missed lesions; counts of several cases add up with `+`.

    Attributes:
        true_positives: scored true lesions that were detected.
        false_positives: predicted lesions that match no true lesion.
        false_negatives: scored true lesions that were missed.
        pairs: the detected ones as (true label, predicted label); () after adding, because labels
            belong to one case.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    pairs: tuple[tuple[int, int], ...] = ()

    def __add__(self, other: Detection) -> Detection:
        return Detection(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
        )

    @property
    def sensitivity(self) -> float | None:
        """The share of scored true lesions that were detected; None where there are none."""
        scored = self.true_positives + self.false_negatives
        return self.true_positives / scored if scored else None

    @property
    def precision(self) -> float | None:
        """The share of scored predicted lesions that are real; None where there are none."""
        scored = self.true_positives + self.false_positives
        return self.true_positives / scored if scored else None


def detect(
    predicted_ZYX: NDArray[np.integer],
    truth_ZYX: NDArray[np.integer],
    spacing_mm: Sequence[float],
    *,
    minimum_iou: float = 0.1,
    minimum_volume_mm3: float = SMALLEST_SCORED_MM3,
) -> Detection:
    """Match predicted with true lesions one to one, at the largest sum of IoU, and count.

    A pair matches where its IoU exceeds `minimum_iou`. True lesions under `minimum_volume_mm3` are
    not scored: to miss one costs nothing, and a prediction matched with one counts neither way.
    Every other unmatched prediction is a false positive, however small.

    Args:
        predicted_ZYX: instance labels, 0 outside lesions, shape (Z, Y, X).
        truth_ZYX: the same of the truth.
        spacing_mm: voxel size along Z, Y, X.
        minimum_iou: overlap that a match must exceed, in [0, 1).
        minimum_volume_mm3: the smallest true lesion scored.

    Raises:
        ValueError: the label maps differ in shape.
    """
    if predicted_ZYX.shape != truth_ZYX.shape:
        raise ValueError(
            f"the predicted labels have shape {predicted_ZYX.shape}, the true ones"
            f" {truth_ZYX.shape}"
        )
    foreground = (predicted_ZYX > 0) | (truth_ZYX > 0)
    predicted_labels, predicted = np.unique(predicted_ZYX[foreground], return_inverse=True)
    true_labels, truth = np.unique(truth_ZYX[foreground], return_inverse=True)
    size = (len(true_labels), len(predicted_labels))
    overlap = np.bincount(truth * size[1] + predicted, minlength=size[0] * size[1]).reshape(size)
    true_voxels, predicted_voxels = overlap.sum(axis=1), overlap.sum(axis=0)
    iou = overlap / (true_voxels[:, None] + predicted_voxels[None, :] - overlap)
    iou = iou[np.ix_(true_labels > 0, predicted_labels > 0)]
    scored = true_voxels[true_labels > 0] * math.prod(spacing_mm) >= minimum_volume_mm3
    rows, columns = linear_sum_assignment(np.where(iou > minimum_iou, iou, 0), maximize=True)
    matched = [
        (row, column)
        for row, column in zip(rows, columns, strict=True)
        if iou[row, column] > minimum_iou
    ]
    true_labels, predicted_labels = (
        true_labels[true_labels > 0],
        predicted_labels[predicted_labels > 0],
    )
    pairs = tuple(
        (int(true_labels[row]), int(predicted_labels[column]))
        for row, column in matched
        if scored[row]
    )
    return Detection(
        true_positives=len(pairs),
        false_positives=len(predicted_labels) - len(matched),
        false_negatives=int(scored.sum()) - len(pairs),
        pairs=pairs,
    )
