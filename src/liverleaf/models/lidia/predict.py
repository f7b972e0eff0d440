"""Prediction with LIDIA: a line of functions from a study to a `Prediction`, values between them.

    Study -> ModelInput -> scales -> images_ZPYX -> map_SZYX -> instances -> Prediction

The whole volume is looked at once or twice to find the liver and normalise intensities on it, then
its surroundings once more with windows that overlap.

Shape suffixes: P phases, S = background, liver and types, T types, L lesions, K masks, Z slices, Y
rows, X columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np
import torch
import torch.nn.functional as F
from monai.inferers.utils import sliding_window_inference
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor

from liverleaf.data.network_input import (
    ModelInput,
    air,
    model_input,
    normalised,
    on_study_grid,
    resize,
    resize_labels,
)
from liverleaf.measure.lesions import bounding_box, clean_liver
from liverleaf.models.calibration import fitted_threshold, type_set
from liverleaf.models.lesion_masks import LesionMasks, lesions_on_network_grid, separate_lesions
from liverleaf.models.lidia.liver_max import liver_max
from liverleaf.models.lidia.network import semantic_map
from liverleaf.models.lidia.training import LidiaLoss
from liverleaf.models.liver_scales import Scales, liver_scales, parenchyma
from liverleaf.models.predictor import (
    Predictor,
    TimedNetwork,
    UncalibratedLesions,
    input_warnings,
)
from liverleaf.models.trainer import precision_for
from liverleaf.prediction import LesionPrediction, Prediction
from liverleaf.segmentation import Segmentation
from liverleaf.study import Study
from liverleaf.system.progress import Progress, silent
from liverleaf.terminology import LesionType, Organ

OVERLAP = 0.5
"""Of windows, as nnU-Net has it."""
COARSE_OVERLAP = 0.1
"""Of windows where only the liver is looked for."""
LESION_EDGE = 0.5
"""A voxel is lesion where it is so more probably than not."""
MARGIN_VOXELS = 5
"""Around the liver, of what is looked at closely: that of the published code of PLAN."""
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class RawPrediction:
    """What the network says of a study, before calibration of its probabilities.

    Attributes:
        given: the study on the network's grid.
        map_SZYX: probabilities of background, liver and types on the network's grid.
        masks: liver and lesions on the study's grid, canonical axes.
        logits_LT: log of the mean probability of each type in each lesion.
        warnings: what was doubtful.
    """

    given: ModelInput
    map_SZYX: NDArray[np.float32]
    masks: LesionMasks
    logits_LT: NDArray[np.float64]
    warnings: tuple[str, ...]


class TypeMaps(Mapping[LesionType, hd.Volume]):
    """Probability of each type at each voxel of a study; a map is resampled when it is asked for.

    Args:
        map_TZYX: on the network's grid.
        types: which they are, in order.
        given: the study on the network's grid.
        grid: the study's grid.
    """

    def __init__(
        self,
        map_TZYX: NDArray[np.float32],
        types: Sequence[LesionType],
        given: ModelInput,
        grid: hd.Volume,
    ) -> None:
        self._maps = dict(zip(types, map_TZYX, strict=True))
        self._canonical, self._grid = given.grid, grid

    def __getitem__(self, lesion_type: LesionType) -> hd.Volume:
        stretched = resize(self._maps[lesion_type], self._canonical.spatial_shape)
        return on_study_grid(stretched, self._canonical, self._grid)

    def __iter__(self) -> Iterator[LesionType]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)


class LidiaPredictor(Predictor):
    """A trained LIDIA that is ready for studies."""

    @property
    def gamma(self) -> float:
        """Of the focal loss that it was trained by."""
        return LidiaLoss(**self.card.training.get("recipe", {}).get("loss", {})).gamma

    def predict(self, study: Study, *, progress: Progress = silent) -> Prediction:
        """As `__call__`."""
        raw = self.infer(study, progress=progress)
        config = self.card.input_config
        types_TZYX = raw.map_SZYX[2:]
        liver_ZYX = liver_on_network_grid(raw)
        patient, malignant = liver_max(types_TZYX, liver_ZYX, config.types)
        assert raw.masks.liver_ZYX is not None
        organs = {Organ.LIVER: on_study_grid(raw.masks.liver_ZYX, raw.given.grid, study.grid)}
        lesions = on_study_grid(raw.masks.lesions_ZYX, raw.given.grid, study.grid)
        return Prediction(
            model=self.card.name,
            segmentation=Segmentation(lesions, organs, source=self.card.name),
            lesions=tuple(self._lesion(raw, label) for label in range(1, len(raw.masks.score) + 1)),
            patient=patient,
            malignant=malignant,
            patient_rule="liver-max",
            type_maps=TypeMaps(types_TZYX, config.types, raw.given, study.grid),
            warnings=(*raw.warnings, *input_warnings(study, raw.given, config)),
        )

    def uncalibrated(self, study: Study, *, progress: Progress = silent) -> UncalibratedLesions:
        """Lesions and type logits before calibration."""
        self._start(study)
        raw = self.infer(study, progress=progress)
        return UncalibratedLesions(raw.masks.lesions_ZYX, raw.masks.peak, raw.logits_LT)

    @torch.inference_mode()
    def infer(self, study: Study, *, progress: Progress = silent) -> RawPrediction:
        """Run the network: the map, and the lesions in it."""
        config = self.card.input_config
        given = model_input(study, config)
        every_slice = np.arange(len(given.raw_ZPYX))
        coarse: list[NDArray[np.float32]] = []

        def outline(scales: Scales) -> NDArray[np.bool_] | None:
            images_ZPYX = normalised(given, scales, config, every_slice)
            coarse[:] = [self._map(images_ZPYX, given, COARSE_OVERLAP, silent)]
            lesion_ZYX = coarse[0][2:].sum(0) >= LESION_EDGE
            return parenchyma(coarse[0][1] >= 0.5, lesion_ZYX, given)

        scales, warnings = liver_scales(study, given, config, outline, slices=every_slice)
        images_ZPYX = normalised(given, scales, config, every_slice)
        box = around_the_liver(coarse[0], given) if coarse else None
        map_SZYX = self._map_in(box, images_ZPYX, given, progress)
        peak = fitted_threshold(self.card.calibration.minimum_peak, given.scanned)
        masks = separate_lesions(
            np.stack([1 - map_SZYX[0], map_SZYX[2:].sum(0)], axis=1),
            given,
            minimum_peak=peak,
            edge=LESION_EDGE,
        )
        logits_LT = type_logits(map_SZYX[2:], masks.lesions_ZYX, given)
        return RawPrediction(given, map_SZYX, masks, logits_LT, tuple(warnings))

    def _map_in(
        self,
        box: Box | None,
        images_ZPYX: NDArray[np.float32],
        given: ModelInput,
        progress: Progress,
    ) -> NDArray[np.float32]:
        """The map of the whole volume, which is background outside the box."""
        if box is None:
            return self._map(images_ZPYX, given, OVERLAP, progress)
        z, y, x = box
        map_SZYX = np.zeros(
            (len(self.card.input_config.types) + 2, len(images_ZPYX), *given.raw_ZPYX.shape[2:]),
            np.float32,
        )
        map_SZYX[0] = 1
        map_SZYX[:, z, y, x] = self._map(images_ZPYX[z, :, y, x], given, OVERLAP, progress)
        return map_SZYX

    def _map(
        self,
        images_ZPYX: NDArray[np.float32],
        given: ModelInput,
        overlap: float,
        progress: Progress,
    ) -> NDArray[np.float32]:
        """Probabilities (S, Z, Y, X) of a block, windows weighted by a Gaussian where they overlap.

        A block that is smaller than a window is padded with air.
        """
        config = self.card.input_config
        window = (self.card.network_config.slices, config.size, config.size)
        images = torch.from_numpy(np.ascontiguousarray(images_ZPYX.swapaxes(0, 1)))[None]
        done = 0

        def look(patch_BPZYX: Tensor) -> Tensor:
            nonlocal done
            done += 1
            progress("running the network", done, 0)
            return window_map(patch_BPZYX, given.present_P, self.network, gamma=self.gamma)

        map_1SZYX = sliding_window_inference(
            images,
            window,
            1,
            look,
            overlap=overlap,
            mode="gaussian",
            cval=air(config.modality),
            sw_device=self.device,
            device="cpu",
        )
        rows, columns = given.raw_ZPYX.shape[2:]
        assert isinstance(map_1SZYX, Tensor)
        result: NDArray[np.float32] = map_1SZYX[0, :, :, :rows, :columns].numpy()
        return result

    def _lesion(self, raw: RawPrediction, label: int) -> LesionPrediction:
        """What the model says of one lesion."""
        config, calibration = self.card.input_config, self.card.calibration
        probability_T = softmax(raw.logits_LT[label - 1] / calibration.temperature)
        threshold = fitted_threshold(calibration.set_threshold, raw.given.scanned)
        return LesionPrediction(
            label=label,
            score=raw.masks.score[label - 1],
            type_probabilities={
                t: float(p) for t, p in zip(config.types, probability_T, strict=True)
            },
            type_set=tuple(config.types[index] for index in type_set(probability_T, threshold)),
        )


def window_map(
    patch_BPZYX: Tensor, present_P: NDArray[np.bool_], network: TimedNetwork, *, gamma: float
) -> Tensor:
    """Probabilities (B, S, Z, Y, X) of a window, on its own grid; `gamma` as of `semantic_map`."""
    present_BP = torch.from_numpy(present_P).expand(len(patch_BPZYX), -1).to(network.device)
    half = precision_for("auto", network.device.type) == "bf16-mixed"
    with network.timed(), torch.autocast(network.device.type, torch.bfloat16, enabled=half):
        output = network.module(patch_BPZYX, present_BP)
    smaller = semantic_map(output, gamma=gamma)
    return F.interpolate(smaller, size=patch_BPZYX.shape[2:], mode="trilinear", align_corners=False)


def around_the_liver(map_SZYX: NDArray[np.float32], given: ModelInput) -> Box | None:
    """The box of the liver with its lesions and a margin; None where no liver is found."""
    spacing = (given.slice_mm, given.pixel_mm, given.pixel_mm)
    box = bounding_box(clean_liver(1 - map_SZYX[0], spacing))
    if box is None:
        return None
    z, y, x = (
        slice(max(axis.start - MARGIN_VOXELS, 0), min(axis.stop + MARGIN_VOXELS, length))
        for axis, length in zip(box, map_SZYX.shape[1:], strict=True)
    )
    return z, y, x


def type_logits(
    types_TZYX: NDArray[np.float32], lesions_ZYX: NDArray[np.uint16], given: ModelInput
) -> NDArray[np.float64]:
    """Log of the mean probability of each type over the voxels of each lesion, (L, T).

    Args:
        types_TZYX: on the network's grid.
        lesions_ZYX: instance labels on the study's, canonical axes.
        given: the study on the network's grid.
    """
    logits_LT = np.zeros((int(lesions_ZYX.max()), len(types_TZYX)))
    for index, lesion_ZYX in enumerate(lesions_on_network_grid(lesions_ZYX, given)):
        logits_LT[index] = np.log(types_TZYX[:, lesion_ZYX].mean(1) + 1e-6)
    return logits_LT


def liver_on_network_grid(raw: RawPrediction) -> NDArray[np.bool_]:
    """The liver with its lesions, (Z, Y, X)."""
    assert raw.masks.liver_ZYX is not None
    return resize_labels(raw.masks.liver_ZYX.view(np.uint8), raw.map_SZYX.shape[1:]) > 0
