"""What a command has to say in; progress bars, tables and JSON on the terminal out. And the options that many commands have."""

# Without `from __future__ import annotations`, as cli.py, which imports it.
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of a table.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")]


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda *_: None
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

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for task in tasks.values():
                    bars.update(task, visible=False)
                tasks[what] = bars.add_task(what, total=None)
            bars.update(tasks[what], completed=done, total=total or None, visible=True)

        yield show


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
