"""Noise and texture of real CT studies beside phantom people in the same geometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from liverleaf.benchmarks.phantom.patch_features import (
    BODY_FEATURES,
    LIVER_FEATURES,
    Patches,
    patches,
)
from liverleaf.benchmarks.phantom.texture import (
    FEWEST_PATCHES,
    MEASURES,
    PATCH,
    Image,
    homogeneous_patches,
    texture,
)
from liverleaf.benchmarks.result import interval, markdown_table
from liverleaf.evaluate.stats import bootstrap
from liverleaf.ingest.reader import read_study
from liverleaf.phantom.generator import Phantom
from liverleaf.study import InputError, Modality, Phase
from liverleaf.system.progress import Progress, silent

SLAB_MM = 120.0
"""Length of body that the phantom is simulated over, around the liver."""
BLOCKS, FOLDS = 5, 5


class TextureResult(NamedTuple):
    """What `compare` finds: a JSON-able record and the noise power spectra."""

    record: dict[str, Any]
    figure: Figure


def compare(
    real: Sequence[Path],
    *,
    people: int,
    seed: int,
    progress: Progress = silent,
) -> TextureResult:
    """Simulate people in the geometry of each real CT and compare noise, texture and patches.

    Phase: portal venous.

    A classifier (logistic regression on the features of `body_features` and `liver_features`) is
    told to separate the patches of the real image from those of all phantoms, cross-validated by
    phantom case and by block of real slices. One patient cannot show how people differ, so an AUC
    above 0.5 is expected even of a perfect phantom; the same classifier is therefore also given
    each phantom case in turn as if it were the real one, against the others.

    Args:
        real: what `read_study` reads; the reference phase of each, with pixels fine enough that
            homogeneous patches fit into its liver.
        people: phantom cases for each, 6 or more.
        seed: of the phantoms and of the bootstrap.
        progress: told who is simulated.

    Raises:
        ValueError: `people` is less than 6, or `real` is empty.
        InputError: an image cannot be read, is no CT, or holds too few homogeneous patches.
    """
    if people < FOLDS + 1 or not real:
        raise ValueError(
            f"a comparison needs {FOLDS + 1} people and a real image, got people={people} and"
            f" {len(real)} images"
        )
    images, spectra = [], []
    for number, path in enumerate(real):
        record, nps = _against_phantoms(
            path, people, np.random.SeedSequence((seed, number)), progress
        )
        images.append(record)
        spectra.append(nps)
    return TextureResult(
        {"people": people, "seed": seed, "images": images}, _figure(images, spectra)
    )


def section(record: Mapping[str, Any]) -> str:
    """The section on texture of the page on the phantom's realism, from the record of `compare`."""
    lines = [
        "## Noise and texture of CT",
        "",
        (
            f"Each real image is compared with {record['people']} phantom people simulated at its"
            f" voxel size, seed {record['seed']}, on {PATCH} x {PATCH}-pixel patches of even,"
            " liver-like tissue that one rule picks in both. Percentile: the share of phantom"
            " people below the real value."
        ),
    ]
    for image in record["images"]:
        size = " x ".join(f"{value:.3g}" for value in image["spacing_mm"])
        lines += [
            "",
            f"### {image['name']} ({size} mm)",
            "",
            *_measures_table(image["measures"]),
            "",
            *_classifier_table(image["classifier"]),
        ]
    lines += [
        "",
        (
            "An AUC of 0.5 would mean that nobody can tell them apart. Each comparison has one real"
            " patient, so the classifier may learn that patient and that scanner instead of what is"
            " artificial: the AUC among phantoms says how far one case stands out from its own"
            " kind. Intervals: 95 % bootstrap over phantom cases and blocks of real slices."
        ),
    ]
    return "\n".join(lines) + "\n"


def _measures_table(measures: Mapping[str, Any]) -> list[str]:
    rows = (
        (
            MEASURES[name],
            f"{row['real']:.3g}",
            f"{row['p50']:.3g} ({row['p5']:.3g} to {row['p95']:.3g})",
            f"{row['percentile']:.0f}",
        )
        for name, row in measures.items()
    )
    return markdown_table(("measure", "real", "phantom median (5 to 95 %)", "percentile"), rows)


def _classifier_table(classifier: Mapping[str, Any]) -> list[str]:
    header = (
        "patches",
        "AUC, real against phantom",
        "AUC, one phantom case against the others",
        "what separates most (AUC alone)",
    )
    rows = []
    for kind, each in classifier.items():
        others = each["among_phantoms"]
        best = ", ".join(f"{row['feature']} ({row['auc']:.2f})" for row in each["features"][:5])
        among = f"{others['p50']:.3f} ({others['p5']:.3f} to {others['p95']:.3f})"
        rows.append((kind, interval(each["auc"], 3), among, best))
    return markdown_table(header, rows, left=(0, 3))


def _against_phantoms(
    path: Path,
    people: int,
    seed: np.random.SeedSequence,
    progress: Progress,
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """The record of one real image, and the spectra of it (first) and of its phantom people."""
    study = read_study(path)
    if study.modality is not Modality.CT:
        raise InputError(f"{path.name} is {study.modality}; noise and texture are compared for CT")
    height, row, column = (float(step) for step in study.grid.spacing)
    image = Image(study.grid.array, (height, row, column))
    slices = min(image.hu.shape[0], max(1, round(SLAB_MM / height)))
    phantom = _phantom(
        (slices, *image.hu.shape[1:]), image.spacing_mm, int(seed.generate_state(1)[0])
    )
    textures, found = [texture(image)], [patches(image)]
    index = 0
    # a slab that misses the liver, or a liver too fat to look like one, is passed over
    while len(textures) <= people:
        progress(f"simulating people for {path.name}", len(textures) - 1, people)
        drawn = Image(phantom[index][0].grid.array, image.spacing_mm)
        index += 1
        if len(homogeneous_patches(drawn)) >= FEWEST_PATCHES:
            textures.append(texture(drawn))
            found.append(patches(drawn))
        elif index > 3 * people:
            raise InputError(
                f"too few phantom people have homogeneous liver at the voxel size of {path.name}"
            )
    rng = np.random.default_rng(seed.spawn(1)[0])
    frequency = np.arange(PATCH // 2 + 1) / (PATCH * max(image.spacing_mm[1:]))
    spectra = np.stack([each.nps for each in textures])
    record = {
        "name": f"{path.resolve().parent.name}/{path.name}",
        "spacing_mm": list(image.spacing_mm),
        "patches": textures[0].patches,
        "passed_over": index - people,
        "measures": {name: _among([each.measures[name] for each in textures]) for name in MEASURES},
        "frequency_per_mm": frequency.tolist(),
        "nps_hu2_mm2": spectra.round(4).tolist(),
        "classifier": {
            kind: _separate([each[kind] for each in found], names, rng)
            for kind, names in (("body", BODY_FEATURES), ("liver", LIVER_FEATURES))
        },
    }
    return record, spectra


def _phantom(shape: tuple[int, ...], spacing_mm: tuple[float, float, float], seed: int) -> Phantom:
    """People of the phantom's own protocols, portal venous, on a grid like the real image's."""
    missing: dict[Phase, float] = {phase: 1.0 for phase in Phase if phase is not Phase.PORTAL}
    return Phantom(
        "ct", seed, shape=(shape[0], shape[1], shape[2]), spacing_mm=spacing_mm, missing=missing
    )


def _among(values: Sequence[float]) -> dict[str, float]:
    """Where the first value stands among the others."""
    p5, p50, p95 = np.nanpercentile(values[1:], [5, 50, 95])
    below = float(
        np.mean([100 * (value < values[0]) + 50 * (value == values[0]) for value in values[1:]])
    )
    return {
        "real": float(values[0]),
        "p5": float(p5),
        "p50": float(p50),
        "p95": float(p95),
        "percentile": below,
    }


def _separate(
    images: Sequence[Patches], names: Sequence[str], rng: np.random.Generator
) -> dict[str, Any]:
    """Tell the first image's patches from the others', then each other's from the rest."""
    features, real, groups, scores = _cross_validated(images)
    auc = bootstrap(
        lambda cases: _auc(real[cases], scores[cases]), groups.tolist(), rng=rng, resamples=500
    )
    among = [
        _auc(*_cross_validated([images[i], *images[1:i], *images[i + 1 :]])[1::2])
        for i in range(1, len(images))
    ]
    p5, p50, p95 = np.percentile([value for value in among if value is not None], [5, 50, 95])
    medians = np.stack([np.median(each.features, axis=0) for each in images])
    rows: list[dict[str, Any]] = [
        {
            "feature": name,
            "auc": float(_auc(real, features[:, column]) or 0.5),
            **_among(medians[:, column].tolist()),
        }
        for column, name in enumerate(names)
    ]
    rows.sort(key=lambda row: -abs(row["auc"] - 0.5))
    return {
        "auc": vars(auc),
        "patches": [int(real.sum()), int((~real).sum())],
        "among_phantoms": {"p5": float(p5), "p50": float(p50), "p95": float(p95)},
        "features": rows,
    }


def _cross_validated(
    images: Sequence[Patches],
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.intp], NDArray[np.float64]]:
    """Scores of patches by a classifier that has not seen their group.

    Returns:
        Features, whether the patch is of the first image, the group it was left out with, and the
            score it got then.
    """
    features = np.concatenate([each.features for each in images])
    real = np.repeat([True] + [False] * (len(images) - 1), [len(each.slices) for each in images])
    blocks = np.array_split(np.unique(images[0].slices), BLOCKS)
    block_of = {z: block for block, slices in enumerate(blocks) for z in slices}
    own = [np.full(len(each.slices), BLOCKS + number) for number, each in enumerate(images[1:])]
    groups = np.concatenate([np.array([block_of[z] for z in images[0].slices]), *own])
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)
    )
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    scores = cross_val_predict(
        model, features, real, groups=groups, cv=folds, method="decision_function"
    )
    return features, real, groups, scores


def _auc(real: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    """Area under the ROC curve; None with one class."""
    return float(roc_auc_score(real, scores)) if real.any() and not real.all() else None


def _figure(images: Sequence[Mapping[str, Any]], spectra: Sequence[NDArray[np.float64]]) -> Figure:
    """Noise power of real images on the band of their phantom people, plain and with equal area."""
    figure = Figure(figsize=(9.5, 3.6 * len(images)), dpi=130, layout="constrained")
    axes = figure.subplots(len(images), 2, squeeze=False)
    for row, (image, nps) in enumerate(zip(images, spectra, strict=True)):
        frequency = np.array(image["frequency_per_mm"][1:])
        area = (
            2
            * np.pi
            * (frequency[1] - frequency[0])
            * (nps[:, 1:] * frequency).sum(axis=1, keepdims=True)
        )
        for panel, curves, unit in zip(
            axes[row], (nps[:, 1:], nps[:, 1:] / area), ("HU² mm²", "mm², equal area"), strict=True
        ):
            low, middle, high = np.percentile(curves[1:], [5, 50, 95], axis=0)
            panel.fill_between(
                frequency,
                low,
                high,
                color="#bcd9dd",
                label="phantom people, 5 to 95 %",
                linewidth=0,
            )
            panel.plot(
                frequency, middle, color="#1f7f8c", linewidth=1.2, label="phantom people, median"
            )
            panel.plot(
                frequency, curves[0], ".-", color="#26323a", markersize=4, linewidth=1, label="real"
            )
            panel.set_ylabel(f"noise power ({unit})")
            panel.set_ylim(bottom=0)
            panel.grid(alpha=0.2)
        axes[row, 0].set_title(image["name"], fontsize=9)
    figure.supxlabel("spatial frequency in plane (/mm)", fontsize=10)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure
