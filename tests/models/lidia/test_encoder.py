"""The encoder's levels, and the pyramid on them."""

import torch
import torch.nn.functional as F

from liverleaf.models.lidia.encoder import Encoder, FeaturePyramid


def test_each_level_has_half_the_voxels_along_every_axis() -> None:
    features = Encoder([4, 6, 8])(torch.randn(1, 4, 5, 8, 12))
    assert [tuple(f.shape[1:]) for f in features] == [(4, 5, 8, 12), (6, 3, 4, 6), (8, 2, 2, 3)]


def test_the_pyramid_is_lateral_plus_the_coarser_level() -> None:
    torch.manual_seed(0)
    pyramid = FeaturePyramid([4, 6], 5, read=(0, 1))
    fine, coarse = torch.randn(1, 4, 4, 6, 6), torch.randn(1, 6, 2, 3, 3)
    levels = pyramid([fine, coarse])
    top = pyramid.lateral[1](coarse)
    torch.testing.assert_close(levels[1], pyramid.smooth["1"](top))
    below = pyramid.lateral[0](fine) + F.interpolate(top, size=(4, 6, 6))
    torch.testing.assert_close(levels[0], pyramid.smooth["0"](below))
    assert (levels[0] >= 0).all()


def test_every_level_knows_of_the_coarsest() -> None:
    torch.manual_seed(0)
    pyramid = FeaturePyramid([4, 4, 4], 4, read=(0, 1, 2))
    given = [torch.randn(1, 4, n, n, n) for n in (8, 4, 2)]
    before = pyramid(given)
    given[2] = given[2] + torch.randn(1, 4, 2, 2, 2)
    after = pyramid(given)
    assert all(not torch.allclose(a, b) for a, b in zip(before, after, strict=True))


def test_only_levels_that_are_read_are_made() -> None:
    pyramid = FeaturePyramid([4, 4, 4], 4, read=(0, 2))
    levels = pyramid([torch.randn(1, 4, n, n, n) for n in (8, 4, 2)])
    assert [level.shape[-1] for level in levels] == [8, 2]
    assert sorted(pyramid.smooth) == ["0", "2"]
