"""Simulated cases that show the textbook patterns of lesions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation

from liverleaf.phantom.generator import Phantom
from liverleaf.study import Annotation, LesionAnnotation, Modality, Phase, Study
from liverleaf.terminology import LIVER_ORGANS, LesionType

SHAPE, SPACING_MM = (40, 256, 256), (4.0, 1.4, 1.4)
"""A slab around the liver, fine enough for rims and capsules."""

TRIES = 60
AGENT = {Modality.MR: "gadobutrol", Modality.CT: "iodine"}


@dataclass(frozen=True)
class GalleryEntry:
    """One kind of lesion that the gallery shows.

    Attributes:
        title: its name.
        type: its lesion type.
        pattern: the textbook pattern in one line.
        needs: compartments that the lesion must have, as `LesionAnnotation.kinetics` names them: a
            scar that is not there cannot be shown.
        diameter_mm: smallest and largest diameter of a sphere of its volume.
    """

    title: str
    type: LesionType
    pattern: str
    needs: tuple[str, ...] = ()
    diameter_mm: tuple[float, float] = (25.0, 60.0)


ENTRIES = (
    GalleryEntry(
        "Hepatocellular carcinoma",
        LesionType.HCC,
        "Brighter than liver in the arterial phase, then darker (wash-out); a thin capsule that"
        " enhances late; no uptake of gadoxetate.",
        ("hcc_capsule",),
    ),
    GalleryEntry(
        "Haemangioma",
        LesionType.HAEMANGIOMA,
        "Peripheral nodules with gaps, as bright as the aorta; fills in towards the centre and then"
        " follows the blood pool.",
        ("haemangioma_centre",),
    ),
    GalleryEntry(
        "Focal nodular hyperplasia",
        LesionType.FNH,
        "Strong, even arterial enhancement, then like liver; a central scar that enhances late. It"
        " keeps gadoxetate, but for the scar.",
        ("fnh_scar",),
    ),
    GalleryEntry(
        "Metastasis",
        LesionType.METASTASIS,
        "A target: an enhancing rim around a centre with little blood, darker than liver in the"
        " portal venous phase.",
    ),
    GalleryEntry(
        "Intrahepatic cholangiocarcinoma",
        LesionType.ICC,
        "An arterial rim; the fibrous centre enhances slowly from outside in and is brightest in"
        " the delayed phase.",
    ),
    GalleryEntry(
        "Cyst",
        LesionType.CYST,
        "Water: dark on both modalities, sharply bordered, no enhancement in any phase.",
        diameter_mm=(15.0, 40.0),
    ),
    GalleryEntry(
        "Calcification",
        LesionType.CALCIFICATION,
        "Bright on every CT phase, dark on MR, no enhancement.",
        diameter_mm=(7.0, 25.0),
    ),
    GalleryEntry(
        "Other: abscess",
        LesionType.OTHER,
        "A wall that enhances around pus that does not.",
        ("abscess_rim",),
        (20.0, 60.0),
    ),
    GalleryEntry(
        "Other: adenoma",
        LesionType.OTHER,
        "Arterial enhancement, weaker than that of focal nodular hyperplasia, then like liver;"
        " mostly no uptake of gadoxetate.",
        ("adenoma",),
        (20.0, 60.0),
    ),
    GalleryEntry(
        "Other: angiomyolipoma",
        LesionType.OTHER,
        "Fat: below 0 HU on CT, dark on fat-suppressed MR; its vessels enhance in the arterial"
        " phase.",
        ("angiomyolipoma",),
        (20.0, 60.0),
    ),
    GalleryEntry(
        "Other: lymphoma",
        LesionType.OTHER,
        "Even and darker than liver in every phase, with little enhancement; vessels run past it.",
        ("lymphoma",),
        (20.0, 60.0),
    ),
)


@dataclass(frozen=True)
class Example:
    """A simulated case that shows an entry.

    Attributes:
        entry: what it shows.
        case: its number in the phantom.
        study: the images.
        truth: of the study.
        lesion: the lesion to look at.
        diameter_mm: of a sphere of the lesion's volume.
        hepatobiliary: the same body examined with gadoxetate, MR only.
    """

    entry: GalleryEntry
    case: int
    study: Study
    truth: Annotation
    lesion: LesionAnnotation
    diameter_mm: float
    hepatobiliary: tuple[Study, Annotation] | None = None


def find_example(
    entry: GalleryEntry,
    modality: Modality,
    seed: int,
    *,
    shape: tuple[int, int, int] = SHAPE,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
) -> Example:
    """The first case, in the phantom's order, with a lesion fit to show an entry.

    Of several such lesions in it, the largest is shown. Fit are lesions of the entry's size and
    compartments that lie inside the liver and inside the slab, in a study whose arterial phase was
    well timed: the liver then shows 0.1 to 0.55 of its portal enhancement.

    Args:
        entry: what to show.
        modality: MR or CT.
        seed: of the phantom.
        shape: of the grid (Z, Y, X).
        spacing_mm: of the grid.

    Raises:
        ValueError: none of the first `TRIES` cases is fit.
    """
    phantom = _phantom(entry, modality, seed, AGENT[modality], shape, spacing_mm)
    for case in range(TRIES):
        study, truth = phantom[case]
        fit = [
            (d, lesion)
            for lesion in truth.lesion_list
            if (d := _fit_diameter_mm(entry, truth, lesion))
        ]
        if fit and _well_timed(truth):
            diameter_mm, lesion = max(fit, key=lambda found: found[0])
            second = (
                _phantom(entry, modality, seed, "gadoxetate", shape, spacing_mm)[case]
                if modality is Modality.MR
                else None
            )
            return Example(entry, case, study, truth, lesion, diameter_mm, second)
    raise ValueError(
        f"seed={seed} has no {modality} case fit to show {entry.title!r} among its first {TRIES}:"
        " choose another seed"
    )


def _phantom(
    entry: GalleryEntry,
    modality: Modality,
    seed: int,
    agent: str,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
) -> Phantom:
    """Cases with three lesions of the entry's type; the body does not depend on the agent."""
    return Phantom(
        modality,
        seed,
        shape=shape,
        spacing_mm=spacing_mm,
        lesion_types=(entry.type,) * 3,
        agents=(agent,),
    )


def _fit_diameter_mm(entry: GalleryEntry, truth: Annotation, lesion: LesionAnnotation) -> float:
    """Diameter of a lesion, 0 where it is not fit to show the entry."""
    mask = truth.lesions.array == lesion.label
    diameter_mm = float((6 * mask.sum() * np.prod(truth.lesions.spacing) / np.pi) ** (1 / 3))
    compartments = {name.partition(".")[0] for name in lesion.kinetics}
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    inside_slab = slices.size and slices[0] > 1 and slices[-1] < len(mask) - 2
    if not (
        entry.diameter_mm[0] <= diameter_mm <= entry.diameter_mm[1]
        and set(entry.needs) <= compartments
        and inside_slab
    ):
        return 0.0
    assert truth.organs is not None
    steps = max(1, round(6 / truth.lesions.spacing[1]))
    around = binary_dilation(mask, np.ones((1, 3, 3), bool), iterations=steps) & ~mask
    return diameter_mm if np.isin(truth.organs.array[around], LIVER_ORGANS).mean() > 0.8 else 0.0


def _well_timed(truth: Annotation) -> bool:
    pre, arterial, portal = (
        truth.liver_curve.get(phase, np.nan) for phase in (Phase.PRE, Phase.ARTERIAL, Phase.PORTAL)
    )
    return bool(0.1 < (arterial - pre) / (portal - pre) < 0.55)
