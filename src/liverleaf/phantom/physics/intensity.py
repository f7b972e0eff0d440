"""Intensity and texture of labelled tissue: HU of CT, spoiled gradient echo signal of MR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liverleaf.phantom.anatomy.canvas import Tissue
from liverleaf.phantom.anatomy.fields import draw_field
from liverleaf.phantom.physics.kinetics import Perfusion, parameters
from liverleaf.phantom.physics.protocol import Protocol
from liverleaf.phantom.physics.signal import (
    FAT_T1_S,
    HEPATOCYTE_R1,
    PROPERTIES,
    RELAXIVITY,
    Properties,
    iodine_hu,
    spgr_signal,
)
from liverleaf.study import Modality
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

CODES_PER_LESION = 64
"""A voxel's code is 64 * lesion label + tissue: what every property is looked up by."""


@dataclass(frozen=True)
class Compartment:
    """One tissue of the body, or of one lesion, with what was drawn for it.

    Attributes:
        code: `CODES_PER_LESION` * lesion label + tissue; the label is 0 outside lesions.
        tissue: what it is made of.
        voxels: how many have this code.
        properties: what it shows without contrast agent.
        perfusion: how it is supplied with blood.
    """

    code: int
    tissue: Tissue
    voxels: int
    properties: Properties
    perfusion: Perfusion

    @property
    def lesion(self) -> int:
        """Label of the lesion it belongs to, 0 for none."""
        return self.code // CODES_PER_LESION


def ct_intensities(
    properties: Sequence[Properties], concentration_mM: NDArray[np.float64], protocol: Protocol
) -> NDArray[np.float64]:
    """HU of N tissues at concentrations of iodine of shape (N, P).

    At lower tube voltages less iodine is given, as in practice.
    """
    dose = {100: 0.85}.get(protocol.kilovolt, 1.0)
    return np.array([[p.hu] for p in properties]) + dose * iodine_hu(
        concentration_mM, kilovolt=protocol.kilovolt
    )


def mr_intensities(
    properties: Sequence[Properties],
    outside_mM: NDArray[np.float64],
    hepatocytes_mM: NDArray[np.float64],
    protocol: Protocol,
) -> NDArray[np.float64]:
    """Spoiled gradient echo signal of N tissues in P phases, (N, P).

    Args:
        properties: one per tissue.
        outside_mM: concentration of the agent outside hepatocytes, (N, P).
        hepatocytes_mM: concentration inside them, (N, P).
        protocol: scanner settings.
    """
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


def draw_heterogeneity(
    codes: NDArray[np.uint16],
    body: Sequence[Compartment],
    rng: np.random.Generator,
    spacing_mm: Sequence[float],
) -> NDArray[np.float32]:
    """Relative enhancement inside the tissues, about 1; larger lesions are more heterogeneous."""
    amplitude = np.zeros(max(c.code for c in body) + 1, np.float32)
    for c in body:
        diameter_mm = 2 * (c.voxels * np.prod(spacing_mm) * 3 / (4 * np.pi)) ** (1 / 3)
        size = np.clip(diameter_mm / 40, 0.5, 1.6) if c.code >= CODES_PER_LESION else 1.0
        amplitude[c.code] = c.properties.heterogeneity * size
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
