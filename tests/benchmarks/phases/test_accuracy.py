"""Accuracy of phases: figures by hand, a run on two small phantoms, and a fit to a few."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pytest
from sklearn.metrics import f1_score

from liverleaf.benchmarks.phases import accuracy as bench
from liverleaf.benchmarks.phases.fit import FITTED_TO

SHIPPED = json.loads(files("liverleaf.ingest.phases").joinpath("images.json").read_text())


def test_macro_f1_by_hand_and_against_scikit_learn() -> None:
    counts = np.array([[2, 1, 0], [0, 1, 0], [0, 0, 0]])
    assert bench.macro_f1(counts) == pytest.approx((4 / 5 + 2 / 3) / 2)
    rng = np.random.default_rng(0)
    truth, answer = rng.integers(0, 4, 60), rng.integers(0, 5, 60)
    counts = np.zeros((5, 5), int)
    np.add.at(counts, (truth, answer), 1)
    assert bench.macro_f1(counts) == pytest.approx(
        f1_score(truth, answer, labels=range(4), average="macro")
    )


@pytest.mark.parametrize(
    ("confidence", "right", "expected"),
    [
        ([1.0, 1.0], [True, True], 0.0),
        ([0.95, 0.95], [True, False], 0.45),
        ([0.25, 0.75], [False, True], 0.25),
    ],
)
def test_calibration_error_by_hand(
    confidence: list[float], right: list[bool], expected: float
) -> None:
    assert bench.calibration_error(np.array(confidence), np.array(right)) == pytest.approx(expected)


def test_two_small_studies_are_measured_with_and_without_headers(monkeypatch) -> None:
    monkeypatch.setattr(bench, "SHAPE", (12, 60, 60))
    monkeypatch.setattr(bench, "SPACING_MM", (18.0, 6.0, 6.0))
    monkeypatch.setattr(bench, "PRESETS", bench.PRESETS[:2])
    monkeypatch.setattr(
        bench, "STEPS", {step: bench.STEPS[step] for step in ("all headers", "no numbers either")}
    )
    result = bench.run(cases=1, seed=3)
    record, page = json.loads(json.dumps(result.record)), result.markdown
    assert list(result.figures) == ["phases.png"]
    full, empty = record["steps"].values()
    assert full["headers"]["macro_f1"]["mean"] == full["pixels"]["macro_f1"]["mean"] == 1.0
    assert empty["headers"]["accuracy"] < 0.5 < empty["pixels"]["accuracy"]
    assert (
        np.sum(empty["pixels"]["confusion"])
        == empty["pixels"]["series"]
        == full["headers"]["series"]
    )
    assert set(empty["pixels"]["macro_f1_by_group"]) == {"ct, CT", "mr, MR"}
    assert "| no numbers either | headers and pixels |" in page


def test_phantoms_that_were_fitted_to_are_refused() -> None:
    with pytest.raises(ValueError, match="were fitted to phantoms of the seeds"):
        bench.run(seed=FITTED_TO[0].seed - 1)


def test_a_fit_says_whether_it_is_what_the_package_has(monkeypatch) -> None:
    for fitted, same in (({"CT": {}}, False), (SHIPPED, True)):
        monkeypatch.setattr(bench, "fit_phase_pixels", lambda fitted=fitted, **_: fitted)
        result = bench.run_fit()
        assert json.loads(result.figures["images.json"]) == fitted
        assert result.record["same_as_package"] == same
        assert ("the same as" in result.markdown) == same
