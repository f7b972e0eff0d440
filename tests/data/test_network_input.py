"""What a network sees of a study: boxes on grids of other shapes."""

import numpy as np
import pytest

from liverleaf.data.network_input import extent, resize


@pytest.mark.parametrize("shape", [(6, 9, 11), (6, 30, 37), (4, 5, 7), (13, 9, 6)])
def test_the_box_of_another_grid_holds_all_that_interpolation_reaches(shape) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        seen = np.zeros((6, 9, 11), np.float32)
        low = [rng.integers(0, n) for n in seen.shape]
        part = tuple(slice(a, a + rng.integers(1, 4)) for a in low)
        seen[part] = 1.0
        box = extent(seen > 0, shape)
        finer = resize(seen, shape)
        assert finer[box].sum() == pytest.approx(finer.sum())
        finer[box] = 0
        assert not finer.any()
