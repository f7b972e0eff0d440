"""How accurate registration is on phantoms whose motion is known, ours and other people's.

Measured is how far each method leaves the liver from its true position, and how reliable the flag
for a failed alignment is.
"""

# mypy: allow-untyped-calls
# SimpleITK's wrappers carry no annotations.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from time import process_time
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from liverleaf.benchmarks.registration.baselines import BASELINES, ImagePair
from liverleaf.benchmarks.registration.report import Row, figure, flag_summary, page, summary
from liverleaf.benchmarks.result import Result, origin
from liverleaf.phantom.generator import Phantom
from liverleaf.registration.align import Registration, correlation, edges, register_phases
from liverleaf.registration.mind import folded
from liverleaf.registration.quality import assess_alignment, on_search_grid, surroundings
from liverleaf.study import Annotation, Phase, Study
from liverleaf.system.progress import Progress, silent
from liverleaf.terminology import Organ

SEED = 83
PRESETS = ("mr", "ct", "hard")
STEP = (2, 4, 4)
"""Errors are measured at every second, fourth and fourth liver voxel along Z, Y and X."""

Field = NDArray[np.floating]


@dataclass(frozen=True)
class Targets:
    """Where liver tissue truly is.

    Attributes:
        points_mm: in the reference phase, (N, 3) in LPS.
        shift_mm: of each point in the other phases, (N, 3).
    """

    points_mm: Field
    shift_mm: Mapping[Phase, Field]


def run(
    *,
    cases: int = 10,
    baseline_cases: int | None = None,
    shape: tuple[int, int, int] = (64, 256, 256),
    spacing_mm: tuple[float, float, float] = (3.5, 1.4, 1.4),
    progress: Progress = silent,
) -> Result:
    """Register phantoms with every method there is, and compare with their true motion.

    Args:
        cases: per preset.
        baseline_cases: of these, how many the slower baselines are run on as well; None for all.
        shape: of the phantoms.
        spacing_mm: of the phantoms.
        progress: told which phantom is registered.
    """
    limited = "" if baseline_cases is None else f" --baseline-cases {baseline_cases}"
    source = origin(f"registration --cases {cases}{limited}", SEED)
    methods = {name: method for name, (package, method) in BASELINES.items() if find_spec(package)}
    rows: list[Row] = []
    flags: list[Row] = []
    for index, preset in enumerate(PRESETS):
        phantom = Phantom(preset, SEED, shape=shape, spacing_mm=spacing_mm)
        following = phantom[0]
        for number in range(cases):
            progress("registering phantoms", index * cases + number, cases * len(PRESETS))
            (study, truth), following = following, phantom[number + 1]
            if len(study.phases) == 1:
                continue
            compared = methods if baseline_cases is None or number < baseline_cases else {}
            errors, trusted = measure(study, truth, _foreign(study, following[0]), compared)
            rows += [{"preset": preset, **row} for row in errors]
            flags += [{"preset": preset, **row} for row in trusted]
    diagonal_mm = float(np.hypot(*spacing_mm[1:]))
    record = {
        **source,
        "shape": shape,
        "spacing_mm": spacing_mm,
        "diagonal_mm": diagonal_mm,
        "not_measured": {
            name: f"{package} is not installed"
            for name, (package, _) in BASELINES.items()
            if name not in methods
        },
        "methods": summary(rows, SEED),
        "flag": flag_summary(flags),
        "phases": rows,
        "flags": flags,
    }
    drawn = {"registration.png": figure(rows, diagonal_mm)}
    return Result("registration", record, page(record), drawn)


def _foreign(study: Study, other: Study) -> Study:
    """The study with its phases, except the reference, taken from another person."""
    grid, reference = study.grid, study.reference
    wrong = {
        phase: replace(image, volume=grid.with_array(image.volume.array))
        for phase, image in other.phases.items()
    }
    return replace(study, phases={**wrong, reference: study.phases[reference]})


def measure(
    study: Study,
    truth: Annotation,
    foreign: Study,
    methods: Mapping[str, Callable[[ImagePair], Field]],
) -> tuple[list[Row], list[Row]]:
    """Errors of each method per phase, and whether good and bad alignments are trusted.

    Args:
        study: phases that moved.
        truth: how they moved.
        foreign: the same reference phase with phases of somebody else, which cannot be aligned.
        methods: by name, from a pair to displacements on its grid.
    """
    assert truth.organs is not None  # phantoms have them
    liver = truth.organs.with_array(truth.organs.array == Organ.LIVER)
    rigid, rigid_s = _timed(lambda: register_phases(study, deformable=False))
    ours, ours_s = _timed(lambda: register_phases(study))
    assert ours.search_grid is not None  # there are several phases
    targets, phases = _targets(liver.array, study, truth), len(ours.after)
    rows: list[Row] = []
    for phase in ours.after:
        pair = ImagePair(
            ours.search_grid,
            ours.before[phase].image,
            rigid.after[phase].image,
            rigid.after[phase].transform,
        )
        fields = {
            "none": (_field(ours.before[phase].transform, pair.grid), 0.0),
            "rigid only": (_field(rigid.after[phase].transform, pair.grid), rigid_s / phases),
            "ours": (_field(ours.after[phase].transform, pair.grid), ours_s / phases),
            **{name: _timed(partial(method, pair)) for name, method in methods.items()},
        }
        mask, box = surroundings(on_search_grid(liver, pair.grid), pair.grid)
        rows += [
            {
                "case": study.case_id,
                "phase": phase.key,
                "method": name,
                **_score(pair, field_mm, targets, phase, mask, box),
                "seconds": seconds,
                "over_ours": seconds * phases / ours_s,
            }
            for name, (field_mm, seconds) in fields.items()
        ]
    flags = _flags(ours, register_phases(foreign), liver, targets)
    return rows, [{"case": study.case_id, **flag} for flag in flags]


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """A result and the processor seconds, of all threads together, that it took."""
    # on a shared machine the clock would count the work of others
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
    pair: ImagePair,
    field_mm: Field,
    targets: Targets,
    phase: Phase,
    mask: NDArray[np.bool_],
    box: tuple[slice, ...],
) -> Row:
    """Errors at the targets, folding and similarity inside the liver."""
    to_index = np.linalg.inv(np.reshape(pair.grid.GetDirection(), (3, 3)) * pair.grid.GetSpacing())
    index_3N = ((targets.points_mm - pair.grid.GetOrigin()) @ to_index.T)[:, ::-1].T
    shift_mm = np.stack(
        [
            map_coordinates(field_mm[..., axis], index_3N, order=1, mode="nearest")
            for axis in range(3)
        ],
        axis=-1,
    )
    error_mm = np.linalg.norm(shift_mm - targets.shift_mm[phase], axis=1)
    shift = np.moveaxis(field_mm @ to_index.T, -1, 0)[::-1].astype(np.float32)
    moved = map_coordinates(
        pair.moving, np.indices(pair.moving.shape) + shift, order=1, mode="nearest"
    )
    fixed = sitk.GetArrayFromImage(pair.grid)
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
    """The median error of alignments and whether they are trusted.

    Of the alignments as found, of phases left where they were, and of somebody else's phases.
    """
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
