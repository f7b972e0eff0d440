"""Numbers that headers give twice: what agrees is quiet, what does not is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from liverleaf.ingest.dicom.contradictions import contradictions
from liverleaf.ingest.dicom.frames import read_frames
from liverleaf.ingest.dicom.series import stacks_of
from liverleaf.ingest.reader import inspect, read_study

SAGITTAL = (0, 1, 0, 0, 0, -1)


def told(tmp_path: Any, make: Any, rows: int = 8, columns: int = 8, **elements: Any) -> str:
    pixels = np.arange(6 * rows * columns, dtype=np.uint16).reshape(6, rows, columns)
    elements = {"PixelSpacing": [0.7, 0.7], "SliceThickness": 2.5} | elements
    folder = make.shuffled(make.series(pixels, **elements), tmp_path)
    (stack,), _ = stacks_of([f for path in sorted(folder.iterdir()) for f in read_frames(path)])
    return "; ".join(contradictions(stack))


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"SpacingBetweenSlices": 2.5, "SliceThickness": 5},
        {"SpacingBetweenSlices": 0.5, "SliceThickness": 2},  # the gap alone
        {"each": lambda z: {"SliceLocation": -7 - 2.5 * z}},  # counted downwards
        {"each": lambda z: {"SliceLocation": z}},  # a number, no place
        {"SliceLocation": 0},
        {"each": lambda z: {"SliceLocation": 2.5 * z} if z else {}},
        {"PatientPosition": "HFP", "orientation": (-1, 0, 0, 0, -1, 0)},
        {"PatientPosition": "FFS", "orientation": (-1, 0, 0, 0, 1, 0)},
        {"PatientPosition": "HFS", "orientation": SAGITTAL},
        {"PixelSpacing": [0.7, 0.8], "rows": 9},
        {"origin": (-300, 200, 5000)},
    ],
)
def test_numbers_that_agree_or_tell_nothing_are_quiet(
    tmp_path: Any, make: Any, elements: dict[str, Any]
) -> None:
    assert told(tmp_path, make, **elements) == ""


@pytest.mark.parametrize(
    ("elements", "says"),
    [
        ({"PixelSpacing": [12, 12.012]}, "12 x 12.012 mm and not square"),
        ({"PixelSpacing": [0.7, 4], "rows": 9}, "0.7 x 4 mm and not square"),
        ({"origin": (800, 0, 0)}, "lies 802 mm beside the axis"),
        ({"SpacingBetweenSlices": 5}, "2.5 mm apart by their positions and 5 mm by the header's"),
        (
            {"each": lambda z: {"SliceLocation": 25 * z}},
            "2.5 mm apart by their positions and 25 mm by their slice locations",
        ),
        ({"SliceThickness": 25}, "are 25 mm thick and lie 2.5 mm apart"),
        ({"SliceThickness": 0.2}, "are 0.2 mm thick and lie 2.5 mm apart"),
        ({"PatientPosition": "HFS", "orientation": (1, 0, 0, 0, -1, 0)}, "mirrored, or seen from"),
    ],
)
def test_numbers_that_cannot_both_be_true_are_told(
    tmp_path: Any, make: Any, elements: dict[str, Any], says: str
) -> None:
    assert says in told(tmp_path, make, **elements)


def test_they_are_told_of_the_study_and_by_inspect(tmp_path: Any, make: Any) -> None:
    told(tmp_path, make, PixelSpacing=[0.7, 0.9])
    (report,) = inspect(tmp_path).series
    for warnings in (read_study(tmp_path).warnings, report.warnings):
        assert any("not square" in warning for warning in warnings)
