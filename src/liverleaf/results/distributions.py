"""Distributions over a cohort's lesions: their volumes, types, and contrast to the liver per phase.

Values are counted in bins, so memory does not grow with the number of lesions.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from liverleaf.findings import Findings
from liverleaf.results.columns import CaseResult, LesionOf
from liverleaf.study import Phase
from liverleaf.terminology import LesionType

TEAL, INK, GRID = "#0f5f6b", "#18242a", 0.25
BINS_PER_DECADE = 4
"""Of the volume, on a logarithmic scale."""

CONTRAST_STEP = {"HU": 2.0, "fraction of liver": 0.02}
"""Width of the bins of contrast, by its unit."""

QUANTILES = {"whislo": 0.05, "q1": 0.25, "med": 0.5, "q3": 0.75, "whishi": 0.95}
"""What a box shows, by the name that matplotlib has for it."""

UNTYPED = "not typed"


@dataclass
class Distributions:
    """Numbers of lesions in bins.

    Attributes:
        volumes: by the bin of the volume: n is 10 ** (n / BINS_PER_DECADE) ml and more.
        types: by the name of the most probable type.
        contrasts: by unit and phase, and by the number of steps.
    """

    volumes: Counter[int] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    contrasts: dict[str, dict[str, Counter[int]]] = field(default_factory=dict)

    def add(self, result: CaseResult) -> None:
        """Count the lesions of a case."""
        for lesion in result.findings.lesions:
            first = LesionOf(result, lesion).first_type
            self.types[LesionType.parse(first).title if first else UNTYPED] += 1
            if lesion.volume_ml > 0:
                self.volumes[math.floor(math.log10(lesion.volume_ml) * BINS_PER_DECADE)] += 1
            if lesion.contrast is not None:
                unit = lesion.contrast.unit
                for phase, value in lesion.contrast.by_phase.items():
                    bins = self.contrasts.setdefault(unit, {}).setdefault(phase, Counter())
                    bins[round(value / CONTRAST_STEP[unit])] += 1

    def quantiles(self, unit: str, phase: str) -> dict[str, float]:
        """What a box of the contrasts in a phase shows, each to half a step."""
        bins, step = self.contrasts[unit][phase], CONTRAST_STEP[unit]
        return {name: step * _quantile(bins, share) for name, share in QUANTILES.items()}

    def figures(self) -> dict[str, bytes]:
        """PNG pictures by what they show; none of what no lesion has."""
        if not self.types:
            return {}
        shown = {"Volume": self._volumes(), "Most probable type": self._types()}
        for unit in sorted(self.contrasts):
            name = "CT" if unit == "HU" else "MR"
            shown[f"Contrast to the liver, {name}"] = self._contrasts(unit)
        return shown

    def _volumes(self) -> bytes:
        figure, axes = _axes()
        if self.volumes:
            numbers = range(min(self.volumes), max(self.volumes) + 1)
            edges = [10 ** (number / BINS_PER_DECADE) for number in (*numbers, numbers.stop)]
            axes.bar(
                edges[:-1],
                [self.volumes[number] for number in numbers],
                width=[high - low for low, high in pairwise(edges)],
                align="edge",
                color=TEAL,
                edgecolor="white",
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("volume (ml)")
        axes.set_ylabel("lesions")
        axes.yaxis.get_major_locator().set_params(integer=True)
        return _png(figure)

    def _types(self) -> bytes:
        figure, axes = _axes()
        named = self.types.most_common()[::-1]
        axes.barh([name for name, _ in named], [times for _, times in named], color=TEAL)
        axes.set_xlabel("lesions")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(visible=False, axis="y")
        return _png(figure)

    def _contrasts(self, unit: str) -> bytes:
        figure, axes = _axes()
        phases = [phase.key for phase in Phase if phase.key in self.contrasts[unit]]
        scale = 1 if unit == "HU" else 100
        boxes = [
            {name: scale * value for name, value in self.quantiles(unit, phase).items()}
            | {"label": f"{phase}\nn = {self.contrasts[unit][phase].total()}", "fliers": []}
            for phase in phases
        ]
        axes.bxp(
            boxes,
            showfliers=False,
            patch_artist=True,
            boxprops={"facecolor": "#cfe3e6", "edgecolor": TEAL},
            medianprops={"color": INK, "linewidth": 2},
            whiskerprops={"color": TEAL},
            capprops={"color": TEAL},
        )
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_ylabel("contrast (HU)" if unit == "HU" else "contrast (% of liver)")
        axes.grid(visible=False, axis="x")
        return _png(figure)


def type_counts(findings: Findings) -> Mapping[str, int]:
    """Number of lesions of a study by the title of their most probable type."""
    counts = Distributions()
    counts.add(CaseResult("", "", findings))
    return dict(counts.types.most_common())


def _quantile(bins: Counter[int], share: float) -> int:
    """The bin in which the smallest values make up this share of all."""
    seen, wanted = 0, share * bins.total()
    for number in sorted(bins):
        seen += bins[number]
        if seen >= wanted:
            return number
    raise ValueError("no value, no quantile")


def _axes() -> tuple[Figure, Any]:
    figure = Figure(figsize=(5.0, 3.0), dpi=160, layout="constrained")
    axes: Any = figure.subplots()
    axes.grid(alpha=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
