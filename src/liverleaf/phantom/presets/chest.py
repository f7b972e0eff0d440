"""Chest CT with its truth: healthy lungs, COVID-19 pneumonia or lung cancer."""

from __future__ import annotations

from typing import NamedTuple

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import generate_uid
from scipy import ndimage

from liverleaf.phantom.anatomy.canvas import Field, Tissue, Window, axial_affine
from liverleaf.phantom.anatomy.lung_trees import AIR_HU, Tree, coverage, with_trees
from liverleaf.phantom.anatomy.person import Subject
from liverleaf.phantom.anatomy.thorax import Chest, draw_chest
from liverleaf.phantom.physics import artefacts
from liverleaf.phantom.physics.intensity import ORGANS
from liverleaf.phantom.physics.kinetics import AGENTS
from liverleaf.phantom.physics.protocol import Protocol
from liverleaf.phantom.physics.signal import draw_properties
from liverleaf.study import (
    Annotation,
    BodyPart,
    LesionAnnotation,
    Modality,
    Phase,
    PhaseImage,
    Study,
)
from liverleaf.terminology import LesionType, Organ

DIAGNOSES = ("normal", "covid-19", "lung cancer")
DESCRIPTIONS = {
    "SIEMENS": "THORAX 1.0 B60f",
    "GE MEDICAL SYSTEMS": "CHEST LUNG",
    "Philips": "THORAX YB",
}
"""Series description by manufacturer."""


class LungDisease(NamedTuple):
    """What disease adds to the lungs, each field (Z, Y, X).

    Attributes:
        ground_glass: weight in [0, 1]; beneath vessels and airways, which stay visible.
        ground_glass_hu: the HU to which it pulls.
        solid: weight in [0, 1] of what replaces vessels and airways.
        solid_hu: the HU to which it pulls.
        labels: instance label of each opacity.
    """

    ground_glass: Field
    ground_glass_hu: Field
    solid: Field
    solid_hu: Field
    labels: NDArray[np.uint16]


def chest_case(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    case_id: str,
) -> tuple[Study, Annotation, Protocol]:
    """Draw one person's chest CT without contrast agent.

    The three diagnoses "normal", "covid-19" and "lung cancer" are equally frequent. Normal lungs
    may hold emphysema, scars, granulomas or dependent density. A grid without room for a lesion,
    for instance one without lung, gives "normal". Opacities that touch are one lesion.

    Args:
        rng: source of chance; one state gives one case.
        shape: voxels along (Z, Y, X).
        spacing_mm: voxel size along (Z, Y, X). The grid is axial, Z towards the head, Y towards the
            back, X towards the patient's left, with its centre a little below the carina.
        case_id: pseudonym of the study.

    Returns:
        The study with whole-numbered HU; its truth: lesion voxels are Organ.LUNG, curves are
            noise-free means in HU; the protocol.

    Raises:
        ValueError: the shape or the spacing is not positive.

    Reference: Simpson et al., RSNA expert consensus on reporting chest CT findings related to
    COVID-19, Radiol Cardiothorac Imaging 2020;2:e200152; Hansell et al., Fleischner Society
    glossary of terms, Radiology 2008;246:697-722.
    """
    if min(shape) < 1 or min(spacing_mm) <= 0:
        raise ValueError(
            f"shape and spacing_mm must be positive, got shape={shape} and spacing_mm={spacing_mm}"
        )
    diagnosis = str(rng.choice(DIAGNOSES))
    chest = draw_chest(
        rng,
        shape,
        spacing_mm,
        node_mm=rng.uniform(5, 10) if diagnosis == "lung cancer" and rng.random() < 0.4 else 4.5,
    )
    hu, emphysema = _parenchyma(rng, chest)
    draw_disease = {"normal": _healthy, "covid-19": _pneumonia, "lung cancer": _cancer}[diagnosis]
    disease = draw_disease(rng, chest)
    hu += disease.ground_glass * (disease.ground_glass_hu - hu)
    hu = with_trees(rng, chest, hu)
    hu += disease.solid * (disease.solid_hu - hu)
    image = np.where(chest.lung, hu, _tissue_hu(rng, chest)).astype(np.float32)
    protocol = _draw_protocol(rng)
    volume = _scan(rng, chest, image, protocol, case_id)
    stored = PhaseImage(
        volume, None, evidence=("simulated",), description=protocol.descriptions[Phase.PRE]
    )
    study = Study(
        Modality.CT,
        {Phase.PRE: stored},
        case_id=case_id,
        body_part=BodyPart(protocol.body_part.lower()),
    )
    return study, _truth(volume, chest, disease.labels, image, emphysema, diagnosis), protocol


def _scan(
    rng: np.random.Generator, chest: Chest, image: Field, protocol: Protocol, case_id: str
) -> hd.Volume:
    """The image as the scanner stores it: blurred and noisy, in whole HU."""
    shape, spacing_mm = image.shape, chest.canvas.spacing_mm
    noise = artefacts.ct_noise(rng, shape, spacing_mm, protocol.noise)
    noisy = artefacts.blurred(image, protocol.blur_voxels) + noise
    frame = generate_uid(
        entropy_srcs=[case_id, str(shape), str(spacing_mm), str(float(image.sum(dtype=np.float64)))]
    )
    return hd.Volume(
        np.rint(np.clip(noisy, -1024, 3071)).astype(np.float32),
        axial_affine(chest.origin_mm, spacing_mm),
        "PATIENT",
        frame,
    )


def _truth(
    volume: hd.Volume,
    chest: Chest,
    labels: NDArray[np.uint16],
    image: Field,
    emphysema: NDArray[np.bool_],
    diagnosis: str,
) -> Annotation:
    """Lesions with their noise-free means, organs, the diagnosis, and how much lung is involved."""
    voxels = np.bincount(labels.ravel())
    means = np.bincount(labels.ravel(), image.ravel()) / np.maximum(voxels, 1)
    involved, emphysematous = (
        100 * float(n) / max(int(chest.lung.sum()), 1) for n in (voxels[1:].sum(), emphysema.sum())
    )
    return Annotation(
        volume.with_array(labels),
        volume.with_array(_organs(chest)),
        tuple(
            LesionAnnotation(label, LesionType.OTHER, {Phase.PRE: float(means[label])})
            for label in range(1, voxels.size)
        ),
        diagnosis=diagnosis if voxels.size > 1 else "normal",
        markers={
            "involved_lung_percent": round(involved, 2),
            "emphysema_percent": round(emphysematous, 2),
        },
    )


def _draw_protocol(rng: np.random.Generator) -> Protocol:
    manufacturer, in_plane = str(rng.choice(list(DESCRIPTIONS))), float(rng.uniform(0.3, 0.55))
    return Protocol(
        Modality.CT,
        AGENTS["iodine"],
        {Phase.PRE: 0.0},
        manufacturer=manufacturer,
        descriptions={Phase.PRE: DESCRIPTIONS[manufacturer]},
        kilovolt=int(rng.choice([100, 120], p=[0.3, 0.7])),
        noise=float(rng.uniform(8, 30)),
        blur_voxels=(float(rng.uniform(0.3, 0.5)), in_plane, in_plane),
        body_part="CHEST",
    )


def _parenchyma(rng: np.random.Generator, chest: Chest) -> tuple[Field, NDArray[np.bool_]]:
    """HU of the lung without vessels, with natural variation, and where it is emphysematous."""
    canvas, depth = chest.canvas, chest.depth_mm
    hu = rng.normal(-868, 18) + 9 * canvas.noise(rng, 6) + 9 * canvas.noise(rng, 22)
    hu += rng.uniform(15, 75) * np.clip((canvas.y + 40) / 130, -0.3, 1.2) ** 2 + 14 * np.exp(
        -depth / 3
    )
    if rng.random() < 0.3:  # dependent density along the back
        hu += (
            rng.uniform(120, 380)
            * np.clip((canvas.y - rng.uniform(50, 66)) / 20, 0, 1)
            * np.exp(-depth / rng.uniform(3, 8))
        )
    rise = 1 / np.sqrt(2.0)  # of a typical fissure: how much of its thickness lies along z
    sd_mm = np.hypot(0.7, 0.29 * rise * canvas.spacing_mm[0])
    hu += (
        750
        * 0.6
        / (2.5 * sd_mm)
        * np.clip(0.8 + canvas.noise(rng, 40), 0, 1.3)
        * np.exp(-0.5 * (chest.fissure_mm / sd_mm) ** 2)
    )
    emphysema = np.zeros(chest.lung.shape, bool)
    if rng.random() < 0.25:
        upper = rng.uniform(0.2, 1.0) + np.clip((canvas.z - 20) / 90, -1, 1)
        holes = np.clip((canvas.noise(rng, rng.uniform(5, 9)) + 0.8 * upper - 2.0) * 3, 0, 1)
        hu += holes * (-965 - hu)
        emphysema = chest.lung & (holes > 0.5)
    return np.asarray(hu, np.float32), emphysema


def _healthy(rng: np.random.Generator, chest: Chest) -> LungDisease:  # noqa: ARG001
    """Healthy lungs; the generator is there for the signature that all diagnoses share."""
    none = np.zeros(chest.lung.shape, np.float32)
    return LungDisease(none, none, none, none, np.zeros(none.shape, np.uint16))


def _draw_centre(
    rng: np.random.Generator, chest: Chest, weight: Field, wanted: NDArray[np.bool_]
) -> NDArray[np.intp] | None:
    """A random lung voxel with probability by weight, among those wanted where there are any.

    None where there is no lung.
    """
    for where in (chest.lung & wanted, chest.lung):
        voxels = np.flatnonzero(where)
        if voxels.size:
            total = np.cumsum(weight.ravel()[voxels].astype(float) + 1e-9)
            chosen = voxels[
                min(int(np.searchsorted(total, rng.random() * total[-1])), voxels.size - 1)
            ]
            return np.array(np.unravel_index(chosen, chest.lung.shape))
    return None


def _around(chest: Chest, centre: NDArray[np.intp], reach_mm: float) -> tuple[Window, list[Field]]:
    """The part of the grid within reach of a voxel, and the offsets there along z, y and x, mm."""
    spacing = np.array(chest.canvas.spacing_mm)
    low = np.maximum(centre - np.ceil(reach_mm / spacing).astype(int), 0)
    high = np.minimum(centre + np.ceil(reach_mm / spacing).astype(int) + 1, chest.lung.shape)
    lines = [
        (np.arange(a, b) - s) * np.float32(h)
        for a, b, s, h in zip(low, high, centre, spacing, strict=True)
    ]
    window = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    return window, list(np.meshgrid(*lines, indexing="ij", sparse=True))


def _pneumonia(rng: np.random.Generator, chest: Chest) -> LungDisease:
    """COVID-19 pneumonia: subpleural ground-glass opacities of both lungs, mostly low and dorsal.

    With reticulation (crazy paving) and consolidation.
    """
    canvas, lung, depth = chest.canvas, chest.lung, chest.depth_mm
    severity, soft = rng.beta(1.3, 1.6), rng.uniform(0.25, 0.55)
    cloud, fine = canvas.noise(rng, 13), canvas.noise(rng, 5)
    weight = np.exp(-depth / 9 + 0.014 * canvas.y - 0.012 * canvas.z + 0.02 * np.abs(canvas.x))
    ground_glass, core = np.zeros(lung.shape, np.float32), np.zeros(lung.shape, np.float32)
    for number in range(2 + int(rng.poisson(3 + 16 * severity))):
        centre = _draw_centre(rng, chest, weight, (canvas.x < 0) == bool(number % 2))
        if centre is None:
            break
        radius = float(np.clip(rng.lognormal(2.75 + 0.6 * severity, 0.4), 7, 55))
        window, offsets = _around(chest, centre, 2.2 * radius)
        stretch = rng.uniform(0.75, 1.35, 3)
        layer = (depth[window] - depth[tuple(centre)]) / (0.7 * radius)  # they hug the pleura
        rho = np.sqrt(
            sum((d / (radius * s)) ** 2 for d, s in zip(offsets, stretch, strict=True)) + layer**2
        )
        inner = 1 - rho + 0.28 * cloud[window] + 0.1 * fine[window]
        atoll = (
            0.5 * np.clip((inner - 0.45) * 3, 0, 1) if radius > 14 and rng.random() < 0.15 else 0
        )
        np.maximum(
            ground_glass[window],
            np.clip(0.5 + inner / (2 * soft), 0, 1) - atoll,
            out=ground_glass[window],
        )
        if rng.random() < 0.15 + 0.5 * severity:
            np.maximum(
                core[window],
                np.clip(
                    (0.6 * inner + 0.15 * fine[window] + 0.25 * cloud[window] - 0.45) * 2.2, 0, 1
                ),
                out=core[window],
            )
    labels = _connected_opacities(ground_glass * lung > 0.5, canvas.spacing_mm)
    near = ndimage.maximum_filter(labels, size=[2 * int(6 / s) + 1 for s in canvas.spacing_mm]) > 0
    ground_glass, core = ground_glass * near, core * near
    # crazy paving
    lines = np.clip(1 - np.abs(canvas.noise(rng, 6)) / 0.22, 0, 1) * rng.uniform(0, 1)
    hu = rng.uniform(-690, -520) + 45 * cloud + 30 * fine + 190 * lines
    hu += core * (rng.uniform(-120, 10) + 20 * fine - hu)
    none = np.zeros(lung.shape, np.float32)
    return LungDisease(ground_glass, hu.astype(np.float32), none, none, labels)


def _connected_opacities(
    mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float], *, smallest_ml: float = 0.15
) -> NDArray[np.uint16]:
    """Number connected opacities, without the smallest; the largest stays in any case."""
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = sizes >= min(smallest_ml * 1000 / np.prod(spacing_mm), sizes.max())
    kept[sizes == 0] = False
    return np.asarray((np.cumsum(kept) * kept)[labels], np.uint16)


def _cancer(rng: np.random.Generator, chest: Chest) -> LungDisease:
    """One to three tumours, most of them spiculated; some strands reach the pleura."""
    canvas, shape = chest.canvas, chest.lung.shape
    ground_glass, solid, hu = (np.zeros(shape, np.float32) for _ in range(3))
    found = LungDisease(
        ground_glass,
        rng.uniform(-650, -480) + 40 * canvas.noise(rng, 10),
        solid,
        hu,
        np.zeros(shape, np.uint16),
    )
    bumps, fine = canvas.noise(rng, 10), canvas.noise(rng, 4)
    rays: list[Tree] = []
    for number in range(1, 2 + int(rng.choice(3, p=[0.75, 0.17, 0.08]))):
        radius = float(np.clip(rng.lognormal(2.35, 0.6), 3, 35))
        free = (chest.depth_mm > min(0.5 * radius, 12)) & (found.labels == 0)
        centre = _draw_centre(rng, chest, np.exp(0.006 * canvas.z), free)
        if centre is None or found.labels[tuple(centre)]:
            break
        stretch = rng.uniform(0.8, 1.2, 3)
        _add_tumour(rng, chest, found, number, (centre, radius, stretch), (bumps, fine))
        if rng.random() < 0.75:
            rays.append(_spicules(rng, centre * np.array(canvas.spacing_mm), radius, stretch))
    strands = coverage(rays, shape, canvas.spacing_mm) * chest.lung
    hu[strands >= solid] = 30
    return found._replace(solid=np.maximum(solid, strands))


def _add_tumour(
    rng: np.random.Generator,
    chest: Chest,
    found: LungDisease,
    number: int,
    place: tuple[NDArray[np.intp], float, NDArray[np.float64]],
    noise: tuple[Field, Field],
) -> None:
    """Draw a lobulated tumour.

    Some are necrotic, cavitary or rimmed by ground glass; `place` is centre, radius (mm), stretch.
    """
    centre, radius, stretch = place
    window, offsets = _around(chest, centre, 1.8 * radius + 8)
    bumps = noise[0][window]
    fine = noise[1][window]
    lung = chest.lung[window]
    labels = found.labels[window]
    rho = np.sqrt(sum((d / (radius * s)) ** 2 for d, s in zip(offsets, stretch, strict=True)))
    # mm under the surface
    inner = (1 - rho + rng.uniform(0.05, 0.16) * bumps + 0.04 * fine) * radius
    value = rng.uniform(22, 55) + 4 * fine
    if radius > 11 and rng.random() < 0.4:
        hollow = np.clip(inner / radius - rng.uniform(0.35, 0.6) + 0.15 * bumps, 0, 0.15) / 0.15
        value += hollow * (rng.choice([AIR_HU, 12.0], p=[0.45, 0.55]) - value)
    cover = np.clip(inner / min(chest.canvas.spacing_mm) + 0.5, 0, 1) * lung
    rim_mm = rng.uniform(2, 6) if rng.random() < 0.25 else 0.0
    glass = np.clip((inner + rim_mm) / 2 + 0.5, 0, 1) * (rim_mm > 0)
    mine = ((cover >= 0.5) | (glass > 0.5)) & lung & (labels == 0)
    mine[tuple(s - w.start for s, w in zip(centre, window, strict=True))] = True
    labels[mine] = number
    found.solid_hu[window] = np.where(cover > 0, value, found.solid_hu[window])
    np.maximum(found.solid[window], cover, out=found.solid[window])
    np.maximum(found.ground_glass[window], glass, out=found.ground_glass[window])


def _spicules(rng: np.random.Generator, centre: NDArray, radius: float, stretch: NDArray) -> Tree:
    """Spicules of a tumour in all directions; a few long ones reach for the pleura."""
    count = int(rng.integers(25, 70))
    way = rng.normal(0, 1, (count, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    reach = radius * 1.05 + np.minimum(rng.exponential(0.4 * radius + 3, (count, 1)), 25)
    start, end = centre + 0.75 * radius * stretch * way, centre + reach * stretch * way
    width = np.stack([rng.uniform(0.1, 0.18, count) * radius + 1.1, np.full(count, 0.7)], axis=1)
    return Tree(start, (start + end) / 2 + rng.normal(0, 0.06 * radius, (count, 3)), end, width)


def _tissue_hu(rng: np.random.Generator, chest: Chest) -> Field:
    """HU of everything but the lungs, with the table under the back."""
    canvas = chest.canvas
    subject = Subject(weight_kg=75.0, cirrhosis=0.0, steatosis=float(rng.uniform(0, 0.15)))
    levels, amplitude = np.zeros(256, np.float32), np.zeros(256, np.float32)
    blood = draw_properties(Tissue.AORTA, subject, rng).hu
    for tissue in np.flatnonzero(np.bincount(canvas.tissue.ravel())):
        properties = draw_properties(Tissue(int(tissue)), subject, rng)
        levels[tissue], amplitude[tissue] = properties.hu, properties.texture
    levels[[Tissue.AORTA, Tissue.VENA_CAVA, Tissue.HEART_BLOOD]] = blood
    # few drink contrast agent before a chest CT
    levels[Tissue.STOMACH_CONTENT] = min(levels[Tissue.STOMACH_CONTENT], 60)
    hu = levels[canvas.tissue] + amplitude[canvas.tissue] * canvas.noise(rng, 3)
    x, y = canvas.axes[2], canvas.axes[1][:, None]
    table = np.abs(y - 134 + 0.0012 * x**2) < 1.6
    hu[:, table & (np.abs(x) < 210)] = np.maximum(hu[:, table & (np.abs(x) < 210)], -420)
    return np.asarray(hu, np.float32)


def _organs(chest: Chest) -> NDArray[np.uint8]:
    """Organ by voxel; the windpipe's air belongs to the body."""
    values = np.full(256, Organ.BODY, np.uint8)
    for tissue, organ in ORGANS.items():
        values[tissue] = organ
    organs = values[chest.canvas.tissue]
    outside = ndimage.label(chest.canvas.tissue == Tissue.AIR)[0]
    border = np.unique(outside[:, :, [0, -1]])
    organs[(chest.canvas.tissue == Tissue.AIR) & ~np.isin(outside, border)] = Organ.BODY
    organs[chest.lung] = Organ.LUNG
    return np.asarray(organs)
