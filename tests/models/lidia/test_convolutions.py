"""Convolution blocks in three dimensions."""

import pytest
import torch
import torch.nn.functional as F

from liverleaf.models.blocks import channels_last
from liverleaf.models.lidia.convolutions import (
    Convolution,
    InstanceNorm,
    TwoConvolutions,
)


@pytest.mark.parametrize("samples", [1, 3])
def test_the_norm_is_instance_norm_for_any_batch(samples: int) -> None:
    torch.manual_seed(0)
    x, norm = torch.randn(samples, 4, 3, 5, 6) * 7 + 2, InstanceNorm(4)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    expected = F.instance_norm(x, weight=norm.weight, bias=norm.bias)
    torch.testing.assert_close(norm(x), expected, rtol=1e-4, atol=1e-5)


def test_one_voxel_becomes_the_shift() -> None:
    norm = InstanceNorm(2)
    torch.nn.init.constant_(norm.bias, 0.5)
    assert norm(torch.full((1, 2, 1, 1, 1), 9.0)).flatten().tolist() == [0.5, 0.5]


def test_channels_stay_last_in_memory() -> None:
    block = channels_last(TwoConvolutions(2, 4))
    assert block[0][0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    x = torch.randn(1, 2, 4, 6, 6).to(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16):  # as on machines that multiply matrices in it
        assert block(x).is_contiguous(memory_format=torch.channels_last_3d)


def test_strides_shrink_the_grid_once() -> None:
    assert TwoConvolutions(1, 3, stride=(1, 2, 2))(torch.randn(1, 1, 5, 6, 7)).shape == (
        1, 3, 5, 3, 4,
    )  # fmt: skip
    assert Convolution(1, 3, stride=(2, 2, 2))(torch.randn(1, 1, 5, 6, 7)).shape == (1, 3, 3, 3, 4)
