"""LIDIA as a family: its recipes, what they refuse, and the whole way from cohort to findings."""

import dataclasses
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from liverleaf.cohort.index import Cohort
from liverleaf.data.prepared import prepare
from liverleaf.models import registry
from liverleaf.models.checkpoint import weights_hash
from liverleaf.models.family import Output
from liverleaf.models.recipe import load_recipe
from liverleaf.storage.case_folder import save_case
from liverleaf.study import InputError
from liverleaf.terminology import LesionType
from liverleaf.train.loop import train

torch.set_num_threads(1)

RECIPES = Path(__file__).parents[3] / "recipes"
TINY = [
    "input.pixel_mm=4.0", "input.slice_mm=5.0", "input.size=32", "network.slices=4",
    "network.widths=[4, 8, 8, 8]", "network.pyramid=8", "network.heads=2", "network.queries=6",
    "network.feedforward=16", "network.embedding=8", "loss.points=64", "loss.bank=8",
    "optimisation.steps=5", "optimisation.save_every=2", "optimisation.rho_from=0.4",
    'optimisation.precision="32-true"',
]  # fmt: skip


@pytest.mark.parametrize("name", ["lidia-ct", "lidia-paper"])
def test_recipes_are_read_and_their_networks_built(name: str) -> None:
    recipe = load_recipe(RECIPES / f"{name}.toml")
    assert recipe.name == name and recipe.network.phases == 4 and recipe.network.types == 8
    assert recipe.outputs == set(Output) - {Output.CURVE, Output.CASE_CLASS, Output.CASE_SCORE}
    network = registry.family("lidia").build(recipe.network)
    megabytes = 4 * sum(p.numel() for p in network.parameters()) / 1e6
    assert name != "lidia-ct" or megabytes <= 20


def test_the_published_numbers_stand_in_the_published_recipe() -> None:
    recipe = load_recipe(RECIPES / "lidia-paper.toml")
    assert (recipe.network.queries, recipe.network.fusion) == (50, "ifm")
    assert (recipe.loss.mask, recipe.loss.type, recipe.loss.contrast) == (5, 5, 0.01)
    assert (recipe.loss.temperature, recipe.loss.bank) == (0.1, 1024)
    assert (recipe.sampling.batch, recipe.optimisation.learning_rate) == (2, 1e-5)
    written = tomllib.loads((RECIPES / "lidia-paper.toml").read_text())
    # what the paper says is written out, so that a default cannot change it
    assert {"mask", "type", "contrast", "temperature", "bank"} <= set(written["loss"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ('input.channels=["portal", "t2w"]', "contrast phases only"),
        ('input.channels=["portal", "pre"]', "in the order of the bolus"),
        ("optimisation.head_rate=1e-3", "learns at one rate"),
        ("loss.semantic=0.0", "belong together"),
        ("loss.foreground=0.9", "so does their sum"),
        ("loss.temperature=0.0", "temperature is above 0"),
        ("optimisation.rho=-1.0", "rho"),
    ],
)
def test_recipes_that_cannot_work_are_refused_in_a_line(change: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_recipe(RECIPES / "lidia-ct.toml", [change])


def test_a_cohort_without_types_is_refused_in_a_line(tiny_case: Callable, tmp_path: Path) -> None:
    study, truth = tiny_case(0)
    untyped = dataclasses.replace(truth, lesion_list=())
    save_case(tmp_path / "cohort/case-0", study, untyped)
    with pytest.raises(InputError, match="no lesion of this cohort has one of the types hcc"):
        recipe = load_recipe(RECIPES / "lidia-ct.toml", TINY)
        train(recipe, Cohort.open(tmp_path / "cohort"), tmp_path / "run", device="cpu")


class KilledError(Exception):
    """What a test kills a training with."""


def test_a_killed_run_goes_on_bit_for_bit_with_its_bank(ct_cohort: Cohort, tmp_path: Path) -> None:
    recipe = load_recipe(RECIPES / "lidia-ct.toml", TINY)
    whole = train(recipe, ct_cohort, tmp_path / "whole", device="cpu")

    def kill(what: str, done: int, _total: int) -> None:
        if (what, done) == ("training", 3):
            raise KilledError

    with pytest.raises(KilledError):
        train(recipe, ct_cohort, tmp_path / "parts", device="cpu", progress=kill)
    parts = train(recipe, ct_cohort, tmp_path / "parts", device="cpu", resume=True)
    assert weights_hash(parts) == weights_hash(whole)
    states = [(tmp_path / run / "state.safetensors").read_bytes() for run in ("whole", "parts")]
    assert states[0] == states[1]


def test_patches_come_from_the_cohort_and_are_the_networks_size(
    ct_cohort: Cohort, tmp_path: Path
) -> None:
    recipe = load_recipe(RECIPES / "lidia-ct.toml", TINY)
    cases = prepare(ct_cohort, [0, 1], recipe.input, tmp_path)
    family = registry.family("lidia")
    batch = family.batches(cases, recipe)(0)
    assert batch.images_BPZYX.shape == (2, 4, 4, 32, 32)
    assert family.example_input is not None
    example = family.example_input(recipe)
    assert [tuple(x.shape) for x in example] == [(1, 4, 4, 32, 32), (1, 4)]
    assert np.isin(torch.cat(batch.types), [0, 1]).all()
    assert LesionType(0) is recipe.input.types[0]
