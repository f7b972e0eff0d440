"""TransUNet's own: standardised filters, and the shapes of its parts as published."""

from __future__ import annotations

import torch

from liverleaf.models.baselines.transunet import StandardisedConv, Stem, TransUNet, TransUNetConfig

torch.set_num_threads(1)


def test_filters_are_standardised_whatever_their_scale_and_mean() -> None:
    torch.manual_seed(0)
    conv, x = StandardisedConv(3, 4, 3, stride=2, padding=1, bias=False), torch.randn(2, 3, 9, 9)
    answer = conv(x)
    weight = conv.weight.detach()
    standard = (weight - weight.mean((1, 2, 3), keepdim=True)) / weight.var(
        (1, 2, 3), keepdim=True, correction=0
    ).add(1e-5).sqrt()
    torch.testing.assert_close(answer, torch.nn.functional.conv2d(x, standard, stride=2, padding=1))
    conv.weight.data = 5 * weight + 2
    torch.testing.assert_close(conv(x), answer, atol=1e-2, rtol=1e-2)


def test_the_default_is_r50_vit_b_16() -> None:
    with torch.device("meta"):
        network = TransUNet(TransUNetConfig())
        levels = Stem(TransUNetConfig())(torch.zeros(1, 4, 256, 256))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (64, 128, 128),
        (256, 64, 64),
        (512, 32, 32),
        (1024, 16, 16),
    ]
    assert [len(stage) for stage in network.stem.stages] == [3, 4, 9]
    assert network.positions_ND.shape == (256, 768)
    assert [
        (block.linear1.out_features, block.self_attn.num_heads)
        for block in network.transformer.layers
    ] == [(3072, 12)] * 12
    assert [block[-3].out_channels for block in network.decoder] == [256, 128, 64, 16]
