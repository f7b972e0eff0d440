"""What each of MTI-Net's tables compares, and by which metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from liverleaf.benchmarks.mti_net.methods import IMPROVED, METHODS, OURS

TRAINING_MEAN = "training mean"


@dataclass(frozen=True)
class Table:
    """One table of the paper.

    Attributes:
        title: what it compares.
        metrics: which metrics it has, the most telling first.
        rows: names of its methods.
        ours: the row that the others are tested against.
        training_mean: whether a row is added of the training folds' mean curve and most frequent
            type.
        ablation: whether its rows are `ours` without something.
    """

    title: str
    metrics: tuple[str, ...]
    rows: tuple[str, ...]
    ours: str = OURS
    training_mean: bool = False
    ablation: bool = False


_SEGMENTERS = ("UNet", "ResUNet++", "TransUNet", "Swin-UNet", "EI-DDPM", "MD-FF")
_CURVES, _TYPES = (
    tuple(f"{name}, {learns}" for name in ("VGG-16", "ResNet-50", "DenseNet-121", "Inception"))
    for learns in ("curve", "type")
)
_OF_IMPROVED = tuple(name for name in METHODS if name.startswith(f"{IMPROVED},"))
TABLES: Mapping[str, Table] = {
    "mti-net-table1": Table(
        "MTI-Net's Table 1: segmentation", ("dsc", "iou"), (*_SEGMENTERS, OURS)
    ),
    "mti-net-table2": Table(
        "MTI-Net's Table 2: regression of the enhancement curve",
        ("mae",),
        (*_CURVES, OURS),
        training_mean=True,
    ),
    "mti-net-figure4": Table(
        "MTI-Net's Figure 4: classification", ("accuracy",), (*_TYPES, OURS), training_mean=True
    ),
    "mti-net-table3": Table(
        "MTI-Net's Table 3: ablation",
        ("dsc", "iou", "mae"),
        ("no MdIEF", "no spectral", "no spatial", "no TIM", "no TDD", OURS),
        ablation=True,
    ),
    "mti-net-table4": Table(
        "MTI-Net's Table 4: synergy of the tasks",
        ("dsc", "mae", "accuracy"),
        ("seg only", "seg + reg", "seg + cls", OURS),
        ablation=True,
    ),
    "liverleaf-net": Table(
        "liverleaf-net beside everyone",
        ("dsc", "mae", "accuracy"),
        (*_SEGMENTERS, *_CURVES, *_TYPES, OURS, IMPROVED),
        ours=IMPROVED,
        training_mean=True,
    ),
    "liverleaf-net-ablation": Table(
        "liverleaf-net without each of its changes",
        ("dsc", "mae", "accuracy"),
        (*_OF_IMPROVED, IMPROVED),
        ours=IMPROVED,
        ablation=True,
    ),
}
