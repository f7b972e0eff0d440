"""A random generator in, the way one study is acquired out: agent, phases and their times, scanner settings, image quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hepatica.phantom.kinetics import AGENTS, Agent
from hepatica.study import Modality, Phase

USUAL_AGENTS: Mapping[Modality, tuple[str, ...]] = {
    Modality.CT: ("iodine",),
    Modality.MR: ("gadobutrol", "gadoterate", "gadoxetate"),
}

DESCRIPTIONS: Mapping[Modality, Mapping[str, tuple[str, ...]]] = {
    Modality.CT: {
        "SIEMENS": ("Abdomen nativ 3.0", "Leber art. 3.0", "Abdomen pv 3.0", "Abdomen spaet 3.0"),
        "GE MEDICAL SYSTEMS": ("WITHOUT CONTRAST", "LIVER ARTERIAL", "PORTAL VENOUS", "3 MIN DELAY"),
        "Philips": ("ABD PRE", "LIVER ART 35s", "ABD PV 70s", "ABD DELAY 180s"),
    },
    Modality.MR: {
        "SIEMENS": tuple(f"t1_vibe_fs_tra_bh_{name}" for name in ("pre", "art", "por", "del", "hb_20min")),
        "GE MEDICAL SYSTEMS": ("LAVA PRE", "LAVA ARTERIAL", "LAVA PORTAL", "LAVA DELAYED", "LAVA 20 MIN HBP"),
        "Philips": ("THRIVE NATIVE", "THRIVE ART", "THRIVE PV", "THRIVE DELAYED", "THRIVE HEPATOBILIARY"),
    },
}
"""Series descriptions in the order of the phases, by manufacturer."""


@dataclass(frozen=True)
class Protocol:
    """How one study is acquired.

    Attributes:
        modality: CT or MR.
        agent: what is injected.
        times_s: the phases and the centre of each, seconds after the start of the injection; negative before it.
        manufacturer: of the scanner.
        descriptions: series description by phase.
        kilovolt: CT tube voltage, 100 or 120; the iodine dose falls with it.
        field_tesla: MR field strength, 1.5 or 3.
        tr_s: MR repetition time.
        te_s: MR echo time.
        flip_deg: MR flip angle.
        fat_suppressed: whether MR fat is saturated.
        noise: standard deviation, in HU for CT and as a share of native liver for MR.
        blur_voxels: standard deviation of the point spread (slice, row, column).
        scale: MR units per unit of equilibrium magnetisation.
        bias: standard deviation of the logarithm of the MR coil's sensitivity.
        ghost: amplitude of breathing ghosts in the arterial MR phase, 0 when the breath was held.
        shift_sd_mm: spread of the breath-hold position along the body.
        deformation_sd_mm: spread of the smooth deformation between phases.
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
    scale: float = 5000.0
    bias: float = 0.2
    ghost: float = 0.0
    shift_sd_mm: float = 4.0
    deformation_sd_mm: float = 1.2

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
) -> Protocol:
    """Draw a scanner and an examination.

    Args:
        rng: source of chance.
        modality: CT or MR.
        agents: names from `kinetics.AGENTS` to choose from; None for the usual ones.
        missing: probability that a phase was not acquired; the portal phase stays if nothing else does.
    """
    agent = AGENTS[str(rng.choice(list(agents or USUAL_AGENTS[modality])))]
    manufacturer = str(rng.choice(list(DESCRIPTIONS[modality])))
    blur = (float(rng.uniform(0.3, 0.5)), *([float(rng.uniform(0.35, 0.65))] * 2))
    common: dict[str, Any] = {
        "times_s": _draw_times(rng, modality, agent, missing or {}),
        "manufacturer": manufacturer,
        "descriptions": dict(zip(Phase, DESCRIPTIONS[modality][manufacturer], strict=False)),  # CT has no hepatobiliary phase
        "blur_voxels": blur,
        "shift_sd_mm": float(rng.uniform(1.0, 6.0)),
        "deformation_sd_mm": float(rng.uniform(0.5, 2.0)),
    }
    if modality is Modality.CT:
        return Protocol(modality, agent, kilovolt=int(rng.choice([100, 120], p=[0.3, 0.7])), noise=float(rng.uniform(2.5, 16)), **common)
    return Protocol(
        modality,
        agent,
        field_tesla=3.0 if rng.random() < 0.5 else 1.5,
        tr_s=float(rng.uniform(0.003, 0.005)),
        te_s=float(rng.uniform(0.001, 0.0025)),
        flip_deg=float(rng.uniform(9, 15)),
        fat_suppressed=bool(rng.random() < 0.9),
        noise=float(1 / rng.uniform(12, 40)),
        scale=float(10 ** rng.uniform(3.2, 4.2)),
        bias=float(rng.uniform(0.05, 0.3)),
        ghost=float(rng.uniform(0.03, 0.12)) if rng.random() < (0.25 if agent.hepatic else 0.08) else 0.0,
        **common,
    )


def _draw_times(rng: np.random.Generator, modality: Modality, agent: Agent, missing: Mapping[Phase, float]) -> dict[Phase, float]:
    """The phases that were acquired and their times; the arterial one is often a little early or late."""
    arterial = rng.normal(34, 4.5) if modality is Modality.CT else rng.normal(29, 4.0)
    times = {
        Phase.PRE: -rng.uniform(30, 120),
        Phase.ARTERIAL: np.clip(arterial, 18, 42),
        Phase.PORTAL: rng.uniform(60, 80),
        Phase.DELAYED: rng.uniform(150, 300),
    }
    if agent.hepatic:
        times[Phase.HEPATOBILIARY] = rng.uniform(1080, 1320)
    chances = {phase: rng.random() for phase in times}
    kept = {phase: round(float(time), 1) for phase, time in times.items() if chances[phase] >= missing.get(phase, 0.0)}
    return kept or {Phase.PORTAL: round(float(times[Phase.PORTAL]), 1)}
