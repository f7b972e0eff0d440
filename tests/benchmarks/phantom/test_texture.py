"""Noise of known power, edges of known blur and small phantoms into the comparison of texture."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from liverleaf.benchmarks.phantom import texture, texture_comparison
from liverleaf.benchmarks.phantom.texture import (
    MEASURES,
    Image,
    detrended,
    edge_spread,
    homogeneous_patches,
    noise_power,
    radial,
)
from liverleaf.benchmarks.phantom.texture_comparison import body_patches
from liverleaf.ingest.reader import read_study
from liverleaf.study import InputError, Modality, Phase, PhaseImage, Study

REAL = Path(__file__).parents[3] / "../shared/data/tcga-lihc-hcc-portal-ct/dcm"
PIXEL_MM = (0.8, 0.8)


def white(sd: float, patches: int = 400) -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(0, sd, (patches, 32, 32))


def block(sd: float = 10.0, *, hu: float = 110.0, blur_mm: float = 0.0, seed: int = 1) -> Image:
    """Three slices of a square of tissue in fat, with white noise."""
    body = np.full((3, 160, 160), -100.0)
    body[:, 20:140, 20:140] = hu
    body = gaussian_filter(body, (0, blur_mm / 0.8, blur_mm / 0.8))
    noisy = body + np.random.default_rng(seed).normal(0, sd, body.shape)
    return Image(noisy.astype(np.float32), (5.0, *PIXEL_MM))


def test_white_noise_has_flat_power_of_variance_times_pixel_area() -> None:
    frequency, nps = radial(noise_power(white(5.0), PIXEL_MM), PIXEL_MM)
    assert nps[1:] == pytest.approx(np.full(16, 25 * 0.64), rel=0.05)  # 5 HU, 0.64 mm^2
    assert frequency[[0, 1, -1]] == pytest.approx([0, 1 / 25.6, 1 / 1.6])


@pytest.mark.parametrize("pixel_mm", [(0.7, 0.7), (0.5, 1.0)])
def test_noise_power_integrates_to_the_variance(pixel_mm: tuple[float, float]) -> None:
    noise = gaussian_filter(white(8.0), (0, 1, 1))
    area = 1 / (32 * pixel_mm[0] * 32 * pixel_mm[1])
    assert noise_power(noise, pixel_mm).sum() * area == pytest.approx((noise**2).mean())


def test_a_wave_peaks_at_its_frequency() -> None:
    """4 periods over 32 pixels of 0.8 mm: 0.15625 /mm, and no power elsewhere."""
    wave = np.broadcast_to(np.sin(2 * np.pi * 4 * np.arange(32) / 32), (1, 32, 32))
    frequency, nps = radial(noise_power(wave, PIXEL_MM), PIXEL_MM)
    assert frequency[nps.argmax()] == pytest.approx(0.15625)
    assert np.delete(nps, nps.argmax()) == pytest.approx(0, abs=1e-9)


def test_smoothed_noise_follows_its_filter() -> None:
    """Power falls with exp(-4 pi^2 s^2 f^2); the autocorrelation is 1/e at 2 s."""
    sd_px = 1.5
    noise = gaussian_filter(white(10.0), (0, sd_px, sd_px), mode="wrap")
    power = noise_power(noise, PIXEL_MM)
    frequency, nps = radial(power, PIXEL_MM)
    expected = 100 * 0.64 * np.exp(-((2 * np.pi * sd_px * 0.8 * frequency) ** 2))
    assert nps[1:6] == pytest.approx(expected[1:6], rel=0.15)
    assert texture.correlation_length(power, PIXEL_MM) == pytest.approx(2 * sd_px * 0.8, rel=0.05)


def test_detrending_removes_any_quadratic_and_little_else() -> None:
    y, x = np.mgrid[:32, :32].astype(float)
    assert np.abs(detrended(3 + 2 * x - y + 0.1 * x * y + 0.2 * y**2)).max() < 1e-9
    assert detrended(white(5.0)).var() == pytest.approx(25 * (1 - 6 / 1024), rel=0.02)


def test_homogeneous_patches_are_disjoint_and_inside_even_tissue() -> None:
    corners = homogeneous_patches(block())
    assert len(corners) == 3 * 9
    assert (corners[:, 1:] >= 20).all() and (corners[:, 1:] + 32 <= 140).all()
    for a in corners:
        others = corners[(corners[:, 0] == a[0]) & (corners != a).any(axis=1)]
        assert (np.abs(others[:, 1:] - a[1:]) >= 32).any(axis=1).all()


@pytest.mark.parametrize("hu", [0.0, 300.0])
def test_tissue_unlike_liver_has_no_patches(hu: float) -> None:
    image = block(hu=hu)
    assert len(homogeneous_patches(image)) == 0
    with pytest.raises(InputError, match="homogeneous"):
        texture.texture(image)


def test_body_patches_leave_air_out() -> None:
    air = block()
    air.hu[:, :, :60] = -1000
    assert (body_patches(air, [1])[:, 2] >= 50).all()
    assert set(body_patches(air, [1])[:, 0]) == {1}


def test_texture_of_white_noise() -> None:
    found = texture.texture(block(10.0))
    assert set(found.measures) == set(MEASURES)
    assert found.measures["sd_hu"] == pytest.approx(10, rel=0.05)
    for name in ("direction", "slice_correlation", "skewness", "kurtosis"):
        assert found.measures[name] == pytest.approx(0, abs=0.15), name


def test_noise_that_repeats_in_every_slice_is_correlated() -> None:
    image = block()
    image.hu[:] = image.hu[0]
    assert texture.texture(image).measures["slice_correlation"] == pytest.approx(1)


@pytest.mark.parametrize("blur_mm", [0.8, 1.2])
def test_edge_spread_is_that_of_the_blur(blur_mm: float) -> None:
    assert edge_spread(block(3.0, blur_mm=blur_mm), [0, 1, 2]) == pytest.approx(blur_mm, abs=0.15)


def test_without_borders_there_is_no_edge_spread() -> None:
    assert np.isnan(
        edge_spread(Image(np.full((1, 64, 64), 100, np.float32), (5.0, *PIXEL_MM)), [0])
    )


def test_features_have_their_names() -> None:
    patch = block().hu[0, 30:94, 30:94]
    assert texture_comparison.body_features(patch, PIXEL_MM).shape == (
        len(texture_comparison.BODY_FEATURES),
    )
    assert texture_comparison.liver_features(patch[:32, :32], PIXEL_MM).shape == (
        len(texture_comparison.LIVER_FEATURES),
    )


def images(real_sd: float) -> list[texture_comparison.Patches]:
    """Features of seven images, the first drawn with another mean."""
    rng = np.random.default_rng(3)
    return [
        texture_comparison.Patches(
            rng.normal(real_sd * (i == 0), 1, (40, 4)), np.repeat(np.arange(10), 4)
        )
        for i in range(7)
    ]


def test_the_classifier_separates_what_differs_and_not_what_is_the_same() -> None:
    apart, same = (
        texture_comparison._separate(images(shift), "abcd", np.random.default_rng(0))
        for shift in (4.0, 0.0)
    )
    assert apart["auc"]["mean"] > 0.98 > 0.65 > same["auc"]["mean"]
    assert same["auc"]["low"] < 0.5 < same["auc"]["high"] + 0.1
    assert 0.3 < apart["among_phantoms"]["p50"] < 0.7
    assert apart["features"][0]["percentile"] == 100


@pytest.mark.parametrize(("real", "subjects"), [([REAL], 5), ([], 20)])
def test_a_comparison_needs_subjects_and_images(real: list[Path], subjects: int) -> None:
    with pytest.raises(ValueError, match="subjects"):
        texture_comparison.compare(real, subjects=subjects, seed=0)


def study(number: int, *, sd: float = 10.0) -> Study:
    image = block(sd, seed=number)
    volume = hd.Volume(image.hu, np.diag([*image.spacing_mm, 1.0])[[2, 1, 0, 3]], "PATIENT")
    return Study(Modality.CT, {Phase.PORTAL: PhaseImage(volume)})


def test_a_comparison_says_where_the_real_image_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texture_comparison, "read_study", lambda _: study(0, sd=14))
    monkeypatch.setattr(
        texture_comparison,
        "_phantom",
        lambda *_: [(study(number, sd=9 + number / 10), None) for number in range(1, 9)],
    )
    steps: list[tuple[str, int, int]] = []
    found = texture_comparison.compare(
        [Path("a/scan")], subjects=7, seed=0, progress=lambda *step: steps.append(step)
    )
    (image,) = found.record["images"]
    assert image["measures"]["sd_hu"]["real"] == pytest.approx(14, abs=0.5)
    assert image["measures"]["sd_hu"]["percentile"] == 100
    assert image["classifier"]["liver"]["auc"]["mean"] > 0.95
    assert image["classifier"]["liver"]["features"][0]["feature"] == "SD"
    assert [
        len(image["nps_hu2_mm2"]),
        len(image["nps_hu2_mm2"][0]),
        len(image["frequency_per_mm"]),
    ] == [8, 17, 17]
    assert "NaN" not in json.dumps(found.record)
    assert "| noise SD (HU) |" in texture_comparison.markdown(
        found.record
    ) and "a/scan" in texture_comparison.markdown(found.record)
    assert len(found.figure.axes) == 2 and len(steps) == 7


def test_phantoms_without_liver_do_not_go_on_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texture_comparison, "read_study", lambda _: study(0))
    empty = Study(
        Modality.CT,
        {Phase.PORTAL: PhaseImage(study(0).grid.with_array(np.zeros((3, 160, 160), np.float32)))},
    )
    monkeypatch.setattr(texture_comparison, "_phantom", lambda *_: [(empty, None)] * 99)
    with pytest.raises(InputError, match="too few phantom subjects"):
        texture_comparison.compare([Path("a")], subjects=6, seed=0)


def test_the_phantom_takes_the_geometry_of_the_image() -> None:
    simulated, _ = texture_comparison._phantom((2, 48, 40), (8.0, 6.0, 7.0), 3)[0]
    assert list(simulated.phases) == [Phase.PORTAL]
    assert simulated.grid.spatial_shape == (2, 48, 40) and simulated.grid.spacing == pytest.approx(
        (8.0, 6.0, 7.0)
    )


def test_a_real_scan_is_measured() -> None:
    if not REAL.exists():
        pytest.skip("../shared/data is not on this machine")
    grid = read_study(REAL).grid
    found = texture.texture(Image(grid.array[48:51], (8.0, 0.6953125, 0.6953125)))
    assert found.patches > 40
    assert found.measures["sd_hu"] == pytest.approx(14, abs=2)
    assert 0.6 < found.measures["edge_sd_mm"] < 1.2
    assert found.measures["direction"] < -0.5
