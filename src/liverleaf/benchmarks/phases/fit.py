"""The coefficients by which pixels tell contrast phases, fitted to phantom studies of fixed seeds.

Shape suffixes: C classes, F features, M examples, N series.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from liverleaf.ingest.phases.ct_organs import OrganHU
from liverleaf.ingest.phases.images import MAX_Z_SCORE, brightness_features, difference_features
from liverleaf.ingest.phases.tissue import GRID_MM, LEVELS, Tissue, soft_tissue
from liverleaf.phantom.generator import Phantom
from liverleaf.study import Modality, Phase
from liverleaf.system.progress import Progress, silent

SHAPE = 90, 90
SLICES_MM = {Modality.CT: (8.0, 10.0, 13.0, 16.0), Modality.MR: (15.0, 17.0, 19.0, 21.0)}
"""From slice to slice, in turn. Slices are `GRID_MM` fine, so that a phantom's images are as
`coarse_images` would make them."""

INVERSE_PENALTY = {"alone": 0.3, "pair": 0.1}
DRAWS = {Modality.CT: 4, Modality.MR: 2}
"""How often each study is made to another scanner's."""

GAIN_SD = 0.04
"""Standard deviation of the logarithm of MR gain where a scanner scales series alike."""

OWN_GAIN_SD = 0.25
"""The same where it scales each by itself."""

OWN_GAIN_SHARE = 0.2
"""Share of studies where it does."""

ENHANCEMENT_SD, LIVER_SD_HU = 0.2, 8.0
"""Standard deviations of the logarithm of CT's enhancement and of the liver without it: doses, tube
voltages and circulations differ, and livers hold fat or iron."""

NATIVE_HU = OrganHU(*map(np.array, (40.0, 50.0, 45.0)))
"""HU without contrast agent where a phantom has no such phase."""

DECIMALS = 3
SEED = 3


class PhantomGroup(NamedTuple):
    """The first `cases` of a phantom.

    Attributes:
        preset: a key of `phantom.PRESETS`.
        modality: CT or MR.
        seed: of the phantom.
        cases: how many.
    """

    preset: str
    modality: Modality
    seed: int
    cases: int


FITTED_TO = (
    PhantomGroup("ct", Modality.CT, 710001, 120),
    PhantomGroup("hard", Modality.CT, 710002, 80),
    PhantomGroup("mr", Modality.MR, 710003, 200),
    PhantomGroup("hard", Modality.MR, 710004, 120),
)


def fit_phase_pixels(
    groups: tuple[PhantomGroup, ...] = FITTED_TO,
    *,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Fit logistic regressions of a series' phase, and in MR of two series', on image features.

    The phases' shares among the phantoms are taken out of the biases, as they say nothing of a real
    study.

    Args:
        groups: the phantoms.
        progress: called with (what, done, total).

    Returns:
        JSON-able: what `images.json` holds, with the groups and the seed of what differs between
            scanners.
    """
    rngs = {modality: np.random.default_rng(SEED) for modality in Modality}
    examples: dict[Modality, list[tuple[_Examples, _Examples]]] = {}
    done, total = 0, sum(group.cases for group in groups)
    for group in groups:
        grids = [(slice_mm, GRID_MM, GRID_MM) for slice_mm in SLICES_MM[group.modality]]
        shape = (LEVELS[group.modality], *SHAPE)
        phantoms = [
            Phantom(group.preset, group.seed, group.modality, shape=shape, spacing_mm=grid)
            for grid in grids
        ]
        for index in range(group.cases):
            progress("making phantoms", done, total)
            study, _ = phantoms[index % len(phantoms)][index]
            images = np.stack([image.volume.array for image in study.phases.values()])
            examples.setdefault(group.modality, []).extend(
                _examples(images, list(study.phases), group.modality, rngs[group.modality])
            )
            done += 1
    return {
        "fitted_to": [group._asdict() for group in groups],
        "seed": SEED,
        **{modality: _fitted(found) for modality, found in examples.items()},
    }


class _Examples(NamedTuple):
    features_MF: NDArray[np.float64]
    classes_M: list[int]


def _examples(
    images: NDArray[np.float32], phases: list[Phase], modality: Modality, rng: np.random.Generator
) -> Iterator[tuple[_Examples, _Examples]]:
    """Features of the series and of the ordered pairs of one study, once per drawn scanner."""
    tissue = soft_tissue(images, modality)
    if tissue is None:
        raise ValueError(
            f"a phantom of shape {images.shape} has no soft tissue: show more of the body"
        )
    for _ in range(DRAWS[modality]):
        drawn = _other_scanner(tissue, phases, rng)
        values_NV, alone_NF = drawn.values_NV, brightness_features(drawn)
        # what pairs of CT images tell is not fitted
        pairs = list(permutations(range(len(phases)), 2)) if drawn.organs is None else []
        pair_MF = [
            np.concatenate(
                [alone_NF[i], alone_NF[j], difference_features(values_NV[i], values_NV[j])]
            )
            for i, j in pairs
        ]
        classes = [phases[i] * len(Phase) + phases[j] for i, j in pairs]
        yield (
            _Examples(alone_NF, [int(phase) for phase in phases]),
            _Examples(np.array(pair_MF), classes),
        )


def _other_scanner(tissue: Tissue, phases: list[Phase], rng: np.random.Generator) -> Tissue:
    """The same study as of another scanner and patient.

    MR signals are scaled anew; CT is enhanced more or less, and has another liver.
    """
    if tissue.organs is None:
        gain_sd = OWN_GAIN_SD if rng.random() < OWN_GAIN_SHARE else GAIN_SD
        gains = rng.normal(0, gain_sd, (len(phases), 1))
        return tissue._replace(values_NV=tissue.values_NV + gains)
    native = NATIVE_HU
    if Phase.PRE in phases:
        native = OrganHU(*(hu_N[phases.index(Phase.PRE)] for hu_N in tissue.organs))
    factor = np.exp(rng.normal(0, ENHANCEMENT_SD))
    organs = OrganHU(
        *(low + factor * (hu_N - low) for low, hu_N in zip(native, tissue.organs, strict=True))
    )
    return tissue._replace(organs=organs._replace(liver=organs.liver + rng.normal(0, LIVER_SD_HU)))


def _fitted(examples: list[tuple[_Examples, _Examples]]) -> dict[str, Any]:
    fitted: dict[str, Any] = {}
    for kind, found in zip(("alone", "pair"), zip(*examples, strict=True), strict=True):
        if not any(each.classes_M for each in found):
            continue
        features_MF = np.concatenate([each.features_MF for each in found])
        classes_M = np.concatenate([each.classes_M for each in found])
        classes_C, coefficients = _regression(features_MF, classes_M, INVERSE_PENALTY[kind])
        if kind == "alone":
            fitted["phases"] = classes_C.tolist()
        else:
            fitted["pair_classes"] = [list(divmod(one, len(Phase))) for one in classes_C.tolist()]
        fitted |= {
            f"{kind}_{name}": np.round(values, DECIMALS).tolist()
            for name, values in coefficients.items()
        }
        fitted[f"{kind}_examples"] = len(classes_M)
    return fitted


def _regression(
    features_MF: NDArray[np.float64], classes_M: NDArray[np.intp], inverse_penalty: float
) -> tuple[NDArray[np.intp], dict[str, NDArray[np.float64]]]:
    """Fit a multinomial logistic regression whose classes are equally likely beforehand.

    Returns:
        The classes; means, standard deviations, weights and biases by name.
    """
    scaler = StandardScaler().fit(features_MF)
    z_MF = np.clip(scaler.transform(features_MF), -MAX_Z_SCORE, MAX_Z_SCORE)
    standard_MF = np.nan_to_num(z_MF)
    model = LogisticRegression(C=inverse_penalty, max_iter=5000).fit(standard_MF, classes_M)
    shares_C = np.unique(classes_M, return_counts=True)[1] / len(classes_M)
    bias_C = model.intercept_ - np.log(shares_C)
    return model.classes_, {
        "mean": scaler.mean_,
        "sd": scaler.scale_,
        "weights": model.coef_,
        "bias": bias_C,
    }
