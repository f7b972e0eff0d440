"""Every method of MTI-Net's tables can be built, and its rates are those that are said."""

import dataclasses

import pytest
import torch

from liverleaf.benchmarks.mti_net.methods import (
    IMPROVED,
    LIVERLEAF_NET,
    METHODS,
    OURS,
    SCALES,
    at_rates,
)
from liverleaf.benchmarks.mti_net.rows import notes_on_rates
from liverleaf.data.network_input import InputConfig
from liverleaf.models import registry
from liverleaf.study import Modality
from liverleaf.terminology import LesionType

INPUT = InputConfig(
    Modality.MR,
    types=(LesionType.HCC, LesionType.HAEMANGIOMA),
    pixel_mm=None,
    slice_mm=0.0,
    size=64,
    normalise_on_liver=False,
)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_built_at_every_scale(name: str, scale: str) -> None:
    config = dataclasses.replace(INPUT, size=SCALES[scale].size)
    recipe = METHODS[name].recipe(SCALES[scale], config)
    with torch.device("meta"):
        network = registry.family(recipe.family).build(recipe.network)
    assert sum(p.numel() for p in network.parameters()) > 1000


def test_rates_are_multiples_of_the_scale_s() -> None:
    scale = SCALES["smoke"]
    made = at_rates(METHODS[OURS].recipe, 2, 0.5)(scale, INPUT).optimisation
    assert made.learning_rate == 2 * scale.learning_rate
    assert made.rate_of_heads == 0.5 * scale.learning_rate


def test_only_rows_with_rates_of_their_own_say_so() -> None:
    scale = SCALES["smoke"]
    noted = {
        name
        for name, method in METHODS.items()
        if notes_on_rates(method.recipe(scale, INPUT), scale)
    }
    assert noted == {
        name
        for name in METHODS
        if name.startswith(("EI-DDPM", IMPROVED)) and "rates of the others" not in name
    }


def test_an_ablation_of_ours_lacks_one_thing() -> None:
    scale = SCALES["smoke"]
    whole = METHODS[IMPROVED].recipe(scale, INPUT).network
    without = METHODS[f"{IMPROVED}, no skips"].recipe(scale, INPUT).network
    assert (
        LIVERLEAF_NET["skips"]
        and whole.skips
        and without == dataclasses.replace(whole, skips=False)
    )
