"""What pixels tell of the phase: drawn abdomens, features by hand, and images on other grids."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from liverleaf.ingest.dicom.frames import read_frames
from liverleaf.ingest.dicom.series import stacks_of
from liverleaf.ingest.phases.images import (
    GRID_MM,
    appearance,
    brightness_features,
    coarse_images,
    combine_with_pixels,
    difference_features,
    soft_tissue,
)
from liverleaf.ingest.phases.reasons import ReasonCode
from liverleaf.study import Modality, Phase

CT = Modality.CT
HU = {  # liver and spleen, vessels and kidneys; textbook values
    Phase.PRE: (55, 42),
    Phase.ARTERIAL: (70, 280),
    Phase.PORTAL: (115, 165),
    Phase.DELAYED: (90, 110),
}
OPEN = np.array([[0.2, 0.2, 0.2, 0.2, 0.2, 0.0]])


def abdomen(phase: Phase, seed: int = 0) -> NDArray[np.float32]:
    """A liver on the patient's right, spleen, aorta and kidneys in muscle, shape (3, 70, 80)."""
    organs, vessels = HU[phase]
    slices = np.full((3, 70, 80), -1000.0)
    slices[:, 5:65, 5:75] = 55
    slices[:, 15:50, 14:40] = organs
    slices[:, 30:50, 58:66] = organs
    slices[:, 45:51, 44:50] = vessels
    slices[:, 52:58, 24:30] = slices[:, 52:58, 54:60] = vessels
    return (slices + np.random.default_rng(seed).normal(0, 8, slices.shape)).astype(np.float32)


def test_a_drawn_ct_study_is_told_whatever_the_order() -> None:
    for order in ([0, 1, 2, 3], [2, 0, 3, 1], [1, 2]):
        phases = [Phase(index) for index in order]
        tissue = soft_tissue(np.stack([abdomen(phase, phase) for phase in phases]), CT)
        assert tissue is not None
        rows = combine_with_pixels(np.repeat(OPEN, len(phases), axis=0), *tissue, CT)
        assert rows.argmax(axis=1).tolist() == order
        np.testing.assert_allclose(rows.sum(axis=1), 1)


def test_two_reconstructions_of_one_acquisition_are_one_phase() -> None:
    images = np.stack(
        [abdomen(Phase.PORTAL, 1), abdomen(Phase.PORTAL, 2), abdomen(Phase.ARTERIAL, 3)]
    )
    tissue = soft_tissue(images, CT)
    assert tissue is not None
    rows = combine_with_pixels(np.repeat(OPEN, 3, axis=0), *tissue, CT)
    assert rows.argmax(axis=1).tolist() == [Phase.PORTAL, Phase.PORTAL, Phase.ARTERIAL]


def test_headers_count_and_what_is_no_phase_stays_so() -> None:
    tissue = soft_tissue(abdomen(Phase.PORTAL)[None], CT)
    assert tissue is not None
    sure = np.array([[0.01, 0.01, 0.01, 0.96, 0.01, 0.0]])
    assert combine_with_pixels(sure, *tissue, CT).argmax() == Phase.DELAYED
    half = np.array([[0.1, 0.1, 0.1, 0.1, 0.1, 0.5]])
    assert combine_with_pixels(half, *tissue, CT)[0, -1] == pytest.approx(0.5)


def test_features_by_hand() -> None:
    values = np.array([np.linspace(0, 1, 201)])
    right = np.arange(201) < 101
    np.testing.assert_allclose(brightness_features(values, right, CT)[0], [0.25])
    np.testing.assert_allclose(
        brightness_features(values, right, Modality.MR)[0],
        [-0.45, -0.25, 0.25, 0.4, 0.47, 0.495, -0.25],
    )
    np.testing.assert_allclose(
        difference_features(values[0], np.zeros(201)), [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98]
    )
    (seen,) = appearance(values, right, CT)
    assert seen.code is ReasonCode.CT_PIXELS
    assert dict(seen.values) == {"bright_hu": pytest.approx(97), "right_hu": pytest.approx(25)}
    (seen,) = appearance(values, right, Modality.MR)
    assert dict(seen.values) == {"ratio": pytest.approx(np.exp(0.97 - 0.25))}


def test_without_a_body_nothing_is_claimed() -> None:
    assert soft_tissue(np.full((2, 3, 70, 80), -1000, np.float32), CT) is None
    assert soft_tissue(np.zeros((2, 3, 70, 80), np.float32), Modality.MR) is None


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
