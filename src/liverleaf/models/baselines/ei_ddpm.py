"""EI-DDPM: a lesion mask from the phases of a slice, each with a diffusion model.

Zhao and Li, Learning reliability of multi-modality medical images for tumor segmentation via
evidence-identified denoising diffusion probabilistic models, MICCAI 2023, pages 682-691.

One diffusion model per phase learns to draw lesion masks given that phase's image (Ho et al.,
Denoising diffusion probabilistic models, NeurIPS 2020). The features of its drawing become masses
on {lesion, background, ignorance}; these are discounted by how reliable the phase is for either
class, which is learned, and combined by Dempster's rule (Huang et al., Evidence fusion with
contextual discounting for multi-modality medical image segmentation, MICCAI 2022). What the paper
leaves open, and our reading:
- the denoiser is MONAI's `DiffusionModelUNet` with the image as a second channel, attention at its
  coarsest level, and 1000 steps of noise. It answers the velocity, sqrt(signal) noise - sqrt(1 -
  signal) mask, rather than the noise (Salimans and Ho, Progressive distillation for fast sampling
  of diffusion models, ICLR 2022, appendix D): the mask that a noise implies at the first steps of a
  drawing is its error a hundredfold, and a drawing of few steps never recovers from it;
- features are the decoder's last at the end of a drawing, and the drawn mask. The drawing is
  deterministic: it starts from one fixed picture of noise, the same for every phase, slice and
  call, and takes a few steps of DDIM (Song et al., ICLR 2021) with nothing random in them. MONAI's
  `DDIMScheduler` is not used, as the times it visits are spaced otherwise than its steps;
- training is in two halves: first the diffusion models, then, with these left as they are, the
  evidence, by the Dice of the normalised plausibility, as Huang et al. do; their k-means start of
  the prototypes is replaced by normalised features and prototypes of that scale.

Shape suffixes: B slices, P phases, T times, C channels, 2 lesion and background, 3 masses, Y rows,
X columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from torch import Tensor, nn

from liverleaf.models import losses
from liverleaf.models.baselines.evidence import PrototypeEvidence, combine, discount, log_odds
from liverleaf.models.baselines.family import segmentation_family


@dataclass(frozen=True)
class EIDDPMConfig:
    """What an EI-DDPM is made of; the paper gives no widths.

    Attributes:
        phases: how many contrast phases go in, each to a diffusion model of its own.
        size: side of the square input in pixels, not fixed by the network.
        widths: channels of the denoiser's levels, finest first.
        residual_blocks: per level.
        norm_groups: groups of its GroupNorm.
        head_width: channels of one attention head.
        times: steps of the noise, from beta 0.0001 to 0.02.
        drawing_steps: steps of DDIM in which a mask is drawn.
        evidence_width: channels that the features are brought to.
        prototypes: per phase, 20 as in Huang et al.
    """

    phases: int = 4
    size: int = 256
    widths: tuple[int, ...] = (32, 64, 128, 256)
    residual_blocks: int = 2
    norm_groups: int = 32
    head_width: int = 64
    times: int = 1000
    drawing_steps: int = 10
    evidence_width: int = 8
    prototypes: int = 20


class Denoiser(nn.Module):
    """A diffusion model's U-Net: the velocity of a noisy mask, given an image and a time."""

    def __init__(self, config: EIDDPMConfig) -> None:
        super().__init__()
        self.network = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=2,
            out_channels=1,
            num_res_blocks=config.residual_blocks,
            channels=config.widths,
            attention_levels=(*(False for _ in config.widths[1:]), True),
            norm_num_groups=config.norm_groups,
            num_head_channels=config.head_width,
            use_flash_attention=True,
        )
        *normalise, self.to_velocity = self.network.out
        self.network.out = nn.Sequential(*normalise)

    def forward(
        self, noisy_B1YX: Tensor, image_B1YX: Tensor, time_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The velocity, (B, 1, Y, X), and the last features, (B, widths[0], Y, X)."""
        features_BCYX = self.network(torch.cat([noisy_B1YX, image_B1YX], dim=1), time_B)
        return self.to_velocity(features_BCYX), features_BCYX


class EvidenceHeads(nn.Module):
    """An evidence layer and two reliabilities per phase, combined by Dempster's rule."""

    def __init__(self, config: EIDDPMConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(config.widths[0] + 1, config.evidence_width, kernel_size=1, bias=False),
                # brings the features to where the prototypes start
                nn.BatchNorm2d(config.evidence_width, affine=False),
                PrototypeEvidence(config.evidence_width, config.prototypes),
            )
            for _ in range(config.phases)
        )
        self.reliability_P2 = nn.Parameter(torch.zeros(config.phases, 2))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Masses, (B, 3, Y, X), float32, from the features of each phase, (B, C, Y, X)."""
        # products of masses need float32
        with torch.autocast(features[0].device.type, enabled=False):
            each = [
                discount(layer(of_phase), reliability_2)
                for layer, of_phase, reliability_2 in zip(
                    self.layers, features, torch.sigmoid(self.reliability_P2), strict=True
                )
            ]
            return combine(torch.stack(each, dim=1))


class EIDDPM(nn.Module):
    """A conditional diffusion model per phase, and evidence from each, discounted and combined."""

    signal_T: Tensor

    def __init__(self, config: EIDDPMConfig) -> None:
        super().__init__()
        self.config = config
        self.denoisers = nn.ModuleList(Denoiser(config) for _ in range(config.phases))
        self.heads = EvidenceHeads(config)
        signal_T = (1 - torch.linspace(1e-4, 0.02, config.times)).cumprod(0)
        # share of the mask's variance that is left at each time
        self.register_buffer("signal_T", signal_T, persistent=False)

    def forward(self, images_BPYX: Tensor) -> Tensor:
        """Deterministic log-odds of the pignistic lesion probability, (B, 1, Y, X), float32."""
        return log_odds(self.masses(images_BPYX))

    def loss(self, images_BPYX: Tensor, mask_B1YX: Tensor, *, progress: float) -> Tensor:
        """The loss of that half of the training which `progress`, in [0, 1), lies in.

        First half: mean squared error of the velocity, over phases, at times and with noise drawn
        from torch's generator. Second half: one minus the soft Dice of the normalised plausibility;
        the diffusion models get no gradient.
        """
        if progress < 0.5:
            return self._denoising_loss(images_BPYX, mask_B1YX)
        return losses.soft_dice(log_odds(self.masses(images_BPYX), ignorance=1.0), mask_B1YX)

    def masses(self, images_BPYX: Tensor) -> Tensor:
        """Masses, (B, 3, Y, X), float32, after discounting and combination.

        Gradients reach the evidence layers only.
        """
        masses_B3YX: Tensor = self.heads(
            [
                self._draw(denoiser, image)
                for denoiser, image in zip(
                    self.denoisers, images_BPYX.chunk(self.config.phases, dim=1), strict=True
                )
            ]
        )
        return masses_B3YX

    @torch.no_grad()
    def _draw(self, denoiser: nn.Module, image_B1YX: Tensor) -> Tensor:
        """Draw a mask and return it, in [-1, 1], behind the features of the last step; float32."""
        noise_YX = torch.randn(
            image_B1YX.shape[-2:], generator=torch.Generator().manual_seed(0), device="cpu"
        )
        x_B1YX = noise_YX.to(image_B1YX.device).expand_as(image_B1YX)
        times = (
            torch.linspace(self.config.times - 1, 0, self.config.drawing_steps)
            .round()
            .long()
            .tolist()
        )
        for time, earlier in zip(times, [*times[1:], None], strict=True):
            velocity, features = denoiser(
                x_B1YX, image_B1YX, torch.full((len(image_B1YX),), time, device=image_B1YX.device)
            )
            signal = self.signal_T[time]
            mask_B1YX = (signal.sqrt() * x_B1YX - (1 - signal).sqrt() * velocity.float()).clamp(
                -1, 1
            )
            if earlier is not None:
                noise_B1YX = (x_B1YX - signal.sqrt() * mask_B1YX) / (1 - signal).sqrt()
                x_B1YX = (
                    self.signal_T[earlier].sqrt() * mask_B1YX
                    + (1 - self.signal_T[earlier]).sqrt() * noise_B1YX
                )
        return torch.cat([features.float(), mask_B1YX], dim=1)

    def _denoising_loss(self, images_BPYX: Tensor, mask_B1YX: Tensor) -> Tensor:
        time_B = torch.randint(self.config.times, (len(mask_B1YX),), device=mask_B1YX.device)
        noise_B1YX = torch.randn_like(mask_B1YX)
        signal_B111 = self.signal_T[time_B][:, None, None, None]
        truth_B1YX = 2 * mask_B1YX - 1
        noisy_B1YX = signal_B111.sqrt() * truth_B1YX + (1 - signal_B111).sqrt() * noise_B1YX
        velocity_B1YX = signal_B111.sqrt() * noise_B1YX - (1 - signal_B111).sqrt() * truth_B1YX
        found = [
            denoiser(noisy_B1YX, image, time_B)[0]
            for denoiser, image in zip(
                self.denoisers, images_BPYX.chunk(self.config.phases, dim=1), strict=True
            )
        ]
        return torch.stack(
            [F.mse_loss(velocity.float(), velocity_B1YX) for velocity in found]
        ).mean()


FAMILY = segmentation_family("ei-ddpm", EIDDPMConfig, EIDDPM)
