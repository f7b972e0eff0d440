"""Terminal output of the commands: progress, tables, JSON and errors; and options many share."""

# Without `from __future__ import annotations`, as in app.py.
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from liverleaf.cli import logs

if TYPE_CHECKING:
    from liverleaf.study import Modality
    from liverleaf.system.progress import Progress

AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help='Print JSON for machines, and an error as {"error": ...} on standard error.',
    ),
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help=(
            "Dask scheduler whose workers do it instead, as tcp://host:8786; they see the same"
            " files."
        ),
    ),
]
ModalityName = Literal["ct", "mr"]
ModalityOption = Annotated[
    ModalityName | None,
    typer.Option(
        "--modality",
        help="What NIfTI files are, which do not tell; by their intensities if left out.",
    ),
]


def modality_of(name: ModalityName | None) -> "Modality | None":
    """The value of that option."""
    from liverleaf.study import Modality

    return None if name is None else Modality(name.upper())


@contextmanager
def progress_bars() -> Iterator["Progress"]:
    """Progress as bars on a terminal, nothing elsewhere; stages also go to the log."""
    from liverleaf.system.progress import logged, silent

    # with --verbose the log says the stages on the same terminal
    if not sys.stderr.isatty() or logs.on_terminal():
        yield logged(silent)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int, /) -> None:
            if what not in tasks:
                for task in tasks.values():
                    bars.update(task, visible=False)
                tasks[what] = bars.add_task(what, total=None)
            bars.update(tasks[what], completed=done, total=total or None, visible=True)

        yield logged(show)


def new_table(*columns: str) -> Any:
    """A table with these headers; long cells are folded, never cut."""
    from rich.table import Table

    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def add_row(table: Any, *cells: str) -> None:
    """Add cells as they are: brackets in a series description are no markup."""
    from rich.text import Text

    table.add_row(*map(Text, cells))


def print_table(table: Any) -> None:
    """Print it as wide as the terminal, or 160 characters into a file."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 160).print(table)


def print_json(value: object) -> None:
    """Print JSON for machines."""
    import json

    typer.echo(json.dumps(value, indent=2, default=str))


def print_warnings(warnings: "tuple[str, ...] | list[str]", *, err: bool = False) -> None:
    """One line per warning, on standard error where standard output holds JSON."""
    for warning in warnings:
        typer.echo(f"warning: {one_line(warning)}", err=err)


def print_error(message: str, *, as_json: bool) -> None:
    """One line on standard error; standard output holds a result or nothing."""
    if as_json:
        import json

        typer.echo(json.dumps({"error": message}), err=True)
    else:
        typer.echo(f"liverleaf: {one_line(message)}", err=True)


def one_line(text: str) -> str:
    """The text as one line that every terminal can show.

    File names may hold line breaks, control characters and bytes of no encoding: they are escaped.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
