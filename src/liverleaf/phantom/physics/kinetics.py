"""Kinetics of contrast agents: from an injection to concentrations in tissues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import lfilter

from liverleaf.phantom.anatomy.person import Subject, Tissue

STEP_S = 0.5
PARKER_DOSE_MMOL_PER_KG = 0.1
PARKER_INJECTION_S = 5.0


@dataclass(frozen=True)
class Agent:
    """A contrast agent as it is given.

    Attributes:
        name: as in DICOM's contrast agent field.
        dose_mmol_per_kg: of gadolinium or of iodine atoms, per kg of body weight.
        injection_s: duration of the injection.
        hepatic: whether hepatocytes take it up.
    """

    name: str
    dose_mmol_per_kg: float
    injection_s: float
    hepatic: bool = False


AGENTS = {
    agent.name: agent
    for agent in (
        Agent("gadobutrol", 0.1, 10.0),
        Agent("gadoterate", 0.1, 8.0),
        Agent("gadoxetate", 0.025, 8.0, hepatic=True),
        Agent("iodine", 3.94, 28.0),  # 0.5 g of iodine per kg
    )
}


@dataclass(frozen=True)
class Perfusion:
    """How one tissue is supplied with blood and contrast agent.

    A fast space (blood, sinusoids) fills a slow one (interstitium); hepatocytes take up gadoxetate.

        fast = input * exp(-t / transit) / transit
        slow = input * exp(-t / exchange) / exchange
        C    = fast_volume fast + slow_volume slow + uptake fast * exp(-t / residence)

    where `input` mixes the arterial and the portal blood and `*` is convolution.

    Attributes:
        arterial_fraction: share of the inflow that comes from the artery, in [0, 1]; the rest comes
            from the portal vein.
        fast_volume: size of the fast space, ml per ml of tissue.
        transit_s: mean transit time of the fast space.
        slow_volume: size of the slow space, ml per ml.
        exchange_s: time in which the slow space fills.
        delay_s: delay of the inflow after the aorta.
        uptake_per_min: rate at which hepatocytes extract gadoxetate from the fast space, per
            minute.
        residence_s: mean time that gadoxetate stays in hepatocytes before it leaves with the bile.
    """

    arterial_fraction: float
    fast_volume: float
    transit_s: float
    slow_volume: float
    exchange_s: float
    delay_s: float = 0.0
    uptake_per_min: float = 0.0
    residence_s: float = 2700.0


PERFUSION: Mapping[Tissue, Perfusion] = {
    Tissue.MUSCLE: Perfusion(1.0, 0.00, 12, 0.10, 75, 1.5),
    Tissue.BONE_MARROW: Perfusion(1.0, 0.09, 18, 0.10, 75, 3.0),
    Tissue.MYOCARDIUM: Perfusion(1.0, 0.48, 9, 0.22, 95),
    Tissue.HEART_BLOOD: Perfusion(1.0, 0.95, 2, 0.0, 60),
    Tissue.LIVER: Perfusion(0.25, 0.20, 10, 0.26, 90, uptake_per_min=0.23),
    Tissue.PORTAL_VEIN: Perfusion(0.0, 1.0, 1, 0.0, 60),
    Tissue.HEPATIC_VEIN: Perfusion(0.2, 0.32, 15, 0.63, 90, 3.0),
    Tissue.AORTA: Perfusion(1.0, 0.95, 1, 0.0, 60),
    Tissue.VENA_CAVA: Perfusion(1.0, 0.10, 13, 0.75, 65, 0.7),
    Tissue.SPLEEN: Perfusion(1.0, 0.36, 9, 0.22, 98),
    Tissue.KIDNEY_CORTEX: Perfusion(1.0, 0.69, 9, 0.65, 100),
    Tissue.KIDNEY_MEDULLA: Perfusion(1.0, 0.55, 60, 1.00, 169, 4.0),
    Tissue.STOMACH_WALL: Perfusion(1.0, 0.19, 12, 0.22, 90),
    Tissue.BOWEL_WALL: Perfusion(1.0, 0.19, 12, 0.22, 90),
    Tissue.PANCREAS: Perfusion(1.0, 0.32, 7, 0.11, 98),
    Tissue.SOFT_TISSUE: Perfusion(1.0, 0.03, 15, 0.12, 90, 2.0),
    Tissue.HCC: Perfusion(0.95, 0.31, 7, 0.00, 90),
    Tissue.HCC_NECROSIS: Perfusion(0.9, 0.00, 12, 0.04, 150),
    Tissue.HCC_CAPSULE: Perfusion(0.8, 0.05, 8, 0.70, 100),
    Tissue.HAEMANGIOMA_NODULE: Perfusion(1.0, 0.76, 7, 0.15, 96),
    Tissue.HAEMANGIOMA_MIDDLE: Perfusion(1.0, 0.10, 15, 0.78, 60, 6.0),
    Tissue.HAEMANGIOMA_CENTRE: Perfusion(1.0, 0.00, 12, 1.00, 195, 7.0),
    Tissue.FNH: Perfusion(1.0, 0.36, 6, 0.17, 105, uptake_per_min=0.23),
    Tissue.FNH_SCAR: Perfusion(1.0, 0.00, 12, 0.90, 180, 4.5),
    Tissue.METASTASIS_RIM: Perfusion(0.9, 0.22, 11, 0.11, 92),
    Tissue.METASTASIS_CENTRE: Perfusion(0.9, 0.01, 11, 0.25, 149),
    Tissue.ICC_RIM: Perfusion(0.9, 0.12, 9, 0.42, 114),
    Tissue.ICC_CENTRE: Perfusion(0.9, 0.01, 4, 0.68, 195),
    Tissue.ABSCESS_RIM: Perfusion(1.0, 0.25, 9, 0.45, 95),
    Tissue.ADENOMA: Perfusion(0.9, 0.29, 8, 0.18, 101),
    Tissue.ANGIOMYOLIPOMA: Perfusion(1.0, 0.30, 8, 0.10, 92),
    Tissue.ANGIOMYOLIPOMA_FAT: Perfusion(1.0, 0.03, 10, 0.02, 92),
    Tissue.LYMPHOMA: Perfusion(0.8, 0.01, 12, 0.25, 78),
}
"""Tissues that enhance; the numbers reproduce `TYPICAL_HU` of `bench/realism.py` for iodine at 120
kV."""

_BLOOD = (
    Tissue.HEART_BLOOD,
    Tissue.PORTAL_VEIN,
    Tissue.HEPATIC_VEIN,
    Tissue.AORTA,
    Tissue.VENA_CAVA,
)

ATYPICAL: Mapping[Tissue, tuple[tuple[float, Mapping[str, float]], ...]] = {
    Tissue.HCC: (
        (0.12, {"fast_volume": 0.12, "slow_volume": 0.10}),  # hypovascular
        (0.12, {"slow_volume": 0.18}),  # no wash-out
        (0.08, {"uptake_per_min": 0.18}),  # keeps its transporters
    ),
    Tissue.METASTASIS_RIM: ((0.15, {"fast_volume": 0.38}),),  # neuroendocrine, renal
    Tissue.METASTASIS_CENTRE: ((0.10, {"fast_volume": 0.20}),),
    # flash filling; hyalinised
    Tissue.HAEMANGIOMA_CENTRE: ((0.15, {"exchange_s": 90.0}), (0.10, {"slow_volume": 0.1})),
    Tissue.FNH_SCAR: ((0.15, {"slow_volume": 0.3}),),
}
"""Per lesion compartment: probability and the parameters of its atypical looks; at most one of them
applies."""


@dataclass(frozen=True)
class Circulation:
    """How one person's blood carries a bolus.

    The defaults are Parker's population, but for the tail: his single exponential, fitted over
    about 5 minutes, becomes two that equal it at 1 and at 3 minutes and fall more slowly later.

    Attributes:
        arrival_s: from the arm to the aorta.
        first_pass: area of the first pass, relative.
        width: duration of the first pass, relative; it rises by as much as it gets shorter.
        tail_fast, tail_slow: blood concentrations of the two decaying parts that follow, mM after
            0.1 mmol/kg.
        slow_per_min: rate at which the slow part decays; the fast one does at `TAIL_FAST_PER_MIN`.
        portal_share: area of the portal input over that of the arterial one.
        portal_delay_s: from the aorta to the portal vein.
        portal_dispersion_s: time constant of the splanchnic bed.
    """

    arrival_s: float = 15.0
    first_pass: float = 1.0
    width: float = 1.0
    tail_fast: float = 0.585
    tail_slow: float = 0.50
    slow_per_min: float = 0.05
    portal_share: float = 0.85
    portal_delay_s: float = 7.0
    portal_dispersion_s: float = 8.0


TAIL_FAST_PER_MIN = 0.352
FITTED_DOSE, SATURATING_DOSE = 0.00625, 0.02
"""Doses of gadoxetate (mmol/kg): the one that uptake rates stand for, and one at which transport
into hepatocytes is halved (assumed)."""
VOLUNTEERS = Circulation(
    first_pass=0.95,
    width=0.78,
    tail_fast=0.76,
    tail_slow=0.54,
    portal_share=1.06,
    portal_dispersion_s=12.0,
)
"""Medians that put simulated curves on those of 14 healthy volunteers after small doses of
gadoxetate (`bench/realism.py`)."""


@dataclass(frozen=True)
class BloodInputs:
    """Whole-blood concentrations (mM) that feed the organs.

    Sampled every `STEP_S` from the start of the injection.

    Attributes:
        arterial: in the aorta.
        portal: in the portal vein.
    """

    arterial: NDArray[np.float64]
    portal: NDArray[np.float64]


def parker(time_s: ArrayLike) -> NDArray[np.float64]:
    """Population-averaged arterial blood concentration (mM), for gadolinium.

    After 0.1 mmol/kg of a chelate.

    Args:
        time_s: seconds after the bolus reaches the artery, any shape; 0 mM before.

    Reference: Parker et al., Magn Reson Med 2006;56:993-1000.
    """
    seconds = np.asarray(time_s, float)
    minutes = np.maximum(seconds, 0.0) / 60
    return np.where(
        seconds >= 0,
        _first_passes(minutes) + 1.050 * np.exp(-0.1685 * minutes) * _onset(minutes),
        0.0,
    )


def arterial_blood(time_s: ArrayLike, circulation: Circulation) -> NDArray[np.float64]:
    """Arterial blood concentration (mM) of one person: `parker`, made personal.

    After 0.1 mmol/kg of an agent in a short injection.

    Args:
        time_s: seconds after the bolus reaches the artery, any shape; 0 mM before.
        circulation: the person.
    """
    seconds = np.asarray(time_s, float)
    minutes = np.maximum(seconds, 0.0) / 60
    tail = circulation.tail_fast * np.exp(
        -TAIL_FAST_PER_MIN * minutes
    ) + circulation.tail_slow * np.exp(-circulation.slow_per_min * minutes)
    first = circulation.first_pass * _first_passes(minutes, width=circulation.width)
    return np.asarray(np.where(seconds >= 0, first + tail * _onset(minutes), 0.0))


def _first_passes(minutes: NDArray[np.float64], *, width: float = 1.0) -> NDArray[np.float64]:
    """Parker's two Gaussians: the first pass, whose duration may differ, and the recirculation."""
    peaks = ((0.809, 0.17046 * width, 0.0563 * width), (0.330, 0.365, 0.132))
    passes = [
        area / (sd * np.sqrt(2 * np.pi)) * np.exp(-((minutes - centre) ** 2) / (2 * sd**2))
        for area, centre, sd in peaks
    ]
    return np.asarray(np.sum(passes, axis=0))


def _onset(minutes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Parker's sigmoid, with which the tail sets in."""
    return np.asarray(1 / (1 + np.exp(-38.078 * (minutes - 0.483))))


def blood_inputs(
    agent: Agent, circulation: Circulation = Circulation(), *, end_s: float
) -> BloodInputs:
    """Arterial and portal input functions of one injection.

    `arterial_blood` is taken as the response to a short injection; longer ones are its convolution
    with a box of the remaining duration. The portal input is the arterial one delayed and dispersed
    by the bowel and the spleen.

    Args:
        agent: what is injected.
        circulation: the person.
        end_s: last time of interest after the start of the injection.
    """
    time_s = np.arange(0.0, end_s + STEP_S, STEP_S)
    box = np.ones(max(1, round((agent.injection_s - PARKER_INJECTION_S) / STEP_S)))
    scale = agent.dose_mmol_per_kg / PARKER_DOSE_MMOL_PER_KG
    arterial = (
        scale
        * np.convolve(arterial_blood(time_s - circulation.arrival_s, circulation), box / box.size)[
            : time_s.size
        ]
    )
    portal = circulation.portal_share * _exponential(
        _delayed(arterial, circulation.portal_delay_s), circulation.portal_dispersion_s
    )
    return BloodInputs(arterial, portal)


def concentrations(
    perfusions: Sequence[Perfusion], inputs: BloodInputs, agent: Agent, times_s: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Concentrations of the agent in tissues.

    Args:
        perfusions: one per tissue, N in all.
        inputs: the blood that feeds them.
        agent: only hepatic ones enter hepatocytes.
        times_s: P times after the start of the injection.

    Returns:
        Concentration per volume of tissue (mM), outside and inside hepatocytes, two arrays of shape
            (N, P).
    """
    times_s = np.asarray(times_s, float)
    extracellular = np.empty((len(perfusions), times_s.size))
    hepatocytes = np.zeros_like(extracellular)
    time_s = np.arange(inputs.arterial.size) * STEP_S
    saturation = (1 + FITTED_DOSE / SATURATING_DOSE) / (
        1 + agent.dose_mmol_per_kg / SATURATING_DOSE
    )
    for row, tissue in enumerate(perfusions):
        blood = (
            tissue.arterial_fraction * inputs.arterial
            + (1 - tissue.arterial_fraction) * inputs.portal
        )
        blood = _delayed(blood, tissue.delay_s)
        fast = _exponential(blood, tissue.transit_s)
        slow = _exponential(blood, tissue.exchange_s)
        extracellular[row] = np.interp(
            times_s, time_s, tissue.fast_volume * fast + tissue.slow_volume * slow
        )
        if agent.hepatic and tissue.uptake_per_min:
            taken_up = (
                saturation
                * tissue.uptake_per_min
                / 60
                * tissue.residence_s
                * _exponential(fast, tissue.residence_s)
            )
            hepatocytes[row] = np.interp(times_s, time_s, taken_up)
    return extracellular, hepatocytes


def draw_circulation(agent: Agent, subject: Subject, rng: np.random.Generator) -> Circulation:
    """One person's circulation.

    Around `VOLUNTEERS` for gadolinium, around Parker's population for iodine; cirrhosis delays the
    portal vein.
    """
    usual, spread = (Circulation(), 0.4) if agent.name == "iodine" else (VOLUNTEERS, 1.0)
    arrival_s = float(np.clip(rng.normal(usual.arrival_s, 2.0), 10.0, 22.0))
    first_pass, width, tail, slow, portal = np.exp(
        spread * rng.normal(0.0, [0.35, 0.27, 0.31, 0.37, 0.36])
    )
    return Circulation(
        arrival_s=arrival_s,
        first_pass=float(usual.first_pass * first_pass),
        width=float(usual.width * width),
        tail_fast=float(usual.tail_fast * tail),
        tail_slow=float(usual.tail_slow * tail),
        slow_per_min=float(usual.slow_per_min * slow),
        portal_share=float(usual.portal_share * portal),
        portal_delay_s=float(
            np.clip(rng.normal(usual.portal_delay_s, 2.0) + 4.0 * subject.cirrhosis, 3.0, 15.0)
        ),
        portal_dispersion_s=float(
            usual.portal_dispersion_s * np.exp(rng.normal(0.0, 0.4)) * (1 + 0.5 * subject.cirrhosis)
        ),
    )


def draw_perfusion(tissue: Tissue, subject: Subject, rng: np.random.Generator) -> Perfusion:
    """One tissue's perfusion in one subject or lesion.

    Around its row of `PERFUSION`, sometimes atypical.
    """
    usual = PERFUSION.get(tissue, Perfusion(1.0, 0.0, 10.0, 0.0, 60.0))
    chance = rng.random()
    for probability, changes in ATYPICAL.get(tissue, ()):
        if 0 <= chance < probability:
            usual = replace(usual, **changes)
        chance -= probability
    if tissue is Tissue.LIVER:
        usual = replace(
            usual,
            arterial_fraction=usual.arterial_fraction + 0.15 * subject.cirrhosis,
            # fibrosis widens the interstitium
            slow_volume=usual.slow_volume * (1 + 0.3 * subject.cirrhosis),
            uptake_per_min=usual.uptake_per_min * (1 - 0.6 * subject.cirrhosis),
        )
    size = 0.07 if tissue in _BLOOD else 0.15
    volume, transit, exchange, uptake, residence = np.exp(
        rng.normal(0.0, [size, 0.15, 0.15, 0.35, 0.2])
    )
    return Perfusion(
        arterial_fraction=float(np.clip(usual.arterial_fraction + rng.normal(0.0, 0.03), 0.0, 1.0)),
        fast_volume=float(min(usual.fast_volume * volume, 1.0)),
        transit_s=float(usual.transit_s * transit),
        slow_volume=float(usual.slow_volume * volume),
        exchange_s=float(usual.exchange_s * exchange),
        delay_s=usual.delay_s,
        uptake_per_min=float(usual.uptake_per_min * uptake),
        residence_s=float(usual.residence_s * residence),
    )


def parameters(perfusion: Perfusion, *, prefix: str) -> dict[str, float]:
    """A perfusion as a flat dict of numbers, names led by `prefix` and a full stop."""
    return {f"{prefix}.{name}": value for name, value in asdict(perfusion).items()}


def _exponential(curve: NDArray[np.float64], constant_s: float) -> NDArray[np.float64]:
    """Convolution with exp(-t / constant) / constant, as a recursive filter."""
    kept = np.exp(-STEP_S / constant_s)
    return np.asarray(lfilter([1 - kept], [1, -kept], curve))


def _delayed(curve: NDArray[np.float64], delay_s: float) -> NDArray[np.float64]:
    time_s = np.arange(curve.size) * STEP_S
    return np.asarray(np.interp(time_s - delay_s, time_s, curve, left=0.0))
