"""The paper of MTI-Net word for word in plain PyTorch.

Our network and our training step are checked and timed against it. Phases go through the encoders
one after the other, each is transformed by a full complex FFT, and losses are taken of
probabilities as the equations say. Parameters are registered in the order of
`liverleaf.models.mti_net.network`, so `copy_weights` can hand them over. One thing cannot be equal
in training: batch normalisation of one phase at a time knows other means than that of all phases
together.

Reference: Xiao et al., arXiv:2511.20793, 2025.

Shape suffixes: B slices, P phases, C channels, Y rows, X columns, T types, N tokens, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liverleaf.models.blocks import sinusoidal_positions
from liverleaf.models.mti_net.network import MTINetConfig


class PaperEncoder(nn.Sequential):
    """Four blocks of convolution, BatchNorm, ReLU and max pooling over one phase (B, 1, Y, X)."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in zip((1, *widths), widths, strict=False):
            layers += [
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        super().__init__(*layers)


class PaperDecoder(nn.Sequential):
    """Four blocks of transposed convolution, BatchNorm and ReLU, then the mask's logits."""

    def __init__(self, phases: int, widths: tuple[int, ...]) -> None:
        layers: list[nn.Module] = []
        w1, w2, w3, w4 = widths
        for inputs, outputs in ((phases * w4, w3), (w3, w2), (w2, w1), (w1, w1)):
            layers += [
                nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        super().__init__(*layers, nn.Conv2d(w1, 1, 1))


class PaperMTINet(nn.Module):
    """MTI-Net.

    From (B, P, Y, X) to the probability of tumour (B, Y, X), the curve (B, P) and the probabilities
    of the types (B, T).
    """

    def __init__(self, config: MTINetConfig) -> None:
        super().__init__()
        self.cutoff, self.phases = config.cutoff, config.phases
        width = (config.size // 16) ** 2
        self.spatial, self.spectral = PaperEncoder(config.widths), PaperEncoder(config.widths)
        self.decoder = PaperDecoder(config.phases, config.widths)
        layer = nn.TransformerEncoderLayer(
            width,
            width // config.head_width,
            dim_feedforward=4 * width,
            dropout=0.0,
            batch_first=True,
        )
        self.transformer = nn.TransformerEncoder(layer, config.blocks, enable_nested_tensor=False)
        self.to_curve, self.to_type = nn.Linear(width, 1), nn.Linear(width, config.types)
        self.register_buffer(
            "positions",
            sinusoidal_positions(config.phases * config.widths[-1], width),
            persistent=False,
        )
        self.positions: Tensor

    def forward(self, images_BPYX: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All three answers."""
        fused = []
        for phase in range(self.phases):
            image_B1YX = images_BPYX[:, phase : phase + 1]
            x_spa = self.spatial(image_B1YX)
            x_spe = self.spectral(high_pass(image_B1YX, self.cutoff))
            pooled = torch.stack(
                [x_spa.mean(dim=(2, 3), keepdim=True), x_spe.mean(dim=(2, 3), keepdim=True)]
            )
            gamma_spa, gamma_spe = pooled.softmax(dim=0)
            fused.append(x_spa * (1 + gamma_spa) + x_spe * (1 + gamma_spe))
        mask_BYX = self.decoder(torch.cat(fused, dim=1)).sigmoid()[:, 0]
        tokens_BND = torch.cat([x.flatten(2) for x in fused], dim=1) + self.positions
        tokens_BND = self.transformer(tokens_BND)
        curve_BP = torch.cat(
            [self.to_curve(tokens.mean(dim=1)) for tokens in tokens_BND.chunk(self.phases, dim=1)],
            dim=1,
        )
        return mask_BYX, curve_BP, self.to_type(tokens_BND.mean(dim=1)).softmax(dim=-1)


def high_pass(image: Tensor, cutoff: float) -> Tensor:
    """Images (..., Y, X) without the frequencies within `cutoff` times the Nyquist frequency."""
    rows, columns = image.shape[-2:]
    fy = torch.linspace(-1, 1, rows + 1, device=image.device)[:-1, None]
    fx = torch.linspace(-1, 1, columns + 1, device=image.device)[None, :-1]
    spectrum = torch.fft.fftshift(torch.fft.fft2(image), dim=(-2, -1))
    spectrum = spectrum * ((fy**2 + fx**2).sqrt() > cutoff)
    filtered: Tensor = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real
    return filtered


class PaperDiscriminator(nn.Module):
    """TDD: the curve and the type probabilities as a sequence; the probability of being real."""

    def __init__(
        self, phases: int, types: int, *, width: int = 64, heads: int = 4, blocks: int = 2
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(1, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, dim_feedforward=4 * width, dropout=0.0, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, blocks, enable_nested_tensor=False)
        self.real = nn.Linear(width, 1)
        self.register_buffer(
            "positions", sinusoidal_positions(phases + types, width), persistent=False
        )
        self.positions: Tensor

    def forward(self, curve_BP: Tensor, types_BT: Tensor) -> Tensor:
        """Probability of being real, (B, 1)."""
        tokens_BND = (
            self.embed(torch.cat([curve_BP, types_BT], dim=1).unsqueeze(-1)) + self.positions
        )
        probability_B1: Tensor = self.real(self.transformer(tokens_BND).mean(dim=1)).sigmoid()
        return probability_B1


class PaperTrainer:
    """The networks, an Adam for each, and the published step on slices that all show a tumour.

    Args:
        config: of the network.
        learning_rate: of both optimisers.
        mean_P, sd_P: what curves are z-scored by.
        adversarial: weight of the adversarial loss.
        smoothing: of the one-hot types that the discriminator is shown.
    """

    def __init__(
        self,
        config: MTINetConfig,
        *,
        learning_rate: float,
        mean_P: Tensor,
        sd_P: Tensor,
        adversarial: float,
        smoothing: float,
    ) -> None:
        device = mean_P.device
        self.network = PaperMTINet(config).to(device)
        self.critic = PaperDiscriminator(config.phases, config.types).to(device)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=learning_rate)
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), lr=learning_rate)
        self.mean_P, self.sd_P, self.adversarial, self.smoothing = (
            mean_P,
            sd_P,
            adversarial,
            smoothing,
        )

    def step(
        self, images_BPYX: Tensor, mask_BYX: Tensor, curve_BP: Tensor, type_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step of the network and one of the discriminator; returns both losses."""
        truth_BP = (curve_BP - self.mean_P) / self.sd_P
        probability_BYX, predicted_BP, types_BT = self.network(images_BPYX)
        segmentation = F.binary_cross_entropy(probability_BYX, mask_BYX)  # Eq. 2
        regression = (predicted_BP - truth_BP).abs().mean()  # Eq. 3
        classification = -types_BT.gather(1, type_B[:, None]).log().mean()  # Eq. 4
        implied = []
        for phase in range(images_BPYX.shape[1]):
            masked_BYX = probability_BYX * images_BPYX[:, phase]
            implied.append(masked_BYX.sum(dim=(1, 2)) / (probability_BYX.sum(dim=(1, 2)) + 1e-3))
        interaction = (
            ((torch.stack(implied, dim=1) - self.mean_P) / self.sd_P - truth_BP).abs().mean()
        )
        fooled = self.critic(predicted_BP, types_BT)
        adversarial = F.binary_cross_entropy(fooled, torch.ones_like(fooled))
        loss = (
            segmentation
            + regression
            + classification
            + interaction
            + self.adversarial * adversarial
        )
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        one_hot_BT = (
            F.one_hot(type_B, types_BT.shape[1]) * (1 - self.smoothing)
            + self.smoothing / types_BT.shape[1]
        )
        real = self.critic(truth_BP, one_hot_BT)
        fake = self.critic(predicted_BP.detach(), types_BT.detach())
        critic_loss = (
            F.binary_cross_entropy(real, torch.ones_like(real))
            + F.binary_cross_entropy(fake, torch.zeros_like(fake))
        ) / 2
        self.critic_optimiser.zero_grad()
        critic_loss.backward()
        self.critic_optimiser.step()
        return loss.detach(), critic_loss.detach()


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy parameters and statistics to a network that registers the same ones in that order."""
    with torch.no_grad():
        for ours, theirs in zip(
            source.state_dict().values(), target.state_dict().values(), strict=True
        ):
            assert ours.shape == theirs.shape
            theirs.copy_(ours)
