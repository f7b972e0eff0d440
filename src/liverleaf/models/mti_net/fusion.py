"""MTI-Net's two domains: the high-pass filtered image, and the fusion of both domains' features.

Xiao et al., Adversarial multi-task learning for liver tumor segmentation, dynamic enhancement
regression, and classification, arXiv:2511.20793, 2025, Eq. 1.

Shape suffixes: B slices, C channels, Y rows, X columns.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn


class HighPass(nn.Module):
    """The spectral-domain image of MTI-Net: FFT, ideal circular high-pass filter, inverse FFT.

    Args:
        cutoff: radius below which frequencies are removed, as a fraction of the Nyquist frequency.
    """

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff

    def forward(self, x_BYX: Tensor) -> Tensor:
        """High-pass filtered images of the same shape, in float32."""
        rows, columns = x_BYX.shape[-2:]
        # in units of the Nyquist frequency
        fy = torch.fft.fftfreq(rows, d=0.5, device=x_BYX.device)[:, None]
        fx = torch.fft.rfftfreq(columns, d=0.5, device=x_BYX.device)[None, :]
        keep = (fy**2 + fx**2).sqrt() > self.cutoff
        return torch.fft.irfft2(torch.fft.rfft2(x_BYX.float()) * keep, s=(rows, columns))


def channel_entropy(x_BCYX: Tensor) -> Tensor:
    """Shannon entropy of each channel's normalised magnitude over its maximum, (B, C, 1, 1).

    H = -sum p log p / log(Y X),  p = |x| / sum |x|,  in [0, 1]
    """
    share = x_BCYX.float().abs().flatten(2)
    share = share / share.sum(-1, keepdim=True).clamp_min(1e-6)
    # a single pixel has no entropy
    entropy = -(share * share.clamp_min(1e-12).log()).sum(-1) / math.log(max(share.shape[-1], 2))
    return entropy[..., None, None].to(x_BCYX.dtype)


class MdIEF(nn.Module):
    """Multi-domain information entropy fusion, Eq. 1.

        gamma = softmax(P_spa, P_spe) per channel,  fused = X_spa (1 + gamma_spa) + X_spe (1 +
        gamma_spe)

    P is the global average of each channel ("mdief") or its entropy ("entropy"); "sum" leaves the
    weights out. It has no parameters.
    """

    def __init__(self, mode: Literal["mdief", "entropy", "sum"]) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, spatial_BCYX: Tensor, spectral_BCYX: Tensor) -> Tensor:
        """Fuse the features of both domains."""
        if self.mode == "sum":
            return spatial_BCYX + spectral_BCYX
        if self.mode == "entropy":
            p_spa, p_spe = channel_entropy(spatial_BCYX), channel_entropy(spectral_BCYX)
        else:
            p_spa = spatial_BCYX.mean((2, 3), keepdim=True)
            p_spe = spectral_BCYX.mean((2, 3), keepdim=True)
        gamma_spa = torch.sigmoid(p_spa - p_spe)  # the softmax over two
        return spatial_BCYX * (1 + gamma_spa) + spectral_BCYX * (2 - gamma_spa)
