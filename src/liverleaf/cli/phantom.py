"""The command that makes phantom studies: `liverleaf phantom`."""

# Without `from __future__ import annotations`, as in app.py.
from pathlib import Path
from typing import Annotated, Literal

import typer

from liverleaf.cli.console import progress_bars

phantom_commands = typer.Typer(rich_markup_mode=None, add_completion=False)


def _positive(sizes: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
    if sizes is not None and not all(0 < size < float("inf") for size in sizes):
        raise typer.BadParameter("all three must be positive.")
    return sizes


@phantom_commands.command()
def phantom(
    out: Annotated[
        Path, typer.Option(help="New folder, or one that this command left unfinished.")
    ],
    cases: Annotated[
        int | None,
        typer.Option(min=1, help="How many studies; the preset's own number where it has one."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help=(
                "Population: mr, ct, mti-net, lidia, hard, rat-hcc or chest; mr or ct when left"
                " out."
            )
        ),
    ] = None,
    modality: Annotated[
        Literal["mr", "ct"] | None, typer.Option(help="mr or ct; the preset's own when left out.")
    ] = None,
    format_: Annotated[
        Literal["dicom", "nifti"],
        typer.Option("--format", help="DICOM series, or NIfTI case folders to train on."),
    ] = "nifti",
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same seed makes the same cases.")] = 0,
    jobs: Annotated[
        int, typer.Option(min=1, help="Processes; the result does not depend on it.")
    ] = 1,
    shape: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            callback=_positive,
            help=(
                "Slices, rows and columns; the preset's own if left out. With --spacing-mm it sets"
                " the field of view."
            ),
        ),
    ] = None,
    spacing_mm: Annotated[
        tuple[float, float, float] | None,
        typer.Option(callback=_positive, help="Distance of slices, rows and columns in mm."),
    ] = None,
) -> None:
    """Make studies of a digital phantom, with their annotation.

    Example: liverleaf phantom --cases 20 --modality ct --format nifti --seed 1 --out cohorts/ct
    """
    from liverleaf.phantom.generator import Phantom, write_cohort
    from liverleaf.study import Modality

    wanted = Modality(modality.upper()) if modality else None
    source = Phantom(preset or modality or "mr", seed, wanted, shape, spacing_mm)
    number = cases or source.population.cases
    if number is None:
        raise typer.BadParameter(
            f"the preset {source.preset} has no number of cases of its own: say how many.",
            param_hint="'--cases'",
        )
    with progress_bars() as progress:
        write_cohort(source, number, out, format=format_, jobs=jobs, progress=progress)
    typer.echo(f"{number} {source.preset} phantom {'study' if number == 1 else 'studies'} in {out}")
