"""The scale of CT slices: by their headers, by a table in these, or by their pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from liverleaf.ingest.dicom.frames import read_frames
from liverleaf.ingest.dicom.scaling import on_one_scale
from liverleaf.ingest.dicom.series import Stack, stacks_of
from liverleaf.ingest.reader import inspect, read_study
from liverleaf.study import InputError

SQUARE: dict[str, Any] = {"PixelSpacing": [0.7, 0.7]}
NO_RESCALING: dict[str, Any] = {"RescaleSlope": None, "RescaleIntercept": None}


def body() -> NDArray[np.float64]:
    """Six slices of a disc of soft tissue with a rim of fat, in air; whole HU."""
    z, y, x = np.indices((6, 24, 24)) - 11.5
    radius = np.hypot(y, x)
    hu = np.where(radius < 8, 60 + np.rint(z + x), np.where(radius < 10, -100, -1000))
    return hu.astype(np.float64)


def read(folder: Path) -> tuple[NDArray[np.float32], str]:
    study = read_study(folder)
    (image,) = study.phases.values()
    return image.volume.array, "; ".join(study.warnings)


def stack(folder: Path) -> Stack:
    (found,), _ = stacks_of([frame for file in folder.iterdir() for frame in read_frames(file)])
    return found


@pytest.mark.parametrize(
    ("stored", "elements", "said"),
    [
        (body(), NO_RESCALING, "names no rescaling; by their range its stored values are HU"),
        (
            body() + 1024,
            NO_RESCALING,
            "names no rescaling and tissue near 1024, so 1024 was subtracted to make HU",
        ),
        (
            np.where(body() < -900, -2000, body() + 1024),
            NO_RESCALING | {"PixelPaddingValue": -2000},
            "names no rescaling and tissue near 1024, so 1024 was subtracted to make HU",
        ),
        (
            body() + 1024,
            {"RescaleIntercept": 0},
            "its header's rescaling leaves tissue near 1024, so 1024 was subtracted to make HU",
        ),
    ],
    ids=["stored HU", "stored HU + 1024", "padded", "an intercept that was emptied"],
)
def test_pixels_tell_the_scale_that_headers_lack(
    tmp_path: Path, make: Any, stored: NDArray[np.float64], elements: Any, said: str
) -> None:
    folder = make.shuffled(make.series(stored.astype(np.int16), **elements), tmp_path)
    array, told = read(folder)
    padded = "PixelPaddingValue" in elements
    np.testing.assert_array_equal(array, np.where(padded & (body() < -900), -1024, body()))
    assert said in told
    assert told.count("subtracted") == ("subtracted" in said)
    (report,) = inspect(folder)
    assert any(said in warning for warning in report.warnings)


@pytest.mark.parametrize("intercept", [0, -1024])
def test_a_scale_that_is_right_is_left_alone(tmp_path: Path, make: Any, intercept: int) -> None:
    stored = (body() - intercept).astype(np.int16)
    folder = make.shuffled(make.series(stored, RescaleIntercept=intercept, **SQUARE), tmp_path)
    array, told = read(folder)
    np.testing.assert_array_equal(array, body())
    assert told == ""


def test_a_scale_that_nothing_tells_is_refused(tmp_path: Path, make: Any) -> None:
    stored = np.rint((np.clip(body(), -160, 240) + 160) / 400 * 255).astype(np.uint16)
    folder = make.shuffled(make.series(stored, **NO_RESCALING), tmp_path)
    with pytest.raises(
        InputError,
        match=(
            r"series 2: the header names no rescaling: nothing tells how to make Hounsfield units"
            r" \(HU\) of its values, 0 to \d+; export it again in HU"
        ),
    ):
        read_study(folder)


def test_mr_without_rescaling_is_taken_as_stored_and_nothing_is_said(
    tmp_path: Path, make: Any
) -> None:
    stored = (body() + 1024).astype(np.int16)
    folder = make.shuffled(make.series(stored, Modality="MR", **SQUARE, **NO_RESCALING), tmp_path)
    array, told = read(folder)
    np.testing.assert_array_equal(array, stored)
    assert told == ""


def test_values_without_soft_tissue_are_told_and_those_of_a_body_are_not(
    tmp_path: Path, make: Any
) -> None:
    series = make.series((body() + 4000).astype(np.int16), RescaleIntercept=0)
    assert "hardly any of its values, 3000 to 40" in read(make.shuffled(series, tmp_path))[1]


def test_scaling_twice_is_scaling_once(tmp_path: Path, make: Any) -> None:
    series = make.series((body() + 1024).astype(np.int16), **NO_RESCALING)
    once = on_one_scale(stack(make.shuffled(series, tmp_path)))
    twice = on_one_scale(once)
    assert {(frame.slope, frame.intercept) for frame in twice.frames} == {(1, -1024)}
    assert len(once.warnings) == 1
    assert twice.warnings == once.warnings


def lookup(first: int, entries: NDArray[np.integer], unit: str = "HU") -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, 16])
    item.ModalityLUTType = unit
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_a_modality_lut_takes_the_place_of_rescaling(
    tmp_path: Path, make: Any, syntax: str, signed: bool
) -> None:
    """Squared and shifted, so that no slope and intercept could do the same."""
    first = -30 if signed else 100
    stored = (first + (np.arange(6 * 8 * 7) % 50)).reshape(6, 8, 7)
    stored = stored.astype(np.int16 if signed else np.uint16)
    entries = np.arange(40) ** 2 - 800
    series = make.series(
        stored,
        ModalityLUTSequence=[lookup(first, entries)],
        RescaleSlope=None,
        RescaleIntercept=None,
    )
    if syntax == "implicit":
        for dataset in series:
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    array, told = read(make.shuffled(series, tmp_path))
    wanted = entries[np.clip(stored.astype(int) - first, 0, 39)]
    np.testing.assert_array_equal(array, wanted)
    assert told == ""


def test_a_modality_lut_in_big_endian(tmp_path: Path, make: Any) -> None:
    entries = np.arange(40) * 20 - 400
    stored = (np.arange(6 * 8 * 7) % 40).reshape(6, 8, 7).astype(np.uint16)
    for index, dataset in enumerate(make.series(stored, **NO_RESCALING)):
        dataset.ModalityLUTSequence = [lookup(0, entries.astype(np.int16).byteswap())]
        dataset.PixelData = stored[index].byteswap().tobytes()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        pydicom.dcmwrite(
            tmp_path / str(index),
            dataset,
            little_endian=False,
            implicit_vr=False,
            enforce_file_format=True,
        )
    np.testing.assert_array_equal(read(tmp_path)[0], entries[stored])


def test_a_damaged_modality_lut_leaves_no_slice(tmp_path: Path, make: Any) -> None:
    item = lookup(0, np.arange(40))
    item.LUTData = item.LUTData[:10]
    stored = np.full((6, 8, 7), 3, np.uint16)
    series = make.series(stored, ModalityLUTSequence=[item], **NO_RESCALING)
    with pytest.raises(InputError, match="none of its 6 slices can be decoded"):
        read_study(make.shuffled(series, tmp_path))


def test_slices_scaled_each_in_its_own_way_are_told_only_where_they_do_not_match(
    tmp_path: Path, make: Any
) -> None:
    def each(z: int) -> dict[str, Any]:
        return {"RescaleSlope": 1 + z % 2, "RescaleIntercept": -1024 - 10 * z}

    right = np.stack(
        [(plane + 1024 + 10 * z) // (1 + z % 2) for z, plane in enumerate(body())]
    ).astype(np.int16)
    assert read(make.shuffled(make.series(right, each=each, **SQUARE), tmp_path / "right"))[1] == ""
    wrong = make.series((body() + 1024).astype(np.int16), each=each)
    assert (
        "and these match better without that" in read(make.shuffled(wrong, tmp_path / "wrong"))[1]
    )
