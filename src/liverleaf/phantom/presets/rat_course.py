"""How a rat's liver tumour grows and responds to treatment, week by week."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

WEEKS: Final = 4
"""Sessions of each animal: baseline (week 0) and weeks 1, 2 and 3."""
ARMS: Final = ("control", "sorafenib", "nk cells", "combination")
RESPONSE: Final = 0.5
"""Responders are animals whose viable tumour volume at the last week is below this share of that at
baseline."""
CAPACITY_MM3: Final = 2600.0
"""K, the volume at which a tumour stops growing."""


@dataclass(frozen=True)
class TumourCourse:
    """The course of an animal's tumour; arrays hold one value per week.

    Attributes:
        arm: one of `ARMS`.
        volume_mm3: of all tumours with their necrosis and swelling, (WEEKS,).
        viable_mm3: living tumour, (WEEKS,).
        necrosis: share of the volume that is dead, in [0, 1], (WEEKS,).
        vascularity: perfusion of the living part against that before treatment, in (0, 1],
            (WEEKS,).
        swelling: volume over what it were without inflammation, from 1, (WEEKS,).
        effect: latent effect of the treatment, minus the logarithm of the change of `viable_mm3`
            from first to last week.
        responder: whether the viable volume fell below `RESPONSE` of its first.
        viability_percent: living share in sections stained with haematoxylin and eosin after the
            last week.
        apoptosis_percent: TUNEL-positive cells after the last week.
    """

    arm: str
    volume_mm3: NDArray[np.float64]
    viable_mm3: NDArray[np.float64]
    necrosis: NDArray[np.float64]
    vascularity: NDArray[np.float64]
    swelling: NDArray[np.float64]
    effect: float
    responder: bool
    viability_percent: float
    apoptosis_percent: float


def draw_arm(seed: int, animal: int) -> str:
    """The treatment arm of an animal; every block of four animals holds each arm once."""
    order = np.random.default_rng(
        np.random.SeedSequence((seed, animal // len(ARMS)), spawn_key=(len(ARMS),))
    ).permutation(len(ARMS))
    return ARMS[int(order[animal % len(ARMS)])]


def draw_course(rng: np.random.Generator, arm: str) -> TumourCourse:
    """Draw how one animal's tumour grows and responds, day by day from the first session on.

    Living tumour v grows logistically, treatment (k, from its onset on) and lack of oxygen kill it,
    and the dead part n is cleared:

        dv/dt = v (s ln2 / T (1 - (v + n) / K) - k - h)
        dn/dt = v (k + h) - c n
        h = 0.05 (v + n) / K per day

    with a doubling time T of about 6 days, s < 1 under sorafenib, K = 2600 mm3 and 1 / c about 18
    days. Baseline diameters are 4 to 8 mm. A quarter become resistant (k fades after the first
    week); 3 % regress by themselves. Sorafenib lowers the perfusion of what lives. Under NK cells
    some tumours swell, most in week 1 (pseudo-progression). Histology follows the truth with a
    section's sampling error: over animals of all arms Spearman's correlation with `effect` is about
    -0.88 for viability and 0.82 for apoptosis.

    Args:
        rng: source of chance.
        arm: one of `ARMS`.

    Raises:
        ValueError: there is no such arm.
    """
    if arm not in ARMS:
        raise ValueError(f"arm must be one of {ARMS}, got {arm!r}")
    sorafenib, cells = arm in ("sorafenib", "combination"), arm in ("nk cells", "combination")
    start_mm3, dead = np.pi / 6 * rng.uniform(4, 8) ** 3, rng.uniform(0.02, 0.2)
    doubling_d = 6 * np.exp(rng.normal(0, 0.12))
    clearance_d = 18 * np.exp(rng.normal(0, 0.4))
    onset_d = rng.uniform(1, 5)
    kill = max(
        0.0,
        0.08 * sorafenib + 0.15 * cells + rng.normal(0, 0.012 + 0.05 * sorafenib + 0.05 * cells),
    )
    kill += 0.25 * (rng.random() < 0.03)
    resistance_d = rng.uniform(5, 12) if rng.random() < 0.25 else np.inf
    slowing, drop = (
        (rng.uniform(0.5, 0.9), rng.uniform(0.3, 0.6)) if sorafenib else (1.0, rng.uniform(0, 0.1))
    )
    days = np.arange(7 * (WEEKS - 1))
    kill_per_day = kill * (days >= onset_d) * np.exp(-np.maximum(days - 7, 0) / resistance_d)
    alive, gone = _weekly_volumes(
        start_mm3 * (1 - dead),
        start_mm3 * dead,
        kill_per_day,
        growth_per_day=float(slowing * np.log(2) / doubling_d),
        clearance_d=float(clearance_d),
    )
    peak = rng.uniform(0.3, 1.0) if cells and kill > 0.05 and rng.random() < 0.4 else 0.0
    swelling = 1 + peak * np.array([0, 1, 0.6, 0.2])
    effect = float(np.log(alive[0] / alive[-1]))
    share = alive[-1] / (alive[-1] + gone[-1])
    tunel = 4 + 22 / (1 + np.exp(-(effect - 0.3) / 0.8))
    return TumourCourse(
        arm=arm,
        volume_mm3=(alive + gone) * swelling,
        viable_mm3=alive,
        necrosis=gone / (alive + gone) / swelling,
        vascularity=1 - drop * (1 - np.exp(-7 * np.arange(WEEKS) / 5)),
        swelling=swelling,
        effect=effect,
        responder=bool(alive[-1] < RESPONSE * alive[0]),
        viability_percent=float(np.clip(100 * share + rng.normal(0, 17), 0, 100)),
        apoptosis_percent=float(np.clip(tunel * np.exp(rng.normal(0, 0.5)), 0, 100)),
    )


def _weekly_volumes(
    viable_mm3: float,
    necrotic_mm3: float,
    kill_per_day: NDArray[np.floating],
    *,
    growth_per_day: float,
    clearance_d: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Viable and necrotic volume (mm3) every week.

    By the equations of `draw_course` in steps of a day.
    """
    viable, necrotic = [viable_mm3], [necrotic_mm3]
    for kill in kill_per_day:
        v, n = viable[-1], necrotic[-1]
        crowding = (v + n) / CAPACITY_MM3
        dies = kill + 0.05 * crowding
        viable.append(v * (1 + growth_per_day * (1 - crowding) - dies))
        necrotic.append(n + v * dies - n / clearance_d)
    return np.array(viable[::7]), np.array(necrotic[::7])
