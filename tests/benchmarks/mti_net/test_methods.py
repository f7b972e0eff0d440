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


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_built_at_every_scale(
    name: str, scale: str, slice_input: InputConfig
) -> None:
    config = dataclasses.replace(slice_input, size=SCALES[scale].size)
    recipe = METHODS[name].recipe(SCALES[scale], config)
    with torch.device("meta"):
        network = registry.family(recipe.family).build(recipe.network)
    assert sum(p.numel() for p in network.parameters()) > 1000


def test_rates_are_multiples_of_the_scale_s(slice_input: InputConfig) -> None:
    scale = SCALES["smoke"]
    made = at_rates(METHODS[OURS].recipe, 2, 0.5)(scale, slice_input).optimisation
    assert made.learning_rate == 2 * scale.learning_rate
    assert made.rate_of_heads == 0.5 * scale.learning_rate


def test_only_rows_with_rates_of_their_own_say_so(slice_input: InputConfig) -> None:
    scale = SCALES["smoke"]
    noted = {
        name
        for name, method in METHODS.items()
        if notes_on_rates(method.recipe(scale, slice_input), scale)
    }
    assert noted == {
        name
        for name in METHODS
        if name.startswith(("EI-DDPM", IMPROVED)) and "rates of the others" not in name
    }


def test_an_ablation_of_ours_lacks_one_thing(slice_input: InputConfig) -> None:
    scale = SCALES["smoke"]
    whole = METHODS[IMPROVED].recipe(scale, slice_input).network
    without = METHODS[f"{IMPROVED}, no skips"].recipe(scale, slice_input).network
    assert (
        LIVERLEAF_NET["skips"]
        and whole.skips
        and without == dataclasses.replace(whole, skips=False)
    )
