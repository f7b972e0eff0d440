"""Models of exchange, input functions and T1 from flip angles, against slow references."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.stats import gamma

from liverleaf.phantom.physics import tracer
from liverleaf.phantom.physics.kinetics import parker
from liverleaf.phantom.physics.signal import spgr_signal
from liverleaf.phantom.physics.tracer import (
    MODELS,
    RANGES,
    extended_tofts,
    fit,
    georgiou,
    patlak,
    tofts,
    two_compartment_exchange,
    vfa_t1_s,
)

UNEVEN_S = np.array([0.0, 1.0, 1.5, 4.0, 30.0, 31.0, 90.0, 400.0])
TIME_S = np.arange(0.0, 300.0, 2.0)
PLASMA = parker(TIME_S - 12) / 0.58
TRUE = {
    "ktrans_per_min": 0.21,
    "ps_per_min": 0.09,
    "fp_ml_per_ml_per_min": 0.6,
    "ve": 0.31,
    "vp": 0.07,
}


def modelled(
    model: str, time_s: NDArray[np.float64] = TIME_S, plasma: NDArray[np.float64] = PLASMA
) -> NDArray[np.float64]:
    function, names = MODELS[model]
    return function(time_s, plasma, **{name: TRUE[name] for name in names})


def slow(
    model: str, time_s: NDArray[np.float64], plasma: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Plasma and interstitium in small steps: every model is a case of these equations."""
    ve = TRUE["ve"]
    vp = TRUE["vp"]
    exchange = TRUE["ps_per_min"] / 60
    flow = TRUE["fp_ml_per_ml_per_min"] / 60
    if "tofts" in model:
        exchange = TRUE["ktrans_per_min"] / 60

    def change(at_s: float, inside: NDArray[np.float64]) -> list[float]:
        arterial = np.interp(at_s, time_s, plasma)
        if model == "two_compartment_exchange":
            out = exchange * (inside[0] - inside[1])
            return [(flow * (arterial - inside[0]) - out) / vp, out / ve]
        back = 0.0 if model == "patlak" else inside[1]
        return [0.0, exchange * (arterial - back) / ve]

    found = np.zeros((2, len(time_s)))
    for n, span in enumerate(pairwise(time_s)):  # from sample to sample: the input bends there
        found[:, n + 1] = solve_ivp(change, span, found[:, n], rtol=1e-8, atol=1e-10).y[:, -1]
    in_plasma = {"tofts": 0 * plasma, "two_compartment_exchange": found[0]}.get(model, plasma)
    return vp * in_plasma + ve * found[1]


@pytest.mark.parametrize("model", MODELS)
def test_models_against_their_differential_equations(model: str) -> None:
    np.testing.assert_allclose(modelled(model), slow(model, TIME_S, PLASMA), atol=1e-7)


@pytest.mark.parametrize("model", MODELS)
def test_the_grid_does_not_matter_where_the_input_is_linear_between_its_points(model: str) -> None:
    coarse = parker(UNEVEN_S)
    fine_s = np.union1d(UNEVEN_S, np.linspace(0, 400, 1234))
    fine = modelled(model, fine_s, np.interp(fine_s, UNEVEN_S, coarse))
    np.testing.assert_allclose(
        modelled(model, UNEVEN_S, coarse),
        fine[np.searchsorted(fine_s, UNEVEN_S)],
        rtol=1e-9,
        atol=1e-12,
    )


def test_tofts_after_a_step_by_hand() -> None:
    found = tofts(UNEVEN_S, np.full(8, 2.0), ktrans_per_min=0.3, ve=0.4)
    np.testing.assert_allclose(
        found, 2 * 0.4 * (1 - np.exp(-0.3 / 0.4 * UNEVEN_S / 60)), rtol=1e-12
    )


def test_tofts_during_a_ramp_by_hand() -> None:
    minutes, rate = UNEVEN_S / 60, 0.3 / 0.4
    found = tofts(UNEVEN_S, 5 * minutes, ktrans_per_min=0.3, ve=0.4)
    np.testing.assert_allclose(
        found,
        5 * 0.3 * (minutes / rate - (1 - np.exp(-rate * minutes)) / rate**2),
        rtol=1e-10,
        atol=1e-12,
    )


def test_patlak_by_hand() -> None:
    np.testing.assert_allclose(
        patlak([0, 30, 90], [2, 2, 2], ps_per_min=0.1, vp=0.05), [0.1, 0.2, 0.4]
    )


def test_limits() -> None:
    np.testing.assert_array_equal(
        extended_tofts(TIME_S, PLASMA, ktrans_per_min=0.0, ve=0.2, vp=0.07), 0.07 * PLASMA
    )
    np.testing.assert_array_equal(tofts(TIME_S, PLASMA, ktrans_per_min=0.0, ve=0.2), 0)
    np.testing.assert_allclose(
        tofts(TIME_S, PLASMA, ktrans_per_min=0.1, ve=1e7),
        patlak(TIME_S, PLASMA, ps_per_min=0.1, vp=0),
        rtol=1e-6,
        atol=1e-9,
    )


def test_two_compartments_at_their_limits() -> None:
    flooded = two_compartment_exchange(
        TIME_S, PLASMA, fp_ml_per_ml_per_min=1e5, ps_per_min=0.12, ve=0.3, vp=0.05
    )
    np.testing.assert_allclose(
        flooded, extended_tofts(TIME_S, PLASMA, ktrans_per_min=0.12, ve=0.3, vp=0.05), atol=1e-5
    )
    sealed = two_compartment_exchange(
        TIME_S, PLASMA, fp_ml_per_ml_per_min=0.4, ps_per_min=0.0, ve=0.3, vp=0.05
    )
    np.testing.assert_allclose(
        sealed, tofts(TIME_S, PLASMA, ktrans_per_min=0.4, ve=0.05), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("model", MODELS)
def test_a_fit_finds_what_made_the_curve(model: str) -> None:
    assert fit(model, TIME_S, PLASMA, modelled(model)) == pytest.approx(
        {name: TRUE[name] for name in MODELS[model][1]}, rel=1e-3
    )


def test_a_fit_stays_in_its_ranges() -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, TIME_S.size)
    for name, value in fit("extended_tofts", TIME_S, PLASMA, noise).items():
        assert RANGES[name].low <= value <= RANGES[name].high


def test_georgiou_against_gamma_densities() -> None:
    minutes = np.linspace(0, 6, 200)
    alpha, beta, tau = tracer.GEORGIOU_ALPHA, tracer.GEORGIOU_BETA_MIN, tracer.GEORGIOU_TAU_MIN
    passes = sum(
        gamma.pdf(minutes - j * tau, (j + 1) * alpha + j + 1, scale=beta) for j in range(50)
    )
    decay = sum(
        a * np.exp(-m * minutes)
        for a, m in zip(tracer.GEORGIOU_MM, tracer.GEORGIOU_PER_MIN, strict=True)
    )
    np.testing.assert_allclose(georgiou(60 * minutes), passes * decay, rtol=1e-9, atol=1e-12)


def test_georgiou_constants_are_those_printed_with_more_digits() -> None:
    np.testing.assert_allclose(tracer.GEORGIOU_MM, (0.37, 0.33, 10.06), atol=0.005)
    np.testing.assert_allclose(tracer.GEORGIOU_PER_MIN, (0.11, 1.17, 16.02), atol=0.005)
    np.testing.assert_allclose(
        (tracer.GEORGIOU_BETA_MIN, tracer.GEORGIOU_TAU_MIN), (0.032, 0.129), atol=0.0005
    )
    np.testing.assert_allclose(tracer.GEORGIOU_ALPHA, 5.26, atol=0.01)


def test_georgiou_starts_at_nothing_and_keeps_its_shape() -> None:
    found = georgiou([[-5.0, 0.0], [7.5, 1800.0]])
    assert found.shape == (2, 2) and found[0].tolist() == [0, 0]
    assert found[1, 0] == pytest.approx(8.645, abs=0.01)
    assert 0 < found[1, 1] < 0.1
    assert georgiou(7.5).shape == ()


def test_t1_of_two_angles_by_hand() -> None:
    # two points lie on the straight line of S / sin a against S / tan a exactly; its slope is
    # exp(-TR / T1)
    flip, signals = np.deg2rad([3.0, 15.0]), np.array([40.0, 55.0])
    slope = np.diff(signals / np.sin(flip)) / np.diff(signals / np.tan(flip))
    assert vfa_t1_s(signals, [3, 15], tr_s=0.005) == pytest.approx(
        -0.005 / np.log(slope[0]), rel=1e-5
    )


@pytest.mark.parametrize("tr_s", [0.0038, 0.02])
def test_t1_inverts_the_signal_equation(tr_s: float) -> None:
    flip_deg, t1_s = (2.0, 5.0, 12.0, 20.0), np.array([[0.02, 0.3, 0.8], [1.6, 3.0, 8.0]])
    signals = np.stack(
        [spgr_signal(t1_s, tr_s=tr_s, flip_deg=angle, proton_density=900.0) for angle in flip_deg],
        axis=-1,
    )
    np.testing.assert_allclose(vfa_t1_s(signals, flip_deg, tr_s), t1_s, rtol=1e-5)


def test_signals_without_a_t1_give_none() -> None:
    flip_deg = np.array([2.0, 10.0, 20.0])
    recovered = np.sin(np.deg2rad(flip_deg))  # as if T1 were nothing
    assert np.isnan(vfa_t1_s([recovered, 0 * recovered, np.full(3, np.nan)], flip_deg, 0.005)).all()


@pytest.mark.parametrize(
    ("named", "call"),
    [
        ("time_s", lambda: tofts([0, 0], [1, 1], ktrans_per_min=0.1, ve=0.1)),
        ("time_s", lambda: tofts([0], [1], ktrans_per_min=0.1, ve=0.1)),
        (
            "plasma_mM",
            lambda: extended_tofts([0, 1], [1, 1, 1], ktrans_per_min=0.1, ve=0.1, vp=0.1),
        ),
        ("plasma_mM", lambda: patlak([0, 1], [1, np.nan], ps_per_min=0.1, vp=0.1)),
        ("tissue_mM", lambda: fit("tofts", [0, 1], [1, 1], [1])),
        ("ve", lambda: tofts([0, 1], [1, 1], ktrans_per_min=0.1, ve=0.0)),
        ("ktrans_per_min", lambda: tofts([0, 1], [1, 1], ktrans_per_min=-0.1, ve=0.1)),
        (
            "vp",
            lambda: two_compartment_exchange(
                [0, 1], [1, 1], fp_ml_per_ml_per_min=1, ps_per_min=0, ve=0.1, vp=0
            ),
        ),
        ("model", lambda: fit("toft", [0, 1], [1, 1], [1, 1])),
        ("flip_deg", lambda: vfa_t1_s([1, 1], [5, 5], 0.005)),
        ("signals", lambda: vfa_t1_s([1, 1, 1], [5, 10], 0.005)),
        ("tr_s", lambda: vfa_t1_s([1, 1], [5, 10], 0.0)),
    ],
)
def test_errors_name_the_argument(named, call) -> None:
    with pytest.raises(ValueError, match=f"^{named} "):
        call()
