"""Registration of tiny phantoms whose motion is known, and errors by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by

from liverleaf.benchmarks.registration import accuracy
from liverleaf.benchmarks.registration.baselines import ImagePair, demons
from liverleaf.study import Phase

SHAPE, SPACING_MM = (16, 40, 40), (14.0, 9.0, 9.0)


def test_phantoms_are_measured_without_the_baselines_that_are_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accuracy, "PRESETS", ("mr",))
    monkeypatch.setattr(accuracy, "BASELINES", {"elastix tuned": ("no_such_package", demons)})
    result = accuracy.run(cases=1, shape=SHAPE, spacing_mm=SPACING_MM)
    assert {line["method"] for line in result.record["methods"]} == {"none", "rigid only", "ours"}
    assert "elastix tuned was not measured: no_such_package is not installed." in result.markdown
    assert {flag["kind"] for flag in result.record["flags"]} == {
        "registered",
        "not registered",
        "another person",
    }
    assert list(result.figures) == ["registration.png"]
    assert json.loads(json.dumps(result.record))["methods"] == result.record["methods"]


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


def test_targets_know_the_error_of_a_field_by_hand() -> None:
    still = pair_of(ball(0))
    targets = accuracy.Targets(
        np.array([[50.0, 50, 50], [60, 50, 50]]),
        {Phase.PRE: np.array([[0.0, 0, 4], [0, 0, 8]])},
    )
    field_mm = np.zeros((24, 24, 24, 3))
    field_mm[..., 2] = 3
    everything = (np.ones((24, 24, 24), bool), (slice(None),) * 3)
    score = accuracy._score(still, field_mm, targets, Phase.PRE, *everything)
    assert (score["median_mm"], score["mean_mm"], score["folding"]) == (
        pytest.approx(3),
        pytest.approx(3),
        0,
    )
