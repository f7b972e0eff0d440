"""Other people's registration follows a shift that is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by

from liverleaf.benchmarks.registration.baselines import ImagePair, demons


def test_demons_follow_a_shift(shifted_ball: Callable[[float], ImagePair]) -> None:
    field_mm = demons(shifted_ball(1))
    assert field_mm[12, 12, 8:17, 0].mean() == pytest.approx(5, abs=1.5)


def test_a_field_after_the_rigid_motion_is_followed_by_it(
    shifted_ball: Callable[[float], ImagePair],
) -> None:
    pair = shifted_ball(0)
    rigid = sitk.TranslationTransform(3, (0.0, 2.0, 0.0))
    pair = ImagePair(pair.grid, pair.moving, pair.after_rigid, rigid)
    field_mm = np.zeros((24, 24, 24, 3))
    field_mm[..., 0] = 3.0
    whole_mm = pair.with_rigid(field_mm)
    np.testing.assert_allclose(whole_mm[12, 12, 12], (3, 2, 0), atol=1e-6)
    np.testing.assert_allclose(pair.points_mm[1, 2, 3], (15, 10, 5))
