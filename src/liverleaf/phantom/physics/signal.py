"""Noise-free signal of tissues: HU of CT, spoiled gradient echo of MR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from liverleaf.phantom.anatomy.person import Subject, Tissue

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MG_IODINE_PER_UMOL = 0.1269
HU_PER_MG_IODINE_PER_ML: Mapping[int, float] = {100: 31.0, 110: 28.0, 120: 25.0}
"""Enhancement per concentration by tube voltage (kV)."""

FAT_T1_S = (0.343, 0.380)
"""T1 of fat at 1.5 T and at 3 T."""

RELAXIVITY: Mapping[str, Mapping[float, tuple[float, float]]] = {
    "gadobutrol": {1.5: (5.2, 6.1), 3.0: (5.0, 7.1)},
    "gadoterate": {1.5: (3.6, 4.3), 3.0: (3.5, 4.9)},
    "gadoxetate": {1.5: (6.9, 8.7), 3.0: (6.2, 11.0)},
}
"""r1 and r2 in blood plasma at 37 degrees C (/s/mM) by field strength. Reference: Rohrer et al.,
Invest Radiol 2005;40:715-724."""

HEPATOCYTE_R1: Mapping[float, float] = {1.5: 14.6, 3.0: 9.8}
"""r1 of gadoxetate inside hepatocytes (/s/mM), where its concentration is per volume of liver."""


@dataclass(frozen=True)
class Properties:
    """What one tissue shows without contrast agent.

    Attributes:
        hu: attenuation.
        t1_s: longitudinal relaxation times at 1.5 T and at 3 T.
        t2_star_s: at 1.5 T; two thirds of it at 3 T.
        proton_density: relative to water.
        fat_fraction: share of the protons that is fat, suppressed by fat saturation.
        hu_sd: spread of `hu` over subjects or lesions.
        t1_sd: relative spread of the relaxation time.
        texture: standard deviation inside the tissue, in HU for CT and in percent for MR.
        heterogeneity: relative standard deviation of the enhancement inside the tissue.
    """

    hu: float
    t1_s: tuple[float, float]
    t2_star_s: float = 0.030
    proton_density: float = 0.85
    fat_fraction: float = 0.0
    hu_sd: float = 5.0
    t1_sd: float = 0.06
    texture: float = 2.5
    heterogeneity: float = 0.06


_AIR = Properties(-1000, (1.0, 1.0), 0.001, 0.0, hu_sd=0, texture=0, heterogeneity=0)
_BLOOD = Properties(42, (1.440, 1.650), 0.100, 0.95, hu_sd=3, texture=1, heterogeneity=0.02)
_WATER = Properties(8, (2.900, 3.000), 0.400, 1.0, hu_sd=4, t1_sd=0.05, texture=1, heterogeneity=0)

PROPERTIES: Mapping[Tissue, Properties] = {
    Tissue.AIR: _AIR,
    Tissue.FAT: Properties(-102, FAT_T1_S, 0.060, 0.90, 0.95, hu_sd=6, texture=14, heterogeneity=0),
    Tissue.MUSCLE: Properties(55, (1.010, 1.420), 0.030, 0.75, texture=7),
    Tissue.BONE_CORTEX: Properties(
        650, (0.900, 1.000), 0.001, 0.12, hu_sd=90, texture=80, heterogeneity=0
    ),
    Tissue.BONE_MARROW: Properties(150, (0.550, 0.600), 0.012, 0.60, 0.45, hu_sd=45, texture=35),
    Tissue.LUNG: Properties(
        -850, (1.200, 1.300), 0.0015, 0.15, hu_sd=25, texture=25, heterogeneity=0
    ),
    Tissue.MYOCARDIUM: Properties(45, (1.030, 1.230), 0.035, 0.80),
    Tissue.HEART_BLOOD: _BLOOD,
    Tissue.LIVER: Properties(55, (0.586, 0.810), 0.028, 0.75, texture=2.5, heterogeneity=0.05),
    Tissue.PORTAL_VEIN: _BLOOD,
    Tissue.HEPATIC_VEIN: _BLOOD,
    Tissue.AORTA: _BLOOD,
    Tissue.VENA_CAVA: replace(_BLOOD, heterogeneity=0.10),  # unmixed renal and infrarenal blood
    Tissue.SPLEEN: Properties(48, (1.057, 1.330), 0.060, 0.85, heterogeneity=0.10),
    Tissue.KIDNEY_CORTEX: Properties(34, (0.966, 1.140), 0.060, 0.85),
    Tissue.KIDNEY_MEDULLA: Properties(32, (1.410, 1.550), 0.060, 0.90),
    Tissue.STOMACH_WALL: Properties(40, (0.950, 1.150), 0.030, 0.80),
    Tissue.STOMACH_CONTENT: Properties(
        15, (2.000, 2.200), 0.080, 0.90, hu_sd=12, t1_sd=0.3, texture=12, heterogeneity=0
    ),
    Tissue.BOWEL_WALL: Properties(40, (0.950, 1.150), 0.030, 0.80),
    Tissue.BOWEL_CONTENT: Properties(
        20, (1.500, 1.700), 0.050, 0.80, hu_sd=15, t1_sd=0.4, texture=18, heterogeneity=0
    ),
    Tissue.BOWEL_GAS: replace(_AIR, hu=-950, hu_sd=20),
    Tissue.BILE: replace(_WATER, hu=10, t1_s=(2.2, 2.4), t1_sd=0.3),
    Tissue.PANCREAS: Properties(40, (0.580, 0.750), 0.035, 0.80, texture=8, heterogeneity=0.10),
    Tissue.SOFT_TISSUE: Properties(38, (0.950, 1.200), 0.030, 0.75, texture=8),
    Tissue.HCC: Properties(
        50, (0.870, 1.150), 0.032, 0.85, texture=4, heterogeneity=0.25, t1_sd=0.1
    ),
    Tissue.HCC_NECROSIS: Properties(
        25, (1.400, 1.700), 0.050, 0.90, hu_sd=5, texture=5, heterogeneity=0.3, t1_sd=0.15
    ),
    Tissue.HCC_CAPSULE: Properties(46, (0.900, 1.150), 0.028, 0.75, t1_sd=0.1),
    Tissue.HAEMANGIOMA_NODULE: Properties(
        40, (1.350, 1.700), 0.080, 0.90, t1_sd=0.1, heterogeneity=0.10
    ),
    Tissue.HAEMANGIOMA_MIDDLE: Properties(
        40, (1.350, 1.700), 0.080, 0.90, t1_sd=0.1, heterogeneity=0.18
    ),
    Tissue.HAEMANGIOMA_CENTRE: Properties(
        40, (1.350, 1.700), 0.080, 0.90, t1_sd=0.1, heterogeneity=0.18
    ),
    Tissue.FNH: Properties(52, (0.680, 0.900), 0.030, 0.80, t1_sd=0.08, heterogeneity=0.08),
    Tissue.FNH_SCAR: Properties(40, (1.000, 1.300), 0.035, 0.85, t1_sd=0.1),
    Tissue.METASTASIS_RIM: Properties(
        40, (0.950, 1.250), 0.035, 0.85, t1_sd=0.1, texture=4, heterogeneity=0.25
    ),
    Tissue.METASTASIS_CENTRE: Properties(
        40, (1.000, 1.300), 0.035, 0.85, hu_sd=5, t1_sd=0.15, texture=5, heterogeneity=0.35
    ),
    Tissue.ICC_RIM: Properties(
        42, (0.950, 1.250), 0.032, 0.85, t1_sd=0.1, texture=4, heterogeneity=0.20
    ),
    Tissue.ICC_CENTRE: Properties(
        42, (1.000, 1.300), 0.032, 0.85, t1_sd=0.1, texture=4, heterogeneity=0.22
    ),
    Tissue.CYST: _WATER,
    Tissue.CALCIFICATION: Properties(
        350, (0.900, 1.000), 0.003, 0.25, hu_sd=110, texture=40, heterogeneity=0
    ),
    Tissue.ABSCESS_RIM: Properties(36, (0.950, 1.250), 0.035, 0.85, t1_sd=0.1, heterogeneity=0.2),
    Tissue.ABSCESS_CENTRE: Properties(
        20, (1.800, 2.100), 0.060, 0.95, hu_sd=5, t1_sd=0.15, texture=4
    ),
    Tissue.ADENOMA: Properties(
        48, (0.620, 0.850), 0.030, 0.80, 0.08, hu_sd=7, t1_sd=0.12, texture=4, heterogeneity=0.15
    ),
    Tissue.ANGIOMYOLIPOMA: Properties(
        40, (0.900, 1.150), 0.035, 0.85, 0.10, hu_sd=8, t1_sd=0.12, texture=8, heterogeneity=0.2
    ),
    Tissue.ANGIOMYOLIPOMA_FAT: Properties(
        -75, FAT_T1_S, 0.050, 0.90, 0.85, hu_sd=12, texture=12, heterogeneity=0.2
    ),
    Tissue.LYMPHOMA: Properties(40, (0.950, 1.200), 0.035, 0.85, t1_sd=0.1, heterogeneity=0.15),
}


def spgr_signal(
    t1_s: ArrayLike,
    *,
    tr_s: float,
    flip_deg: float,
    added_rate_per_s: ArrayLike = 0.0,
    decay: ArrayLike = 1.0,
    proton_density: ArrayLike = 1.0,
) -> NDArray[np.float64]:
    """Steady-state signal of a spoiled gradient echo; all arrays broadcast.

        S = proton_density * decay * sin(a) (1 - E) / (1 - cos(a) E),  E = exp(-TR (1/T1 + r1 C))

    Without T2* decay it is inverted by `spgr_concentration`.

    Args:
        t1_s: relaxation time without agent.
        tr_s: repetition time.
        flip_deg: flip angle a.
        added_rate_per_s: relaxivity times concentration of the agent, r1 C.
        decay: exp(-TE R2*).
        proton_density: equilibrium magnetisation, sets the unit of the result.
    """
    e1 = np.exp(-tr_s * (1 / np.asarray(t1_s) + np.asarray(added_rate_per_s)))
    angle = np.deg2rad(flip_deg)
    return np.asarray(
        np.asarray(proton_density)
        * np.asarray(decay)
        * np.sin(angle)
        * (1 - e1)
        / (1 - np.cos(angle) * e1)
    )


def spgr_concentration(
    signal: ArrayLike,
    baseline: ArrayLike,
    *,
    t1_s: ArrayLike,
    tr_s: float,
    flip_deg: float,
    r1_per_s_per_mM: float,
) -> NDArray[np.float64]:
    """Concentration (mM) from a signal and the signal without agent.

    The inverse of `spgr_signal`, T2* ignored.

    NaN where the signal reaches what full relaxation would give.
    """
    cosine = np.cos(np.deg2rad(flip_deg))
    e10 = np.exp(-tr_s / np.asarray(t1_s))
    level = np.asarray(signal) / np.asarray(baseline) * (1 - e10) / (1 - cosine * e10)
    level = np.where(level < 1, level, np.nan)
    rate_per_s = -np.log((1 - level) / (1 - cosine * level)) / tr_s
    return np.asarray((rate_per_s - 1 / np.asarray(t1_s)) / r1_per_s_per_mM)


def iodine_hu(concentration_mM: ArrayLike, *, kilovolt: int = 120) -> NDArray[np.float64]:
    """Enhancement (HU) that iodine of a concentration (mM) adds at a tube voltage."""
    return np.asarray(concentration_mM) * MG_IODINE_PER_UMOL * HU_PER_MG_IODINE_PER_ML[kilovolt]


Values = TypeVar("Values", bound="DataclassInstance")


def blended(own: Values, other: Values, share: float) -> Values:
    """A dataclass of numbers between two others: `own` at share 0, `other` at 1."""

    def between(a: Any, b: Any) -> Any:
        return tuple(map(between, a, b)) if isinstance(a, tuple) else (1 - share) * a + share * b

    return replace(
        own, **{f.name: between(getattr(own, f.name), getattr(other, f.name)) for f in fields(own)}
    )


def draw_properties(tissue: Tissue, subject: Subject, rng: np.random.Generator) -> Properties:
    """One tissue's properties in one subject or lesion, around its row of `PROPERTIES`.

    Fat in the liver lowers its HU; stomach and bowel hold positive oral contrast in some subjects.
    """
    usual = PROPERTIES[tissue]
    hu = usual.hu + rng.normal(0.0, usual.hu_sd)
    t1_scale = np.exp(rng.normal(0.0, usual.t1_sd))
    fat = usual.fat_fraction
    if tissue is Tissue.LIVER:
        fat = subject.steatosis
        hu -= 100 * 1.3 * fat
        t1_scale *= 1 + 0.08 * subject.cirrhosis
    if tissue in (Tissue.STOMACH_CONTENT, Tissue.BOWEL_CONTENT) and rng.random() < 0.35:
        hu += rng.uniform(60, 400)
    if tissue in (Tissue.METASTASIS_CENTRE, Tissue.HCC_NECROSIS) and rng.random() < 0.3:
        hu -= rng.uniform(5, 20)  # liquefied
    t1_low, t1_high = usual.t1_s
    return replace(
        usual,
        hu=float(hu),
        t1_s=(float(t1_low * t1_scale), float(t1_high * t1_scale)),
        fat_fraction=float(fat),
    )
