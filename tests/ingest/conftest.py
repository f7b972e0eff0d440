"""Tiny DICOM series made on purpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

INSTANCE = count(100_000)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def ct_slice(pixels: NDArray[np.integer], position: Sequence[float], orientation: Sequence[float] = AXIAL, **elements: Any) -> Dataset:
    """One CT (or, by `Modality`, MR) slice; `elements` replace defaults, None removes one."""
    modality = elements.get("Modality", "CT")
    values: dict[str, Any] = {
        "SOPClassUID": MRImageStorage if modality == "MR" else CTImageStorage,
        "SOPInstanceUID": f"1.2.3.4.{next(INSTANCE)}",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "FrameOfReferenceUID": "1.2.3.5",
        "Modality": modality,
        "PatientName": "Mustermann^Erika",
        "PatientID": "4711",
        "StudyDate": "20240115",
        "AcquisitionDate": "20240115",
        "AcquisitionTime": "100000",
        "SeriesNumber": 2,
        "SeriesDescription": "portal venous",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "PixelSpacing": [0.8, 0.7],
        "SliceThickness": 5,
        "ImagePositionPatient": [round(float(value), 6) for value in position],
        "ImageOrientationPatient": [round(float(value), 9) for value in orientation],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1 if pixels.dtype == np.int16 else 0,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "PixelData": pixels.tobytes(),
    }
    dataset = Dataset()
    for keyword, value in (values | elements).items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID or "1.2.3.4.0"
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def ct_series(
    stored: NDArray[np.integer],
    *,
    origin: Sequence[float] = (-10.0, 20.0, -30.0),
    step_mm: float = 2.5,
    orientation: Sequence[float] = AXIAL,
    each: Callable[[int], Mapping[str, Any]] | None = None,
    **elements: Any,
) -> list[Dataset]:
    """Slices along the normal of `orientation`; `each` gives a slice elements of its own."""
    normal = np.cross(orientation[:3], orientation[3:])
    return [
        ct_slice(plane, np.asarray(origin) + index * step_mm * normal, orientation, **(elements | dict(each(index) if each else {})))
        for index, plane in enumerate(stored)
    ]


def save_shuffled(datasets: Sequence[Dataset], folder: Path, seed: int = 0) -> Path:
    """File names and instance numbers that tell nothing about the order."""
    order = np.random.default_rng(seed).permutation(len(datasets))
    for name, index in enumerate(order):
        datasets[index].InstanceNumber = int(name) + 1
        save(datasets[index], folder / f"IM{name:04d}")
    return folder


class Make:
    """The functions above, for tests to call."""

    slice = staticmethod(ct_slice)
    series = staticmethod(ct_series)
    save = staticmethod(save)
    shuffled = staticmethod(save_shuffled)


@pytest.fixture
def make() -> type[Make]:
    return Make


@pytest.fixture
def stored() -> NDArray[np.uint16]:
    """Stored values of 6 slices of 8 x 7, all different."""
    return np.random.default_rng(1).permutation(6 * 8 * 7).reshape(6, 8, 7).astype(np.uint16) + 1000
