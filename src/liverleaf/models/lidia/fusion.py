"""Fusion of any subset of the phases of one study into one feature map.

Shape suffixes: P phases, C channels, Z slices, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from liverleaf.models.lidia.convolutions import Convolution, Size, TwoConvolutions


class OfEachPhase(nn.Module):
    """Two convolutions for each phase, F_p, and one, F_conv, that joins two sets of features.

    Args:
        phases: how many phases there may be, in the order of the bolus.
        width: channels of each phase's features and of the result.
        stride: of each phase's first convolution, (1, 1, 1) as published.
    """

    def __init__(self, phases: int, width: int, *, stride: Size = (1, 1, 1)) -> None:
        super().__init__()
        self.of_phase = nn.ModuleList(
            TwoConvolutions(1, width, stride=stride) for _ in range(phases)
        )
        self.join = Convolution(2 * width, width)

    def features(self, images_PZYX: Tensor, present_P: Tensor) -> Iterator[Tensor]:
        """Features (1, C, Z, Y, X) of each phase that is there, in order.

        Raises:
            ValueError: no phase is there.
        """
        for phase in _present(present_P):
            yield self.of_phase[phase](images_PZYX[None, phase : phase + 1])


class IterativeFusion(OfEachPhase):
    """LIDIA's iterative fusion module: phases join one by one, in the order of the bolus.

        h(p) = F_p(x(p));  h = h(first phase);  h <- F_conv(concat(h, h(p))) for each phase after it

    The paper starts at the non-contrast phase, which all its studies have, and leaves out the
    delayed one where it is missing. Here it starts at the first phase that is there.

    Arguments as of `OfEachPhase`.

    Reference: LIDIA (Huang et al., MICCAI 2024), Eq. 1 and 2.
    """

    def forward(self, images_PZYX: Tensor, present_P: Tensor) -> Tensor:
        """Features (1, C, Z, Y, X) of one study; images of missing phases are not looked at.

        Raises:
            ValueError: no phase is there.
        """
        fused: Tensor | None = None
        for features in self.features(images_PZYX, present_P):
            fused = features if fused is None else self.join(torch.cat([fused, features], dim=1))
        assert fused is not None
        return fused


class EarlyFusion(nn.Module):
    """nnU-Net's: the phases are channels of one image, zeros where one is missing.

    Arguments as of `OfEachPhase`.
    """

    def __init__(self, phases: int, width: int, *, stride: Size = (1, 1, 1)) -> None:
        super().__init__()
        self.blocks = TwoConvolutions(phases, width, stride=stride)

    def forward(self, images_PZYX: Tensor, present_P: Tensor) -> Tensor:
        """As of `IterativeFusion`."""
        _present(present_P)
        shown = images_PZYX * present_P[:, None, None, None].to(images_PZYX)
        return self.blocks(shown[None])


class MomentFusion(OfEachPhase):
    """HeMIS: mean and variance of the features of the phases that are there, and one block on them.

    The variance is that of a population: zero for a single phase. Arguments as of
    `OfEachPhase`.

    Reference: Havaei et al., HeMIS: hetero-modal image segmentation, MICCAI 2016.
    """

    def forward(self, images_PZYX: Tensor, present_P: Tensor) -> Tensor:
        """As of `IterativeFusion`."""
        features = torch.stack([*self.features(images_PZYX, present_P)])
        moments = [features.mean(0), features.var(0, unbiased=False)]
        return self.join(torch.cat(moments, dim=1))


FUSIONS: Mapping[str, type[IterativeFusion | EarlyFusion | MomentFusion]] = {
    "ifm": IterativeFusion,
    "early": EarlyFusion,
    "hemis": MomentFusion,
}
"""By the name that a recipe has for them, `network.fusion`."""


def _present(present_P: Tensor) -> list[int]:
    phases = [int(phase) for phase in present_P.nonzero()]
    if not phases:
        raise ValueError("a study needs at least one phase of the model, got none")
    return phases
