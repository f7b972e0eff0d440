"""How near the phantom comes to real curves, images and reference numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from liverleaf.benchmarks.phantom import texture_comparison, threshold_rule
from liverleaf.benchmarks.phantom.osipi import markdown as osipi_markdown
from liverleaf.benchmarks.phantom.osipi import osipi as osipi_rows
from liverleaf.benchmarks.phantom.real_curves import (
    BASELINE_END_S,
    ONSET,
    TISSUES,
    RealCurve,
    read_curves,
)
from liverleaf.evaluate.stats import Estimate, bootstrap_mean
from liverleaf.phantom.anatomy.person import Subject, Tissue
from liverleaf.phantom.generator import Phantom
from liverleaf.phantom.physics.kinetics import (
    AGENTS,
    STEP_S,
    blood_inputs,
    concentrations,
    draw_circulation,
    draw_perfusion,
)
from liverleaf.phantom.physics.signal import (
    HEPATOCYTE_R1,
    RELAXIVITY,
    draw_properties,
    iodine_hu,
    spgr_signal,
)
from liverleaf.study import Annotation, Study
from liverleaf.system import provenance

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
SHOWN = 4
TEXTURE_SUBJECTS = 20
RULE_PRESETS, RULE_CASES = ("mr", "ct", "hard"), 24
RULE_SHAPE, RULE_SPACING_MM = (40, 160, 160), (5.0, 2.2, 2.2)


class Compared(NamedTuple):
    """A real curve and its virtual subjects: signals over baseline, (subjects, N)."""

    real: RealCurve
    virtual: NDArray[np.float64]


def phantom_realism(
    curves: Path,
    out: Path,
    *,
    osipi: Path | None = None,
    ct: Sequence[Path] = (),
    subjects: int = 100,
    seed: int = 0,
    rule_cases: int = RULE_CASES,
    progress: Callable[[str, int, int], None] | None = None,
) -> str:
    """Measure how real the phantom is.

    Its curves, attenuation, physics, noise and texture, and how hard its lesions are to find.

    For the curves, subjects are simulated with each real one's TR, flip angle, dose, T1 and noise.

    Args:
        curves: folder with zipped real curves (`read_curves`).
        out: folder that gets `realism.json`, `realism.md` and the figures
            `realism-{curves,percentiles,threshold,texture}.png`.
        osipi: folder with OSIPI's reference numbers; None leaves that part out.
        ct: real CT studies to compare noise and texture with; none leaves that part out.
        subjects: virtual subjects per real curve.
        seed: of the virtual subjects.
        rule_cases: cases per preset that a plain threshold is tried on.
        progress: called with (what, done, total).

    Returns:
        The tables, as Markdown.

    Raises:
        InputError: there are no curves, or a folder lacks what it should hold.
    """
    real = read_curves(curves)
    physics = osipi_rows(osipi) if osipi else []
    rows: list[dict[str, Any]] = []
    compared: list[Compared] = []
    for index, curve in enumerate(real):
        if progress:
            progress("simulating subjects", index, len(real))
        rng = np.random.default_rng([seed, index])
        virtual = np.stack([simulate(curve, rng) for _ in range(subjects)])
        compared.append(Compared(curve, virtual))
        rows += _rows(curve, virtual)
    summary = _summary(rows, np.random.default_rng(seed))
    looks = (
        texture_comparison.compare(ct, subjects=TEXTURE_SUBJECTS, seed=seed, progress=progress)
        if ct
        else None
    )
    rules = {preset: _rule(preset, rule_cases, seed, progress) for preset in RULE_PRESETS}
    options = [
        f"--curves {curves.name}",
        *([f"--osipi {osipi.name}"] if osipi else []),
        *(f"--ct {path.name}" for path in ct),
    ]
    record = {
        "command": " ".join(["liverleaf benchmark phantom-realism", *options]),
        "commit": provenance.commit(),
        "seed": seed,
        "people": subjects,
        "summary": {
            name: {**each, "inside": vars(each["inside"])} for name, each in summary.items()
        },
        "attenuation": attenuation(subjects, np.random.default_rng([seed, len(real)])),
        "osipi": physics,
        "texture": looks.record if looks else None,
        "threshold_rule": rules,
        "curves": rows,
    }
    parts = [_markdown(record, summary)]
    if physics:
        parts.append(osipi_markdown(physics))
    if looks:
        parts.append(texture_comparison.markdown(looks.record))
    parts += [threshold_rule.markdown(rule, preset) for preset, rule in rules.items()]
    out.mkdir(parents=True, exist_ok=True)
    (out / "realism.json").write_text(json.dumps(record, indent=1) + "\n")
    (out / "realism.md").write_text(table := "\n".join(part.rstrip("\n") + "\n" for part in parts))
    _curves_figure(compared).savefig(out / "realism-curves.png")
    _percentiles_figure(rows).savefig(out / "realism-percentiles.png")
    threshold_rule.figure(rules).savefig(out / "realism-threshold.png")
    if looks:
        looks.figure.savefig(out / "realism-texture.png")
    return table


def _rule(
    preset: str, cases: int, seed: int, progress: Callable[[str, int, int], None] | None
) -> dict[str, Any]:
    """What a plain threshold finds in the first cases of a preset, on a coarse grid."""
    phantom = Phantom(preset, seed, shape=RULE_SHAPE, spacing_mm=RULE_SPACING_MM)

    def made() -> Iterator[tuple[Study, Annotation]]:
        for index in range(cases):
            if progress:
                progress(f"making cases of {preset}", index, cases)
            yield phantom[index]

    return threshold_rule.threshold_rule(made(), seed)


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
    """Signal of one virtual person in the scanner of a real one, over its baseline.

    At the real one's times.

    The person's circulation and tissues are the phantom's. Noise is that of the real baseline. In
    the portal vein, which is thin and moves with the breath, the baseline's unrest is taken as
    liver that slips into the region, so it changes character as the liver brightens.

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


def attenuation(subjects: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """HU of the phantom's tissues at `CT_TIMES_S`, beside `TYPICAL_HU`.

    5th, 50th and 95th percentile over so many virtual subjects.

    The subjects are without cirrhosis and fat, lesions of every look that the phantom has for their
    type.
    """
    agent, subject = AGENTS["iodine"], Subject(75.0, cirrhosis=0.0, steatosis=0.02)
    drawn = np.empty((subjects, len(TYPICAL_HU), len(CT_TIMES_S)))
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


def _summary(rows: Sequence[dict[str, Any]], rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    """Per tissue and measure, and for all: real values in the 5 to 95 % range, its width."""
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
            estimate: Estimate = bootstrap_mean(inside, [row["subject"] for row in group], rng=rng)
            summary[name] = {"inside": estimate, "values": len(group), "median_p95_over_p5": width}
    return summary


def _markdown(record: dict[str, Any], summary: dict[str, dict[str, Any]]) -> str:
    lines = [
        "# How real the phantom is",
        "",
        "## Real curves among simulated ones",
        "",
        (
            f"Written by `{record['command']}` at commit {record['commit']}, seed {record['seed']}."
            f" Each real curve is compared with {record['people']} virtual subjects with its TR,"
            " flip angle, dose, T1 and noise. Inside: the share of real values between the 5th and"
            " the 95th percentile of the virtual ones (90 % if the phantom were perfect), with its"
            " 95 % interval by subject. Width: the median of 95th over 5th percentile; a phantom"
            " that covers everything by being vague is wide."
        ),
        "",
        "| tissue | measure | inside | values | subjects | width |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, each in summary.items():
        tissue, _, measure = name.partition(" ")
        inside: Estimate = each["inside"]
        width = "" if each["median_p95_over_p5"] is None else f"{each['median_p95_over_p5']:.2f}"
        share = f"{100 * inside.mean:.0f} % ({100 * inside.low:.0f} to {100 * inside.high:.0f})"
        lines.append(
            f"| {tissue} | {MEASURES.get(measure, '')} | {share} | {each['values']} | {inside.n} |"
            f" {width} |"
        )
    lines += [
        "",
        "## Attenuation",
        "",
        (
            "HU that readers expect, and the phantom's median with its 5th and 95th percentile over"
            " the same number of subjects."
        ),
        "",
        "| tissue | native | 35 s | 70 s | 180 s |",
        "|---|---:|---:|---:|---:|",
    ]
    rows = record["attenuation"]
    for start in range(0, len(rows), len(CT_TIMES_S)):
        cells = [
            f"{row['typical']}: {row['p50']:.0f} ({row['p5']:.0f} to {row['p95']:.0f})"
            for row in rows[start : start + len(CT_TIMES_S)]
        ]
        lines.append(f"| {rows[start]['tissue'].replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _curves_figure(compared: Sequence[Compared]) -> Figure:
    """The first scans of some subjects: the real curve on the band of the virtual ones."""
    subjects = list(
        dict.fromkeys((c.real.subject, c.real.study) for c in compared if c.real.scan == 1)
    )
    shown = subjects[:: max(1, len(subjects) // SHOWN)][:SHOWN]
    figure = Figure(figsize=(11, 7.2), dpi=130, layout="constrained")
    axes = figure.subplots(len(TISSUES), len(shown), squeeze=False, sharex=True)
    for column, person in enumerate(shown):
        for row, tissue in enumerate(TISSUES):
            panel = axes[row, column]
            found = [
                c
                for c in compared
                if (c.real.subject, c.real.study, c.real.scan, c.real.tissue)
                == (*person, 1, tissue)
            ]
            if not found:
                panel.text(
                    0.5,
                    0.5,
                    "not measured",
                    ha="center",
                    va="center",
                    transform=panel.transAxes,
                    color="#777777",
                )
                continue
            real, virtual = found[0]
            level = real.signal / real.signal[real.time_s < BASELINE_END_S].mean()
            low, middle, high = np.percentile(virtual, [5, 50, 95], axis=0)
            minutes = real.time_s / 60
            panel.fill_between(
                minutes,
                low,
                high,
                color="#bcd9dd",
                label="virtual subjects, 5 to 95 %",
                linewidth=0,
            )
            panel.plot(
                minutes, middle, color="#1f7f8c", linewidth=1.2, label="virtual subjects, median"
            )
            panel.plot(minutes, level, ".", color="#26323a", markersize=2, label="real")
            if row == 0:
                panel.set_title(
                    f"subject {real.subject}, {real.study}, {1000 * real.dose_mmol_per_kg:.2g}"
                    " µmol/kg",
                    fontsize=9,
                )
            panel.set_xscale("symlog", linthresh=1)
            panel.set_xticks([-1, 0, 1, 3, 10, 30], ["-1", "0", "1", "3", "10", "30"])
            panel.set_xlim(-1.2, minutes[-1])
            panel.grid(alpha=0.2)
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


def _percentiles_figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Where each real value stands among its virtual subjects."""
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
    panel.set_xlabel("percentile of the real value among its virtual subjects (shaded: 5 to 95 %)")
    panel.spines[["top", "right"]].set_visible(False)
    return figure
