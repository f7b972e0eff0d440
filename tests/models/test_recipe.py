"""Recipes that load or say why not, those of 0.1 among them."""

import dataclasses
from pathlib import Path

import pytest

from liverleaf.cohort.index import FOLDS
from liverleaf.models.baselines.training import ClassifierLoss
from liverleaf.models.family import Output
from liverleaf.models.recipe import Recipe, load_recipe, read_recipe, recipe_record
from liverleaf.study import BodyPart, InputError, Species

RECIPES = Path(__file__).parents[2] / "recipes"
OURS = ("input.size=48", "network.token_width=8", "network.head_width=4")


def recipe(*overrides: str) -> Recipe:
    return load_recipe(RECIPES / "liverleaf-net-ct.toml", [*OURS, *overrides])


def test_the_published_recipe_is_the_published_setting() -> None:
    paper = load_recipe(RECIPES / "mti-net-paper.toml")
    # the defaults, which are the paper's
    assert dataclasses.replace(paper.network, phases=4) == type(paper.network)()
    assert (paper.input.size, paper.input.pixel_mm, [t.name for t in paper.input.types]) == (
        256,
        None,
        ["HAEMANGIOMA", "HCC"],
    )
    assert (
        paper.optimisation.learning_rate,
        paper.optimisation.epochs,
        paper.optimisation.steps,
    ) == (1e-4, 100, None)
    assert (paper.sampling.batch, paper.sampling.augment, FOLDS) == (1, False, 5)
    weights = paper.loss
    assert (
        weights.bce,
        weights.dice,
        weights.curve,
        weights.type,
        weights.tim,
        weights.adversarial,
    ) == (1, 0, 1, 1, 1, 0.1)


def test_overrides_set_what_they_name_and_sizes_follow() -> None:
    changed = recipe("seed=9", "network.skips=false", "input.types=['cyst', 'hcc']", "loss.tim=0.0")
    assert (changed.seed, changed.network.skips, changed.network.types, changed.loss.tim) == (
        9,
        False,
        2,
        0.0,
    )
    assert changed.network.size == changed.input.size == 48


@pytest.mark.parametrize(
    "override",
    [
        "network.depth=3",
        "optimiser.steps=3",
        "sead=3",
        "name.x=1",
        "input.modality='PET'",
        "input.types=['wart']",
        "input.channels=[]",
        "input.species='cat'",
        "family='u-net'",
        "input.size=50",
        "network.cutoff=2.0",
        "network.masks=1",
        "network.heads='slice'",
    ],
)
def test_a_wrong_override_is_refused(override: str) -> None:
    with pytest.raises(InputError, match=r"recipe .*liverleaf-net-ct\.toml: "):
        recipe(override)


@pytest.mark.parametrize(
    "override", ["seed", "input.modality=CT", "optimisation.steps=abc", "optimisation.steps="]
)
def test_an_override_that_cannot_be_read_is_named(override: str) -> None:
    with pytest.raises(InputError, match=f"^--set {override}: write TABLE.FIELD=VALUE"):
        recipe(override)


def test_a_recipe_that_is_missing_or_broken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recipe"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("name = ")
    with pytest.raises(InputError, match=r"broken\.toml"):
        load_recipe(tmp_path / "broken.toml")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(InputError, match=r"empty\.toml"):
        load_recipe(tmp_path / "empty.toml")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_a_recipe_comes_back_from_its_record(path: Path) -> None:
    loaded = load_recipe(path)
    assert read_recipe(recipe_record(loaded)) == loaded


OLD = """
name = "old"
[input]
modality = "MR"
phases = ["arterial", "portal"]
pixel_mm = 0.0
calibrate = false
size = 64
[network]
head_width = 4
[sampling]
uncalibrated = 0.5
[optimisation]
steps = 0
head_rate = 0.0
discriminator_rate = 1e-3
"""


def test_a_recipe_of_0_1_is_read(tmp_path: Path) -> None:
    (tmp_path / "old.toml").write_text(OLD)
    old = load_recipe(tmp_path / "old.toml", ["network.measured=false", "input.calibrate=false"])
    assert (old.family, old.input.channels, old.network.phases) == (
        "mti-net",
        ("arterial", "portal"),
        2,
    )
    assert (old.input.pixel_mm, old.input.normalise_on_liver) == (None, False)
    assert (old.sampling.wrong_normalisation, old.optimisation.steps) == (0.5, None)
    assert (old.optimisation.head_rate, old.optimisation.rate_of_heads) == (None, 1e-4)
    assert (old.input.body_part, old.input.species) == (BodyPart.ABDOMEN, Species.HUMAN)


def test_a_baseline_of_0_1_is_read_without_what_it_never_used(tmp_path: Path) -> None:
    (tmp_path / "old.toml").write_text(
        OLD.replace("head_width = 4", 'kind = "classifier"\narchitecture = "vgg-16"')
        + "[loss]\ntype = 0.0\ndice = 1.0\n"
    )
    old = load_recipe(tmp_path / "old.toml")
    assert (old.family, old.loss) == ("classifier", ClassifierLoss(curve=1.0, type=0.0))
    assert (old.network.inputs, old.network.outputs, old.outputs) == (2, 2, {Output.CURVE})


@pytest.mark.parametrize(
    ("family", "override", "message"),
    [
        ("unet", "loss.dice=1.0", "loss has no field dice"),
        ("unet", "optimisation.discriminator_rate=1.0", "no field discriminator_rate"),
        ("unet", "input.pixel_mm=2.0", "baselines see whole slices"),
        ("unet", "network.size=128", "slices of their own size"),
        ("classifier", "loss.type=1.0", "learns the curve or the type"),
        ("mti-net", "loss.tm=1.0", "loss has no field tm"),
    ],
)
def test_each_family_refuses_what_it_cannot_do(
    family: str, override: str, message: str, tmp_path: Path
) -> None:
    text = OLD.replace("head_width = 4\n", "").replace("discriminator_rate = 1e-3\n", "")
    if family == "classifier":
        text = text.replace("[network]", '[network]\narchitecture = "vgg-16"')
        text += "[loss]\ncurve = 1.0\n"
    if family == "mti-net":
        text = text.replace("[network]", "[network]\nhead_width = 4")
    (tmp_path / "new.toml").write_text(f'family = "{family}"\n{text}')
    with pytest.raises(InputError, match=message):
        load_recipe(tmp_path / "new.toml", [override])
