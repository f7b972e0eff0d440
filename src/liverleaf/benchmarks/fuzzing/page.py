"""The page about damaged files: what was counted, and what nobody can notice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from liverleaf.benchmarks.result import markdown_table, measured_by

LIMIT_S = 60.0
"""Reading one damaged study takes well under a second; after this long it hangs."""
LIMIT_BYTES = 2**30
"""What a process may claim beyond what it holds after its start."""
VERDICTS = ("right", "told", "silent", "refused", "crashed")
DIFFERENCES = {
    "values": "other values in place",
    "place": "a whole image that lies elsewhere, its size and shape unchanged",
    "geometry": "another size or shape",
    "phases": "other phases",
}
UNNOTICEABLE = """\
What nobody can notice, because what is left is another valid study:

- A stored pixel of another value that tissue may have, in files without a checksum: uncompressed
  DICOM and NIfTI, and DICOM compressed by RLE, JPEG-LS or JPEG 2000, whose decoders turn most
  damaged bits into other pixels. Told are values above 3100 HU, runs and streams that end early or
  late, and every damage to a gzip or zip, which have checksums.
- A series that lies elsewhere as a whole, by a position that is the same amount off in all its
  slices. Nothing says twice where a patient lay. Told are images outside any scanner's bore and
  slices that are no longer even. Sizes and volumes do not depend on the place, and whether the
  phases match is judged by their images.
- Pixels of another size along both axes alike, or in images with more rows than columns. Told are
  pixels that are not square, distances of slices that contradict the header's spacing, thickness or
  slice locations, two sizes in one NIfTI header, and images that are mirrored or seen from the
  head.
- A time, an agent or a description that is as plausible as the true one. Phases that rest on
  little say so.

`ingest-fuzz.json` lists each silent case."""


def fuzz_page(record: Mapping[str, Any]) -> str:
    """What people read of a record of damaged files."""
    totals, silent_ones = record["totals"], record["silent_differences"]
    everything = totals | {"files": record["files"]}
    lines = [
        "# Damaged files",
        "",
        (
            f"{measured_by(record)} SHA-256 over the digests of all damaged studies:"
            f" `{record['sha256'][:16]}`; largest memory of a process"
            f" {record['peak_memory_mb']:.0f} MB."
        ),
        "",
        (
            f"{record['files']} times a valid study of a few small files was damaged in one way, in"
            " one file, one series or all files, and given to `inspect` and `read_study`. Right:"
            " every voxel has its value at its place. Told: the reading differs and a warning says"
            " that something is wrong. Silent: it differs without a warning. Refused: by one line."
            f" Crashed: by anything else, {LIMIT_S:.0f} seconds, or {LIMIT_BYTES / 2**30:.0f} GiB"
            " more than at the start among it."
        ),
        "",
        (
            f"Crashed: {totals['crashed']}. Messages, warnings or results with a word of the"
            f" patient's name, number or birthday: {len(record['leaks'])}."
        ),
        "",
        *_table("source", record["by_source"], everything),
        "",
        *_table("damage", record["by_mutation"], everything),
        "",
        "The silent ones have",
        "",
        *(f"- {DIFFERENCES[detail]}: {silent_ones[detail]}" for detail in DIFFERENCES),
        "",
        *UNNOTICEABLE.splitlines(),
        "",
    ]
    return "\n".join([*lines, *_crashed(record)])


def _table(
    title: str, rows: Mapping[str, Mapping[str, int]], totals: Mapping[str, int]
) -> list[str]:
    columns = ("files", *VERDICTS)
    return markdown_table(
        (title, *columns),
        (
            (name, *(row[column] for column in columns))
            for name, row in {**rows, "all": totals}.items()
        ),
    )


def _crashed(record: Mapping[str, Any]) -> list[str]:
    """The cases that crashed, and how to look at one."""
    if not record["crashed"]:
        return []
    columns = ("number", "source", "mutation", "spread", "detail")
    return [
        *markdown_table(
            ("crashed", "source", "damage", "spread", "what"),
            ([case[column] for column in columns] for case in record["crashed"]),
            left=range(1, 5),
        ),
        "",
        (
            f"`write_case({record['seed']}, number, folder)` of"
            f" `{__name__}` writes the files of each again."
        ),
        "",
    ]
