"""MTI-Net: its parts by hand, and what every network must keep: gradients, independence, memory."""

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from liverleaf.data.batch import Regions
from liverleaf.models.mti_net.network import MTINet, MTINetConfig, MTINetOutput, tim

torch.set_num_threads(1)

PUBLISHED = MTINetConfig(widths=(4, 6, 8, 10), size=64, head_width=8)
OURS = MTINetConfig(
    widths=(4, 6, 8, 10),
    masks=2,
    types=8,
    convs=2,
    subtraction=True,
    skips=True,
    heads="lesion",
    token_width=16,
    head_width=8,
)
BOTH = pytest.mark.parametrize("config", [PUBLISHED, OURS], ids=["slice heads", "lesion heads"])


def build(config: MTINetConfig, seed: int = 0) -> MTINet:
    torch.manual_seed(seed)
    return MTINet(config)


def regions(slices: list[int], size: int = 64) -> Regions:
    """One lesion per entry, in that slice: a square core, its rim, a surround."""
    weights = torch.zeros(len(slices), 3, size, size)
    for index in range(len(slices)):
        corner = 8 + 6 * index
        weights[index, 2, corner - 6 : corner + 18, corner - 6 : corner + 18] = 1
        weights[index, 2, corner : corner + 12, corner : corner + 12] = 0
        weights[index, 1, corner : corner + 12, corner : corner + 12] = 1
        weights[index, 1, corner + 3 : corner + 9, corner + 3 : corner + 9] = 0
        weights[index, 0, corner + 3 : corner + 9, corner + 3 : corner + 9] = 1
    return Regions(
        weights, torch.tensor(slices, dtype=torch.int64), torch.full((len(slices),), 700.0)
    )


def inputs(seed: int = 0, slices: int = 2, size: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(slices, 4, size, size, generator=generator), torch.ones(
        slices, 4, dtype=torch.bool
    )


def assert_same(a: MTINetOutput, b: MTINetOutput) -> None:
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


# the whole network


def test_the_default_is_the_published_network() -> None:
    config = MTINetConfig()
    assert (
        config.phases,
        config.masks,
        config.types,
        config.size,
        config.blocks,
        config.head_width,
    ) == (4, 1, 2, 256, 3, 64)
    with torch.device("meta"):
        network = MTINet(config)
    assert network.spatial is not None and network.spectral is not None
    assert (
        len(network.spatial.blocks)
        == len(network.spectral.blocks)
        == len(network.decoder.blocks)
        == 4
    )
    # N = 4 x C tokens of P squared values
    assert network.heads.positions_ND.shape == (4 * 512, 16 * 16)
    assert [block.self_attn.num_heads for block in network.heads.transformer.layers] == [4, 4, 4]


def test_the_published_heads_answer_once_per_slice() -> None:
    output = build(PUBLISHED)(*inputs())
    assert [tuple(tensor.shape) for tensor in output] == [(2, 1, 64, 64), (2, 4), (2, 2)]


def test_the_lesion_heads_answer_once_per_lesion() -> None:
    output = build(OURS)(*inputs(), regions([0, 1, 1]))
    assert [tuple(tensor.shape) for tensor in output] == [(2, 2, 64, 64), (3, 4), (3, 8)]


def test_a_residual_curve_is_what_the_phases_show_under_the_lesion_and_a_correction() -> None:
    images, present = inputs()
    where = regions([1])
    network = build(dataclasses.replace(OURS, residual_curve=True)).eval()
    mean, sd = torch.tensor([0.5, 1.0, -0.5, 0.0]), torch.tensor([2.0, 0.5, 1.0, 3.0])
    network.z_score_by(mean, sd)
    with torch.no_grad():
        corrected = network(images, present, where).curve_LP
        network.heads.to_curve.weight.zero_()
        network.heads.to_curve.bias.zero_()
        residual = network(images, present, where).curve_LP
    inside = images[1][:, where.weights_LRYX[0, :2].sum(0) > 0].mean(1)
    torch.testing.assert_close(residual[0], (inside - mean) / sd)
    assert not torch.allclose(corrected, residual)


def test_subtraction_is_from_the_mean_of_the_phases_scanned() -> None:
    network = build(OURS).eval()
    seen: list[Tensor] = []
    assert network.spatial is not None and network.spectral is not None
    network.spatial.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network.spectral.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    images = torch.stack([torch.full((64, 64), value) for value in (1.0, 4.0, 99.0, 1.0)])[None]
    network.features(images, torch.tensor([[True, True, False, True]]))
    spectral, spatial = sorted(seen, key=lambda given: given.shape[1])
    assert spectral.shape == (3, 1, 64, 64) and spatial.shape == (3, 2, 64, 64)
    assert spatial[:, :, 0, 0].tolist() == [[1, -1], [4, 2], [1, -1]]
    seen.clear()
    network.features(images, torch.tensor([[False, True, False, False]]))
    assert sorted(seen, key=lambda given: given.shape[1])[1][:, :, 0, 0].tolist() == [[4, 0]]


def test_slice_heads_cannot_measure() -> None:
    with pytest.raises(ValueError, match="residual_curve=True needs"):
        MTINetConfig(residual_curve=True)


def test_lesion_heads_look_at_slices_of_any_shape() -> None:
    output = build(OURS)(
        torch.randn(1, 4, 48, 80),
        torch.ones(1, 4, dtype=torch.bool),
        Regions(torch.ones(1, 3, 48, 80), *regions([0])[1:]),
    )
    assert output.mask_logits_BKYX.shape == (1, 2, 48, 80)


def test_a_batch_without_lesions_has_no_answers_and_still_a_gradient() -> None:
    network = build(OURS).train()
    output = network(*inputs(), regions([]))
    assert (output.curve_LP.shape, output.type_logits_LT.shape) == ((0, 4), (0, 8))
    (
        output.mask_logits_BKYX.mean() + output.curve_LP.sum() + output.type_logits_LT.sum()
    ).backward()
    with torch.inference_mode():
        assert network(*inputs(), regions([])).curve_LP.shape == (0, 4)
    assert all(
        parameter.grad is None or parameter.grad.isfinite().all()
        for parameter in network.parameters()
    )


@BOTH
def test_gradient_reaches_every_parameter(config: MTINetConfig) -> None:
    network = build(config).train()
    masks, curve, types = network(*inputs(), regions([0, 1, 1]))
    loss = (
        (masks**2).mean()
        + (curve**2).mean()
        + F.cross_entropy(types, torch.ones(len(types), dtype=torch.int64))
    )
    loss.backward()
    silent = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert silent == []


@BOTH
def test_slices_of_a_batch_do_not_see_each_other(config: MTINetConfig) -> None:
    network = build(config).eval()
    images, present = inputs()
    present[1, 0] = False
    together = network(images, present, regions([0, 1]))
    for index in range(2):
        where = Regions(
            regions([0, 1]).weights_LRYX[[index]], torch.tensor([0]), torch.tensor([700.0])
        )
        alone = network(images[[index]], present[[index]], where)
        assert_same(alone, MTINetOutput(*(tensor[[index]] for tensor in together)))


@BOTH
def test_inference_mode_says_what_training_mode_would(config: MTINetConfig) -> None:
    """PyTorch takes another path through Transformers when no gradient is asked for."""
    network = build(config).eval()
    images, present = inputs()
    present[0, 3] = False
    with_gradient = network(images, present, regions([0, 1]))
    with torch.inference_mode():
        without = network(images, present, regions([0, 1]))
    present_LP = present[..., None].expand(2, 4, 1).squeeze(-1)
    torch.testing.assert_close(with_gradient.mask_logits_BKYX, without.mask_logits_BKYX)
    torch.testing.assert_close(
        with_gradient.type_logits_LT, without.type_logits_LT, rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        with_gradient.curve_LP[present_LP], without.curve_LP[present_LP], rtol=1e-4, atol=1e-5
    )


@BOTH
@pytest.mark.parametrize("garbage", [1e4, float("nan"), float("inf")])
def test_what_stands_in_a_missing_phase_is_not_looked_at(
    config: MTINetConfig, garbage: float
) -> None:
    network = build(config).eval()
    images, present = inputs()
    present[0, [0, 2]] = False
    other = images.clone()
    other[0, [0, 2]] = garbage
    before = network(images, present, regions([0, 1]))
    after = network(other, present, regions([0, 1]))
    torch.testing.assert_close(before.mask_logits_BKYX, after.mask_logits_BKYX)
    torch.testing.assert_close(before.type_logits_LT, after.type_logits_LT)
    torch.testing.assert_close(before.curve_LP[present], after.curve_LP[present])


@BOTH
def test_missing_phases_do_not_touch_the_statistics_of_batch_norm(config: MTINetConfig) -> None:
    images, present = inputs()
    present[:, 0] = False
    networks = [build(config).train() for _ in range(2)]
    networks[0](images, present, regions([0, 1]))
    networks[1](torch.cat([images[:, :1] + 100, images[:, 1:]], dim=1), present, regions([0, 1]))
    for a, b in zip(networks[0].buffers(), networks[1].buffers(), strict=True):
        torch.testing.assert_close(a, b)


@BOTH
@pytest.mark.parametrize("phase", range(4))
def test_one_phase_is_enough(config: MTINetConfig, phase: int) -> None:
    images, present = inputs()
    present[:] = False
    present[:, phase] = True
    network = build(config).eval()
    output = network(images, present, regions([0, 1]))
    assert all(tensor.isfinite().all() for tensor in output)
    shifted = images.clone()
    shifted[:, phase] += torch.randn(64, 64)
    assert not torch.equal(
        network(shifted, present, regions([0, 1])).mask_logits_BKYX, output.mask_logits_BKYX
    )


def test_a_lesion_is_told_from_its_own_regions() -> None:
    network = build(OURS).eval()
    images, present = inputs()
    before = network(images, present, regions([0, 1]))
    other = regions([0, 1])
    other.weights_LRYX[1] = other.weights_LRYX[1].flip(-1)
    after = network(images, present, other)
    torch.testing.assert_close(before.type_logits_LT[0], after.type_logits_LT[0])
    assert not torch.allclose(before.type_logits_LT[1], after.type_logits_LT[1])


def test_a_lesion_too_small_for_a_core_or_at_the_edge_gets_a_finite_answer() -> None:
    where = regions([0])
    where.weights_LRYX[:] = 0
    where.weights_LRYX[0, 0, 0, 0] = 1  # one pixel in the corner, no rim, no surround
    output = build(OURS).eval()(*inputs(), where)
    assert all(tensor.isfinite().all() for tensor in output)


@BOTH
def test_it_overfits_one_case(config: MTINetConfig) -> None:
    # of four channels all may be dead
    network = build(dataclasses.replace(config, widths=(8, 8, 8, 16))).train()
    images, present = inputs(slices=1)
    where = regions([0])
    mask = (
        (where.weights_LRYX[:, :2].sum(1, keepdim=True) > 0).float().expand(1, config.masks, 64, 64)
    )
    images = images * 0.1 + mask[:, :1]
    curve, kind = torch.tensor([[0.5, -0.5, 1.0, 0.0]]), torch.tensor([1])
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(200):
        output = network(images, present, where)
        loss = (
            F.binary_cross_entropy_with_logits(output.mask_logits_BKYX, mask)
            + (output.curve_LP - curve).abs().mean()
            + F.cross_entropy(output.type_logits_LT, kind)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = output.mask_logits_BKYX > 0
    dice = 2 * (found & (mask > 0)).sum() / (found.sum() + mask.sum())
    assert dice > 0.9
    torch.testing.assert_close(output.curve_LP, curve, atol=0.25, rtol=0)
    assert output.type_logits_LT.softmax(-1)[0, 1] > 0.9


@BOTH
def test_saved_and_loaded_it_answers_the_same(config: MTINetConfig, tmp_path: Path) -> None:
    network = build(config).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    again = build(config, seed=1).eval()
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    for a, b in zip(network(*inputs(), regions([0])), again(*inputs(), regions([0])), strict=True):
        assert torch.equal(a, b)


@BOTH
@pytest.mark.parametrize(
    "change",
    [
        {"spatial": False},
        {"spectral": False},
        {"fusion": "sum"},
        {"fusion": "entropy"},
        {"skips": True},
    ],
    ids=str,
)
def test_every_ablation_runs(config: MTINetConfig, change: dict[str, object]) -> None:
    config = dataclasses.replace(
        config, subtraction=config.subtraction and change.get("spatial") is not False
    )
    whole, changed = build(config), build(dataclasses.replace(config, **change))
    output = changed(*inputs(), regions([0, 1]))
    assert output.mask_logits_BKYX.shape == (2, config.masks, 64, 64)
    sizes = [
        sum(parameter.numel() for parameter in network.parameters()) for network in (whole, changed)
    ]
    if False in change.values():
        assert sizes[1] == sizes[0] - sum(
            parameter.numel() for parameter in getattr(whole, next(iter(change))).parameters()
        )
    elif "fusion" in change:
        assert sizes[1] == sizes[0]  # MdIEF has no parameters


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spatial": False, "spectral": False}, "at least one encoder"),
        ({"spatial": False, "subtraction": True}, "subtraction needs the spatial encoder"),
        ({"cutoff": 0.0}, "fraction of the Nyquist"),
        ({"cutoff": 1.0}, "fraction of the Nyquist"),
        ({"size": 100}, "size=100"),
        ({"head_width": 7}, "head_width=7"),
    ],
    ids=str,
)
def test_a_config_that_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MTINetConfig(**change)


def test_misuse_is_refused() -> None:
    images, present = inputs()
    with pytest.raises(ValueError, match="need regions"):
        build(OURS)(images, present)
    with pytest.raises(ValueError, match="multiples of 16"):
        build(OURS)(images[..., :40], present, regions([0]))
    with pytest.raises(ValueError, match="built for 64 x 64 pixels, got 32 x 32"):
        build(PUBLISHED)(images[..., :32, :32], present)


# task interaction module


def test_tim_by_hand() -> None:
    mask = torch.tensor([[[1.0, 0.5], [0.0, 0.0]]])
    images = torch.tensor([[[[10.0, 40.0], [99.0, 99.0]], [[1.0, 1.0], [99.0, 99.0]]]])
    torch.testing.assert_close(tim(mask, images), torch.tensor([[20.0, 1.0]]), rtol=2e-3, atol=0)


def test_tim_of_an_empty_mask_is_zero_and_its_gradient_finite() -> None:
    mask = torch.zeros(1, 4, 4, requires_grad=True)
    curve = tim(mask, torch.randn(1, 3, 4, 4))
    assert torch.equal(curve, torch.zeros(1, 3))
    curve.sum().backward()
    assert mask.grad is not None and mask.grad.isfinite().all()


def test_tim_with_a_support_counts_the_mask_near_each_lesion_only() -> None:
    where = regions([1, 0])
    probability = torch.ones(2, 64, 64)
    images = torch.randn(2, 4, 64, 64)
    curve = tim(probability, images, support=where)
    for lesion, in_slice in enumerate([1, 0]):
        near = where.weights_LRYX[lesion].sum(0) > 0
        torch.testing.assert_close(
            curve[lesion], images[in_slice][:, near].mean(1), atol=1e-4, rtol=1e-3
        )
