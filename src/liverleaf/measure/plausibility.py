"""Plausibility of what was outlined, and of the images it was outlined in: coded doubts.

Each doubt means that a model's probabilities do not hold. Nothing here knows who outlined what,
but images are compared with training data only where a model is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from liverleaf.measure.enhancement import CLEAR, Curve, Images
from liverleaf.measure.lesions import Mask, bounding_box, volume_ml
from liverleaf.study import BodyPart, Modality, Phase, Species, Study

COARSER = 1.25
"""Factor by which voxels may be larger than those of the training data. Smaller ones are averaged
to the network's own size first."""
FIELD_FACTORS = (0.4, 1.6)
"""Factors by which the field of view may be smaller or larger than that of the training data."""
PLAUSIBLE_LIVER_ML = {Species.HUMAN: (400.0, 5000.0), Species.RAT: (3.0, 60.0)}
"""Volumes of adult livers, with tumours; outside, the outline or the image is doubtful."""
MAX_LESION_SHARE = 0.5
"""Share of the liver above which one lesion fills most of it."""
MAX_SIDE_CM2 = {Species.HUMAN: 30.0, Species.RAT: 1.5}
"""Area over which a liver may touch a side of the images: the skin lies between."""
MAX_END_CM2 = {Species.HUMAN: 120.0, Species.RAT: 6.0}
"""The same of the upper and lower end. Many scans miss a dome or a tip; this is a whole section."""
MAX_OUTSIDE_SHARE = 0.1
"""Share of the liver that may lie outside the body, as at a notch of the outline of the body."""
MIDLINE_MM = 10.0
"""How far a liver's centre may lie to the left of the body's."""
BODY_HU = -300.0
WATER_HU = (-10.0, 20.0)
"""Attenuation of bile and of other water, with the noise of a mean."""
DARK_T1 = 0.6
"""Share of the liver's T1-weighted signal, before contrast, below which a region is as dark as
water."""
HOMOGENEOUS = 1.5
"""A homogeneous region varies by at most this many times as much as the liver around it."""
SMALLEST_CORE_VOXELS = 10
"""Voxels inside a region's surface without which nothing is said of its homogeneity."""
EXPOSED_SHARE = 0.5
"""Share of a region's columns under which there is no liver, at the lower surface."""


class Doubt(StrEnum):
    """Why the findings may be wrong altogether."""

    VOXELS_OUTSIDE_TRAINING = "voxels_outside_training"
    FIELD_OUTSIDE_TRAINING = "field_outside_training"
    LIVER_VOLUME = "liver_volume"
    LIVER_ON_WRONG_SIDE = "liver_on_wrong_side"
    LIVER_AT_EDGE = "liver_at_edge"
    LIVER_OUTSIDE_BODY = "liver_outside_body"
    LESION_FILLS_LIVER = "lesion_fills_liver"
    MAY_BE_GALLBLADDER = "may_be_gallbladder"


SENTENCES = {
    Doubt.VOXELS_OUTSIDE_TRAINING: (
        "The voxels ({found} mm) are larger than those that the model was trained on ({limit} mm)."
    ),
    Doubt.FIELD_OUTSIDE_TRAINING: (
        "The field of view ({found} mm) is not like those that the model was trained on"
        " ({limit} mm)."
    ),
    Doubt.LIVER_VOLUME: (
        "A liver of {found} ml is hardly plausible ({limit} ml): look at its outline first."
    ),
    Doubt.LIVER_ON_WRONG_SIDE: (
        "The liver lies on the left of the body ({found} mm from its middle): the outline or the"
        " orientation may be wrong."
    ),
    Doubt.LIVER_AT_EDGE: (
        "The liver is cut by the edge of the images ({found} cm² of it): it is not all shown, or"
        " the outline is wrong."
    ),
    Doubt.LIVER_OUTSIDE_BODY: (
        "Of the liver, {found} % lies outside the body: the outline may be wrong."
    ),
    Doubt.LESION_FILLS_LIVER: (
        "Lesion {lesion} fills {found} % of the liver: the outline of either may be wrong."
    ),
    Doubt.MAY_BE_GALLBLADDER: (
        "Lesion {lesion} may be the gallbladder: it is like water, takes up no contrast agent and"
        " lies at the lower surface of the liver."
    ),
}
"""What each code says; the numbers are put in."""


@dataclass(frozen=True)
class Implausible:
    """One doubt.

    Attributes:
        code: which.
        lesion: label of the lesion that it is about; None for the whole study.
        found: the number or numbers that are doubtful, as text.
        limit: those that would be plausible, as text.
    """

    code: Doubt
    lesion: int | None = None
    found: str = ""
    limit: str = ""

    @property
    def sentence(self) -> str:
        """The doubt as people read it."""
        values = {"lesion": self.lesion, "found": self.found, "limit": self.limit}
        return SENTENCES[self.code].format(**values)


@dataclass(frozen=True)
class TrainedOn:
    """The images that a model was trained on.

    Attributes:
        spacing_mm: voxel size along Z, Y, X, axial.
        field_mm: field of view along Z, Y, X.
    """

    spacing_mm: tuple[float, float, float]
    field_mm: tuple[float, float, float]


SHIPPED = {
    "liverleaf-net-ct": TrainedOn((7.0, 2.2, 2.2), (392.0, 352.0, 352.0)),
    "liverleaf-net-mr": TrainedOn((5.0, 2.2, 2.2), (180.0, 352.0, 352.0)),
}
"""What the shipped models were trained on, as their recipes say: phantoms of 56 x 160 x 160 and of
36 x 160 x 160 voxels."""


def trained_on(model: str, training: Mapping[str, Any]) -> TrainedOn | None:
    """What a model was trained on: as its card says, else as is known of shipped ones, else None.

    Args:
        model: its name.
        training: what its card says of its training; `trained_on` holds `spacing_mm` and
            `field_mm`.
    """
    facts = training.get("trained_on")
    if not facts:
        return SHIPPED.get(model)
    return TrainedOn(tuple(facts["spacing_mm"]), tuple(facts["field_mm"]))


def doubts_of_images(grid: hd.Volume, trained: TrainedOn) -> list[Implausible]:
    """Voxels and field of view that are not like those of the training data."""
    axial = grid.to_patient_orientation("HPL")
    spacing_mm = np.asarray(axial.spacing)
    field_mm = spacing_mm * axial.spatial_shape
    doubts = []
    if (spacing_mm > COARSER * np.asarray(trained.spacing_mm)).any():
        found, limit = _sizes(spacing_mm), _sizes(trained.spacing_mm)
        doubts.append(Implausible(Doubt.VOXELS_OUTSIDE_TRAINING, None, found, limit))
    ratio = field_mm / trained.field_mm
    if ratio.min() < FIELD_FACTORS[0] or ratio.max() > FIELD_FACTORS[1]:
        found, limit = _sizes(field_mm), _sizes(trained.field_mm)
        doubts.append(Implausible(Doubt.FIELD_OUTSIDE_TRAINING, None, found, limit))
    return doubts


def doubts_of_liver(study: Study, liver: hd.Volume) -> list[Implausible]:
    """A liver whose volume or place is impossible; an empty mask is no liver and raises no doubt.

    Args:
        study: the images.
        liver: bool, the liver with its lesions, on the study's grid.
    """
    if not liver.array.any():
        return []
    low, high = PLAUSIBLE_LIVER_ML[study.species]
    ml = volume_ml(liver.array, liver.spacing)
    doubts = []
    if not low <= ml <= high:
        limit = f"{low:.0f} to {high:.0f}"
        doubts.append(Implausible(Doubt.LIVER_VOLUME, None, f"{ml:.0f}", limit))
    upright = int(np.abs(liver.affine[2, :3]).argmax())  # the axis from feet to head
    for axis, cm2 in enumerate(edge_areas_cm2(liver.array, liver.spacing)):
        limits = MAX_END_CM2 if axis == upright else MAX_SIDE_CM2
        if cm2 > limits[study.species]:
            doubts.append(Implausible(Doubt.LIVER_AT_EDGE, None, f"{cm2:.0f}"))
            break
    if study.species is not Species.HUMAN or study.body_part is not BodyPart.ABDOMEN:
        return doubts
    inside = body(study.grid.array, study.modality)
    outside = 1 - float(inside[liver.array].mean())
    if outside > MAX_OUTSIDE_SHARE:
        doubts.append(Implausible(Doubt.LIVER_OUTSIDE_BODY, None, f"{100 * outside:.0f}"))
    left_mm = float(_centre_mm(liver.array, liver)[0] - _centre_mm(inside, liver)[0])
    if left_mm > MIDLINE_MM:
        doubts.append(Implausible(Doubt.LIVER_ON_WRONG_SIDE, None, f"{left_mm:.0f}"))
    return doubts


def doubt_of_share(label: int, lesion_ml: float, liver_ml: float) -> Implausible | None:
    """A lesion that fills most of the liver."""
    if liver_ml <= 0 or lesion_ml <= MAX_LESION_SHARE * liver_ml:
        return None
    return Implausible(Doubt.LESION_FILLS_LIVER, label, f"{100 * lesion_ml / liver_ml:.0f}")


def looks_like_bile(
    lesion: Curve,
    liver: Curve,
    modality: Modality,
    *,
    spread: Mapping[Phase, float],
    liver_spread: Mapping[Phase, float],
) -> bool:
    """Whether a region is like water, homogeneous and not enhancing.

    Args:
        lesion: its curve.
        liver: the liver's.
        modality: sets the scale.
        spread: standard deviation inside the region per phase.
        liver_spread: the same of the liver.
    """
    if not lesion.mean:
        return False
    values = list(lesion.mean.values())
    rise = max(values) - min(values)
    if modality is Modality.CT:
        water = all(WATER_HU[0] <= value <= WATER_HU[1] for value in values)
        enhancing = rise >= CLEAR[modality]
    else:
        before = lesion.mean.get(Phase.PRE)
        liver_before = liver.mean.get(Phase.PRE)
        if before is None or liver_before is None or before <= 0 or liver_before <= 0:
            return False
        water = before <= DARK_T1 * liver_before
        enhancing = rise / before >= CLEAR[modality]
    homogeneous = all(
        spread[phase] <= HOMOGENEOUS * liver_spread[phase]
        for phase in spread
        if phase in liver_spread
    )
    return water and not enhancing and homogeneous


def liver_spread(
    images: Images, liver_ZYX: Mask, lesions_ZYX: NDArray[np.integer]
) -> dict[Phase, float]:
    """Standard deviation of the liver without its lesions per phase, robust against vessels."""
    region = ndimage.binary_erosion(liver_ZYX) & (lesions_ZYX == 0)
    spread = {}
    for phase, image in images.items():
        values = image[region]
        values = values[np.isfinite(values)]
        if len(values):
            quarter, three_quarters = np.percentile(values, (25, 75))
            spread[phase] = float(three_quarters - quarter) / 1.349  # of a normal distribution
    return spread


def lies_at_lower_surface(lesion_ZYX: Mask, liver_ZYX: Mask, grid: hd.Volume) -> bool:
    """Whether there is no liver under most of a region, towards the feet."""
    both = grid.with_array(lesion_ZYX.astype(np.uint8) + 2 * liver_ZYX.astype(np.uint8))
    array = both.to_patient_orientation("HPL").array
    lesion, liver = array % 2 == 1, array >= 2
    columns = lesion.any(axis=0)
    if not columns.any():
        return False
    lowest = lesion.argmax(axis=0)  # the first axis runs towards the head
    slices = np.arange(len(array))[:, None, None]
    liver_below = (liver & ~lesion & (slices < lowest)).any(axis=0)
    return bool(1 - liver_below[columns].mean() >= EXPOSED_SHARE)


def edge_areas_cm2(mask_ZYX: Mask, spacing_mm: Sequence[float]) -> list[float]:
    """Per axis, the larger area over which a mask touches one of its two faces of the images."""
    spacing = np.asarray(spacing_mm, float)
    return [
        float(
            max(mask_ZYX.take(end, axis).sum() for end in (0, -1))
            * np.prod(np.delete(spacing, axis))
            / 100
        )
        for axis in range(3)
    ]


def body(image_ZYX: NDArray[np.floating], modality: Modality) -> Mask:
    """The body in an image: its largest piece in each slice that is not air, holes filled."""
    if modality is Modality.CT:
        inside = image_ZYX > BODY_HU
    else:
        inside = image_ZYX > 0.1 * np.nanpercentile(image_ZYX, 99)
    pieces, count = ndimage.label(ndimage.binary_opening(inside))
    if count == 0:
        return np.ones(image_ZYX.shape, bool)
    largest = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    box = bounding_box(largest)
    assert box is not None
    filled: Mask = np.zeros(largest.shape, bool)
    for z in range(box[0].start, box[0].stop):
        filled[z] = ndimage.binary_fill_holes(largest[z])
    return filled


def _centre_mm(mask_ZYX: Mask, grid: hd.Volume) -> NDArray[np.float64]:
    index = np.array(ndimage.center_of_mass(mask_ZYX))
    centre: NDArray[np.float64] = grid.affine[:3, :3] @ index + grid.affine[:3, 3]
    return centre


def _sizes(sizes_mm: Any) -> str:
    return " x ".join(f"{size:.3g}" for size in sizes_mm)
