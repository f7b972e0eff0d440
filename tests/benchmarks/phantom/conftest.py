"""Archives of curves with known answers."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

TIME_S = np.arange(0.0, 1500, 2.5)
ARRIVAL_S = 75.0


def signal(peak: float, tail: float) -> NDArray[np.float64]:
    """Signal 100 before the arrival, then a peak after 5 s and a level that stays."""
    after = TIME_S - ARRIVAL_S
    return 100 * np.where(
        after < 0, 1.0, np.maximum(tail, peak - np.abs(after - 5) * (peak - 1) / 6)
    )


def write_archive(path: Path, *, aorta: str = "aorta", **changed: float) -> Path:
    """One person's first scan, as published archives hold it; `changed` replaces parameters."""
    known = {
        "TR": 0.0037, "FA_1": 15, "dose_1": 0.025, "weight": 70,
        "T1_time_1": 900, "T1_aorta_1": 1.7, "T1_liver_1": 0.8,
        "T1_time_2": 4000, "T1_aorta_2": 1.2,
    } | changed  # fmt: skip
    parameters = pd.DataFrame(
        [("7", "control", name, value) for name, value in known.items()],
        columns=["subject", "study", "parameter", "value"],
    )
    columns = {
        "time_1": TIME_S + 1000,
        f"{aorta}_1": signal(4, 1.5),
        f"{aorta}_1_accept": 1.0 + 0 * TIME_S,
        "liver_1": signal(1.2, 1.3),
    }
    table = pd.DataFrame({("7", "control", name): values for name, values in columns.items()})
    with zipfile.ZipFile(path, "w") as files:
        files.writestr("pars.csv", parameters.to_csv(index=False))
        files.writestr("rois.csv", table.to_csv(index=False))
    return path


@pytest.fixture
def bolus() -> Callable[[float, float], NDArray[np.float64]]:
    """Makes a signal at every 2.5 s whose bolus arrives after 75 s, from its peak and its tail."""
    return signal


@pytest.fixture
def archive() -> Callable[..., Path]:
    """Writes an archive of one scan; parameters may be replaced."""
    return write_archive
