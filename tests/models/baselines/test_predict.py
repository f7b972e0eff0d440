"""Prediction with a segmentation network that sees lesion where it is bright."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from liverleaf.data.network_input import InputConfig, with_phases
from liverleaf.models import lesion_masks
from liverleaf.models import predictor as predictor_module
from liverleaf.models.baselines.predict import SegmentationPredictor
from liverleaf.models.checkpoint import ModelCard
from liverleaf.study import Modality, Phase
from liverleaf.terminology import LesionType

INPUT = InputConfig(
    Modality.MR,
    channels=("pre", "portal"),
    pixel_mm=None,
    slice_mm=0.0,
    size=48,
    normalise_on_liver=False,
)
CARD = ModelCard("bright", "unet", None, INPUT, (0.0,) * 2, (1.0,) * 2)


class Bright(torch.nn.Module):
    """Lesion is what is brighter than 4.5 fifths of the brightest."""

    def forward(self, images_BPYX: Tensor) -> Tensor:
        """Logits of the lesion mask."""
        return 20 * (images_BPYX[:, 1:2] - 4.5)


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> SegmentationPredictor:
    monkeypatch.setattr(predictor_module, "load_model", lambda _: (CARD, Bright()))
    monkeypatch.setattr(lesion_masks, "SMOOTHING_MM", 0.0)
    return SegmentationPredictor(Path("nowhere"), device="cpu")


def test_lesions_are_outlined_on_the_studys_own_axes(
    predictor: SegmentationPredictor, tiny_case: Callable
) -> None:
    study, truth = tiny_case(1, modality=Modality.MR, types=[LesionType.HCC, LesionType.HCC])
    phases = {
        p: dataclasses.replace(i, volume=i.volume.permute_spatial_axes([0, 2, 1]).flip_spatial([0]))
        for p, i in study.phases.items()
    }
    turned = truth.lesions.permute_spatial_axes([0, 2, 1]).flip_spatial([0])
    prediction = predictor(dataclasses.replace(study, phases=phases))
    found = prediction.segmentation.lesions
    np.testing.assert_allclose(found.affine, turned.affine)
    np.testing.assert_array_equal(found.array > 0, turned.array > 0)
    assert prediction.segmentation.organs == {} and prediction.patient is None
    assert [lesion.label for lesion in prediction.lesions] == [1, 2]
    assert all(0.5 < lesion.score <= 1 and lesion.curve is None for lesion in prediction.lesions)
    assert predictor.network_seconds > 0


def test_a_study_that_lacks_a_phase_is_doubtful(
    predictor: SegmentationPredictor, tiny_case: Callable
) -> None:
    study, _ = tiny_case(1, modality=Modality.MR)
    assert not any("is missing" in warning for warning in predictor(study).warnings)
    warnings = predictor(with_phases(study, {Phase.PORTAL})).warnings
    assert any("pre-contrast is missing: trust nothing" in warning for warning in warnings)
