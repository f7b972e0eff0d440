"""Attenuation of the phantom's tissues in CT beside what readers expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from liverleaf.benchmarks.result import markdown_table
from liverleaf.phantom.anatomy.person import Subject, Tissue
from liverleaf.phantom.physics.kinetics import (
    AGENTS,
    blood_inputs,
    concentrations,
    draw_circulation,
    draw_perfusion,
)
from liverleaf.phantom.physics.signal import draw_properties, iodine_hu

CT_TIMES_S = (-30.0, 35.0, 70.0, 180.0)
TYPICAL_HU: Mapping[Tissue, tuple[int, int, int, int]] = {
    Tissue.LIVER: (55, 70, 110, 95),
    Tissue.SPLEEN: (48, 120, 120, 100),
    Tissue.AORTA: (42, 300, 160, 120),
    Tissue.PORTAL_VEIN: (42, 110, 175, 125),
    Tissue.HCC: (50, 110, 95, 75),
    Tissue.HAEMANGIOMA_NODULE: (40, 200, 160, 120),
    Tissue.HAEMANGIOMA_CENTRE: (40, 45, 80, 110),
    Tissue.FNH: (52, 130, 115, 98),
    Tissue.METASTASIS_CENTRE: (40, 45, 55, 60),
    Tissue.METASTASIS_RIM: (40, 75, 85, 70),
    Tissue.ICC_RIM: (42, 60, 75, 92),
    Tissue.ICC_CENTRE: (42, 60, 75, 92),
    Tissue.CYST: (8, 8, 8, 8),
    Tissue.MUSCLE: (55, 58, 65, 65),
    Tissue.FAT: (-100, -100, -100, -100),
}
"""Attenuation that readers expect: native, late arterial (35 s), portal (70 s) and delayed (180 s),
at 120 kV."""


def attenuation(people: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Percentiles of the HU of the phantom's tissues at `CT_TIMES_S`, beside `TYPICAL_HU`.

    The people are without cirrhosis and fat, their lesions as varied as the phantom has them.
    """
    agent, subject = AGENTS["iodine"], Subject(75.0, cirrhosis=0.0, steatosis=0.02)
    drawn = np.empty((people, len(TYPICAL_HU), len(CT_TIMES_S)))
    for person in drawn:
        inputs = blood_inputs(agent, draw_circulation(agent, subject, rng), end_s=CT_TIMES_S[-1])
        outside, _ = concentrations(
            [draw_perfusion(tissue, subject, rng) for tissue in TYPICAL_HU],
            inputs,
            agent,
            CT_TIMES_S,
        )
        native = [draw_properties(tissue, subject, rng).hu for tissue in TYPICAL_HU]
        person[:] = np.array(native)[:, None] + iodine_hu(outside)
    p5, p50, p95 = np.percentile(drawn, [5, 50, 95], axis=0)
    return [
        {
            "tissue": tissue.name.lower(),
            "time_s": time_s,
            "typical": TYPICAL_HU[tissue][column],
            "p5": float(p5[row, column]),
            "p50": float(p50[row, column]),
            "p95": float(p95[row, column]),
        }
        for row, tissue in enumerate(TYPICAL_HU)
        for column, time_s in enumerate(CT_TIMES_S)
    ]


def section(rows: Sequence[Mapping[str, Any]]) -> str:
    """The section on attenuation of the page on the phantom's realism."""
    cells = []
    for start in range(0, len(rows), len(CT_TIMES_S)):
        times = rows[start : start + len(CT_TIMES_S)]
        values = (
            f"{row['typical']}: {row['p50']:.0f} ({row['p5']:.0f} to {row['p95']:.0f})"
            for row in times
        )
        cells.append((times[0]["tissue"].replace("_", " "), *values))
    lines = [
        "## Attenuation",
        "",
        (
            "HU that readers expect, and the phantom's median with its 5th and 95th percentile over"
            " the same number of people."
        ),
        "",
        *markdown_table(("tissue", "native", "35 s", "70 s", "180 s"), cells),
    ]
    return "\n".join(lines) + "\n"
