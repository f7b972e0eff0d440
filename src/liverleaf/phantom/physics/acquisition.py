"""A labelled body and a protocol in, the multi-phase study that a scanner would make of it and its full truth out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import generate_uid

from liverleaf.phantom.anatomy.fields import draw_field
from liverleaf.phantom.anatomy.person import Anatomy, Subject, Tissue
from liverleaf.phantom.physics import artefacts
from liverleaf.phantom.physics.kinetics import (
    Perfusion,
    blood_inputs,
    concentrations,
    draw_circulation,
    draw_perfusion,
    parameters,
)
from liverleaf.phantom.physics.motion import draw_motion, forward_shift_mm, resampled
from liverleaf.phantom.physics.protocol import Protocol
from liverleaf.phantom.physics.signal import (
    FAT_T1_S,
    HEPATOCYTE_R1,
    PROPERTIES,
    RELAXIVITY,
    Properties,
    blended,
    draw_properties,
    iodine_hu,
    spgr_signal,
)
from liverleaf.study import (
    REFERENCE_ORDER,
    Annotation,
    LesionAnnotation,
    Modality,
    OnDemand,
    Phase,
    PhaseImage,
    Study,
)
from liverleaf.terminology import Organ

ORGANS: Mapping[Tissue, Organ] = {
    Tissue.AIR: Organ.BACKGROUND,
    Tissue.FAT: Organ.FAT,
    Tissue.MUSCLE: Organ.MUSCLE,
    Tissue.BONE_CORTEX: Organ.BONE,
    Tissue.BONE_MARROW: Organ.BONE,
    Tissue.LUNG: Organ.LUNG,
    Tissue.MYOCARDIUM: Organ.HEART,
    Tissue.HEART_BLOOD: Organ.HEART,
    Tissue.LIVER: Organ.LIVER,
    Tissue.PORTAL_VEIN: Organ.PORTAL_VEIN,
    Tissue.HEPATIC_VEIN: Organ.HEPATIC_VEIN,
    Tissue.AORTA: Organ.AORTA,
    Tissue.VENA_CAVA: Organ.VENA_CAVA,
    Tissue.SPLEEN: Organ.SPLEEN,
    Tissue.KIDNEY_CORTEX: Organ.KIDNEY,
    Tissue.KIDNEY_MEDULLA: Organ.KIDNEY,
    Tissue.STOMACH_WALL: Organ.STOMACH,
    Tissue.STOMACH_CONTENT: Organ.STOMACH,
    Tissue.BOWEL_WALL: Organ.BOWEL,
    Tissue.BOWEL_CONTENT: Organ.BOWEL,
    Tissue.BOWEL_GAS: Organ.BOWEL,
    Tissue.BILE: Organ.GALLBLADDER,
    Tissue.PANCREAS: Organ.PANCREAS,
    Tissue.SOFT_TISSUE: Organ.BODY,
}
"""Organ by tissue; compartments of lesions count as liver."""

INTERPOLATION_VOXELS = 0.41
"""What linear interpolation at random places blurs the moved phases by; the phase that does not
move gets it as well, lest it stand out."""

CODES_PER_LESION = 64
"""A voxel's code is 64 * lesion label + tissue: what every property is looked up by."""


@dataclass(frozen=True)
class Compartment:
    """One tissue of the body, or of one lesion, with what was drawn for it."""

    code: int
    tissue: Tissue
    voxels: int
    properties: Properties
    perfusion: Perfusion


@dataclass(frozen=True)
class Scene:
    """A body ready for imaging, on the reference grid.

    Attributes:
        tissue: values of `Tissue`.
        lesions: instance labels.
        body: what the codes mean.
        codes: code by voxel.
        levels: intensity by code, without agent (column 0) and at each phase (columns 1, 2, ...).
        texture: unevenness without agent, in image units.
        mosaic: relative enhancement, about 1.
    """

    tissue: hd.Volume
    lesions: hd.Volume
    body: tuple[Compartment, ...]
    codes: NDArray[np.uint16]
    levels: NDArray[np.float32]
    texture: NDArray[np.float32]
    mosaic: NDArray[np.float32]

    def appearance(self, column: int) -> NDArray[np.float32]:
        """The noise-free, unmoved image of a phase."""
        native = self.levels[:, 0]
        return (
            native[self.codes]
            + self.texture
            + (self.levels[:, column] - native)[self.codes] * self.mosaic
        )


def acquire(
    anatomy: Anatomy,
    protocol: Protocol,
    rng: np.random.Generator,
    *,
    case_id: str = "phantom",
    own_grids: bool = False,
) -> tuple[Study, Annotation]:
    """Image a body.

    Args:
        anatomy: the body, on the grid of the reference phase.
        protocol: scanner and examination.
        rng: source of chance; the same state gives the same study.
        case_id: pseudonym of the study.
        own_grids: give every phase but the reference a grid of its own (other voxel size and
            origin).

    Returns:
        The study with whole-numbered intensities and the truth on the reference grid; curves are
            means of the noise-free, unmoved image.
    """
    scene = _draw_scene(anatomy, protocol, rng, case_id)
    coil = draw_field(rng, scene.codes.shape, scene.tissue.spacing, 150.0)
    arms = artefacts.draw_arms(rng) if protocol.streaks else ()
    reference = next(phase for phase in REFERENCE_ORDER if phase in protocol.times_s)
    inside = np.flatnonzero(scene.lesions.array)
    labels = scene.lesions.array.ravel()[inside]
    voxels = np.maximum(np.bincount(labels, minlength=len(anatomy.lesion_types) + 1), 1)
    liver = np.flatnonzero(scene.codes == Tissue.LIVER)

    blur = tuple(
        np.hypot(
            protocol.blur_voxels,
            np.array([0.0, protocol.kernel_mm, protocol.kernel_mm]) / scene.tissue.spacing,
        )
    )
    images: dict[Phase, PhaseImage] = {}
    curves: dict[Phase, NDArray[np.float64]] = {}
    liver_curve: dict[Phase, float] = {}
    shifts: dict[Phase, Callable[[], NDArray[np.float32]]] = {}
    for column, (phase, time_s) in enumerate(protocol.times_s.items(), start=1):
        image = scene.appearance(column)
        curves[phase] = np.bincount(labels, image.ravel()[inside], voxels.size) / voxels
        if liver.size:
            liver_curve[phase] = float(image.ravel()[liver].mean())
        grid, axes = _grid(scene.tissue, rng if own_grids and phase is not reference else None)
        motion = None if phase is reference else draw_motion(scene.tissue, protocol, phase, rng)
        if motion:
            shifts[phase] = partial(forward_shift_mm, motion, scene.tissue)
        softness = np.hypot(blur, 0.0 if motion else INTERPOLATION_VOXELS)
        moved = resampled(artefacts.blurred(image, tuple(softness)), axes, motion, scene.tissue)
        middle = (np.array(scene.codes.shape) - 1) / 2
        places_mm = [
            (axis - m) * step
            for axis, m, step in zip(axes, middle, scene.tissue.spacing, strict=True)
        ]
        stored = _stored(
            moved, phase, protocol, coil.on_axes(axes)[0], arms, rng, grid.spacing, places_mm
        )
        images[phase] = PhaseImage(
            grid.with_array(stored),
            time_s,
            evidence=("simulated",),
            description=protocol.descriptions.get(phase, ""),
        )
    study = Study(protocol.modality, images, case_id=case_id, agent=protocol.agent.name)
    organs = scene.tissue.with_array(organ_values()[scene.tissue.array])
    lesion_list = tuple(
        LesionAnnotation(
            label,
            lesion_type,
            {phase: float(means[label]) for phase, means in curves.items()},
            kinetics_of([c for c in scene.body if c.code // CODES_PER_LESION == label]),
        )
        for label, lesion_type in enumerate(anatomy.lesion_types, start=1)
    )
    return study, Annotation(scene.lesions, organs, lesion_list, liver_curve, OnDemand(shifts))


def _draw_scene(
    anatomy: Anatomy, protocol: Protocol, rng: np.random.Generator, case_id: str
) -> Scene:
    codes = anatomy.lesions.array.astype(np.uint16) * CODES_PER_LESION + anatomy.tissue.array
    frame = generate_uid(entropy_srcs=[case_id, sha256(codes).hexdigest(), str(protocol)])
    tissue, lesions = (
        hd.Volume(v.array, v.affine, "PATIENT", frame) for v in (anatomy.tissue, anatomy.lesions)
    )
    body = _draw_compartments(codes, anatomy, rng)
    levels = _levels(body, protocol, anatomy.subject, rng)
    texture = draw_texture(codes, body, protocol, levels[:, 0], rng, tissue.spacing)
    return Scene(
        tissue,
        lesions,
        tuple(body),
        codes,
        levels,
        texture,
        draw_mosaic(codes, body, rng, tissue.spacing),
    )


def _draw_compartments(
    codes: NDArray[np.uint16], anatomy: Anatomy, rng: np.random.Generator
) -> list[Compartment]:
    counts = np.bincount(codes.ravel())
    body: list[Compartment] = []
    for code in map(int, np.flatnonzero(counts)):
        tissue, subject = Tissue(code % CODES_PER_LESION), anatomy.subject
        properties = draw_properties(tissue, subject, rng)
        perfusion = draw_perfusion(tissue, subject, rng)
        likeness = (
            anatomy.likeness[code // CODES_PER_LESION - 1]
            if anatomy.likeness and code >= CODES_PER_LESION
            else 0.0
        )
        liver = next((c for c in body if c.code == Tissue.LIVER), None)
        if likeness and liver:
            properties, perfusion = (
                blended(properties, liver.properties, likeness),
                blended(perfusion, liver.perfusion, likeness),
            )
        # its hepatocytes are the person's own, mostly a little more eager
        if tissue is Tissue.FNH and liver:
            taken_up = float(liver.perfusion.uptake_per_min * np.exp(rng.normal(0.15, 0.2)))
            perfusion = replace(perfusion, uptake_per_min=taken_up)
        body.append(Compartment(code, tissue, int(counts[code]), properties, perfusion))
    return body


def _levels(
    body: Sequence[Compartment], protocol: Protocol, subject: Subject, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Intensity by code, without agent (column 0) and at each phase (columns 1, 2, ...)."""
    times_s = list(protocol.times_s.values())
    inputs = blood_inputs(
        protocol.agent, draw_circulation(protocol.agent, subject, rng), end_s=max(*times_s, 1.0)
    )
    outside, hepatocytes = concentrations(
        [c.perfusion for c in body], inputs, protocol.agent, times_s
    )
    none = np.zeros((len(body), 1))
    outside, hepatocytes = np.hstack([none, outside]), np.hstack([none, hepatocytes])
    properties = [c.properties for c in body]
    if protocol.modality is Modality.CT:
        signal = ct_levels(properties, outside, protocol)
    else:
        signal = mr_levels(properties, outside, hepatocytes, protocol)
    levels = np.zeros((max(c.code for c in body) + 1, signal.shape[1]), np.float32)
    levels[[c.code for c in body]] = signal
    return levels


def ct_levels(
    properties: Sequence[Properties], concentration_mM: NDArray[np.float64], protocol: Protocol
) -> NDArray[np.float64]:
    """HU of N tissues at concentrations of iodine of shape (N, P); lower voltages are given less of it, as in practice."""
    dose = {100: 0.85}.get(protocol.kilovolt, 1.0)
    return np.array([[p.hu] for p in properties]) + dose * iodine_hu(
        concentration_mM, kilovolt=protocol.kilovolt
    )


def mr_levels(
    properties: Sequence[Properties],
    outside_mM: NDArray[np.float64],
    hepatocytes_mM: NDArray[np.float64],
    protocol: Protocol,
) -> NDArray[np.float64]:
    """Spoiled gradient echo signal of N tissues at concentrations outside and inside hepatocytes, both of shape (N, P)."""
    r1, r2 = RELAXIVITY[protocol.agent.name][protocol.field_tesla]
    high = protocol.field_tesla == 3.0
    t1_s = np.array([[p.t1_s[int(high)]] for p in properties])
    t2_star_s = np.array([[p.t2_star_s] for p in properties]) * (2 / 3 if high else 1.0)
    fat = np.array([[p.fat_fraction] for p in properties])
    water = spgr_signal(
        t1_s,
        tr_s=protocol.tr_s,
        flip_deg=protocol.flip_deg,
        added_rate_per_s=r1 * outside_mM + HEPATOCYTE_R1[protocol.field_tesla] * hepatocytes_mM,
        decay=np.exp(-protocol.te_s * (1 / t2_star_s + r2 * outside_mM)),
    )
    lipid = spgr_signal(FAT_T1_S[int(high)], tr_s=protocol.tr_s, flip_deg=protocol.flip_deg) * (
        0.08 if protocol.fat_suppressed else 1.0
    )
    density = np.array([[p.proton_density] for p in properties])
    return protocol.scale * density * ((1 - fat) * water + fat * lipid)


def draw_texture(
    codes: NDArray[np.uint16],
    body: Sequence[Compartment],
    protocol: Protocol,
    native: NDArray[np.float32],
    rng: np.random.Generator,
    spacing_mm: Sequence[float],
) -> NDArray[np.float32]:
    """Unevenness of the tissues without agent, in image units."""
    amplitude = np.zeros(native.size, np.float32)
    for c in body:
        percent = protocol.modality is Modality.MR
        amplitude[c.code] = c.properties.texture * (native[c.code] / 100 if percent else 1.0)
    return np.asarray(
        amplitude[codes] * _two_scales(rng, codes.shape, spacing_mm, fine_mm=3.0, coarse_mm=18.0)
    )


def draw_mosaic(
    codes: NDArray[np.uint16],
    body: Sequence[Compartment],
    rng: np.random.Generator,
    spacing_mm: Sequence[float],
) -> NDArray[np.float32]:
    """Relative enhancement inside the tissues, about 1; the larger a lesion, the more uneven."""
    amplitude = np.zeros(max(c.code for c in body) + 1, np.float32)
    for c in body:
        diameter_mm = 2 * (c.voxels * np.prod(spacing_mm) * 3 / (4 * np.pi)) ** (1 / 3)
        size = np.clip(diameter_mm / 40, 0.5, 1.6) if c.code >= CODES_PER_LESION else 1.0
        amplitude[c.code] = c.properties.mosaic * size
    field = _two_scales(rng, codes.shape, spacing_mm, fine_mm=5.0, coarse_mm=14.0)
    return np.asarray(np.clip(1 + amplitude[codes] * field, 0.1, 2.5))


def _two_scales(
    rng: np.random.Generator,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    *,
    fine_mm: float,
    coarse_mm: float,
) -> NDArray[np.float32]:
    axes = [np.arange(n) for n in shape]
    fine, coarse = (
        draw_field(rng, shape, spacing_mm, scale).on_axes(axes)[0] for scale in (fine_mm, coarse_mm)
    )
    return np.asarray(np.float32(0.6) * fine + np.float32(0.8) * coarse)


def _grid(
    reference: hd.Volume, rng: np.random.Generator | None
) -> tuple[hd.Volume, list[NDArray[np.float64]]]:
    """A phase's grid, inside the reference's, and its voxels' indices on the reference grid per axis; the same grid without a generator."""
    axes = [np.arange(n, dtype=float) for n in reference.spatial_shape]
    if rng is not None:
        for axis, (low, high) in enumerate([(0.8, 1.6), (0.9, 1.2), (0.9, 1.2)]):
            step = rng.uniform(low, high)
            start = rng.uniform(0.0, step)
            axes[axis] = (
                np.arange(start, axes[axis][-1], step) if axes[axis].size > 1 else axes[axis]
            )
    steps = [axis[1] - axis[0] if axis.size > 1 else 1.0 for axis in axes]
    placed = np.diag([*steps, 1.0])
    placed[:3, 3] = [axis[0] for axis in axes]
    return (
        hd.Volume(
            np.broadcast_to(np.float32(0), [axis.size for axis in axes]),
            reference.affine @ placed,
            coordinate_system="PATIENT",
            frame_of_reference_uid=reference.frame_of_reference_uid,
        ),
        axes,
    )


def _stored(
    image: NDArray[np.float32],
    phase: Phase,
    protocol: Protocol,
    coil: NDArray[np.float32],
    arms: Sequence[artefacts.Shadow],
    rng: np.random.Generator,
    spacing_mm: Sequence[float],
    places_mm: Sequence[NDArray[np.float64]],
) -> NDArray[np.float32]:
    """What the scanner stores: artefacts, noise, whole numbers."""
    if protocol.modality is Modality.CT:
        noisy = image + artefacts.ct_noise(
            rng,
            image.shape,
            spacing_mm,
            protocol.noise,
            grain_mm=protocol.grain_mm,
            lateral=protocol.lateral_noise,
            overlap_mm=protocol.overlap_mm,
        )
        if arms:
            noisy += np.where(
                image > -300, artefacts.streaks(rng, places_mm, protocol.streaks, arms), 0
            )
        return np.asarray(np.rint(np.clip(noisy, -1024, 3071)))
    if phase is Phase.ARTERIAL and protocol.ghost:
        image = artefacts.ghosted(image, protocol.ghost, rng)
    image = image * np.exp(np.float32(protocol.bias) * coil)
    none = np.zeros((1, 1))
    liver = mr_levels([PROPERTIES[Tissue.LIVER]], none, none, protocol)[0, 0]
    return np.asarray(
        np.rint(np.clip(artefacts.rician(rng, image, protocol.noise * liver), 0, 32767))
    )


def kinetics_of(compartments: Sequence[Compartment]) -> dict[str, float]:
    """The true parameters of a lesion's compartments, names led by the compartment's."""
    return {
        name: value
        for c in compartments
        if c.tissue in PROPERTIES
        for name, value in parameters(c.perfusion, prefix=c.tissue.name.lower()).items()
    }


def organ_values() -> NDArray[np.uint8]:
    """Organ value by tissue value."""
    values = np.full(CODES_PER_LESION, Organ.LIVER, np.uint8)
    for tissue, organ in ORGANS.items():
        values[tissue] = organ
    return values
