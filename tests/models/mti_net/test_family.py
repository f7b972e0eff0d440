"""MTI-Net as a family: whole slices, and what lesion heads read in them."""

import torch

from liverleaf.models.mti_net.family import FAMILY, infer_slices
from liverleaf.models.mti_net.network import MTINet, MTINetConfig
from liverleaf.models.mti_net.predict import outlined
from liverleaf.models.mti_net.training import LossWeights


def test_lesion_heads_read_what_is_outlined_or_the_likeliest_pixel() -> None:
    logits = torch.full((2, 32, 32), -4.0)
    logits[0, 8:16, 8:16] = 3.0
    logits[1, 20, 5] = -1.0
    where = outlined(logits, pixel_mm=2.0)
    inside = where.weights_LRYX[:, :2].sum(1) > 0
    assert torch.equal(inside[0], logits[0] > 0)
    assert inside[1, 20, 5] and inside[1].sum() <= 5
    assert where.area_L.tolist() == [64 * 4.0, 4.0] and where.slice_L.tolist() == [0, 1]


def test_whole_slices_get_a_mask_a_curve_and_a_type_each() -> None:
    small = {"widths": (2, 2, 2, 2), "head_width": 4, "size": 32}
    images, present = torch.randn(3, 4, 32, 32), torch.ones(3, 4, dtype=torch.bool)
    for config in (MTINetConfig(**small), MTINetConfig(**small, heads="lesion", token_width=8)):
        network = MTINet(config).eval()
        output = infer_slices(network, images, present, 2.0)
        assert output.mask_logits_BYX.shape == (3, 32, 32)
        assert output.curve_BP.shape == (3, 4) and output.type_logits_BT.shape == (3, 2)


def test_the_parts_that_fit_together_are_named_by_the_family() -> None:
    assert isinstance(FAMILY.loss(), LossWeights)
    assert FAMILY.optimisation().discriminator_rate == 1e-4
