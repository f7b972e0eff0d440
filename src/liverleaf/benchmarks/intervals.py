"""How many of the 90 % intervals of a lesion's measures hold the truth, on phantoms.

A simulated reader outlines each lesion: the true outline, moved in or out as a whole by a normal
error whose 90 % are one voxel, and uneven by half a voxel. The phases move and are registered, and
the scans are noisy. True is what the outline of the phantom measures, and the noise-free mean of
its tissue, before any blur of the scanner.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from liverleaf.benchmarks.result import Result, markdown_table, measured_by, origin
from liverleaf.evaluate.stats import wilson
from liverleaf.findings import LesionRecord
from liverleaf.measure.enhancement import Curve, late_phase
from liverleaf.measure.findings import measure
from liverleaf.measure.intervals import Z_90, depth_mm
from liverleaf.measure.lesions import diameters, volume_ml
from liverleaf.measure.uncertainty import curve_measures, widening, without_phase
from liverleaf.phantom.generator import Phantom
from liverleaf.registration.align import register_phases
from liverleaf.registration.quality import assess_alignment
from liverleaf.segmentation import Segmentation
from liverleaf.study import Annotation, Modality, Phase, Study
from liverleaf.system.progress import Progress, silent
from liverleaf.terminology import LesionType, Organ, PhaseName

SEED, FIT_SEED = 6007, 5001
PRESETS = ("ct", "mr")
MODALITIES = {"ct": Modality.CT, "mr": Modality.MR}
GOAL = (0.86, 0.94)
SMALLEST_MM = 10.0
"""Long axis from which a lesion counts: smaller ones are mostly edge, which the scanner blurs. They
are counted apart."""
UNEVEN_MM = 4.0
"""How coarse the unevenness of an outline is."""
TITLES = {
    "volume_ml": "volume",
    "long_axis_mm": "long axis",
    "short_axis_mm": "short axis",
    "curve.mean": "curve, all phases",
    "contrast.by_phase": "contrast to liver, all phases",
    "wash_in.enhancement": "wash-in",
    "wash_in.against_liver": "wash-in against liver",
    "wash_out.share_lost": "wash-out, share lost",
    "wash_out.against_liver": "wash-out against liver",
    "wash_out.liver_to_lesion_percent": "liver to lesion",
}
Check = dict[str, Any]


def run(
    cases: int = 16,
    *,
    fit: bool = False,
    shape: tuple[int, int, int] = (64, 128, 128),
    spacing_mm: tuple[float, float, float] = (3.5, 2.8, 2.8),
    progress: Progress = silent,
) -> Result:
    """Measure phantoms under the outlines of a simulated reader, and count what intervals hold.

    Args:
        cases: per preset, each with a lesion of every type.
        fit: on the phantoms of another seed; the page says which factors would hold 90 % there.
        shape: of the phantoms.
        spacing_mm: of the phantoms.
        progress: told which case is measured.
    """
    seed = FIT_SEED if fit else SEED
    source = origin(f"intervals --cases {cases}{' --fit' if fit else ''}", seed)
    checks: list[Check] = []
    for index, preset in enumerate(PRESETS):
        phantom = Phantom(
            preset, seed, lesion_types=tuple(LesionType), shape=shape, spacing_mm=spacing_mm
        )
        for number in range(cases):
            progress("measuring phantoms", index * cases + number, cases * len(PRESETS))
            rng = np.random.default_rng((seed, index, number))
            found = checks_of(*phantom[number], rng)
            checks += [{"preset": preset, "case": number, **check} for check in found]
    summary = coverage(checks)
    record = {**source, "shape": shape, "spacing_mm": spacing_mm, "summary": summary}
    return Result(
        "intervals", record, _page(record, summary, fit=fit), {"intervals.png": _figure(summary)}
    )


def checks_of(study: Study, truth: Annotation, rng: np.random.Generator) -> list[Check]:
    """Each measure of each lesion of a phantom: its value, its interval and the truth.

    Args:
        study: as scanned.
        truth: its annotation, with organs.
        rng: draws the reader's errors.
    """
    assert truth.organs is not None  # phantoms have them
    spacing_mm, true_labels = study.grid.spacing, truth.lesions.array
    labels = np.zeros_like(true_labels)
    for lesion in truth.lesion_list:
        labels[outlined(true_labels == lesion.label, spacing_mm, rng)] = lesion.label
    liver = study.grid.with_array((truth.organs.array == Organ.LIVER) | (labels > 0))
    registration = register_phases(study)
    registered = assess_alignment(registration, within=liver)
    segmentation = Segmentation(study.grid.with_array(labels), {Organ.LIVER: liver})
    findings = measure(registered, segmentation)
    found: list[Check] = []
    for lesion in truth.lesion_list:
        record = next((r for r in findings.lesions if r.id == lesion.label), None)
        if record is None or record.liver_curve is None:
            continue
        scale = _scale(record.liver_curve.mean, truth.liver_curve, study.modality)
        own, liver_curve = (
            Curve({phase: scale * mean for phase, mean in means.items()}, 1)
            for means in (lesion.curve, truth.liver_curve)
        )
        found += _checks(record, _true_values(study, truth, lesion.label, own, liver_curve))
    return found


def _scale(
    measured: Mapping[PhaseName, float], true: Mapping[Phase, float], modality: Modality
) -> float:
    """What a unit of the truth is in the scan: 1 in CT, by the liver in MR, which has no scale."""
    if modality is Modality.CT:
        return 1.0
    return float(np.median([mean / true[Phase.parse(key)] for key, mean in measured.items()]))


def outlined(
    mask_ZYX: NDArray[np.bool_], spacing_mm: tuple[float, ...], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """A lesion as a simulated reader outlines it; never nothing."""
    edge_mm = min(spacing_mm)
    voxels = np.argwhere(mask_ZYX)
    reach = np.ceil(4 * edge_mm / np.asarray(spacing_mm)).astype(int)
    low = np.maximum(voxels.min(axis=0) - reach, 0)
    box = tuple(slice(a, b) for a, b in zip(low, voxels.max(axis=0) + 1 + reach, strict=True))
    mask = mask_ZYX[box]
    uneven = gaussian_filter(
        rng.standard_normal(mask.shape), [UNEVEN_MM / size for size in spacing_mm]
    )
    uneven *= edge_mm / 2 / uneven.std()
    moved_mm = depth_mm(mask, spacing_mm) + uneven + rng.normal(0.0, edge_mm / Z_90)
    drawn = np.zeros_like(mask_ZYX)
    drawn[box] = moved_mm > 0 if (moved_mm > 0).any() else moved_mm == moved_mm.max()
    return drawn


def coverage(checks: Iterable[Check]) -> list[dict[str, Any]]:
    """Per measure and preset: the share of intervals that hold the truth, and what is needed.

    `factor` is the k with which 90 % would hold it: the present one times the 90th percentile of
    the errors in half-widths of the interval, on the side of the truth.
    """
    checks = list(checks)
    summary = []
    for name in TITLES:
        for preset in (*PRESETS, "both"):
            own = [c for c in checks if c["measure"] == name and preset in (c["preset"], "both")]
            large = [c for c in own if c["long_axis_mm"] >= SMALLEST_MM]
            small = [c for c in own if c["long_axis_mm"] < SMALLEST_MM]
            if not large:
                continue
            held = wilson(sum(c["held"] for c in large), len(large))
            summary.append(
                {
                    "measure": name,
                    "preset": preset,
                    "n": len(large),
                    "coverage": held.mean,
                    "low": held.low,
                    "high": held.high,
                    "half_width": float(np.median([(c["high"] - c["low"]) / 2 for c in large])),
                    "error": float(np.median([abs(c["value"] - c["true"]) for c in large])),
                    "factor": float(np.quantile([c["half_widths"] * _k(c) for c in large], 0.9)),
                    "coverage_of_small": float(np.mean([c["held"] for c in small]))
                    if small
                    else None,
                    "small": len(small),
                }
            )
    return summary


def _k(check: Check) -> float:
    """The factor with which an interval was made."""
    return widening(check["measure"], MODALITIES[check["preset"]])


def _true_values(
    study: Study, truth: Annotation, label: int, lesion: Curve, liver: Curve
) -> dict[str, float]:
    mask = truth.lesions.array == label
    size = diameters(mask, study.grid.affine)
    phases = [phase for phase in study.phases if phase in lesion.mean]
    found: dict[str, float | None] = {
        "volume_ml": volume_ml(mask, study.grid.spacing),
        "long_axis_mm": size.long_axis_mm,
        "short_axis_mm": size.short_axis_mm,
    }
    late = late_phase(dict.fromkeys(phases, 0.0), agent=study.agent)
    for name, of in curve_measures(phases, study.modality, late).items():
        found[name] = of(lesion, liver)
    return {name: value for name, value in found.items() if value is not None}


def _checks(record: LesionRecord, true: Mapping[str, float]) -> list[Check]:
    told = record.model_dump()
    found = []
    for name, (low, high) in record.intervals.items():
        if name not in true:
            continue
        value: Any = told
        for key in name.split("."):
            value = value[key]
        error = true[name] - value
        half = (high - value) if error > 0 else (value - low)
        found.append(
            {
                "lesion": record.id,
                "measure": without_phase(name),
                "long_axis_mm": true["long_axis_mm"],
                "value": value,
                "low": low,
                "high": high,
                "true": true[name],
                "held": bool(low <= true[name] <= high),
                "half_widths": abs(error) / max(half, 1e-9) if error else 0.0,
            }
        )
    return found


def _page(record: Mapping[str, Any], summary: list[dict[str, Any]], *, fit: bool) -> str:
    rows = [
        (
            TITLES[row["measure"]],
            row["preset"],
            row["n"],
            f"{row['coverage']:.0%} ({row['low']:.0%} to {row['high']:.0%})",
            # HU and arbitrary units have no median in common
            *(
                "-" if row["preset"] == "both" else f"{row[name]:.3g}"
                for name in ("half_width", "error")
            ),
            f"{row['factor']:.2f}",
            "-"
            if row["coverage_of_small"] is None
            else f"{row['coverage_of_small']:.0%} of {row['small']}",
        )
        for row in summary
    ]
    both = [row for row in summary if row["preset"] == "both"]
    held = sum(GOAL[0] <= row["coverage"] <= GOAL[1] for row in both)
    z, y, x = record["shape"]
    lines = [
        "# Intervals",
        "",
        measured_by(record, threads=1),
        "",
        "How many of the 90 % intervals in the findings hold the truth: on phantoms of"
        f" {z} x {y} x {x} voxels with a lesion of each type, moved and registered, under outlines"
        " of a simulated reader. Its outline lies in or out by a normal error, 90 % of which are"
        " one voxel, and is uneven by half a voxel. The true size is that of the phantom's own"
        " outline; the true intensity is the noise-free mean of its tissue before the scanner's"
        " blur (in MR, on the scale that the liver has in the scan). In brackets 95 % intervals"
        " (Wilson), as if lesions were independent. Half-width and error are medians in the unit"
        " of the measure, HU or that of the MR."
        f" Lesions under {SMALLEST_MM:.0f} mm stand in the last column alone: they are mostly edge,"
        " which blur and registration shift.",
        "",
        f"Of {len(both)} measures, {held} lie at {GOAL[0]:.0%} to {GOAL[1]:.0%} over both presets.",
        "",
        *(
            ["These phantoms are those that the factors were fitted on: they prove nothing.", ""]
            if fit
            else []
        ),
        *markdown_table(
            (
                "measure",
                "preset",
                "n",
                "hold the truth",
                "half-width",
                "error",
                "factor for 90 %",
                f"under {SMALLEST_MM:.0f} mm",
            ),
            rows,
            left=2,
        ),
        "",
        "![Share of intervals that hold the truth](intervals.png)",
    ]
    return "\n".join(lines) + "\n"


def _figure(summary: list[dict[str, Any]]) -> Figure:
    both = [row for row in summary if row["preset"] == "both"][::-1]
    figure = Figure(figsize=(7, 0.4 * len(both) + 1), layout="constrained")
    axes = figure.add_subplot()
    axes.axvspan(*GOAL, color="0.88", zorder=0)
    places = np.arange(len(both))
    shares = np.array([row["coverage"] for row in both])
    bars = np.abs(np.array([[row["low"], row["high"]] for row in both]).T - shares)
    axes.errorbar(shares, places, xerr=bars, fmt="o", color="black", capsize=3)
    axes.set_yticks(places, [TITLES[row["measure"]] for row in both])
    axes.set_xlim(0.5, 1.0)
    axes.set_xlabel("share of 90 % intervals that hold the truth (grey: the goal)")
    return figure
