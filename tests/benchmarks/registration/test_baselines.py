"""Other people's registration follows a shift that is known."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by

from liverleaf.benchmarks.registration.baselines import ImagePair, demons


def pair_of(moving: np.ndarray) -> ImagePair:
    """A bright ball on voxels of 5 mm, and the same grid for another image."""
    grid = sitk.GetImageFromArray(ball(0))
    grid.SetSpacing((5.0, 5.0, 5.0))
    return ImagePair(grid, moving, moving, sitk.Transform(3, sitk.sitkIdentity))


def ball(shift: float) -> np.ndarray:
    z, y, x = np.indices((24, 24, 24))
    return np.asarray(
        100 / (1 + np.exp(np.sqrt((z - 12) ** 2 + (y - 12) ** 2 + (x - 12 - shift) ** 2) - 6)),
        np.float32,
    )


def test_demons_follow_a_shift() -> None:
    field_mm = demons(pair_of(ball(1)))
    assert field_mm[12, 12, 8:17, 0].mean() == pytest.approx(5, abs=1.5)


def test_a_field_after_the_rigid_motion_is_followed_by_it() -> None:
    pair = pair_of(ball(0))
    rigid = sitk.TranslationTransform(3, (0.0, 2.0, 0.0))
    pair = ImagePair(pair.grid, pair.moving, pair.after_rigid, rigid)
    field_mm = np.zeros((24, 24, 24, 3))
    field_mm[..., 0] = 3.0
    whole_mm = pair.with_rigid(field_mm)
    np.testing.assert_allclose(whole_mm[12, 12, 12], (3, 2, 0), atol=1e-6)
    np.testing.assert_allclose(pair.points_mm[1, 2, 3], (15, 10, 5))
