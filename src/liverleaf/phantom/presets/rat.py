"""Weekly MRI of rats with orthotopic hepatocellular carcinoma under treatment, with its truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import highdicom as hd
import numpy as np
from numpy.typing import NDArray

from liverleaf.phantom.anatomy.canvas import Tissue
from liverleaf.phantom.anatomy.fields import SplineField, draw_field
from liverleaf.phantom.anatomy.person import Subject
from liverleaf.phantom.anatomy.rat_body import LOBES, Tumour, draw_grid, paint_rat
from liverleaf.phantom.physics import artefacts
from liverleaf.phantom.physics.intensity import (
    CODES_PER_LESION,
    Compartment,
    draw_heterogeneity,
    draw_texture,
    kinetics_of,
    mr_intensities,
    organ_values,
)
from liverleaf.phantom.physics.kinetics import (
    AGENTS,
    Circulation,
    blood_inputs,
    concentrations,
    draw_perfusion,
)
from liverleaf.phantom.physics.motion import draw_motion, forward_shift_mm, resampled
from liverleaf.phantom.physics.protocol import Protocol
from liverleaf.phantom.physics.signal import PROPERTIES, draw_properties
from liverleaf.phantom.presets.rat_course import WEEKS, TumourCourse, draw_arm, draw_course
from liverleaf.study import (
    Annotation,
    BodyPart,
    LesionAnnotation,
    Modality,
    OnDemand,
    Phase,
    PhaseImage,
    Species,
    Study,
)
from liverleaf.terminology import LesionType

CIRCULATION: Final = Circulation(
    arrival_s=4.0, width=0.27, slow_per_min=0.039, portal_delay_s=2.0, portal_dispersion_s=2.5
)
"""A rat's circulation: blood goes round in about 13 s against 55 s in a man (cardiac output and
blood volume: Brown et al., Toxicol Ind Health 1997;13:407-484), so what happens in a first pass
takes a quarter of the time. Gadobutrol leaves the extracellular space (0.23 l/kg: Vogler et al.,
Eur J Radiol 1995;21:1-10) at a glomerular filtration of about 9 ml/min/kg, with a half-life of 18
min."""
TRANSIT_SCALE: Final = 0.25
"""Transit times and delays of a rat's tissues against a man's, for the same reason."""

T2_S: Final[Mapping[Tissue, float]] = {
    Tissue.FAT: 0.120,
    Tissue.MUSCLE: 0.029,
    Tissue.BONE_CORTEX: 0.001,
    Tissue.BONE_MARROW: 0.049,
    Tissue.LUNG: 0.020,
    Tissue.MYOCARDIUM: 0.040,
    Tissue.LIVER: 0.034,
    Tissue.SPLEEN: 0.061,
    Tissue.KIDNEY_CORTEX: 0.076,
    Tissue.KIDNEY_MEDULLA: 0.085,
    Tissue.STOMACH_CONTENT: 0.070,
    Tissue.BOWEL_CONTENT: 0.100,
    Tissue.BILE: 0.600,
    Tissue.PANCREAS: 0.043,
    Tissue.HCC: 0.058,
    Tissue.HCC_NECROSIS: 0.105,
}
"""T2 at 3 T, 0.04 s for what is not listed. Normal tissues: de Bazelaire et al., Radiology
2004;230:652-659. Fat is longer than measured by single echoes because trains of echoes undo its
J-coupling: Henkelman et al., J Magn Reson Imaging 1992;2:533-540. Tumour: about twice that of liver
where it lives, longer where it has become liquid."""
FLOW_VOID: Final = 0.2
"""Share of its signal that flowing blood keeps in a spin echo."""
_BLOOD = (
    Tissue.HEART_BLOOD,
    Tissue.PORTAL_VEIN,
    Tissue.HEPATIC_VEIN,
    Tissue.AORTA,
    Tissue.VENA_CAVA,
)
# lengths of a man's organs over a rat's: textures are drawn as if voxels were this much larger
_HUMAN_SIZE: Final = 5.0


def rat_case(
    seed: int,
    index: int,
    *,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    case_id: str,
) -> tuple[Study, Annotation, Protocol]:
    """Simulate one session of one animal: T1w before and after gadobutrol, and T2w.

    All lie on one grid; the T2w image is in `Study.other`. Anatomy, arm, tumours and their course
    follow from the seed and the animal; positioning, filling of stomach and bowel, motion and noise
    from the week too. The slab is axial, Z towards the head, Y
    towards the back, X towards the animal's left, centred on the liver.

    Args:
        seed: of the cohort, from 0.
        index: session, animal * WEEKS + week.
        shape: of the grid (Z, Y, X); (32, 192, 192) holds the liver.
        spacing_mm: of the grid; (1.0, 0.35, 0.35) with that shape.
        case_id: pseudonym of the session.

    Returns:
        The study with whole-numbered float32 intensities; the truth on its grid, with "responder"
            or "non-responder" as diagnosis (the same in all weeks), and as markers the arm, the
            histology after the last week, and this week's tumour volume and necrosis; the protocol.

    Raises:
        IndexError: a negative index.
        ValueError: a shape or spacing that is not positive.
    """
    if index < 0:
        raise IndexError(f"case numbers start at 0, got {index}")
    if min(shape) < 1 or min(spacing_mm) <= 0:
        raise ValueError(
            f"shape and spacing_mm must be positive, got shape={shape} and spacing_mm={spacing_mm}"
        )
    animal, week = divmod(index, WEEKS)
    streams = np.random.SeedSequence((seed, animal)).spawn(4 + WEEKS)
    body, course_rng, tissue_rng, examination = map(np.random.default_rng, streams[:4])
    session = np.random.default_rng(streams[4 + week])
    course = draw_course(course_rng, draw_arm(seed, animal))
    tumours = _draw_tumours(course_rng, course, week)
    grid, canvas = draw_grid(body, session, shape, spacing_mm, case_id)
    labels = paint_rat(body, session, canvas, tumours, float(course.necrosis[week]))
    protocol = _draw_protocol(examination, session)
    study, truth = _image(
        session, grid, labels, _draw_tissues(tissue_rng, course, week), protocol, case_id
    )
    markers: dict[str, float | str] = {
        "arm": course.arm,
        "viability_percent": round(course.viability_percent, 1),
        "apoptosis_percent": round(course.apoptosis_percent, 1),
        "tumour_volume_mm3": round(float(course.volume_mm3[week]), 1),
        "necrosis_percent": round(100 * float(course.necrosis[week]), 1),
    }
    study = replace(
        study, subject_id=f"phantom-rat-hcc-{seed}-animal-{animal:04d}", week=float(week)
    )
    diagnosis = "responder" if course.responder else "non-responder"
    return study, replace(truth, diagnosis=diagnosis, markers=markers), protocol


def _draw_tumours(rng: np.random.Generator, course: TumourCourse, week: int) -> list[Tumour]:
    """One tumour, sometimes two, in the left lateral or median lobe.

    They are in the same place every week.
    """
    first = int(rng.integers(2))
    centres = [
        np.add(LOBES[lobe][0], rng.uniform(-0.3, 0.3, 3) * LOBES[lobe][1])
        for lobe in (first, 1 - first)
    ]
    second = rng.uniform(0.1, 0.35) if rng.random() < 0.2 else 0.0
    volumes_mm3 = [
        share * float(course.volume_mm3[week]) for share in (1 - second, second) if share
    ]
    return [
        Tumour(centre, (3 * volume / (4 * np.pi)) ** (1 / 3))
        for centre, volume in zip(centres, volumes_mm3, strict=False)
    ]


def _draw_protocol(examination: np.random.Generator, session: np.random.Generator) -> Protocol:
    """A clinical 3 T scanner with a small animal coil.

    Three-dimensional spoiled gradient echo, and fast spin echo before contrast.
    """
    t1w = Protocol(
        Modality.MR,
        AGENTS["gadobutrol"],
        {
            Phase.PRE: -round(float(session.uniform(60, 300)), 1),
            Phase.PORTAL: round(float(session.uniform(60, 90)), 1),
        },
        descriptions={Phase.PRE: "t1_fl3d_tra_rat_pre", Phase.PORTAL: "t1_fl3d_tra_rat_gd"},
        tr_s=float(examination.uniform(0.012, 0.016)),
        te_s=float(examination.uniform(0.0024, 0.0034)),
        flip_deg=float(examination.uniform(18, 25)),
        fat_suppressed=False,
        noise=float(1 / session.uniform(14, 28)),
        blur_voxels=(0.5, 0.55, 0.55),
        scale=float(examination.uniform(4000, 8000)),
        bias=float(session.uniform(0.12, 0.25)),
        ghost=float(session.uniform(0.003, 0.015)),
        shift_sd_mm=0.15,
        deformation_sd_mm=0.1,
    )
    t2w = replace(
        t1w,
        times_s={Phase.PRE: t1w.times_s[Phase.PRE] - 240.0},
        descriptions={Phase.PRE: "t2_tse_tra_rat"},
        spin_echo=True,
        tr_s=float(examination.uniform(2.5, 3.5)),
        te_s=float(examination.uniform(0.05, 0.065)),
        flip_deg=90.0,
        scale=t1w.scale / 4,
        ghost=float(session.uniform(0.005, 0.02)),
    )
    return replace(t1w, other={"t2w": t2w})


def _draw_tissues(
    rng: np.random.Generator, course: TumourCourse, week: int
) -> tuple[list[Compartment], NDArray[np.float64]]:
    """The tissues of an animal and their T2 (s), the same every week but for the tumours.

    Sorafenib lowers the blood and the exchange of what lives; inflammation brings water, so T1 and
    T2 of a swollen tumour are longer.
    """
    subject = Subject(weight_kg=0.3, cirrhosis=0.0, steatosis=float(rng.uniform(0, 0.04)))
    swollen = 1 + 0.3 * (float(course.swelling[week]) - 1)
    kinds = [(0, tissue) for tissue in PROPERTIES if tissue < Tissue.HCC]
    kinds += [(label, tissue) for label in (1, 2) for tissue in (Tissue.HCC, Tissue.HCC_NECROSIS)]
    compartments, t2_s = [], []
    for label, tissue in kinds:
        properties = draw_properties(tissue, subject, rng)
        usual = draw_perfusion(tissue, subject, rng)
        perfusion = replace(
            usual,
            transit_s=TRANSIT_SCALE * usual.transit_s,
            delay_s=TRANSIT_SCALE * usual.delay_s,
            exchange_s=0.5 * usual.exchange_s,
        )
        t2 = T2_S.get(tissue, 0.04) * np.exp(rng.normal(0, 0.10 if label else 0.05))
        if tissue is Tissue.HCC:
            flow = float(course.vascularity[week])
            perfusion = replace(
                perfusion,
                fast_volume=0.7 * flow * perfusion.fast_volume,
                slow_volume=flow * (perfusion.slow_volume + 0.10),
            )
            t1_low, t1_high = properties.t1_s
            properties = replace(properties, t1_s=(swollen * t1_low, swollen * t1_high))
            t2 = swollen * t2
        compartments.append(
            Compartment(label * CODES_PER_LESION + tissue, tissue, 0, properties, perfusion)
        )
        t2_s.append(t2)
    return compartments, np.array(t2_s)


def _spin_echo_intensities(
    compartments: Sequence[Compartment], t2_s: NDArray[np.float64], protocol: Protocol
) -> NDArray[np.float64]:
    """Fast spin echo signal (N,) of N tissues without agent, from the T2 of their water (s, (N,)).

    Fat adds its own signal; flowing blood loses most of it.
    """
    properties = [c.properties for c in compartments]
    t1_s = np.array([p.t1_s[int(protocol.field_tesla == 3.0)] for p in properties])
    density, fat = (
        np.array([getattr(p, name) for p in properties])
        for name in ("proton_density", "fat_fraction")
    )
    flow = np.where([c.tissue in _BLOOD for c in compartments], FLOW_VOID, 1.0)
    water = flow * (1 - np.exp(-protocol.tr_s / t1_s)) * np.exp(-protocol.te_s / t2_s)
    return np.asarray(
        protocol.scale
        * density
        * ((1 - fat) * water + fat * np.exp(-protocol.te_s / T2_S[Tissue.FAT]))
    )


def _draw_intensities(
    rng: np.random.Generator,
    body: Sequence[Compartment],
    t2_s: NDArray[np.float64],
    protocol: Protocol,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Intensity by code: spoiled gradient echo, (codes, phases), and T2-weighted, (codes, 1)."""
    times_s = list(protocol.times_s.values())
    rise, tail = np.exp(rng.normal(0, 0.12, 2))
    circulation = replace(
        CIRCULATION, width=CIRCULATION.width * rise, tail_fast=CIRCULATION.tail_fast * tail
    )
    inputs = blood_inputs(protocol.agent, circulation, end_s=max(times_s))
    outside, hepatocytes = concentrations(
        [c.perfusion for c in body], inputs, protocol.agent, times_s
    )
    values = (
        mr_intensities([c.properties for c in body], outside, hepatocytes, protocol),
        _spin_echo_intensities(body, t2_s, protocol.other["t2w"]),
    )
    codes = [c.code for c in body]
    t1w = np.zeros((max(codes) + 1, len(times_s)), np.float32)
    t2w = np.zeros((max(codes) + 1, 1), np.float32)
    t1w[codes], t2w[codes] = values[0], values[1][:, None]
    return t1w, t2w


def _image(
    rng: np.random.Generator,
    grid: hd.Volume,
    labels: NDArray[np.uint16],
    tissues: tuple[list[Compartment], NDArray[np.float64]],
    protocol: Protocol,
    case_id: str,
) -> tuple[Study, Annotation]:
    """Image a labelled body; curves are means of the noise-free, unmoved images."""
    codes = labels * np.uint16(CODES_PER_LESION) + grid.array
    counts = np.bincount(codes.ravel(), minlength=3 * CODES_PER_LESION)
    body = [replace(c, voxels=int(counts[c.code])) for c in tissues[0]]
    t1w, t2w = _draw_intensities(rng, body, tissues[1], protocol)
    large = tuple(_HUMAN_SIZE * s for s in grid.spacing)
    texture = draw_texture(codes, body, protocol, t1w[:, 0], rng, large)
    heterogeneity = draw_heterogeneity(codes, body, rng, large)
    clean = {
        phase: t1w[codes, 0] + texture + (t1w[:, n] - t1w[:, 0])[codes] * heterogeneity
        for n, phase in enumerate(protocol.times_s)
    }
    spin = t2w[codes, 0] + draw_texture(codes, body, protocol, t2w[:, 0], rng, large)

    coil = draw_field(rng, codes.shape, grid.spacing, 35.0)
    images: dict[Phase, PhaseImage] = {}
    shifts: dict[Phase, Callable[[], NDArray[np.float32]]] = {}
    for phase, image in clean.items():
        motion = None if phase is Phase.PORTAL else draw_motion(grid, protocol, phase, rng)
        if motion:
            shifts[phase] = partial(forward_shift_mm, motion, grid)
        noise = protocol.noise * float(t1w[Tissue.LIVER, 0])
        images[phase] = _stored(rng, image, phase, grid, motion, coil, protocol, noise)
    moved = draw_motion(grid, protocol, Phase.PRE, rng)
    other = _stored(
        rng,
        spin,
        Phase.PRE,
        grid,
        moved,
        coil,
        protocol.other["t2w"],
        protocol.noise * float(t2w[Tissue.LIVER, 0]),
    )
    study = Study(
        Modality.MR,
        images,
        case_id=case_id,
        agent=protocol.agent.name,
        other={"t2w": other},
        body_part=BodyPart(protocol.body_part.lower()),
        species=Species.RAT,
    )
    return study, _truth(grid, labels, body, clean, shifts)


def _truth(
    grid: hd.Volume,
    labels: NDArray[np.uint16],
    body: Sequence[Compartment],
    clean: Mapping[Phase, NDArray[np.float32]],
    shifts: Mapping[Phase, Callable[[], NDArray[np.float32]]],
) -> Annotation:
    """The truth of a session, from its noise-free images by phase."""
    lesion_list = tuple(
        LesionAnnotation(
            label,
            LesionType.HCC,
            {phase: float(image[labels == label].mean()) for phase, image in clean.items()},
            kinetics_of([c for c in body if c.lesion == label]),
        )
        for label in range(1, int(labels.max()) + 1)
    )
    liver = (grid.array == Tissue.LIVER) & (labels == 0)
    liver_curve = {
        phase: float(image[liver].mean()) for phase, image in clean.items() if liver.any()
    }
    return Annotation(
        grid.with_array(labels),
        grid.with_array(organ_values()[grid.array]),
        lesion_list,
        liver_curve,
        OnDemand(shifts),
    )


def _stored(
    rng: np.random.Generator,
    image: NDArray[np.float32],
    phase: Phase,
    grid: hd.Volume,
    motion: SplineField | None,
    coil: SplineField,
    protocol: Protocol,
    noise: float,
) -> PhaseImage:
    """One image as the scanner stores it: moved, blurred, with artefacts, in whole numbers."""
    axes = [np.arange(n, dtype=float) for n in grid.spatial_shape]
    seen = resampled(artefacts.blurred(image, protocol.blur_voxels), axes, motion, grid)
    seen = artefacts.ghosted(seen, protocol.ghost, rng) * np.exp(
        np.float32(protocol.bias) * coil.on_axes(axes)[0]
    )
    stored = np.rint(np.clip(artefacts.rician(rng, seen, noise), 0, 32767)).astype(np.float32)
    return PhaseImage(
        grid.with_array(stored),
        protocol.times_s[phase],
        evidence=("simulated",),
        description=protocol.descriptions[phase],
    )
