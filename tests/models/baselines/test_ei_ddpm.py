"""EI-DDPM: diffusion against its formula, the two halves of training, reliability."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from liverleaf.models.baselines.ei_ddpm import EIDDPM, EIDDPMConfig

torch.set_num_threads(1)

CONFIG = EIDDPMConfig(
    phases=2,
    size=16,
    widths=(8, 8),
    residual_blocks=1,
    norm_groups=4,
    head_width=8,
    drawing_steps=3,
    evidence_width=4,
    prototypes=4,
)


def build() -> EIDDPM:
    torch.manual_seed(0)
    return EIDDPM(CONFIG).eval()


class Seer(nn.Module):
    """A denoiser that knows the mask, and so the noise and the velocity."""

    def __init__(self, mask_YX: Tensor, signal_T: Tensor) -> None:
        super().__init__()
        self.mask, self.signal = 2 * mask_YX - 1, signal_T

    def forward(  # noqa: D102
        self, noisy_B1YX: Tensor, _image: Tensor, time_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        signal = self.signal[time_B][:, None, None, None]
        noise = (noisy_B1YX - signal.sqrt() * self.mask) / (1 - signal).sqrt()
        return signal.sqrt() * noise - (1 - signal).sqrt() * self.mask, noisy_B1YX.expand(
            -1, 8, -1, -1
        )


def test_the_noise_is_that_of_ho_et_al() -> None:
    signal = build().signal_T
    assert len(signal) == 1000
    assert signal[0].item() == pytest.approx(1 - 1e-4)
    assert signal[1].item() == pytest.approx((1 - 1e-4) * (1 - 1e-4 - (0.02 - 1e-4) / 999))
    assert signal[-1].item() == pytest.approx(4e-5, abs=1e-5)


def test_a_denoiser_that_knows_the_mask_has_no_loss_and_draws_it() -> None:
    network = build()
    mask = torch.zeros(16, 16)
    mask[3:9, 5:12] = 1
    network.denoisers = nn.ModuleList([Seer(mask, network.signal_T) for _ in range(2)])
    images = torch.zeros(2, 2, 16, 16)
    assert network.loss(images, mask.expand(2, 1, 16, 16), progress=0.0).item() < 1e-6
    drawn = network._draw(network.denoisers[0], images[:, :1])
    assert drawn.shape == (2, 9, 16, 16)
    torch.testing.assert_close(drawn[:, 8:], (2 * mask - 1).expand(2, 1, 16, 16), atol=1e-3, rtol=0)


def test_the_halves_of_the_training_teach_other_parts() -> None:
    images, mask = torch.randn(1, 2, 16, 16), torch.ones(1, 1, 16, 16)
    for progress, taught in ((0.0, True), (0.499, True), (0.5, False), (0.99, False)):
        network = build()
        network.loss(images, mask, progress=progress).backward()
        for name, parameter in network.named_parameters():
            assert (parameter.grad is not None) == (name.startswith("denoisers.") == taught), name


def test_the_diffusion_is_trained_with_other_noise_every_time_and_replayed_by_the_seed() -> None:
    network, images, mask = build(), torch.randn(1, 2, 16, 16), torch.ones(1, 1, 16, 16)
    losses = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        losses.append(network.loss(images, mask, progress=0.0).item())
    assert losses[0] == losses[2] != losses[1]


def test_a_phase_of_no_reliability_is_not_heard() -> None:
    network, images = build(), torch.randn(1, 2, 16, 16)
    other = torch.cat([images[:, :1], torch.randn(1, 1, 16, 16)], dim=1)
    assert not torch.allclose(network(images), network(other))
    with torch.no_grad():
        network.heads.reliability_P2[1] = -100.0
    torch.testing.assert_close(network(images), network(other))
