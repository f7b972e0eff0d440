"""A trained network and a study on one grid in, a Prediction out.

The liver is found first and every phase calibrated on it, a few times over a few slices; then the
whole volume is looked at once, lesions are separated in three dimensions, and the heads answer for
each of them from the features already there.

Shape suffixes: P phases, Z slices, Y rows, X columns, K masks, S looked-at slices, L lesions, T
types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import highdicom as hd
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import softmax

from liverleaf.data.batch import Regions
from liverleaf.data.network_input import (
    air,
    calibrations,
    canonical,
    centres,
    extent,
    lesion_regions,
    model_shape,
    resize,
    resize_labels,
)
from liverleaf.data.normalisation import Calibration, first_guess, liver_level
from liverleaf.measure.lesions import clean_liver, separate
from liverleaf.models.blocks import channels_last
from liverleaf.models.calibration import type_set
from liverleaf.models.checkpoint import load_model
from liverleaf.models.ensemble import Ensemble
from liverleaf.models.mti_net.network import Features, MTINet
from liverleaf.prediction import LesionPrediction, Prediction
from liverleaf.segmentation import Segmentation
from liverleaf.study import InputError, Phase, Study
from liverleaf.terminology import MALIGNANT, LesionType, Organ

SLICES_AT_ONCE = 4
CALIBRATION_SLICES = 16
CALIBRATION_ROUNDS = 3
CALIBRATION_TOLERANCE = 0.06  # in units of contrast: 3 HU, or 3 % of an MR's liver
MINIMUM_LIVER_ML = 100.0
SMOOTHING_MM = 1.5
LESION_EDGE = 0.2
"""A lesion reaches as far as its probability is this high; that it is one is for its peak to say
(`Calibrated.minimum_peak`). On 14 CT phantoms held back, portal phase alone, Dice was .36 with an
edge at .5 and .41 at .1 to .2; with all phases .51 and .52."""
HEAD_SLICES = 16  # a lesion's type is read from at most this many of its slices, the largest


@dataclass(frozen=True)
class View:
    """A study on the network's grid.

    Attributes:
        grid: the reference phase's volume, axes canonical.
        raw_ZPYX: intensities in the images' own unit, zero for missing phases.
        present_P: which phases are there.
        pixel_mm: size of a pixel.
    """

    grid: hd.Volume
    raw_ZPYX: NDArray[np.float32]
    present_P: NDArray[np.bool_]
    pixel_mm: float

    @property
    def scanned(self) -> int:
        """How many of the model's phases are there."""
        return int(self.present_P.sum())


class Predictor:
    """A network that is ready to look at studies.

    Args:
        directory: folder of the model.
        device: "auto", "cpu" or "cuda".

    Raises:
        InputError: there is no such model, or no such device.
    """

    def __init__(self, directory: Path, *, device: str = "auto") -> None:
        self.card, network = load_model(directory)
        self.directory = directory
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise InputError(
                f"device {device} was asked for, but torch sees none: use --device cpu"
            )
        self.device = torch.device(device)
        self.network_s = 0.0  # seconds the network itself took in the last look
        self.network: MTINet | Ensemble = channels_last(network).to(self.device)

    def __call__(
        self, study: Study, *, progress: Callable[[str, int, int], None] | None = None
    ) -> Prediction:
        """Look at a study.

        Args:
            study: all phases on one grid (`register_phases` brings them there).
            progress: called with (what, done, total).

        Raises:
            InputError: the study's modality is not the model's, or it has none of the model's
                phases.
            ValueError: the phases lie on different grids.
        """
        return self.conclude(study, self.look(study, progress=progress))

    @torch.inference_mode()
    def look(
        self, study: Study, *, progress: Callable[[str, int, int], None] | None = None
    ) -> Looked:
        """Everything the network computes: masks, and per lesion the mean type logits and curve."""
        view, config = self._view(study), self.card.input_config
        self.network_s = 0.0
        warnings: list[str] = []
        if config.calibrate:
            scales = self._calibrate(view, study, warnings)
        else:
            scales = calibrations(study, np.zeros(study.grid.spatial_shape, bool), config)
        contrast_ZPYX = self._contrast(view, scales, np.arange(len(view.raw_ZPYX)))
        probability_ZKYX, kept = self._encode(contrast_ZPYX, view.present_P, progress)
        sigma = (
            SMOOTHING_MM / max(view.grid.spacing[0], config.slice_mm),
            0,
            SMOOTHING_MM / view.pixel_mm,
            SMOOTHING_MM / view.pixel_mm,
        )
        probability_ZKYX = gaussian_filter(probability_ZKYX, sigma)
        liver, lesions, score, peak = self._separate(view, probability_ZKYX, warnings)
        logits_LT, curve_LP = self._answer(view, contrast_ZPYX, kept, lesions)
        return Looked(
            view, liver, lesions, score, peak, logits_LT, curve_LP, scales, tuple(warnings)
        )

    def conclude(self, study: Study, found: Looked) -> Prediction:
        """Probabilities, sets and curves in the image's own unit from what `look` found."""
        config, calibrated = self.card.input_config, self.card.calibrated
        probability_LT = softmax(found.logits_LT / calibrated.temperature, axis=1)
        threshold = _fitted(calibrated.set_threshold, found.view.scanned)
        entries = []
        for label, (probability_T, curve_P) in enumerate(
            zip(probability_LT, found.curve_LP, strict=True), start=1
        ):
            entries.append(
                LesionPrediction(
                    label=label,
                    type_probabilities={
                        kind: float(p) for kind, p in zip(config.types, probability_T, strict=True)
                    },
                    type_set=tuple(config.types[i] for i in type_set(probability_T, threshold)),
                    curve={
                        phase: found.scales[phase].intensity(float(value))
                        for phase, value, there in zip(
                            config.phases, curve_P, found.view.present_P, strict=True
                        )
                        if there
                    },
                    score=found.score[label - 1],
                )
            )
        warnings = list(found.warnings)
        unused = [phase.title for phase in study.phases if phase not in config.phases]
        if unused:
            warnings.append(
                f"the model does not look at the {' and '.join(unused)} phase; it is measured only"
            )
        if found.view.scanned == 1:
            warnings.append("only one phase: lesions may be missed and their types are doubtful")
        if all(
            phase is Phase.PRE
            for phase, there in zip(config.phases, found.view.present_P, strict=True)
            if there
        ):
            warnings.append(
                "no contrast-enhanced phase: lesion calls from a native phase alone are doubtful"
            )
        patient, malignant = liver_max(entries, config.types)
        return Prediction(
            model=self.card.name,
            segmentation=self._segmentation(found, study),
            lesions=tuple(entries),
            patient=patient,
            malignant=malignant,
            warnings=tuple(warnings),
        )

    def _segmentation(self, found: Looked, study: Study) -> Segmentation:
        organs = {}
        if self.card.network_config.masks == 2:
            organs[Organ.LIVER] = _back(found.liver, found.view.grid, study.grid)
        lesions = _back(found.lesions, found.view.grid, study.grid)
        return Segmentation(lesions, organs, source=self.card.name)

    def _view(self, study: Study) -> View:
        config = self.card.input_config
        if study.modality is not config.modality:
            raise InputError(
                f"the model {self.card.name} is for {config.modality}, this study is"
                f" {study.modality}: choose another model"
            )
        if not study.on_one_grid:
            raise ValueError("the phases lie on different grids: register the study first")
        present = np.array([phase in study.phases for phase in config.phases])
        if not present.any():
            raise InputError(
                f"the model {self.card.name} needs one of"
                f" {', '.join(p.title for p in config.phases)}; this study has only"
                f" {', '.join(p.title for p in study.phases)}"
            )
        grid = canonical(study.grid)
        shape = model_shape(grid, config)
        raw = np.zeros((shape[0], len(config.phases), *shape[1:]), np.float32)
        for index, phase in enumerate(config.phases):
            if phase in study.phases:
                raw[:, index] = resize(canonical(study.phases[phase].volume).array, shape)
        pixel = grid.spacing[1] * grid.spatial_shape[1] / shape[1]
        return View(grid, raw, present, float(pixel))

    def _contrast(
        self, view: View, scales: Mapping[Phase, Calibration], at: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Calibrated slices, padded with air to multiples of 16."""
        config = self.card.input_config
        rows, columns = view.raw_ZPYX.shape[2:]
        padded = np.full(
            (len(at), len(config.phases), -(-rows // 16) * 16, -(-columns // 16) * 16),
            air(config.modality),
            np.float32,
        )
        for index, phase in enumerate(config.phases):
            if view.present_P[index]:
                padded[:, index, :rows, :columns] = scales[phase].contrast(view.raw_ZPYX[at, index])
        return padded

    def _features(
        self, contrast_SPYX: NDArray[np.float32], present_P: NDArray[np.bool_]
    ) -> Features:
        images = torch.from_numpy(contrast_SPYX).to(self.device)
        present = torch.from_numpy(present_P).to(self.device).expand(len(images), -1)
        start = perf_counter()
        features = self.network.features(images, present)
        self.network_s += perf_counter() - start
        return features

    def _calibrate(self, view: View, study: Study, warnings: list[str]) -> dict[Phase, Calibration]:
        """Find the liver and its level in each phase by turns until the levels stand still."""
        config = self.card.input_config
        phases = [phase for phase in config.phases if phase in study.phases]
        expected = {
            p: first_guess(
                view.raw_ZPYX[:, config.phases.index(p)], phase=p, modality=study.modality
            )
            for p in phases
        }
        scales = {p: Calibration.on(level, study.modality) for p, level in expected.items()}
        at = np.unique(
            np.linspace(0, len(view.raw_ZPYX) - 1, CALIBRATION_SLICES).round().astype(int)
        )
        rows, columns = view.raw_ZPYX.shape[2:]
        voxel_ml = (
            np.prod(view.grid.physical_extent)
            / np.prod(view.raw_ZPYX[:, 0].shape)
            / 1000
            * len(view.raw_ZPYX)
            / len(at)
        )
        for _ in range(CALIBRATION_ROUNDS):
            contrast = self._contrast(view, scales, at)
            masks = [
                self._features(contrast[i : i + SLICES_AT_ONCE], view.present_P).mask_logits_BKYX
                for i in range(0, len(at), SLICES_AT_ONCE)
            ]
            liver, lesion = (
                torch.cat(masks).float()[:, :, :rows, :columns].cpu().numpy() > 0
            ).swapaxes(0, 1)
            parenchyma = liver & ~lesion
            if parenchyma.sum() * voxel_ml < MINIMUM_LIVER_ML:
                parenchyma = liver
            if parenchyma.sum() * voxel_ml < MINIMUM_LIVER_ML / 2:
                warnings.append(
                    "little or no liver was found, so intensities could not be calibrated on it:"
                    " trust nothing here"
                )
                return scales
            before = scales
            scales = {}
            for p in phases:
                values = view.raw_ZPYX[at, config.phases.index(p)][parenchyma]
                prior = expected[p] if config.modality.value == "CT" else None
                scales[p] = Calibration.on(
                    liver_level(values, modality=study.modality, expected=prior), study.modality
                )
            if all(
                abs(scales[p].liver - before[p].liver) < CALIBRATION_TOLERANCE * scales[p].unit
                for p in phases
            ):
                break
        return scales

    def _encode(
        self,
        contrast_ZPYX: NDArray[np.float32],
        present_P: NDArray[np.bool_],
        progress: Callable[[str, int, int], None] | None,
    ) -> tuple[NDArray[np.float32], list[Features]]:
        """Mask probabilities of every slice, and the features to answer from later."""
        probabilities, kept, total = [], [], len(contrast_ZPYX)
        for start in range(0, total, SLICES_AT_ONCE):
            features = self._features(contrast_ZPYX[start : start + SLICES_AT_ONCE], present_P)
            probabilities.append(features.mask_logits_BKYX.float().sigmoid().cpu().numpy())
            kept.append(features)
            if progress:
                progress("looking at slices", min(start + SLICES_AT_ONCE, total), total)
        return np.concatenate(probabilities), kept

    def _separate(
        self, view: View, probability_ZKYX: NDArray[np.float32], warnings: list[str]
    ) -> tuple[NDArray[np.bool_], NDArray[np.uint16], list[float], list[float]]:
        """The liver and the lesions on the study's own (canonical) grid, and each lesion's score and highest probability."""
        rows, columns = view.raw_ZPYX.shape[2:]
        shape, spacing = view.grid.spatial_shape, view.grid.spacing
        seen = probability_ZKYX[:, :, :rows, :columns]
        # all that follows looks at this part of the grid only
        box = extent(np.any(seen >= LESION_EDGE, axis=1), shape)
        lesion = resize(seen[:, -1], shape)[box]
        outlines_liver = seen.shape[1] == 2
        if outlines_liver:
            liver = clean_liver(np.maximum(resize(seen[:, 0], shape)[box], lesion), spacing)
        else:
            liver = np.ones(lesion.shape, bool)
            warnings.append(f"the model {self.card.name} does not outline the liver")
        minimum_peak = _fitted(self.card.calibrated.minimum_peak, view.scanned)
        labels, peak = _convincing(
            separate(lesion, liver, spacing, threshold=LESION_EDGE), lesion, minimum_peak
        )
        inside = labels > 0
        sure = inside & (lesion >= 0.5)
        voxels = np.bincount(labels[sure], minlength=len(peak) + 1)[1:]
        total = np.bincount(labels[sure], weights=lesion[sure], minlength=len(peak) + 1)[1:]
        score = np.where(voxels > 0, total / np.maximum(voxels, 1), peak)
        whole_liver, whole_labels = np.zeros(shape, bool), np.zeros(shape, np.uint16)
        whole_liver[box] = liver | inside if outlines_liver else inside
        whole_labels[box] = labels
        return whole_liver, whole_labels, score.tolist(), peak.tolist()

    def _answer(
        self,
        view: View,
        contrast_ZPYX: NDArray[np.float32],
        kept: list[Features],
        lesions_ZYX: NDArray[np.uint16],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean type logits (L, T) and contrast curves (L, P) of each lesion over its slices, weighted by area."""
        types, phases = len(self.card.input_config.types), len(self.card.input_config.phases)
        small = resize_labels(lesions_ZYX, (view.raw_ZPYX.shape[0], *view.raw_ZPYX.shape[2:]))
        logits = np.zeros((int(lesions_ZYX.max()), types))
        curves = np.zeros((int(lesions_ZYX.max()), phases))
        centre: dict[int, tuple[int, ...]] = {}
        for label in range(1, len(logits) + 1):
            area_Z = (small == label).sum((1, 2))
            if not area_Z.any():  # thinner than the network's grid: its nearest pixel stands for it
                if not centre:
                    centre = centres(lesions_ZYX, small.shape)
                small[centre[label]] = label
                area_Z = (small == label).sum((1, 2))
            at = np.argsort(-area_Z, kind="stable")[: min(HEAD_SLICES, int((area_Z > 0).sum()))]
            log_probability_ST, curve_SP = self._answer_slices(
                view, contrast_ZPYX, kept, small, label, at
            )
            weight = area_Z[at] / area_Z[at].sum()
            logits[label - 1], curves[label - 1] = weight @ log_probability_ST, weight @ curve_SP
        return logits, curves

    def _answer_slices(
        self,
        view: View,
        contrast_ZPYX: NDArray[np.float32],
        kept: list[Features],
        small_ZYX: NDArray[np.integer],
        label: int,
        at: NDArray[np.integer],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rows, columns = small_ZYX.shape[1:]
        padded = contrast_ZPYX.shape[2:]
        regions = np.zeros((len(at), 3, *padded), np.float32)
        for index, z in enumerate(at):
            regions[index, :, :rows, :columns] = lesion_regions(
                small_ZYX[z] == label, pixel_mm=view.pixel_mm
            )
        area = regions[:, :2].sum((1, 2, 3)) * view.pixel_mm**2
        levels = tuple(
            torch.stack(
                [kept[z // SLICES_AT_ONCE].levels_BPCYX[level][z % SLICES_AT_ONCE] for z in at]
            )
            for level in range(len(kept[0].levels_BPCYX))
        )
        images = torch.from_numpy(contrast_ZPYX[at]).to(self.device)
        present = torch.from_numpy(view.present_P).to(self.device).expand(len(at), -1)
        where = Regions(
            torch.from_numpy(regions), torch.arange(len(at)), torch.from_numpy(area)
        ).to(self.device)
        start = perf_counter()
        curve, type_logits = self.network.answer(
            levels, images * present[..., None, None], present, where
        )
        self.network_s += perf_counter() - start
        mean, sd = np.array(self.card.curve_mean), np.array(self.card.curve_sd)
        log_probability = F.log_softmax(type_logits.float(), dim=-1).cpu().numpy().astype(float)
        return log_probability, curve.float().cpu().numpy() * sd + mean


@dataclass(frozen=True)
class Looked:
    """What the network saw, before calibration of its probabilities.

    Attributes:
        view: the study on the network's grid.
        liver, lesions: masks on the canonical grid; lesions are numbered from 1.
        score: mean lesion probability of each lesion where it is a half or more; the highest one
            where it nowhere is.
        peak: highest lesion probability of each lesion.
        logits_LT: mean log-probability of each type over the lesion's slices, weighted by area.
        curve_LP: contrast to the liver.
        scales: how contrast becomes intensity, per phase.
        warnings: what was doubtful.
    """

    view: View
    liver: NDArray[np.bool_]
    lesions: NDArray[np.uint16]
    score: list[float]
    peak: list[float]
    logits_LT: NDArray[np.float64]
    curve_LP: NDArray[np.float64]
    scales: Mapping[Phase, Calibration]
    warnings: tuple[str, ...]


def peaks(labels: NDArray[np.integer], probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """The highest probability inside each label from 1 on."""
    highest = np.zeros(int(labels.max()) + 1, np.float32)
    inside = labels > 0
    np.maximum.at(highest, labels[inside], probability[inside])
    return highest[1:]


def with_phases(study: Study, phases: set[Phase]) -> Study:
    """The study as if only these phases had been scanned."""
    return replace(
        study, phases={phase: image for phase, image in study.phases.items() if phase in phases}
    )


def _convincing(
    labels: NDArray[np.uint16], lesion: NDArray[np.float32], minimum_peak: float
) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """The lesions whose probability peaks high enough, numbered anew, and their peaks."""
    highest = peaks(labels, lesion)
    kept = highest >= minimum_peak
    if kept.all():
        return labels, highest
    inside = labels > 0
    labels[inside] = np.where(kept, kept.cumsum(), 0)[labels[inside] - 1]
    return labels, highest[kept]


def _fitted(thresholds: Mapping[int, float], scanned: int) -> float:
    """The threshold for so many phases, or for the nearest smaller number it was fitted on; 0 (every lesion, every type) without any."""
    fitted = [n for n in thresholds if n <= scanned] or list(thresholds)[:1]
    return thresholds[max(fitted)] if fitted else 0.0


def liver_max(
    lesions: Sequence[LesionPrediction], types: Sequence[LesionType]
) -> tuple[dict[LesionType, float], float]:
    """Per type the largest score x probability over the lesions; and the same for being malignant.

    After LIDIA's LiverMax (Huang et al., MICCAI 2024), which takes the largest probability in a
    probability map of the liver. The probability that the patient has at least one such lesion is
    no smaller; how much larger depends on how far lesions err together.
    """

    def largest(kinds: Sequence[LesionType]) -> float:
        return max(
            (
                (lesion.score or 0.0) * sum((lesion.type_probabilities or {})[k] for k in kinds)
                for lesion in lesions
            ),
            default=0.0,
        )

    return {kind: largest([kind]) for kind in types}, largest([k for k in types if k in MALIGNANT])


def _back(array: NDArray, canonical_grid: hd.Volume, grid: hd.Volume) -> hd.Volume:
    """From canonical axes to the axes of the study's own grid; nothing is resampled."""
    return canonical_grid.with_array(array).match_geometry(grid)
