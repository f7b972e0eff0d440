"""The classifiers: published parameter counts, shapes, gradients, independence, memory."""

import math
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from liverleaf.models.baselines.classifiers import Classifier, ClassifierConfig, InceptionModule

torch.set_num_threads(1)

ARCHITECTURES = get_args(get_type_hints(ClassifierConfig)["architecture"])
EVERY = pytest.mark.parametrize("architecture", ARCHITECTURES)


def build(
    architecture: str, *, outputs: int = 4, size: int = 64, seed: int = 0, width: float = 1 / 8
) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(
        ClassifierConfig(architecture=architecture, outputs=outputs, size=size, width=width)
    )


def images(slices: int = 2, size: int = 64) -> Tensor:
    return torch.randn(slices, 4, size, size, generator=torch.Generator().manual_seed(0))


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("architecture", "published", "first_kernel", "features"),
    [
        ("vgg-16", 138_357_544, 3, 4096),
        ("resnet-50", 25_557_032, 7, 2048),
        ("densenet-121", 7_978_856, 7, 1024),
        ("inception", 6_998_552, 7, 1024),  # Caffe's GoogLeNet
    ],
)
def test_only_the_first_and_the_last_layer_differ_from_the_published_network(
    architecture: str, published: int, first_kernel: int, features: int
) -> None:
    with torch.device("meta"):
        original = Classifier(ClassifierConfig(architecture=architecture, inputs=3, outputs=1000))
        ours = Classifier(ClassifierConfig(architecture=architecture, outputs=4))
    assert parameters(original) == published
    assert parameters(ours) == published + 64 * first_kernel**2 - 996 * (features + 1)


def test_inception_modules_have_the_weights_of_szegedys_table() -> None:
    with torch.device("meta"):
        network = Classifier(ClassifierConfig(architecture="inception", outputs=2))
    modules = [module for module in network.modules() if isinstance(module, InceptionModule)]
    assert [module.outputs for module in modules] == [256, 480, 512, 512, 512, 528, 832, 832, 1024]
    assert (
        sum(weight.numel() for name, weight in modules[0].named_parameters() if "weight" in name)
        // 1024
        == 159
    )


@EVERY
@pytest.mark.parametrize("size", [64, 90, 256])
def test_images_of_any_size_from_64_pixels_give_one_row_per_slice(
    architecture: str, size: int
) -> None:
    assert build(architecture, size=size, outputs=3, width=1 / 32)(images(size=size)).shape == (
        2,
        3,
    )


@EVERY
def test_gradient_reaches_every_parameter(architecture: str) -> None:
    network = build(architecture).train()
    (network(images(4)) - 1).square().mean().backward()
    silent = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert silent == []


@EVERY
def test_slices_of_a_batch_do_not_see_each_other_and_answers_do_not_change(
    architecture: str,
) -> None:
    network = build(architecture).eval()
    together = network(images())
    assert torch.equal(network(images()), together)
    torch.testing.assert_close(
        torch.cat([network(images()[:1]), network(images()[1:])]), together, rtol=1e-3, atol=1e-4
    )


@EVERY
@pytest.mark.parametrize("task", ["curve", "type"])
def test_it_overfits_a_batch(architecture: str, task: str) -> None:
    network = build(architecture, outputs=4 if task == "curve" else 2, width=1 / 16).train()
    curve = torch.tensor([[0.5, -0.5, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, -1.0, 0.0, -1.0]])
    kind = torch.tensor([0, 1, 1])
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(100):
        output = network(images(3))
        loss = (output - curve).abs().mean() if task == "curve" else F.cross_entropy(output, kind)
        if loss < 0.2:  # the mean over the batch would leave 0.50 or 0.64
            return
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    pytest.fail(f"the loss is still {loss.item():.2f}")


@EVERY
def test_saved_and_loaded_it_answers_the_same(architecture: str, tmp_path: Path) -> None:
    network = build(architecture).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    again = build(architecture, seed=1).eval()
    assert not torch.equal(network(images()), again(images()))
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(network(images()), again(images()))


@EVERY
def test_width_shrinks_every_layer(architecture: str) -> None:
    with torch.device("meta"):
        whole, half = (
            Classifier(ClassifierConfig(architecture=architecture, outputs=4, width=width))
            for width in (1.0, 0.5)
        )
    assert math.isclose(parameters(whole) / parameters(half), 4, rel_tol=0.05)


@pytest.mark.parametrize(
    "change",
    [{"architecture": "alexnet"}, {"size": 32}, {"outputs": 0}, {"inputs": 0}, {"width": 0.0}],
    ids=str,
)
def test_a_config_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(change.values())))):
        ClassifierConfig(**({"architecture": "vgg-16", "outputs": 4} | change))


def test_images_it_was_not_built_for_are_refused() -> None:
    with pytest.raises(ValueError, match=r"built for .*\(4, 64, 64\), got \(4, 96, 96\)"):
        build("resnet-50")(images(size=96))
