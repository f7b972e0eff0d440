"""Overlap of two masks of one case."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dice(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice similarity coefficient, in [0, 1]; 1 where both masks are empty.

        2 |A and B| / (|A| + |B|)

    Raises:
        ValueError: the masks differ in shape.
    """
    both, either = _counts(predicted, truth)
    return 2 * both / (both + either) if either else 1.0


def iou(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union (Jaccard index), in [0, 1]; 1 where both masks are empty.

        |A and B| / |A or B|

    Raises:
        ValueError: the masks differ in shape.
    """
    both, either = _counts(predicted, truth)
    return both / either if either else 1.0


def _counts(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[int, int]:
    """Voxels in both masks and voxels in either."""
    if predicted.shape != truth.shape:
        raise ValueError(
            f"the predicted mask has shape {predicted.shape}, the true one {truth.shape}"
        )
    return int(np.count_nonzero(predicted & truth)), int(np.count_nonzero(predicted | truth))
