"""Noise has the spread and the colour asked for; ghosts lie along phase encoding."""

import numpy as np
import pytest
from numpy.typing import NDArray

from liverleaf.phantom.physics import artefacts


def places_mm(*shape: int) -> list[NDArray[np.floating]]:
    return [
        (np.arange(n) - (n - 1) / 2) * spacing
        for n, spacing in zip(shape, (5.0, 2.2, 2.2), strict=True)
    ]


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


def test_ct_noise_is_calmer_in_larger_pixels_and_towards_the_skin() -> None:
    sd = [
        artefacts.ct_noise(
            np.random.default_rng(0), (2, round(360 / mm), round(360 / mm)), (5.0, mm, mm), 12.0
        ).std()
        for mm in (0.7, 1.4, 2.8)
    ]
    assert sd[0] == pytest.approx(12.0, rel=1e-3)
    assert 1.3 < sd[0] / sd[1] < 2.5 and 1.6 < sd[1] / sd[2] < 2.4
    noise = artefacts.ct_noise(np.random.default_rng(0), (8, 256, 256), (5.0, 1.4, 1.4), 12.0)
    assert noise[:, 118:138, 118:138].std() > 1.3 * noise[:, :20, :20].std()


def test_lateral_noise_runs_from_side_to_side() -> None:
    noise = artefacts.ct_noise(
        np.random.default_rng(0), (4, 128, 128), (5.0, 0.7, 0.7), 12.0, lateral=0.8
    )
    along, across = (
        np.corrcoef(noise[..., 2:].ravel(), noise[..., :-2].ravel())[0, 1],
        np.corrcoef(noise[:, 2:].ravel(), noise[:, :-2].ravel())[0, 1],
    )
    assert along > across + 0.2


def test_streaks_are_dark_bands_as_deep_as_asked() -> None:
    rng = np.random.default_rng(1)
    streaks = artefacts.streaks(rng, places_mm(12, 160, 160), 20.0, artefacts.draw_arms(rng))
    rows = streaks.mean((0, 2))
    assert -35 < rows.min() < -6
    assert abs(rows[:20]).max() < 5  # far from the arms' line
    assert streaks.std(2).mean() < streaks.std(1).mean()  # they run along the rows


def test_arms_cast_their_bands_at_the_same_place_in_every_phase() -> None:
    rng = np.random.default_rng(2)
    arms = artefacts.draw_arms(rng)
    first, second = (artefacts.streaks(rng, places_mm(6, 160, 160), 20.0, arms) for _ in range(2))
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.5
    assert np.abs(first - second).max() > 1.0  # the fine streaks are new


def test_shadows_lie_in_the_body_not_on_the_grid() -> None:
    arms = artefacts.draw_arms(np.random.default_rng(6))
    whole = places_mm(6, 160, 160)
    part = [whole[0], whole[1][31:120], whole[2][7:60]]
    shadow, shadow_of_part = (
        artefacts.streaks(np.random.default_rng(1), places, 20.0, arms) for places in (whole, part)
    )
    np.testing.assert_array_equal(shadow_of_part, shadow[:, 31:120, 7:60])
