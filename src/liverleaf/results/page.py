"""The HTML pages of a cohort's results, which open offline: the overview, and the flow chart."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import jinja2
from PIL import Image

from liverleaf.analysis import FIGURES_FOLDER
from liverleaf.export import wording
from liverleaf.export.html.templates import data_uri, templates
from liverleaf.results.columns import CaseResult
from liverleaf.results.distributions import UNTYPED, Distributions, type_counts
from liverleaf.results.flow import Flow, shown_reasons
from liverleaf.results.study_columns import largest_mm, lesions_ml, warning_count
from liverleaf.results.tables import TABLES

OVERVIEW_PICTURE = f"{FIGURES_FOLDER}/overview-axial.png"
STRIP_HEIGHT, CAPTION_SHARE = 72, 0.095
"""Height of a thumbnail, and the share of the picture's height that its caption takes."""


COLUMNS = (
    "modality",
    "phases",
    "liver (ml)",
    "lesions",
    "all lesions (ml)",
    "largest (mm)",
    "most probable types",
    "malignant",
    "doubts",
    "warnings",
)
"""After that of the case."""


@dataclass(frozen=True)
class Cell:
    """One cell of the table: what is read, and what is sorted by ("" sorts last)."""

    text: str
    key: str | float


@dataclass(frozen=True)
class PageRow:
    """One case in the table.

    Attributes:
        case: its pseudonym and the name of its folder.
        subject: pseudonym of the patient.
        thumbnail: its overview as JPEG in a data URI, "" where there is none.
        cells: by the name of the column.
    """

    case: str
    subject: str
    thumbnail: str
    cells: dict[str, Cell]


def write_results_page(
    out: Path,
    results: Iterable[CaseResult],
    failures: Iterable[tuple[str, str, str, str]],
    flow: Flow,
    distributions: Distributions,
    file: Path,
) -> None:
    """Write the overview of all cases.

    Args:
        out: the results, whose pictures are shown.
        results: the cases, one by one.
        failures: case, subject, stage and reason of each that has no results.
        flow: how many studies came how far.
        distributions: over all lesions.
        file: where to.
    """
    stream = (
        _environment()
        .get_template("results.html")
        .stream(
            rows=(_row(result, out) for result in results),
            columns=COLUMNS,
            failures=failures,
            failed=flow.found - flow.analysed,
            flow=flow,
            figures={
                name: data_uri("image/png", png) for name, png in distributions.figures().items()
            },
            lesions=distributions.types.total(),
            tables=[table.name for table in TABLES],
        )
    )
    stream.dump(str(file), encoding="utf-8")


def write_flow_page(flow: Flow, file: Path) -> None:
    """Write the flow chart."""
    page = _environment().get_template("flow.html").render(flow=flow)
    file.write_text(page, encoding="utf-8")


def _environment() -> jinja2.Environment:
    environment = templates()
    environment.filters["reasons"] = shown_reasons
    return environment


def _row(result: CaseResult, out: Path) -> PageRow:
    thumbnail = _thumbnail(out / result.case / OVERVIEW_PICTURE)
    return PageRow(result.case, result.subject, thumbnail, _cells(result))


def _cells(result: CaseResult) -> dict[str, Cell]:
    """The cells of a case, in the order of the columns."""
    findings, study = result.findings, result.findings.study
    types = [f"{n} {name}" for name, n in type_counts(findings).items() if name != UNTYPED]
    malignant = None if findings.patient is None else findings.patient.malignant_probability
    return {
        "modality": Cell(study.modality, study.modality),
        "phases": _number(float(len(study.phases))),
        "liver (ml)": _number(findings.liver.volume_ml if findings.liver else None),
        "lesions": _number(float(len(findings.lesions))),
        "all lesions (ml)": _number(lesions_ml(result), 1),
        "largest (mm)": _number(largest_mm(result)),
        "most probable types": Cell(", ".join(types), ", ".join(types)),
        "malignant": Cell(
            "-" if malignant is None else wording.percent(malignant),
            "" if malignant is None else malignant,
        ),
        "doubts": _number(float(len(findings.doubts))),
        "warnings": _number(float(warning_count(result))),
    }


def _number(value: float | None, decimals: int = 0) -> Cell:
    return Cell("-", "") if value is None else Cell(wording.number(value, decimals), value)


def _thumbnail(file: Path) -> str:
    """The strip of all phases, small and without its caption."""
    if not file.is_file():
        return ""
    with Image.open(file) as picture:
        strip = picture.crop((0, 0, picture.width, round(picture.height * (1 - CAPTION_SHARE))))
    width = max(1, round(strip.width * STRIP_HEIGHT / strip.height))
    small = strip.convert("RGB").resize((width, STRIP_HEIGHT), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return data_uri("image/jpeg", buffer.getvalue())
