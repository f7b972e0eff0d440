"""What `liverleaf analyze` does and says where its input is a cohort."""

# Without `from __future__ import annotations`, as in app.py.
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from liverleaf.cli.console import print_json, progress_bars

if TYPE_CHECKING:
    from liverleaf.results.run import ResultsSummary
    from liverleaf.study import Modality


def is_cohort(source: Path, jobs: int | None, scheduler: str | None) -> bool:
    """Whether the input is many studies: case folders lie in it, or an option says so."""
    from liverleaf.cohort.index import case_folders

    return jobs is not None or scheduler is not None or bool(case_folders(source))


def analyze_cohort(
    source: Path,
    out: Path,
    *,
    model: str | None,
    device: str,
    overwrite: bool,
    phases: Path | None,
    modality: "Modality | None",
    keep_maps: bool,
    jobs: int,
    scheduler: str | None,
    as_json: bool,
) -> None:
    """Analyse every study of a cohort, and say what became of them."""
    if overwrite:
        raise typer.BadParameter(
            "results of a cohort are continued, not replaced: remove their folder to begin anew",
            param_hint="'--overwrite'",
        )
    from liverleaf.results.run import analyze_cohort as run

    with progress_bars() as progress:
        summary = run(
            source,
            out,
            model=model,
            device=device,
            phases=phases,
            modality=modality,
            keep_maps=keep_maps,
            jobs=jobs,
            scheduler=scheduler,
            progress=progress,
        )
    _print_summary(summary, out, as_json=as_json)


def _print_summary(summary: "ResultsSummary", out: Path, *, as_json: bool) -> None:
    from dataclasses import asdict

    from liverleaf.findings import RESEARCH_USE_ONLY
    from liverleaf.results.overview import PAGE_FILE

    if as_json:
        print_json(asdict(summary))
        return
    studies = "study" if summary.found == 1 else "studies"
    kept = f" ({summary.kept} kept from before)" if summary.kept else ""
    typer.echo(
        f"{summary.found} {studies} found, {summary.analysed} analysed{kept},"
        f" {len(summary.failed)} failed"
    )
    for case, reason in summary.failed.items():
        typer.echo(f"failed {case}: {reason}")
    typer.echo(f"page: {out / PAGE_FILE}")
    typer.echo(_seg_line(summary, out))
    if summary.places is not None:
        typer.echo(
            f"folder of each study: {summary.places} (its paths may name patients: keep it with the"
            " key)"
        )
    typer.echo(RESEARCH_USE_ONLY)


def _seg_line(summary: "ResultsSummary", out: Path) -> str:
    """Which cases have a DICOM SEG, and whose name it holds."""
    from liverleaf.analysis import SEG_FILE

    line = f"{SEG_FILE} for {summary.with_seg} of {summary.analysed} cases"
    if summary.places is not None and summary.with_seg:
        return (
            f"{line}; it holds the patient's name and number as its source does; nothing else in"
            f" {out} does"
        )
    if summary.places is None and summary.with_seg < summary.analysed:
        return (
            f"{line}: where a case folder keeps its DICOM (liverleaf ingest --deidentify); or"
            " analyse the folder of the DICOM itself, with --jobs"
        )
    return line
