"""Seconds and peak memory of each stage of `liverleaf analyze`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from liverleaf.benchmarks.result import Result, markdown_table, measured_by, origin
from liverleaf.phantom.generator import Phantom, write_cohort
from liverleaf.study import InputError
from liverleaf.system.progress import Progress, silent

SEED = 11
SHAPE, SPACING_MM = (64, 256, 256), (3.5, 1.4, 1.4)
STARTS = 15


def run(
    sources: Sequence[Path] = (), *, device: str = "auto", progress: Progress = silent
) -> Result:
    """Time the analysis of a four-phase MR phantom and of any other studies.

    The phantom has 256 x 256 x 64 voxels and is written as DICOM. Each study is analysed in a
    process of its own.

    Args:
        sources: further studies to time.
        device: "auto", "cpu" or "cuda".
        progress: told which study is analysed.

    Raises:
        InputError: a study could not be analysed.
    """
    source = origin(" ".join(["speed", *(f"--input {_name(path)}" for path in sources)]), SEED)
    with TemporaryDirectory() as scratch:
        phantom = Phantom("mr", SEED, shape=SHAPE, spacing_mm=SPACING_MM)
        write_cohort(phantom, 1, Path(scratch) / "mr", format="dicom")
        studies = {
            "MR phantom, 4 phases, 256 x 256 x 64": Path(scratch) / "mr/case-00000",
            **{_name(path): path for path in sources},
        }
        rows = []
        for index, (name, path) in enumerate(studies.items()):
            progress("analysing", index, len(studies))
            rows.append({"study": name, **_analyze(path, Path(scratch) / f"out-{index}", device)})
    record = {**source, "help_in_interpreter_starts": _help_cost(), "studies": rows}
    return Result("speed", record, _page(record))


def _name(source: Path) -> str:
    """The last two parts of a path, which tell one study from another."""
    return "/".join(source.parts[-2:])


def _analyze(source: Path, out: Path, device: str) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "liverleaf",
        "analyze",
        str(source),
        "--out",
        str(out),
        "--device",
        device,
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{source.name}: {done.stderr.strip().removeprefix('liverleaf: ')}")
    findings = json.loads(done.stdout)
    seconds = findings["provenance"]["seconds"]
    network = seconds["network"]
    return {
        "seconds": seconds,
        "everything_else_over_network": (
            (sum(seconds.values()) - network - seconds["loading the model"]) / network
        ),
        "memory_mb": findings["provenance"]["memory_mb"],
        "peak_memory_mb": findings["provenance"]["peak_memory_mb"],
        "lesions": len(findings["lesions"]),
    }


def _help_cost() -> float:
    """How many starts of the bare interpreter `liverleaf --help` takes: a ratio of medians."""
    bare, full = [], []
    for _ in range(STARTS):
        bare.append(_seconds([sys.executable, "-c", "pass"]))
        full.append(_seconds([str(Path(sys.executable).with_name("liverleaf")), "--help"]))
    return sorted(full)[STARTS // 2] / sorted(bare)[STARTS // 2]


def _seconds(command: list[str]) -> float:
    start = perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return perf_counter() - start


def _page(record: Mapping[str, Any]) -> str:
    lines = [
        "# Speed of `liverleaf analyze`",
        "",
        (
            f"{measured_by(record)} Seconds on a shared machine are no result by themselves; the"
            " ratios within one run are. Starting Python and importing torch, and loading the"
            " model, are left out of the ratio."
        ),
    ]
    for row in record["studies"]:
        stages, memory_mb = list(row["seconds"]), row["memory_mb"]
        seconds = [f"{row['seconds'][stage]:.2f}" for stage in stages]
        memory = [f"{memory_mb[stage]:.0f}" if stage in memory_mb else "" for stage in stages]
        lines += [
            "",
            f"## {row['study']}",
            "",
            (
                f"Everything but the network takes {row['everything_else_over_network']:.2f} times"
                f" as long as the network. Largest resident memory {row['peak_memory_mb']:.0f} MB."
            ),
            "",
            *markdown_table(["", *stages], [["seconds", *seconds], ["peak memory (MB)", *memory]]),
        ]
    lines += [
        "",
        (
            f"`liverleaf --help` takes as long as {record['help_in_interpreter_starts']:.1f} starts"
            " of the bare interpreter."
        ),
        "",
    ]
    return "\n".join(lines)
