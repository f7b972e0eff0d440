"""Headers of series and abdomens on CT, made up by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset

MakeHeader = Callable[..., Dataset]
MakeAbdomen = Callable[..., NDArray[np.float32]]


@pytest.fixture
def header() -> MakeHeader:
    """Makes a header of a description, seconds after ten o'clock, a modality and other elements."""
    return _header


@pytest.fixture
def t1() -> MakeHeader:
    """Makes a header of a 3D T1-weighted gradient echo, by description and series number."""

    def make(description: str = "", series: int = 1, **elements: object) -> Dataset:
        technique = {
            "ScanningSequence": "GR",
            "SequenceVariant": "SP",
            "MRAcquisitionType": "3D",
            "RepetitionTime": 4,
            "EchoTime": 1.8,
            "FlipAngle": 12,
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        }
        return _header(description, SeriesNumber=series, **(technique | elements))

    return make


def _header(
    description: str = "", clock: int | None = None, *, modality: str = "MR", **elements: object
) -> Dataset:
    dataset = Dataset()
    dataset.Modality = modality
    dataset.SeriesDescription = description
    dataset.AcquisitionDate = "20240115"
    if clock is not None:
        dataset.AcquisitionTime = f"10{clock // 60:02d}{clock % 60:02d}"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.fixture
def abdomen() -> MakeAbdomen:
    """Draws a CT image, shape (8, 70, 80), pixels of 4 mm, by the HU of its organs and vessels."""
    return _abdomen


def _abdomen(organs_hu: float, vessels_hu: float, seed: int = 0) -> NDArray[np.float32]:
    """Liver on the patient's right, spleen, vertebrae, aorta and kidneys in fat, with noise."""
    slices = np.full((8, 70, 80), -1000.0)
    slices[:, 5:65, 5:75] = -90
    slices[:, 15:44, 12:36] = organs_hu
    slices[:, 30:50, 60:68] = organs_hu
    slices[:, 44:52, 36:44] = slices[:, 55:58, 36:44] = 210
    slices[:, 52:55, 36:44] = 30  # the spinal canal
    slices[:, 38:43, 41:46] = vessels_hu
    slices[:, 48:56, 24:30] = slices[:, 48:56, 50:56] = vessels_hu
    return (slices + np.random.default_rng(seed).normal(0, 8, slices.shape)).astype(np.float32)
