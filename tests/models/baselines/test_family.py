"""What the baselines share as families."""

import dataclasses

import pytest
import torch

from liverleaf.data.augmentation import SamplingConfig
from liverleaf.data.network_input import InputConfig
from liverleaf.models import registry
from liverleaf.models.baselines.family import check_whole_slices, one_slice
from liverleaf.models.baselines.unet import UNet, UNetConfig
from liverleaf.models.family import NoLossWeights, Output
from liverleaf.models.optimisation import Optimisation
from liverleaf.models.recipe import Recipe
from liverleaf.study import Modality

WHOLE = InputConfig(
    Modality.MR, channels=("pre", "portal"), pixel_mm=None, size=32, normalise_on_liver=False
)
RECIPE = Recipe(
    "u",
    "unet",
    UNetConfig(phases=2, size=32, widths=(2, 2, 2, 2, 2)),
    WHOLE,
    NoLossWeights(),
    SamplingConfig(),
    Optimisation(),
)


def test_sizes_follow_from_the_input_and_lesions_are_all_it_says() -> None:
    family = registry.family("unet")
    assert family.defaults(WHOLE, NoLossWeights()) == {"phases": 2, "size": 32}
    assert RECIPE.outputs == {Output.LESION_MASK}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_mm": 2.0}, "whole slices"),
        ({"normalise_on_liver": True}, "not normalised on the liver"),
        ({"size": 64}, "got 32 and 64"),
    ],
)
def test_slices_that_are_not_whole_are_refused(change: dict, message: str) -> None:
    check_whole_slices(RECIPE)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, input=dataclasses.replace(WHOLE, **change))


def test_the_example_is_what_the_network_takes_and_slices_get_a_mask_each() -> None:
    (images,) = one_slice(RECIPE)
    network = UNet(RECIPE.network).eval()
    assert network(images).shape == (1, 1, 32, 32)
    infer = registry.family("unet").infer_slices
    output = infer(network, torch.randn(3, 2, 32, 32), torch.ones(3, 2, dtype=torch.bool), 1.0)
    assert output.mask_logits_BYX.shape == (3, 32, 32)
    assert output.curve_BP is None and output.type_logits_BT is None
