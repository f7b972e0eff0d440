"""Files of a collection: what is damaged is a warning or refused, no label is no mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from liverleaf.ingest.collections.images import read_labels, read_series, study_of
from liverleaf.study import InputError, Modality, Phase


def test_a_damaged_phase_is_left_out_and_said(tmp_path: Path, nifti, image: NDArray) -> None:
    good, bad = nifti(tmp_path / "a.nii.gz", image), tmp_path / "b.nii.gz"
    bad.write_bytes(b"no image")
    study = study_of(
        Modality.MR,
        {Phase.ARTERIAL: bad, Phase.PORTAL: good},
        other={"t2w": tmp_path / "none.nii.gz"},
    )
    assert (list(study.phases), dict(study.other)) == ([Phase.PORTAL], {})
    assert study.warnings[0].startswith("arterial phase: b.nii.gz cannot be read as NIfTI")
    assert study.warnings[1] == "t2w: its file is missing"
    with pytest.raises(
        InputError, match="none of its contrast phases can be read: arterial phase: b"
    ):
        study_of(Modality.MR, {Phase.ARTERIAL: bad})


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.nii.gz", None, "its mask missing.nii.gz is missing"),
        ("bad.nrrd", b"NRRD0004", "bad.nrrd cannot be read as NRRD"),
        ("bad.nii", b"x", "bad.nii cannot be read as NIfTI"),
    ],
)
def test_a_mask_that_cannot_be_read_is_refused(
    name: str, content: bytes | None, reason: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=reason):
        read_labels(tmp_path / name)


@pytest.mark.parametrize("shift", [-1, 255])
def test_intensities_are_no_labels(shift: int, tmp_path: Path, nifti, liver: NDArray) -> None:
    with pytest.raises(InputError, match="is no label map"):
        read_labels(nifti(tmp_path / "mask.nii.gz", liver.astype(int) + shift))


def test_two_series_in_one_folder_are_refused(tmp_path: Path, make, stored: NDArray) -> None:
    slices = [
        *make.series(stored, SeriesNumber=1, SeriesInstanceUID="1.1"),
        *make.series(stored, SeriesNumber=2, SeriesInstanceUID="1.2"),
    ]
    files = [make.save(dataset, tmp_path / f"{index}.dcm") for index, dataset in enumerate(slices)]
    with pytest.raises(InputError, match="12 files hold 2 stacks of slices"):
        read_series(files)
    assert np.array_equal(read_series(files[:6])[0].array, stored - np.float32(1024))
