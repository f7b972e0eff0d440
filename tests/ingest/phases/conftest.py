"""Headers of series made up by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydicom import Dataset

MakeHeader = Callable[..., Dataset]


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
