"""The commands about many studies: `liverleaf ingest`, `collection` and `export`."""

# Without `from __future__ import annotations`, as in app.py.
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from liverleaf.cli.console import (
    AsJson,
    ModalityOption,
    Scheduler,
    modality_of,
    print_json,
    print_warnings,
    progress_bars,
)

if TYPE_CHECKING:
    from liverleaf.cohort.build import IngestSummary

ingest_commands = typer.Typer(rich_markup_mode=None, add_completion=False)

Jobs = Annotated[int, typer.Option(min=1, help="Processes.")]
Strict = Annotated[bool, typer.Option(help="End with exit code 1 where a study was refused.")]


def _moved(name: str | None) -> None:
    """Point to the command that took the place of this option, which scripts of 0.1 give."""
    if name is not None:
        raise typer.BadParameter(
            f"it is a command of its own now: liverleaf collection {name} FOLDER --out COHORT",
            param_hint="'--collection'",
        )


@ingest_commands.command()
def ingest(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...", help="Any mix of study folders, folders of studies, zips and files."
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="COHORT", help="New folder, or one that this command began.")
    ],
    deidentify: Annotated[
        bool,
        typer.Option(help="Also write each study's DICOM, de-identified (PS3.15 Basic Profile)."),
    ] = False,
    key: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Key of the pseudonyms, made when missing; pseudonyms.key beside COHORT if left"
                " out."
            )
        ),
    ] = None,
    phases: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help=(
                "Table as for `liverleaf inspect --phases`, with a further column study:"
                " StudyInstanceUID, folder of NIfTI files, or pseudonym."
            ),
        ),
    ] = None,
    modality: ModalityOption = None,
    jobs: Jobs = 1,
    scheduler: Scheduler = None,
    _collection: Annotated[
        str | None, typer.Option("--collection", hidden=True, callback=_moved)
    ] = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Read many studies into a cohort of case folders under pseudonyms.

    Run it again to continue after a stop, or when studies have grown.

    Example: liverleaf ingest archive/ more.zip --out cohorts/ward --jobs 4
    """
    from liverleaf.cohort.build import build_cohort

    with progress_bars() as progress:
        summary = build_cohort(
            inputs,
            out,
            key=key,
            with_dicom=deidentify,
            phases=phases,
            modality=modality_of(modality),
            jobs=jobs,
            scheduler=scheduler,
            progress=progress,
        )
    _print_summary(summary, out, as_json=as_json)
    if strict and summary.refused:
        raise typer.Exit(1)


@ingest_commands.command()
def collection(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The collection: lits, lld-mmri, waw-tace, ...")
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where it lies, unpacked as it is distributed.")
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="COHORT", help="New folder, or one that this command began."),
    ],
    jobs: Jobs = 1,
    scheduler: Scheduler = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Read a public collection into a cohort of case folders, with its annotations.

    Run it again to continue after a stop. Several collections may share a cohort.

    Example: liverleaf collection lits LiTS/ --out cohorts/lits --jobs 4
    """
    from liverleaf.cohort.build import build_cohort_from_collection

    with progress_bars() as progress:
        summary = build_cohort_from_collection(
            name, folder, out, jobs=jobs, scheduler=scheduler, progress=progress
        )
    _print_summary(summary, out, as_json=as_json)
    if strict and summary.refused:
        raise typer.Exit(1)


def _print_summary(summary: "IngestSummary", out: Path, *, as_json: bool) -> None:
    from dataclasses import asdict

    from liverleaf.cohort.discovery import LOSSES
    from liverleaf.cohort.overview import PAGE_FILE

    if as_json:
        print_json(asdict(summary))
        return
    typer.echo(_counts(summary))
    if summary.ignored:
        kinds = ", ".join(f"{number} {kind}" for kind, number in summary.ignored.items())
        typer.echo(f"other files ignored: {kinds}")
    for case, reason in summary.refused.items():
        typer.echo(f"refused {case}: {reason}")
    if lost := sum(summary.ignored.get(reason, 0) for reason in LOSSES):
        typer.echo(f"warning: {lost} files cannot be read; {summary.files} lists them")
    for case, warning in (*summary.left_out.items(), *summary.warnings.items()):
        typer.echo(f"warning {case}: {warning}")
    typer.echo(f"page: {out / PAGE_FILE}")
    if summary.key is not None:
        typer.echo(
            f"key of the pseudonyms: {summary.key} (keep it apart from the cohort; without it no"
            " study can be added)"
        )
        typer.echo(
            f"folder of each study: {summary.places}, files that are not used: {summary.files}"
            " (their paths may name patients: keep them with the key)"
        )
    typer.echo("Research use only.")


def _counts(summary: "IngestSummary") -> str:
    """Such as "3 studies found, 2 read (1 kept from before), 1 refused"."""
    parts = [
        f"{number} {what}"
        for number, what in ((summary.kept, "kept from before"), (summary.again, "read again"))
        if number
    ]
    read = f"{summary.read} read" + (f" ({', '.join(parts)})" if parts else "")
    studies = "study" if summary.found == 1 else "studies"
    return f"{summary.found} {studies} found, {read}, {len(summary.refused)} refused"


@ingest_commands.command()
def export(
    cohort: Annotated[Path, typer.Argument(help="Folder of case folders.")],
    out: Annotated[
        Path, typer.Option(help="New folder DatasetXXX_Name, inside nnU-Net's nnUNet_raw.")
    ],
    format_: Annotated[
        Literal["nnunet"], typer.Option("--format", help="nnunet: the raw dataset of nnU-Net v2.")
    ] = "nnunet",
    phase: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PHASE",
            help=(
                "A channel, as portal; may be repeated. The phases that every case has if left out."
            ),
        ),
    ] = None,
    labels: Annotated[
        Literal["lesion", "types"],
        typer.Option(
            help="lesion: one class for all lesions; types: a class for each type of the cohort's."
        ),
    ] = "lesion",
    regions: Annotated[
        bool,
        typer.Option(
            help="Predict the liver with its lesions and the lesions as regions, each on its own."
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the five folds by subject in splits_final.json.")
    ] = 0,
) -> None:
    """Write a cohort for another program to train on.

    Example: liverleaf export cohorts/ct --out nnUNet_raw/Dataset501_Liver --phase portal
    """
    from liverleaf.cohort.index import Cohort
    from liverleaf.cohort.nnunet import export as run
    from liverleaf.study import Phase

    assert format_ == "nnunet"
    if unknown := [name for name in phase or () if name.upper() not in Phase.__members__]:
        known = ", ".join(phase.key for phase in Phase)
        raise typer.BadParameter(
            f"{unknown[0]!r} is no phase: use {known}.", param_hint="'--phase'"
        )
    channels = [Phase.parse(name) for name in phase or ()]
    with progress_bars() as progress:
        result = run(
            Cohort.open(cohort),
            out,
            phases=channels,
            regions=regions,
            types=labels == "types",
            seed=seed,
            progress=progress,
        )
    typer.echo(
        f"{result.training} cases to train on and {result.test} without annotation in {out};"
        f" channels: {', '.join(phase.title for phase in result.phases)}"
    )
    print_warnings(result.warnings)
