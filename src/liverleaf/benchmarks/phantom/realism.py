"""How real the phantom is: its curves, attenuation, physics, noise, texture and lesions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liverleaf.benchmarks.phantom import (
    attenuation,
    curve_comparison,
    osipi,
    texture_comparison,
    threshold_rule,
)
from liverleaf.benchmarks.phantom.real_curves import read_curves
from liverleaf.benchmarks.result import Content, Result, measured_by, origin
from liverleaf.phantom.generator import Phantom
from liverleaf.study import Annotation, Study
from liverleaf.system.progress import Progress, silent

TEXTURE_PEOPLE = 20
RULE_PRESETS, RULE_CASES = ("mr", "ct", "hard"), 24
RULE_SHAPE, RULE_SPACING_MM = (40, 160, 160), (5.0, 2.2, 2.2)


def run(
    curves: Path,
    *,
    osipi_folder: Path | None = None,
    ct: Sequence[Path] = (),
    people: int = 100,
    seed: int = 0,
    rule_cases: int = RULE_CASES,
    progress: Progress = silent,
) -> Result:
    """Compare the phantom with real curves, images and reference numbers.

    It is also measured how hard its lesions are to find.

    Args:
        curves: folder with zipped real curves (`read_curves`).
        osipi_folder: with OSIPI's reference numbers; None leaves that part out.
        ct: real CT studies to compare noise and texture with; none leaves that part out.
        people: virtual people per real curve.
        seed: of the virtual people.
        rule_cases: cases per preset that a plain threshold is tried on.
        progress: told what is simulated.

    Raises:
        InputError: there are no curves, or a folder lacks what it should hold.
    """
    source = origin(_command(curves, osipi_folder, ct), seed)
    real = read_curves(curves)
    physics = osipi.compare(osipi_folder) if osipi_folder else []
    compared, rows = curve_comparison.compare(real, people=people, seed=seed, progress=progress)
    summary = curve_comparison.summarise(rows, np.random.default_rng(seed))
    texture = (
        texture_comparison.compare(ct, people=TEXTURE_PEOPLE, seed=seed, progress=progress)
        if ct
        else None
    )
    record = {
        **source,
        "people": people,
        "summary": summary,
        "attenuation": attenuation.attenuation(people, np.random.default_rng([seed, len(real)])),
        "osipi": physics,
        "texture": texture.record if texture else None,
        "threshold_rule": {
            preset: _rule(preset, rule_cases, seed, progress) for preset in RULE_PRESETS
        },
        "curves": rows,
    }
    figures: dict[str, Content] = {
        "realism-curves.png": curve_comparison.curves_figure(compared),
        "realism-percentiles.png": curve_comparison.percentiles_figure(rows),
        "realism-threshold.png": threshold_rule.figure(record["threshold_rule"]),
    }
    if texture:
        figures["realism-texture.png"] = texture.figure
    return Result("realism", record, _page(record), figures)


def _command(curves: Path, osipi_folder: Path | None, ct: Sequence[Path]) -> str:
    options = [
        f"--curves {curves.name}",
        *([f"--osipi {osipi_folder.name}"] if osipi_folder else []),
        *(f"--ct {path.name}" for path in ct),
    ]
    return " ".join(["phantom-realism", *options])


def _rule(preset: str, cases: int, seed: int, progress: Progress) -> dict[str, Any]:
    """What a plain threshold finds in the first cases of a preset, on a coarse grid."""
    phantom = Phantom(preset, seed, shape=RULE_SHAPE, spacing_mm=RULE_SPACING_MM)

    def made() -> Iterator[tuple[Study, Annotation]]:
        for index in range(cases):
            progress(f"making cases of {preset}", index, cases)
            yield phantom[index]

    return threshold_rule.threshold_rule(made(), seed)


def _page(record: dict[str, Any]) -> str:
    """The sections, each left out where nothing was measured."""
    sections = [
        f"# How real the phantom is\n\n{measured_by(record)}\n",
        curve_comparison.section(record["summary"], record["people"]),
        attenuation.section(record["attenuation"]),
    ]
    if record["osipi"]:
        sections.append(osipi.section(record["osipi"]))
    if record["texture"]:
        sections.append(texture_comparison.section(record["texture"]))
    for preset, rule in record["threshold_rule"].items():
        sections.append(threshold_rule.section(rule, preset))
    return "\n".join(sections)
