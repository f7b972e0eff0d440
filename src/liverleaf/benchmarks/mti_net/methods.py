"""The methods of MTI-Net's five tables: their recipes at each scale, and what was published.

Published: Xiao et al., arXiv:2511.20793, 2025, Tables 1 to 4 and Figure 4, on private data of 238
patients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from liverleaf.data.augmentation import SamplingConfig
from liverleaf.data.network_input import InputConfig
from liverleaf.models.baselines.training import ClassifierLoss
from liverleaf.models.family import NoLossWeights
from liverleaf.models.mti_net.training import LossWeights
from liverleaf.models.recipe import Recipe
from liverleaf.models.registry import family, network_config

OURS = "MTI-Net"
IMPROVED = "liverleaf-net"
LIVERLEAF_NET: Mapping[str, Any] = {
    "subtraction": True,
    "convs": 2,
    "skips": True,
    "heads": "lesion",
    "residual_curve": True,
    "head_width": 32,
}
"""What liverleaf-net changes of MTI-Net's `network`; beside these, Dice and its learning rates."""


@dataclass(frozen=True)
class Scale:
    """How much is computed; the same for every row of a table.

    Attributes:
        size: side of the slices in pixels.
        width: every network has this share of its published channels.
        folds: how many of the five folds are trained and tested.
        batch: slices per step.
        steps: training steps, None for 100 epochs as published.
        learning_rate: of Adam.
        lesion_share: share of the slices that show a lesion; 0 draws every slice alike, as
            published.
        augment: whether slices are moved, scaled and made noisy.
        precision: of training, "32-true" or "bf16-mixed".
    """

    size: int
    width: float
    folds: int
    batch: int
    steps: int | None
    learning_rate: float
    lesion_share: float
    augment: bool
    precision: str = "32-true"


SCALES: Mapping[str, Scale] = {
    "smoke": Scale(
        size=64,
        width=1 / 16,
        folds=2,
        batch=2,
        steps=4,
        learning_rate=1e-3,
        lesion_share=0.6,
        augment=True,
    ),
    "cpu": Scale(
        size=96,
        width=1 / 4,
        folds=3,
        batch=8,
        steps=1000,
        learning_rate=1e-3,
        lesion_share=0.6,
        augment=True,
    ),
    "paper": Scale(
        size=256,
        width=1.0,
        folds=5,
        batch=1,
        steps=None,
        learning_rate=1e-4,
        lesion_share=0.0,
        augment=False,
    ),
}


MakeRecipe = Callable[[Scale, InputConfig], Recipe]


class Published(NamedTuple):
    """A published value and its standard deviation, None where none was given."""

    mean: float
    sd: float | None = None


@dataclass(frozen=True)
class Method:
    """One row.

    Attributes:
        name: as the tables print it.
        recipe: of this method at a scale.
        published: by metric.
    """

    name: str
    recipe: MakeRecipe
    published: Mapping[str, Published]


def _recipe(
    name: str, kind: str, network: Mapping[str, Any], scale: Scale, view: InputConfig, loss: Any
) -> Recipe:
    return Recipe(
        name=name,
        family=kind,
        network=network_config(kind, network),
        input=view,
        sampling=SamplingConfig(
            batch=scale.batch,
            lesion_share=scale.lesion_share,
            liver_share=0.2 if scale.lesion_share else 0.0,
            augment=scale.augment,
            all_phases=1.0,
            one_phase=0.0,
            wrong_normalisation=0.0,
        ),
        loss=loss,
        optimisation=family(kind).optimisation(
            steps=scale.steps,
            learning_rate=scale.learning_rate,
            cosine=bool(scale.steps),
            warmup=min(50, (scale.steps or 0) // 10),
            precision=scale.precision,
        ),
    )


def mti_net(loss: LossWeights | None = None, **changes: Any) -> MakeRecipe:
    """MTI-Net with the published heads and with parts changed.

    Attention keeps its four heads at every size.
    """

    def recipe(scale: Scale, view: InputConfig) -> Recipe:
        widths = tuple(max(4, round(width * scale.width)) for width in (64, 128, 256, 512))
        config = {
            "phases": len(view.phases),
            "types": len(view.types),
            "widths": widths,
            "size": scale.size,
            "head_width": (scale.size // 16) ** 2 // 4,
            **changes,
        }
        return _recipe("mti-net", "mti-net", config, scale, view, loss or LossWeights())

    return recipe


def liverleaf_net(loss: LossWeights | None = None, **changes: Any) -> MakeRecipe:
    """Our MTI-Net, with parts changed.

    It has subtractions, skips, two convolutions a block, heads on lesions that correct a measured
    curve, and Dice in its loss.
    """
    return at_rates(mti_net(loss or LossWeights(dice=1.0), **{**LIVERLEAF_NET, **changes}), 2, 0.5)


def at_rates(make: MakeRecipe, body: float, heads: float) -> MakeRecipe:
    """The same at these multiples of the learning rate, for the heads and for everything else."""

    def recipe(scale: Scale, view: InputConfig) -> Recipe:
        made = make(scale, view)
        rate = made.optimisation.learning_rate
        return replace(
            made,
            optimisation=replace(
                made.optimisation, learning_rate=body * rate, head_rate=heads * rate
            ),
        )

    return recipe


def segmenter(name: str, **fixed: Any) -> MakeRecipe:
    """A segmentation baseline.

    Args:
        name: of the network.
        fixed: published numbers of channels, which are scaled, and functions of the scale.
    """

    def recipe(scale: Scale, view: InputConfig) -> Recipe:
        config = {
            key: value(scale) if callable(value) else _narrowed(value, scale.width)
            for key, value in fixed.items()
        }
        config = {"phases": len(view.channels), "size": scale.size, **config}
        return _recipe(name, name, config, scale, view, NoLossWeights())

    return recipe


def classifier(architecture: str, *, learns: str) -> MakeRecipe:
    """A classifier that learns "curve" or "type"."""

    def recipe(scale: Scale, view: InputConfig) -> Recipe:
        outputs = len(view.phases if learns == "curve" else view.types)
        config = {
            "architecture": architecture,
            "inputs": len(view.phases),
            "outputs": outputs,
            "size": scale.size,
            "width": scale.width,
        }
        loss = ClassifierLoss(curve=float(learns == "curve"), type=float(learns == "type"))
        return _recipe(f"{architecture}-{learns}", "classifier", config, scale, view, loss)

    return recipe


def _narrowed(channels: int | tuple[int, ...], width: float) -> int | tuple[int, ...]:
    """The share of some channels, in eights, at least eight."""
    if isinstance(channels, int):
        return max(8, 8 * round(channels * width / 8))
    return tuple(max(8, 8 * round(c * width / 8)) for c in channels)


def _two(dsc: float, dsc_sd: float, iou: float, iou_sd: float) -> dict[str, Published]:
    return {"dsc": Published(dsc, dsc_sd), "iou": Published(iou, iou_sd)}


def _three(
    dsc: float, dsc_sd: float, iou: float, iou_sd: float, mae: float, mae_sd: float
) -> dict[str, Published]:
    return {**_two(dsc, dsc_sd, iou, iou_sd), "mae": Published(mae, mae_sd)}


def _methods() -> dict[str, Method]:
    def with_window(scale: Scale) -> int:
        return scale.size // 32  # published: 7 at 224

    return {
        method.name: method
        for method in (
            Method(
                "UNet",
                segmenter("unet", widths=(64, 128, 256, 512, 1024)),
                _two(77.34, 3.04, 58.79, 8.45),
            ),
            Method(
                "ResUNet++",
                segmenter("resunet++", widths=(16, 32, 64, 128, 256)),
                _two(78.85, 2.91, 60.65, 6.98),
            ),
            Method(
                "TransUNet",
                segmenter(
                    "transunet",
                    stem_width=64,
                    norm_groups=lambda scale: max(8, round(32 * scale.width)),
                    width=lambda scale: 48 * round(16 * scale.width),
                    mlp_width=3072,
                    neck=512,
                    decoder_widths=(256, 128, 64, 16),
                ),
                _two(80.27, 2.73, 64.76, 6.42),
            ),
            Method(
                "Swin-UNet",
                segmenter(
                    "swin-unet",
                    width=lambda scale: 24 * max(1, round(4 * scale.width)),
                    window=with_window,
                ),
                {},
            ),
            Method(
                "EI-DDPM",
                at_rates(
                    segmenter(
                        "ei-ddpm",
                        widths=(32, 64, 128, 256),
                        norm_groups=lambda scale: max(8, round(32 * scale.width)),
                        head_width=lambda scale: max(8, round(64 * scale.width)),
                        residual_blocks=lambda scale: 2 if scale.width == 1 else 1,
                        drawing_steps=lambda scale: 10 if scale.width == 1 else 3,
                    ),
                    body=1,
                    heads=30,  # prototypes, their reach and their weight are numbers around 1
                ),
                _two(81.86, 2.12, 68.12, 7.37),
            ),
            Method(
                "MD-FF",
                segmenter("md-ff", widths=(32, 64, 128, 256, 512)),
                _two(82.20, 4.28, 72.06, 6.95),
            ),
            *(
                Method(
                    f"{name}, {learns}",
                    classifier(architecture, learns=learns),
                    {"mae": published} if learns == "curve" else {},
                )
                for architecture, name, published in (
                    ("vgg-16", "VGG-16", Published(210.28, 43.32)),
                    ("resnet-50", "ResNet-50", Published(184.27, 37.35)),
                    ("densenet-121", "DenseNet-121", Published(167.23, 48.67)),
                    ("inception", "Inception", Published(115.67, 45.58)),
                )
                for learns in ("curve", "type")
            ),
            Method(
                OURS,
                mti_net(),
                {
                    **_two(85.23, 2.04, 75.48, 5.37),
                    "mae": Published(44.35, 32.93),
                    "accuracy": Published(92.8),
                },
            ),
            Method(
                "no MdIEF", mti_net(fusion="sum"), _three(81.67, 2.78, 71.29, 6.23, 65.25, 32.76)
            ),
            Method(
                "no spectral",
                mti_net(spectral=False),
                _three(82.68, 1.89, 72.65, 5.21, 59.36, 36.25),
            ),
            Method(
                "no spatial", mti_net(spatial=False), _three(83.85, 2.65, 73.57, 4.78, 53.26, 37.89)
            ),
            Method(
                "no TIM",
                mti_net(LossWeights(tim=0)),
                _three(83.66, 2.29, 73.78, 5.39, 51.29, 39.65),
            ),
            Method(
                "no TDD",
                mti_net(LossWeights(adversarial=0)),
                _three(82.40, 2.58, 72.64, 6.28, 49.27, 28.46),
            ),
            Method(
                "seg only",
                mti_net(LossWeights(curve=0, type=0, tim=0, adversarial=0)),
                {"dsc": Published(85.21)},
            ),
            Method(
                "seg + reg",
                mti_net(LossWeights(type=0, adversarial=0)),
                {"dsc": Published(86.34), "mae": Published(48.72)},
            ),
            Method(
                "seg + cls",
                mti_net(LossWeights(curve=0, tim=0, adversarial=0)),
                {"dsc": Published(86.02), "accuracy": Published(90.3)},
            ),
            Method(IMPROVED, liverleaf_net(), {}),
            Method(f"{IMPROVED}, no subtraction", liverleaf_net(subtraction=False), {}),
            Method(f"{IMPROVED}, no skips", liverleaf_net(skips=False), {}),
            Method(f"{IMPROVED}, one convolution", liverleaf_net(convs=1), {}),
            Method(f"{IMPROVED}, no Dice", liverleaf_net(LossWeights()), {}),
            Method(f"{IMPROVED}, curve told anew", liverleaf_net(residual_curve=False), {}),
            Method(
                f"{IMPROVED}, heads on slices",
                at_rates(
                    mti_net(LossWeights(dice=1.0), subtraction=True, convs=2, skips=True), 2, 0.5
                ),
                {},
            ),
            Method(
                f"{IMPROVED}, rates of the others",
                mti_net(LossWeights(dice=1.0), **LIVERLEAF_NET),
                {},
            ),
        )
    }


METHODS = _methods()
"""Every row by its name. Without both curve and type there is no discriminator, which judges their
pair; without the curve, no TIM."""
