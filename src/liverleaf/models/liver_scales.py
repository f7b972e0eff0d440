"""Normalisation on a liver that the network itself outlines: the two are found by turns.

Shape suffixes: P channels, Z slices, Y rows, X columns, S chosen slices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from liverleaf.data.network_input import InputConfig, ModelInput, normalisations
from liverleaf.data.normalisation import LiverNormalisation, first_guess, liver_level
from liverleaf.study import Modality, Study

ROUNDS = 3
TOLERANCE = 0.06
"""In units of contrast: 3 HU, or 3 % of an MR's liver."""
MINIMUM_LIVER_ML = 100.0

Scales = Mapping[str, LiverNormalisation]


def liver_scales(
    study: Study,
    given: ModelInput,
    config: InputConfig,
    outline: Callable[[Scales], NDArray[np.bool_] | None],
    *,
    slices: NDArray[np.integer],
) -> tuple[Scales, list[str]]:
    """How the study's intensities are normalised, and what is doubtful about that.

    Without `config.normalise_on_liver` by the study's own brightness, and nothing is outlined.

    Args:
        study: the study.
        given: it on the network's grid.
        config: what the network sees of it.
        outline: the parenchyma (S, Y, X) in these slices, of images normalised so; None where there
            is too little to take its level.
        slices: the slices that it is outlined in.
    """
    if config.normalise_on_liver:
        return _by_turns(given, config, outline, slices)
    no_liver_needed = np.zeros(study.grid.spatial_shape, bool)
    return normalisations(study, no_liver_needed, config), []


def _by_turns(
    given: ModelInput,
    config: InputConfig,
    outline: Callable[[Scales], NDArray[np.bool_] | None],
    slices: NDArray[np.integer],
) -> tuple[Scales, list[str]]:
    """Outline the liver and take its level in each channel, by turns until levels are stable."""
    channels = [
        (index, channel, given.raw_ZPYX[:, index])
        for index, channel in enumerate(config.channels)
        if given.present_P[index]
    ]
    expected = {
        channel: first_guess(raw_ZYX, phase=config.channel_phases[index], modality=config.modality)
        for index, channel, raw_ZYX in channels
    }
    scales = {c: LiverNormalisation.on(level, config.modality) for c, level in expected.items()}
    for _ in range(ROUNDS):
        parenchyma_SYX = outline(scales)
        if parenchyma_SYX is None:
            return scales, [
                "little or no liver was found, so intensities could not be normalised on it: trust"
                " nothing here"
            ]
        before, scales = scales, {}
        for _, channel, raw_ZYX in channels:
            # an MR's scale is arbitrary: nothing is expected of it
            prior = expected[channel] if config.modality is Modality.CT else None
            level = liver_level(
                raw_ZYX[slices][parenchyma_SYX], modality=config.modality, expected=prior
            )
            scales[channel] = LiverNormalisation.on(level, config.modality)
        if all(_same_level(scales[channel], before[channel]) for channel in scales):
            break
    return scales, []


def _same_level(one: LiverNormalisation, other: LiverNormalisation) -> bool:
    return abs(one.liver - other.liver) < TOLERANCE * one.unit


def parenchyma(
    liver_SYX: NDArray[np.bool_],
    lesion_SYX: NDArray[np.bool_],
    given: ModelInput,
    *,
    share: float = 1.0,
) -> NDArray[np.bool_] | None:
    """Liver without lesions, (S, Y, X); with them where little else is left.

    None where too little liver is found to take its level.

    Args:
        liver_SYX: the liver, with or without its lesions.
        lesion_SYX: the lesions.
        given: the study on the network's grid.
        share: of the volume's slices that these are.
    """
    # of a slice's voxel, as if these slices were the whole volume
    voxel_ml = (
        np.prod(given.grid.physical_extent) / np.prod(given.raw_ZPYX[:, 0].shape) / 1000 / share
    )
    without: NDArray[np.bool_] = liver_SYX & ~lesion_SYX
    if without.sum() * voxel_ml < MINIMUM_LIVER_ML:
        without = liver_SYX
    return None if without.sum() * voxel_ml < MINIMUM_LIVER_ML / 2 else without
