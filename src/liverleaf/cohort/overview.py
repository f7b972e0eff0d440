"""The row of each study, kept in the cohort's folder; the table and page made of all rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from liverleaf.cohort.page import CaseRow, thumbnail, write_page, write_table
from liverleaf.storage.case_folder import DICOM_FOLDER, load_case
from liverleaf.system.files import whole_file

ROWS = ".ingest"
"""Folder inside the cohort with the row and the thumbnail of each study, of which table and page
are made."""

TABLE_FILE, PAGE_FILE = "cohort.csv", "cohort.html"
CASE = re.compile(r"case-[A-Za-z0-9._-]+")


def save_row(out: Path, row: CaseRow) -> None:
    """Keep a row, whole or not at all."""
    with whole_file(out / ROWS / f"{row.case}.json") as part:
        part.write_text(row.model_dump_json(indent=1) + "\n", encoding="utf-8")


def kept_row(out: Path, case_id: str) -> CaseRow:
    """The row of a finished case, made anew from the case when its file is gone."""
    file = out / ROWS / f"{case_id}.json"
    if file.is_file():
        return CaseRow.model_validate_json(file.read_text(encoding="utf-8"))
    study, _ = load_case(out / case_id)
    row = CaseRow.of(
        study, dicom_files=sum(1 for path in (out / case_id / DICOM_FOLDER).rglob("*.dcm"))
    )
    thumbnail(study).save(file.with_suffix(".jpg"), quality=80)
    save_row(out, row)
    return row


def warn(out: Path, case_id: str, message: str) -> None:
    """Add a warning to the row of a case that is kept."""
    row = kept_row(out, case_id)
    if message not in row.warnings:
        save_row(out, row.model_copy(update={"warnings": (*row.warnings, message)}))


def write_summary(out: Path) -> None:
    """Write table and page of all that is in the cohort, those of earlier runs included."""

    def rows() -> Iterator[CaseRow]:
        cases = {path.name for path in out.iterdir() if CASE.fullmatch(path.name)}
        for case_id in sorted(cases | {path.stem for path in (out / ROWS).glob("case-*.json")}):
            row = kept_row(out, case_id)
            if case_id in cases or row.status == "refused":
                yield row

    for write, name in (
        (write_table, TABLE_FILE),
        (lambda rows, file: write_page(rows, out / ROWS, file), PAGE_FILE),
    ):
        with whole_file(out / name) as part:
            write(rows, part)


def refused_rows(out: Path) -> Iterator[CaseRow]:
    """The rows of the studies that were refused, by pseudonym; none where nothing tells of any."""
    for file in sorted((out / ROWS).glob("case-*.json")):
        row = CaseRow.model_validate_json(file.read_text(encoding="utf-8"))
        if row.status == "refused" and not (out / row.case).exists():
            yield row
