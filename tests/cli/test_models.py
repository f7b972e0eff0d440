"""Commands that train, evaluate and list models."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from liverleaf.cohort.index import Cohort
from liverleaf.data.prepared import data_fingerprint
from liverleaf.models import checkpoint, shipped
from liverleaf.models.checkpoint import save_card

RECIPE = Path(__file__).parents[2] / "recipes/liverleaf-net-ct.toml"


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("nowhere.toml", (), "no recipe nowhere.toml"),
        ("text", (), "recipe text"),
        (RECIPE, ("--cohort", "nowhere"), "nowhere is not a folder"),
        (RECIPE, ("--set", "nonsense"), "write TABLE.FIELD=VALUE"),
        (RECIPE, ("--set", "optimisation.speed=9"), "speed"),
        (RECIPE, ("--set", "input.size=17"), "multiple of 16"),
        (RECIPE, ("--resume",), "leave out --resume"),
        (RECIPE, ("--out", "old"), "add --resume"),
    ],
)
def test_training_that_cannot_begin_is_refused(
    assert_one_line: Callable[..., None],
    liverleaf: Callable[..., Any],
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recipe: object,
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("no = [recipe")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/run.json").write_text("{}")
    assert_one_line(
        liverleaf("train", recipe, "--cohort", source / "cohort", "--out", "run", *options),
        1,
        message,
    )
    assert not (tmp_path / "run").exists()


def test_evaluation_on_the_training_cohort_is_refused(
    assert_one_line: Callable[..., None],
    liverleaf: Callable[..., Any],
    source: Path,
    models: Path,
    tmp_path: Path,
) -> None:
    shutil.copytree(models / "ct", tmp_path / "model")
    cohort = Cohort.open(source / "cohort")
    card = checkpoint.load_card(tmp_path / "model")
    save_card(
        tmp_path / "model",
        dataclasses.replace(
            card, training={"cohort": data_fingerprint(cohort, range(len(cohort)))}
        ),
    )
    arguments = (
        "evaluate",
        tmp_path / "model",
        "--cohort",
        source / "cohort",
        "--out",
        tmp_path / "out",
    )
    assert_one_line(liverleaf(*arguments), 1, "was trained on")
    assert_one_line(liverleaf(*arguments, "--calibrate"), 1, "was trained on")
    assert not (tmp_path / "out").exists()


def test_models_without_any_shipped(
    liverleaf: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path)
    assert liverleaf("models").code == 0
    assert json.loads(liverleaf("models", "--json").out) == []


def test_models_shows_the_measured_figures(
    liverleaf: Callable[..., Any], models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(models, tmp_path / "shipped")
    models = tmp_path / "shipped"
    card = checkpoint.load_card(models / "ct")
    figures = {
        "all phases": {"figures": {"lesion_dice": {"mean": 0.61, "low": 0.5, "high": 0.7, "n": 9}}}
    }
    save_card(models / "ct", dataclasses.replace(card, figures=figures))
    monkeypatch.setattr(shipped, "SHIPPED", models)
    done = liverleaf("models")
    assert done.code == 0
    assert "0.61" in done.out
    assert "not on patients" in done.out
    assert [entry["name"] for entry in json.loads(liverleaf("models", "--json").out)] == [
        "tiny-ct",
        "tiny-mr",
    ]
