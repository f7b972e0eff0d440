"""Sharpness-aware minimisation: two steps by hand, and in mixed precision and accumulation."""

import math
from collections.abc import Callable

import pytest
import torch

from liverleaf.models.lidia.sharpness import SharpnessAware


def gradient(w: tuple[float, float]) -> tuple[float, float]:
    """Of w0^2 + 3 w1^2."""
    return 2 * w[0], 6 * w[1]


def backward_of(weight: torch.Tensor, scale: float = 1.0) -> Callable[[], float]:
    def backward() -> float:
        loss = weight[0] ** 2 + 3 * weight[1] ** 2
        (scale * loss).backward()
        return float(loss.detach())

    return backward


def test_two_steps_by_hand() -> None:
    weight = torch.tensor([1.0, -0.5], dtype=torch.float64, requires_grad=True)
    sharp = SharpnessAware(torch.optim.SGD([weight], lr=0.1), rho=0.2)
    by_hand = (1.0, -0.5)
    for _ in range(2):
        loss = sharp.step(backward_of(weight))
        assert loss == pytest.approx(by_hand[0] ** 2 + 3 * by_hand[1] ** 2)
        g = gradient(by_hand)
        norm = math.hypot(*g)
        up = gradient((by_hand[0] + 0.2 * g[0] / norm, by_hand[1] + 0.2 * g[1] / norm))
        by_hand = (by_hand[0] - 0.1 * up[0], by_hand[1] - 0.1 * up[1])
        assert weight.tolist() == pytest.approx(by_hand, rel=1e-9)


def test_scaled_gradients_climb_as_far() -> None:
    plain = torch.tensor([1.0, -0.5], dtype=torch.float64, requires_grad=True)
    scaled = plain.detach().clone().requires_grad_()
    SharpnessAware(torch.optim.SGD([plain], lr=0.1), rho=0.2).step(backward_of(plain))

    def unscale() -> None:
        assert scaled.grad is not None
        scaled.grad /= 1024

    SharpnessAware(torch.optim.SGD([scaled], lr=0.1), rho=0.2).step(
        backward_of(scaled, 1024.0), loss_scale=1024.0, before_descent=unscale
    )
    assert scaled.tolist() == pytest.approx(plain.tolist(), rel=1e-12)


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    data = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    ends = []
    for parts in (1, 2):
        weight = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

        def backward(weight: torch.Tensor = weight, parts: int = parts) -> None:
            for part in data.chunk(parts):
                (((weight * part - 1) ** 2).mean() / parts).backward()

        SharpnessAware(torch.optim.SGD([weight], lr=0.01), rho=0.1).step(backward)
        ends.append(float(weight.detach()))
    assert ends[0] == pytest.approx(ends[1], rel=1e-12)


def test_going_back_is_exact_and_overflow_does_not_climb() -> None:
    weight = torch.tensor([0.1, 1e8], requires_grad=True)
    before = weight.detach().clone()
    sharp = SharpnessAware(torch.optim.SGD([weight], lr=0.1), rho=0.05)
    weight.grad = torch.tensor([1.0, 1.0])
    sharp.ascend()
    assert not torch.equal(weight, before) and weight.grad is None
    sharp.restore()
    assert torch.equal(weight, before)  # 1e8 + 0.035 - 0.035 would not be
    weight.grad = torch.tensor([float("inf"), 1.0])
    sharp.ascend()
    assert torch.equal(weight, before)


def test_it_refuses_to_stand_still() -> None:
    with pytest.raises(ValueError, match="rho must be above 0"):
        SharpnessAware(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1), rho=0.0)
