"""The scanner: from a labelled body and a protocol to a multi-phase study and its truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import generate_uid

from liverleaf.phantom.anatomy.fields import SplineField, draw_field
from liverleaf.phantom.anatomy.person import Anatomy, Subject, Tissue
from liverleaf.phantom.physics import artefacts
from liverleaf.phantom.physics.intensity import (
    CODES_PER_LESION,
    Compartment,
    ct_intensities,
    draw_heterogeneity,
    draw_texture,
    kinetics_of,
    mr_intensities,
    organ_values,
)
from liverleaf.phantom.physics.kinetics import (
    blood_inputs,
    concentrations,
    draw_circulation,
    draw_perfusion,
)
from liverleaf.phantom.physics.motion import draw_motion, forward_shift_mm, resampled
from liverleaf.phantom.physics.protocol import Protocol
from liverleaf.phantom.physics.signal import PROPERTIES, blended, draw_properties
from liverleaf.study import (
    REFERENCE_ORDER,
    Annotation,
    BodyPart,
    LesionAnnotation,
    Modality,
    OnDemand,
    Phase,
    PhaseImage,
    Study,
)
from liverleaf.terminology import LesionType

INTERPOLATION_VOXELS = 0.41
"""What linear interpolation at random places blurs the moved phases by; the phase that does not
move gets it as well, lest it stand out."""


@dataclass(frozen=True)
class NoiseFreeStudy:
    """What an ideal scanner would see of a body that does not move, on the reference grid.

    Attributes:
        tissue: values of `Tissue`.
        lesions: instance labels.
        compartments: what the codes mean.
        codes: code by voxel.
        intensities: by code, without agent (column 0) and at each phase (columns 1, 2, ...).
        texture: unevenness without agent, in image units.
        heterogeneity: relative enhancement of each voxel, about 1.
    """

    tissue: hd.Volume
    lesions: hd.Volume
    compartments: tuple[Compartment, ...]
    codes: NDArray[np.uint16]
    intensities: NDArray[np.float32]
    texture: NDArray[np.float32]
    heterogeneity: NDArray[np.float32]

    def image(self, column: int) -> NDArray[np.float32]:
        """The image of the phase in that column of `intensities`."""
        native = self.intensities[:, 0]
        return (
            native[self.codes]
            + self.texture
            + (self.intensities[:, column] - native)[self.codes] * self.heterogeneity
        )

    def means(self, image: NDArray[np.float32]) -> NDArray[np.float64]:
        """Mean intensity of the liver's parenchyma (NaN without any) and of lesion 1, 2, 3, ..."""
        inside = np.flatnonzero(self.lesions.array)
        labels = self.lesions.array.ravel()[inside]
        number = max((c.lesion for c in self.compartments), default=0)
        voxels = np.maximum(np.bincount(labels, minlength=number + 1), 1)
        means = np.bincount(labels, image.ravel()[inside], voxels.size) / voxels
        liver = np.flatnonzero(self.codes == Tissue.LIVER)
        means[0] = image.ravel()[liver].mean() if liver.size else np.nan
        return means


@dataclass(frozen=True)
class Scanner:
    """What of the scanner and of the patient's position is the same in all phases of a study.

    Attributes:
        protocol: its settings.
        blur_voxels: standard deviation of the point spread (slice, row, column).
        coil: logarithm of the coil's sensitivity, of unit variance.
        arms: shadows of arms beside the trunk, on CT.
    """

    protocol: Protocol
    blur_voxels: tuple[float, ...]
    coil: SplineField
    arms: tuple[artefacts.Shadow, ...]


def acquire(
    anatomy: Anatomy,
    protocol: Protocol,
    rng: np.random.Generator,
    *,
    case_id: str = "phantom",
    own_grids: bool = False,
) -> tuple[Study, Annotation]:
    """Image a body in all phases of a protocol.

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
    ideal = _draw_noise_free(anatomy, protocol, rng, case_id)
    scanner = _draw_scanner(ideal, protocol, rng)
    reference = next(phase for phase in REFERENCE_ORDER if phase in protocol.times_s)
    images: dict[Phase, PhaseImage] = {}
    means: dict[Phase, NDArray[np.float64]] = {}
    shifts: dict[Phase, Callable[[], NDArray[np.float32]]] = {}
    for column, phase in enumerate(protocol.times_s, start=1):
        image = ideal.image(column)
        means[phase] = ideal.means(image)
        moving = phase is not reference
        grid, axes = _grid(ideal.tissue, rng if own_grids and moving else None)
        motion = draw_motion(ideal.tissue, protocol, phase, rng) if moving else None
        if motion:
            shifts[phase] = partial(forward_shift_mm, motion, ideal.tissue)
        images[phase] = PhaseImage(
            grid.with_array(_scan(image, phase, ideal.tissue, grid, axes, motion, scanner, rng)),
            protocol.times_s[phase],
            evidence=("simulated",),
            description=protocol.descriptions.get(phase, ""),
        )
    study = Study(
        protocol.modality,
        images,
        case_id=case_id,
        agent=protocol.agent.name,
        body_part=BodyPart(protocol.body_part.lower()),
    )
    return study, _truth(ideal, anatomy.lesion_types, means, shifts)


def _truth(
    ideal: NoiseFreeStudy,
    lesion_types: Sequence[LesionType],
    means: Mapping[Phase, NDArray[np.float64]],
    shifts: Mapping[Phase, Callable[[], NDArray[np.float32]]],
) -> Annotation:
    lesion_list = tuple(
        LesionAnnotation(
            label,
            lesion_type,
            {phase: float(values[label]) for phase, values in means.items()},
            kinetics_of([c for c in ideal.compartments if c.lesion == label]),
        )
        for label, lesion_type in enumerate(lesion_types, start=1)
    )
    organs = ideal.tissue.with_array(organ_values()[ideal.tissue.array])
    liver_curve = {
        phase: float(values[0]) for phase, values in means.items() if not np.isnan(values[0])
    }
    return Annotation(ideal.lesions, organs, lesion_list, liver_curve, OnDemand(shifts))


def _draw_noise_free(
    anatomy: Anatomy, protocol: Protocol, rng: np.random.Generator, case_id: str
) -> NoiseFreeStudy:
    codes = anatomy.lesions.array.astype(np.uint16) * CODES_PER_LESION + anatomy.tissue.array
    frame = generate_uid(entropy_srcs=[case_id, sha256(codes).hexdigest(), str(protocol)])
    tissue, lesions = (
        hd.Volume(v.array, v.affine, "PATIENT", frame) for v in (anatomy.tissue, anatomy.lesions)
    )
    compartments = _draw_compartments(codes, anatomy, rng)
    intensities = _draw_intensities(compartments, protocol, anatomy.subject, rng)
    native = intensities[:, 0]
    texture = draw_texture(codes, compartments, protocol, native, rng, tissue.spacing)
    heterogeneity = draw_heterogeneity(codes, compartments, rng, tissue.spacing)
    return NoiseFreeStudy(
        tissue, lesions, tuple(compartments), codes, intensities, texture, heterogeneity
    )


def _draw_scanner(ideal: NoiseFreeStudy, protocol: Protocol, rng: np.random.Generator) -> Scanner:
    spacing = ideal.tissue.spacing
    kernel_voxels = np.array([0.0, protocol.kernel_mm, protocol.kernel_mm]) / spacing
    return Scanner(
        protocol,
        tuple(np.hypot(protocol.blur_voxels, kernel_voxels)),
        draw_field(rng, ideal.codes.shape, spacing, 150.0),
        artefacts.draw_arms(rng) if protocol.streaks else (),
    )


def _scan(
    image: NDArray[np.float32],
    phase: Phase,
    reference: hd.Volume,
    grid: hd.Volume,
    axes: Sequence[NDArray[np.float64]],
    motion: SplineField | None,
    scanner: Scanner,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """One phase as the scanner stores it, in whole numbers.

    Blurred, moved, with artefacts and noise.

    Args:
        image: noise-free, on the reference grid.
        phase: which it is.
        reference: the reference grid.
        grid: the phase's own grid.
        axes: reference voxel indices of its slices, rows and columns.
        motion: where its tissue lies in the reference phase; None for no motion.
        scanner: what is the same in all phases.
        rng: source of chance.
    """
    softness = np.hypot(scanner.blur_voxels, 0.0 if motion else INTERPOLATION_VOXELS)
    moved = resampled(artefacts.blurred(image, tuple(softness)), axes, motion, reference)
    if scanner.protocol.modality is Modality.MR:
        return _stored_mr(moved, phase, scanner, scanner.coil.on_axes(axes)[0], rng)
    middle = (np.array(reference.spatial_shape) - 1) / 2
    positions_mm = [
        (axis - m) * step for axis, m, step in zip(axes, middle, reference.spacing, strict=True)
    ]
    return _stored_ct(moved, grid.spacing, positions_mm, scanner, rng)


def _draw_compartments(
    codes: NDArray[np.uint16], anatomy: Anatomy, rng: np.random.Generator
) -> list[Compartment]:
    """Properties and perfusion of every tissue of the body and of every lesion compartment."""
    counts = np.bincount(codes.ravel())
    body: list[Compartment] = []
    for code in map(int, np.flatnonzero(counts)):
        tissue, subject = Tissue(code % CODES_PER_LESION), anatomy.subject
        properties = draw_properties(tissue, subject, rng)
        perfusion = draw_perfusion(tissue, subject, rng)
        lesion = code // CODES_PER_LESION
        isointensity = anatomy.isointensity[lesion - 1] if anatomy.isointensity and lesion else 0.0
        liver = next((c for c in body if c.code == Tissue.LIVER), None)
        if isointensity and liver:
            properties = blended(properties, liver.properties, isointensity)
            perfusion = blended(perfusion, liver.perfusion, isointensity)
        # its hepatocytes are the person's own and mostly take up a little more
        if tissue is Tissue.FNH and liver:
            taken_up = float(liver.perfusion.uptake_per_min * np.exp(rng.normal(0.15, 0.2)))
            perfusion = replace(perfusion, uptake_per_min=taken_up)
        body.append(Compartment(code, tissue, int(counts[code]), properties, perfusion))
    return body


def _draw_intensities(
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
        signal = ct_intensities(properties, outside, protocol)
    else:
        signal = mr_intensities(properties, outside, hepatocytes, protocol)
    intensities = np.zeros((max(c.code for c in body) + 1, signal.shape[1]), np.float32)
    intensities[[c.code for c in body]] = signal
    return intensities


def _grid(
    reference: hd.Volume, rng: np.random.Generator | None
) -> tuple[hd.Volume, list[NDArray[np.float64]]]:
    """A phase's grid inside the reference's, and its lines along each axis in reference voxels.

    Args:
        reference: the reference grid.
        rng: draws voxel size and origin; None for the reference grid itself.
    """
    axes = [np.arange(n, dtype=float) for n in reference.spatial_shape]
    if rng is not None:
        for axis, (low, high) in enumerate([(0.8, 1.6), (0.9, 1.2), (0.9, 1.2)]):
            step = rng.uniform(low, high)
            start = rng.uniform(0.0, step)
            axes[axis] = (
                np.arange(start, axes[axis][-1], step) if axes[axis].size > 1 else axes[axis]
            )
    steps = [axis[1] - axis[0] if axis.size > 1 else 1.0 for axis in axes]
    to_reference = np.diag([*steps, 1.0])
    to_reference[:3, 3] = [axis[0] for axis in axes]
    return (
        hd.Volume(
            np.broadcast_to(np.float32(0), [axis.size for axis in axes]),
            reference.affine @ to_reference,
            coordinate_system="PATIENT",
            frame_of_reference_uid=reference.frame_of_reference_uid,
        ),
        axes,
    )


def _stored_ct(
    image: NDArray[np.float32],
    spacing_mm: Sequence[float],
    positions_mm: Sequence[NDArray[np.float64]],
    scanner: Scanner,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Noise and the streaks of arms, in whole HU within what 12 bits hold."""
    protocol = scanner.protocol
    noisy = image + artefacts.ct_noise(
        rng,
        image.shape,
        spacing_mm,
        protocol.noise,
        grain_mm=protocol.grain_mm,
        lateral=protocol.lateral_noise,
        overlap_mm=protocol.overlap_mm,
    )
    if scanner.arms:
        streaks = artefacts.streaks(rng, positions_mm, protocol.streaks, scanner.arms)
        noisy += np.where(image > -300, streaks, 0)
    return np.asarray(np.rint(np.clip(noisy, -1024, 3071)))


def _stored_mr(
    image: NDArray[np.float32],
    phase: Phase,
    scanner: Scanner,
    coil: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Ghosts of breathing, the coil's sensitivity and noise, in whole numbers."""
    protocol = scanner.protocol
    if phase is Phase.ARTERIAL and protocol.ghost:
        image = artefacts.ghosted(image, protocol.ghost, rng)
    image = image * np.exp(np.float32(protocol.bias) * coil)
    none = np.zeros((1, 1))
    liver = mr_intensities([PROPERTIES[Tissue.LIVER]], none, none, protocol)[0, 0]
    noisy = artefacts.rician(rng, image, protocol.noise * liver)
    return np.asarray(np.rint(np.clip(noisy, 0, 32767)))
