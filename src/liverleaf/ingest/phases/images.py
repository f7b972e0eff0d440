"""What the pixels of the series of one study tell of their contrast phases.

No organ map exists yet, so nothing is measured on organs. Two kinds of features are compared with
those of phantom studies: how unevenly bright each image is (arterial: vessels and kidneys far above
the rest; portal venous: the liver's side bright as well), and how a coarse image of one series
differs from that of another, voxel by voxel (what fell and what rose from one to the next).

Shape suffixes: A assignments of phases to series, F features, K levels, N series, P phases, V
voxels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, binary_fill_holes, label, map_coordinates, uniform_filter
from scipy.special import log_softmax, logsumexp

from liverleaf.ingest.dicom.pixels import sample_pixels
from liverleaf.ingest.dicom.series import Stack
from liverleaf.ingest.phases.reasons import Reason, ReasonCode
from liverleaf.study import Modality, Phase

COEFFICIENTS = files("liverleaf.ingest.phases") / "images.json"
"""Logistic regressions, as `liverleaf benchmark phases --fit` writes them."""

LEVELS = 12
"""Slices read of each series."""

GRID_MM = 4.0
MAX_SERIES = 7
MIN_EXTENT_MM = 60.0
SKIN_MM = 22.0
"""What is left out at the body's edge: fat, ribs, and most muscle."""

MIN_VOXELS = 500
SOFT_HU = -20.0, 500.0
BRIGHTNESS_PERCENTILES = (5, 25, 75, 90, 97, 99.5)
DIFFERENCE_PERCENTILES = (2, 10, 30, 50, 70, 90, 98)
ONE_ACQUISITION_SPREAD = {Modality.CT: 0.12, Modality.MR: 0.06}
"""Series whose difference spreads less are two reconstructions of one acquisition, in the unit of
`soft_tissue`."""

LOG_ODDS_OF_A_REPEATED_PHASE = 2.0
"""Logarithm of how much less often a phase was imaged twice than once."""

MAX_Z_SCORE = 2.5
"""Standard deviations from the phantoms' mean beyond which a feature says no more."""

PAIR_WEIGHT = 1.5
"""What the logarithms of pairs are multiplied by, so that confidences are right on phantom studies
that were not fitted."""

PIXEL_ERROR_RATE = 0.05
"""How often pixels mislead, whatever they seem to tell."""


def coarse_images(stacks: Sequence[Stack]) -> NDArray[np.float32] | None:
    """Images of all series on one coarse grid of the patient, shape (N, K, rows, columns).

    Rows and columns are 4 mm apart, from the patient's front and right.

    Returns:
        The images; None where the series are not all axial, share too little of the body, or cannot
            be read.
    """
    if any(abs(stack.normal[2]) < 0.9 or len(stack.frames) < 3 for stack in stacks):
        return None
    low = max(stack.along_mm[0] for stack in stacks)
    high = min(stack.along_mm[-1] for stack in stacks)
    if high - low < MIN_EXTENT_MM:
        return None
    levels_mm = np.linspace(low, high, LEVELS)
    corners = np.array([_corners(stack) for stack in stacks])
    first, last = corners.min(axis=1).max(axis=0), corners.max(axis=1).min(axis=0)
    if (last - first < MIN_EXTENT_MM).any():
        return None
    x_mm, y_mm = (np.arange(start, end, GRID_MM) for start, end in zip(first, last, strict=True))
    points_mm = np.stack(np.meshgrid(x_mm, y_mm), axis=-1)
    images = []
    for stack in stacks:
        nearest = np.abs(stack.along_mm[:, None] - levels_mm).argmin(axis=0)
        chosen = replace(stack, frames=tuple(stack.frames[index] for index in nearest))
        slices = sample_pixels(chosen, LEVELS)
        if len(slices) < LEVELS:
            return None
        images.append(_resampled(slices, chosen, points_mm))
    return np.stack(images)


def soft_tissue(
    images: NDArray[np.float32], modality: Modality
) -> tuple[NDArray[np.float64], NDArray[np.bool_]] | None:
    """What lies deep in the body and is neither air nor dense bone in any series.

    Args:
        images: of one study at the same places, shape (N, K, rows, columns), columns from the
            patient's right.
        modality: CT or MR.

    Returns:
        HU / 100 or the logarithm of the MR signal, shape (N, V), and which voxels lie in the
            patient's right half, mostly liver; None where there is hardly any.
    """
    smooth = uniform_filter(images, (0, 0, 3, 3))
    mean = smooth.mean(axis=0)
    inside = _deep(mean > (-200 if modality is Modality.CT else 0.25 * np.percentile(mean, 95)))
    if modality is Modality.CT:
        soft = inside & (smooth.min(axis=0) > SOFT_HU[0]) & (smooth.max(axis=0) < SOFT_HU[1])
    else:
        soft = inside & (
            smooth.min(axis=0) > 0.1 * np.median(mean[inside] if inside.any() else 0.0)
        )
    if soft.sum() < MIN_VOXELS:
        return None
    columns = np.broadcast_to(np.arange(images.shape[-1]), soft.shape)
    right = (columns < np.median(columns[inside]))[soft]
    values = smooth[:, soft].astype(np.float64)
    return (values / 100 if modality is Modality.CT else np.log(values)), right


def brightness_features(
    values_NV: NDArray[np.float64], right_V: NDArray[np.bool_], modality: Modality
) -> NDArray[np.float64]:
    """Features of the brightness of each image, shape (N, F).

    In CT this is the right half's median alone: bone, bowel contrast and what the field of view
    holds change the rest too much. In MR, it and percentiles, above the image's own median.
    """
    right_N = _median_of_right_half(values_NV, right_V)
    if modality is Modality.CT:
        return right_N[:, None]
    median_N = np.median(values_NV, axis=1)
    return np.column_stack(
        [*(np.percentile(values_NV, BRIGHTNESS_PERCENTILES, axis=1) - median_N), right_N - median_N]
    )


def difference_features(
    one_V: NDArray[np.float64], two_V: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Features of two images together, shape (F,): percentiles of their difference by voxel."""
    return np.percentile(one_V - two_V, DIFFERENCE_PERCENTILES)


def combine_with_pixels(
    rows_NP: NDArray[np.float64],
    values_NV: NDArray[np.float64],
    right_V: NDArray[np.bool_],
    modality: Modality,
) -> NDArray[np.float64]:
    """Combine the probabilities of phases by headers with what pixels tell.

    All assignments of phases to series are weighed: by the headers' probability of each phase for
    each series, by how well each pair of images fits the two phases, and by how often phases are
    imaged twice. What remains open in one series is so decided by the others.

    Args:
        rows_NP: probability of each phase and of none by the headers, shape (N, P + 1), at most
            `MAX_SERIES` of them.
        values_NV: of `soft_tissue`.
        right_V: of `soft_tissue`.
        modality: CT or MR.

    Returns:
        The probabilities again. That of being no phase is the headers'.
    """
    features_NF = brightness_features(values_NV, right_V, modality)
    acquisition_N = _acquisitions(values_NV, modality)
    distinct = sorted(set(acquisition_N))
    priors_NP = np.log(np.maximum(rows_NP[:, :-1], 1e-6))
    weights_NP = np.stack(
        [priors_NP[np.array(acquisition_N) == first].sum(axis=0) for first in distinct]
    )
    phases = np.array(coefficients(modality)["phases"])
    assigned_AN = np.array(list(product(phases, repeat=len(distinct))))
    scores_A = weights_NP[np.arange(len(distinct)), assigned_AN].sum(axis=1)
    repeated_A = [len(distinct) - len(set(one)) for one in assigned_AN.tolist()]
    scores_A -= LOG_ODDS_OF_A_REPEATED_PHASE * np.array(repeated_A)
    for (i, one), (j, two) in permutations(enumerate(distinct), 2):
        difference_F = difference_features(values_NV[one], values_NV[two])
        pair_PP = _pair(modality, features_NF[one], features_NF[two], difference_F)
        share = PAIR_WEIGHT / (2 * (len(distinct) - 1))
        scores_A += share * pair_PP[assigned_AN[:, i], assigned_AN[:, j]]
    if len(distinct) == 1:
        scores_A += _alone(modality, features_NF[0])[assigned_AN[:, 0]]
    out = rows_NP.copy()
    for n, first in enumerate(acquisition_N):
        posterior_P = _marginal(scores_A, assigned_AN[:, distinct.index(first)])
        before_P = rows_NP[n, :-1] / max(rows_NP[n, :-1].sum(), 1e-9)
        joined_P = (1 - PIXEL_ERROR_RATE) * posterior_P + PIXEL_ERROR_RATE * before_P
        out[n, :-1] = (1 - rows_NP[n, -1]) * joined_P
    return out


def _marginal(scores_A: NDArray[np.float64], phase_A: NDArray[np.intp]) -> NDArray[np.float64]:
    """The probability of each phase of one series, shape (P,), by the scores of all assignments."""
    phases_P = np.full(len(Phase), -np.inf)
    for phase in np.unique(phase_A):
        phases_P[phase] = logsumexp(scores_A[phase_A == phase])
    posterior_P: NDArray[np.float64] = np.exp(phases_P - logsumexp(phases_P))
    return posterior_P


def appearance(
    values_NV: NDArray[np.float64], right_V: NDArray[np.bool_], modality: Modality
) -> list[Reason]:
    """What is seen in each image, for a reader."""
    bright_N = np.percentile(values_NV, 97, axis=1)
    right_N = _median_of_right_half(values_NV, right_V)
    if modality is Modality.CT:
        return [
            Reason.of(ReasonCode.CT_PIXELS, bright_hu=100 * bright, right_hu=100 * right)
            for bright, right in zip(bright_N.tolist(), right_N.tolist(), strict=True)
        ]
    return [
        Reason.of(ReasonCode.MR_PIXELS, ratio=ratio)
        for ratio in np.exp(bright_N - right_N).tolist()
    ]


def _median_of_right_half(
    values_NV: NDArray[np.float64], right_V: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Median of the patient's right half in each image, shape (N,); of all where that is empty."""
    median_N: NDArray[np.float64] = np.median(
        values_NV[:, right_V] if right_V.any() else values_NV, axis=1
    )
    return median_N


@cache
def coefficients(modality: Modality) -> dict[str, Any]:
    """Logistic regressions of phase and of pairs of phases, as arrays by name.

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

    A feature beyond `MAX_Z_SCORE` counts as if it lay there, for nothing was fitted beyond.
    """
    z_F = (features_F - fitted[f"{kind}_mean"]) / fitted[f"{kind}_sd"]
    standard_F = np.clip(z_F, -MAX_Z_SCORE, MAX_Z_SCORE)
    scores: NDArray[np.float64] = log_softmax(
        fitted[f"{kind}_weights"] @ standard_F + fitted[f"{kind}_bias"]
    )
    return scores


def _acquisitions(values_NV: NDArray[np.float64], modality: Modality) -> list[int]:
    """For each series the first that shows the same acquisition."""
    firsts: list[int] = []
    for values_V in values_NV:
        spreads = [np.ptp(np.percentile(values_V - values_NV[first], (2, 98))) for first in firsts]
        same = [
            first
            for first, spread in zip(firsts, spreads, strict=True)
            if spread < ONE_ACQUISITION_SPREAD[modality]
        ]
        firsts.append(same[0] if same else len(firsts))
    return firsts


def _corners(stack: Stack) -> NDArray[np.float64]:
    """LPS positions (x, y) of opposite corners of a slice, shape (2, 2)."""
    frame = stack.frames[0]
    rows, columns = frame.shape
    along_row_mm = frame.orientation[:3] * frame.spacing_mm[1] * (columns - 1)
    down_column_mm = frame.orientation[3:] * frame.spacing_mm[0] * (rows - 1)
    opposite_mm = frame.position_mm + along_row_mm + down_column_mm
    return np.array([frame.position_mm[:2], opposite_mm[:2]])


def _resampled(
    slices: NDArray[np.float32], stack: Stack, points_mm: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Slices averaged over the coarse grid's pixels and read at its points.

    Args:
        slices: of one stack, shape (slices, rows, columns).
        stack: that tells their geometry.
        points_mm: LPS positions (x, y), shape (rows, columns, 2).
    """
    frame = stack.frames[0]
    size = [max(1, round(GRID_MM / spacing)) for spacing in frame.spacing_mm]
    steps = np.column_stack(
        [frame.orientation[3:5] * frame.spacing_mm[0], frame.orientation[:2] * frame.spacing_mm[1]]
    )
    indices = np.moveaxis((points_mm - frame.position_mm[:2]) @ np.linalg.inv(steps).T, -1, 0)
    return np.stack(
        [
            map_coordinates(uniform_filter(plane, size), indices, order=0, mode="nearest")
            for plane in slices
        ]
    )


def _deep(body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest piece of each slice with its holes, but for the skin."""
    out = np.zeros_like(body)
    for level, plane in enumerate(body):
        pieces, count = label(binary_fill_holes(plane))
        if count:
            largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
            out[level] = binary_erosion(largest, iterations=round(SKIN_MM / GRID_MM))
    return out
