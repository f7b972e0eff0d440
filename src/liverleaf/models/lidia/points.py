"""Points of masks: where a mask loss is computed, and what masks are there.

A mask of a patch has hundreds of thousands of voxels and a lesion a few dozen of them, so losses
are computed on points: most where the network is unsure, and a share inside the lesion.

Shape suffixes: K masks, N points, 3 = coordinates along Z, Y, X in [0, 1], Z slices, Y rows, X
columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class PointSampling:
    """How points are drawn.

    Attributes:
        points: per mask, at least 1.
        oversample: times as many are drawn, of which the most uncertain are kept, at least 1.
        uncertain: share of the points that are drawn so, in [0, 1].
        foreground: share of the points that are drawn inside the true mask, in [0, 1]; the rest
            lies anywhere.
    """

    points: int = 12544
    oversample: float = 3.0
    uncertain: float = 0.75
    foreground: float = 0.0

    def __post_init__(self) -> None:
        if self.points < 1 or self.oversample < 1:
            raise ValueError(
                f"points and oversample are at least 1, got {self.points} and {self.oversample}"
            )
        if min(self.uncertain, self.foreground) < 0 or self.uncertain + self.foreground > 1:
            raise ValueError(
                "the shares uncertain and foreground lie in [0, 1] and so does their sum, got"
                f" {self.uncertain} and {self.foreground}"
            )


def anywhere(masks: int, points: int) -> Tensor:
    """Points (K, N, 3) spread evenly over the patch, drawn from torch's generator."""
    return torch.rand(masks, points, 3)


def draw_points(logits_KZYX: Tensor, truth_KZYX: Tensor, how: PointSampling) -> Tensor:
    """Points (K, N, 3) for the loss of masks, drawn from torch's generator on the CPU.

    Args:
        logits_KZYX: mask logits; no gradient flows back.
        truth_KZYX: true masks, 0 or 1, on any grid of the same extent; a mask that is empty has no
            foreground, its points lie anywhere.
        how: how many, and where.

    Reference: Kirillov et al., PointRend, CVPR 2020, for the uncertain ones; LIDIA raises the share
    of the foreground, as PLAN does.
    """
    masks = len(logits_KZYX)
    inside = round(how.foreground * how.points)
    unsure = round(how.uncertain * how.points)
    candidates = anywhere(masks, round(how.oversample * unsure)).to(logits_KZYX.device)
    certainty_KN = sample(logits_KZYX.detach().float(), candidates).abs()
    chosen = certainty_KN.topk(unsure, dim=1, largest=False).indices
    drawn = [
        candidates.gather(1, chosen[..., None].expand(-1, -1, 3)),
        torch.stack([_inside(mask, inside) for mask in truth_KZYX]),
        anywhere(masks, how.points - inside - unsure).to(logits_KZYX.device),
    ]
    return torch.cat(drawn, dim=1)


def sample(volumes_KZYX: Tensor, points_KN3: Tensor) -> Tensor:
    """Values (K, N) of volumes at points, linear between voxels.

    Args:
        volumes_KZYX: volumes on one grid.
        points_KN3: of each volume, or (1, N, 3) for the same points in all of them; from 0, the
            outer edge of the first voxel, to 1, that of the last.
    """
    # grid_sample counts from -1 to 1, and x first
    grid = (2 * points_KN3 - 1).flip(-1)[:, :, None, None]
    shared = len(points_KN3) == 1
    volumes = volumes_KZYX[None] if shared else volumes_KZYX[:, None]
    values = F.grid_sample(
        volumes, grid, mode="bilinear", padding_mode="border", align_corners=False
    )[..., 0, 0]
    return values[0] if shared else values[:, 0]


def _inside(mask_ZYX: Tensor, points: int) -> Tensor:
    """Points (N, 3) inside a mask, evenly over its voxels and within them."""
    voxels = mask_ZYX.nonzero()
    if not len(voxels):
        return torch.rand(points, 3).to(mask_ZYX.device)
    chosen = voxels[torch.randint(len(voxels), (points,)).to(voxels.device)]
    size = torch.tensor(mask_ZYX.shape, device=mask_ZYX.device)
    return (chosen + torch.rand(points, 3).to(chosen.device)) / size
