"""A bright ball, where it is and shifted, as a pair of images to register."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by

from liverleaf.benchmarks.registration.baselines import ImagePair


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


@pytest.fixture(scope="session")
def shifted_ball() -> Callable[[float], ImagePair]:
    """A pair from how far the ball of the second image lies to the left, in voxels of 5 mm."""
    return lambda shift: pair_of(ball(shift))
