"""The command line: parse, call one function, print. Everything heavy is imported inside the command that needs it."""

# Without `from __future__ import annotations`: typer would compile every annotation from its text
# each time, --help included.
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from liverleaf.cli.benchmarks import benchmarks
from liverleaf.cli.console import (
    AsJson,
    Device,
    add_row,
    new_table,
    print_json,
    print_table,
    progress_bars,
)
from liverleaf.cli.models import model_commands

if TYPE_CHECKING:
    from liverleaf.findings import Findings


def _positive(sizes: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
    if sizes is not None and not all(0 < size < float("inf") for size in sizes):
        raise typer.BadParameter("all three must be positive.")
    return sizes


app = typer.Typer(
    name="liverleaf",
    help=(
        "Multi-phase liver imaging: from a folder of DICOM to lesions, their types and their"
        " enhancement. Research use only."
    ),
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Model = Annotated[
    str | None,
    typer.Option(
        help="Name of a shipped model (see `liverleaf models`) or folder of a trained one."
    ),
]
Phases = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.csv",
        help=(
            "Table that says what series are, with the columns series (SeriesInstanceUID, series"
            " number, 14:2 for time point or part 2 of series 14, or NIfTI file name) and phase"
            " (pre, arterial, portal, delayed, hepatobiliary or none); see `liverleaf inspect"
            " --phases-out`."
        ),
    ),
]


@app.callback()
def _quiet() -> None:
    import logging

    # its messages quote header values, and those may name a patient
    logging.getLogger("pydicom").disabled = True
    logging.getLogger("nibabel.global").disabled = True  # it tells of headers that ingest warns of
    for chatty in ("lightning_fabric", "lightning_utilities"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # it warns where it may not keep a cache at home
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


@app.command()
def analyze(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="DICOM folder or zip, NIfTI folder or file, or case folder."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; it appears whole or not at all.")],
    model: Model = None,
    device: Device = "auto",
    overwrite: Annotated[
        bool, typer.Option(help="Replace a folder that an earlier analysis wrote.")
    ] = False,
    phases: Phases = None,
    as_json: AsJson = False,
) -> None:
    """Find, type and measure the lesions of one study.

    The DICOM SEG carries the patient's name and number as its source does, to lie beside it in an
    archive; nothing else does.

    Example: liverleaf analyze study.zip --out findings
    """
    from liverleaf.analysis import analyze as run

    with progress_bars() as progress:
        findings = run(
            source,
            out,
            model=model,
            device=device,
            overwrite=overwrite,
            phases=phases,
            progress=progress,
        )
    if as_json:
        typer.echo(findings.to_json(), nl=False)
    else:
        _print_findings(findings, out)


@app.command()
def inspect(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="DICOM folder or zip, NIfTI folder or file, or case folder."
        ),
    ],
    phases: Phases = None,
    phases_out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Also write what was found as a new table for --phases, to be corrected.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show every series of a study: which phase it is, how sure that is, and why; and what was left out.

    Example: liverleaf inspect study/
    """
    from dataclasses import asdict

    from liverleaf.ingest.reader import inspect as run
    from liverleaf.ingest.reader import read_phase_table, write_phase_table

    with progress_bars() as progress:
        progress("reading", 0, 0)
        found = run(source, table=read_phase_table(phases) if phases else ())
    if phases_out is not None:
        write_phase_table(found.series, phases_out)
    if as_json:
        named = [
            asdict(s) | {"phase": s.phase.key if s.phase is not None else None}
            for s in found.series
        ]
        print_json(named)
        for warning in found.warnings:
            typer.echo(f"warning: {warning}", err=True)
        return
    table = new_table(
        "series",
        "description",
        "phase",
        "confidence",
        "slices",
        "spacing (mm)",
        "evidence and warnings",
    )
    for s in found.series:
        name = "" if s.number is None else f"{s.number}{''.join(s.series.partition(':')[1:])}"
        notes = "\n".join([*s.evidence, *(f"! {warning}" for warning in s.warnings)])
        spacing = (
            " x ".join("-" if mm is None else f"{mm:.3g}" for mm in s.spacing_mm)
            if s.spacing_mm
            else ""
        )
        phase = s.phase.title if s.phase is not None else "not used"
        add_row(
            table, name, s.description, phase, f"{s.confidence:.2f}", str(s.slices), spacing, notes
        )
    print_table(table)
    for warning in found.warnings:
        typer.echo(f"warning: {warning}")


@app.command()
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
                " StudyInstanceUID, folder of NIfTI files, or "
                "pseudonym."
            ),
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help=(
                "Dask scheduler whose workers read instead, as tcp://host:8786; they see the same"
                " files."
            ),
        ),
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=(
                "INPUT is one public collection of this name, unpacked: lits, lld-mmri,"
                " waw-tace, ..."
            ),
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read many studies into a cohort of case folders under pseudonyms; run it again to go on, or when studies have grown.

    Example: liverleaf ingest archive/ more.zip --out cohorts/ward --jobs 4
    """
    from dataclasses import asdict

    from liverleaf.cohort.build import collect, collect_collection
    from liverleaf.cohort.overview import PAGE_FILE

    if collection is not None and (
        deidentify or key is not None or phases is not None or len(inputs) != 1
    ):
        raise typer.BadParameter(
            "it takes one INPUT and neither --deidentify nor --key nor --phases.",
            param_hint="'--collection'",
        )
    with progress_bars() as progress:
        if collection is not None:
            done = collect_collection(
                collection, inputs[0], out, jobs=jobs, scheduler=scheduler, progress=progress
            )
        else:
            done = collect(
                inputs,
                out,
                key=key,
                with_dicom=deidentify,
                phases=phases,
                jobs=jobs,
                scheduler=scheduler,
                progress=progress,
            )
    if as_json:
        print_json(asdict(done))
        return
    of_those = ", ".join(
        f"{number} {what}"
        for number, what in ((done.kept, "kept from before"), (done.again, "read again"))
        if number
    )
    read = f"{done.read} read{f' ({of_those})' if of_those else ''}"
    typer.echo(
        f"{done.found} {'study' if done.found == 1 else 'studies'} found, {read},"
        f" {len(done.refused)} refused"
    )
    if done.ignored:
        typer.echo(
            "other files ignored:"
            f" {', '.join(f'{number} {kind}' for kind, number in done.ignored.items())}"
        )
    for case, reason in done.refused.items():
        typer.echo(f"refused {case}: {reason}")
    for case, warning in done.warnings.items():
        typer.echo(f"warning {case}: {warning}")
    typer.echo(f"page: {out / PAGE_FILE}")
    if done.key is not None:
        typer.echo(
            f"key of the pseudonyms: {done.key} (keep it apart from the cohort; without it no study"
            " can be added)"
        )
        typer.echo(
            f"where each study lies: {done.places} (its paths may name patients: keep it with the"
            " key)"
        )
    typer.echo("Research use only.")


@app.command()
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

    Example: liverleaf export cohorts/ct --out nnUNet_raw/Dataset501_Liver --phase arterial --phase
    portal
    """
    from liverleaf.cohort.index import Cohort
    from liverleaf.cohort.nnunet import export as run
    from liverleaf.study import Phase

    assert format_ == "nnunet"
    if strange := [name for name in phase or () if name.upper() not in Phase.__members__]:
        known = ", ".join(phase.key for phase in Phase)
        raise typer.BadParameter(
            f"{strange[0]!r} is no phase: use {known}.", param_hint="'--phase'"
        )
    wanted = [Phase.parse(name) for name in phase or ()]
    with progress_bars() as progress:
        done = run(
            Cohort.open(cohort), out, phases=wanted, regions=regions, seed=seed, progress=progress
        )
    channels = ", ".join(phase.title for phase in done.phases)
    typer.echo(
        f"{done.training} cases to train on and {done.test} without truth in {out}; channels:"
        f" {channels}"
    )
    for warning in done.warnings:
        typer.echo(f"warning: {warning}")


@app.command()
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
                "Slices, rows and columns; the preset's own if left out. Times --spacing-mm, it is"
                " what is seen."
            ),
        ),
    ] = None,
    spacing_mm: Annotated[
        tuple[float, float, float] | None,
        typer.Option(callback=_positive, help="Distance of slices, rows and columns in mm."),
    ] = None,
) -> None:
    """Make studies of a digital phantom, with their truth.

    Example: liverleaf phantom --cases 20 --modality ct --format nifti --seed 1 --out cohorts/ct
    """
    from liverleaf.phantom.generator import Phantom, write_cohort
    from liverleaf.study import Modality

    wanted = Modality(modality.upper()) if modality else None
    source = Phantom(preset or modality or "mr", seed, wanted, shape, spacing_mm)
    number = cases or source.population.cases
    if number is None:
        raise typer.BadParameter(
            f"the preset {source.preset} goes on without end: say how many.", param_hint="'--cases'"
        )
    with progress_bars() as progress:
        report = partial(progress, "making cases")
        write_cohort(source, number, out, format=format_, jobs=jobs, progress=report)
    typer.echo(f"{number} {source.preset} phantom {'study' if number == 1 else 'studies'} in {out}")


app.add_typer(model_commands)
app.add_typer(benchmarks)


def main() -> None:
    """Run the command line; a fault of the input is one line on standard error and exit code 1."""
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("liverleaf: stopped before it was done", err=True)
        sys.exit(130)
    except Exception as error:
        if not _explains_itself(error):
            raise
        typer.echo(f"liverleaf: {_in_a_line(error)}", err=True)
        sys.exit(1)


def _explains_itself(error: Exception) -> bool:
    from liverleaf.study import InputError

    return isinstance(error, InputError | OSError)


def _in_a_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _print_findings(findings: "Findings", out: Path) -> None:
    from liverleaf.analysis import SEG_FILE

    study = findings.study
    table = new_table("lesion", "type", "volume (ml)", "axes (mm)", "curve", "wash-in", "wash-out")
    for lesion in findings.lesions:
        ranked = sorted((lesion.type_probabilities or {}).items(), key=lambda item: -item[1])
        kind = "\n".join(f"{name} {p:.0%}" for name, p in ranked[:2])
        curve = "  ".join(f"{phase} {value:.0f}" for phase, value in lesion.curve.mean.items())
        wash_in = (
            "-"
            if lesion.wash_in is None
            else f"{lesion.wash_in.enhancement:.2g} {lesion.wash_in.unit}"
        )
        wash_out = "-"
        if lesion.wash_out is not None and lesion.wash_out.share_lost is not None:
            wash_out = f"{lesion.wash_out.share_lost:.0%} by {lesion.wash_out.phase}"
        axes = f"{lesion.long_axis_mm:.0f} x {lesion.short_axis_mm:.0f}"
        add_row(
            table, str(lesion.id), kind, f"{lesion.volume_ml:.1f}", axes, curve, wash_in, wash_out
        )
    phases = ", ".join(record.phase for record in study.phases)
    said = [f"{study.modality} study {study.case_id}, phases: {phases}"]
    if findings.liver is not None:
        said.append(f"liver {findings.liver.volume_ml:.0f} ml")
    if findings.model is not None:
        said.append(f"model {findings.model}")
    typer.echo("; ".join(said))
    if findings.lesions:
        print_table(table)
    else:
        typer.echo("No lesion was found.")
    for warning in (*study.warnings, *findings.warnings):
        typer.echo(f"warning: {warning}")
    typer.echo(f"page: {out / 'report.html'}")
    if (out / SEG_FILE).exists():
        typer.echo(
            f"{out / SEG_FILE} holds the patient's name and number as its source does; nothing else"
            f" in {out} does"
        )
    typer.echo(findings.research_use_only)


if __name__ == "__main__":
    main()
