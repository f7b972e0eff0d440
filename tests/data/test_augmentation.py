"""Random changes of slices: fields, noise, normalisation, crops."""

import dataclasses

import numpy as np
import pytest

from liverleaf.data.augmentation import (
    SamplingConfig,
    _smooth_fields,
    crop_or_pad,
    degrade,
    normalisation_error,
)
from liverleaf.data.network_input import (
    air,
)
from liverleaf.study import Modality

EVERYTHING = SamplingConfig(batch=4)


def test_smooth_fields_are_smooth_and_of_about_unit_variance() -> None:
    fields = _smooth_fields(np.random.default_rng(0), 40, 5, 64)
    assert 0.5 < fields.std() < 1.2
    assert (fields[:, 1:] - fields[:, :-1]).abs().max() < 0.5


def test_correlated_noise_has_the_amplitude_of_white_noise() -> None:
    sampling = dataclasses.replace(EVERYTHING, blur_pixels=1.0)
    level = [
        degrade(np.zeros((1, 64, 64), np.float32), np.random.default_rng(seed), sampling).std()
        for seed in range(300)
    ]
    white = [
        degrade(np.zeros((1, 64, 64), np.float32), np.random.default_rng(seed), EVERYTHING).std()
        for seed in range(300)
    ]
    assert np.mean(level) == pytest.approx(np.mean(white), rel=0.12)


@pytest.mark.parametrize("modality", list(Modality))
def test_a_wrong_normalisation_is_far_off_and_a_right_one_is_not(modality: Modality) -> None:
    spread = {
        wrong: np.std(
            [
                normalisation_error(4, modality, np.random.default_rng(seed), wrong=wrong)[1]
                for seed in range(200)
            ]
        )
        for wrong in (False, True)
    }
    assert spread[True] > 4 * spread[False]


def test_an_mr_without_signal_stays_without_signal() -> None:
    gain, offset = normalisation_error(4, Modality.MR, np.random.default_rng(0), wrong=True)
    np.testing.assert_allclose(air(Modality.MR) * gain + offset, air(Modality.MR), atol=1e-5)


def test_cropping_and_padding_about_the_centre_by_hand() -> None:
    array = np.arange(16).reshape(1, 4, 4)
    np.testing.assert_array_equal(crop_or_pad(array, 2, 0), [[[5, 6], [9, 10]]])
    padded = crop_or_pad(array, 6, -1)
    np.testing.assert_array_equal(padded[:, 1:5, 1:5], array)
    assert (padded[0, 0] == -1).all() and (padded[0, :, 5] == -1).all()


def test_no_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one slice, got batch=0"):
        SamplingConfig(batch=0)
