"""MTI-Net as a model family: what the rest of the package asks of it.

Shape suffixes: B slices, P channels, T types, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from liverleaf.data.network_input import InputConfig
from liverleaf.data.prepared import PreparedCase
from liverleaf.data.slices import SliceSampler
from liverleaf.models.family import ModelFamily, Output, SliceOutput
from liverleaf.models.mti_net.ensemble import Ensemble
from liverleaf.models.mti_net.network import MTINet, MTINetConfig
from liverleaf.models.mti_net.predict import MTINetPredictor, outlined
from liverleaf.models.mti_net.training import LossWeights, MTINetOptimisation, MTINetTrainer
from liverleaf.models.recipe import Recipe


def outputs(config: MTINetConfig, loss: LossWeights) -> frozenset[Output]:
    """What a network of this config says, if it was trained with this loss."""
    said = {
        Output.LESION_MASK: True,
        Output.ORGAN_MASK: config.masks == 2,
        Output.CURVE: bool(loss.curve),
        Output.LESION_TYPE: bool(loss.type),
    }
    return frozenset(output for output, does in said.items() if does)


def defaults(wanted: InputConfig, _loss: LossWeights) -> Mapping[str, Any]:
    """Sizes of the network that follow from its input."""
    return {"phases": len(wanted.channels), "types": len(wanted.types), "size": wanted.size}


def check(recipe: Recipe) -> None:
    """Refuse a recipe whose parts do not fit.

    Raises:
        ValueError: they do not.
    """
    if recipe.input.normalise_on_liver and recipe.network.masks != 2:
        raise ValueError(
            "intensities are normalised on the liver that the network itself outlines: set"
            " network.masks = 2, or input.normalise_on_liver = false"
        )
    if recipe.network.heads == "slice" and (
        recipe.input.pixel_mm is not None or recipe.network.size != recipe.input.size
    ):
        raise ValueError(
            "slice heads see whole slices of their own size: set input.pixel_mm = 0 and"
            " network.size = input.size"
        )


def batches(cases: Sequence[PreparedCase], recipe: Recipe) -> SliceSampler:
    """Slices, with a curve and a type for whatever the heads answer for."""
    return SliceSampler(
        cases,
        recipe.input,
        recipe.sampling,
        masks=recipe.network.masks,
        per_lesion=recipe.network.heads == "lesion",
        seed=recipe.seed,
    )


def infer_slices(
    network: nn.Module, images_BPYX: Tensor, present_BP: Tensor, pixel_mm: float
) -> SliceOutput:
    """Mask, curve and type of whole slices; lesion heads read what the network itself outlines."""
    net = cast(MTINet, network)
    features = net.features(images_BPYX, present_BP)
    logits_BYX = features.mask_logits_BKYX[:, -1].float()
    regions = outlined(logits_BYX, pixel_mm=pixel_mm) if net.config.heads == "lesion" else None
    curve_BP, type_logits_BT = net.run_heads(features, images_BPYX, present_BP, regions)
    return SliceOutput(logits_BYX, curve_BP.float(), type_logits_BT.float())


def example_input(recipe: Recipe) -> tuple[Any, ...]:
    """A slice with all its channels and, for lesion heads, a lesion of a pixel."""
    size, channels = recipe.input.size, len(recipe.input.channels)
    images_BPYX = torch.zeros(1, channels, size, size)
    present_BP = torch.ones(1, channels, dtype=torch.bool)
    if recipe.network.heads == "slice":
        return images_BPYX, present_BP
    return images_BPYX, present_BP, outlined(images_BPYX[:, 0], pixel_mm=1.0)


FAMILY = ModelFamily(
    name="mti-net",
    config=MTINetConfig,
    build=MTINet,
    batches=batches,
    trainer=MTINetTrainer,
    predictor=MTINetPredictor,
    outputs=outputs,
    loss=LossWeights,
    optimisation=MTINetOptimisation,
    defaults=defaults,
    check=check,
    ensemble=Ensemble,
    infer_slices=infer_slices,
    example_input=example_input,
)
