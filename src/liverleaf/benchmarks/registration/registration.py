"""Phantoms whose motion is known in, how far each way to register leaves the liver from its true place, and how honest the flag is, out."""

# mypy: allow-untyped-calls
# SimpleITK's wrappers carry no annotations.

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from liverleaf.benchmarks.registration.baselines import RIVALS, Scene
from liverleaf.evaluate.stats import bootstrap_mean, wilson
from liverleaf.phantom.generator import Phantom
from liverleaf.registration.align import Registration, correlation, edges, register_phases
from liverleaf.registration.mind import folded
from liverleaf.registration.quality import assess_alignment, on_search_grid, surroundings
from liverleaf.study import Annotation, Phase, Study
from liverleaf.system import provenance
from liverleaf.system.provenance import hardware
from liverleaf.terminology import Organ

SEED = 83
PRESETS = ("mr", "ct", "hard")
BAD_MM = 5.0
"""Median error above which an alignment should be flagged."""
GOOD_MM = 3.0
"""Median error up to which it should not."""
STEP = (2, 4, 4)
"""Errors are measured at every so manieth liver voxel along Z, Y, X."""
COLUMNS = ("median_mm", "mean_mm", "p95_mm")

Field = NDArray[np.floating]
Row = dict[str, Any]


@dataclass(frozen=True)
class Targets:
    """Where liver tissue truly is: points of the reference phase (N, 3) in LPS mm, and the shift of each per phase."""

    points_mm: Field
    shift_mm: Mapping[Phase, Field]


def registration(
    out: Path,
    *,
    cases: int = 10,
    rival_cases: int | None = None,
    shape: tuple[int, int, int] = (64, 256, 256),
    spacing_mm: tuple[float, float, float] = (3.5, 1.4, 1.4),
    progress: Callable[[str, int, int], None] | None = None,
) -> str:
    """Register phantoms with every method there is, and compare with their true motion.

    Args:
        out: folder that gets `registration.json`, `registration.md` and `registration.png`.
        cases: per preset.
        rival_cases: of these, how many the slower rivals see as well; None for all.
        shape: of the phantoms.
        spacing_mm: of the phantoms.
        progress: called with (what, done, total).

    Returns:
        The tables, as Markdown.
    """
    methods = {name: run for name, (package, run) in RIVALS.items() if find_spec(package)}
    rows: list[Row] = []
    flags: list[Row] = []
    for place, preset in enumerate(PRESETS):
        phantom = Phantom(preset, SEED, shape=shape, spacing_mm=spacing_mm)
        following = phantom[0]
        for number in range(cases):
            if progress:
                progress("registering phantoms", place * cases + number, cases * len(PRESETS))
            (study, truth), following = following, phantom[number + 1]
            if len(study.phases) == 1:
                continue
            seen = methods if rival_cases is None or number < rival_cases else {}
            found, honest = measure(study, truth, _foreign(study, following[0]), seen)
            rows += [{"preset": preset, **row} for row in found]
            flags += [{"preset": preset, **row} for row in honest]
    diagonal_mm = float(np.hypot(*spacing_mm[1:]))
    record = {
        "command": (
            f"liverleaf benchmark registration --cases {cases}"
            + ("" if rival_cases is None else f" --rival-cases {rival_cases}")
        ),
        "commit": provenance.commit(),
        "hardware": hardware(),
        "seed": SEED,
        "shape": shape,
        "spacing_mm": spacing_mm,
        "diagonal_mm": diagonal_mm,
        "not_measured": {
            name: f"{package} is not installed"
            for name, (package, _) in RIVALS.items()
            if name not in methods
        },
        "methods": summary(rows),
        "flag": flag_summary(flags),
        "phases": rows,
        "flags": flags,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "registration.json").write_text(json.dumps(record, indent=1) + "\n")
    figure(rows, diagonal_mm).savefig(out / "registration.png", dpi=120)
    (out / "registration.md").write_text(table := markdown(record))
    return table


def _foreign(study: Study, other: Study) -> Study:
    """The study with its phases, except the reference, taken from another person."""
    grid, reference = study.grid, study.reference
    wrong = {
        phase: replace(image, volume=grid.with_array(image.volume.array))
        for phase, image in other.phases.items()
    }
    return replace(study, phases={**wrong, reference: study.phases[reference]})


def measure(
    study: Study, truth: Annotation, foreign: Study, methods: Mapping[str, Callable[[Scene], Field]]
) -> tuple[list[Row], list[Row]]:
    """Errors of each method per phase, and what the flag says of good and bad alignments.

    Args:
        study: phases that moved.
        truth: how they moved.
        foreign: the same reference phase with phases of somebody else, which cannot be aligned.
        methods: by name, from a scene to displacements on its grid.
    """
    assert truth.organs is not None  # phantoms have them
    liver = truth.organs.with_array(truth.organs.array == Organ.LIVER)
    rigid, rigid_s = _timed(lambda: register_phases(study, deformable=False))
    ours, ours_s = _timed(lambda: register_phases(study))
    assert ours.search_grid is not None  # there are several phases
    targets, phases = _targets(liver.array, study, truth), len(ours.after)
    case = {"case": study.case_id}
    rows: list[Row] = []
    for phase in ours.after:
        scene = Scene(
            ours.search_grid,
            ours.before[phase].image,
            rigid.after[phase].image,
            rigid.after[phase].transform,
        )
        found = {
            "none": (_field(ours.before[phase].transform, ours.search_grid), 0.0),
            "rigid only": (
                _field(rigid.after[phase].transform, ours.search_grid),
                rigid_s / phases,
            ),
            "ours": (_field(ours.after[phase].transform, ours.search_grid), ours_s / phases),
        }
        for name, method in methods.items():
            found[name] = _timed(lambda method=method, scene=scene: method(scene))  # type: ignore[misc]
        mask, box = surroundings(on_search_grid(liver, ours.search_grid), ours.search_grid)
        for name, (field_mm, seconds) in found.items():
            score = _score(scene, field_mm, targets, phase, mask, box)
            rows.append(
                {
                    **case,
                    "phase": phase.key,
                    "method": name,
                    **score,
                    "seconds": seconds,
                    "over_ours": seconds * phases / ours_s,
                }
            )
    return rows, [
        {**case, **flag} for flag in _flags(ours, register_phases(foreign), liver, targets)
    ]


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """A result and the processor seconds, of all threads together, that it took: on a shared machine the clock would tell of others."""
    start = process_time()
    result = work()
    return result, process_time() - start


def _targets(liver: NDArray[np.bool_], study: Study, truth: Annotation) -> Targets:
    some = tuple(slice(None, None, step) for step in STEP)
    index = np.argwhere(liver[some]) * STEP
    affine = study.grid.affine
    shifts = {phase: field[tuple(index.T)] for phase, field in truth.displacement_mm.items()}
    return Targets(index @ affine[:3, :3].T + affine[:3, 3], shifts)


def _field(transform: sitk.Transform, grid: sitk.Image) -> Field:
    """Displacements (Z, Y, X, 3) in LPS mm at the voxels of a grid."""
    field = sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat64,
        grid.GetSize(),
        grid.GetOrigin(),
        grid.GetSpacing(),
        grid.GetDirection(),
    )
    displacements: Field = sitk.GetArrayFromImage(field)
    return displacements


def _score(
    scene: Scene,
    field_mm: Field,
    targets: Targets,
    phase: Phase,
    mask: NDArray[np.bool_],
    box: tuple[slice, ...],
) -> Row:
    """Errors at the targets, folding and similarity inside the liver."""
    to_index = np.linalg.inv(
        np.reshape(scene.grid.GetDirection(), (3, 3)) * scene.grid.GetSpacing()
    )
    at = ((targets.points_mm - scene.grid.GetOrigin()) @ to_index.T)[:, ::-1].T
    shift_mm = np.stack(
        [map_coordinates(field_mm[..., axis], at, order=1, mode="nearest") for axis in range(3)],
        axis=-1,
    )
    error_mm = np.linalg.norm(shift_mm - targets.shift_mm[phase], axis=1)
    shift = np.moveaxis(field_mm @ to_index.T, -1, 0)[::-1].astype(np.float32)
    moved = map_coordinates(
        scene.moving, np.indices(scene.moving.shape) + shift, order=1, mode="nearest"
    )
    fixed = sitk.GetArrayFromImage(scene.grid)
    return {
        "median_mm": float(np.median(error_mm)),
        "mean_mm": float(error_mm.mean()),
        "p95_mm": float(np.percentile(error_mm, 95)),
        "folding": float(folded(shift)[box][mask].mean()),
        "similarity": correlation(edges(fixed[box])[mask], edges(moved[box])[mask]),
    }


def _flags(
    ours: Registration, foreign: Registration, liver: Any, targets: Targets
) -> Iterator[Row]:
    """For alignments as found, for phases left where they were, and for somebody else's: the median error and whether it is trusted."""
    tried = {
        "registered": ours,
        "not registered": replace(ours, after=ours.before),
        "another person": foreign,
    }
    for kind, result in tried.items():
        for phase, image in assess_alignment(result, within=liver).phases.items():
            if image.alignment is None or result.search_grid is None:
                continue
            error_mm = None
            if kind != "another person":
                points = [
                    result.after[phase].transform.TransformPoint(point)
                    for point in targets.points_mm.tolist()
                ]
                error_mm = float(
                    np.median(
                        np.linalg.norm(points - targets.points_mm - targets.shift_mm[phase], axis=1)
                    )
                )
            yield {
                "phase": phase.key,
                "kind": kind,
                "median_mm": error_mm,
                "match": image.alignment.liver_match,
                "trusted": image.alignment.trusted,
            }


def summary(rows: list[Row]) -> list[Row]:
    """Per preset and method: means over phases with intervals by subject, and the same phases without registration."""
    table = pd.DataFrame(rows)
    none = table[table.method == "none"].set_index(["case", "phase"]).median_mm
    lines = []
    for (preset, method), part in table.groupby(["preset", "method"], sort=False):
        rng = np.random.default_rng(SEED)
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


def flag_summary(flags: list[Row]) -> Row:
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


def figure(rows: list[Row], diagonal_mm: float) -> Figure:
    """Median errors of every phase, by preset and method; the line is one voxel diagonal."""
    table = pd.DataFrame(rows)
    presets, methods = list(table.preset.unique()), list(table.method.unique())
    fig = Figure(figsize=(4.2 * len(presets), 4), layout="constrained")
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


def markdown(record: Row) -> str:
    """The record as tables."""
    diagonal = record["diagonal_mm"]
    lines = [
        "# Registration",
        "",
        (
            f"Written by `{record['command']}` at commit {record['commit']}, seed {record['seed']},"
            f" on phantoms of {' x '.join(map(str, record['shape'][::-1]))} voxels whose motion is"
            " known. Errors are distances inside the liver from where tissue is put to where it"
            " truly is: median, mean and 95th percentile of each phase, then the mean over phases"
            " (95 % interval of the median by subject). One voxel's diagonal in plane is"
            f" {diagonal:.2f} mm. `none` is the mean of the same phases left where they were, as"
            " slow rivals may have seen fewer of them. Time is processor time over ours in the"
            " same run; ours includes the resampling of the full scan. The rivals see the phases"
            " on the coarse grid that ours searches, which spares them time; the tuned ones and"
            " SimpleITK's start from our rigid motion."
        ),
        "",
        (
            "| preset | method | subjects | phases | none (mm) | median (mm) | in diagonals | mean"
            " (mm) | 95th (mm) | worse than none | folding | similarity | time / ours |"
        ),
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in record["methods"]:
        median = row["median_mm"]
        lines.append(
            f"| {row['preset']} | {row['method']} | {row['subjects']} | {row['phases']} |"
            f" {row['none_median_mm']:.2f} | {median['mean']:.2f} ({median['low']:.2f} to"
            f" {median['high']:.2f}) | {median['mean'] / diagonal:.2f} |"
            f" {row['mean_mm']['mean']:.2f} | {row['p95_mm']['mean']:.2f} |"
            f" {row['worse_than_none']:.0%} | {row['folding']:.2%} | {row['similarity']:.2f} |"
            f" {row['over_ours']:.1f} |"
        )
    lines += [
        "",
        *(f"{name} was not measured: {why}." for name, why in record["not_measured"].items()),
    ]
    lines += [
        "",
        "![Median errors](registration.png)",
        "",
        "## Is the flag honest?",
        "",
        *_flag_lines(record["flag"]),
    ]
    return "\n".join(lines) + "\n"


def _flag_lines(flag: Row) -> list[str]:
    """The flag's record in words and a table."""
    meaning = {
        "sensitivity": (
            f"flagged, of other people's phases and of those more than {BAD_MM:.0f} mm off"
        ),
        "specificity": f"trusted, of phases at most {GOOD_MM:.0f} mm off",
        "flagged_between": "flagged, of those between",
    }
    lines = [
        (
            "Every phase is judged as registered, as it was before, and with a phase of somebody"
            " else in its place."
        ),
        "",
        "| | share | 95 % interval | n |",
        "|---|---:|---:|---:|",
    ]
    return lines + [
        f"| {meaning[name]} | {found['mean']:.3f} | {found['low']:.3f} to {found['high']:.3f} |"
        f" {found['n']} |"
        for name, found in flag.items()
        if found
    ]
