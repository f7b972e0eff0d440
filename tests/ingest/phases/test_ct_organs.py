"""Organs in coarse CT images: found and measured in drawn abdomens, and told where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from liverleaf.ingest.phases.ct_organs import _best_path, organ_hu
from liverleaf.ingest.phases.tissue import GRID_MM


def test_organs_are_found_and_measured_in_each_series(abdomen) -> None:
    found = organ_hu(np.stack([abdomen(71, 195, 1), abdomen(104, 140, 2)]), GRID_MM)
    np.testing.assert_allclose(found.aorta, [195, 140], atol=4)
    np.testing.assert_allclose(found.liver, [71, 104], atol=4)
    np.testing.assert_allclose(found.spleen, [71, 104], atol=4)


def test_a_bright_stomach_is_not_the_aorta(abdomen) -> None:
    """Oral contrast agent in the left front."""
    image = abdomen(100, 150)
    image[:, 12:22, 44:60] = 400
    assert organ_hu(image[None], GRID_MM).aorta == pytest.approx(150, abs=5)


def test_organs_that_are_not_there_are_not_a_number(abdomen) -> None:
    fat = np.full((1, 8, 70, 80), -1000, np.float32)
    fat[:, :, 5:65, 5:75] = -90
    assert np.isnan(organ_hu(fat, GRID_MM)).all()
    without_spleen = abdomen(100, 150)
    without_spleen[:, 30:50, 60:68] = -90
    found = organ_hu(without_spleen[None], GRID_MM)
    assert np.isnan(found.spleen).all()
    assert found.liver == pytest.approx(100, abs=4)


def test_the_best_path_is_that_of_all_paths_one_by_one() -> None:
    rng = np.random.default_rng(1)
    scores, core = rng.normal(size=(3, 4)), rng.normal(100, 30, (3, 4))
    places = rng.normal(0, 10, (3, 4, 2))

    def total(path: tuple[int, ...]) -> float:
        value = sum(scores[level, spot] for level, spot in enumerate(path))
        for level in (1, 2):
            here, before = path[level], path[level - 1]
            moved = np.linalg.norm(places[level, here] - places[level - 1, before])
            changed = abs(core[level, here] - core[level - 1, before])
            value -= min(0.5 * (moved / 8) ** 2, 4.0)
            value -= min(changed / (20 + 0.05 * abs(core[level, here])), 6.0)
        return float(value)

    best = max(np.ndindex(4, 4, 4), key=total)
    assert tuple(_best_path(scores, core, places)) == best
