"""Arterial input functions, models of tracer exchange, and T1 from flip angles.

They are what measured curves are compared with and fitted to.

Every model takes the arterial plasma concentration (blood over one minus the haematocrit) on a time
grid, even or uneven, takes it for linear between the samples and for zero before the first one, and
convolves it exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_banded
from scipy.optimize import least_squares, minimize_scalar
from scipy.special import gammaln

from liverleaf.phantom.physics.signal import spgr_signal

GEORGIOU_MM, GEORGIOU_PER_MIN = (0.374322, 0.331184, 10.06123), (0.112701, 1.174646, 16.01996)
GEORGIOU_ALPHA, GEORGIOU_BETA_MIN, GEORGIOU_TAU_MIN = 5.266989, 0.03207883, 0.128556
"""The paper prints these nine to two or three decimals, which puts the rise up to 4 % off the curve
published with it; the digits here were fitted to that curve, and give it within 3e-5 mM."""
SHORTEST_T1_S, LONGEST_T1_S = 0.001, 30.0
SERIES_BELOW = 1e-3


class Range(NamedTuple):
    """Where a fit looks for a parameter, and where it starts."""

    low: float
    start: float
    high: float


RANGES: Mapping[str, Range] = {
    "ktrans_per_min": Range(0.0, 0.1, 5.0),
    "ps_per_min": Range(0.0, 0.1, 5.0),
    "fp_ml_per_ml_per_min": Range(1e-3, 0.2, 20.0),
    "ve": Range(1e-3, 0.2, 1.0),
    "vp": Range(1e-5, 0.05, 1.0),
}


def georgiou(time_s: ArrayLike) -> NDArray[np.float64]:
    """Arterial blood concentration (mM) of a representative person, for gadolinium.

    After 0.1 mmol/kg of a chelate:

        C = sum_i A_i exp(-m_i t) * sum_j gamma density(t - j tau; shape (j + 1)(alpha + 1), scale
        beta),  j = 0, 1, ... while j tau < t

    Args:
        time_s: seconds after the bolus reaches the artery, any shape; 0 mM before.

    Reference: Georgiou et al., Magn Reson Med 2019;81:1955-1963.
    """
    minutes = np.maximum(np.asarray(time_s, float), 0.0) / 60
    decay = np.sum(
        [
            height * np.exp(-rate * minutes)
            for height, rate in zip(GEORGIOU_MM, GEORGIOU_PER_MIN, strict=True)
        ],
        axis=0,
    )
    passes = np.zeros_like(minutes)
    for number in range(int(minutes.max(initial=0.0) / GEORGIOU_TAU_MIN) + 1):
        later = minutes - number * GEORGIOU_TAU_MIN
        steps = np.where(later > 0, later, np.nan) / GEORGIOU_BETA_MIN
        shape = (number + 1) * (GEORGIOU_ALPHA + 1)
        density = np.exp((shape - 1) * np.log(steps) - steps - gammaln(shape)) / GEORGIOU_BETA_MIN
        passes += np.nan_to_num(density)
    return np.asarray(decay * passes)


def tofts(
    time_s: ArrayLike, plasma_mM: ArrayLike, *, ktrans_per_min: float, ve: float
) -> NDArray[np.float64]:
    """Tissue whose blood volume is negligible.

        C = Ktrans plasma * exp(-t Ktrans / ve)

    Args:
        time_s: rising times, (N,).
        plasma_mM: arterial plasma concentration at these times, (N,).
        ktrans_per_min: volume transfer constant, >= 0.
        ve: volume of the extravascular extracellular space, ml per ml of tissue, > 0.

    Returns:
        Tissue concentration (mM), (N,).

    Raises:
        ValueError: the curves or a parameter are not as above.

    Reference: Tofts et al., J Magn Reson Imaging 1999;10:223-232.

    Example:
        After one minute of a constant input, C = ve (1 - exp(-Ktrans / ve)).

        >>> tofts([0, 60], [1, 1], ktrans_per_min=0.1, ve=0.5).round(4)
        array([0.    , 0.0906])
    """
    time_s, plasma = _checked(time_s, plasma_mM)
    _check_parameters(positive={"ve": ve}, not_negative={"ktrans_per_min": ktrans_per_min})
    return ktrans_per_min / 60 * _convolved(time_s, plasma, ktrans_per_min / ve / 60)


def extended_tofts(
    time_s: ArrayLike, plasma_mM: ArrayLike, *, ktrans_per_min: float, ve: float, vp: float
) -> NDArray[np.float64]:
    """`tofts` with a plasma volume that fills at once.

        C = vp plasma + Ktrans plasma * exp(-t Ktrans / ve)

    Args:
        time_s: as for `tofts`.
        plasma_mM: as for `tofts`.
        ktrans_per_min: as for `tofts`.
        ve: as for `tofts`.
        vp: volume of plasma, ml per ml of tissue, >= 0.

    Returns:
        Tissue concentration (mM), (N,).

    Raises:
        ValueError: as for `tofts`.

    Reference: Tofts, J Magn Reson Imaging 1997;7:91-101.
    """
    _check_parameters(not_negative={"vp": vp})
    return vp * np.asarray(plasma_mM, float) + tofts(
        time_s, plasma_mM, ktrans_per_min=ktrans_per_min, ve=ve
    )


def patlak(
    time_s: ArrayLike, plasma_mM: ArrayLike, *, ps_per_min: float, vp: float
) -> NDArray[np.float64]:
    """Tissue from which nothing returns to the blood.

        C = vp plasma + PS * integral of plasma

    Args:
        time_s: as for `tofts`.
        plasma_mM: as for `tofts`.
        ps_per_min: permeability surface area product, ml per ml of tissue per minute, >= 0.
        vp: volume of plasma, ml per ml of tissue, >= 0.

    Returns:
        Tissue concentration (mM), (N,).

    Raises:
        ValueError: as for `tofts`.

    Reference: Patlak et al., J Cereb Blood Flow Metab 1983;3:1-7.
    """
    time_s, plasma = _checked(time_s, plasma_mM)
    _check_parameters(not_negative={"ps_per_min": ps_per_min, "vp": vp})
    return vp * plasma + ps_per_min / 60 * _convolved(time_s, plasma, 0.0)


def two_compartment_exchange(
    time_s: ArrayLike,
    plasma_mM: ArrayLike,
    *,
    fp_ml_per_ml_per_min: float,
    ps_per_min: float,
    ve: float,
    vp: float,
) -> NDArray[np.float64]:
    """Plasma that is filled by a finite flow and exchanges with the interstitium (2CXM).

        vp dcp/dt = Fp (plasma - cp) - PS (cp - ce),  ve dce/dt = PS (cp - ce),  C = vp cp + ve ce

    which is solved by C = Fp plasma * ((1 - E) exp(-t K+) + E exp(-t K-)), where K+ and K- are the
    eigenvalues and E = (K+ - Fp / vp) / (K+ - K-).

    Args:
        time_s: as for `tofts`.
        plasma_mM: as for `tofts`.
        fp_ml_per_ml_per_min: flow of plasma, ml per ml of tissue per minute, > 0.
        ps_per_min: permeability surface area product, ml per ml of tissue per minute, >= 0.
        ve: volume of the extravascular extracellular space, ml per ml of tissue, > 0.
        vp: volume of plasma, ml per ml of tissue, > 0.

    Returns:
        Tissue concentration (mM), (N,).

    Raises:
        ValueError: as for `tofts`.

    Reference: Sourbron and Buckley, Phys Med Biol 2012;57:R1-R33.
    """
    time_s, plasma = _checked(time_s, plasma_mM)
    _check_parameters(
        positive={"fp_ml_per_ml_per_min": fp_ml_per_ml_per_min, "ve": ve, "vp": vp},
        not_negative={"ps_per_min": ps_per_min},
    )
    flow, exchange = fp_ml_per_ml_per_min / 60, ps_per_min / 60
    out_of_plasma, into_plasma = (flow + exchange) / vp, exchange / ve
    root = np.sqrt((out_of_plasma - into_plasma) ** 2 + 4 * into_plasma * exchange / vp)
    fast = (out_of_plasma + into_plasma + root) / 2
    slow = into_plasma * flow / vp / fast  # their product; the difference would cancel
    share = (fast - flow / vp) / (fast - slow)
    return np.asarray(
        flow
        * (
            (1 - share) * _convolved(time_s, plasma, fast)
            + share * _convolved(time_s, plasma, slow)
        )
    )


MODELS: Mapping[str, tuple[Callable[..., NDArray[np.float64]], tuple[str, ...]]] = {
    "tofts": (tofts, ("ktrans_per_min", "ve")),
    "extended_tofts": (extended_tofts, ("ktrans_per_min", "ve", "vp")),
    "patlak": (patlak, ("ps_per_min", "vp")),
    "two_compartment_exchange": (
        two_compartment_exchange,
        ("fp_ml_per_ml_per_min", "ps_per_min", "ve", "vp"),
    ),
}
"""Each model with the parameters that `fit` looks for."""


def fit(
    model: str, time_s: ArrayLike, plasma_mM: ArrayLike, tissue_mM: ArrayLike
) -> dict[str, float]:
    """Parameters of a model by least squares within `RANGES`, every sample with the same weight.

    Args:
        model: a key of `MODELS`.
        time_s: rising times, (N,).
        plasma_mM: arterial plasma concentration, (N,).
        tissue_mM: tissue concentration, (N,).

    Returns:
        The model's parameters by name.

    Raises:
        ValueError: there is no such model, the curves do not fit together or are not finite, or the
            fit does not converge.
    """
    if model not in MODELS:
        raise ValueError(f"model is {model!r}: give one of {', '.join(MODELS)}")
    time_s, plasma = _checked(time_s, plasma_mM)
    _, tissue = _checked(time_s, tissue_mM, name="tissue_mM")
    function, names = MODELS[model]
    low, start, high = np.array([RANGES[name] for name in names]).T

    def residual(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return function(time_s, plasma, **dict(zip(names, values, strict=True))) - tissue

    found = least_squares(
        residual, start, bounds=(low, high), x_scale=start, xtol=1e-10, ftol=1e-12, gtol=1e-12
    )
    if not found.success:
        raise ValueError(f"tissue_mM: the fit of {model} did not converge: {found.message}")
    return {name: float(value) for name, value in zip(names, found.x, strict=True)}


def vfa_t1_s(signals: ArrayLike, flip_deg: ArrayLike, tr_s: float) -> NDArray[np.float64]:
    """T1 from spoiled gradient echoes of several flip angles.

    By the nonlinear fit of `spgr_signal`.

    The proton density that fits best at each T1 is known in closed form; T1 is then searched for
    alone, over a grid between `SHORTEST_T1_S` and `LONGEST_T1_S` and between the neighbours of its
    best point. The straight line through S / sin a against S / tan a, often used instead, weighs
    the noise by the angle and errs by more where T1 is long.

    Args:
        signals: last axis over the flip angles, (..., A), A at least 2; any unit.
        flip_deg: flip angles, (A,), in (0, 180).
        tr_s: repetition time, > 0.

    Returns:
        T1 (s), (...); NaN where no T1 between the limits fits best, as for signals without any
            magnetisation.

    Raises:
        ValueError: the arguments are not as above.

    Reference: Deoni et al., Magn Reson Med 2003;49:515-526.
    """
    signals, angles = np.asarray(signals, float), np.asarray(flip_deg, float)
    if angles.ndim != 1 or len(np.unique(angles)) < 2 or not ((angles > 0) & (angles < 180)).all():
        raise ValueError(
            f"flip_deg is {angles.tolist()}: give at least two different angles between 0 and 180"
            " degrees"
        )
    if signals.shape[-1:] != angles.shape:
        raise ValueError(
            f"signals has shape {signals.shape}: its last axis must hold the {len(angles)} flip"
            " angles"
        )
    _check_parameters(positive={"tr_s": tr_s})
    return np.array([_t1_s(row, angles, tr_s) for row in signals.reshape(-1, len(angles))]).reshape(
        signals.shape[:-1]
    )


def _t1_s(measured: NDArray[np.float64], flip_deg: NDArray[np.float64], tr_s: float) -> float:
    size = np.linalg.norm(measured)
    if not (np.isfinite(size) and size > 0):
        return np.nan

    def misfit(log_t1: ArrayLike) -> NDArray[np.float64]:
        expected = np.stack(
            [spgr_signal(np.exp(log_t1), tr_s=tr_s, flip_deg=float(angle)) for angle in flip_deg],
            axis=-1,
        )
        density = expected @ measured / (expected**2).sum(-1)
        return np.asarray(((measured - density[..., None] * expected) ** 2).sum(-1) / size**2)

    grid = np.linspace(np.log(SHORTEST_T1_S), np.log(LONGEST_T1_S), 100)
    best = int(np.argmin(misfit(grid)))
    if best in (0, len(grid) - 1):
        return np.nan
    around = (grid[best - 1], grid[best + 1])
    found = minimize_scalar(
        lambda log_t1: float(misfit(log_t1)),
        bounds=around,
        method="bounded",
        options={"xatol": 1e-8},
    )
    return float(np.exp(found.x))


def _convolved(
    time_s: NDArray[np.float64], curve: NDArray[np.float64], rate_per_s: float
) -> NDArray[np.float64]:
    """Integral over u < t of curve(u) exp(-rate (t - u)), (N,).

    Exact for a curve that is linear between the samples.

    Each sample keeps exp(-rate step) of the one before and gains what the curve adds in between:
    two diagonals of linear equations.
    """
    step_s = np.diff(time_s)
    decay = rate_per_s * step_s
    safe = np.maximum(decay, SERIES_BELOW)
    small = decay < SERIES_BELOW
    both = step_s * np.where(small, 1 - decay / 2 + decay**2 / 6, -np.expm1(-safe) / safe)
    later = step_s * np.where(
        small, 1 / 2 - decay / 6 + decay**2 / 24, (safe + np.expm1(-safe)) / safe**2
    )
    gained = np.concatenate([[0.0], (both - later) * curve[:-1] + later * curve[1:]])
    diagonals = np.ones((2, len(curve)))
    diagonals[1, :-1] = -np.exp(-decay)
    return np.asarray(solve_banded((1, 0), diagonals, gained))


def _checked(
    time_s: ArrayLike, curve: ArrayLike, name: str = "plasma_mM"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    time_s, curve = np.asarray(time_s, float), np.asarray(curve, float)
    if time_s.ndim != 1 or len(time_s) < 2 or not (np.diff(time_s) > 0).all():
        raise ValueError(
            f"time_s has shape {time_s.shape}: give at least two times in one row, each later than"
            " the one before"
        )
    if curve.shape != time_s.shape or not np.isfinite(curve).all():
        raise ValueError(
            f"{name} has shape {curve.shape}: give one finite concentration for each of the"
            f" {len(time_s)} times"
        )
    return time_s, curve


def _check_parameters(
    *, positive: Mapping[str, float] | None = None, not_negative: Mapping[str, float] | None = None
) -> None:
    for name, value in (positive or {}).items():
        if not value > 0:
            raise ValueError(f"{name} is {value}: it must be above 0")
    for name, value in (not_negative or {}).items():
        if not value >= 0:
            raise ValueError(f"{name} is {value}: it must not be negative")
