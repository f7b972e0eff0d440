"""Every segmentation baseline: published size, shapes, gradients, learning, memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from liverleaf.models.baselines.ei_ddpm import EIDDPM, EIDDPMConfig
from liverleaf.models.baselines.md_ff import MDFF, MDFFConfig
from liverleaf.models.baselines.resunetpp import ResUNetPP, ResUNetPPConfig
from liverleaf.models.baselines.swin_unet import SwinUNet, SwinUNetConfig
from liverleaf.models.baselines.transunet import TransUNet, TransUNetConfig
from liverleaf.models.baselines.unet import UNet, UNetConfig

torch.set_num_threads(1)

SMALL: dict[type[nn.Module], Any] = {
    UNet: UNetConfig(phases=2, size=32, widths=(8, 8, 8, 8, 8)),
    ResUNetPP: ResUNetPPConfig(phases=2, size=32, widths=(8, 8, 8, 8, 8), reduction=2),
    TransUNet: TransUNetConfig(
        phases=2,
        size=32,
        stem_width=8,
        stem_blocks=(1, 1, 1),
        norm_groups=2,
        width=16,
        mlp_width=32,
        blocks=2,
        heads=2,
        neck=8,
        decoder_widths=(8, 8, 8, 4),
    ),
    SwinUNet: SwinUNetConfig(
        phases=2, size=32, patch=2, width=8, depths=(2, 2), heads=(2, 2), window=4, drop_path=0.1
    ),
    EIDDPM: EIDDPMConfig(
        phases=2,
        size=16,
        widths=(8, 8),
        residual_blocks=1,
        norm_groups=4,
        head_width=8,
        drawing_steps=3,
        evidence_width=4,
        prototypes=20,
    ),
    MDFF: MDFFConfig(phases=2, size=32, widths=(4, 4, 8, 8, 8), reduction=2),
}
EVERY = pytest.mark.parametrize("kind", SMALL, ids=lambda kind: kind.__name__)


def build(kind: type[nn.Module], seed: int = 0, **change: object) -> Any:
    torch.manual_seed(seed)
    return kind(dataclasses.replace(SMALL[kind], **change))


def case(kind: type[nn.Module], slices: int = 2) -> tuple[Tensor, Tensor]:
    """A square that one phase shows bright and the other dark, in noise."""
    side = SMALL[kind].size
    mask = torch.zeros(slices, 1, side, side)
    for index in range(slices):
        corner = side // 5 + index * side // 8
        mask[index, 0, corner : corner + 3 * side // 8, side // 4 : side // 4 + 3 * side // 8] = 1
    noise = torch.randn(slices, 2, side, side, generator=torch.Generator().manual_seed(0))
    return 0.3 * noise + torch.tensor([1.0, -1.0])[:, None, None] * mask, mask


def parameters(kind: type[nn.Module], config: object) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in kind(config).parameters())


@pytest.mark.parametrize(
    ("kind", "config", "published"),
    [
        # 31,031,685 where a second class and a convolution from two to one are counted as well
        (UNet, UNetConfig(phases=1), 31_031_745),
        # as Keras counts, with running means and variances
        (ResUNetPP, ResUNetPPConfig(phases=3), 4_070_385),
        (TransUNet, TransUNetConfig(phases=3, size=224), 105_276_066),  # with two classes
        (SwinUNet, SwinUNetConfig(phases=3, size=224, window=7), 27_168_228),  # with two classes
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_default_has_the_published_size(
    kind: type[nn.Module], config: object, published: int
) -> None:
    assert parameters(kind, config) == pytest.approx(published, rel=0.003)


@EVERY
def test_defaults_are_for_four_phases_of_256_pixels(kind: type[nn.Module]) -> None:
    config = type(SMALL[kind])()
    assert (config.phases, config.size) == (4, 256)
    assert 4e6 < parameters(kind, config) < 3e8


@EVERY
def test_the_answer_is_one_logit_per_pixel_and_the_loss_a_number(kind: type[nn.Module]) -> None:
    network, (images, mask) = build(kind), case(kind)
    logits = network.eval()(images)
    assert (logits.shape, logits.dtype) == (mask.shape, torch.float32)
    for progress in (0.0, 0.5, 0.99):
        loss = network.train().loss(images, mask, progress=progress)
        assert (loss.shape, loss.dtype) == ((), torch.float32)
        assert 0 < loss.item() < 10


@EVERY
def test_any_number_of_phases_goes_in(kind: type[nn.Module]) -> None:
    assert build(kind, phases=3).eval()(torch.randn(1, 3, 32, 32)).shape == (1, 1, 32, 32)


@EVERY
def test_gradient_reaches_every_parameter(kind: type[nn.Module]) -> None:
    network, (images, mask) = build(kind).train(), case(kind)
    # as if trained for a while: diffusion models and shortcuts start from zeros
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    for progress in (0.25, 0.75):
        network.loss(images, mask, progress=progress).backward()
    silent = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert silent == []


@EVERY
def test_slices_of_a_batch_do_not_see_each_other(kind: type[nn.Module]) -> None:
    network, (images, _) = build(kind).eval(), case(kind)
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(network(images), alone, rtol=1e-3, atol=1e-4)


@EVERY
def test_it_answers_the_same_twice_and_after_saving_and_loading(
    kind: type[nn.Module], tmp_path: Path
) -> None:
    network, (images, _) = build(kind).eval(), case(kind)
    answer = network(images)
    torch.manual_seed(5)
    assert torch.equal(network(images), answer)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    again = build(kind, seed=1).eval()
    assert not torch.equal(again(images), answer)
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(again(images), answer)


@EVERY
def test_in_bfloat16_the_answer_is_float32_and_nearly_the_same(kind: type[nn.Module]) -> None:
    network, (images, mask) = build(kind).eval(), case(kind)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = network(images)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.sigmoid(), network(images).sigmoid(), rtol=0, atol=0.05)
    for progress in (0.25, 0.75):
        with torch.autocast("cpu", torch.bfloat16):
            loss = network.train().loss(images, mask, progress=progress)
        assert loss.dtype == torch.float32
        loss.backward()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all()
        for parameter in network.parameters()
    )


STEPS = {UNet: 60, ResUNetPP: 60, TransUNet: 60, SwinUNet: 60, EIDDPM: 200, MDFF: 40}


@EVERY
def test_it_overfits_one_case(kind: type[nn.Module]) -> None:
    network, (images, mask) = build(kind).train(), case(kind, slices=1)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-2 if kind is EIDDPM else 1e-2)
    for step in range(STEPS[kind]):
        loss = network.loss(images, mask, progress=step / STEPS[kind])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = network.eval()(images) > 0
    assert 2 * (found & (mask > 0)).sum() / (found.sum() + mask.sum()) > 0.9


@EVERY
def test_a_slice_without_a_lesion_has_a_finite_loss_and_gradient(kind: type[nn.Module]) -> None:
    network, (images, mask) = build(kind).train(), case(kind)
    for progress in (0.25, 0.75):
        network.loss(images, torch.zeros_like(mask), progress=progress).backward()
    assert all(
        parameter.grad.isfinite().all()
        for parameter in network.parameters()
        if parameter.grad is not None
    )


@pytest.mark.parametrize(
    ("kind", "side", "message"),
    [
        (ResUNetPP, 36, r"multiples of 8, got \(36, 36\)"),
        (TransUNet, 64, r"built for 32 x 32 pixels, got \(64, 64\)"),
        (SwinUNet, 64, r"built for 32 x 32 pixels, got \(64, 64\)"),
        (MDFF, 40, r"multiples of 16, got \(40, 40\)"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_images_that_do_not_fit_are_refused(kind: type[nn.Module], side: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(kind)(torch.zeros(1, 2, side, side))


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (TransUNetConfig, {"size": 250}, "size=250"),
        (SwinUNetConfig, {"window": 7}, "window=7"),
        (SwinUNetConfig, {"heads": (3, 6)}, "one per level"),
    ],
)
def test_a_config_that_cannot_be_is_refused(
    config: Any, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        config(**change)
