"""What the pixels of the series of one study tell of their contrast phases.

CT has a scale of its own: aorta and liver are measured and compared with those of phantom studies,
and with what cannot be (from the portal venous to the delayed phase neither brightens). MR has
none. Two kinds of features are compared with those of phantom studies: how unevenly bright each
image is (arterial: vessels and kidneys far above the rest; portal venous: the liver's side bright
as well), and how a coarse image of one series differs from that of another, voxel by voxel (what
fell and what rose from one to the next).

Shape suffixes: A assignments of phases to series, F features, N series, P phases, V voxels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from liverleaf.ingest.phases.ct_organs import OrganHU
from liverleaf.ingest.phases.reasons import Reason, ReasonCode
from liverleaf.ingest.phases.tissue import Tissue, first_of_acquisition
from liverleaf.study import Modality, Phase

COEFFICIENTS = files("liverleaf.ingest.phases") / "images.json"
"""Logistic regressions, as `liverleaf benchmark phases --fit` writes them."""

BRIGHTNESS_PERCENTILES = (5, 25, 75, 90, 97, 99.5)
DIFFERENCE_PERCENTILES = (2, 10, 30, 50, 70, 90, 98)
LOG_ODDS_OF_A_REPEATED_PHASE = 2.0
"""Logarithm of how much less often a phase was imaged twice than once."""

MAX_Z_SCORE = 2.5
"""Standard deviations from the phantoms' mean beyond which a feature says no more."""

AORTA_HU = (0.0, 120.0), (120.0, 180.0), (180.0, 300.0)
"""Ranges within which a change of the aorta tells the same."""

NATIVE_AORTA_HU, NATIVE_LIVER_HU = 30.0, 50.0
"""Without contrast agent, rather low. A liver that is darker in any series is so without agent."""

MIN_ENHANCEMENT_HU = 10.0
"""What is told from no enhancement."""

LOG_RATIO = 0.0, 3.0
"""Logarithms within which the ratio of the aorta's enhancement to the liver's tells."""

REPEATABILITY_HU = {"aorta": 10.0, "liver": 5.0}
"""What two measurements of one phase may differ by."""

CHANGE_HU = {"aorta": 10.0, "liver": 6.0}
"""What further change makes a pair of phases e times less likely that cannot change so."""

MAX_CONTRADICTION = 6.0
"""Logarithm of how much less likely it gets at most."""

PAIR_WEIGHT = 1.5
"""What the logarithms of pairs are multiplied by, so that confidences are right on phantom studies
that were not fitted."""

PIXEL_ERROR_RATE = 0.05
"""How often pixels mislead, whatever they seem to tell."""


def brightness_features(tissue: Tissue) -> NDArray[np.float64]:
    """Features of the brightness of each image, shape (N, F).

    In CT, HU / 100 of the aorta, by the ranges of `AORTA_HU`, and of the liver, and the logarithm
    of the ratio of their enhancements, which dose and tube voltage do not change; NaN for what was
    not found. In MR, the right half's median and percentiles, above the image's own median.
    """
    if tissue.organs is not None:
        aorta_N, liver_N, _ = tissue.organs
        ranges = [(np.clip(aorta_N, low, high) - low) / 100 for low, high in AORTA_HU]
        native_hu = np.fmin(NATIVE_LIVER_HU, np.fmin.reduce(liver_N))
        liver_enhanced_N = np.maximum(liver_N - native_hu, 0) + MIN_ENHANCEMENT_HU
        aorta_enhanced_N = np.maximum(aorta_N - NATIVE_AORTA_HU, MIN_ENHANCEMENT_HU)
        ratio_N = np.clip(np.log(aorta_enhanced_N / liver_enhanced_N), *LOG_RATIO)
        return np.column_stack([*ranges, liver_N / 100, ratio_N])
    median_N = np.median(tissue.values_NV, axis=1)
    percentiles = np.percentile(tissue.values_NV, BRIGHTNESS_PERCENTILES, axis=1)
    return np.column_stack([*(percentiles - median_N), tissue.right_median_N - median_N])


def difference_features(
    one_V: NDArray[np.float64], two_V: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Features of two images together, shape (F,): percentiles of their difference by voxel."""
    return np.percentile(one_V - two_V, DIFFERENCE_PERCENTILES)


def combine_with_pixels(rows_NP: NDArray[np.float64], tissue: Tissue) -> NDArray[np.float64]:
    """Combine the probabilities of phases by headers with what pixels tell.

    All assignments of phases to series are weighed: by the headers' probability of each phase for
    each series, by how well the images fit the phases, and by how often phases are imaged twice.
    What remains open in one series is so decided by the others. In CT each image is weighed by
    itself and each pair by what cannot be; in MR images are weighed in pairs.

    Args:
        rows_NP: probability of each phase and of none by the headers, shape (N, P + 1), at most
            `MAX_SERIES` of them.
        tissue: of the same series.

    Returns:
        The probabilities again. That of being no phase is the headers'.
    """
    acquisition_N = first_of_acquisition(tissue)
    distinct = sorted(set(acquisition_N))
    priors_NP = np.log(np.maximum(rows_NP[:, :-1], 1e-6))
    weights_NP = np.stack(
        [priors_NP[np.array(acquisition_N) == first].sum(axis=0) for first in distinct]
    )
    phases = np.array(coefficients(tissue.modality)["phases"])
    assigned_AN = np.array(list(product(phases, repeat=len(distinct))))
    scores_A = weights_NP[np.arange(len(distinct)), assigned_AN].sum(axis=1)
    repeated_A = [len(distinct) - len(set(one)) for one in assigned_AN.tolist()]
    scores_A -= LOG_ODDS_OF_A_REPEATED_PHASE * np.array(repeated_A)
    scores_A += _image_scores(tissue, distinct, assigned_AN)
    out = rows_NP.copy()
    for n, first in enumerate(acquisition_N):
        posterior_P = _marginal(scores_A, assigned_AN[:, distinct.index(first)])
        before_P = rows_NP[n, :-1] / max(rows_NP[n, :-1].sum(), 1e-9)
        joined_P = (1 - PIXEL_ERROR_RATE) * posterior_P + PIXEL_ERROR_RATE * before_P
        out[n, :-1] = (1 - rows_NP[n, -1]) * joined_P
    return out


def _image_scores(
    tissue: Tissue, distinct: Sequence[int], assigned_AN: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Logarithm of how well distinct images fit each assignment of phases to them, shape (A,)."""
    features_NF = brightness_features(tissue)
    scores_A = np.zeros(len(assigned_AN))
    for (i, one), (j, two) in permutations(enumerate(distinct), 2):
        if tissue.organs is not None:
            pair_PP = -_contradictions(tissue.organs, one, two)
        else:
            difference_F = difference_features(tissue.values_NV[one], tissue.values_NV[two])
            pair_PP = _pair(tissue.modality, features_NF[one], features_NF[two], difference_F)
            pair_PP *= PAIR_WEIGHT / (2 * (len(distinct) - 1))
        scores_A += pair_PP[assigned_AN[:, i], assigned_AN[:, j]]
    if len(distinct) == 1 or tissue.organs is not None:
        for i, one in enumerate(distinct):
            scores_A += _alone(tissue.modality, features_NF[one])[assigned_AN[:, i]]
    return scores_A


def _marginal(scores_A: NDArray[np.float64], phase_A: NDArray[np.intp]) -> NDArray[np.float64]:
    """The probability of each phase of one series, shape (P,), by the scores of all assignments."""
    phases_P = np.full(len(Phase), -np.inf)
    for phase in np.unique(phase_A):
        phases_P[phase] = logsumexp(scores_A[phase_A == phase])
    posterior_P: NDArray[np.float64] = np.exp(phases_P - logsumexp(phases_P))
    return posterior_P


def appearance(tissue: Tissue) -> list[Reason]:
    """What is seen in each image, for a reader."""
    if tissue.organs is not None:
        return [_organs_seen(*each) for each in zip(*tissue.organs, strict=True)]
    bright_N = np.percentile(tissue.values_NV, 97, axis=1)
    return [
        Reason.of(ReasonCode.MR_PIXELS, ratio=ratio)
        for ratio in np.exp(bright_N - tissue.right_median_N).tolist()
    ]


def _organs_seen(*hu: float) -> Reason:
    found = {name: value for name, value in zip(OrganHU._fields, hu, strict=True) if value == value}
    listed = ", ".join(f"{name} {value:.0f} HU" for name, value in found.items())
    return Reason.of(ReasonCode.CT_PIXELS, organs=listed)


@cache
def coefficients(modality: Modality) -> dict[str, Any]:
    """Logistic regressions of phase, and in MR of pairs of phases, as arrays by name.

    They were fitted by `liverleaf benchmark phases --fit`.
    """
    fitted: dict[str, Any] = json.loads(COEFFICIENTS.read_text(encoding="utf-8"))[modality]
    return {
        name: np.array(value) if isinstance(value, list) else value
        for name, value in fitted.items()
    }


def _pair(modality: Modality, *features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of how well two images fit each pair of phases, shape (P, P)."""
    fitted = coefficients(modality)
    scores = _linear(fitted, "pair", np.concatenate(features))
    out = np.full((len(Phase), len(Phase)), -np.inf)
    one, two = fitted["pair_classes"].T
    out[one, two] = scores
    with np.errstate(divide="ignore"):
        # no study taught what one phase twice looks like
        np.fill_diagonal(out, logsumexp(out, axis=0) + logsumexp(out, axis=1))
    return out


def _alone(modality: Modality, features_F: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of how well the image fits each phase, shape (P,)."""
    fitted = coefficients(modality)
    out = np.full(len(Phase), -np.inf)
    out[fitted["phases"]] = _linear(fitted, "alone", features_F)
    return out


def _linear(
    fitted: dict[str, Any], kind: str, features_F: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Logarithm of the probability of each class, shape (C,).

    A feature beyond `MAX_Z_SCORE` counts as if it lay there, for nothing was fitted beyond; NaN
    counts as the mean.
    """
    z_F = (features_F - fitted[f"{kind}_mean"]) / fitted[f"{kind}_sd"]
    standard_F = np.nan_to_num(np.clip(z_F, -MAX_Z_SCORE, MAX_Z_SCORE))
    scores: NDArray[np.float64] = log_softmax(
        fitted[f"{kind}_weights"] @ standard_F + fitted[f"{kind}_bias"]
    )
    return scores


def _contradictions(organs: OrganHU, one: int, two: int) -> NDArray[np.float64]:
    """How far two series of one study contradict each pair of phases, the first one's first.

    Without contrast agent nothing is brighter than with it; the liver brightens from the arterial
    to the portal venous phase; from there on aorta and liver fade.

    Returns:
        Shape (P, P), at least 0, of the unit of a logarithm.
    """
    rise, fall = {}, {}
    for name in ("aorta", "liver"):
        hu_N = getattr(organs, name)
        change_hu = np.nan_to_num(hu_N[two] - hu_N[one])
        rise[name], fall[name] = (
            max(0.0, change - REPEATABILITY_HU[name]) / CHANGE_HU[name]
            for change in (change_hu, -change_hu)
        )
    out = np.zeros((len(Phase), len(Phase)))
    out[Phase.PRE, Phase.ARTERIAL :] = sum(fall.values())
    out[Phase.ARTERIAL, Phase.PORTAL :] = fall["liver"]
    out[Phase.PORTAL, Phase.DELAYED :] = sum(rise.values())
    return np.minimum(out, MAX_CONTRADICTION)
