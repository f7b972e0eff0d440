"""What the baselines have in common as model families.

Shape suffixes: B slices, P channels, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from liverleaf.data.network_input import InputConfig
from liverleaf.data.prepared import PreparedCase
from liverleaf.data.slices import SliceSampler
from liverleaf.models.baselines.predict import SegmentationPredictor
from liverleaf.models.baselines.training import SegmentationTrainer
from liverleaf.models.family import ModelFamily, Output, SliceOutput
from liverleaf.models.recipe import Recipe


def segmentation_family(
    name: str, config: type[Any], build: Callable[[Any], nn.Module]
) -> ModelFamily:
    """The family of a network from slices to logits of one lesion mask, with a loss of its own."""
    return ModelFamily(
        name=name,
        config=config,
        build=build,
        batches=slices,
        trainer=SegmentationTrainer,
        predictor=SegmentationPredictor,
        outputs=lambda _config, _loss: frozenset({Output.LESION_MASK}),
        defaults=_defaults,
        check=check_whole_slices,
        infer_slices=_infer_slices,
        example_input=one_slice,
    )


def slices(cases: Sequence[PreparedCase], recipe: Recipe) -> SliceSampler:
    """Whole slices, with the lesions' mask and one curve and type each."""
    return SliceSampler(
        cases, recipe.input, recipe.sampling, masks=1, per_lesion=False, seed=recipe.seed
    )


def check_whole_slices(recipe: Recipe) -> None:
    """Refuse a recipe in which a baseline does not see whole slices, as published.

    Raises:
        ValueError: it does not.
    """
    wanted = recipe.input
    if wanted.normalise_on_liver or wanted.pixel_mm is not None:
        raise ValueError(
            "baselines see whole slices, not normalised on the liver: set input.pixel_mm = 0 and"
            " input.normalise_on_liver = false"
        )
    if recipe.network.size != wanted.size:
        raise ValueError(
            "baselines see slices of their own size: set network.size = input.size, got"
            f" {recipe.network.size} and {wanted.size}"
        )


def one_slice(recipe: Recipe) -> tuple[Any, ...]:
    """A slice with all its channels."""
    size = recipe.input.size
    return (torch.zeros(1, len(recipe.input.channels), size, size),)


def _defaults(wanted: InputConfig, _loss: Any) -> Mapping[str, Any]:
    return {"phases": len(wanted.channels), "size": wanted.size}


def _infer_slices(
    network: nn.Module, images_BPYX: Tensor, _present_BP: Tensor, _pixel_mm: float
) -> SliceOutput:
    return SliceOutput(mask_logits_BYX=network(images_BPYX)[:, 0])
