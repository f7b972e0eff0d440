"""Features of patches of a square of tissue in fat."""

from __future__ import annotations

import numpy as np

from liverleaf.benchmarks.phantom.patch_features import (
    BODY_FEATURES,
    LIVER_FEATURES,
    body_features,
    body_patches,
    liver_features,
    patches,
)
from liverleaf.benchmarks.phantom.texture import Image

PIXEL_MM = (0.8, 0.8)


def block() -> Image:
    """Three slices of a square of tissue in fat, with white noise."""
    body = np.full((3, 160, 160), -100.0)
    body[:, 20:140, 20:140] = 110
    noisy = body + np.random.default_rng(1).normal(0, 10, body.shape)
    return Image(noisy.astype(np.float32), (5.0, *PIXEL_MM))


def test_body_patches_leave_air_out() -> None:
    air = block()
    air.hu[:, :, :60] = -1000
    assert (body_patches(air, [1])[:, 2] >= 50).all()
    assert set(body_patches(air, [1])[:, 0]) == {1}


def test_features_have_their_names() -> None:
    patch = block().hu[0, 30:94, 30:94]
    assert body_features(patch, PIXEL_MM).shape == (len(BODY_FEATURES),)
    assert liver_features(patch[:32, :32], PIXEL_MM).shape == (len(LIVER_FEATURES),)


def test_patches_know_their_slices_and_have_a_row_of_features_each() -> None:
    found = patches(block())
    for kind, names in (("body", BODY_FEATURES), ("liver", LIVER_FEATURES)):
        assert set(found[kind].slices) == {0, 1, 2}
        assert found[kind].features.shape == (len(found[kind].slices), len(names))
        assert np.isfinite(found[kind].features).all()


def test_more_noise_is_in_the_features_and_another_mean_is_not() -> None:
    patch = block().hu[0, 40:72, 40:72]
    plain, brighter = (liver_features(p, PIXEL_MM) for p in (patch, patch + 50))
    np.testing.assert_allclose(plain, brighter, atol=1e-3)
    noisier = liver_features(110 + 2 * (patch - 110), PIXEL_MM)
    assert noisier[0] - plain[0] > 0.6  # about log 2
