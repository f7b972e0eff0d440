"""A model whose network sees by a rule, and a cohort that it is right about."""

from collections.abc import Callable
from pathlib import Path

import pytest

from liverleaf.cohort.index import Cohort
from liverleaf.data.network_input import InputConfig
from liverleaf.evaluate import evaluate as evaluation
from liverleaf.evaluate import fit_calibration
from liverleaf.models import lesion_masks
from liverleaf.models import predictor as predictor_module
from liverleaf.models.checkpoint import ModelCard, load_card, save_model
from liverleaf.models.mti_net.network import MTINet, MTINetConfig
from liverleaf.registration.align import Registration
from liverleaf.study import Modality, Study
from liverleaf.terminology import LesionType

TYPES = (LesionType.CYST, LesionType.HCC)


def untouched(study: Study) -> Registration:
    """Stands for a registration that has nothing to do."""
    return Registration(study, None, {}, {})


@pytest.fixture
def model(seer_network: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Folder of a model whose network sees by a rule; phases are taken to be registered."""
    config = MTINetConfig(
        masks=2, widths=(2, 2, 2, 2), heads="lesion", token_width=8, head_width=4, blocks=1
    )
    view = InputConfig(Modality.CT, types=TYPES, pixel_mm=4.0, slice_mm=5.0, size=48)
    save_model(
        tmp_path / "model",
        ModelCard("seer", "mti-net", config, view, (0.0,) * 4, (1.0,) * 4),
        MTINet(config),
    )
    monkeypatch.setattr(
        predictor_module, "load_model", lambda directory: (load_card(directory), seer_network())
    )
    monkeypatch.setattr(lesion_masks, "SMOOTHING_MM", 0.0)
    monkeypatch.setattr(evaluation, "register_phases", untouched)
    monkeypatch.setattr(fit_calibration, "register_phases", untouched)
    return str(tmp_path / "model")


@pytest.fixture
def cohort(tiny_cohort: Callable, tmp_path: Path) -> Cohort:
    return tiny_cohort(tmp_path / "cohort", 4, types=[LesionType.HCC, LesionType.HCC])
