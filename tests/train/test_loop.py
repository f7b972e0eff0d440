"""Trainings of a few steps: exact resume, folds without leaks, refusals."""

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from liverleaf.cohort.index import FOLDS, Cohort
from liverleaf.data.prepared import PreparedCase
from liverleaf.models import trainer as trainer_module
from liverleaf.models.checkpoint import load_model, weights_hash
from liverleaf.models.recipe import Recipe, load_recipe
from liverleaf.study import InputError, Modality, Phase
from liverleaf.terminology import LesionType
from liverleaf.train import loop as train_module
from liverleaf.train.loop import is_run_of, train

torch.set_num_threads(1)

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = (
    "optimisation.steps=2",
    "optimisation.precision='32-true'",
    "network.widths=[2, 2, 4, 4]",
)
OURS = (
    *SMALL,
    "input.size=48",
    "input.pixel_mm=4.0",
    "network.token_width=8",
    "network.head_width=4",
    "sampling.batch=3",
)
PUBLISHED = (*SMALL, "input.size=128")
IN_3D = (
    *SMALL,
    "input.size=32",
    "input.pixel_mm=4.0",
    "network.slices=4",
    "network.pyramid=8",
    "network.heads=2",
    "network.queries=4",
    "network.feedforward=8",
    "loss.points=16",
)


def recipe(*overrides: str) -> Recipe:
    return load_recipe(RECIPES / "liverleaf-net-ct.toml", [*OURS, *overrides])


def rows(run: Path) -> list[dict[str, str]]:
    """The log without the seconds, which differ from run to run."""
    with (run / "log.csv").open(newline="") as file:
        return [
            {name: value for name, value in row.items() if name != "seconds"}
            for row in csv.DictReader(file)
        ]


class KilledError(Exception):
    """What a test kills a training with."""


def killer(step: int) -> Callable[[str, int, int], None]:
    def progress(what: str, done: int, _total: int) -> None:
        if what == "training" and done == step:
            raise KilledError

    return progress


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_every_shipped_recipe_trains(
    name: str, ct_cohort: Cohort, mr_cohort: Cohort, tmp_path: Path
) -> None:
    plain = load_recipe(RECIPES / f"{name}.toml")
    assert plain.name == name
    published = PUBLISHED if plain.network.heads == "slice" else OURS
    small = load_recipe(RECIPES / f"{name}.toml", IN_3D if plain.family == "lidia" else published)
    cohort = ct_cohort if small.input.modality is Modality.CT else mr_cohort
    card, network = load_model(train(small, cohort, tmp_path / "run", device="cpu"))
    assert (card.name, card.input_config, card.network_config) == (name, small.input, small.network)
    assert card.training["steps"] == 2 and card.training["cases"] == 6
    assert all(parameter.isfinite().all() for parameter in network.parameters())
    assert [row["step"] for row in rows(tmp_path / "run")] == ["0", "1"]
    assert not (tmp_path / "run/prepared").exists()


# runs


def test_a_run_that_was_killed_goes_on_bit_for_bit(ct_cohort: Cohort, tmp_path: Path) -> None:
    whole = recipe("optimisation.steps=6", "optimisation.save_every=2", "network.dropout=0.2")
    train(whole, ct_cohort, tmp_path / "whole", device="cpu")
    # before the first checkpoint, then right after one
    for resume, step in ((False, 1), (True, 3)):
        with pytest.raises(KilledError):
            train(
                whole,
                ct_cohort,
                tmp_path / "parts",
                device="cpu",
                resume=resume,
                progress=killer(step),
            )
    assert not (tmp_path / "parts/model").exists()
    with pytest.raises(KilledError):
        train(whole, ct_cohort, tmp_path / "parts", device="cpu", resume=True, progress=killer(5))
    assert int(load_file(tmp_path / "parts/state.safetensors")["step"]) == 4
    train(whole, ct_cohort, tmp_path / "parts", device="cpu", resume=True)
    assert weights_hash(tmp_path / "whole/model") == weights_hash(tmp_path / "parts/model")
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    states = [load_file(tmp_path / name / "state.safetensors") for name in ("whole", "parts")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


KILLED_BY_THE_SYSTEM = """
import os, signal, sys
from pathlib import Path
import torch
from liverleaf.cohort.index import Cohort
from liverleaf.models.recipe import load_recipe
from liverleaf.train.loop import train

torch.set_num_threads(1)
recipe, cohort, out, when, *overrides = sys.argv[1:]
die = lambda: os.kill(os.getpid(), signal.SIGKILL)

def half_a_write(path, data, whole=Path.write_bytes):
    whole(path, data[: len(data) // 2] if "state" in path.name else data)
    if "state" in path.name:
        die()

if when == "while saving":
    Path.write_bytes = half_a_write
watch = lambda what, done, total: die() if (what, str(done)) == ("training", when) else None
recipe, cohort, out = load_recipe(Path(recipe), overrides), Cohort.open(Path(cohort)), Path(out)
train(recipe, cohort, out, device="cpu", resume=out.exists(), progress=watch)
"""


def test_a_run_that_the_system_kills_goes_on_bit_for_bit(ct_cohort: Cohort, tmp_path: Path) -> None:
    steps = ("optimisation.steps=6", "optimisation.save_every=2", "network.dropout=0.2")
    train(recipe(*steps), ct_cohort, tmp_path / "whole", device="cpu")
    parts = tmp_path / "parts"
    # between two checkpoints, then while the second one is written
    for when, reached in (("3", 2), ("while saving", 2)):
        arguments = [
            str(RECIPES / "liverleaf-net-ct.toml"),
            str(ct_cohort.directories[0].parent),
            str(parts),
            when,
            *OURS,
            *steps,
        ]
        child = subprocess.run(
            [sys.executable, "-c", KILLED_BY_THE_SYSTEM, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert child.returncode == -signal.SIGKILL, child.stderr
        assert (
            int(load_file(parts / "state.safetensors")["step"]) == reached
            and not (parts / "model").exists()
        )
    train(recipe(*steps), ct_cohort, parts, device="cpu", resume=True)
    assert weights_hash(tmp_path / "whole/model") == weights_hash(parts / "model")
    assert rows(tmp_path / "whole") == rows(parts)


def test_the_seed_decides(ct_cohort: Cohort, tmp_path: Path) -> None:
    hashes = [
        weights_hash(train(recipe(f"seed={seed}"), ct_cohort, tmp_path / str(i), device="cpu"))
        for i, seed in enumerate((0, 0, 1))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_finished_run_can_be_resumed_and_stays_as_it_is(
    ct_cohort: Cohort, tmp_path: Path
) -> None:
    before = weights_hash(train(recipe(), ct_cohort, tmp_path / "run", device="cpu"))
    assert (
        weights_hash(train(recipe(), ct_cohort, tmp_path / "run", device="cpu", resume=True))
        == before
    )
    assert len(rows(tmp_path / "run")) == 2


@pytest.mark.parametrize("fold", range(FOLDS))
def test_a_fold_never_sees_its_test_subjects(
    fold: int, ct_cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    prepare = train_module.prepare

    def spy(cohort: Cohort, cases: list[int], *rest: object, **named: object) -> list[PreparedCase]:
        seen.extend(cases)
        return prepare(cohort, cases, *rest, **named)

    monkeypatch.setattr(train_module, "prepare", spy)
    train(recipe("optimisation.steps=1"), ct_cohort, tmp_path / "run", fold=fold, device="cpu")
    split = ct_cohort.folds(FOLDS, 0)[fold]
    subjects = [
        {ct_cohort.records[case].subject_id for case in cases} for cases in (seen, split.test)
    ]
    assert subjects[1] and not subjects[0] & subjects[1]
    assert subjects[0] | subjects[1] == set(ct_cohort.subjects)
    assert json.loads((tmp_path / "run/run.json").read_text())["fold"] == fold


def test_a_folder_with_another_run_is_refused(ct_cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train(recipe(), ct_cohort, tmp_path / "run", device="cpu", progress=killer(1))
    refusals = [
        ("already holds a run", recipe(), {}),
        ("another recipe, fold or cohort", recipe("seed=4"), {"resume": True}),
        ("another recipe, fold or cohort", recipe(), {"resume": True, "fold": 1}),
    ]
    for message, other, settings in refusals:
        with pytest.raises(InputError, match=message):
            train(other, ct_cohort, tmp_path / "run", device="cpu", **settings)
    with pytest.raises(InputError, match="holds no run to go on with"):
        train(recipe(), ct_cohort, tmp_path / "new", device="cpu", resume=True)
    with pytest.raises(InputError, match="fold is 0 to 4, got 5"):
        train(recipe(), ct_cohort, tmp_path / "new", device="cpu", fold=5)
    assert not (tmp_path / "new").exists()


def test_a_run_begun_before_recipes_had_a_field_is_the_same_run(
    ct_cohort: Cohort, tmp_path: Path
) -> None:
    with pytest.raises(KilledError):
        train(recipe(), ct_cohort, tmp_path / "run", device="cpu", progress=killer(1))
    path = tmp_path / "run/run.json"
    record = json.loads(path.read_text())
    del record["recipe"]["network"]["subtraction"], record["recipe"]["loss"]["label_smoothing"]
    path.write_text(json.dumps(record))
    assert is_run_of(tmp_path / "run", recipe())
    assert not is_run_of(tmp_path / "run", recipe("network.subtraction=true"))
    train(recipe(), ct_cohort, tmp_path / "run", device="cpu", resume=True)


def test_a_cohort_of_another_modality_is_refused(mr_cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is MR, this recipe is for CT"):
        train(recipe(), mr_cohort, tmp_path / "run", device="cpu")


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_batches_without_lesions_and_wrongly_normalised_are_trained_on(
    share: float, tiny_cohort: Callable, tmp_path: Path
) -> None:
    cohort = tiny_cohort(tmp_path / "cohort", 2, types=[])
    run = train(
        recipe(f"sampling.wrong_normalisation={share}"), cohort, tmp_path / "run", device="cpu"
    )
    assert all(
        np.isfinite(float(row["loss"])) and not row["discriminator"] for row in rows(run.parent)
    )


def test_healthy_slices_have_no_curve_or_type_loss_in_the_published_setting(
    tiny_cohort: Callable, tmp_path: Path
) -> None:
    cohort = tiny_cohort(tmp_path / "cohort", 2, modality=Modality.MR, types=[])
    run = train(
        load_recipe(RECIPES / "mti-net-paper.toml", PUBLISHED),
        cohort,
        tmp_path / "run",
        device="cpu",
    )
    for row in rows(run.parent):
        assert float(row["bce"]) > 0
        assert [float(row[name]) for name in ("curve", "type", "tim", "adversarial")] == [0.0] * 4


def test_terms_of_weight_zero_are_left_out(ct_cohort: Cohort, tmp_path: Path) -> None:
    off = [f"loss.{name}=0.0" for name in ("dice", "curve", "type", "tim", "adversarial")]
    run = train(recipe(*off), ct_cohort, tmp_path / "run", device="cpu")
    for row in rows(run.parent):
        assert {name for name, value in row.items() if value} == {"step", "loss", "bce"}
        assert row["loss"] == row["bce"]


def test_it_learns(ct_cohort: Cohort, tmp_path: Path) -> None:
    settings = (
        "optimisation.steps=60",
        "optimisation.cosine=false",
        "optimisation.learning_rate=1e-2",
        "network.widths=[4, 4, 8, 8]",
    )
    run = train(
        recipe(*settings, "sampling.augment=false"), ct_cohort, tmp_path / "run", device="cpu"
    )
    for name in ("bce", "dice", "curve"):
        values = [float(row[name]) for row in rows(run.parent)]
        assert np.mean(values[-10:]) < 0.9 * np.mean(values[:5]), name


def as_0_1_wrote_it(out: Path) -> None:
    """Turn a run that was begun into one that 0.1 had begun: names of fields, and of parts."""
    run = json.loads((out / "run.json").read_text())
    del run["schema_version"]
    run["network"] = run.pop("family")
    record = run["recipe"]
    del record["family"], record["input"]["body_part"], record["input"]["species"]
    record["input"]["phases"] = [Phase.parse(c) for c in record["input"].pop("channels")]
    record["input"]["types"] = [LesionType.parse(name) for name in record["input"]["types"]]
    record["input"]["calibrate"] = record["input"].pop("normalise_on_liver")
    record["network"]["measured"] = record["network"].pop("residual_curve")
    record["sampling"]["uncalibrated"] = record["sampling"].pop("wrong_normalisation")
    record["optimisation"]["head_rate"] = record["optimisation"]["head_rate"] or 0.0
    (out / "run.json").write_text(json.dumps(run))
    state = load_file(out / "state.safetensors")
    renamed = {name.replace("discriminator", "critic"): value for name, value in state.items()}
    save_file(renamed, out / "state.safetensors")


def test_a_run_begun_by_0_1_goes_on_bit_for_bit_with_its_own_draws(
    ct_cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = recipe("optimisation.steps=4", "optimisation.save_every=2", "network.dropout=0.2")
    with monkeypatch.context() as of_0_1:
        of_0_1.setattr(trainer_module, "step_seed", trainer_module.step_seed_0_1)
        train(whole, ct_cohort, tmp_path / "whole", device="cpu")
        with pytest.raises(KilledError):
            train(whole, ct_cohort, tmp_path / "parts", device="cpu", progress=killer(3))
    as_0_1_wrote_it(tmp_path / "parts")
    assert is_run_of(tmp_path / "parts", whole)
    train(whole, ct_cohort, tmp_path / "parts", device="cpu", resume=True)
    assert weights_hash(tmp_path / "whole/model") == weights_hash(tmp_path / "parts/model")
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
