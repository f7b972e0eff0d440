"""A CSV table in which a person says which series is which phase: read, applied and written."""

from __future__ import annotations

import csv
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from liverleaf.ingest.inspection import SeriesReport
from liverleaf.ingest.phases.reasons import PhaseGuess, Reason, ReasonCode
from liverleaf.study import InputError, Phase

NONE = "none"
"""What the table calls a series that is no contrast phase."""

COLUMNS = ("study", "series", "phase")
PHASES: dict[str, Phase | None] = {
    **{name: phase for phase in Phase for name in (phase.key, phase.title)},
    NONE: None,
}
PHASE_NAMES = (*(phase.key for phase in Phase), NONE)

TIME_OF_DAY = re.compile(r"(\d+):(\d\d)(:00)?")
"""What spreadsheets make of time point 2 of series 14: 14:02, or 14:02:00."""

WHOLE_NUMBER = re.compile(r"(\d+)\.0")


@dataclass(frozen=True)
class PhaseRow:
    """What a person says of one series.

    Attributes:
        line: in the file, from 1.
        study: which study it is of, "" where the table does not say.
        series: SeriesInstanceUID, series number or file name; ":2" behind it for the second time
            point.
        phase: None for no contrast phase.
    """

    line: int
    study: str
    series: str
    phase: Phase | None


def read_phase_table(file: Path, *, studies: bool = False) -> tuple[PhaseRow, ...]:
    """Read a table with the columns `series` and `phase`, and `study` where it is about several.

    Other columns are ignored, and so are rows without a phase, of which nothing is said. What
    spreadsheets make of such a table is read as it was meant.

    Args:
        file: CSV in UTF-8, UTF-16 or Windows-1252, with commas, semicolons or tabs.
        studies: whether the column `study` must be there.

    Raises:
        InputError: the file cannot be read, lacks a column or a row, or names an unknown phase.
    """
    if not file.exists():
        raise InputError(f"the table of phases {file} does not exist")
    try:
        table, above = _table(_content(file))
        columns = {(name or "").strip().lower(): name for name in table.fieldnames or ()}
        found = [(above + table.line_num, row) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"the table of phases {file.name} cannot be read: give a CSV file in UTF-8"
        ) from error
    required = COLUMNS if studies else COLUMNS[1:]
    missing = [name for name in required if name not in columns]
    if missing:
        raise InputError(
            f"the table of phases {file.name} has no column {' and no column '.join(missing)}: its"
            " first line names the columns"
        )
    cells = [
        (line, {name: (row.get(columns.get(name, "")) or "").strip() for name in COLUMNS})
        for line, row in found
    ]
    rows = tuple(_phase_row(file, *row, studies=studies) for row in cells if row[1]["phase"])
    if not rows:
        raise InputError(
            f"the table of phases {file.name} has no row with a phase: say the phase of at least"
            " one series, or leave --phases out"
        )
    return rows


def _content(file: Path) -> str:
    """The text of a table, whichever of the three codings a spreadsheet gave it."""
    data = file.read_bytes()
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252")


def _table(content: str) -> tuple[csv.DictReader[str], int]:
    """The rows of a table, and how many lines stand above its first one."""
    first, _, rest = content.partition("\n")
    if named := re.fullmatch(r"sep=(.)\s*", first):
        return csv.DictReader(StringIO(rest), delimiter=named[1]), 1
    return csv.DictReader(StringIO(content), delimiter=max(",;\t", key=first.count)), 0


def _as_meant(series: str) -> str:
    """The name of a series that a spreadsheet took for a time of day or a measurement.

    >>> _as_meant("14:02:00"), _as_meant("5.0"), _as_meant("14:2"), _as_meant("1.2.3")
    ('14:2', '5', '14:2', '1.2.3')
    """
    if found := TIME_OF_DAY.fullmatch(series):
        return f"{int(found[1])}:{int(found[2])}"
    found = WHOLE_NUMBER.fullmatch(series)
    return found[1] if found else series


def _phase_row(file: Path, line: int, cells: Mapping[str, str], *, studies: bool) -> PhaseRow:
    """One row of the table, its cells by column."""
    study, series, phase = (cells[name] for name in COLUMNS)
    if phase.lower() not in PHASES:
        raise InputError(
            f"line {line} of {file.name} names no known phase: use {', '.join(PHASE_NAMES)}"
        )
    if not series or (studies and not study):
        raise InputError(
            f"line {line} of {file.name} does not say which"
            f" {'series' if study or not studies else 'study'} it is about"
        )
    return PhaseRow(line, study, _as_meant(series), PHASES[phase.lower()])


def rows_of_study(rows: Sequence[PhaseRow], names: Collection[str]) -> tuple[PhaseRow, ...]:
    """The rows about the study with one of these names; all where they are about one study only.

    Raises:
        InputError: there are rows, all of them about other studies.
    """
    if len({row.study for row in rows}) <= 1:
        return tuple(rows)
    chosen = tuple(row for row in rows if row.study in ("", *names))
    if not chosen:
        raise InputError(
            "no line of the table of phases is about this study: `liverleaf inspect --json` tells"
            " what it is called"
        )
    return chosen


def decisions(
    rows: Sequence[PhaseRow],
    series: Sequence[Collection[str]],
    left_out: Sequence[tuple[Collection[str], str]] = (),
) -> dict[int, PhaseGuess]:
    """What the table says, by index of the series.

    Args:
        rows: of one study.
        series: what each series, or each time point of one, may be called.
        left_out: the same of series that cannot be used, with the reason; a row may say that they
            are no phase.

    Raises:
        InputError: a row is about no series or about several time points, gives a phase to a series
            that cannot be used, or two are about one series or give one phase.
    """
    lines: dict[int, int] = {}
    for row in rows:
        matches = [index for index, names in enumerate(series) if row.series in names]
        unusable = next((reason for names, reason in left_out if row.series in names), None)
        _check_row(row, len(matches), unusable)
        for index in matches:
            if index in lines:
                raise InputError(
                    f"lines {lines[index]} and {row.line} of the table of phases are about the same"
                    " series: leave one out"
                )
            lines[index] = row.line
    _check_phases_differ(rows)
    phases = {row.line: row.phase for row in rows}
    reason = Reason.of(ReasonCode.USER_TABLE)
    return {index: PhaseGuess(phases[line], 1.0, (reason,)) for index, line in lines.items()}


def _check_row(row: PhaseRow, matches: int, unusable: str | None) -> None:
    """Refuse a row that names no series, or gives a phase to an unusable one or to several."""
    if not matches and unusable is None:
        raise InputError(
            f"line {row.line} of the table of phases names a series that the study does not"
            " have, or of which no image can be read: `liverleaf inspect --json` lists them"
        )
    if not matches and row.phase is not None:
        raise InputError(
            f"line {row.line} of the table of phases gives a phase to a series that cannot be"
            f" used: {unusable}"
        )
    if matches > 1 and row.phase is not None:
        raise InputError(
            f"line {row.line} of the table of phases names a series of {matches} time"
            " points or parts: say which, as `liverleaf inspect --json` calls them"
        )


def _check_phases_differ(rows: Sequence[PhaseRow]) -> None:
    """Refuse a phase that two rows give."""
    first: dict[Phase, int] = {}
    for row in rows:
        if row.phase is not None and first.setdefault(row.phase, row.line) != row.line:
            raise InputError(
                f"lines {first[row.phase]} and {row.line} of the table of phases both give the"
                f" {row.phase.title} phase: each is one series"
            )


def write_phase_table(reports: Sequence[SeriesReport], file: Path) -> None:
    """Write what each series was taken for and why, as a table that `read_phase_table` reads.

    A series that is not used is no phase. Where the study is refused, so that none is used, the
    guess stands there, or nothing where there is none, for a person to fill in.

    Raises:
        InputError: the file exists.
    """
    refused = not any(report.used for report in reports)
    guesses = Counter(report.phase for report in reports)
    columns = (*COLUMNS[:2], "number", "description", COLUMNS[2], "confidence", "reason")
    try:
        with file.open("x", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(columns)
            for report in reports:
                phase = report.phase if report.used or refused else None
                if refused and guesses[phase] > 1:  # two of one phase are not read again
                    phase = None
                nothing = "" if refused else NONE
                table.writerow(
                    (
                        report.study,
                        report.series,
                        report.number,
                        report.description,
                        nothing if phase is None else phase.key,
                        f"{report.confidence:.2f}",
                        "; ".join((*report.evidence, *report.warnings)),
                    )
                )
    except FileExistsError as error:
        raise InputError(f"{file} exists already: remove it or choose another name") from error
