"""Building blocks: shapes, positions against the formula written out, and Transformer stacks."""

import math

import pytest
import torch
from torch import nn

from liverleaf.models.blocks import (
    ConvBlock,
    UpBlock,
    channels_last,
    sinusoidal_positions,
    transformer,
)


def test_positions_are_those_of_vaswani_written_out() -> None:
    table = sinusoidal_positions(7, 6)
    for position in range(7):
        for i in range(3):
            angle = position / 10_000 ** (2 * i / 6)
            assert table[position, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize("width", [1, 5, 8])
def test_positions_of_any_width_tell_places_apart(width: int) -> None:
    table = sinusoidal_positions(12, width)
    assert table.shape == (12, width)
    assert len({tuple(row.tolist()) for row in table}) == 12


@pytest.mark.parametrize("convs", [1, 2])
def test_a_conv_block_keeps_rows_and_columns(convs: int) -> None:
    block = ConvBlock(3, 5, convs=convs)
    assert block(torch.randn(2, 3, 12, 20)).shape == (2, 5, 12, 20)
    assert sum(isinstance(layer, nn.Conv2d) for layer in block) == convs


def test_an_up_block_doubles_rows_and_columns_with_and_without_a_skip() -> None:
    x = torch.randn(2, 6, 4, 8)
    assert UpBlock(6, 3)(x).shape == (2, 3, 8, 16)
    with_skip = UpBlock(6, 3, skip=2).eval()
    skip = torch.randn(2, 2, 8, 16)
    assert with_skip(x, skip).shape == (2, 3, 8, 16)
    assert not torch.equal(with_skip(x, skip), with_skip(x, skip + 1))


def test_channels_last_changes_the_layout_and_no_value() -> None:
    network = ConvBlock(4, 5).eval()
    x = torch.randn(2, 4, 8, 8)
    before = network(x)
    assert channels_last(network) is network
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(network(x), before)


def test_a_transformer_has_the_blocks_and_widths_of_vaswani() -> None:
    stack = transformer(16, heads=4, blocks=3)
    assert len(stack.layers) == 3
    for block in stack.layers:
        assert (block.linear1.in_features, block.linear1.out_features, block.norm_first) == (
            16,
            64,
            False,
        )
        assert block.self_attn.num_heads == 4
    assert stack(torch.randn(2, 5, 16)).shape == (2, 5, 16)


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width=10, heads=4"):
        transformer(10, heads=4, blocks=1)
