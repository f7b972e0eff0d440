"""Noise and texture of phantoms beside those of real CT in the same geometry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.stats import kurtosis, skew
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from liverleaf.benchmarks.phantom.texture import (
    FEWEST_PATCHES,
    MEASURES,
    PATCH,
    Image,
    corners,
    cut,
    detrended,
    grey_levels,
    homogeneous_patches,
    noise_power,
    radial,
    texture,
)
from liverleaf.evaluate.stats import bootstrap
from liverleaf.ingest.reader import read_study
from liverleaf.phantom.generator import Phantom
from liverleaf.study import InputError, Modality, Phase

SLAB_MM = 120.0
"""Length of body that the phantom is simulated over, around the liver."""
BODY_PATCH_MM = 64.0
BODY_HU, BODY_SHARE = -200.0, 0.9
"""A body patch has this share of its pixels above this HU: no air, no lung."""
WINDOW_HU = (-150.0, 250.0)
HISTOGRAM_HU = (-150, -75, 0, 25, 50, 75, 100, 125, 150, 200, 250)
BANDS_PER_MM = (0.05, 0.1, 0.2, 0.3, 0.4)
_SHARES = [
    f"share of power {a:g} to {b:g} /mm"
    for a, b in zip((0.0, *BANDS_PER_MM), (*BANDS_PER_MM, np.inf), strict=True)
]
_NEIGHBOURS = ["co-occurrence contrast", "co-occurrence homogeneity"]
BODY_FEATURES = (
    *[f"share of pixels {a} to {b} HU" for a, b in pairwise(HISTOGRAM_HU)],
    *[f"gradient, percentile {p}" for p in (50, 90, 99)],
    *[f"local SD, percentile {p}" for p in (10, 50, 90)],
    *_SHARES,
    *_NEIGHBOURS,
)
LIVER_FEATURES = ("SD", *_SHARES, "direction", "skewness", "kurtosis", *_NEIGHBOURS)
BLOCKS, FOLDS = 5, 5


class Patches(NamedTuple):
    """Features of the patches of one image, (patches, features), and the slice of each."""

    features: NDArray[np.float64]
    slices: NDArray[np.intp]


class TextureResult(NamedTuple):
    """What `compare` finds: a JSON-able record and the noise power spectra."""

    record: dict[str, Any]
    figure: Figure


def compare(
    real: Sequence[Path],
    *,
    subjects: int,
    seed: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> TextureResult:
    """Compare noise, texture and patches of real CT with those of simulated subjects.

    The subjects are simulated in the geometry of each real CT, portal venous.

    A classifier (logistic regression on the features of `body_features` and `liver_features`) is
    told to separate the patches of the real image from those of all phantoms, cross-validated by
    phantom case and by block of real slices. One patient cannot show how subjects differ, so an AUC
    above 0.5 is expected even of a perfect phantom; the same classifier is therefore also given
    each phantom case in turn as if it were the real one, against the others.

    Args:
        real: what `read_study` reads; the reference phase of each, with pixels fine enough that
            homogeneous patches fit into its liver.
        subjects: phantom cases for each, 6 or more.
        seed: of the phantoms and of the bootstrap.
        progress: called with (what, done, total).

    Raises:
        ValueError: `subjects` is less than 6, or `real` is empty.
        InputError: an image cannot be read, is no CT, or holds too few homogeneous patches.
    """
    if subjects < FOLDS + 1 or not real:
        raise ValueError(
            f"a comparison needs {FOLDS + 1} subjects and a real image, got subjects={subjects} and"
            f" {len(real)} images"
        )
    images, spectra = [], []
    for number, path in enumerate(real):
        record, nps = _against_phantoms(
            path, subjects, np.random.SeedSequence((seed, number)), progress
        )
        images.append(record)
        spectra.append(nps)
    return TextureResult(
        {"people": subjects, "seed": seed, "images": images}, _figure(images, spectra)
    )


def markdown(record: Mapping[str, Any]) -> str:
    """The section on texture of the page on the phantom's realism, from the record of `compare`."""
    lines = [
        "## Noise and texture of CT",
        "",
        (
            f"Each real image is compared with {record['people']} phantom subjects simulated at its"
            f" voxel size, seed {record['seed']}, on {PATCH} x {PATCH}-pixel patches of even,"
            " liver-like tissue that one rule picks in both. Percentile: the share of phantom"
            " subjects below the real value."
        ),
    ]
    for image in record["images"]:
        size = " x ".join(f"{value:.3g}" for value in image["spacing_mm"])
        lines += [
            "",
            f"### {image['name']} ({size} mm)",
            "",
            "| measure | real | phantom median (5 to 95 %) | percentile |",
            "|---|---:|---:|---:|",
        ]
        for name, row in image["measures"].items():
            among = f"{row['p50']:.3g} ({row['p5']:.3g} to {row['p95']:.3g})"
            lines.append(
                f"| {MEASURES[name]} | {row['real']:.3g} | {among} | {row['percentile']:.0f} |"
            )
        lines += [
            "",
            (
                "| patches | AUC, real against phantom | AUC, one phantom case against the others |"
                " what separates most (AUC alone) |"
            ),
            "|---|---:|---:|---|",
        ]
        for kind, each in image["classifier"].items():
            auc, others = each["auc"], each["among_phantoms"]
            best = ", ".join(f"{row['feature']} ({row['auc']:.2f})" for row in each["features"][:5])
            cells = (
                f"{auc['mean']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})",
                f"{others['p50']:.3f} ({others['p5']:.3f} to {others['p95']:.3f})",
            )
            lines.append(f"| {kind} | {cells[0]} | {cells[1]} | {best} |")
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


def _against_phantoms(
    path: Path,
    subjects: int,
    seed: np.random.SeedSequence,
    progress: Callable[[str, int, int], None] | None,
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """The record of one real image, and the spectra of it (first) and of its phantom subjects."""
    study = read_study(path)
    if study.modality is not Modality.CT:
        raise InputError(f"{path.name} is {study.modality}; noise and texture are compared for CT")
    height, row, column = (float(step) for step in study.grid.spacing)
    image = Image(study.grid.array, (height, row, column))
    slices = min(image.hu.shape[0], max(1, round(SLAB_MM / height)))
    phantom = _phantom(
        (slices, *image.hu.shape[1:]), image.spacing_mm, int(seed.generate_state(1)[0])
    )
    textures, patches = [texture(image)], [_patches(image)]
    index = 0
    # a slab that misses the liver, or a liver too fat to look like one, is passed over
    while len(textures) <= subjects:
        if progress:
            progress(f"simulating subjects for {path.name}", len(textures) - 1, subjects)
        drawn = Image(phantom[index][0].grid.array, image.spacing_mm)
        index += 1
        if len(homogeneous_patches(drawn)) >= FEWEST_PATCHES:
            textures.append(texture(drawn))
            patches.append(_patches(drawn))
        elif index > 3 * subjects:
            raise InputError(
                f"too few phantom subjects have homogeneous liver at the voxel size of {path.name}"
            )
    rng = np.random.default_rng(seed.spawn(1)[0])
    frequency = np.arange(PATCH // 2 + 1) / (PATCH * max(image.spacing_mm[1:]))
    spectra = np.stack([each.nps for each in textures])
    record = {
        "name": f"{path.resolve().parent.name}/{path.name}",
        "spacing_mm": list(image.spacing_mm),
        "patches": textures[0].patches,
        "passed_over": index - subjects,
        "measures": {name: _among([each.measures[name] for each in textures]) for name in MEASURES},
        "frequency_per_mm": frequency.tolist(),
        "nps_hu2_mm2": spectra.round(4).tolist(),
        "classifier": {
            kind: _separate([each[kind] for each in patches], names, rng)
            for kind, names in (("body", BODY_FEATURES), ("liver", LIVER_FEATURES))
        },
    }
    return record, spectra


def _phantom(shape: tuple[int, ...], spacing_mm: tuple[float, float, float], seed: int) -> Phantom:
    """Phantoms of the usual protocols, portal venous only, on the real image's grid."""
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


def body_patches(image: Image, slices: Sequence[int]) -> NDArray[np.intp]:
    """First corners (z, y, x) of disjoint square patches of `BODY_PATCH_MM` in the body.

    A share of `BODY_SHARE` of their pixels lies inside.
    """
    side = _body_side(image)
    inside = [
        uniform_filter((image.hu[z] > BODY_HU).astype(np.float32), side) >= BODY_SHARE
        for z in slices
    ]
    found = corners(inside, side)
    found[:, 0] = np.asarray(slices, np.intp)[found[:, 0]]
    return found


def _body_side(image: Image) -> int:
    return round(BODY_PATCH_MM / image.spacing_mm[2])


def _patches(image: Image) -> dict[str, Patches]:
    liver = homogeneous_patches(image)
    body = body_patches(image, np.unique(liver[:, 0]).tolist())
    side = _body_side(image)
    return {
        "body": Patches(
            np.stack([body_features(cut(image.hu, at, side), image.spacing_mm[1:]) for at in body]),
            body[:, 0],
        ),
        "liver": Patches(
            np.stack(
                [liver_features(cut(image.hu, at, PATCH), image.spacing_mm[1:]) for at in liver]
            ),
            liver[:, 0],
        ),
    }


def body_features(patch: NDArray[np.float32], pixel_mm: tuple[float, float]) -> NDArray[np.float64]:
    """The `BODY_FEATURES` of a patch, clipped to a soft-tissue window.

    Histogram, gradients, local standard deviation, spectrum, neighbours.
    """
    clipped = np.clip(patch, *WINDOW_HU)
    histogram = np.histogram(clipped, HISTOGRAM_HU)[0] / clipped.size
    steep = np.hypot(*np.gradient(clipped, *pixel_mm))
    mean = uniform_filter(clipped, 5)
    local = np.sqrt(np.maximum(uniform_filter(clipped * clipped, 5) - mean * mean, 0))
    taper = np.hanning(len(clipped))
    power = noise_power(((clipped - clipped.mean()) * taper[:, None] * taper)[None], pixel_mm)
    shares = np.log(_bands(*radial(power, pixel_mm)) + 1e-3)
    return np.concatenate(
        [
            histogram,
            np.percentile(steep, [50, 90, 99]),
            np.log1p(np.percentile(local, [10, 50, 90])),
            shares,
            grey_levels(clipped),
        ]
    )


def liver_features(
    patch: NDArray[np.float32], pixel_mm: tuple[float, float]
) -> NDArray[np.float64]:
    """The `LIVER_FEATURES` of a homogeneous patch: nothing of its mean."""
    noise = detrended(patch)
    power = noise_power(noise[None], pixel_mm)
    direction = np.log2(power[0, 1:].sum() / power[1:, 0].sum())
    shares = np.log(_bands(*radial(power, pixel_mm)) + 1e-3)
    return np.array(
        [
            np.log(noise.std()),
            *shares,
            direction,
            skew(noise, axis=None),
            kurtosis(noise, axis=None),
            *grey_levels(noise),
        ]
    )


def _bands(frequency: NDArray[np.float64], nps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares of the power in `BANDS_PER_MM`."""
    weight = nps * frequency
    band = np.digitize(frequency, BANDS_PER_MM)
    return np.asarray(np.bincount(band, weight, len(BANDS_PER_MM) + 1) / weight.sum())


def _separate(
    images: Sequence[Patches], names: Sequence[str], rng: np.random.Generator
) -> dict[str, Any]:
    """Tell the first image's patches from the others'.

    Then each of the others from the rest of them.
    """
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
    """Features of all patches, and the scores they get when left out.

    In order: features, whether the patch is of the first image, the group it was left out with, the
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
    """Noise power spectra of real images on the band of the phantoms.

    As they are, and with equal area.
    """
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
                label="phantom subjects, 5 to 95 %",
                linewidth=0,
            )
            panel.plot(
                frequency, middle, color="#1f7f8c", linewidth=1.2, label="phantom subjects, median"
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
