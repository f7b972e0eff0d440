"""Registration of tiny phantoms whose motion is known, and errors by hand."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

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


def test_targets_know_the_error_of_a_field_by_hand(
    shifted_ball: Callable[[float], ImagePair],
) -> None:
    still = shifted_ball(0)
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
