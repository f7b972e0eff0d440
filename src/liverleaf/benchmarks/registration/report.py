"""Tables and figures of how accurate registration is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from liverleaf.benchmarks.result import interval, markdown_table, measured_by
from liverleaf.evaluate.stats import bootstrap_mean, wilson

BAD_MM = 5.0
"""Median error above which an alignment should be flagged."""
GOOD_MM = 3.0
"""Median error up to which it should not."""
COLUMNS = ("median_mm", "mean_mm", "p95_mm")

Row = dict[str, Any]


def summary(rows: Sequence[Row], seed: int) -> list[Row]:
    """Per preset and method: means over phases, intervals by subject, and errors unregistered."""
    table = pd.DataFrame(rows)
    none = table[table.method == "none"].set_index(["case", "phase"]).median_mm
    lines = []
    for (preset, method), part in table.groupby(["preset", "method"], sort=False):
        rng = np.random.default_rng(seed)
        estimates = {
            name: vars(bootstrap_mean(part[name].to_list(), part.case.to_list(), rng=rng))
            for name in COLUMNS
        }
        unmoved = none.loc[list(zip(part.case, part.phase, strict=True))].to_numpy()
        line = {
            "preset": preset,
            "method": method,
            "phases": len(part),
            "subjects": part.case.nunique(),
            **estimates,
        }
        line |= {
            "none_median_mm": float(unmoved.mean()),
            "worse_than_none": float((part.median_mm.to_numpy() > unmoved).mean()),
        }
        line |= {name: float(part[name].mean()) for name in ("folding", "similarity", "over_ours")}
        lines.append(line)
    return lines


def flag_summary(flags: Sequence[Row]) -> Row:
    """How often bad alignments are flagged, good ones are not, and how often those between are."""
    bad = [flag for flag in flags if flag["median_mm"] is None or flag["median_mm"] > BAD_MM]
    good = [
        flag for flag in flags if flag["median_mm"] is not None and flag["median_mm"] <= GOOD_MM
    ]
    between = [
        flag
        for flag in flags
        if flag["median_mm"] is not None and GOOD_MM < flag["median_mm"] <= BAD_MM
    ]
    counted = {
        "sensitivity": (bad, False),
        "specificity": (good, True),
        "flagged_between": (between, False),
    }
    return {
        name: (
            vars(wilson(sum(flag["trusted"] is wanted for flag in part), len(part)))
            if part
            else None
        )
        for name, (part, wanted) in counted.items()
    }


def figure(rows: Sequence[Row], diagonal_mm: float) -> Figure:
    """Median errors of every phase, by preset and method; the line is one voxel diagonal."""
    table = pd.DataFrame(rows)
    presets, methods = list(table.preset.unique()), list(table.method.unique())
    fig = Figure(figsize=(4.2 * len(presets), 4), dpi=120, layout="constrained")
    for axes, preset in zip(
        np.atleast_1d(fig.subplots(1, len(presets), sharey=True)), presets, strict=True
    ):
        part = table[table.preset == preset]
        values = [part[part.method == method].median_mm.to_numpy() for method in methods]
        axes.boxplot(values, whis=(0, 100))
        axes.set_xticks(range(1, len(methods) + 1), methods, rotation=40, ha="right")
        axes.axhline(diagonal_mm, color="0.6", lw=1)
        axes.set(yscale="log", title=f"{preset}, {part.case.nunique()} subjects")
    fig.axes[0].set_ylabel("median error inside the liver (mm)")
    return fig


def page(record: Mapping[str, Any]) -> str:
    """The record as tables."""
    diagonal = record["diagonal_mm"]
    lines = [
        "# Registration",
        "",
        (
            f"{measured_by(record)} On phantoms of {' x '.join(map(str, record['shape'][::-1]))}"
            " voxels whose motion is known. Errors are distances inside the liver from where"
            " tissue is put to where it truly is: median, mean and 95th percentile of each phase,"
            " then the mean over phases (95 % interval of the median by subject). One voxel's"
            f" diagonal in plane is {diagonal:.2f} mm. `none` is the mean of the same phases left"
            " where they were, as slow baselines may have been run on fewer of them. Time is"
            " processor time over ours in the same run; ours includes the resampling of the full"
            " scan. The baselines see the phases on the coarse grid that ours searches, which"
            " spares them time; the tuned ones and SimpleITK's start from our rigid motion."
        ),
        "",
        *_methods_table(record["methods"], diagonal),
        "",
        *(f"{name} was not measured: {why}." for name, why in record["not_measured"].items()),
        "",
        "![Median errors](registration.png)",
        "",
        "## How reliable the flag is",
        "",
        *_flag_table(record["flag"]),
    ]
    return "\n".join(lines) + "\n"


def _methods_table(rows: Sequence[Row], diagonal_mm: float) -> list[str]:
    header = (
        "preset",
        "method",
        "subjects",
        "phases",
        "none (mm)",
        "median (mm)",
        "in diagonals",
        "mean (mm)",
        "95th (mm)",
        "worse than none",
        "folding",
        "similarity",
        "time / ours",
    )
    cells = (
        (
            row["preset"],
            row["method"],
            row["subjects"],
            row["phases"],
            f"{row['none_median_mm']:.2f}",
            interval(row["median_mm"]),
            f"{row['median_mm']['mean'] / diagonal_mm:.2f}",
            f"{row['mean_mm']['mean']:.2f}",
            f"{row['p95_mm']['mean']:.2f}",
            f"{row['worse_than_none']:.0%}",
            f"{row['folding']:.2%}",
            f"{row['similarity']:.2f}",
            f"{row['over_ours']:.1f}",
        )
        for row in rows
    )
    return markdown_table(header, cells, left=2)


def _flag_table(flag: Row) -> list[str]:
    """How reliable the flag is, in words and a table."""
    meaning = {
        "sensitivity": (
            f"flagged, of other people's phases and of those more than {BAD_MM:.0f} mm off"
        ),
        "specificity": f"trusted, of phases at most {GOOD_MM:.0f} mm off",
        "flagged_between": "flagged, of those between",
    }
    return [
        (
            "Every phase is assessed as registered, as it was before, and with a phase of somebody"
            " else in its place."
        ),
        "",
        *markdown_table(
            ("", "share", "95 % interval", "n"),
            (
                (
                    meaning[name],
                    f"{share['mean']:.3f}",
                    f"{share['low']:.3f} to {share['high']:.3f}",
                    share["n"],
                )
                for name, share in flag.items()
                if share
            ),
        ),
    ]
