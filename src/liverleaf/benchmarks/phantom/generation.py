"""What a phantom case costs: seconds, and memory and speed by the number of cases and processes."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from liverleaf.benchmarks.result import Result, markdown_table, measured_by, origin
from liverleaf.system.progress import Progress, silent

SHAPE, SPACING_MM = (48, 256, 256), (4.5, 1.4, 1.4)
SEED = 5
RUNS = ((2, 1), (8, 1), (8, 2))
"""Numbers of cases and of processes."""


def run(*, progress: Progress = silent) -> Result:
    """Write MR cohorts of 256 x 256 x 48 voxels and four phases, each in a new process."""
    record: dict[str, Any] = {**origin("phantom-cost", SEED), "shape": SHAPE}
    rows = []
    for index, (cases, jobs) in enumerate(RUNS):
        progress("making cohorts", index, len(RUNS))
        rows.append(_measured(cases, jobs))
    record["start_seconds"] = start_s = _measured(0, 1)["seconds"]
    for row in rows:
        row["seconds_per_case"] = (row["seconds"] - start_s) / row["cases"]
    record["rows"] = rows
    return Result("generation", record, _page(record))


def _measured(cases: int, jobs: int) -> dict[str, Any]:
    """Seconds and the largest memory of any one process, of a run in a process of its own."""
    with TemporaryDirectory() as scratch:
        start = perf_counter()
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                (
                    f"from liverleaf.benchmarks.phantom.generation import make; make({cases},"
                    f" {jobs}, {scratch + '/cohort'!r})"
                ),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        return {
            "cases": cases,
            "jobs": jobs,
            "seconds": perf_counter() - start,
            "peak_memory_mb": float(done.stdout),
        }


def make(cases: int, jobs: int, out: str) -> None:
    """Write a cohort and print the largest resident memory (MB) of any one process of the run."""
    from liverleaf.phantom.generator import Phantom, write_cohort

    if cases:
        phantom = Phantom("mti-net", SEED, shape=SHAPE, spacing_mm=SPACING_MM)
        write_cohort(phantom, cases, Path(out), jobs=jobs)
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    sys.stdout.write(f"{max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024}\n")


def _page(record: Mapping[str, Any]) -> str:
    few, many, parallel = record["rows"]
    rows = (
        (
            row["cases"],
            row["jobs"],
            f"{row['seconds_per_case']:.2f}",
            f"{row['peak_memory_mb']:.0f}",
        )
        for row in record["rows"]
    )
    lines = [
        "# What a phantom case costs",
        "",
        (
            f"{measured_by(record)} Four-phase MR cases of 256 x 256 x 48, written as NIfTI with"
            " their truth. Seconds on a shared machine are no result by themselves; the ratios"
            " within one run are."
        ),
        "",
        *markdown_table(
            ("cases", "processes", "seconds per case", "peak memory of a process (MB)"),
            rows,
            left=0,
        ),
        "",
        (
            f"{many['cases'] // few['cases']} times as many cases take"
            f" {many['peak_memory_mb'] / few['peak_memory_mb']:.2f} times the memory."
            f" {parallel['jobs']} processes are"
            f" {many['seconds_per_case'] / parallel['seconds_per_case']:.2f} times as fast as one."
        ),
    ]
    return "\n".join(lines) + "\n"
