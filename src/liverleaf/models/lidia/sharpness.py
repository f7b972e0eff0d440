"""Sharpness-aware minimisation, around any optimiser.

e = rho g / |g|,  g = gradient at w;   w <- optimiser step from w with the gradient at w + e
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


class SharpnessAware:
    """Two passes a step: up to where the loss is worst nearby, and back with the gradient there.

    Gradients may be accumulated over several batches in each pass. On several devices they must be
    averaged before `ascend`, as data-parallel wrappers do: then all climb the same way.

    Args:
        optimiser: whose parameters are moved; its own step is the second half.
        rho: how far to climb, above 0.

    Reference: Foret et al., Sharpness-aware minimization, ICLR 2021 (without weight normalisation).
    """

    def __init__(self, optimiser: Any, rho: float) -> None:
        if rho <= 0:
            raise ValueError(f"rho must be above 0, got {rho}: without it use the optimiser alone")
        self.optimiser, self.rho = optimiser, rho
        self._before: list[tuple[Tensor, Tensor]] = []

    def step(
        self,
        backward: Callable[[], Result],
        *,
        loss_scale: float = 1.0,
        before_descent: Callable[[], None] = lambda: None,
    ) -> Result:
        """One whole step; returns what the first pass returned.

        Args:
            backward: computes the loss and its gradients, in as many batches as it likes; called
                twice, and must draw the same random numbers.
            loss_scale: what gradients were multiplied by in mixed precision.
            before_descent: called before the optimiser's step, to unscale and clip gradients.
        """
        self.optimiser.zero_grad()
        first = backward()
        self.ascend(loss_scale=loss_scale)
        backward()
        self.descend(before_descent)
        return first

    @torch.no_grad()
    def ascend(self, *, loss_scale: float = 1.0) -> None:
        """Climb by the gradients that are there, and clear them.

        Where they are not finite, as float16 has them now and then, nothing moves.
        """
        parameters = [p for p in self._parameters() if p.grad is not None]
        norms = torch.stack([p.grad.norm() for p in parameters if p.grad is not None])
        norm = norms.norm() / loss_scale
        self._before = [(parameter, parameter.detach().clone()) for parameter in parameters]
        if norm.isfinite():
            step = self.rho / (norm + 1e-12) / loss_scale
            for parameter in parameters:
                assert parameter.grad is not None
                parameter.add_(parameter.grad * step)
        self.optimiser.zero_grad()

    @torch.no_grad()
    def restore(self) -> None:
        """Go back to where `ascend` began, bit for bit; gradients stay."""
        for parameter, before in self._before:
            parameter.copy_(before)
        self._before = []

    def descend(self, before_descent: Callable[[], None] = lambda: None) -> None:
        """Go back, and step the optimiser by the gradients found up there."""
        self.restore()
        before_descent()
        self.optimiser.step()

    def _parameters(self) -> Iterator[Tensor]:
        for group in self.optimiser.param_groups:
            yield from group["params"]
