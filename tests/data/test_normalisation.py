"""Livers of known intensity, with tumour in them, on scales of CT and MR."""

import numpy as np
import pytest

from liverleaf.data.normalisation import (
    CONTRAST_LIMIT,
    TYPICAL_LIVER_HU,
    LiverNormalisation,
    first_guess,
    liver_level,
)
from liverleaf.study import Modality, Phase

BOTH = pytest.mark.parametrize("modality", list(Modality))


def mixture(
    rng: np.random.Generator, liver: float, tumour: float, share: float, noise: float
) -> np.ndarray:
    """Values under a liver mask of which `share` is tumour."""
    values = np.where(rng.random(20_000) < share, tumour, liver)
    return (values + noise * rng.standard_normal(values.size)).astype(np.float32)


@pytest.mark.parametrize(
    ("modality", "liver", "tumour", "noise"),
    [("CT", 110.0, 60.0, 12.0), ("CT", 60.0, 10.0, 8.0), ("MR", 800.0, 480.0, 60.0)],
)
def test_the_level_is_the_parenchyma_with_40_percent_tumour(
    modality: str, liver: float, tumour: float, noise: float
) -> None:
    values = mixture(np.random.default_rng(0), liver, tumour, 0.4, noise)
    assert abs(values.mean() - liver) > 0.15 * liver
    assert liver_level(values, modality=Modality(modality)) == pytest.approx(liver, abs=0.3 * noise)


def test_a_prior_decides_when_there_is_more_tumour_than_liver() -> None:
    values = mixture(np.random.default_rng(0), 110.0, 30.0, 0.6, 10.0)
    assert liver_level(values, modality=Modality.CT) == pytest.approx(30.0, abs=5.0)
    assert liver_level(values, modality=Modality.CT, expected=100.0) == pytest.approx(
        110.0, abs=5.0
    )


def test_a_prior_hardly_moves_a_clear_mode() -> None:
    # 30 HU brighter than most livers
    values = mixture(np.random.default_rng(0), 140.0, 140.0, 0.0, 10.0)
    assert liver_level(values, modality=Modality.CT, expected=110.0) == pytest.approx(
        140.0, abs=6.0
    )


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_the_level_of_an_mr_does_not_depend_on_its_scale(scale: float) -> None:
    values = mixture(np.random.default_rng(0), 300.0, 200.0, 0.3, 25.0)
    assert liver_level(values * np.float32(scale), modality=Modality.MR) / scale == pytest.approx(
        300.0, abs=8.0
    )


@BOTH
def test_a_constant_or_single_value_is_its_own_level(modality: Modality) -> None:
    assert liver_level(np.full(50, 77.0, np.float32), modality=modality) == 77.0
    assert liver_level(np.array([77.0]), modality=modality) == 77.0


def test_no_value_is_refused() -> None:
    with pytest.raises(ValueError, match="got none"):
        liver_level(np.array([]), modality=Modality.CT)


def test_contrast_by_hand() -> None:
    intensity = np.array([110.0, 160.0, 85.0, 2000.0, -1000.0], np.float32)
    np.testing.assert_allclose(
        LiverNormalisation.on(110.0, Modality.CT).contrast(intensity),
        [0, 1, -0.5, CONTRAST_LIMIT, -CONTRAST_LIMIT],
        atol=1e-6,
    )
    np.testing.assert_allclose(
        LiverNormalisation.on(400.0, Modality.MR).contrast(np.array([400.0, 600.0, 0.0])),
        [0, 1, -2],
        atol=1e-6,
    )


@BOTH
def test_contrast_and_intensity_undo_each_other(modality: Modality) -> None:
    normalisation = LiverNormalisation.on(123.0, modality)
    intensity = np.linspace(30, 250, 12).astype(np.float32)
    contrast = normalisation.contrast(intensity)
    assert contrast.dtype == np.float32
    np.testing.assert_allclose(
        [normalisation.intensity(float(value)) for value in contrast], intensity, rtol=1e-5
    )


def test_contrast_leaves_its_input_alone_and_takes_integers_and_numbers() -> None:
    normalisation = LiverNormalisation.on(100.0, Modality.CT)
    for intensity in (np.array([100.0, 200.0], np.float32), np.array([100, 200], np.int16)):
        before = intensity.copy()
        np.testing.assert_allclose(normalisation.contrast(intensity), [0, 2], atol=1e-6)
        np.testing.assert_array_equal(intensity, before)
    assert float(normalisation.contrast(np.float32(150.0))) == pytest.approx(1.0)


def test_an_mr_whose_liver_is_dark_keeps_a_positive_unit() -> None:
    assert LiverNormalisation.on(0.0, Modality.MR).unit > 0


@pytest.mark.parametrize(
    ("liver", "unit"), [(float("nan"), 1.0), (1.0, 0.0), (1.0, -2.0), (1.0, float("inf"))]
)
def test_a_normalisation_that_cannot_be_is_refused(liver: float, unit: float) -> None:
    with pytest.raises(ValueError, match="finite liver and a positive unit"):
        LiverNormalisation(liver, unit)


def test_the_first_guess_of_ct_is_typical_and_of_mr_the_median_of_the_foreground() -> None:
    image = np.zeros((8, 40, 40), np.float32)
    image[:, 10:30, 10:30] = 250.0
    assert (
        first_guess(image, phase=Phase.PORTAL, modality=Modality.CT)
        == TYPICAL_LIVER_HU[Phase.PORTAL]
    )
    assert first_guess(image, phase=Phase.PORTAL, modality=Modality.MR) == 250.0
    assert first_guess(np.zeros((8, 40, 40), np.float32), phase=Phase.PRE, modality=Modality.MR) > 0
    assert set(TYPICAL_LIVER_HU) == set(Phase)
