"""Prediction with MTI-Net: a line of functions from a study to a `Prediction`, values between them.

    Study -> ModelInput -> scales -> images_ZPYX -> EncodedSlices -> LesionMasks -> HeadOutputs
          -> RawPrediction -> Prediction

The liver is outlined first and every channel normalised on it, a few times over a few slices; then
the whole volume is encoded once, lesions are separated in three dimensions, and the heads read each
of them from the features already there.

Shape suffixes: P channels, Z slices, Y rows, X columns, K masks, S chosen slices, L lesions, T
types, R regions, B slices of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn

from liverleaf.data.batch import Regions
from liverleaf.data.network_input import (
    InputConfig,
    ModelInput,
    canonical,
    lesion_regions,
    model_input,
    normalisations,
    normalised,
    on_study_grid,
)
from liverleaf.models.blocks import channels_last
from liverleaf.models.calibration import fitted_threshold, type_set
from liverleaf.models.checkpoint import ModelCard
from liverleaf.models.family import Output
from liverleaf.models.lesion_masks import (
    LesionMasks,
    lesions_on_network_grid,
    liver_max,
    separate_lesions,
    smooth,
)
from liverleaf.models.liver_scales import Scales, liver_scales, parenchyma
from liverleaf.models.mti_net.ensemble import EnsembleFeatures
from liverleaf.models.mti_net.network import Features
from liverleaf.models.predictor import (
    SLICES_AT_ONCE,
    Predictor,
    TimedNetwork,
    UncalibratedLesions,
    foreign_study_warnings,
    input_warnings,
)
from liverleaf.prediction import LesionPrediction, Prediction
from liverleaf.segmentation import Segmentation
from liverleaf.study import Study
from liverleaf.system.progress import Progress, silent
from liverleaf.terminology import Organ

NORMALISATION_SLICES = 16
HEAD_SLICES = 16
"""A lesion's type is read from at most this many of its slices, the largest."""


class EncodedSlices(NamedTuple):
    """What the encoders and the decoder make of a volume.

    Attributes:
        probability_ZKYX: of the masks, padded as the network's input.
        features: of a few slices each, in the order of the slices.
    """

    probability_ZKYX: NDArray[np.float32]
    features: Sequence[Features | EnsembleFeatures]


class HeadOutputs(NamedTuple):
    """What the heads say of the lesions.

    Attributes:
        logits_LT: mean log-probability of each type over the lesion's slices, weighted by area.
        curve_LP: curve, normalised as the channels are, averaged likewise.
    """

    logits_LT: NDArray[np.float64]
    curve_LP: NDArray[np.float64]


@dataclass(frozen=True)
class RawPrediction:
    """What the network says of a study, before calibration of its probabilities.

    Attributes:
        given: the study on the network's grid.
        masks: liver and lesions.
        heads: types and curves.
        scales: how the normalised curve becomes intensity, per channel.
        warnings: what was doubtful.
    """

    given: ModelInput
    masks: LesionMasks
    heads: HeadOutputs
    scales: Scales
    warnings: tuple[str, ...]


class MTINetPredictor(Predictor):
    """A trained MTI-Net, or an ensemble of them, that is ready for studies."""

    def lay_out(self, network: nn.Module) -> nn.Module:
        """For fast convolutions."""
        return channels_last(network)

    def predict(self, study: Study, *, progress: Progress = silent) -> Prediction:
        """As `__call__`."""
        return postprocess(study, self.infer(study, progress=progress), self.card)

    @torch.inference_mode()
    def of_given(
        self, study: Study, segmentation: Segmentation, *, progress: Progress = silent
    ) -> Prediction:
        """Types and curves of lesions that somebody else outlined, read under their masks."""
        self._start(study)
        config = self.card.input_config
        given = model_input(study, config)
        masks = given_masks(segmentation)
        parenchyma_ZYX = np.zeros(study.grid.spatial_shape, bool)
        if segmentation.liver is not None:
            parenchyma_ZYX = segmentation.liver.array & (segmentation.lesions.array == 0)
        warnings: list[str] = []
        scales: Scales
        if parenchyma_ZYX.any():
            scales = normalisations(study, parenchyma_ZYX, config)
        else:
            scales, warnings = normalisation(study, given, config, self.network)
        images_ZPYX = normalised(given, scales, config, np.arange(len(given.raw_ZPYX)))
        encoded = encode(images_ZPYX, given, self.network, progress=progress)
        heads = run_heads(masks.lesions_ZYX, images_ZPYX, encoded, given, self.network, self.card)
        warnings += foreign_study_warnings(study, self.card)
        raw = RawPrediction(given, masks, heads, scales, tuple(warnings))
        own = postprocess(study, raw, self.card)
        # a model numbers lesions from 1 without gaps, people do not
        lesions = tuple(
            replace(lesion, label=label, score=None)
            for lesion, label in zip(own.lesions, segmentation.labels, strict=True)
        )
        return replace(own, segmentation=segmentation, lesions=lesions)

    def uncalibrated(self, study: Study, *, progress: Progress = silent) -> UncalibratedLesions:
        """Lesions and type logits before calibration."""
        self._start(study)
        raw = self.infer(study, progress=progress)
        return UncalibratedLesions(raw.masks.lesions_ZYX, raw.masks.peak, raw.heads.logits_LT)

    @torch.inference_mode()
    def infer(self, study: Study, *, progress: Progress = silent) -> RawPrediction:
        """Run the network: masks, and per lesion the type logits and the curve."""
        config = self.card.input_config
        given = model_input(study, config)
        scales, warnings = normalisation(study, given, config, self.network)
        images_ZPYX = normalised(given, scales, config, np.arange(len(given.raw_ZPYX)))
        encoded = encode(images_ZPYX, given, self.network, progress=progress)
        peak = fitted_threshold(self.card.calibration.minimum_peak, given.scanned)
        masks = separate_lesions(smooth(encoded.probability_ZKYX, given), given, minimum_peak=peak)
        heads = run_heads(masks.lesions_ZYX, images_ZPYX, encoded, given, self.network, self.card)
        if masks.liver_ZYX is None:
            warnings.append(f"the model {self.card.name} does not outline the liver")
        return RawPrediction(given, masks, heads, scales, tuple(warnings))


def given_masks(segmentation: Segmentation) -> LesionMasks:
    """Somebody's masks as a network's own: canonical axes, lesions from 1 on, each of score 1."""
    labels = segmentation.labels
    numbers = np.zeros(max(labels, default=0) + 1, np.uint16)
    numbers[list(labels)] = np.arange(1, len(labels) + 1)
    lesions = segmentation.lesions.with_array(numbers[segmentation.lesions.array])
    sure = [1.0] * len(labels)
    liver = None if segmentation.liver is None else canonical(segmentation.liver).array
    return LesionMasks(liver, np.ascontiguousarray(canonical(lesions).array), sure, sure)


def normalisation(
    study: Study, given: ModelInput, config: InputConfig, network: TimedNetwork
) -> tuple[Scales, list[str]]:
    """How the study's intensities are normalised, and what is doubtful about that."""
    slices = np.unique(
        np.linspace(0, len(given.raw_ZPYX) - 1, NORMALISATION_SLICES).round().astype(int)
    )
    return liver_scales(
        study,
        given,
        config,
        lambda scales: outline_parenchyma(given, scales, config, network, slices),
        slices=slices,
    )


def outline_parenchyma(
    given: ModelInput,
    scales: Scales,
    config: InputConfig,
    network: TimedNetwork,
    slices: NDArray[np.integer],
) -> NDArray[np.bool_] | None:
    """Liver without lesions in some slices, (S, Y, X); with them where little else is left.

    None where too little liver is found to take its level.
    """
    rows, columns = given.raw_ZPYX.shape[2:]
    images_SPYX = normalised(given, scales, config, slices)
    logits = [
        encode_slices(images_SPYX[i : i + SLICES_AT_ONCE], given, network).mask_logits_BKYX
        for i in range(0, len(slices), SLICES_AT_ONCE)
    ]
    masks_SKYX = torch.cat(logits).float()[:, :, :rows, :columns].cpu().numpy() > 0
    liver, lesion = masks_SKYX.swapaxes(0, 1)
    return parenchyma(liver, lesion, given, share=len(slices) / len(given.raw_ZPYX))


def encode_slices(
    images_SPYX: NDArray[np.float32], given: ModelInput, network: TimedNetwork
) -> Features | EnsembleFeatures:
    """Features and mask logits of a few slices."""
    images = torch.from_numpy(images_SPYX).to(network.device)
    present = torch.from_numpy(given.present_P).to(network.device).expand(len(images), -1)
    with network.timed():
        features: Features | EnsembleFeatures = network.module.features(images, present)
    return features


def encode(
    images_ZPYX: NDArray[np.float32],
    given: ModelInput,
    network: TimedNetwork,
    *,
    progress: Progress = silent,
) -> EncodedSlices:
    """Mask probabilities of every slice, and the features that the heads read later."""
    probabilities, kept, total = [], [], len(images_ZPYX)
    for start in range(0, total, SLICES_AT_ONCE):
        features = encode_slices(images_ZPYX[start : start + SLICES_AT_ONCE], given, network)
        probabilities.append(features.mask_logits_BKYX.float().sigmoid().cpu().numpy())
        kept.append(features)
        progress("running the network", min(start + SLICES_AT_ONCE, total), total)
    return EncodedSlices(np.concatenate(probabilities), kept)


def run_heads(
    lesions_ZYX: NDArray[np.uint16],
    images_ZPYX: NDArray[np.float32],
    encoded: EncodedSlices,
    given: ModelInput,
    network: TimedNetwork,
    card: ModelCard,
) -> HeadOutputs:
    """Type logits and normalised curve of each lesion over its largest slices, weighted by area."""
    count, config = int(lesions_ZYX.max()), card.input_config
    logits_LT = np.zeros((count, len(config.types)))
    curve_LP = np.zeros((count, len(config.channels)))
    for index, lesion_ZYX in enumerate(lesions_on_network_grid(lesions_ZYX, given)):
        area_Z = lesion_ZYX.sum((1, 2))
        largest = np.argsort(-area_Z, kind="stable")
        slices = largest[: min(HEAD_SLICES, int((area_Z > 0).sum()))]
        gather = type(encoded.features[0]).gather  # of a network's features, or of an ensemble's
        features = gather(encoded.features, slices)  # type: ignore[arg-type]
        weight = area_Z[slices] / area_Z[slices].sum()
        log_probability_ST, z_SP = _run_heads_on_slices(
            features, images_ZPYX[slices], lesion_ZYX[slices], given, network
        )
        logits_LT[index] = weight @ log_probability_ST
        curve_LP[index] = weight @ (z_SP * np.array(card.curve_sd) + np.array(card.curve_mean))
    return HeadOutputs(logits_LT, curve_LP)


def _run_heads_on_slices(
    features: Features | EnsembleFeatures,
    images_SPYX: NDArray[np.float32],
    lesion_SYX: NDArray[np.bool_],
    given: ModelInput,
    network: TimedNetwork,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Log-probability of each type and z-scored curve of one lesion in each of some slices."""
    rows, columns = lesion_SYX.shape[1:]
    regions = np.zeros((len(lesion_SYX), 3, *images_SPYX.shape[2:]), np.float32)
    for index, lesion_YX in enumerate(lesion_SYX):
        regions[index, :, :rows, :columns] = lesion_regions(lesion_YX, pixel_mm=given.pixel_mm)
    area = regions[:, :2].sum((1, 2, 3)) * given.pixel_mm**2
    images = torch.from_numpy(images_SPYX).to(network.device)
    present = torch.from_numpy(given.present_P).to(network.device).expand(len(images), -1)
    where = Regions(
        torch.from_numpy(regions), torch.arange(len(regions)), torch.from_numpy(area)
    ).to(network.device)
    with network.timed():
        curve, type_logits = network.module.run_heads(features, images, present, where)
    log_probability = F.log_softmax(type_logits.float(), dim=-1).cpu().numpy().astype(float)
    return log_probability, curve.float().cpu().numpy()


def postprocess(study: Study, raw: RawPrediction, card: ModelCard) -> Prediction:
    """Calibrated probabilities, sets of types, and curves in the image's own unit."""
    masks, config, outputs = raw.masks, card.input_config, card.outputs
    lesions = tuple(lesion_prediction(raw, label, card) for label in range(1, len(masks.score) + 1))
    patient, malignant = None, None
    if Output.LESION_TYPE in outputs:
        patient, malignant = liver_max(lesions, config.types)
    organs = {}
    if masks.liver_ZYX is not None:
        organs[Organ.LIVER] = on_study_grid(masks.liver_ZYX, raw.given.grid, study.grid)
    on_grid = on_study_grid(masks.lesions_ZYX, raw.given.grid, study.grid)
    return Prediction(
        model=card.name,
        segmentation=Segmentation(on_grid, organs, source=card.name),
        lesions=lesions,
        patient=patient,
        malignant=malignant,
        warnings=(*raw.warnings, *input_warnings(study, raw.given, config)),
    )


def lesion_prediction(raw: RawPrediction, label: int, card: ModelCard) -> LesionPrediction:
    """What the model says of one lesion; what it was not trained to say is None."""
    config, calibration = card.input_config, card.calibration
    probabilities, types, curve = None, None, None
    if Output.LESION_TYPE in card.outputs:
        probability_T = softmax(raw.heads.logits_LT[label - 1] / calibration.temperature)
        threshold = fitted_threshold(calibration.set_threshold, raw.given.scanned)
        probabilities = {t: float(p) for t, p in zip(config.types, probability_T, strict=True)}
        types = tuple(config.types[index] for index in type_set(probability_T, threshold))
    if Output.CURVE in card.outputs:
        curve = {
            phase: raw.scales[channel].intensity(float(value))
            for channel, phase, value in zip(
                config.channels, config.channel_phases, raw.heads.curve_LP[label - 1], strict=True
            )
            if phase is not None and channel in raw.scales
        }
    return LesionPrediction(
        label=label,
        score=raw.masks.score[label - 1],
        type_probabilities=probabilities,
        type_set=types,
        curve=curve,
    )


def outlined(logits_BYX: Tensor, *, pixel_mm: float) -> Regions:
    """The outline in each slice as one lesion; the likeliest pixel where nothing is outlined.

    Args:
        logits_BYX: of the lesion mask.
        pixel_mm: size of a pixel in mm.
    """
    peak_B11 = logits_BYX.amax((1, 2), keepdim=True)
    outlines = (logits_BYX >= peak_B11.clamp(max=0.0)).cpu().numpy()
    weights_LRYX = torch.from_numpy(
        np.stack([lesion_regions(outline, pixel_mm=pixel_mm) for outline in outlines])
    )
    area_L = torch.from_numpy(outlines.sum((1, 2)) * np.float32(pixel_mm**2))
    return Regions(weights_LRYX, torch.arange(len(outlines)), area_L).to(logits_BYX.device)
