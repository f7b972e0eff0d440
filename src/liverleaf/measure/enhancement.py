"""Enhancement of lesions: curves over the phases, wash-in, wash-out and what readers look for.

CT is measured in HU differences, because HU have no zero that ratios could start from; MR in
fractions (of the pre-contrast intensity, or of liver), because its intensities have an arbitrary
scale. What was not scanned, or cannot be told, is None or absent, never invented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter

from liverleaf.measure.lesions import Box, bounding_box
from liverleaf.study import Modality, Phase

Mask = NDArray[np.bool_]
Images = Mapping[Phase, NDArray[np.floating]]

CLEAR = {Modality.CT: 10.0, Modality.MR: 0.1}
"""The difference in brightness that counts as clear: 10 HU, or a tenth of the liver's (or the
pre-contrast) intensity."""
LESION_MARGIN_MM = 5.0
"""Parenchyma this near a lesion may be lesion or altered by it, and is not measured."""
LIVER_EDGE_MM = 3.0
"""Parenchyma this near the liver's surface may be fat or another organ, and is not measured."""
CLEAR_UPTAKE = {Modality.CT: 20.0, Modality.MR: 0.2}
"""Wash-in below which no share of it is told: a ratio over a small number is noise."""
SMALLEST_LIVER_VOXELS = 50
"""Voxels without which a median over the parenchyma says little."""


@dataclass(frozen=True)
class Curve:
    """Intensity of one region at each phase that was scanned.

    Attributes:
        mean: intensity per phase, in the image's own unit (HU for CT, arbitrary for MR); phases
            that were not scanned are absent.
        voxels: size of the region.
    """

    mean: Mapping[Phase, float]
    voxels: int

    def __post_init__(self) -> None:
        if self.voxels < 1:
            raise ValueError(
                f"a curve needs at least one voxel, got voxels={self.voxels}: was the mask empty?"
            )


class WashOutStatus(StrEnum):
    """Whether a lesion washes out as a radiologist means it: it becomes darker than liver."""

    WASH_OUT = "wash_out"
    """Not darker than liver in the arterial phase, clearly darker in the later one."""
    NO_WASH_OUT_STILL_ENHANCING = "no_wash_out_still_enhancing"
    """No wash-out, and the lesion itself is clearly brighter in the later phase."""
    NO_WASH_OUT = "no_wash_out"
    """No wash-out, and the lesion is no brighter than it was."""
    NOT_MEASURABLE = "not_measurable"
    """The arterial phase or the liver is missing."""


@dataclass(frozen=True)
class Condition:
    """One condition of a feature: a measured value must reach a threshold.

    Attributes:
        name: a key of `CONDITIONS`.
        value: the measured number.
        threshold: what the value must reach.
        unit: of both: "HU" or "fraction of liver".
    """

    name: str
    value: float
    threshold: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the value reaches the threshold."""
        return self.value >= self.threshold


@dataclass(frozen=True)
class Feature:
    """One thing readers look for, measured.

    Attributes:
        name: a key of `FEATURES`.
        conditions: what must all be met; the first is the evidence proper.
    """

    name: str
    conditions: tuple[Condition, ...]

    @property
    def present(self) -> bool:
        """Whether all conditions are met."""
        return all(condition.met for condition in self.conditions)

    @property
    def evidence(self) -> float:
        """The value of the first condition."""
        return self.conditions[0].value

    @property
    def threshold(self) -> float:
        """What the evidence must reach."""
        return self.conditions[0].threshold

    @property
    def unit(self) -> str:
        """The unit of evidence and threshold."""
        return self.conditions[0].unit


FEATURES = {
    "arterial_phase_hyperenhancement_non_rim": (
        "contrast of the core to liver in the arterial phase; where there is a pre-contrast phase, "
        "the contrast must also have risen by the threshold since then"
    ),
    "rim_enhancement": (
        "rim minus core in the arterial phase, each as contrast to liver; the rim must also be"
        " brighter than liver by the threshold"
    ),
    "wash_out_non_peripheral": (
        "how far the core lies below liver in the late phase; in the arterial phase it must not"
        " have been darker than liver"
    ),
    "progressive_fill_in": (
        "rise of the core's contrast to liver from the arterial to the late phase; the rim must"
        " have been brighter than the core by the threshold in the arterial phase"
    ),
}
"""What the evidence of each feature is. Core: deeper than half of the lesion's greatest depth; rim:
the outer third of that depth."""
CONDITIONS = {
    "core_arterial_contrast": "the core's contrast to liver in the arterial phase",
    "core_arterial_rise": (
        "the rise of the core's contrast to liver from before contrast to the arterial phase"
    ),
    "rim_over_core": "the rim's contrast to liver minus the core's in the arterial phase",
    "rim_arterial_contrast": "the rim's contrast to liver in the arterial phase",
    "core_below_liver_late": "how far the core lies below liver in the late phase",
    "core_not_darker_arterial": (
        "the core's contrast to liver in the arterial phase, which must not be negative"
    ),
    "core_late_rise": (
        "the rise of the core's contrast to liver from the arterial to the late phase"
    ),
}
"""What the value of each condition is."""


def curve(images: Images, mask_ZYX: Mask) -> Curve:
    """Average every phase over one mask.

    Args:
        images: intensities of shape (Z, Y, X), all on the mask's grid.
        mask_ZYX: the region, shape (Z, Y, X).

    Returns:
        The mean per phase; a phase that is not finite all over the mask (outside its field of view)
            is left out.

    Raises:
        ValueError: a phase has another shape than the mask, or the mask is empty.
    """
    _check(images, mask_ZYX)
    mean = {
        phase: float(image[mask_ZYX].mean(dtype=np.float64))
        for phase, image in images.items()
        if mask_ZYX.any()
    }
    return Curve(
        {phase: value for phase, value in mean.items() if np.isfinite(value)}, int(mask_ZYX.sum())
    )


def liver_background(
    images: Images, liver_ZYX: Mask, lesions_ZYX: NDArray[np.integer], spacing_mm: Sequence[float]
) -> Curve | None:
    """The curve of the liver that lesions are compared with: the median over parenchyma, per phase.

    Parenchyma is the liver without its outer `LIVER_EDGE_MM` and without everything within
    `LESION_MARGIN_MM` of a lesion (both rounded up to whole voxels); where that leaves under
    `SMALLEST_LIVER_VOXELS`, the liver without its lesions. The median keeps vessels, a tenth of the
    liver, from counting.

    Args:
        images: intensities of shape (Z, Y, X), all on one grid.
        liver_ZYX: the liver with its lesions, shape (Z, Y, X).
        lesions_ZYX: 0 outside lesions, shape (Z, Y, X).
        spacing_mm: voxel size along Z, Y, X.

    Returns:
        The median per phase, of what the phase shows of it; a phase that shows fewer than
            `SMALLEST_LIVER_VOXELS` is left out. None where there are not that many.
    """
    _check(images, liver_ZYX)
    where = background_region(liver_ZYX, lesions_ZYX, spacing_mm)
    return None if where is None else background_curve(images, where)


def background_curve(images: Images, where: tuple[Box, Mask]) -> Curve:
    """As `liver_background`, over the voxels that `background_region` told."""
    box, region = where
    medians = {phase: _median(image[box][region]) for phase, image in images.items()}
    return Curve(
        {phase: value for phase, value in medians.items() if value is not None}, int(region.sum())
    )


def background_region(
    liver_ZYX: Mask, lesions_ZYX: NDArray[np.integer], spacing_mm: Sequence[float]
) -> tuple[Box, Mask] | None:
    """The voxels that `liver_background` is measured over: a box, and a mask in it.

    None where there are fewer than `SMALLEST_LIVER_VOXELS`.
    """
    box = bounding_box(liver_ZYX)
    if box is None:
        return None
    liver, lesions = liver_ZYX[box], lesions_ZYX[box] > 0
    parenchyma = minimum_filter(
        liver, _window(LIVER_EDGE_MM, spacing_mm), mode="constant"
    ) & ~maximum_filter(lesions, _window(LESION_MARGIN_MM, spacing_mm), mode="constant")
    for region in (parenchyma, liver & ~lesions):
        if region.sum() >= SMALLEST_LIVER_VOXELS:
            return box, region
    return None


def _median(values: NDArray[np.floating]) -> float | None:
    """The median of the values that are finite; None of too few."""
    shown = values[np.isfinite(values)]
    return float(np.median(shown)) if len(shown) >= SMALLEST_LIVER_VOXELS else None


def late_phase(phases: Images | Mapping[Phase, float], *, agent: str | None = None) -> Phase | None:
    """The phase at which wash-out is read: delayed, else portal venous, else None.

    With gadoxetate only the portal venous phase counts: later, the liver takes the agent up and any
    lesion without hepatocytes looks dark (LI-RADS v2018).
    """
    candidates = (Phase.PORTAL,) if agent == "gadoxetate" else (Phase.DELAYED, Phase.PORTAL)
    return next((phase for phase in candidates if phase in phases), None)


def contrast_unit(modality: Modality) -> str:
    """The unit of `contrast`."""
    return "HU" if modality is Modality.CT else "fraction of liver"


def enhancement_unit(modality: Modality) -> str:
    """The unit of `enhancement`."""
    return "HU" if modality is Modality.CT else "fraction of pre"


def contrast(lesion: Curve, liver: Curve, phase: Phase, modality: Modality) -> float | None:
    """How much brighter than liver a lesion is at one phase.

        contrast = lesion - liver in HU (CT), (lesion - liver) / liver (MR)

    None where the phase is missing from either curve, or liver has no signal.
    """
    if phase not in lesion.mean or phase not in liver.mean:
        return None
    difference = lesion.mean[phase] - liver.mean[phase]
    if modality is Modality.CT:
        return difference
    return difference / liver.mean[phase] if liver.mean[phase] > 0 else None


def enhancement(region: Curve, phase: Phase, modality: Modality) -> float | None:
    """How much brighter than before contrast a region is at one phase.

        enhancement = I - pre in HU (CT), (I - pre) / pre (MR)

    None where the phase or the pre-contrast phase is missing, or the region had no signal before
    contrast.
    """
    if phase not in region.mean or Phase.PRE not in region.mean:
        return None
    difference = region.mean[phase] - region.mean[Phase.PRE]
    if modality is Modality.CT:
        return difference
    return difference / region.mean[Phase.PRE] if region.mean[Phase.PRE] > 0 else None


def wash_in(lesion: Curve, modality: Modality) -> float | None:
    """The arterial `enhancement` of a lesion; None without an arterial or a pre-contrast phase."""
    return enhancement(lesion, Phase.ARTERIAL, modality)


def wash_in_against_liver(lesion: Curve, liver: Curve, modality: Modality) -> float | None:
    """The lesion's `wash_in` minus the liver's, in its unit; None where either is."""
    own, livers = wash_in(lesion, modality), wash_in(liver, modality)
    return None if own is None or livers is None else own - livers


def wash_out(lesion: Curve, late: Phase, modality: Modality) -> float | None:
    """The share of its arterial uptake that a lesion has lost by a later phase.

        wash_out = (arterial - late) / (arterial - pre)

    Dimensionless for CT and MR; 0: kept, 1: back at its pre-contrast intensity. None where a phase
    is missing, where the lesion took up little (wash-in under `CLEAR_UPTAKE`), because a ratio over
    a small number is not a measurement, and where it is brighter than it was and has lost nothing.
    """
    uptake = wash_in(lesion, modality)
    if uptake is None or uptake < CLEAR_UPTAKE[modality] or late not in lesion.mean:
        return None
    lost = lesion.mean[Phase.ARTERIAL] - lesion.mean[late]
    return lost / (lesion.mean[Phase.ARTERIAL] - lesion.mean[Phase.PRE]) if lost >= 0 else None


def still_enhancing(lesion: Curve, late: Phase, modality: Modality) -> bool:
    """Whether a lesion is clearly brighter at a later phase than in the arterial one.

    By `CLEAR`: in HU (CT), or as a fraction of its pre-contrast intensity, and of its arterial one
    without that phase (MR). False where a phase is missing.
    """
    if Phase.ARTERIAL not in lesion.mean or late not in lesion.mean:
        return False
    rise = lesion.mean[late] - lesion.mean[Phase.ARTERIAL]
    if modality is Modality.CT:
        return rise >= CLEAR[modality]
    whole = lesion.mean.get(Phase.PRE, lesion.mean[Phase.ARTERIAL])
    return whole > 0 and rise / whole >= CLEAR[modality]


def wash_out_status(
    lesion: Curve, liver: Curve | None, late: Phase, modality: Modality
) -> WashOutStatus:
    """Whether a lesion washes out by a later phase.

    It does where it was not darker than liver in the arterial phase and is darker by `CLEAR` in the
    later one, however bright it is itself.
    """
    arterial = None if liver is None else contrast(lesion, liver, Phase.ARTERIAL, modality)
    later = None if liver is None else contrast(lesion, liver, late, modality)
    if arterial is not None and later is not None and arterial >= 0 and later <= -CLEAR[modality]:
        return WashOutStatus.WASH_OUT
    if still_enhancing(lesion, late, modality):
        return WashOutStatus.NO_WASH_OUT_STILL_ENHANCING
    if arterial is None or later is None:
        return WashOutStatus.NOT_MEASURABLE
    return WashOutStatus.NO_WASH_OUT


def wash_out_against_liver(
    lesion: Curve, liver: Curve, late: Phase, modality: Modality
) -> float | None:
    """How far a lesion's `contrast` to liver falls from the arterial to a later phase, in its unit.

    Positive when it falls. A difference and not a ratio: it needs no pre-contrast phase and stays
    steady where the arterial contrast is small.
    """
    arterial, later = (contrast(lesion, liver, phase, modality) for phase in (Phase.ARTERIAL, late))
    return None if arterial is None or later is None else arterial - later


def liver_to_lesion_percent(lesion: Curve, liver: Curve, late: Phase) -> float | None:
    """Liu's percentage attenuation ratio, 100 x liver / lesion at a late phase.

    Over 100, the lesion is darker than liver. In the delayed phase of CT a hypervascular lesion at
    107 or more was HCC with 100 % sensitivity and 76 % specificity (47 lesions); on MR the cut was
    102. None where the phase is missing or either intensity is not positive.

    Reference: Liu et al., AJR 2013;200:84-89. MR: Kloeckner et al., BMC Cancer 2016;16:758.
    """
    if (
        late not in lesion.mean
        or late not in liver.mean
        or min(lesion.mean[late], liver.mean[late]) <= 0
    ):
        return None
    return 100 * liver.mean[late] / lesion.mean[late]


def features(
    images: Images,
    mask_ZYX: Mask,
    liver: Curve,
    modality: Modality,
    spacing_mm: Sequence[float],
    *,
    late: Phase | None,
) -> tuple[Feature, ...]:
    """Measure those of `FEATURES` that these phases and this lesion allow; the others are absent.

    They follow the wording of LI-RADS v2018 but are numbers, not a reading, and the thresholds
    (`CLEAR`) are ours.

    Args:
        images: intensities of shape (Z, Y, X), on one grid; a box around the lesion is enough.
        mask_ZYX: the lesion, shape (Z, Y, X).
        liver: the curve of the liver around, from `liver_background`.
        modality: sets the scale.
        spacing_mm: voxel size along Z, Y, X.
        late: the phase to read wash-out and fill-in at, from `late_phase`.
    """
    compartments = rim_and_core(mask_ZYX, spacing_mm)
    if compartments is None:
        return ()
    rim, core = (curve(images, region) for region in compartments)
    rim_arterial, core_pre, core_arterial = (
        contrast(region, liver, phase, modality)
        for region, phase in ((rim, Phase.ARTERIAL), (core, Phase.PRE), (core, Phase.ARTERIAL))
    )
    core_late = None if late is None else contrast(core, liver, late, modality)
    clear = CLEAR[modality]

    def at_least(name: str, value: float, threshold: float = clear) -> Condition:
        return Condition(name, value, threshold, contrast_unit(modality))

    if rim_arterial is None or core_arterial is None:
        return ()
    hyperenhancement = [at_least("core_arterial_contrast", core_arterial)]
    if core_pre is not None:
        hyperenhancement.append(at_least("core_arterial_rise", core_arterial - core_pre))
    ring = at_least("rim_over_core", rim_arterial - core_arterial)
    found = {
        "arterial_phase_hyperenhancement_non_rim": hyperenhancement,
        "rim_enhancement": [ring, at_least("rim_arterial_contrast", rim_arterial)],
    }
    if core_late is not None:
        found["wash_out_non_peripheral"] = [
            at_least("core_below_liver_late", -core_late),
            at_least("core_not_darker_arterial", core_arterial, 0.0),
        ]
        found["progressive_fill_in"] = [
            at_least("core_late_rise", core_late - core_arterial),
            ring,
        ]
    return tuple(Feature(name, tuple(conditions)) for name, conditions in found.items())


def rim_and_core(
    mask_ZYX: Mask, spacing_mm: Sequence[float], *, smallest_voxels: int = 10
) -> tuple[Mask, Mask] | None:
    """Split a lesion by depth: its rim, and its core.

    The rim is the outer third of the greatest depth, the core is deeper than half of it. None for a
    lesion too small to have both (either under `smallest_voxels`).
    """
    depth_mm = distance_transform_edt(np.pad(mask_ZYX, 1), sampling=np.asarray(spacing_mm, float))[
        1:-1, 1:-1, 1:-1
    ]
    rim = mask_ZYX & (depth_mm <= depth_mm.max() / 3)
    core = depth_mm > depth_mm.max() / 2
    return (rim, core) if min(rim.sum(), core.sum()) >= smallest_voxels else None


def _check(images: Images, mask_ZYX: Mask) -> None:
    for phase, image in images.items():
        if image.shape != mask_ZYX.shape:
            raise ValueError(
                f"phase {phase.name} has shape {image.shape}, the mask {mask_ZYX.shape}: register"
                " the study first"
            )


def _window(margin_mm: float, spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """The size in voxels of a box that reaches at least `margin_mm` to every side."""
    return tuple(2 * np.ceil(margin_mm / np.asarray(spacing_mm, float)).astype(int) + 1)
