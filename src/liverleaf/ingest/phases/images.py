"""The series of one study and the probability of each phase by their headers in, the same with what their pixels tell out.

No organ map exists yet, so nothing is measured on organs. Two views are compared with phantom
studies: how unevenly bright each image is (arterial: vessels and kidneys far above the rest; portal
venous: the liver's side bright as well), and how a coarse image of one series differs from that of
another, voxel by voxel (what fell and what rose from one to the next).

Shape suffixes: A assignments of phases to series, F measures, K levels, N series, P phases, V
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
from liverleaf.study import Modality, Phase

LEVELS = 12
"""Slices read of each series."""

GRID_MM = 4.0
MAX_SERIES = 7
MIN_EXTENT_MM = 60.0
SKIN_MM = 22.0
"""What is left out at the body's edge: fat, ribs, and most muscle."""

MIN_VOXELS = 500
SOFT_HU = -20.0, 500.0
WITHIN_PERCENTILES = (5, 25, 75, 90, 97, 99.5)
BETWEEN_PERCENTILES = (2, 10, 30, 50, 70, 90, 98)
ONE_ACQUISITION = {Modality.CT: 0.12, Modality.MR: 0.06}
"""Series whose difference spreads less are two reconstructions of one acquisition, in the unit of
`soft_tissue`."""

TWICE = 2.0
"""Logarithm of how much less often a phase was imaged twice than once."""

FAR = 2.5
"""Standard deviations from the phantom's mean beyond which a measure says no more."""

TRUST = 1.5
"""What the logarithms of pairs are multiplied by, so that confidences are right on phantom studies
that were not fitted."""

MISLED = 0.05
"""How often pixels mislead, whatever they seem to tell."""


def coarse_images(stacks: Sequence[Stack]) -> NDArray[np.float32] | None:
    """Images of all series at the same places, shape (N, K, rows, columns), 4 mm apart from the patient's right and front.

    Returns:
        None where the series are not all axial, share too little of the body, or cannot be read.
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
    places_mm = np.stack(np.meshgrid(x_mm, y_mm), axis=-1)
    images = []
    for stack in stacks:
        nearest = np.abs(stack.along_mm[:, None] - levels_mm).argmin(axis=0)
        chosen = replace(stack, frames=tuple(stack.frames[index] for index in nearest))
        slices = sample_pixels(chosen, LEVELS)
        if len(slices) < LEVELS:
            return None
        images.append(_resampled(slices, chosen, places_mm))
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
            patient's right half, mostly liver; None
        where there is hardly any.
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


def within(
    values_NV: NDArray[np.float64], right_V: NDArray[np.bool_], modality: Modality
) -> NDArray[np.float64]:
    """How bright what is in each image, shape (N, F).

    In CT this is the right half's median alone: bone, bowel contrast and what the field of view
    holds change the rest too much. In MR, it and percentiles, above the image's own median.
    """
    right_N = (
        np.median(values_NV[:, right_V], axis=1) if right_V.any() else np.median(values_NV, axis=1)
    )
    if modality is Modality.CT:
        return right_N[:, None]
    median_N = np.median(values_NV, axis=1)
    return np.column_stack(
        [*(np.percentile(values_NV, WITHIN_PERCENTILES, axis=1) - median_N), right_N - median_N]
    )


def between(one_V: NDArray[np.float64], two_V: NDArray[np.float64]) -> NDArray[np.float64]:
    """How two images differ voxel by voxel, shape (F,): percentiles of the difference."""
    return np.percentile(one_V - two_V, BETWEEN_PERCENTILES)


def with_pixels(
    rows: NDArray[np.float64],
    values_NV: NDArray[np.float64],
    right_V: NDArray[np.bool_],
    modality: Modality,
) -> NDArray[np.float64]:
    """Join what headers and pixels tell.

    All assignments of phases to series are weighed: by the headers' probability of each phase for
    each series, by how well each pair of images fits the two phases, and by how often phases are
    imaged twice. What remains open in one series is so decided by the others.

    Args:
        rows: probability of each phase and of none by the headers, shape (N, P + 1), at most
            `MAX_SERIES` of them.
        values_NV: of `soft_tissue`.
        right_V: of `soft_tissue`.
        modality: CT or MR.

    Returns:
        The probabilities again. That of being no phase is the headers'.
    """
    measures_NF = within(values_NV, right_V, modality)
    firsts = _acquisitions(values_NV, modality)
    distinct = sorted(set(firsts))
    priors_NP = np.log(np.maximum(rows[:, :-1], 1e-6))
    weights_NP = np.array(
        [sum(priors_NP[n] for n, first in enumerate(firsts) if first == one) for one in distinct]
    )
    phases = np.array(model(modality)["phases"])
    assigned_AN = np.array(list(product(phases, repeat=len(distinct))))
    scores_A = weights_NP[np.arange(len(distinct)), assigned_AN].sum(axis=1)
    scores_A -= TWICE * np.array(
        [len(distinct) - len(set(phases)) for phases in assigned_AN.tolist()]
    )
    for (i, one), (j, two) in permutations(enumerate(distinct), 2):
        pair_PP = TRUST * _pair(
            modality, measures_NF[one], measures_NF[two], between(values_NV[one], values_NV[two])
        )
        scores_A += pair_PP[assigned_AN[:, i], assigned_AN[:, j]] / (2 * (len(distinct) - 1))
    if len(distinct) == 1:
        scores_A += _alone(modality, measures_NF[0])[assigned_AN[:, 0]]
    out = rows.copy()
    for n, first in enumerate(firsts):
        here_A = assigned_AN[:, distinct.index(first)]
        phases_P = np.array(
            [
                logsumexp(scores_A, b=here_A == phase) if phase in phases else -np.inf
                for phase in Phase
            ]
        )
        posterior_P = np.exp(phases_P - logsumexp(phases_P))
        before_P = rows[n, :-1] / max(rows[n, :-1].sum(), 1e-9)
        out[n, :-1] = (1 - rows[n, -1]) * ((1 - MISLED) * posterior_P + MISLED * before_P)
    return out


def seen_in(
    values_NV: NDArray[np.float64], right_V: NDArray[np.bool_], modality: Modality
) -> list[str]:
    """What was seen in each image, in plain words."""
    bright_N = np.percentile(values_NV, 97, axis=1)
    right_N = (
        np.median(values_NV[:, right_V], axis=1) if right_V.any() else np.median(values_NV, axis=1)
    )
    if modality is Modality.CT:
        return [
            f"its pixels: the brightest 3 % above {100 * bright:.0f} HU, the liver's side about"
            f" {100 * right:.0f} HU"
            for bright, right in zip(bright_N, right_N, strict=True)
        ]
    return [
        f"its pixels: the brightest 3 % above {ratio:.1f} times the liver's side"
        for ratio in np.exp(bright_N - right_N)
    ]


@cache
def model(modality: Modality) -> dict[str, Any]:
    """Multinomial logistic regressions of phase and of pairs of phases, by `liverleaf benchmark phases --fit`; arrays by name."""
    text = files("liverleaf.ingest.phases").joinpath("images.json").read_text(encoding="utf-8")
    fitted: dict[str, Any] = json.loads(text)[modality]
    return {
        name: np.array(value) if isinstance(value, list) else value
        for name, value in fitted.items()
    }


def _pair(modality: Modality, *measures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of how well two images fit each pair of phases, shape (P, P)."""
    fitted = model(modality)
    scores = _linear(fitted, "pair", np.concatenate(measures))
    out = np.full((len(Phase), len(Phase)), -np.inf)
    one, two = fitted["pair_classes"].T
    out[one, two] = scores
    with np.errstate(divide="ignore"):
        # no study taught what one phase twice looks like
        np.fill_diagonal(out, logsumexp(out, axis=0) + logsumexp(out, axis=1))
    return out


def _alone(modality: Modality, measures_F: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of how well the image fits each phase, shape (P,)."""
    fitted = model(modality)
    out = np.full(len(Phase), -np.inf)
    out[fitted["phases"]] = _linear(fitted, "alone", measures_F)
    return out


def _linear(
    fitted: dict[str, Any], kind: str, measures_F: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Logarithm of the probability of each class; what lies beyond `FAR` counts as if it lay there, for nothing was fitted beyond."""
    standard_F = np.clip((measures_F - fitted[f"{kind}_mean"]) / fitted[f"{kind}_sd"], -FAR, FAR)
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
            if spread < ONE_ACQUISITION[modality]
        ]
        firsts.append(same[0] if same else len(firsts))
    return firsts


def _corners(stack: Stack) -> NDArray[np.float64]:
    """Places (x, y) of opposite corners of a slice, shape (2, 2)."""
    frame = stack.frames[0]
    rows, columns = frame.shape
    across = frame.orientation[:3] * frame.spacing_mm[1] * (columns - 1) + frame.orientation[
        3:
    ] * frame.spacing_mm[0] * (rows - 1)
    return np.array([frame.position_mm[:2], (frame.position_mm + across)[:2]])


def _resampled(
    slices: NDArray[np.float32], stack: Stack, places_mm: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Slices averaged over the coarse grid's pixels and read at `places_mm` (rows, columns, 2), shape (slices, rows, columns)."""
    frame = stack.frames[0]
    size = [max(1, round(GRID_MM / spacing)) for spacing in frame.spacing_mm]
    steps = np.column_stack(
        [frame.orientation[3:5] * frame.spacing_mm[0], frame.orientation[:2] * frame.spacing_mm[1]]
    )
    at = np.moveaxis((places_mm - frame.position_mm[:2]) @ np.linalg.inv(steps).T, -1, 0)
    return np.stack(
        [
            map_coordinates(uniform_filter(plane, size), at, order=0, mode="nearest")
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
