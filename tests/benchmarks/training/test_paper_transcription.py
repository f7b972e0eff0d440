"""The paper's words against our network, our discriminator and our filter."""

import dataclasses

import pytest
import torch

from liverleaf.benchmarks.training.paper_transcription import (
    PaperDiscriminator,
    PaperMTINet,
    copy_weights,
    high_pass,
)
from liverleaf.models.mti_net.discriminator import TaskDrivenDiscriminator
from liverleaf.models.mti_net.fusion import HighPass
from liverleaf.models.mti_net.network import MTINet, MTINetConfig

torch.set_num_threads(1)

SMALL = MTINetConfig(widths=(4, 6, 8, 10), size=64, head_width=8)


def test_the_papers_words_and_our_network_say_the_same() -> None:
    torch.manual_seed(0)
    ours, paper = MTINet(SMALL).eval(), PaperMTINet(SMALL).eval()
    copy_weights(ours, paper)
    images = torch.randn(2, 4, 64, 64)
    mask, curve, types = paper(images)
    output = ours(images, torch.ones(2, 4, dtype=torch.bool))
    torch.testing.assert_close(mask, output.mask_logits_BKYX[:, 0].sigmoid())
    torch.testing.assert_close(curve, output.curve_LP)
    torch.testing.assert_close(types, output.type_logits_LT.softmax(-1))


def test_the_papers_words_and_our_discriminator_say_the_same() -> None:
    torch.manual_seed(0)
    ours, paper = TaskDrivenDiscriminator(4, 2), PaperDiscriminator(4, 2)
    copy_weights(ours, paper)
    curve, types = torch.randn(3, 4), torch.rand(3, 2).softmax(-1)
    torch.testing.assert_close(
        paper(curve, types)[:, 0], ours(curve, types, torch.ones(3, 4, dtype=torch.bool)).sigmoid()
    )


@pytest.mark.parametrize("shape", [(16, 32), (48, 16)])
def test_both_high_pass_filters_are_one(shape: tuple[int, int]) -> None:
    image = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(high_pass(image, 0.26), HighPass(0.26)(image), atol=1e-5, rtol=0)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(AssertionError):
        copy_weights(MTINet(SMALL), PaperMTINet(dataclasses.replace(SMALL, widths=(4, 6, 8, 12))))
