"""The fit of what pixels tell: its form, that it repeats, and what the package ships."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pytest

from liverleaf.benchmarks.phases import fit
from liverleaf.benchmarks.phases.fit import FITTED_TO, PhantomGroup, fit_phase_pixels
from liverleaf.study import Modality, Phase

SHIPPED = json.loads(files("liverleaf.ingest.phases").joinpath("images.json").read_text())


def test_a_fit_has_the_form_of_the_shipped_one_and_comes_out_alike_each_time() -> None:
    fitted = json.loads(json.dumps(fit_phase_pixels((PhantomGroup("ct", Modality.CT, 5, 2),))))
    assert fitted == json.loads(
        json.dumps(fit_phase_pixels((PhantomGroup("ct", Modality.CT, 5, 2),)))
    )
    assert fitted["fitted_to"] == [{"preset": "ct", "modality": "CT", "seed": 5, "cases": 2}]
    assert fitted["CT"].keys() == SHIPPED["CT"].keys()
    for name, values in fitted["CT"].items():
        assert np.shape(values) == np.shape(SHIPPED["CT"][name]), name
    weights_CF = np.array(fitted["CT"]["alone_weights"])
    liver = dict(zip(fitted["CT"]["phases"], weights_CF[:, 3], strict=True))
    # an enhanced liver speaks against the pre-contrast phase
    assert min(liver, key=liver.__getitem__) == Phase.PRE


def test_mr_series_scaled_each_by_itself_are_examples_too() -> None:
    fitted = fit_phase_pixels((PhantomGroup("mr", Modality.MR, 6, 1),))["MR"]
    assert fitted["alone_examples"] == 4 * 2
    assert fitted["pair_examples"] == 4 * 3 * 2
    assert len(fitted["pair_weights"][0]) == 2 * len(fitted["alone_mean"]) + 7


def test_what_ships_names_the_phantoms_it_was_fitted_to() -> None:
    assert SHIPPED["fitted_to"] == [group._asdict() for group in FITTED_TO]


def test_a_regression_with_even_prior_takes_the_shares_of_classes_out() -> None:
    """Three classes of one distribution, one eight times as frequent: none is preferred."""
    rng = np.random.default_rng(0)
    features, classes = rng.normal(size=(4000, 1)), np.repeat([0, 1, 2], [400, 3200, 400])
    found, coefficients = fit._regression(features, classes, 0.1)
    assert found.tolist() == [0, 1, 2]
    assert np.ptp(coefficients["bias"]) == pytest.approx(0, abs=0.2)


def test_a_phantom_without_soft_tissue_cannot_be_fitted_to() -> None:
    air = np.full((2, 3, 60, 60), -1000, np.float32)
    with pytest.raises(ValueError, match="no soft tissue"):
        list(fit._examples(air, [Phase.PRE, Phase.PORTAL], Modality.CT, np.random.default_rng(0)))
