"""What phantom cases cost: seconds, memory, and speed by number of processes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from liverleaf.system import provenance
from liverleaf.system.provenance import hardware

SHAPE, SPACING_MM = (48, 256, 256), (4.5, 1.4, 1.4)
SEED = 5
RUNS = ((2, 1), (8, 1), (8, 2))
"""Numbers of cases and of processes."""


def generation(out: Path, *, progress: Callable[[str, int, int], None] | None = None) -> str:
    """Write four-phase 256 x 256 x 48 MR cohorts as NIfTI, each in a process of its own.

    Args:
        out: folder that gets `generation.json` and `generation.md`.
        progress: called with (what, done, total).

    Returns:
        The table, as Markdown.
    """
    rows = []
    for index, (cases, jobs) in enumerate(RUNS):
        if progress:
            progress("making cohorts", index, len(RUNS))
        rows.append(_measured(cases, jobs))
    start_s = _measured(0, 1)["seconds"]
    for row in rows:
        row["seconds_per_case"] = (row["seconds"] - start_s) / row["cases"]
    record = {
        "command": "liverleaf benchmark phantom-cost",
        "commit": provenance.commit(),
        "hardware": hardware(),
        "seed": SEED,
        "shape": SHAPE,
        "start_seconds": start_s,
        "rows": rows,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "generation.json").write_text(json.dumps(record, indent=2) + "\n")
    (out / "generation.md").write_text(table := _markdown(record))
    return table


def _measured(cases: int, jobs: int) -> dict[str, Any]:
    """Seconds of a run in a process of its own, and the peak memory of any one process."""
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
    """Write a cohort and print the peak memory (MB) of this process and its children."""
    from liverleaf.phantom.generator import Phantom, write_cohort

    if cases:
        phantom = Phantom("mti-net", SEED, shape=SHAPE, spacing_mm=SPACING_MM)
        write_cohort(phantom, cases, Path(out), jobs=jobs)
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    sys.stdout.write(f"{max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024}\n")


def _markdown(record: dict[str, Any]) -> str:
    few, many, parallel = record["rows"]
    hardware_ = record["hardware"]
    lines = [
        "# What a phantom case costs",
        "",
        (
            f"Written by `{record['command']}` at commit {record['commit']}, seed {record['seed']},"
            f" on {hardware_['cores']} cores ({hardware_['cpu']}): four-phase MR cases of 256 x 256"
            " x 48, written as NIfTI with their truth. Seconds on a shared machine are no result"
            " by themselves; the ratios within one run are."
        ),
        "",
        "| cases | processes | seconds per case | peak memory of a process (MB) |",
        "|---:|---:|---:|---:|",
        *(
            f"| {row['cases']} | {row['jobs']} | {row['seconds_per_case']:.2f} |"
            f" {row['peak_memory_mb']:.0f} |"
            for row in record["rows"]
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
