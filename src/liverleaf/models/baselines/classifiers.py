"""Classifiers of slices: VGG-16, ResNet-50, DenseNet-121 and Inception.

The baselines of MTI-Net's Tables 2 and 3: each gives the curve or the type of a slice.

Their first convolution takes the phases in place of colours and their last layer is linear, to a
curve's values or to the logits of types. Nothing is pretrained. The notable choices:
- MONAI's ResNet-50 strides in the 3x3 convolution of a block, as nearly everyone's does, where He
  et al. strode in the 1x1 before it;
- Inception is GoogLeNet, which the paper of MTI-Net cites, with its local response normalisation
  and without its two auxiliary classifiers;
- VGG-16 and Inception have no batch normalisation, and start from He's initialisation in place of a
  shallower network's weights.

Shape suffixes: B slices, P phases, C channels, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from monai.networks.nets.densenet import DenseNet121
from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn

from liverleaf.data.network_input import InputConfig
from liverleaf.models.baselines.family import check_whole_slices, one_slice, slices
from liverleaf.models.baselines.predict import ClassifierPredictor
from liverleaf.models.baselines.training import ClassifierLoss, ClassifierTrainer
from liverleaf.models.family import ModelFamily, Output, SliceOutput
from liverleaf.models.recipe import Recipe

VGG_16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions of each stage: configuration D of Simonyan and Zisserman."""

INCEPTION = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""Channels of the Inception modules 3a to 5b: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool
projection (Szegedy et al., Table 1)."""


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """What a classifier is made of; the defaults are the published networks.

    Attributes:
        architecture: which one.
        outputs: numbers out: one per phase for a curve, one per type for logits.
        inputs: contrast phases in.
        size: side of the square images in pixels, at least 64.
        width: every layer has this many times the published channels.
    """

    architecture: Literal["vgg-16", "resnet-50", "densenet-121", "inception"]
    outputs: int
    inputs: int = 4
    size: int = 256
    width: float = 1.0

    def __post_init__(self) -> None:
        if self.architecture not in _BUILDERS:
            raise ValueError(
                f"architecture is one of {', '.join(_BUILDERS)}, got {self.architecture!r}"
            )
        if self.size < 64:
            raise ValueError(
                "the classifiers halve their images five times and need 64 pixels, got"
                f" size={self.size}"
            )
        if self.inputs < 1 or self.outputs < 1 or self.width <= 0:
            raise ValueError(
                f"inputs, outputs and width are positive, got {self.inputs}, {self.outputs} and"
                f" {self.width}"
            )

    def channels(self, published: int) -> int:
        """How many channels a layer has that was published with so many."""
        return max(1, round(published * self.width))


class Classifier(nn.Module):
    """One of the four networks; `images_BPYX` to (B, outputs)."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.network = _BUILDERS[config.architecture](config)

    def forward(self, images_BPYX: Tensor) -> Tensor:
        """Values of the curve or logits of the types, shape (B, outputs).

        Raises:
            ValueError: the images are not of the size or number of phases that the network was
                built for.
        """
        expected = (self.config.inputs, self.config.size, self.config.size)
        if images_BPYX.shape[1:] != expected:
            raise ValueError(
                f"this classifier was built for phases, rows and columns {expected}, got"
                f" {tuple(images_BPYX.shape[1:])}"
            )
        return self.network(images_BPYX)


def vgg_16(config: ClassifierConfig) -> nn.Sequential:
    """VGG-16, configuration D.

    The maps are averaged to 7 x 7 before the dense layers, so that images of any size fit.

    Reference: Simonyan and Zisserman, Very deep convolutional networks for large-scale image
    recognition, ICLR 2015.
    """
    layers: list[nn.Module] = []
    inputs = config.inputs
    for stage in VGG_16:
        for outputs in map(config.channels, stage):
            layers += [nn.Conv2d(inputs, outputs, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    layers += [nn.AdaptiveAvgPool2d(7), nn.Flatten()]
    dense = config.channels(4096)
    for wide in (inputs * 7 * 7, dense):
        layers += [nn.Linear(wide, dense), nn.ReLU(inplace=True), nn.Dropout(0.5)]
    return _he_initialised(nn.Sequential(*layers, nn.Linear(dense, config.outputs)))


def resnet_50(config: ClassifierConfig) -> nn.Module:
    """ResNet-50.

    Reference: He et al., Deep residual learning for image recognition, CVPR 2016.
    """
    return ResNet(
        "bottleneck",
        [3, 4, 6, 3],
        [config.channels(published) for published in (64, 128, 256, 512)],
        spatial_dims=2,
        n_input_channels=config.inputs,
        conv1_t_stride=2,
        num_classes=config.outputs,
        bias_downsample=False,
    )


def densenet_121(config: ClassifierConfig) -> nn.Module:
    """DenseNet-121.

    Reference: Huang et al., Densely connected convolutional networks, CVPR 2017.
    """
    return DenseNet121(
        2,
        config.inputs,
        config.outputs,
        init_features=config.channels(64),
        growth_rate=config.channels(32),
    )


def inception(config: ClassifierConfig) -> nn.Sequential:
    """GoogLeNet, the first Inception network, without its auxiliary classifiers.

    Reference: Szegedy et al., Going deeper with convolutions, CVPR 2015.
    """
    stem = config.channels(64)
    first = config.channels(192)
    layers = [
        *_convolution(config.inputs, stem, kernel=7, stride=2),
        _halve(),
        nn.LocalResponseNorm(5),
        *_convolution(stem, stem, kernel=1),
        *_convolution(stem, first, kernel=3),
        nn.LocalResponseNorm(5),
    ]
    outputs = first
    for stage in INCEPTION:
        layers.append(_halve())
        for published in stage:
            module = InceptionModule(outputs, *map(config.channels, published))
            layers.append(module)
            outputs = module.outputs
    layers += [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.4),
        nn.Linear(outputs, config.outputs),
    ]
    return _he_initialised(nn.Sequential(*layers))


class InceptionModule(nn.Module):
    """Four branches over the same features, joined along the channels; x_BCYX keeps its Y and X.

    Args:
        inputs: channels in.
        one, three_reduce, three, five_reduce, five, pooled: channels of the branches, named as in
            Table 1 of Szegedy et al.
    """

    def __init__(
        self,
        inputs: int,
        one: int,
        three_reduce: int,
        three: int,
        five_reduce: int,
        five: int,
        pooled: int,
    ) -> None:
        super().__init__()
        self.outputs = one + three + five + pooled
        self.branches = nn.ModuleList(
            nn.Sequential(*layers)
            for layers in (
                _convolution(inputs, one, kernel=1),
                (
                    *_convolution(inputs, three_reduce, kernel=1),
                    *_convolution(three_reduce, three, kernel=3),
                ),
                (
                    *_convolution(inputs, five_reduce, kernel=1),
                    *_convolution(five_reduce, five, kernel=5),
                ),
                (nn.MaxPool2d(3, stride=1, padding=1), *_convolution(inputs, pooled, kernel=1)),
            )
        )

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """All branches' features, (B, outputs, Y, X)."""
        return torch.cat([branch(x_BCYX) for branch in self.branches], dim=1)


def _convolution(
    inputs: int, outputs: int, *, kernel: int, stride: int = 1
) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2), nn.ReLU(
        inplace=True
    )


def _halve() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _he_initialised(network: nn.Sequential) -> nn.Sequential:
    """The network with He's initialisation.

    Without batch normalisation, PyTorch's own shrinks the signal with every layer until deep
    networks learn nothing.

    Reference: He et al., Delving deep into rectifiers, ICCV 2015.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


_BUILDERS = {
    "vgg-16": vgg_16,
    "resnet-50": resnet_50,
    "densenet-121": densenet_121,
    "inception": inception,
}


def outputs(_config: ClassifierConfig, loss: ClassifierLoss) -> frozenset[Output]:
    """The one thing that it learned."""
    return frozenset({Output.CURVE if loss.curve else Output.LESION_TYPE})


def defaults(wanted: InputConfig, loss: ClassifierLoss) -> Mapping[str, Any]:
    """Sizes of the network that follow from its input and from what it learns."""
    values = wanted.channels if loss.curve else wanted.types
    return {"inputs": len(wanted.channels), "size": wanted.size, "outputs": len(values)}


def check(recipe: Recipe) -> None:
    """Refuse a recipe that does not say what is learned, or does not show whole slices.

    Raises:
        ValueError: it does not.
    """
    if bool(recipe.loss.curve) == bool(recipe.loss.type):
        raise ValueError(
            "a classifier learns the curve or the type: set loss.type = 0 or loss.curve = 0"
        )
    check_whole_slices(recipe)


def infer_slices(
    network: nn.Module, images_BPYX: Tensor, _present_BP: Tensor, _pixel_mm: float
) -> SliceOutput:
    """The same values as curve and as logits: `ModelCard.outputs` says which of them they are."""
    values_BA = network(images_BPYX).float()
    return SliceOutput(curve_BP=values_BA, type_logits_BT=values_BA)


FAMILY = ModelFamily(
    name="classifier",
    config=ClassifierConfig,
    build=Classifier,
    batches=slices,
    trainer=ClassifierTrainer,
    predictor=ClassifierPredictor,
    outputs=outputs,
    loss=ClassifierLoss,
    defaults=defaults,
    check=check,
    infer_slices=infer_slices,
    example_input=one_slice,
)
