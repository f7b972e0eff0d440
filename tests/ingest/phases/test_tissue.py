"""Coarse images of a study: series on other grids, soft tissue, and what is one acquisition."""

from __future__ import annotations

import numpy as np

from liverleaf.ingest.dicom.frames import read_frames
from liverleaf.ingest.dicom.series import stacks_of
from liverleaf.ingest.phases.tissue import (
    GRID_MM,
    Tissue,
    coarse_images,
    first_of_acquisition,
    soft_tissue,
)
from liverleaf.study import Modality

CT = Modality.CT


def test_without_a_body_nothing_is_claimed() -> None:
    assert soft_tissue(np.full((2, 3, 70, 80), -1000, np.float32), CT) is None
    assert soft_tissue(np.zeros((2, 3, 70, 80), np.float32), Modality.MR) is None


def test_ct_that_is_not_in_hounsfield_units_is_not_measured(abdomen) -> None:
    image = abdomen(100, 150)[None]
    assert soft_tissue(image, CT) is not None
    assert soft_tissue(image + 1024, CT) is None


def test_reconstructions_of_one_acquisition_are_told_by_the_spread_of_their_difference() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(5, 0.2, 1000)
    values = np.stack([first, first + 0.3 + rng.normal(0, 0.005, 1000), rng.normal(5, 0.2, 1000)])
    assert first_of_acquisition(Tissue(values, np.ones(1000, bool), None)) == [0, 0, 2]


def test_the_median_of_the_right_half_is_of_all_where_there_is_none() -> None:
    values = np.array([[1.0, 2.0, 6.0]])
    halves = (np.array([True, False, False]), np.zeros(3, bool))
    assert [Tissue(values, half, None).right_median_N.tolist() for half in halves] == [[1], [2]]


def test_series_on_different_grids_are_read_at_the_same_places(tmp_path, make) -> None:
    """A ramp over x, y and z, read alike from one grid and from a flipped, finer one."""
    frames = []
    for name, orientation, origin, spacing, size in (
        ("a", (1, 0, 0, 0, 1, 0), (-100.0, -90.0), 2.0, 100),
        ("b", (-1, 0, 0, 0, 1, 0), (103.0, -91.0), 1.0, 200),
    ):
        along = np.arange(size) * spacing
        x, y = origin[0] + orientation[0] * along, origin[1] + along
        for z in np.arange(-40, 50, 10):
            pixels = (1024 + x[None, :] + 2 * y[:, None] + z).astype(np.int16)
            header = make.slice(
                pixels,
                (*origin, z),
                orientation,
                PixelSpacing=[spacing] * 2,
                SeriesInstanceUID=f"1.{ord(name)}",
            )
            frames += read_frames(make.save(header, tmp_path / f"{name}{z}"))
    stacks, _ = stacks_of(frames)
    images = coarse_images(stacks)
    assert images is not None
    assert images.shape[0] == 2
    inner = images[:, :, 2:-2, 2:-2]
    assert np.abs(inner[0] - inner[1]).max() <= 1.5 * GRID_MM
    np.testing.assert_allclose(np.diff(inner[0], axis=-1).mean(), GRID_MM, atol=0.1)
    np.testing.assert_allclose(np.diff(inner[0], axis=-2).mean(), 2 * GRID_MM, atol=0.2)


def test_coronal_and_far_series_are_not_compared(tmp_path, make, stored) -> None:
    frames = [
        read_frames(make.save(each, tmp_path / f"{n}"))[0]
        for n, each in enumerate(make.series(stored))
    ]
    stacks, _ = stacks_of(frames)
    assert coarse_images(stacks) is None  # 12 mm of body
