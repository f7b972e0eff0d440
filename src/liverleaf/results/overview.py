"""The tables and pages about all cases of a cohort, made anew from the folders of its results."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from liverleaf.cohort.overview import refused_rows
from liverleaf.results.case import finished_cases, records
from liverleaf.results.distributions import Distributions
from liverleaf.results.flow import Flow
from liverleaf.results.methods import Methods
from liverleaf.results.page import write_flow_page, write_results_page
from liverleaf.results.tables import DICTIONARY_FILE, TABLE_FILES, data_dictionary, tables_in
from liverleaf.system.files import whole_file

FAILURES_FILE, METHODS_FILE = "failures.csv", "methods.md"
FLOW_FILE, PAGE_FILE = "flow.html", "index.html"
OVERVIEW_FILES = frozenset(
    {*TABLE_FILES, FAILURES_FILE, METHODS_FILE, FLOW_FILE, PAGE_FILE, DICTIONARY_FILE}
)
FAILURE_COLUMNS = "case", "subject", "failed_at", "reason"

Failure = tuple[str, str, str, str]


def write_overview(out: Path, *, cohort: Path, total: int) -> Flow:
    """Write them; cases are read one by one, so that memory does not grow with their number.

    Args:
        out: the results.
        cohort: what they are of; a cohort that `liverleaf ingest` built says what it refused.
        total: number of studies that were to be analysed; a run may be stopped before all are.

    Returns:
        How many studies came how far.
    """
    flow, distributions, methods = Flow(), Distributions(), Methods()
    with tables_in(out) as add:
        for result in finished_cases(out):
            add(result)
            for summary in (distributions, methods):
                summary.add(result)
            flow.add_result(result)
    for record in records(out):
        if record.failed_at is not None:
            flow.add_failure(record)
    flow.waiting = max(0, total - flow.found)
    flow.add_refused(row.reason for row in refused_rows(cohort))
    with whole_file(out / FAILURES_FILE) as part:
        _write_failures(_failures(out, cohort), part)
    texts = {METHODS_FILE: methods.text(flow), DICTIONARY_FILE: data_dictionary()}
    for name, text in texts.items():
        with whole_file(out / name) as part:
            part.write_text(text, encoding="utf-8")
    with whole_file(out / FLOW_FILE) as part:
        write_flow_page(flow, part)
    with whole_file(out / PAGE_FILE) as part:
        write_results_page(
            out, finished_cases(out), _failures(out, cohort), flow, distributions, part
        )
    return flow


def _failures(out: Path, cohort: Path) -> Iterator[Failure]:
    """What the rows of the list of failures hold; those of the cohort's own building first."""
    for row in refused_rows(cohort):
        yield row.case, row.subject, "ingest", row.reason
    for record in records(out):
        if record.failed_at is not None:
            yield record.case, record.subject, record.failed_at, record.reason


def _write_failures(failures: Iterator[Failure], file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(FAILURE_COLUMNS)
        writer.writerows(failures)
