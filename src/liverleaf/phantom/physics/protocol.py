"""How one study is acquired: agent, phases and their times, scanner settings, image quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from liverleaf.phantom.physics.kinetics import AGENTS, Agent
from liverleaf.study import Modality, Phase

USUAL_AGENTS: Mapping[Modality, tuple[str, ...]] = {
    Modality.CT: ("iodine",),
    Modality.MR: ("gadobutrol", "gadoterate", "gadoxetate"),
}

DESCRIPTIONS: Mapping[Modality, Mapping[str, tuple[str, ...]]] = {
    Modality.CT: {
        "SIEMENS": ("Abdomen nativ 3.0", "Leber art. 3.0", "Abdomen pv 3.0", "Abdomen spaet 3.0"),
        "GE MEDICAL SYSTEMS": (
            "WITHOUT CONTRAST",
            "LIVER ARTERIAL",
            "PORTAL VENOUS",
            "3 MIN DELAY",
        ),
        "Philips": ("ABD PRE", "LIVER ART 35s", "ABD PV 70s", "ABD DELAY 180s"),
    },
    Modality.MR: {
        "SIEMENS": tuple(
            f"t1_vibe_fs_tra_bh_{name}" for name in ("pre", "art", "por", "del", "hb_20min")
        ),
        "GE MEDICAL SYSTEMS": (
            "LAVA PRE",
            "LAVA ARTERIAL",
            "LAVA PORTAL",
            "LAVA DELAYED",
            "LAVA 20 MIN HBP",
        ),
        "Philips": (
            "THRIVE NATIVE",
            "THRIVE ART",
            "THRIVE PV",
            "THRIVE DELAYED",
            "THRIVE HEPATOBILIARY",
        ),
    },
}
"""Series descriptions in the order of the phases, by manufacturer."""


FLAWS: Mapping[str, float] = {
    "one description for all series": 0.12,
    "no contrast tags": 0.2,
    "slice thickness is not the slices' distance": 0.15,
    "agent in the description": 0.06,
    "no acquisition times": 0.08,
}
"""What real headers have wrong, and how often a simulated study has it; one at most."""


@dataclass(frozen=True)
class Protocol:
    """How one study is acquired.

    Attributes:
        modality: CT or MR.
        agent: what is injected.
        times_s: the phases and the centre of each, seconds after the start of the injection;
            negative before it.
        manufacturer: of the scanner.
        descriptions: series description by phase.
        kilovolt: CT tube voltage, 100 or 120; the iodine dose falls with it.
        field_tesla: MR field strength, 1.5 or 3.
        tr_s: MR repetition time.
        te_s: MR echo time.
        flip_deg: MR flip angle.
        fat_suppressed: whether MR fat is saturated.
        noise: standard deviation, in HU of 0.7 mm pixels for CT and as a share of native liver for
            MR.
        blur_voxels: standard deviation of the point spread (slice, row, column).
        kernel_mm: further standard deviation in plane, of CT's focal spot, detector and kernel or
            of MR's acquired matrix.
        grain_mm: standard deviation of what smooths CT noise; finer than `kernel_mm`, as the kernel
            sharpens what the detector blurred.
        lateral_noise: share of the variance of CT noise that runs from side to side.
        overlap_mm: standard deviation of what correlates CT noise across slices.
        scale: MR units per unit of equilibrium magnetisation.
        bias: standard deviation of the logarithm of the MR coil's sensitivity.
        ghost: amplitude of breathing ghosts in the arterial MR phase, 0 when the breath was held.
        shift_sd_mm: spread of the breath-hold position along the body.
        deformation_sd_mm: spread of the smooth deformation between phases.
        body_part: DICOM's Body Part Examined.
        flaws: what is wrong with the DICOM headers, names from `FLAWS`.
        streaks: largest dark or bright band (HU) that arms beside the body cast through it on CT, 0
            with arms raised.
        spin_echo: MR fast spin echo (T2-weighted) instead of spoiled gradient echo.
        other: the settings of further sequences of the session, by the name in `Study.other`.
    """

    modality: Modality
    agent: Agent
    times_s: Mapping[Phase, float]
    manufacturer: str = "SIEMENS"
    descriptions: Mapping[Phase, str] = field(default_factory=dict)
    kilovolt: int = 120
    field_tesla: float = 3.0
    tr_s: float = 0.0039
    te_s: float = 0.0017
    flip_deg: float = 10.0
    fat_suppressed: bool = True
    noise: float = 0.04
    blur_voxels: tuple[float, float, float] = (0.35, 0.45, 0.45)
    kernel_mm: float = 0.7
    grain_mm: float = 0.35
    lateral_noise: float = 0.3
    overlap_mm: float = 1.0
    scale: float = 5000.0
    bias: float = 0.2
    ghost: float = 0.0
    shift_sd_mm: float = 4.0
    deformation_sd_mm: float = 1.2
    body_part: str = "ABDOMEN"
    flaws: frozenset[str] = frozenset()
    streaks: float = 0.0
    spin_echo: bool = False
    other: Mapping[str, Protocol] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.times_s:
            raise ValueError("a protocol needs at least one phase, got none")
        object.__setattr__(self, "times_s", dict(sorted(self.times_s.items())))


def draw_protocol(
    rng: np.random.Generator,
    modality: Modality,
    *,
    agents: Sequence[str] | None = None,
    missing: Mapping[Phase, float] | None = None,
    field_tesla: float | None = None,
    poor_quality: bool = False,
) -> Protocol:
    """Draw a scanner and an examination.

    Args:
        rng: source of chance.
        modality: CT or MR.
        agents: names from `kinetics.AGENTS` to choose from; None for the usual ones.
        missing: probability that a phase was not acquired; the portal phase stays if nothing else
            does.
        field_tesla: of an MR scanner, 1.5 or 3; None for either.
        poor_quality: strong motion, a badly timed bolus and much noise.
    """
    agent = AGENTS[str(rng.choice(list(agents or USUAL_AGENTS[modality])))]
    manufacturer = str(rng.choice(list(DESCRIPTIONS[modality])))
    blur = (float(rng.uniform(0.3, 0.6)), 0.35, 0.35)
    worse = 2.0 if poor_quality else 1.0
    common: dict[str, Any] = {
        "times_s": _draw_times(rng, modality, agent, missing or {}, poor_quality=poor_quality),
        "manufacturer": manufacturer,
        # CT has no hepatobiliary phase
        "descriptions": dict(zip(Phase, DESCRIPTIONS[modality][manufacturer], strict=False)),
        "blur_voxels": blur,
        "shift_sd_mm": float(worse * rng.uniform(1.0, 6.0)),
        "deformation_sd_mm": float(worse * rng.uniform(0.5, 2.0)),
        "flaws": _draw_flaws(rng),
    }
    if modality is Modality.CT:
        return Protocol(
            modality,
            agent,
            kilovolt=int(rng.choice([100, 120], p=[0.3, 0.7])),
            noise=float(rng.uniform(*((18, 32) if poor_quality else (4, 26)))),
            kernel_mm=float(rng.uniform(0.55, 1.05)),
            grain_mm=float(rng.uniform(0.2, 0.65)),
            lateral_noise=float(rng.uniform(0.0, 0.55)),
            overlap_mm=float(rng.uniform(0.0, 2.0)),
            streaks=float(rng.uniform(8, 35))
            if rng.random() < (0.5 if poor_quality else 0.15)
            else 0.0,
            **common,
        )
    ghosts = 0.6 if poor_quality else 0.25 if agent.hepatic else 0.08
    return Protocol(
        modality,
        agent,
        field_tesla=field_tesla or float(rng.choice([1.5, 3.0])),
        tr_s=float(rng.uniform(0.003, 0.005)),
        te_s=float(rng.uniform(0.001, 0.0025)),
        flip_deg=float(rng.uniform(9, 15)),
        fat_suppressed=bool(rng.random() < 0.9),
        kernel_mm=float(rng.uniform(0.5, 1.1)),
        noise=float(1 / rng.uniform(*((8, 16) if poor_quality else (12, 40)))),
        scale=float(10 ** rng.uniform(3.2, 4.2)),
        bias=float(rng.uniform(0.05, 0.3)),
        ghost=float(worse * rng.uniform(0.03, 0.12)) if rng.random() < ghosts else 0.0,
        **common,
    )


def _draw_flaws(rng: np.random.Generator) -> frozenset[str]:
    """One of `FLAWS` or none."""
    chance = rng.random()
    for name, share in FLAWS.items():
        if chance < share:
            return frozenset({name})
        chance -= share
    return frozenset()


def _draw_times(
    rng: np.random.Generator,
    modality: Modality,
    agent: Agent,
    missing: Mapping[Phase, float],
    *,
    poor_quality: bool,
) -> dict[Phase, float]:
    """The phases that were acquired and their times (s after the injection).

    The arterial phase is often a little early or late, in poor studies far off.
    """
    arterial = np.clip(
        rng.normal(34, 4.5) if modality is Modality.CT else rng.normal(25, 3.5), 17, 42
    )
    if poor_quality and rng.random() < 0.7:
        arterial = rng.uniform(14, 20) if rng.random() < 0.5 else rng.uniform(44, 54)
    times = {
        Phase.PRE: -rng.uniform(30, 120),
        Phase.ARTERIAL: arterial,
        Phase.PORTAL: rng.uniform(60, 100 if poor_quality else 80),
        Phase.DELAYED: rng.uniform(150, 300),
    }
    if agent.hepatic:
        times[Phase.HEPATOBILIARY] = rng.uniform(1080, 1320)
    chances = {phase: rng.random() for phase in times}
    kept = {
        phase: round(float(time), 1)
        for phase, time in times.items()
        if chances[phase] >= missing.get(phase, 0.0)
    }
    return kept or {Phase.PORTAL: round(float(times[Phase.PORTAL]), 1)}
