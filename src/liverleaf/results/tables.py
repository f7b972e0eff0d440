"""The tables of a cohort as tidy CSV and as Parquet, and their data dictionary.

Results go in one by one; a few rows wait in memory, however many there are.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liverleaf.findings import RESEARCH_USE_ONLY
from liverleaf.results.columns import CaseResult, Cell, Column, Kind
from liverleaf.results.lesion_columns import CURVES, LESIONS, lesions_of, phases_of
from liverleaf.results.study_columns import STUDIES
from liverleaf.system.files import whole_file

DICTIONARY_FILE = "data-dictionary.md"
ROWS_AT_ONCE = 5000
"""Rows that wait in memory until they are written as one group of a Parquet file."""


@dataclass(frozen=True)
class Table:
    """One of the tables.

    Attributes:
        name: of its files, without their ending.
        what: what a row is.
        columns: its columns.
        rows_of: what the rows of a case are read from.
    """

    name: str
    what: str
    columns: tuple[Column[Any], ...]
    rows_of: Callable[[CaseResult], Iterable[Any]]

    def rows(self, result: CaseResult) -> Iterator[dict[str, Cell]]:
        """The rows of one case."""
        for row in self.rows_of(result):
            yield {column.name: column.value(row) for column in self.columns}


TABLES = (
    Table("studies", "One row for each study.", STUDIES, lambda result: (result,)),
    Table("lesions", "One row for each lesion.", LESIONS, lesions_of),
    Table("curves", "One row for each lesion and phase.", CURVES, phases_of),
)
TABLE_FILES = tuple(f"{table.name}.{ending}" for table in TABLES for ending in ("csv", "parquet"))


@contextmanager
def tables_in(folder: Path) -> Iterator[Callable[[CaseResult], None]]:
    """What adds a case to all tables; the files appear, whole, when the block ends."""
    with ExitStack() as stack:
        writers = [stack.enter_context(_written(table, folder)) for table in TABLES]

        def add(result: CaseResult) -> None:
            for table, write in zip(TABLES, writers, strict=True):
                for row in table.rows(result):
                    write(row)

        yield add


@contextmanager
def _written(table: Table, folder: Path) -> Iterator[Callable[[dict[str, Cell]], None]]:
    """What writes a row of one table into both of its files."""
    names = [column.name for column in table.columns]
    with (
        whole_file(folder / f"{table.name}.csv") as csv_file,
        whole_file(folder / f"{table.name}.parquet") as parquet_file,
        csv_file.open("w", encoding="utf-8", newline="") as stream,
        _Parquet(table.columns, parquet_file) as parquet,
    ):
        lines = csv.writer(stream)
        lines.writerow(names)

        def write(row: dict[str, Cell]) -> None:
            lines.writerow([_text(row[name]) for name in names])
            parquet.add(row)

        yield write


def _text(cell: Cell) -> str:
    """A value as CSV has it."""
    if cell is None:
        return ""
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


@dataclass
class _Parquet:
    """A Parquet file that is being written, in groups of rows."""

    columns: Sequence[Column[Any]]
    file: Path
    waiting: list[dict[str, Cell]] = field(default_factory=list)

    def __enter__(self) -> _Parquet:
        import pyarrow as pa
        from pyarrow import parquet

        types: dict[Kind, Any] = {
            "text": pa.string(),
            "whole number": pa.int64(),
            "number": pa.float64(),
            "yes or no": pa.bool_(),
        }
        self.schema = pa.schema([(column.name, types[column.kind]) for column in self.columns])
        self.writer = parquet.ParquetWriter(self.file, self.schema)
        return self

    def add(self, row: dict[str, Cell]) -> None:
        self.waiting.append(row)
        if len(self.waiting) >= ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        import pyarrow as pa

        self.writer.write_table(pa.Table.from_pylist(self.waiting, schema=self.schema))
        self.waiting.clear()

    def __exit__(self, *_: object) -> None:
        self.flush()
        self.writer.close()


def data_dictionary() -> str:
    """The meaning, unit and range of each column of all tables, as Markdown."""
    lines = [
        "# Data dictionary",
        "",
        RESEARCH_USE_ONLY,
        "",
        "Each table is there as CSV (UTF-8, a header line, true and false) and as Parquet, with the"
        " same columns. An empty cell is a value that is not known or does not apply. Where a unit"
        " is the name of a column, that column holds the unit of each row. `case`, or `case` and"
        " `lesion`, join the tables.",
    ]
    for table in TABLES:
        lines += [
            "",
            f"## {table.name}",
            "",
            table.what,
            "",
            "| column | kind | meaning | unit | range |",
            "|---|---|---|---|---|",
            *(
                f"| `{c.name}` | {c.kind} | {c.meaning} | {c.unit or '-'} | {c.range} |"
                for c in table.columns
            ),
        ]
    return "\n".join(lines) + "\n"
