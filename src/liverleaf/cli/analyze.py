"""The commands about one study: `liverleaf analyze`, `measure` and `inspect`."""

# Without `from __future__ import annotations`, as in app.py.
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from liverleaf.cli.console import (
    AsJson,
    Device,
    ModalityOption,
    Scheduler,
    add_row,
    modality_of,
    new_table,
    print_json,
    print_table,
    print_warnings,
    progress_bars,
)

if TYPE_CHECKING:
    from liverleaf.findings import Findings, LesionRecord
    from liverleaf.ingest.inspection import SeriesReport
    from liverleaf.study import Phase

logger = logging.getLogger(__name__)

analyze_commands = typer.Typer(rich_markup_mode=None, add_completion=False)

Source = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT", help="DICOM folder or zip, NIfTI folder or file, or case folder."
    ),
]
OneOrMany = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT",
        help="DICOM folder or zip, NIfTI folder or file, case folder, or cohort of case folders.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Name of a shipped model (see `liverleaf models`) or folder of a trained one."
    ),
]
Out = Annotated[Path, typer.Option(help="Folder to write; it appears whole or not at all.")]
Overwrite = Annotated[bool, typer.Option(help="Replace a folder that an earlier analysis wrote.")]
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
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1, help="INPUT is a cohort, or a folder of studies; so many processes analyse them."
    ),
]
LiverMask = Annotated[
    Path | None,
    typer.Option(
        "--liver",
        metavar="MASK",
        help="Mask of the liver, in any of these formats; without it --liver-from decides.",
    ),
]
DrawnBy = Annotated[
    str, typer.Option(help='Who drew the masks: "manual" for a person, else the name of a program.')
]
DrawnOn = Annotated[
    str | None,
    typer.Option(
        metavar="PHASE",
        help=(
            "The phase that the masks were drawn on (pre, arterial, portal, delayed,"
            " hepatobiliary), where the files do not tell."
        ),
    ),
]
InstancesOption = Annotated[
    Literal["labels", "split"] | None,
    typer.Option(
        "--instances",
        help=(
            "Each label is a lesion (labels), or each connected part is (split). By default labels,"
            " but split where a label means any lesion, as networks write it."
        ),
    ),
]
LiverFromOption = Annotated[
    Literal["network", "totalsegmentator", "nobody"],
    typer.Option(
        "--liver-from",
        help=(
            "Who outlines the liver where no mask does: liverleaf's own network, the command"
            " TotalSegmentator, or nobody; lesions are then not compared with it."
        ),
    ),
]
LesionsFromOption = Annotated[
    Literal["totalsegmentator"] | None,
    typer.Option(
        "--lesions-from", help="Let the command TotalSegmentator find the lesions (its licence)."
    ),
]
FORMATS = (
    "NIfTI, DICOM SEG, RTSTRUCT, or a folder as TotalSegmentator and nnU-Net write it; on any grid"
    " and phase."
)


@analyze_commands.command()
def analyze(
    source: OneOrMany,
    out: Out,
    lesions: Annotated[
        Path | None,
        typer.Option(metavar="MASK", help=f"Type these lesions and find no others: {FORMATS}"),
    ] = None,
    liver: LiverMask = None,
    drawn_by: DrawnBy = "manual",
    drawn_on: DrawnOn = None,
    instances: InstancesOption = None,
    model: Model = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    phases: Phases = None,
    modality: ModalityOption = None,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    keep_maps: Annotated[
        bool,
        typer.Option(
            help=(
                "Also write maps/TYPE.nii.gz, the probability of each lesion type at each voxel;"
                " for models that make such maps."
            )
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find, type and measure the lesions of one study or cohort, or type those that are given.

    The DICOM SEG carries the patient's name and number as its source does, to lie beside it in an
    archive; nothing else does.

    A cohort of case folders, or with --jobs a folder of studies, is analysed into a folder per case
    with tables and pages about them all. Run it again to continue after a stop.

    Example: liverleaf analyze study.zip --out findings
    """
    from liverleaf.cli.cohort_analysis import analyze_cohort, is_cohort

    if is_cohort(source, jobs, scheduler):
        if lesions is not None or liver is not None:
            raise typer.BadParameter("masks are given for one study, and INPUT holds several")
        analyze_cohort(
            source,
            out,
            model=model,
            device=device,
            overwrite=overwrite,
            phases=phases,
            modality=modality_of(modality),
            keep_maps=keep_maps,
            jobs=jobs or 1,
            scheduler=scheduler,
            as_json=as_json,
        )
        return
    from liverleaf.analysis import analyze as run
    from liverleaf.given_masks import GivenMasks

    if lesions is None and liver is not None:
        raise typer.BadParameter("the liver is given with the lesions to type: add --lesions")
    phase, masks = _phase_of(drawn_on), None
    if lesions is not None:
        masks = GivenMasks(lesions, liver, drawn_by, phase, instances)
    with progress_bars() as progress:
        findings = run(
            source,
            out,
            masks=masks,
            model=model,
            device=device,
            overwrite=overwrite,
            phases=phases,
            modality=modality_of(modality),
            keep_maps=keep_maps,
            progress=progress,
        )
    _report(findings, out, as_json=as_json)


@analyze_commands.command()
def measure(
    source: Source,
    out: Out,
    lesions: Annotated[
        Path | None,
        typer.Option("--masks", "--lesions", metavar="MASK", help=f"Masks of lesions: {FORMATS}"),
    ] = None,
    liver: LiverMask = None,
    drawn_by: DrawnBy = "manual",
    drawn_on: DrawnOn = None,
    instances: InstancesOption = None,
    liver_from: LiverFromOption = "network",
    lesions_from: LesionsFromOption = None,
    overwrite: Overwrite = False,
    phases: Phases = None,
    modality: ModalityOption = None,
    as_json: AsJson = False,
) -> None:
    """Measure lesions that a person or another program outlined; no model types them.

    Example: liverleaf measure study/ --masks lesions.nii.gz --drawn-on arterial --out findings
    """
    from liverleaf.analysis import measure_masks as run

    phase = _phase_of(drawn_on)
    if (lesions is None) == (lesions_from is None):
        raise typer.BadParameter("give either --masks MASK or --lesions-from PROGRAM")
    with progress_bars() as progress:
        findings = run(
            source,
            out,
            lesions=lesions,
            liver=liver,
            drawn_by=drawn_by,
            drawn_on=phase,
            instances=instances,
            liver_from=liver_from,
            lesions_from=lesions_from,
            overwrite=overwrite,
            phases=phases,
            modality=modality_of(modality),
            progress=progress,
        )
    _report(findings, out, as_json=as_json)


@analyze_commands.command()
def inspect(
    source: Source,
    phases: Phases = None,
    phases_out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help=(
                "Also write the phases as a new table for --phases, to be corrected; of a refused"
                " study too."
            ),
        ),
    ] = None,
    modality: ModalityOption = None,
    as_json: AsJson = False,
) -> None:
    """Show the phase of every series of a study, with confidence and evidence.

    Series and files that were left out are shown too. A study that `analyze` would refuse is shown,
    and ends with the reason and exit code 1.

    Example: liverleaf inspect study/
    """
    from dataclasses import asdict

    from liverleaf.ingest.reader import inspect as run
    from liverleaf.ingest.reader import read_phase_table, write_phase_table
    from liverleaf.study import InputError

    with progress_bars() as progress:
        progress("reading", 0, 0)
        table = read_phase_table(phases) if phases else ()
        inspected = run(source, table=table, modality=modality_of(modality))
    if phases_out is not None:
        write_phase_table(inspected.series, phases_out)
    if as_json:
        print_json(
            [
                asdict(series) | {"phase": series.phase.key if series.phase is not None else None}
                for series in inspected.series
            ]
        )
    else:
        _print_series(inspected.series)
    print_warnings(inspected.warnings, err=as_json)
    if inspected.refused:
        raise InputError(inspected.refused)


def _phase_of(name: str | None) -> "Phase | None":
    """The phase of an option."""
    from liverleaf.study import Phase

    try:
        return None if name is None else Phase.parse(name)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--drawn-on") from error


def _report(findings: "Findings", out: Path, *, as_json: bool) -> None:
    logger.info(
        "%s study, %d phases, model %s: %d lesions, %d warnings",
        findings.study.modality,
        len(findings.study.phases),
        findings.model,
        len(findings.lesions),
        len(findings.study.warnings) + len(findings.warnings),
    )
    if as_json:
        typer.echo(findings.to_json(), nl=False)
    else:
        _print_findings(findings, out)


def _print_series(reports: "tuple[SeriesReport, ...]") -> None:
    table = new_table(
        "series",
        "description",
        "phase",
        "confidence",
        "slices",
        "spacing (mm)",
        "evidence and warnings",
    )
    for series in reports:
        add_row(
            table,
            _series_name(series),
            series.description,
            _phase_cell(series),
            f"{series.confidence:.2f}",
            str(series.slices),
            " x ".join("-" if mm is None else f"{mm:.3g}" for mm in series.spacing_mm),
            "\n".join([*series.evidence, *(f"! {warning}" for warning in series.warnings)]),
        )
    print_table(table)


def _phase_cell(series: "SeriesReport") -> str:
    if series.phase is None:
        return "not used"
    return series.phase.title if series.used else f"not used ({series.phase.title})"


def _series_name(series: "SeriesReport") -> str:
    """The series number, with ":2" for the second time point or part of a series."""
    if series.number is None:
        return ""
    return f"{series.number}{''.join(series.series.partition(':')[1:])}"


def _print_findings(findings: "Findings", out: Path) -> None:
    from liverleaf.analysis import SEG_FILE
    from liverleaf.export.wording import PROBABILITIES_DO_NOT_HOLD, no_lesion

    typer.echo("; ".join(_headline(findings)))
    for line in _case_lines(findings):
        typer.echo(line)
    if findings.lesions:
        print_table(_lesion_table(findings))
        for line in _feature_lines(findings):
            typer.echo(line)
    elif findings.segmentation is not None or findings.case is None:
        typer.echo(no_lesion(findings))
    if findings.doubts and any(lesion.type_probabilities for lesion in findings.lesions):
        typer.echo(PROBABILITIES_DO_NOT_HOLD)
    print_warnings((*findings.study.warnings, *findings.warnings))
    typer.echo(f"page: {out / 'report.html'}")
    if (out / SEG_FILE).exists():
        typer.echo(
            f"{out / SEG_FILE} holds the patient's name and number as its source does; nothing else"
            f" in {out} does"
        )
    typer.echo(findings.research_use_only)


def _headline(findings: "Findings") -> list[str]:
    from liverleaf.export.wording import masks_of

    study = findings.study
    phases = ", ".join(record.phase for record in study.phases)
    parts = [f"{study.modality} study {study.case_id}, phases: {phases}"]
    if findings.liver is not None:
        parts.append(f"liver {findings.liver.volume_ml:.0f} ml")
    if findings.model is not None:
        parts.append(f"model {findings.model}")
    if findings.segmentation is None or findings.segmentation.source != findings.model:
        parts.append(masks_of(findings))
    return parts


def _case_lines(findings: "Findings") -> list[str]:
    """What a model says of the whole study."""
    if findings.case is None:
        return []
    lines = [
        f"{score.name}: {score.value:g} {score.unit}".rstrip() for score in findings.case.scores
    ]
    for named in findings.case.classes:
        classes = sorted(named.probabilities.items(), key=lambda item: -item[1])
        lines.append(f"{named.name}: {', '.join(f'{name} {p:.0%}' for name, p in classes)}")
    return lines


def _feature_lines(findings: "Findings") -> list[str]:
    """The features whose evidence reaches its threshold, with their conditions."""
    from liverleaf.export.wording import feature, feature_title

    return [
        f"lesion {lesion.id}, {feature_title(record.name)}: {feature(record)}"
        for lesion in findings.lesions
        for record in lesion.features
        if record.evidence >= record.threshold
    ]


def _lesion_table(findings: "Findings") -> Any:
    table = new_table(
        "lesion", "type", "volume (ml)", "axes (mm)", "intensity", "wash-in", "wash-out"
    )
    for lesion in findings.lesions:
        types = sorted((lesion.type_probabilities or {}).items(), key=lambda item: -item[1])
        add_row(
            table,
            str(lesion.id),
            "\n".join(f"{name} {p:.0%}" for name, p in types[:2]),
            f"{lesion.volume_ml:.1f}",
            f"{lesion.long_axis_mm:.0f} x {lesion.short_axis_mm:.0f}",
            "  ".join(f"{phase} {value:.0f}" for phase, value in lesion.curve.mean.items()),
            _wash_in(lesion),
            _wash_out(lesion),
        )
    return table


def _wash_in(lesion: "LesionRecord") -> str:
    if lesion.wash_in is None:
        return "-"
    return f"{lesion.wash_in.enhancement:.2g} {lesion.wash_in.unit}"


def _wash_out(lesion: "LesionRecord") -> str:
    from liverleaf.export.wording import share_lost, wash_out

    lost = share_lost(lesion.wash_out)
    return f"{wash_out(lesion.wash_out)}{f', {lost} of its uptake lost' if lost else ''}"
