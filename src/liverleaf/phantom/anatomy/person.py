"""A person drawn at random: the trunk with its organs and lesions, as labels on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np

from liverleaf.phantom.anatomy.body import Habitus, body_noise, paint_trunk
from liverleaf.phantom.anatomy.canvas import Canvas, Field, Tissue, axial_affine, body_axes
from liverleaf.phantom.anatomy.lesions import USUAL_MIX, LesionMix, grow_lesions, plan_lesions
from liverleaf.phantom.anatomy.organs import Viscera, paint_organs
from liverleaf.study import Modality
from liverleaf.terminology import LesionType

__all__ = ["Anatomy", "Subject", "Tissue", "build_anatomy"]

# heights in body coordinates, 0 at the hilum of the liver
_LIVER_CENTRE_MM = 5.0
_LUNG_BASE_MM = 140.0


@dataclass(frozen=True)
class Subject:
    """What varies from person to person and is known to the later stages.

    Attributes:
        weight_kg: body weight; doses follow it.
        cirrhosis: 0 (none) to 1 (severe): nodular surface, small right lobe, large spleen, delayed
            portal inflow.
        steatosis: fat fraction of the liver, 0 to 0.3.
    """

    weight_kg: float
    cirrhosis: float
    steatosis: float


@dataclass(frozen=True)
class Anatomy:
    """A labelled body.

    Attributes:
        tissue: uint8 values of `Tissue` (Z, Y, X).
        lesions: uint16 instance labels on the same grid, 0 outside lesions.
        lesion_types: the type of label 1, 2, 3, ...
        subject: the person.
        isointensity: per lesion, the share of the liver's own signal and perfusion that it has, in
            [0, 1]; empty for 0.
    """

    tissue: hd.Volume
    lesions: hd.Volume
    lesion_types: tuple[LesionType, ...]
    subject: Subject
    isointensity: tuple[float, ...] = ()


def build_anatomy(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    modality: Modality,
    lesion_types: Sequence[LesionType] | None = None,
    lesion_mix: LesionMix = USUAL_MIX,
    centre_z_mm: float | None = None,
) -> Anatomy:
    """Draw a person and label the part of the trunk that a grid covers.

    The grid is axial, Z towards the head, Y towards the back, X towards the patient's left, centred
    on the trunk but for a few millimetres. The affine's origin is the midline of the body at the
    height of the hilum of the liver.

    Args:
        rng: where randomness comes from; one state gives one anatomy.
        shape: voxels along (Z, Y, X).
        spacing_mm: voxel size along (Z, Y, X).
        modality: where a slab lies when `centre_z_mm` is None: MR is centred on the liver; CT
            begins near the base of the lungs when it is longer than 240 mm and else lies around the
            liver.
        lesion_types: one lesion for each of these, as far as the liver on this grid has room; None
            draws 0 to 8 lesions.
        lesion_mix: which lesions are drawn where `lesion_types` is None, and how they look.
        centre_z_mm: height of the slab's centre over the hilum of the liver; about -300 is the
            pelvis.

    Raises:
        ValueError: the shape or the spacing is not positive.
    """
    if min(shape) < 1 or min(spacing_mm) <= 0:
        raise ValueError(
            f"shape and spacing_mm must be positive, got shape={shape} and spacing_mm={spacing_mm}"
        )
    # z, y, x
    scale = np.array([rng.uniform(0.92, 1.08), rng.uniform(0.9, 1.15), rng.uniform(0.88, 1.12)])
    skin_fat_mm = float(np.clip(rng.lognormal(2.75, 0.5), 4, 45))
    planned = plan_lesions(rng, lesion_types, lesion_mix)
    carcinoma = any(kind is LesionType.HCC for kind, _ in planned)
    subject, habitus, viscera = _draw_build(rng, float(scale.prod()), skin_fat_mm, carcinoma)
    centre = np.array([_slab_centre(rng, shape[0] * spacing_mm[0], modality), *rng.normal(0, 5, 2)])
    if centre_z_mm is not None:
        centre[0] = centre_z_mm
    origin = centre - (np.array(shape) - 1) / 2 * spacing_mm
    canvas = _stretch_canvas(rng, shape, spacing_mm, origin, scale)
    cavity = paint_trunk(rng, canvas, habitus)
    paint_organs(rng, canvas, cavity, viscera)
    labels, kinds = grow_lesions(rng, canvas, cavity.abdomen, planned)
    affine = axial_affine(origin, spacing_mm)
    return Anatomy(
        tissue=hd.Volume(canvas.tissue, affine, "PATIENT"),
        lesions=hd.Volume(labels, affine, "PATIENT"),
        lesion_types=kinds,
        subject=subject,
        isointensity=tuple(rng.uniform(*lesion_mix.isointensity, len(kinds)).tolist()),
    )


def _draw_build(
    rng: np.random.Generator, size: float, skin_fat_mm: float, carcinoma: bool
) -> tuple[Subject, Habitus, Viscera]:
    """Body and organs of a person; most of those with a carcinoma have cirrhosis.

    Args:
        rng: where randomness comes from.
        size: volume of the trunk against the average.
        skin_fat_mm: thickness of the fat under the skin.
        carcinoma: whether the person has a hepatocellular carcinoma.
    """
    cirrhosis = float(rng.uniform(0.15, 1)) if rng.random() < (0.65 if carcinoma else 0.25) else 0.0
    steatosis = (
        float(rng.uniform(0.05, 0.3)) if rng.random() < 0.25 else float(rng.uniform(0, 0.05))
    )
    weight_kg = float(np.clip(60 * size + 1.1 * skin_fat_mm + rng.normal(0, 3), 40, 160))
    habitus = Habitus(
        skin_fat_mm, dome_mm=float(rng.uniform(80, 105)), heart=float(rng.uniform(0.88, 1.15))
    )
    viscera = Viscera(
        cirrhosis=cirrhosis,
        right_lobe=float(rng.uniform(0.84, 1.0) - 0.1 * cirrhosis),
        left_tip_mm=float(rng.uniform(30, 95)),
        spleen=float(rng.uniform(0.85, 1.2) + 0.4 * cirrhosis),
        gallbladder=bool(rng.random() < 0.85),
        bowel_loops=int(rng.integers(22, 48)),
    )
    return Subject(weight_kg, cirrhosis, steatosis), habitus, viscera


def _slab_centre(rng: np.random.Generator, length_mm: float, modality: Modality) -> float:
    """Height of a slab's centre (mm): MR on the liver, long CT from the base of the lungs down."""
    if modality is Modality.MR:
        return float(_LIVER_CENTRE_MM + rng.normal(0, 8))
    if length_mm > 240:
        return float(rng.uniform(_LUNG_BASE_MM - 35, _LUNG_BASE_MM + 30) - length_mm / 2)
    return float(_LIVER_CENTRE_MM + rng.normal(0, 20))


def _stretch_canvas(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    origin: np.ndarray,
    scale: np.ndarray,
) -> Canvas:
    """An empty canvas whose body coordinates are scaled to the person and smoothly deformed."""
    axes = body_axes(origin, shape, spacing_mm, scale)
    shifts: list[Field] = [
        5 * np.clip(body_noise(rng, axes, 70), -2.5, 2.5)
        + 1.2 * np.clip(body_noise(rng, axes, 22), -2.5, 2.5)
        for _ in range(3)
    ]
    slack_mm = max(float(np.abs(shift).max()) for shift in shifts)
    grid = np.meshgrid(*axes, indexing="ij", sparse=True)
    z, y, x = (
        np.asarray(line + shift, np.float32) for line, shift in zip(grid, shifts, strict=True)
    )
    return Canvas(axes, x, y, z, slack_mm, spacing_mm, np.zeros(shape, np.uint8))
