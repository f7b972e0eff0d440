"""Studies in, tables of seconds and peak memory per stage of `liverleaf analyze` out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from liverleaf.phantom.generator import Phantom, write_cohort
from liverleaf.study import InputError
from liverleaf.system import provenance

SEED = 11
SHAPE, SPACING_MM = (64, 256, 256), (3.5, 1.4, 1.4)
STARTS = 15


def speed(
    out: Path,
    sources: Sequence[Path] = (),
    *,
    device: str = "auto",
    progress: Callable[[str, int, int], None] | None = None,
) -> str:
    """Analyse a four-phase 256 x 256 x 64 MR phantom written as DICOM, and any other studies, each in a process of its own.

    Args:
        out: folder that gets `speed.json` and `speed.md`.
        sources: further studies to time.
        device: "auto", "cpu" or "cuda".
        progress: called with (what, done, total).

    Returns:
        The tables, as Markdown.

    Raises:
        InputError: a study could not be analysed.
    """
    with TemporaryDirectory() as scratch:
        write_cohort(
            Phantom("mr", SEED, shape=SHAPE, spacing_mm=SPACING_MM),
            1,
            Path(scratch) / "mr",
            format="dicom",
        )
        studies = {
            "MR phantom, 4 phases, 256 x 256 x 64": Path(scratch) / "mr/case-00000",
            **{_name(source): source for source in sources},
        }
        rows = []
        for index, (name, source) in enumerate(studies.items()):
            if progress:
                progress("analysing", index, len(studies))
            rows.append({"study": name, **_analyze(source, Path(scratch) / f"out-{index}", device)})
    record = {
        "command": " ".join(
            ["liverleaf benchmark speed", *(f"--input {_name(source)}" for source in sources)]
        ),
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
        "seed": SEED,
        "help_in_interpreter_starts": _help_cost(),
        "studies": rows,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "speed.json").write_text(json.dumps(record, indent=2) + "\n")
    table = _markdown(record)
    (out / "speed.md").write_text(table)
    return table


def _name(source: Path) -> str:
    """The last two parts of a path tell one study from another."""
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
    """How many starts of the bare interpreter `liverleaf --help` takes: the ratio of medians over alternating runs."""
    bare, full = [], []
    for _ in range(STARTS):
        bare.append(_seconds([sys.executable, "-c", "pass"]))
        full.append(_seconds([str(Path(sys.executable).with_name("liverleaf")), "--help"]))
    return sorted(full)[STARTS // 2] / sorted(bare)[STARTS // 2]


def _seconds(command: list[str]) -> float:
    start = perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return perf_counter() - start


def _markdown(record: dict[str, Any]) -> str:
    lines = [
        "# Speed of `liverleaf analyze`",
        "",
        (
            f"Written by `{record['command']}` at commit {record['commit']}, seed {record['seed']},"
            f" on {record['hardware']['cores']} cores ({record['hardware']['cpu']}), torch"
            f" {record['versions']['torch']}. Seconds on a shared machine are no result by"
            " themselves; the ratios within one run are. Starting Python and importing torch, and"
            " loading the model, are left out of the ratio."
        ),
    ]
    for row in record["studies"]:
        stages = list(row["seconds"])
        memory = [
            f"{row['memory_mb'][stage]:.0f}" if stage in row["memory_mb"] else ""
            for stage in stages
        ]
        lines += [
            "",
            f"## {row['study']}",
            "",
            (
                f"Everything but the network takes {row['everything_else_over_network']:.2f} times"
                f" as long as the network. Largest resident memory {row['peak_memory_mb']:.0f} MB."
            ),
            "",
            "| | " + " | ".join(stages) + " |",
            "|---|" + "---:|" * len(stages),
            "| seconds | " + " | ".join(f"{row['seconds'][stage]:.2f}" for stage in stages) + " |",
            "| peak memory (MB) | " + " | ".join(memory) + " |",
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
