"""Swin-Unet: a lesion mask from the phases of a slice, as channels.

Cao, Wang, Chen, Jiang, Zhang, Tian and Wang, Swin-Unet: Unet-like pure transformer for medical
image segmentation, ECCV Workshops 2022 (arXiv:2105.05537, 2021).

The Transformer blocks and the patch merging are MONAI's (MONAI's SwinUNETR is another network, with
a convolutional decoder). The choices:
- windows of 8 x 8 at 256 pixels, where the paper has 7 x 7 at 224: as many windows per side, and
  none of them padded;
- the skips leave the encoder after the blocks of a level, as the paper's figure has it (the
  authors' programme takes them before);
- nothing is pretrained, where the paper starts from ImageNet;
- one logit for the lesion takes the place of a softmax; the Dice of the loss is the lesion's alone,
  with no squares in it.

Shape suffixes: B slices, P phases, Y rows, X columns, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import torch
from monai.networks.nets.swin_unetr import PatchMergingV2, SwinTransformerBlock, compute_mask
from torch import Tensor, nn

from liverleaf.models.baselines.family import segmentation_family
from liverleaf.models.baselines.segmentation import SegmentationNetwork


@dataclass(frozen=True)
class SwinUNetConfig:
    """What a Swin-Unet is made of; the defaults are the published tiny one, for 256 pixels.

    Attributes:
        phases: how many contrast phases go in, as channels.
        size: side of the square input in pixels.
        patch: side of the patch that becomes a token.
        width: of a token at the finest level; it doubles at each of the others.
        depths: Transformer blocks per level, the last is the bottleneck.
        heads: attention heads per level.
        window: side of an attention window in tokens; a level of fewer tokens has one window.
        drop_path: share of residual branches left out at the deepest block, rising linearly from 0
            (stochastic depth).
    """

    phases: int = 4
    size: int = 256
    patch: int = 4
    width: int = 96
    depths: tuple[int, ...] = (2, 2, 2, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 8
    drop_path: float = 0.2

    def __post_init__(self) -> None:
        if len(self.depths) != len(self.heads):
            raise ValueError(
                f"depths and heads are one per level, got depths={self.depths}, heads={self.heads}"
            )
        for level in range(len(self.depths)):
            cell = self.patch * 2**level
            if self.size % cell or self.size // cell % min(self.window, self.size // cell):
                raise ValueError(
                    f"windows must tile every level, got size={self.size}, patch={self.patch},"
                    f" window={self.window}: see level {level}"
                )


class SwinStage(nn.Module):
    """Swin Transformer blocks whose windows are shifted by half in every second one.

    Args:
        width: of a token.
        heads: of the attention.
        side: tokens per side of the grid.
        window: side of a window in tokens; a grid that is no larger has one window, never shifted.
        drop_path: one rate per block.
    """

    def __init__(
        self, width: int, *, heads: int, side: int, window: int, drop_path: list[float]
    ) -> None:
        super().__init__()
        self.window = min(window, side)
        half = window // 2 if side > window else 0
        self.blocks = nn.ModuleList(
            SwinTransformerBlock(
                width, heads, (self.window,) * 2, (half * (index % 2),) * 2, drop_path=rate
            )
            for index, rate in enumerate(drop_path)
        )
        mask = (
            compute_mask((side, side), (self.window,) * 2, (half,) * 2, "cpu")
            if half
            else torch.zeros(0)
        )
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x_BYXC: Tensor) -> Tensor:
        """The shape is kept."""
        for block in self.blocks:
            x_BYXC = block(x_BYXC, self.mask)
        return x_BYXC


class PatchExpand(nn.Module):
    """A linear layer whose channels are laid out as `scale` x `scale` tokens, then LayerNorm."""

    def __init__(self, inputs: int, outputs: int, *, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.expand = nn.Linear(inputs, outputs * scale**2, bias=False)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x_BYXC: Tensor) -> Tensor:
        """Y and X times the scale."""
        slices, rows, columns, _ = x_BYXC.shape
        tokens = self.expand(x_BYXC).unflatten(-1, (self.scale, self.scale, -1)).transpose(2, 3)
        return self.norm(tokens.reshape(slices, rows * self.scale, columns * self.scale, -1))


class SwinUNet(SegmentationNetwork):
    """Swin Transformer stages down and up, with skips.

    Raises:
        ValueError: on an image of another size than the config's.
    """

    cross_entropy, dice = 0.4, 0.6

    def __init__(self, config: SwinUNetConfig) -> None:
        super().__init__()
        self.config = config
        levels = len(config.depths)
        widths = [config.width * 2**level for level in range(levels)]
        rising = iter(
            torch.linspace(0, config.drop_path, sum(config.depths), device="cpu").tolist()
        )
        rates = [list(islice(rising, depth)) for depth in config.depths]

        def stage(level: int) -> SwinStage:
            side = config.size // config.patch // 2**level
            return SwinStage(
                widths[level],
                heads=config.heads[level],
                side=side,
                window=config.window,
                drop_path=rates[level],
            )

        self.embed = nn.Conv2d(
            config.phases, config.width, kernel_size=config.patch, stride=config.patch
        )
        self.embed_norm = nn.LayerNorm(config.width)
        self.down = nn.ModuleList(stage(level) for level in range(levels))
        self.merge = nn.ModuleList(PatchMergingV2(width, spatial_dims=2) for width in widths[:-1])
        self.neck_norm = nn.LayerNorm(widths[-1])
        self.expand = nn.ModuleList(PatchExpand(2 * width, width, scale=2) for width in widths[:-1])
        self.skip = nn.ModuleList(nn.Linear(2 * width, width) for width in widths[:-1])
        self.up = nn.ModuleList(stage(level) for level in range(levels - 1))
        self.norm = nn.LayerNorm(config.width)
        self.last_expand = PatchExpand(config.width, config.width, scale=config.patch)
        self.head = nn.Conv2d(config.width, 1, kernel_size=1, bias=False)
        self.apply(_initialise)

    def forward(self, images_BPYX: Tensor) -> Tensor:
        """Mask logits of shape (B, 1, Y, X), float32."""
        side = self.config.size
        if images_BPYX.shape[-2:] != (side, side):
            raise ValueError(
                f"this Swin-Unet was built for {side} x {side} pixels, got"
                f" {tuple(images_BPYX.shape[-2:])}"
            )
        x_BYXC = self.embed_norm(self.embed(images_BPYX).permute(0, 2, 3, 1))
        skips = []
        for stage, merge in zip(self.down, self.merge, strict=False):
            x_BYXC = stage(x_BYXC)
            skips.append(x_BYXC)
            x_BYXC = merge(x_BYXC)
        x_BYXC = self.neck_norm(self.down[-1](x_BYXC))
        for level in reversed(range(len(skips))):
            both = torch.cat([self.expand[level](x_BYXC), skips[level]], dim=-1)
            x_BYXC = self.up[level](self.skip[level](both))
        x_BYXC = self.last_expand(self.norm(x_BYXC))
        return self.head(x_BYXC.permute(0, 3, 1, 2)).float()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


FAMILY = segmentation_family("swin-unet", SwinUNetConfig, SwinUNet)
