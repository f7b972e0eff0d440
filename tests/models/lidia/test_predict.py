"""Prediction with LIDIA: from a study to instances, types, maps and the patient."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from liverleaf.analysis import analyze
from liverleaf.data.network_input import InputConfig, model_input
from liverleaf.findings import Findings
from liverleaf.models.checkpoint import ModelCard, save_model
from liverleaf.models.lidia import predict as module
from liverleaf.models.lidia.network import Lidia, LidiaConfig, LidiaOutput
from liverleaf.models.lidia.predict import (
    LidiaPredictor,
    TypeMaps,
    around_the_liver,
    type_logits,
)
from liverleaf.storage.case_folder import save_case
from liverleaf.study import InputError, Modality, Phase
from liverleaf.terminology import LesionType, Organ

torch.set_num_threads(1)

TYPES = (LesionType.HCC, LesionType.CYST)
INPUT = InputConfig(Modality.CT, types=TYPES, pixel_mm=4.0, slice_mm=5.0, size=32)
NETWORK = LidiaConfig(
    types=2, slices=8, widths=(8, 16), levels=1, pyramid=8, queries=0, heads=2, semantic=True
)


class ByIntensity(nn.Module):
    """Says what a person would of `tiny_case`: bright is HCC, dark is cyst, level is liver."""

    def forward(self, images_BPZYX: Tensor, present_BP: Tensor) -> LidiaOutput:
        """By the mean contrast of the phases that are there."""
        weight = present_BP[:, :, None, None, None].float()
        mean = (images_BPZYX * weight).sum(1) / weight.sum(1)
        kind = torch.zeros_like(mean, dtype=torch.int64)
        kind[mean.abs() < 0.6] = 1
        kind[(mean > 0.9) & (mean < 2.5)] = 2
        logits = 8.0 * nn.functional.one_hot(kind, 4).movedim(-1, 1).float()
        return LidiaOutput(mean[:, None], [], None, logits)


@pytest.fixture
def predictor(tmp_path: Path) -> LidiaPredictor:
    card = ModelCard("tiny-lidia", "lidia", NETWORK, INPUT, (0.0,) * 4, (1.0,) * 4)
    save_model(tmp_path / "model", card, Lidia(NETWORK))
    ready = LidiaPredictor(tmp_path / "model", device="cpu")
    ready.network.module = ByIntensity()
    return ready


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize(
    "phases",
    [(Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED), (Phase.PORTAL,), (Phase.DELAYED,)],
)
def test_lesions_are_found_typed_and_scored_with_any_phases(
    predictor: LidiaPredictor, tiny_case: Callable, phases: tuple[Phase, ...]
) -> None:
    study, truth = tiny_case(0, phases=phases, types=[LesionType.HCC], noise=0.0)
    prediction = predictor(study)
    assert prediction.segmentation is not None and prediction.segmentation.liver is not None
    assert dice(prediction.segmentation.lesions.array > 0, truth.lesions.array > 0) > 0.9
    liver = np.isin(truth.organs.array, [Organ.LIVER]) | (truth.lesions.array > 0)
    assert dice(prediction.segmentation.liver.array, liver) > 0.9
    (lesion,) = prediction.lesions
    assert lesion.type_probabilities is not None and lesion.score == pytest.approx(1, abs=0.05)
    assert lesion.type_probabilities[LesionType.HCC] > 0.9
    assert prediction.patient is not None and prediction.malignant is not None
    assert prediction.patient_rule == "liver-max"
    assert prediction.patient[LesionType.HCC] > 0.95 > 0.05 > prediction.patient[LesionType.CYST]
    assert prediction.malignant == pytest.approx(prediction.patient[LesionType.HCC])


def test_maps_lie_on_the_studys_own_grid(predictor: LidiaPredictor, tiny_case: Callable) -> None:
    affine = np.array([[0, 4, 0, -96], [0, 0, -4, 96], [-5, 0, 0, 30], [0, 0, 0, 1]], float)
    study, _ = tiny_case(0, types=[LesionType.HCC], affine=affine, noise=0.0)
    maps = predictor(study).type_maps
    assert maps is not None and list(maps) == list(TYPES) and len(maps) == 2
    hcc = maps[LesionType.HCC]
    assert hcc.spatial_shape == study.grid.spatial_shape
    assert np.allclose(hcc.affine, study.grid.affine)
    assert hcc.array.min() >= 0 and hcc.array.max() <= 1


def test_a_study_of_thick_coarse_or_few_voxels_is_padded_and_told_in_full(
    predictor: LidiaPredictor, tiny_case: Callable
) -> None:
    # six slices and windows of eight; 48 pixels and windows of 32 that overlap
    study, _ = tiny_case(0, types=[LesionType.HCC])
    raw = predictor.infer(study)
    assert raw.map_SZYX.shape == (4, 6, 48, 48)
    assert np.allclose(raw.map_SZYX.sum(0), 1, atol=1e-4)


def test_a_body_without_liver_says_so(predictor: LidiaPredictor, tiny_case: Callable) -> None:
    study, _ = tiny_case(0, types=[])
    dark = {
        phase: dataclasses.replace(
            image, volume=image.volume.with_array(np.full_like(image.volume.array, -900.0))
        )
        for phase, image in study.phases.items()
    }
    prediction = predictor(dataclasses.replace(study, phases=dark))
    assert any("little or no liver was found" in w for w in prediction.warnings)
    assert prediction.lesions == () and prediction.malignant == 0.0


def test_a_liver_that_reaches_the_edge_of_the_images_is_looked_at_up_to_there(
    predictor: LidiaPredictor, tiny_case: Callable
) -> None:
    # 41 rows and columns become 48 with padding, which is not part of the map
    study, _ = tiny_case(0, noise=0.0)
    config = dataclasses.replace(INPUT, pixel_mm=4.7)
    predictor.card = dataclasses.replace(predictor.card, input_config=config)
    level = {
        phase: dataclasses.replace(
            image, volume=image.volume.with_array(np.full_like(image.volume.array, 100.0))
        )
        for phase, image in study.phases.items()
    }
    raw = predictor.infer(dataclasses.replace(study, phases=level))
    assert raw.map_SZYX.shape == (4, 6, 41, 41)
    assert raw.masks.liver_ZYX is not None and raw.masks.liver_ZYX.all()


def test_type_logits_are_of_the_mean_over_the_lesion(tiny_case: Callable) -> None:
    given = model_input(tiny_case(0)[0], INPUT)
    maps = np.zeros((2, 6, 48, 48), np.float32)
    lesions = np.zeros((6, 48, 48), np.uint16)
    lesions[2, 10, 10:12], lesions[4, 20, 20] = 1, 2
    maps[:, 2, 10, 10], maps[:, 2, 10, 11] = (0.9, 0.1), (0.5, 0.3)
    maps[:, 4, 20, 20] = 0.0, 1.0
    found = np.exp(type_logits(maps, lesions, given))
    assert found == pytest.approx(np.array([[0.7, 0.2], [0.0, 1.0]]), abs=1e-5)


def test_what_is_looked_at_closely_is_the_liver_and_a_margin(tiny_case: Callable) -> None:
    given = model_input(tiny_case(0)[0], INPUT)
    background = np.ones((4, 6, 48, 48), np.float32)
    assert around_the_liver(background, given) is None
    background[0, 1:4, 10:30, 15:40] = 0.0
    assert around_the_liver(background, given) == (slice(0, 6), slice(5, 35), slice(10, 45))


def test_a_map_is_resampled_only_when_it_is_asked_for(
    tiny_case: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, _ = tiny_case(0)
    given = model_input(study, INPUT)
    maps = TypeMaps(np.zeros((2, 6, 24, 24), np.float32), TYPES, given, study.grid)
    calls = []

    def resize(_array: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
        calls.append(shape)
        return np.ones(shape, np.float32)

    monkeypatch.setattr(module, "resize", resize)
    assert LesionType.HCC in maps and len(calls) == 1
    assert LesionType.FNH not in maps


def test_the_whole_way_to_findings_with_maps(tiny_case: Callable, tmp_path: Path) -> None:
    save_model(
        tmp_path / "model",
        ModelCard("tiny-lidia", "lidia", NETWORK, INPUT, (0.0,) * 4, (1.0,) * 4),
        Lidia(NETWORK),
    )
    study, truth = tiny_case(0)
    save_case(tmp_path / "case", study, truth)
    out = tmp_path / "out"
    findings = analyze(
        tmp_path / "case", out, model=str(tmp_path / "model"), device="cpu", keep_maps=True
    )
    assert findings.patient is not None and findings.patient.rule == "liver-max"
    assert sorted(p.name for p in (out / "maps").iterdir()) == ["cyst.nii.gz", "hcc.nii.gz"]
    assert Findings.read(out / "findings.json") == findings
    assert "surest place in the liver" in (out / "report.html").read_text()
    # and once more in its place
    analyze(tmp_path / "case", out, model=str(tmp_path / "model"), device="cpu", overwrite=True)
    assert not (out / "maps").exists()


def test_mr_given_to_a_ct_model_and_phases_that_it_lacks_are_refused_in_a_line(
    predictor: LidiaPredictor, tiny_case: Callable
) -> None:
    with pytest.raises(InputError, match="is for CT, this study is MR"):
        predictor(tiny_case(0, modality=Modality.MR)[0])
    with pytest.raises(InputError, match="this study has only hepatobiliary"):
        predictor(tiny_case(0, phases=(Phase.HEPATOBILIARY,))[0])
