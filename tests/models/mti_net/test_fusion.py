"""MTI-Net's two domains against equations written out slowly."""

import numpy as np
import pytest
import torch

from liverleaf.models.mti_net.fusion import HighPass, MdIEF, channel_entropy


def slow_high_pass(image_YX: np.ndarray, cutoff: float) -> np.ndarray:
    spectrum = np.fft.fftshift(np.fft.fft2(image_YX))
    rows, columns = image_YX.shape
    for i in range(rows):
        for j in range(columns):
            radius = np.hypot((i - rows // 2) / (rows / 2), (j - columns // 2) / (columns / 2))
            if radius <= cutoff:
                spectrum[i, j] = 0
    return np.fft.ifft2(np.fft.ifftshift(spectrum)).real


@pytest.mark.parametrize("shape", [(16, 16), (16, 32), (48, 16)])
@pytest.mark.parametrize("cutoff", [0.1, 0.26, 0.9])
def test_high_pass_is_the_filter_written_out(shape: tuple[int, int], cutoff: float) -> None:
    image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(
        HighPass(cutoff)(torch.from_numpy(image)[None])[0].numpy(),
        slow_high_pass(image, cutoff),
        atol=1e-5,
    )


def test_high_pass_removes_a_constant_and_keeps_a_chequerboard() -> None:
    chequers = torch.from_numpy(np.indices((16, 16)).sum(0) % 2 * 2.0 - 1.0).float()[None]
    high_pass = HighPass(0.1)
    torch.testing.assert_close(
        high_pass(torch.full((1, 16, 16), 7.0)), torch.zeros(1, 16, 16), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(high_pass(chequers + 7.0), chequers, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("waves", "survives"), [(3, False), (4, True)])
def test_high_pass_cuts_at_its_fraction_of_the_nyquist_frequency(
    waves: int, survives: bool
) -> None:
    # Nyquist is 32 waves
    wave = torch.cos(2 * torch.pi * waves * torch.arange(64) / 64).expand(1, 64, 64)
    torch.testing.assert_close(HighPass(0.11)(wave), wave * survives, atol=1e-5, rtol=0)


def slow_fusion(spatial: np.ndarray, spectral: np.ndarray) -> np.ndarray:
    """Equation 1, channel by channel."""
    fused = np.empty_like(spatial)
    for b in range(spatial.shape[0]):
        for c in range(spatial.shape[1]):
            p_spa, p_spe = spatial[b, c].mean(), spectral[b, c].mean()
            gamma_spa = np.exp(p_spa) / (np.exp(p_spa) + np.exp(p_spe))
            gamma_spe = np.exp(p_spe) / (np.exp(p_spa) + np.exp(p_spe))
            fused[b, c] = spatial[b, c] * (1 + gamma_spa) + spectral[b, c] * (1 + gamma_spe)
    return fused


def test_mdief_is_equation_1() -> None:
    rng = np.random.default_rng(1)
    spatial, spectral = rng.normal(1, 2, (2, 3, 4, 5)), rng.normal(-1, 2, (2, 3, 4, 5))
    fused = MdIEF("mdief")(torch.from_numpy(spatial), torch.from_numpy(spectral))
    np.testing.assert_allclose(fused.numpy(), slow_fusion(spatial, spectral))


def test_mdief_by_hand() -> None:
    spatial, spectral = torch.full((1, 1, 2, 2), np.log(3.0)), torch.zeros(1, 1, 2, 2)
    # exp(log 3) / (3 + 1)
    torch.testing.assert_close(MdIEF("mdief")(spatial, spectral), spatial * 1.75)


def test_plain_sum() -> None:
    assert torch.equal(
        MdIEF("sum")(torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 2.0)),
        torch.full((1, 1, 2, 2), 3.0),
    )


def test_entropy_weights_the_domain_whose_magnitude_is_spread() -> None:
    flat, peak = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    peak[0, 0, 0, 0] = 1.0
    gamma = 1 / (1 + np.exp(-1.0))  # entropies 1 and 0
    torch.testing.assert_close(
        MdIEF("entropy")(flat, peak), flat * (1 + gamma) + peak * (2 - gamma), atol=1e-4, rtol=0
    )


def test_channel_entropy_by_hand() -> None:
    two_of_four = torch.tensor([[[[1.0, -1.0], [0.0, 0.0]]]])
    assert channel_entropy(two_of_four).item() == pytest.approx(0.5, abs=1e-5)
    assert channel_entropy(torch.full((1, 1, 3, 3), 5.0)).item() == pytest.approx(1.0, abs=1e-5)
    assert channel_entropy(torch.zeros(1, 1, 3, 3)).item() == 0.0
    assert channel_entropy(torch.ones(1, 1, 1, 1)).item() == 0.0
