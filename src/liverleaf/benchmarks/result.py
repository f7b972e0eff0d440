"""The result of a benchmark, in one shape for all of them, and the one function that writes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from liverleaf.system import provenance
from liverleaf.system.files import whole_file

ORIGIN = ("command", "commit", "versions", "hardware", "seed")
"""What every record says of where it comes from."""

Content = Figure | Image.Image | pd.DataFrame | str


@dataclass(frozen=True)
class Result:
    """What a benchmark found, nothing of it written yet.

    Attributes:
        name: of its files: NAME.json and NAME.md.
        record: JSON-able: `ORIGIN` and what was measured.
        markdown: the page for people.
        figures: figures, images, tables (CSV) and other texts, by file name.
    """

    name: str
    record: Mapping[str, Any]
    markdown: str
    figures: Mapping[str, Content] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if lacking := [key for key in ORIGIN if key not in self.record]:
            raise ValueError(f"the record of {self.name} lacks {', '.join(lacking)}: see origin()")


def origin(command: str, seed: int) -> dict[str, Any]:
    """Where a result comes from; asked before the work begins, as a checkout may change meanwhile.

    Args:
        command: that measures it again, after "liverleaf benchmark".
        seed: of everything.

    Returns:
        The keys of `ORIGIN`, the first of every record.
    """
    return {
        "command": f"liverleaf benchmark {command}",
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
        "seed": seed,
    }


def write(result: Result, out: Path) -> None:
    """Write a result into a folder, each file whole or not at all.

    Args:
        result: of a benchmark.
        out: the folder; made where it does not exist, files of the same names are replaced.
    """
    out.mkdir(parents=True, exist_ok=True)
    record = json.dumps(result.record, indent=1) + "\n"
    contents = {f"{result.name}.json": record, f"{result.name}.md": result.markdown}
    for name, content in {**contents, **result.figures}.items():
        with whole_file(out / name) as part:
            _write_content(content, part)


def _write_content(content: Content, path: Path) -> None:
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    elif isinstance(content, Figure):
        content.savefig(path)
    elif isinstance(content, Image.Image):
        content.save(path, optimize=True)
    else:
        content.to_csv(path, index=False, float_format="%.6g")


def measured_by(record: Mapping[str, Any], *, threads: int | None = None) -> str:
    """The sentence that begins every page: command, commit, seed, versions and hardware.

    Args:
        record: with the keys of `ORIGIN`.
        threads: that were used, where that matters.
    """
    hardware = record["hardware"]
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    used = "" if threads is None else f", {threads} thread(s)"
    return (
        f"Written by `{record['command']}` at commit {record['commit']}, seed {record['seed']}, on"
        f" {hardware['cores']} cores ({hardware['cpu']}){used}; {versions}."
    )


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[object]], *, left: int | Iterable[int] = 1
) -> list[str]:
    """The lines of a table in Markdown.

    Args:
        header: titles of the columns.
        rows: cells, as many in each row.
        left: which columns hold words and are aligned left: the first so many, or their numbers
            from 0. The others hold numbers and are aligned right.
    """
    words = range(left) if isinstance(left, int) else list(left)
    rules = ["---" if column in words else "---:" for column in range(len(header))]
    return ["| " + " | ".join(header) + " |", "|" + "|".join(rules) + "|", *map(_line, rows)]


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def interval(estimate: Mapping[str, float], digits: int = 2) -> str:
    """A mean and its interval in words, from a record's `mean`, `low` and `high`."""
    mean, low, high = (f"{estimate[name]:.{digits}f}" for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"
