"""Native and enhanced CT, drawn and real."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from liverleaf.ingest.phases.ct_enhancement import shows_contrast

DATA = Path(__file__).parents[3] / "../shared/data/totalsegmentator-reference"


def abdomen(vessels_hu: float) -> np.ndarray:
    """Air around a body of 50 HU with a fifth of it at `vessels_hu`."""
    slices = np.full((3, 60, 60), -1000, np.float32)
    slices[:, 10:50, 10:50] = 50
    slices[:, 20:36, 20:40] = vessels_hu
    return slices + np.random.default_rng(0).normal(0, 10, slices.shape).astype(np.float32)


@pytest.mark.parametrize(
    ("vessels_hu", "expected"), [(50, False), (65, False), (150, True), (250, True)]
)
def test_drawn_abdomen(vessels_hu, expected) -> None:
    assert shows_contrast(abdomen(vessels_hu), 2.0) is expected


def test_without_soft_tissue_nothing_is_claimed() -> None:
    assert shows_contrast(np.full((2, 20, 20), -1000, np.float32), 1.0) is None
    assert shows_contrast(np.zeros((0, 20, 20), np.float32), 1.0) is None


@pytest.mark.parametrize(
    ("file", "expected"), [("example_ct.nii.gz", False), ("aorta_ct/ct_cropped.nii.gz", True)]
)
def test_real_abdomen(file, expected) -> None:
    if not (DATA / file).exists():
        pytest.skip("../shared/data is not on this machine")
    image = nib.load(DATA / file)
    slices = np.asarray(image.dataobj, np.float32).transpose(2, 1, 0)[::8]
    assert shows_contrast(slices, float(image.header.get_zooms()[0])) is expected
