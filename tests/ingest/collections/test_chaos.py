"""CHAOS: one PNG per slice in the order of files; donors are healthy, others not outlined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from liverleaf.ingest.collections import cases_of
from liverleaf.study import InputError, Modality, Phase
from liverleaf.terminology import Organ


def pictures(folder: Path, grey_ZYX: NDArray) -> None:
    folder.mkdir(parents=True)
    for index, plane in enumerate(grey_ZYX):
        Image.fromarray(plane.astype(np.uint8)).save(folder / f"liver_GT_{index:03d}.png")


def series(make, folder: Path, stored: NDArray, modality: str, *, downwards: bool = False) -> None:
    """Slices in files whose names run upwards, or downwards through the body."""
    datasets = make.series(
        stored[::-1] if downwards else stored, Modality=modality, SeriesDescription="t1 dual"
    )
    for index, dataset in enumerate(reversed(datasets) if downwards else datasets):
        make.save(dataset, folder / f"i{index:04d},0000b.dcm")


@pytest.mark.parametrize("downwards", [False, True])
def test_ct_of_donors(downwards: bool, tmp_path: Path, make, stored: NDArray) -> None:
    series(make, tmp_path / "Train_Sets/CT/5/DICOM_anon", stored, "CT", downwards=downwards)
    grey = np.zeros(stored.shape)
    grey[1, 2:4, 3] = 255
    pictures(tmp_path / "Train_Sets/CT/5/Ground", grey)
    (tmp_path / "Test_Sets/CT/6/DICOM_anon").mkdir(parents=True)
    test, train = cases_of("chaos", tmp_path)
    annotated = train.read()
    assert (train.subject_id, list(annotated.study.phases), annotated.study.modality) == (
        "chaos-ct-5",
        [Phase.PORTAL],
        Modality.CT,
    )
    assert annotated.truth.diagnosis == "normal"
    assert not annotated.truth.lesions.array.any()
    places = np.argwhere(annotated.truth.organs.array == Organ.LIVER)
    assert places.tolist() == [[4 if downwards else 1, 2, 3], [4 if downwards else 1, 3, 3]]
    assert "test set" in test.refused


def test_mr_has_organs_and_no_truth(tmp_path: Path, make, stored: NDArray) -> None:
    folder = tmp_path / "Train_Sets/MR/1"
    for name in ("T1DUAL/DICOM_anon/InPhase", "T1DUAL/DICOM_anon/OutPhase"):
        series(make, folder / name, stored, "MR")
    grey = np.zeros(stored.shape)
    grey[0, 0, 0:4] = 63, 126, 189, 252
    pictures(folder / "T1DUAL/Ground", grey)
    annotated = next(cases_of("chaos", tmp_path)).read()
    assert (list(annotated.study.phases), list(annotated.study.other)) == (
        [Phase.PRE],
        ["t1_out_phase"],
    )
    assert annotated.truth is None
    assert annotated.organs.array[0, 0, :5].tolist() == [
        Organ.LIVER,
        Organ.KIDNEY,
        Organ.KIDNEY,
        Organ.SPLEEN,
        0,
    ]
    assert "t2_spir: there is no DICOM in DICOM_anon" in annotated.study.warnings


def test_another_number_of_masks_is_refused(tmp_path: Path, make, stored: NDArray) -> None:
    series(make, tmp_path / "CT/5/DICOM_anon", stored, "CT")
    pictures(tmp_path / "CT/5/Ground", np.zeros((5, 8, 7)))
    with pytest.raises(InputError, match="5 mask slices do not belong to 6 images"):
        next(cases_of("chaos", tmp_path)).read()
