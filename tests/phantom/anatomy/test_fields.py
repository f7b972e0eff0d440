"""Smooth fields: grid and point evaluation agree, statistics as promised."""

import numpy as np

from liverleaf.phantom.anatomy.fields import SplineField, draw_field


def test_grid_and_points_agree() -> None:
    field = draw_field(np.random.default_rng(0), (9, 20, 31), (5.0, 2.0, 1.5), 12.0, count=2)
    axes = [np.linspace(0, n - 1, 7) for n in (9, 20, 31)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    np.testing.assert_allclose(field.on_axes(axes), field.at(points), atol=1e-4)


def test_mean_and_spread() -> None:
    values = draw_field(np.random.default_rng(1), (60, 60, 60), (1.0, 1.0, 1.0), 3.0).on_axes(
        [np.arange(60)] * 3
    )
    assert abs(values.mean()) < 0.05
    assert abs(values.std() - 1) < 0.05


def test_equal_coefficients_make_a_constant() -> None:
    field = SplineField(np.full((1, 5, 5, 5), 2.5, np.float32), (4.0, 4.0, 4.0))
    np.testing.assert_allclose(field.on_axes([np.arange(9)] * 3), 2.5, rtol=1e-5)


def test_one_slice_is_enough() -> None:
    assert draw_field(np.random.default_rng(0), (1, 8, 8), (5.0, 1.0, 1.0), 4.0).on_axes(
        [np.arange(1), np.arange(8), np.arange(8)]
    ).shape == (1, 1, 8, 8)
