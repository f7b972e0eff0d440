"""Which model is for which study, and where models are found."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from liverleaf.models import shipped
from liverleaf.models.shipped import DEFAULT_MODELS, default_model, find_model, shipped_models
from liverleaf.study import BodyPart, InputError, Modality, Species


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "run/model").mkdir(parents=True)
    (tmp_path / "run/model/model.json").write_text("{}")
    return tmp_path / "run/model"


@pytest.mark.parametrize("modality", list(Modality))
def test_a_human_abdomen_has_a_model(modality: Modality, tiny_case: Callable) -> None:
    study, _ = tiny_case(0, modality=modality)
    assert default_model(study) == f"liverleaf-net-{modality.lower()}"


@pytest.mark.parametrize(
    ("change", "described"),
    [
        ({"body_part": BodyPart.CHEST}, "CT of the human chest"),
        ({"species": Species.RAT}, "CT of the rat abdomen"),
    ],
)
def test_any_other_study_has_none_and_the_error_says_what_ships(
    change: dict, described: str, tiny_case: Callable
) -> None:
    study = dataclasses.replace(tiny_case(0)[0], **change)
    with pytest.raises(InputError, match=f"no model ships for {described}: there is one for") as e:
        default_model(study)
    assert "CT of the human abdomen and one for MR of the human abdomen" in str(e.value)
    assert "--model" in str(e.value) and "\n" not in str(e.value)


def test_every_default_ships() -> None:
    assert set(DEFAULT_MODELS.values()) == set(shipped_models())


def test_a_model_is_found_by_name_by_folder_and_in_a_run(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_model(model) == find_model(model.parent) == find_model(str(model.parent)) == model
    monkeypatch.setattr(shipped, "SHIPPED", model.parent)
    assert find_model("model") == model
    assert shipped_models() == ["model"]
    with pytest.raises(InputError, match="no model nowhere: shipped are model"):
        find_model("nowhere")


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_names_of_0_1_are_understood(modality: str) -> None:
    assert find_model(f"hepatica-net-{modality}") == find_model(f"liverleaf-net-{modality}")


def test_a_run_that_is_not_finished_is_told(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match="not finished: go on with it"):
        find_model(tmp_path)
