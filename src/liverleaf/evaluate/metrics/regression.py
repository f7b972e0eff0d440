"""Error of predicted enhancement curves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def curve_mae(
    predicted_NP: NDArray[np.floating], truth_NP: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Mean absolute error of each case's curve over its phases, in image units.

        MAE_n = mean over p of |predicted_np - truth_np|

    The mean of the result over cases is the MAE of MTI-Net's tables.

    Args:
        predicted_NP: intensity per case and phase, shape (N, P).
        truth_NP: the same of the truth; NaN for a phase that was not scanned, which does not count.

    Returns:
        Shape (N,).

    Raises:
        ValueError: the shapes differ, a case has no phase at all, or a scanned phase has no
            prediction.
    """
    if predicted_NP.shape != truth_NP.shape:
        raise ValueError(
            f"the predicted curves have shape {predicted_NP.shape}, the true ones {truth_NP.shape}"
        )
    scanned = np.isfinite(truth_NP)
    if not scanned.any(axis=1).all():
        raise ValueError(
            f"case {int(np.argmin(scanned.any(axis=1)))} has no phase with a true intensity"
        )
    if not np.isfinite(predicted_NP[scanned]).all():
        raise ValueError("a phase with a true intensity has no finite prediction")
    error = np.where(scanned, np.abs(np.where(scanned, predicted_NP - truth_NP, 0)), 0)
    mae: NDArray[np.float64] = error.sum(axis=1, dtype=np.float64) / scanned.sum(axis=1)
    return mae
