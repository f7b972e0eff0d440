"""Noise has the spread and the colour asked for; ghosts keep the energy in the phase-encoding direction."""

import numpy as np
import pytest

from hepatica.phantom import artefacts


def test_ct_noise_has_the_spread_asked_for_and_is_correlated() -> None:
    noise = artefacts.ct_noise(np.random.default_rng(0), (4, 128, 128), (5.0, 0.7, 0.7), 12.0)
    assert noise.std() == pytest.approx(12.0, rel=1e-3)
    neighbours = np.corrcoef(noise[..., 1:].ravel(), noise[..., :-1].ravel())[0, 1]
    assert 0.3 < neighbours < 0.95


def test_rician_noise_in_air_and_in_signal() -> None:
    rng = np.random.default_rng(0)
    air = artefacts.rician(rng, np.zeros((4, 100, 100), np.float32), 5.0)
    assert air.mean() == pytest.approx(5.0 * np.sqrt(np.pi / 2), rel=0.01)  # Rayleigh
    bright = artefacts.rician(rng, np.full((4, 100, 100), 500, np.float32), 5.0)
    assert bright.mean() == pytest.approx(500, rel=0.001)
    assert bright.std() == pytest.approx(5.0, rel=0.05)


def test_ghosts_lie_along_rows_only() -> None:
    image = np.zeros((1, 64, 64), np.float32)
    image[0, 30:34, 20:24] = 100
    ghosted = artefacts.ghosted(image, 0.1, np.random.default_rng(0))
    assert ghosted[0, :, :20].max() == ghosted[0, :, 24:].max() == 0
    assert np.count_nonzero(ghosted[0, :, 21]) > 4
    assert ghosted.max() == pytest.approx(100, rel=0.11)
