"""LIDIA as a model family: what the rest of the package asks of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from liverleaf.data.network_input import InputConfig
from liverleaf.data.patches import PatchSampler
from liverleaf.data.prepared import PreparedCase
from liverleaf.models.family import ModelFamily, Output
from liverleaf.models.lidia.network import Lidia, LidiaConfig
from liverleaf.models.lidia.predict import LidiaPredictor
from liverleaf.models.lidia.training import LidiaLoss, LidiaOptimisation, LidiaTrainer
from liverleaf.models.recipe import Recipe
from liverleaf.study import InputError


def defaults(wanted: InputConfig, _loss: LidiaLoss) -> Mapping[str, Any]:
    """Sizes of the network that follow from its input."""
    return {"phases": len(wanted.channels), "types": len(wanted.types)}


def check(recipe: Recipe) -> None:
    """Refuse a recipe whose parts do not fit.

    Raises:
        ValueError: they do not.
    """
    if None in recipe.input.channel_phases:
        raise ValueError(
            f"LIDIA fuses contrast phases only: input.channels are {recipe.input.channels}"
        )
    if list(recipe.input.phases) != sorted(recipe.input.phases):
        raise ValueError(
            "LIDIA fuses phases in the order of the bolus, so input.channels must be in it, got"
            f" {', '.join(recipe.input.channels)}"
        )
    if recipe.optimisation.head_rate is not None:
        raise ValueError("LIDIA learns at one rate: leave optimisation.head_rate out")
    if recipe.network.semantic != bool(recipe.loss.semantic):
        raise ValueError(
            "network.semantic and loss.semantic belong together: set both, or neither, got"
            f" {recipe.network.semantic} and {recipe.loss.semantic}"
        )


def batches(cases: Sequence[PreparedCase], recipe: Recipe) -> PatchSampler:
    """Patches with the lesions in them.

    Raises:
        InputError: no lesion of the cohort has a type that the network knows.
    """
    if not any(case.lesions for case in cases):
        raise InputError(
            "no lesion of this cohort has one of the types"
            f" {', '.join(t.key for t in recipe.input.types)}: LIDIA learns types from it"
        )
    return PatchSampler(
        cases, recipe.input, recipe.sampling, slices=recipe.network.slices, seed=recipe.seed
    )


def example_input(recipe: Recipe) -> tuple[Any, ...]:
    """A patch with all its phases."""
    size, phases = recipe.input.size, len(recipe.input.channels)
    return (
        torch.zeros(1, phases, recipe.network.slices, size, size),
        torch.ones(1, phases, dtype=torch.bool),
    )


FAMILY = ModelFamily(
    name="lidia",
    config=LidiaConfig,
    build=Lidia,
    batches=batches,
    trainer=LidiaTrainer,
    predictor=LidiaPredictor,
    outputs=lambda _config, _loss: frozenset(
        {Output.ORGAN_MASK, Output.LESION_MASK, Output.LESION_TYPE, Output.TYPE_MAP}
    ),
    loss=LidiaLoss,
    optimisation=LidiaOptimisation,
    defaults=defaults,
    check=check,
    example_input=example_input,
)
