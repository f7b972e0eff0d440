"""The self-similarity descriptor and the deformation that is found by it."""

import numpy as np
import pytest
from scipy import ndimage

from liverleaf.registration.mind import deformation, descriptor, descriptors
from liverleaf.registration.mind import folded as folded_voxels


def texture(seed: int = 0, shape: tuple[int, ...] = (24, 28, 32)) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, 2.0).astype(np.float32)


def test_the_descriptor_sees_shapes_and_not_intensities() -> None:
    image = texture()
    found = descriptor(image)
    assert found.shape == (6, *image.shape)
    assert found.min() > 0 and found.max() == 1.0
    np.testing.assert_allclose(descriptor(50 - 3 * image), found, atol=2e-3)


def test_a_constant_image_has_a_finite_descriptor() -> None:
    assert np.isfinite(descriptor(np.zeros((8, 8, 8), np.float32))).all()


def test_an_image_too_thin_to_search_has_no_descriptors() -> None:
    assert descriptors(texture(shape=(7, 28, 32))) is None
    assert descriptors(texture(shape=(8, 28, 32))) is not None


@pytest.mark.parametrize("voxels", [(0, 0, 0), (0, 3, 0), (2, -4, 3)], ids=str)
def test_a_shift_is_found_across_a_change_of_contrast(voxels: tuple[int, ...]) -> None:
    image = texture()
    reference = descriptors(image)
    assert reference is not None
    shift = deformation(reference, np.roll(-image, voxels, (0, 1, 2)))
    middle = shift[:, 8:-8, 8:-8, 8:-8].mean(axis=(1, 2, 3))
    np.testing.assert_allclose(middle, voxels, atol=0.3)


@pytest.mark.parametrize(("factor", "folded"), [(0.0, 0.0), (0.5, 0.0), (-0.9, 0.0), (-2.0, 1.0)])
@pytest.mark.parametrize("axis", range(3))
def test_folding_of_a_stretch_by_hand(axis: int, factor: float, folded: float) -> None:
    shift = np.zeros((3, 6, 7, 8), np.float32)
    # x -> (1 + factor) x, whose determinant is 1 + factor
    shift[axis] = factor * np.indices((6, 7, 8))[axis]
    interior = np.zeros((6, 7, 8), bool)
    interior[1:-1, 1:-1, 1:-1] = True
    assert folded_voxels(shift)[interior].mean() == folded
