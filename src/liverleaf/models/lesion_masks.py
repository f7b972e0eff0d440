"""From lesion probabilities on the network's grid to separate lesions on the study's own.

Shape suffixes: K masks, Z slices, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from liverleaf.data.network_input import ModelInput, centres, extent, resize, resize_labels
from liverleaf.measure.lesions import clean_liver, separate
from liverleaf.prediction import LesionPrediction
from liverleaf.terminology import MALIGNANT, LesionType

SMOOTHING_MM = 1.5
LESION_EDGE = 0.2
"""A lesion reaches as far as its probability is this high; whether it is one is decided by its peak
(`ProbabilityCalibration.minimum_peak`). On 14 CT phantoms held back, portal phase alone, Dice was
.36 with an edge at .5 and .41 at .1 to .2; with all phases .51 and .52."""


@dataclass(frozen=True)
class LesionMasks:
    """The masks of a study, on canonical axes of its grid.

    Attributes:
        liver_ZYX: the liver with its lesions, None from a network that does not outline it.
        lesions_ZYX: instance labels, from 1.
        score: mean lesion probability of each lesion where it is a half or more; the highest one
            where it nowhere is.
        peak: highest lesion probability of each lesion.
    """

    liver_ZYX: NDArray[np.bool_] | None
    lesions_ZYX: NDArray[np.uint16]
    score: list[float]
    peak: list[float]


def smooth(probability_ZKYX: NDArray[np.float32], given: ModelInput) -> NDArray[np.float32]:
    """Mask probabilities without single pixels that stick out."""
    sigma = (
        SMOOTHING_MM / given.slice_mm,
        0,
        SMOOTHING_MM / given.pixel_mm,
        SMOOTHING_MM / given.pixel_mm,
    )
    smoothed: NDArray[np.float32] = gaussian_filter(probability_ZKYX, sigma)
    return smoothed


def separate_lesions(
    probability_ZKYX: NDArray[np.float32],
    given: ModelInput,
    *,
    minimum_peak: float,
    edge: float = LESION_EDGE,
) -> LesionMasks:
    """Separate lesions in three dimensions, inside the liver where it is outlined.

    Args:
        probability_ZKYX: of [liver with its lesions, lesion] or of [lesion]; rows and columns
            beyond those of `given` are padding.
        given: the study on the network's grid.
        minimum_peak: a lesion whose probability nowhere reaches this is left out.
        edge: a lesion reaches as far as its probability is this high.
    """
    shape, spacing = given.grid.spatial_shape, given.grid.spacing
    rows, columns = given.raw_ZPYX.shape[2:]
    probability_ZKYX = probability_ZKYX[:, :, :rows, :columns]
    # all that follows concerns this part of the grid only
    box = extent(np.any(probability_ZKYX >= edge, axis=1), shape)
    lesion = resize(probability_ZKYX[:, -1], shape)[box]
    liver = None
    if probability_ZKYX.shape[1] == 2:
        liver = clean_liver(np.maximum(resize(probability_ZKYX[:, 0], shape)[box], lesion), spacing)
    inside = np.ones(lesion.shape, bool) if liver is None else liver
    labels, peak = keep_confident(
        separate(lesion, inside, spacing, threshold=edge), lesion, minimum_peak
    )
    lesions_ZYX = np.zeros(shape, np.uint16)
    lesions_ZYX[box] = labels
    liver_ZYX = None
    if liver is not None:
        liver_ZYX = np.zeros(shape, bool)
        liver_ZYX[box] = liver | (labels > 0)
    return LesionMasks(liver_ZYX, lesions_ZYX, scores(labels, lesion, peak).tolist(), peak.tolist())


def scores(
    labels: NDArray[np.integer], probability: NDArray[np.float32], peak: NDArray[np.float32]
) -> NDArray[np.floating]:
    """Mean probability of each lesion where it is a half or more; its peak where it nowhere is."""
    sure = (labels > 0) & (probability >= 0.5)
    voxels = np.bincount(labels[sure], minlength=len(peak) + 1)[1:]
    total = np.bincount(labels[sure], weights=probability[sure], minlength=len(peak) + 1)[1:]
    return np.where(voxels > 0, total / np.maximum(voxels, 1), peak)


def peaks(labels: NDArray[np.integer], probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """The highest probability inside each label from 1 on."""
    highest = np.zeros(int(labels.max()) + 1, np.float32)
    inside = labels > 0
    np.maximum.at(highest, labels[inside], probability[inside])
    return highest[1:]


def keep_confident(
    labels: NDArray[np.uint16], probability: NDArray[np.float32], minimum_peak: float
) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """The lesions whose probability peaks high enough, numbered anew, and their peaks."""
    highest = peaks(labels, probability)
    kept = highest >= minimum_peak
    if kept.all():
        return labels, highest
    inside = labels > 0
    labels[inside] = np.where(kept, kept.cumsum(), 0)[labels[inside] - 1]
    return labels, highest[kept]


def lesions_on_network_grid(
    lesions_ZYX: NDArray[np.uint16], given: ModelInput
) -> Iterator[NDArray[np.bool_]]:
    """The mask of each lesion on the network's grid, from label 1 on; none is empty."""
    shape = (given.raw_ZPYX.shape[0], *given.raw_ZPYX.shape[2:])
    labels_ZYX = resize_labels(lesions_ZYX, shape)
    middles: dict[int, tuple[int, ...]] = {}
    for label in range(1, int(lesions_ZYX.max()) + 1):
        lesion_ZYX: NDArray[np.bool_] = labels_ZYX == label
        if not lesion_ZYX.any():  # thinner than the grid: its nearest pixel stands for it
            middles = middles or centres(lesions_ZYX, shape)
            lesion_ZYX[middles[label]] = True
        yield lesion_ZYX


def liver_max(
    lesions: Sequence[LesionPrediction], types: Sequence[LesionType]
) -> tuple[dict[LesionType, float], float]:
    """Per type the largest score x probability over the lesions; and the same for being malignant.

    After LIDIA's LiverMax (Huang et al., MICCAI 2024), which takes the largest probability in a
    probability map of the liver. The probability that the patient has at least one such lesion is
    no smaller; how much larger depends on how far lesions err together.
    """

    def largest(of: Sequence[LesionType]) -> float:
        return max(
            (
                (lesion.score or 0.0) * sum((lesion.type_probabilities or {})[t] for t in of)
                for lesion in lesions
            ),
            default=0.0,
        )

    return {t: largest([t]) for t in types}, largest([t for t in types if t in MALIGNANT])
