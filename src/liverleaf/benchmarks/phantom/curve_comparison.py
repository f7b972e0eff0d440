"""Real enhancement curves beside those of virtual people: measures, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from liverleaf.benchmarks.phantom.real_curves import BASELINE_END_S, ONSET, TISSUES, RealCurve
from liverleaf.benchmarks.result import markdown_table
from liverleaf.evaluate.stats import bootstrap_mean
from liverleaf.phantom.anatomy.person import Subject, Tissue
from liverleaf.phantom.physics.kinetics import (
    AGENTS,
    STEP_S,
    blood_inputs,
    concentrations,
    draw_circulation,
    draw_perfusion,
)
from liverleaf.phantom.physics.signal import HEPATOCYTE_R1, RELAXIVITY, spgr_signal
from liverleaf.system.progress import Progress

FIELD_TESLA = 3.0
FLIP_ERROR, T1_ERROR = 0.08, 0.05
"""Relative spread of the true flip angle (transmit field) and of a measured T1."""
PHANTOM_TISSUE = {"aorta": Tissue.AORTA, "portal": Tissue.PORTAL_VEIN, "liver": Tissue.LIVER}
MEASURES = {
    "peak_ratio": "peak over baseline",
    "time_to_peak_s": "time to peak",
    "ratio_60s": "60 s over baseline",
    "ratio_180s": "180 s over baseline",
    "ratio_600s": "600 s over baseline",
}
WINDOW_S = 10.0
SHOWN = 4
"""How many people the figure of curves shows."""


class Compared(NamedTuple):
    """A real curve and its virtual people: signals over baseline, (people, N)."""

    real: RealCurve
    virtual: NDArray[np.float64]


def compare(
    real: Sequence[RealCurve], *, people: int, seed: int, progress: Progress
) -> tuple[list[Compared], list[dict[str, Any]]]:
    """Simulate people with each real curve's TR, flip angle, dose, T1 and noise.

    Args:
        real: the curves.
        people: virtual people per curve.
        seed: of the virtual people.
        progress: told which curve is simulated.

    Returns:
        The curves with those of the virtual people, and a row per curve and measure.
    """
    compared: list[Compared] = []
    rows: list[dict[str, Any]] = []
    for index, curve in enumerate(real):
        progress("simulating people", index, len(real))
        rng = np.random.default_rng([seed, index])
        virtual = np.stack([simulate(curve, rng) for _ in range(people)])
        compared.append(Compared(curve, virtual))
        rows += _rows(curve, virtual)
    return compared, rows


def measures(time_s: NDArray[np.float64], signal: NDArray[np.float64]) -> dict[str, float]:
    """The keys of `MEASURES` of one curve.

    A ratio is absent where nothing was sampled within `WINDOW_S` of its time.

    Args:
        time_s: after the bolus reached the aorta, (N,).
        signal: any unit, (N,); its mean up to `BASELINE_END_S` is the baseline.
    """
    level = signal / signal[time_s < BASELINE_END_S].mean()
    after = np.flatnonzero(time_s >= BASELINE_END_S)
    peak = after[level[after].argmax()]
    found = {"peak_ratio": float(level[peak]), "time_to_peak_s": float(time_s[peak])}
    for at_s in (60, 180, 600):
        near = np.abs(time_s - at_s) <= WINDOW_S
        if near.any():
            found[f"ratio_{at_s}s"] = float(level[near].mean())
    return found


def simulate(real: RealCurve, rng: np.random.Generator) -> NDArray[np.float64]:
    """The signal of one virtual person's tissue in the scanner of a real one.

    It is sampled at the real one's times, over its level before contrast. The person's circulation
    and tissues are the phantom's. Noise is that of the real baseline. In the portal vein, which is
    thin and moves with the breath, the baseline's unrest is taken as liver that slips into the
    region, so it changes character as the liver brightens.

    Args:
        real: gives times, TR, flip angle, dose, T1 and the baseline's noise.
        rng: source of the person.
    """
    agent = replace(AGENTS["gadoxetate"], dose_mmol_per_kg=real.dose_mmol_per_kg, injection_s=2.0)
    subject = Subject(real.weight_kg, cirrhosis=0.0, steatosis=0.02)
    fine_s = np.arange(0.0, real.time_s[-1] + 60, STEP_S)
    inputs = blood_inputs(agent, draw_circulation(agent, subject, rng), end_s=fine_s[-1])
    flip_deg = real.flip_deg * np.exp(FLIP_ERROR * rng.standard_normal())
    levels: dict[str, NDArray[np.float64]] = {}
    for tissue in TISSUES:
        perfusion = draw_perfusion(PHANTOM_TISSUE[tissue], subject, rng)
        (outside,), (inside,) = concentrations([perfusion], inputs, agent, fine_s)
        levels[tissue] = spgr_signal(
            real.t1_s[tissue] * np.exp(T1_ERROR * rng.standard_normal()),
            tr_s=real.tr_s,
            flip_deg=flip_deg,
            added_rate_per_s=RELAXIVITY["gadoxetate"][FIELD_TESLA][0] * outside
            + HEPATOCYTE_R1[FIELD_TESLA] * inside,
        )
    rise = levels["aorta"] - levels["aorta"][0]
    arrival_s = fine_s[np.argmax(rise > ONSET * rise.max())] + rng.uniform(
        0, np.median(np.diff(real.time_s))
    )
    at_s = np.clip(real.time_s + arrival_s, 0, fine_s[-1])
    seen = {tissue: np.interp(at_s, fine_s, level) for tissue, level in levels.items()}
    baseline = real.signal[real.time_s < BASELINE_END_S]
    unrest = float(baseline.std() / baseline.mean())
    if real.tissue != "portal":
        signal = seen[real.tissue] * (1 + unrest * rng.standard_normal(at_s.size))
    else:
        brighter = max(abs(levels["liver"][0] / levels["portal"][0] - 1), 0.2)
        slipped = np.clip(rng.gamma(0.3, 1.2 * unrest / np.sqrt(0.3) / brighter, at_s.size), 0, 1)
        signal = seen["portal"] + slipped * (seen["liver"] - seen["portal"])
    return np.asarray(signal / signal[real.time_s < BASELINE_END_S].mean())


def _rows(curve: RealCurve, virtual: NDArray[np.float64]) -> list[dict[str, Any]]:
    simulated = [measures(curve.time_s, signal) for signal in virtual]
    rows = []
    for name, real in measures(curve.time_s, curve.signal).items():
        values = np.array([each[name] for each in simulated])
        p5, p50, p95 = np.percentile(values, [5, 50, 95])
        rows.append(
            {
                "subject": curve.subject,
                "study": curve.study,
                "scan": curve.scan,
                "tissue": curve.tissue,
                "measure": name,
                "real": real,
                "p5": float(p5),
                "p50": float(p50),
                "p95": float(p95),
                "percentile": float(100 * (values < real).mean()),
            }
        )
    return rows


def summarise(rows: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    """Share of real values in the 5 to 95 % range, and its width: of all, by tissue and measure."""
    groups = {"all": list(rows)}
    for tissue in TISSUES:
        for name in MEASURES:
            groups[f"{tissue} {name}"] = [
                row for row in rows if (row["tissue"], row["measure"]) == (tissue, name)
            ]
    summary = {}
    for name, group in groups.items():
        if group:
            inside = [float(row["p5"] <= row["real"] <= row["p95"]) for row in group]
            width = (
                float(np.median([row["p95"] / row["p5"] for row in group]))
                if name != "all" and "time" not in name
                else None
            )
            estimate = bootstrap_mean(inside, [row["subject"] for row in group], rng=rng)
            summary[name] = {
                "inside": vars(estimate),
                "values": len(group),
                "median_p95_over_p5": width,
            }
    return summary


def section(summary: Mapping[str, Any], people: int) -> str:
    """The section on curves of the page on the phantom's realism, from `summarise`."""
    cells = []
    for name, each in summary.items():
        tissue, _, measure = name.partition(" ")
        percent = {key: 100 * each["inside"][key] for key in ("mean", "low", "high")}
        width = each["median_p95_over_p5"]
        cells.append(
            (
                tissue,
                MEASURES.get(measure, ""),
                f"{percent['mean']:.0f} % ({percent['low']:.0f} to {percent['high']:.0f})",
                each["values"],
                each["inside"]["n"],
                "" if width is None else f"{width:.2f}",
            )
        )
    lines = [
        "## Real curves among simulated ones",
        "",
        (
            f"Each real curve is compared with {people} virtual people who have its TR, flip angle,"
            " dose, T1 and noise. Inside: the share of real values between the 5th and the 95th"
            " percentile of the virtual ones (90 % if the phantom were perfect), with its 95 %"
            " interval by subject. Width: the median of 95th over 5th percentile; a phantom that"
            " covers everything by being vague is wide."
        ),
        "",
        *markdown_table(
            ("tissue", "measure", "inside", "values", "people", "width"), cells, left=2
        ),
    ]
    return "\n".join(lines) + "\n"


def curves_figure(compared: Sequence[Compared]) -> Figure:
    """The first scans of some people: the real curve on the band of the virtual ones."""
    people = list(
        dict.fromkeys((c.real.subject, c.real.study) for c in compared if c.real.scan == 1)
    )
    shown = people[:: max(1, len(people) // SHOWN)][:SHOWN]
    figure = Figure(figsize=(11, 7.2), dpi=130, layout="constrained")
    axes = figure.subplots(len(TISSUES), len(shown), squeeze=False, sharex=True)
    by_key = {(c.real.subject, c.real.study, c.real.scan, c.real.tissue): c for c in compared}
    for column, person in enumerate(shown):
        for row, tissue in enumerate(TISSUES):
            panel = axes[row, column]
            _draw_curve(panel, by_key.get((*person, 1, tissue)))
            if row == 0 and (*person, 1, tissue) in by_key:
                dose = 1000 * by_key[*person, 1, tissue].real.dose_mmol_per_kg
                panel.set_title(f"subject {person[0]}, {person[1]}, {dose:.2g} µmol/kg", fontsize=9)
    for row, tissue in enumerate(TISSUES):
        axes[row, 0].set_ylabel(
            f"{'portal vein' if tissue == 'portal' else tissue}\nsignal over baseline"
        )
    figure.supxlabel("minutes after the bolus reached the aorta", fontsize=10)
    handles, labels = next(
        panel.get_legend_handles_labels()
        for panel in axes.flat
        if panel.get_legend_handles_labels()[0]
    )
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def _draw_curve(panel: Any, compared: Compared | None) -> None:
    """Draw a real curve on the band of its virtual people."""
    if compared is None:
        where = {"ha": "center", "va": "center", "transform": panel.transAxes}
        panel.text(0.5, 0.5, "not measured", color="#777777", **where)
        return
    real, virtual = compared
    level = real.signal / real.signal[real.time_s < BASELINE_END_S].mean()
    low, middle, high = np.percentile(virtual, [5, 50, 95], axis=0)
    minutes = real.time_s / 60
    band = {"color": "#bcd9dd", "label": "virtual people, 5 to 95 %", "linewidth": 0}
    panel.fill_between(minutes, low, high, **band)
    panel.plot(minutes, middle, color="#1f7f8c", linewidth=1.2, label="virtual people, median")
    panel.plot(minutes, level, ".", color="#26323a", markersize=2, label="real")
    panel.set_xscale("symlog", linthresh=1)
    panel.set_xticks([-1, 0, 1, 3, 10, 30], ["-1", "0", "1", "3", "10", "30"])
    panel.set_xlim(-1.2, minutes[-1])
    panel.grid(alpha=0.2)


def percentiles_figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Where each real value stands among its virtual people."""
    figure = Figure(figsize=(8, 5.6), dpi=130, layout="constrained")
    panel = figure.subplots()
    names = [(tissue, measure) for tissue in TISSUES for measure in MEASURES]
    panel.axvspan(5, 95, color="#dcecee", zorder=0)
    panel.axvline(50, color="#1f7f8c", linewidth=1)
    rng = np.random.default_rng(0)
    for line, name in enumerate(names):
        at = [row["percentile"] for row in rows if (row["tissue"], row["measure"]) == name]
        panel.plot(
            at,
            line + rng.uniform(-0.25, 0.25, len(at)),
            "o",
            color="#26323a",
            markersize=3,
            alpha=0.6,
        )
    panel.set_yticks(
        range(len(names)),
        [f"{'portal vein' if t == 'portal' else t}, {MEASURES[m]}" for t, m in names],
        fontsize=8,
    )
    panel.invert_yaxis()
    panel.set_xlim(-2, 102)
    panel.set_xlabel("percentile of the real value among its virtual people (shaded: 5 to 95 %)")
    panel.spines[["top", "right"]].set_visible(False)
    return figure
