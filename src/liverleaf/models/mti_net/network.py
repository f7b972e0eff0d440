"""MTI-Net: masks, enhancement curve and type of the tumours of a slice from its phases.

Xiao et al., Adversarial multi-task learning for liver tumor segmentation, dynamic enhancement
regression, and classification, arXiv:2511.20793, 2025.

The notable choices, each a field of `MTINetConfig` (`docs/fidelity.md` lists them beside the
paper's words):
- one spatial encoder shared by the phases and one spectral encoder of the same shape, fused by
  MdIEF (Eq. 1);
- with `heads="slice"`, the published heads: every channel of every phase is a token, one curve and
  one type per slice;
- with `heads="lesion"`, ours: every phase and region of a lesion is a token, one curve and one type
  per LESION, so that two types may share a slice, and any phase may be missing.

What goes in and out of the network are named tuples, which training frameworks move and cast. An
input channel is a contrast phase in the paper and in what ships; it may be any image of the study.

Shape suffixes: B slices, P input channels, C feature channels, Y rows, X columns, K masks, L
lesions, R regions of a lesion, T types, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liverleaf.data.batch import Regions
from liverleaf.models.blocks import ConvBlock, UpBlock, sinusoidal_positions, transformer
from liverleaf.models.mti_net.fusion import HighPass, MdIEF

REGIONS = ("core", "rim", "surround")


@dataclass(frozen=True)
class MTINetConfig:
    """What an MTI-Net is made of; the defaults are the published network.

    Attributes:
        phases: how many channels go in: contrast phases, or other images of the study.
        masks: 1 for the lesion alone (published), 2 for [liver with its lesions, lesion].
        types: how many lesion types.
        widths: channels of the four encoder blocks.
        convs: convolutions per encoder block.
        spatial, spectral: whether that encoder is there (the ablations); at least one must be.
        fusion: "mdief" (Eq. 1 to the letter), "entropy" (weights from the Shannon entropy of each
            channel), "sum" (plain sum: no MdIEF).
        cutoff: radius of the ideal high-pass filter as a fraction of the Nyquist frequency, in (0,
            1).
        subtraction: beside each phase, the spatial encoder sees by how much it differs from the
            mean of the phases scanned.
        skips: skip connections from the encoder and the images to the decoder.
        heads: "slice" (published) or "lesion".
        size: side of the square input in pixels; only the slice heads fix it.
        blocks: Transformer blocks.
        head_width: d_k, the width of one attention head.
        token_width: width of a lesion token (lesion heads only).
        residual_curve: the network regresses what is added to the mean under the lesion, rather
            than the curve itself (lesion heads only).
        dropout: in the Transformer.
    """

    phases: int = 4
    masks: int = 1
    types: int = 2
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    convs: int = 1
    spatial: bool = True
    spectral: bool = True
    fusion: Literal["mdief", "entropy", "sum"] = "mdief"
    cutoff: float = 0.1
    subtraction: bool = False
    skips: bool = False
    heads: Literal["slice", "lesion"] = "slice"
    size: int = 256
    blocks: int = 3
    head_width: int = 64
    token_width: int = 128
    residual_curve: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not (self.spatial or self.spectral):
            raise ValueError(
                "an MTI-Net needs at least one encoder, got spatial=False, spectral=False"
            )
        if self.subtraction and not self.spatial:
            raise ValueError("subtraction needs the spatial encoder, got spatial=False")
        if not 0 < self.cutoff < 1:
            raise ValueError(
                f"cutoff is a fraction of the Nyquist frequency in (0, 1), got {self.cutoff}"
            )
        if self.residual_curve and self.heads == "slice":
            raise ValueError(
                "the slice heads do not know where a lesion is: residual_curve=True needs"
                ' heads="lesion"'
            )
        if self.heads == "slice" and (self.size % 16 or (self.size // 16) ** 2 % self.head_width):
            raise ValueError(
                "the slice heads need size/16 squared to be a multiple of head_width, got"
                f" size={self.size}, head_width={self.head_width}"
            )


class Features(NamedTuple):
    """What the encoders and the decoder make of a batch.

    Attributes:
        levels_BPCYX: fused features after each encoder block, at 1/2, 1/4, 1/8 and 1/16 of the
            input's size; zero for missing phases. The last alone where nothing needs the others:
            with slice heads and without skips.
        mask_logits_BKYX: at the input's size.
    """

    levels_BPCYX: tuple[Tensor, ...]
    mask_logits_BKYX: Tensor

    @classmethod
    def gather(cls, batches: Sequence[Features], slices: Iterable[int]) -> Features:
        """Features of some slices, counted over all batches."""
        everywhere = [(b, index) for b in batches for index in range(len(b.mask_logits_BKYX))]
        chosen = [everywhere[z] for z in slices]
        levels = range(len(batches[0].levels_BPCYX))
        return cls(
            tuple(torch.stack([b.levels_BPCYX[level][i] for b, i in chosen]) for level in levels),
            torch.stack([batch.mask_logits_BKYX[index] for batch, index in chosen]),
        )


class MTINetOutput(NamedTuple):
    """The three outputs; with the slice heads there is one "lesion" per slice.

    Attributes:
        mask_logits_BKYX: logits of the masks.
        curve_LP: mean intensity per phase, z-scored by the training set.
        type_logits_LT: logits of the types.
    """

    mask_logits_BKYX: Tensor
    curve_LP: Tensor
    type_logits_LT: Tensor


class Encoder(nn.Module):
    """Four blocks of convolution, BatchNorm, ReLU and max pooling; returns each block's output."""

    def __init__(self, widths: tuple[int, int, int, int], *, convs: int, inputs: int = 1) -> None:
        super().__init__()
        channels = (inputs, *widths)
        self.blocks = nn.ModuleList(
            ConvBlock(channels[i], channels[i + 1], convs=convs, pool=True) for i in range(4)
        )

    def forward(self, x_BCYX: Tensor) -> list[Tensor]:
        """Features at 1/2, 1/4, 1/8 and 1/16 of the input's size."""
        levels = []
        for block in self.blocks:
            x_BCYX = block(x_BCYX)
            levels.append(x_BCYX)
        return levels


class Decoder(nn.Module):
    """From the phases' fused features, concatenated, to the masks: four transposed convolutions."""

    def __init__(self, config: MTINetConfig) -> None:
        super().__init__()
        w1, w2, w3, w4 = config.widths
        p = config.phases if config.skips else 0
        self.skips = config.skips
        self.blocks = nn.ModuleList(
            [
                UpBlock(config.phases * w4, w3, skip=p * w3),
                UpBlock(w3, w2, skip=p * w2),
                UpBlock(w2, w1, skip=p * w1),
                UpBlock(w1, w1, skip=p),
            ]
        )
        self.masks = nn.Conv2d(w1, config.masks, kernel_size=1)

    def forward(self, levels_BPCYX: tuple[Tensor, ...], images_BPYX: Tensor) -> Tensor:
        """Mask logits of shape (B, K, Y, X)."""
        *shallow, deepest = [level.flatten(1, 2) for level in levels_BPCYX]
        skips = [*shallow[::-1], images_BPYX.to(deepest.dtype)] if self.skips else [None] * 4
        x = deepest
        for block, skip in zip(self.blocks, skips, strict=True):
            x = block(x, skip)
        return self.masks(x)


class SliceHeads(nn.Module):
    """The published heads: one curve and one type per slice.

    A token is the flattened map of one feature channel of one phase.
    """

    positions_ND: Tensor

    def __init__(self, config: MTINetConfig) -> None:
        super().__init__()
        width = (config.size // 16) ** 2
        self.size = config.size
        self.register_buffer(
            "positions_ND",
            sinusoidal_positions(config.phases * config.widths[-1], width),
            persistent=False,
        )
        self.transformer = transformer(
            width, heads=width // config.head_width, blocks=config.blocks, dropout=config.dropout
        )
        self.to_curve = nn.Linear(width, 1)
        self.to_type = nn.Linear(width, config.types)

    def forward(self, deepest_BPCYX: Tensor) -> tuple[Tensor, Tensor]:
        """The curve (B, P) and the type logits (B, T)."""
        b, p, c, y, x = deepest_BPCYX.shape
        if (y, x) != (self.size // 16, self.size // 16):
            raise ValueError(
                f"these slice heads were built for {self.size} x {self.size} pixels, got {16 * y} x"
                f" {16 * x}"
            )
        tokens_BND = self.transformer(deepest_BPCYX.reshape(b, p * c, y * x) + self.positions_ND)
        curve_BP = self.to_curve(tokens_BND.reshape(b, p, c, y * x).mean(2)).squeeze(-1)
        return curve_BP, self.to_type(tokens_BND.mean(1))


class LesionHeads(nn.Module):
    """Our heads: one curve and one type per lesion.

    A token is what lies under one region of a lesion in one phase: its features, and the mean and
    standard deviation of its intensity.

    A sim-to-real study of ours and the type heads of instance networks agree that types are learned
    only when the head reads what lies under the lesion's own mask.
    """

    positions_PD: Tensor
    mean_P: Tensor
    sd_P: Tensor

    def __init__(self, config: MTINetConfig) -> None:
        super().__init__()
        width = config.token_width
        self.residual_curve = config.residual_curve
        if config.residual_curve:  # of the training set's curves, which `z_score_by` sets
            self.register_buffer("mean_P", torch.zeros(config.phases))
            self.register_buffer("sd_P", torch.ones(config.phases))
        self.embed_features = nn.Linear(sum(config.widths), width)
        # apart, lest a few telling numbers drown among hundreds of features
        self.embed_measures = nn.Linear(3, width)
        self.region_RD = nn.Parameter(torch.randn(len(REGIONS), width) * 0.02)
        self.register_buffer(
            "positions_PD", sinusoidal_positions(config.phases, width), persistent=False
        )
        self.transformer = transformer(
            width,
            heads=width // config.head_width,
            blocks=config.blocks,
            dropout=config.dropout,
            norm_first=True,
        )
        self.to_curve = nn.Linear(width, 1)
        self.to_type = nn.Linear(width, config.types)

    def forward(
        self, levels_BPCYX: tuple[Tensor, ...], images_BPYX: Tensor, present_BP: Tensor, at: Regions
    ) -> tuple[Tensor, Tensor]:
        """The curve (L, P) and the type logits (L, T).

        A missing phase takes no part, and its value of the curve means nothing.
        """
        if not len(at.slice_L):  # attention refuses an empty batch
            return images_BPYX.new_zeros(0, present_BP.shape[1]), images_BPYX.new_zeros(
                0, self.to_type.out_features
            )
        weights = at.weights_LRYX.float()
        pooled = [
            _pool(
                level[at.slice_L].float(),
                F.adaptive_avg_pool2d(weights, (level.shape[-2], level.shape[-1])),
            )
            for level in levels_BPCYX
        ]
        images_LP1YX = images_BPYX[at.slice_L].float()[:, :, None]
        mean_LPR1 = _pool(images_LP1YX, weights)
        sd_LPR1 = (_pool(images_LP1YX**2, weights) - mean_LPR1**2).clamp_min(1e-6).sqrt()
        size_LPR1 = (at.area_L.float().clamp_min(1.0).log() / 8.0)[:, None, None, None].expand_as(
            mean_LPR1
        )
        measures_LPR3 = torch.cat([mean_LPR1, sd_LPR1, size_LPR1], dim=-1)
        tokens_LPRD = self.embed_features(torch.cat(pooled, dim=-1)) + self.embed_measures(
            measures_LPR3
        )
        tokens_LPRD = tokens_LPRD + self.region_RD + self.positions_PD[:, None]
        lesions, phases, regions, width = tokens_LPRD.shape
        present_LP = present_BP[at.slice_L]
        absent_LN = ~present_LP[:, :, None].expand(lesions, phases, regions).reshape(
            lesions, phases * regions
        )
        tokens_LND = self.transformer(
            tokens_LPRD.reshape(lesions, phases * regions, width), src_key_padding_mask=absent_LN
        )
        curve_LP = self.to_curve(
            tokens_LND.reshape(lesions, phases, regions, width).mean(2)
        ).squeeze(-1)
        if self.residual_curve:
            inside_LP = _pool(images_LP1YX, weights[:, :2].sum(1, keepdim=True)).flatten(1)
            curve_LP = curve_LP + (inside_LP - self.mean_P) / self.sd_P
        share_LN1 = (~absent_LN).float()[..., None]
        return curve_LP, self.to_type((tokens_LND * share_LN1).sum(1) / share_LN1.sum(1))


def _pool(x_LPCYX: Tensor, weights_LRYX: Tensor) -> Tensor:
    """Weighted mean under each region: (L, P, R, C); zero where a region is empty."""
    total_LR = weights_LRYX.sum((2, 3))
    sums_LPRC = torch.einsum("lpcyx,lryx->lprc", x_LPCYX, weights_LRYX)
    return sums_LPRC / total_LR[:, None, :, None].clamp_min(1e-6)


class MTINet(nn.Module):
    """The whole network.

    `features` and `run_heads` are separate, so that lesions outlined in a volume get their curve
    and type without a second pass of the encoders.
    """

    def __init__(self, config: MTINetConfig) -> None:
        super().__init__()
        self.config = config
        self.spatial = (
            Encoder(config.widths, convs=config.convs, inputs=1 + config.subtraction)
            if config.spatial
            else None
        )
        self.spectral = Encoder(config.widths, convs=config.convs) if config.spectral else None
        self.high_pass = HighPass(config.cutoff)
        self.fuse = MdIEF(config.fusion)
        self.decoder = Decoder(config)
        self.heads: SliceHeads | LesionHeads = (
            SliceHeads(config) if config.heads == "slice" else LesionHeads(config)
        )

    def forward(
        self, images_BPYX: Tensor, present_BP: Tensor, regions: Regions | None = None
    ) -> MTINetOutput:
        """All three outputs.

        Args:
            images_BPYX: normalised images; Y and X multiples of 16; what stands in a missing
                phase's place has no effect.
            present_BP: bool, which phases were scanned; at least one per slice.
            regions: where the lesions are; needed by the lesion heads, ignored by the slice heads.
        """
        features = self.features(images_BPYX, present_BP)
        curve_LP, type_logits_LT = self.run_heads(features, images_BPYX, present_BP, regions)
        return MTINetOutput(features.mask_logits_BKYX, curve_LP, type_logits_LT)

    def z_score_by(self, mean_P: Tensor, sd_P: Tensor) -> None:
        """Set the mean and standard deviation per phase that training curves are z-scored by."""
        if isinstance(self.heads, LesionHeads) and self.heads.residual_curve:
            self.heads.mean_P.copy_(mean_P)
            self.heads.sd_P.copy_(sd_P)

    def features(self, images_BPYX: Tensor, present_BP: Tensor) -> Features:
        """Encode the phases that are present and decode the masks."""
        if images_BPYX.shape[-1] % 16 or images_BPYX.shape[-2] % 16:
            raise ValueError(
                f"rows and columns must be multiples of 16, got {tuple(images_BPYX.shape[-2:])}:"
                " pad the slices"
            )
        images_BPYX = _zero_absent(images_BPYX, present_BP)
        levels = tuple(
            _scatter(level, present_BP) for level in self._encode(images_BPYX, present_BP)
        )
        return Features(levels, self.decoder(levels, images_BPYX))

    def run_heads(
        self,
        features: Features,
        images_BPYX: Tensor,
        present_BP: Tensor,
        regions: Regions | None,
    ) -> tuple[Tensor, Tensor]:
        """The curve (L, P) and the type logits (L, T) from what `features` returned."""
        levels_BPCYX = features.levels_BPCYX
        if isinstance(self.heads, SliceHeads):
            return self.heads(levels_BPCYX[-1])
        if regions is None:
            raise ValueError("the lesion heads need regions: say where the lesions are")
        images_BPYX = _zero_absent(images_BPYX, present_BP)
        return self.heads(levels_BPCYX, images_BPYX, present_BP, regions)

    def _encode(self, images_BPYX: Tensor, present_BP: Tensor) -> list[Tensor]:
        x_N1YX = images_BPYX[present_BP][:, None]
        spectral = (
            self.spectral(_channels_last(self.high_pass(x_N1YX)))
            if self.spectral is not None
            else None
        )
        if self.config.subtraction:
            mean_BYX = images_BPYX.sum(1) / present_BP.sum(1)[:, None, None]
            x_N1YX = torch.cat(
                [x_N1YX, (images_BPYX - mean_BYX[:, None])[present_BP][:, None]], dim=1
            )
        spatial = self.spatial(_channels_last(x_N1YX)) if self.spatial is not None else None
        if spatial is None or spectral is None:
            return spatial or spectral or []
        # nothing reads the shallow levels
        if self.config.heads == "slice" and not self.config.skips:
            spatial, spectral = spatial[-1:], spectral[-1:]
        return [self.fuse(a, b) for a, b in zip(spatial, spectral, strict=True)]


def _channels_last(x_NCYX: Tensor) -> Tensor:
    return x_NCYX.to(memory_format=torch.channels_last)


def _zero_absent(images_BPYX: Tensor, present_BP: Tensor) -> Tensor:
    """The images with zeros in the place of missing phases, whatever stood there, NaN included."""
    return images_BPYX.masked_fill(~present_BP[..., None, None], 0)


def _scatter(x_NCYX: Tensor, present_BP: Tensor) -> Tensor:
    """Features of the scanned phases back into their places, zero elsewhere: (B, P, C, Y, X)."""
    if bool(present_BP.all()):
        return x_NCYX.reshape(*present_BP.shape, *x_NCYX.shape[1:])
    dense = x_NCYX.new_zeros(*present_BP.shape, *x_NCYX.shape[1:])
    dense[present_BP] = x_NCYX
    return dense


def tim(probability_BYX: Tensor, images_BPYX: Tensor, *, support: Regions | None = None) -> Tensor:
    """Task interaction module: the curve that a mask implies, the mean of each phase under it.

    Args:
        probability_BYX: probability of lesion, in [0, 1].
        images_BPYX: the phases.
        support: with lesions given, the mask counts only inside each lesion and its surround.

    Returns:
        (L, P), or (B, P) without a support; zero where the mask is empty.
    """
    if support is not None:
        probability_BYX = probability_BYX[support.slice_L] * support.weights_LRYX.sum(1).clamp(
            max=1.0
        )
        images_BPYX = images_BPYX[support.slice_L]
    total_B = probability_BYX.sum((1, 2))
    return torch.einsum("byx,bpyx->bp", probability_BYX, images_BPYX) / (total_B[:, None] + 1e-3)
