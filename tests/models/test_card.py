"""The page that people read before they trust a model."""

import dataclasses

import pytest

from liverleaf.data.network_input import InputConfig
from liverleaf.models.calibration import ProbabilityCalibration
from liverleaf.models.card import text
from liverleaf.models.checkpoint import ModelCard, load_card
from liverleaf.models.mti_net.network import MTINetConfig
from liverleaf.models.shipped import SHIPPED, shipped_models
from liverleaf.study import Modality, Species
from liverleaf.terminology import SMALLEST_SCORED_MM3

FIGURE = {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 4}
CARD = ModelCard(
    "renamed",
    "mti-net",
    MTINetConfig(masks=2, heads="lesion"),
    InputConfig(Modality.CT),
    (0.0,) * 4,
    (1.0,) * 4,
    calibration=ProbabilityCalibration(1.25, {1: 0.1}, {1: 20}, {1: 0.5}),
    training={"recipe": {"name": "its-recipe", "seed": 3}, "cases": 7, "steps": 9},
    figures={
        "all phases": {"cases": 4, "commit": "abc", "figures": {"lesion_sensitivity": FIGURE}}
    },
)


def test_the_card_says_what_the_model_is_for_and_how_good_it_is() -> None:
    page = text(CARD)
    assert page.startswith("# renamed\n")
    assert "for CT of the abdomen: pre-contrast, arterial, portal venous, delayed" in page
    assert "outlines the liver, outlines lesions, gives each lesion one of 8 types and" in page
    assert "Recipe `recipes/its-recipe.toml`, seed 3, 9 steps" in page
    assert "temperature 1.25" in page and "1: 20" in page and "1: 0.500" in page
    sensitivity = f"| sensitivity, lesions of at least {SMALLEST_SCORED_MM3:.0f} mm3 | 0.500 |"
    assert sensitivity in page
    assert "hepatobiliary phase is not used" in page


def test_what_a_model_does_not_say_is_not_promised() -> None:
    unet = dataclasses.replace(CARD, family="unet", network_config=None)
    page = text(unet)
    assert "It outlines lesions." in page and "types" not in page.split("##")[0]


def test_animals_and_mr_are_named() -> None:
    config = InputConfig(Modality.MR, species=Species.RAT)
    page = text(dataclasses.replace(CARD, input_config=config))
    assert "MR of the abdomen in rats" in page and "fat-suppressed" in page


@pytest.mark.parametrize("name", shipped_models())
def test_the_shipped_cards_are_those_of_their_models(name: str) -> None:
    card = load_card(SHIPPED / name)
    assert (SHIPPED / name / "README.md").read_text(encoding="utf-8") == text(card)
    recipe = SHIPPED.parents[3] / "recipes" / f"{card.training['recipe']['name']}.toml"
    assert recipe.is_file(), "the recipe that the card names is there"
