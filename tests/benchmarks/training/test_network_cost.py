"""Operations counted by hand, and memory of networks that keep a known number of activations."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from liverleaf.benchmarks.training.network_cost import NetworkCost, forward_flops, network_cost
from liverleaf.models.blocks import transformer
from liverleaf.models.mti_net.fusion import HighPass
from liverleaf.models.mti_net.network import MTINet, MTINetConfig

torch.set_num_threads(1)


class Wave(nn.Module):
    """A complex transform there and back."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` again."""
        return torch.fft.ifft(torch.fft.fft(x.to(torch.complex64))).real


@pytest.mark.parametrize(
    ("network", "shape", "flops"),
    [
        (nn.Linear(30, 7), (5, 30), 2 * 5 * 30 * 7),
        (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 10, 12), 2 * 2 * 8 * 10 * 12 * 3 * 9),
        (nn.Conv2d(4, 8, 5, stride=2, padding=2, groups=2), (1, 4, 8, 8), 2 * 8 * 4 * 4 * 2 * 25),
        (nn.ConvTranspose2d(4, 2, 2, stride=2), (1, 4, 5, 5), 2 * 4 * 2 * 5 * 5 * 4),
        (nn.ReLU(), (2, 3), 0),
        (Wave(), (3, 16), 2 * 5 * 3 * 16 * 4),
        (HighPass(0.1), (3, 16, 32), 2 * 5 * 3 * 512 * 9 // 2),  # two real transforms of 512 points
    ],
    ids=[
        "linear",
        "convolution",
        "strided groups",
        "transposed",
        "element by element",
        "complex FFT",
        "high-pass filter",
    ],
)
def test_operations_by_hand(network: nn.Module, shape: tuple[int, ...], flops: int) -> None:
    assert forward_flops(network, (torch.randn(shape),)) == flops


@pytest.mark.parametrize("training", [True, False])
def test_operations_of_a_transformer_by_hand(training: bool) -> None:
    tokens, width = 12, 16
    network = transformer(width, heads=4, blocks=2).train(training)
    projections = 4 * tokens * width**2
    attention = 2 * tokens**2 * width
    feed_forward = 8 * tokens * width**2
    assert forward_flops(network, (torch.randn(1, tokens, width),)) == 2 * 2 * (
        projections + attention + feed_forward
    )
    assert network.training is training


def test_counting_leaves_the_network_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    forward_flops(network, (torch.randn(2, 1, 8, 8),))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_training_step_takes_the_memory_of_the_activations_it_keeps() -> None:
    # 40 MB per activation: too much for freed memory to hold
    inputs = (torch.zeros(10 * 2**20, 1),)
    ends = nn.Linear(1, 1), nn.Linear(1, 1).requires_grad_(False)
    few, many = (
        network_cost(partial(nn.Sequential, *ends, *([nn.Sigmoid()] * layers)), inputs)
        for layers in (2, 6)
    )
    assert few.parameters == many.parameters == 2
    assert many.peak_memory_mb - few.peak_memory_mb == pytest.approx(4 * 40, rel=0.1)


def test_the_cost_of_an_mti_net() -> None:
    config = MTINetConfig(widths=(4, 4, 8, 8), size=64, head_width=16)
    cost = network_cost(
        partial(MTINet, config), (torch.zeros(1, 4, 64, 64), torch.ones(1, 4, dtype=torch.bool))
    )
    assert isinstance(cost, NetworkCost)
    assert cost.parameters == sum(parameter.numel() for parameter in MTINet(config).parameters())
    # more than the first convolution of both encoders
    assert cost.flops > 2 * 2 * 4 * 4 * 9 * 64 * 64
    assert 0 < cost.peak_memory_mb < 200
