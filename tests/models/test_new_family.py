"""Proofs that a model family is a file and a line: a new one, and a baseline, go the whole way."""

import csv
import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from liverleaf.analysis import analyze
from liverleaf.cohort.index import Cohort
from liverleaf.evaluate.compare import Evaluation, differences
from liverleaf.evaluate.evaluate import evaluate
from liverleaf.evaluate.fit_calibration import calibrate
from liverleaf.models import registry
from liverleaf.models.checkpoint import load_card, save_card, weights_hash
from liverleaf.models.predictor import load_predictor
from liverleaf.models.recipe import load_recipe
from liverleaf.storage.case_folder import save_case
from liverleaf.study import InputError, Modality
from liverleaf.terminology import LesionType
from liverleaf.train.loop import train

torch.set_num_threads(1)

PAGE = Path(__file__).parents[2] / "docs/new-model.md"
IN_ONE_FILE = Path(__file__).with_name("fat_fraction.py")
INPUT = """
[input]
modality = "MR"
channels = ["pre", "portal"]
pixel_mm = 0
slice_mm = 0
size = 64
normalise_on_liver = false
[sampling]
batch = 4
[optimisation]
steps = 6
save_every = 2
learning_rate = 1e-2
precision = "32-true"
"""


@pytest.fixture(scope="module")
def fat_fraction(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The family of the page, in the registry."""
    (code,) = re.findall(r"```python\n(\"\"\"A model family.*?)```", PAGE.read_text(), re.DOTALL)
    folder = tmp_path_factory.mktemp("family")
    (folder / "fat_fraction.py").write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setitem(registry.FAMILIES, "fat-fraction", "fat_fraction:FAMILY")
        yield
    sys.modules.pop("fat_fraction", None)


def fat_cohort(folder: Path, cases: int, tiny_case: Callable, *, first: int = 0) -> Cohort:
    """Studies without lesions, whose fat fraction somebody measured."""
    for index in range(first, first + cases):
        study, truth = tiny_case(index, modality=Modality.MR, types=[])
        percent = 5.0 + 2.0 * index
        truth = dataclasses.replace(truth, markers={"fat_fraction": percent, "arm": "control"})
        study = dataclasses.replace(study, case_id=f"case-{index}", subject_id=f"subject-{index}")
        save_case(folder / study.case_id, study, truth)
    return Cohort.open(folder)


class KilledError(Exception):
    """What a test kills a training with."""


def test_the_code_of_the_page_is_the_file(fat_fraction: None) -> None:
    assert IN_ONE_FILE.read_text() in PAGE.read_text()


def test_a_family_in_one_file_trains_resumes_evaluates_and_analyses(
    fat_fraction: None, tiny_case: Callable, tmp_path: Path
) -> None:
    (tmp_path / "fat.toml").write_text(f'name = "fat"\nfamily = "fat-fraction"\n{INPUT}')
    recipe = load_recipe(tmp_path / "fat.toml")
    cohort = fat_cohort(tmp_path / "cohort", 3, tiny_case)

    train(recipe, cohort, tmp_path / "whole", device="cpu")

    def kill(what: str, done: int, _total: int) -> None:
        if (what, done) == ("training", 3):
            raise KilledError

    with pytest.raises(KilledError):
        train(recipe, cohort, tmp_path / "parts", device="cpu", progress=kill)
    model = train(recipe, cohort, tmp_path / "parts", device="cpu", resume=True)
    assert weights_hash(model) == weights_hash(tmp_path / "whole/model")
    with (tmp_path / "parts/log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "loss", "mae", "seconds"]
    assert [row["step"] for row in rows] == [str(step) for step in range(6)]

    others = fat_cohort(tmp_path / "others", 4, tiny_case, first=10)
    record = evaluate(str(model), others, tmp_path / "figures", device="cpu", card=True)
    assert set(record["figures"]) == {"fat_fraction_mae"} and "confusion" not in record
    cases = pd.read_csv(tmp_path / "figures/cases.csv")
    errors = (cases["fat_fraction"] - cases["fat_fraction_true"]).abs()
    assert record["figures"]["fat_fraction_mae"]["mean"] == pytest.approx(errors.mean())
    assert cases["fat_fraction_true"].tolist() == [25.0, 27.0, 29.0, 31.0]
    assert not (tmp_path / "figures/lesions.csv").exists()
    same = Evaluation.read(tmp_path / "figures")
    assert differences(same, same)["fat_fraction_mae"].difference.mean == 0
    assert "scores the study" in (model / "README.md").read_text()

    findings = analyze(others.directories[1], tmp_path / "out", model=str(model), device="cpu")
    (score,) = findings.case.scores
    assert (score.name, score.unit) == ("fat_fraction", "percent") and 0 < score.value < 100
    assert (findings.lesions, findings.segmentation, findings.liver) == ((), None, None)
    written = json.loads((tmp_path / "out/findings.json").read_text())
    assert written["case"]["scores"][0]["value"] == score.value
    assert not (tmp_path / "out/lesions.nii.gz").exists()
    assert (tmp_path / "out/report.html").is_file()


def test_a_family_refuses_what_it_cannot_do(fat_fraction: None, tmp_path: Path) -> None:
    (tmp_path / "fat.toml").write_text(f'name = "fat"\nfamily = "fat-fraction"\n{INPUT}')
    with pytest.raises(InputError, match="the liver is not outlined here"):
        load_recipe(tmp_path / "fat.toml", ["input.normalise_on_liver=true"])
    with pytest.raises(InputError, match="network has no field depth"):
        load_recipe(tmp_path / "fat.toml", ["network.depth=3"])


@pytest.fixture(scope="module")
def unet(mr_cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A U-Net trained for a few steps; its lesion threshold is fitted to find something."""
    folder = tmp_path_factory.mktemp("unet")
    (folder / "unet.toml").write_text(
        f'name = "unet"\nfamily = "unet"\n{INPUT}\n[network]\nwidths = [4, 4, 8, 8, 8]\n'
    )
    recipe = load_recipe(
        folder / "unet.toml", ["optimisation.steps=40", "sampling.lesion_share=1.0"]
    )
    return train(recipe, mr_cohort, folder / "run", device="cpu")


def test_a_baseline_is_used_by_analyze(unet: Path, tiny_case: Callable, tmp_path: Path) -> None:
    save_case(tmp_path / "case", tiny_case(1, modality=Modality.MR, types=[LesionType.HCC])[0])
    findings = analyze(tmp_path / "case", tmp_path / "out", model=str(unet), device="cpu")
    assert (findings.model, findings.segmentation.source) == ("unet", "unet")
    assert findings.segmentation.organs == () and findings.liver is None
    assert findings.lesions, "forty steps outline something"
    for lesion in findings.lesions:
        assert 0 < lesion.score <= 1 and lesion.type_probabilities is None
        assert set(lesion.curve.mean) == {"pre", "arterial", "portal", "delayed"}
    assert any("does not outline the liver" in warning for warning in findings.warnings)
    labels = np.asarray(nib.load(tmp_path / "out/lesions.nii.gz").dataobj)
    assert labels.max() == len(findings.lesions)
    assert not (tmp_path / "out/liver.nii.gz").exists()


def test_a_baseline_is_evaluated_on_what_it_says(
    unet: Path, tiny_cohort: Callable, tmp_path: Path
) -> None:
    cohort = tiny_cohort(
        tmp_path / "cohort", 2, first=10, modality=Modality.MR, types=[LesionType.FNH]
    )
    record = evaluate(str(unet), cohort, tmp_path / "out", device="cpu")
    assert "lesion_sensitivity" in record["figures"]
    assert not {"liver_dice", "type_accuracy", "curve_mae", "patient_auc_8"} & set(
        record["figures"]
    )
    with pytest.raises(InputError, match="gives lesions no types"):
        calibrate(str(unet), cohort, device="cpu")


def test_a_missing_phase_makes_a_baseline_doubtful(unet: Path, tiny_case: Callable) -> None:
    from liverleaf.study import Phase

    study, _ = tiny_case(1, modality=Modality.MR, phases=[Phase.PORTAL])
    warnings = load_predictor(unet, device="cpu")(study).warnings
    assert any("pre-contrast is missing" in warning for warning in warnings)


def test_a_classifier_cannot_be_asked_for_a_study(unet: Path, tmp_path: Path) -> None:
    from liverleaf.models.baselines.classifiers import Classifier, ClassifierConfig
    from liverleaf.models.checkpoint import save_model

    config = ClassifierConfig(architecture="vgg-16", outputs=8, inputs=2, size=64, width=1 / 64)
    card = dataclasses.replace(load_card(unet), family="classifier", network_config=config)
    training = {"recipe": {"loss": {"curve": 0.0, "type": 1.0}}}
    save_model(tmp_path, dataclasses.replace(card, training=training), Classifier(config))
    with pytest.raises(InputError, match="classifies slices that show a lesion"):
        load_predictor(tmp_path, device="cpu")
    save_card(tmp_path, card)
