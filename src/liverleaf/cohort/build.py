"""A cohort built of many studies: of folders, zips and files, or of a public collection.

Case folders come out, with a table and a page about them. One study that cannot be read does not
stop the others, and a run that was stopped is continued by the next.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from liverleaf.cohort.case_writing import ingest_study, refused_row
from liverleaf.cohort.folder import COLLECTION, INGEST, check_folder, claim_folder
from liverleaf.cohort.overview import warn, write_summary
from liverleaf.cohort.own_studies import Naming, find_studies
from liverleaf.cohort.page import CaseRow
from liverleaf.cohort.provenance import Refresh, note_unused_files
from liverleaf.cohort.study_index import StudyIndex
from liverleaf.cohort.tasks import StudyTask
from liverleaf.ingest.collections import cases_of
from liverleaf.study import InputError, Modality
from liverleaf.system.progress import Progress, silent
from liverleaf.system.workers import workers

logger = logging.getLogger(__name__)

OTHER_IMAGES = (
    "other images of this study, or another table of its phases, were given after it was read,"
    " without those it was read from, and were left out: give the whole study together, with its"
    " table, or remove its case folder to read what was given last alone"
)


@dataclass(frozen=True)
class IngestSummary:
    """What became of the studies that one run found.

    Attributes:
        found: how many there are.
        read: how many of them are cases now.
        kept: how many of those an earlier run had read.
        refused: pseudonym and reason of each that could not be read.
        again: how many of those that were read replaced a case, because more images of it, or
            another table of phases, were given.
        warnings: pseudonym of each case that was kept though other images of it were given, and
            what to do.
        ignored: number of files that are neither DICOM nor NIfTI images, by what they are instead.
        key: the file with the key of the pseudonyms, None for a public collection, which has
            pseudonyms of its own.
        places: the file beside the key that lists the folder or zip of each study, None for a
            public collection.
        left_out: by the pseudonym of each case that was read, which of its files or series were
            left out, or that it was put together of several.
        files: the file beside the key that lists every file that is not used, with the reason; None
            for a public collection.
    """

    found: int
    read: int
    kept: int
    refused: dict[str, str]
    again: int = 0
    warnings: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    key: Path | None = None
    places: Path | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    files: Path | None = None


Run = Callable[[Iterator[StudyTask]], Iterator[CaseRow]]
"""Reads studies, here or on other processes, and gives the row of each in any order."""


def build_cohort(
    inputs: Sequence[Path],
    out: Path,
    *,
    key: Path | None = None,
    with_dicom: bool = False,
    phases: Path | None = None,
    modality: Modality | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    progress: Progress = silent,
) -> IngestSummary:
    """Read many studies into one cohort; a study that cannot be read does not stop the others.

    A finished case is kept, unless more images of its study or another table of phases are given:
    then it is read again, and replaced once that has succeeded. It is also kept, with a warning,
    where other images are given without those it was read from.

    Args:
        inputs: any mix of folders, folders of studies, zips and files.
        out: a new or empty folder, or one that this function has begun.
        key: file with the key of the pseudonyms, made when it is missing; `pseudonyms.key` beside
            `out` by default. The folder of each study is written into a CSV file beside it, for its
            owner only, `pseudonyms.places.csv`.
        with_dicom: also write the DICOM of each study, de-identified, into its case folder.
        phases: CSV table of the phases of series as a person names them, see
            `liverleaf.ingest.reader.read_phase_table`; a study is named by its StudyInstanceUID,
            the folder of its NIfTI files, or its pseudonym.
        modality: what the NIfTI files are, which do not tell; None to go by their intensities. A
            DICOM study of another modality is refused.
        jobs: number of processes.
        scheduler: address of a Dask scheduler whose workers see the same files; used instead of
            processes here. The key goes to them.
        progress: called with (what, done, total).

    Raises:
        InputError: an input does not exist, there is no study in them or none can be read, `out`
            holds other things or was begun with another key, the key or the table cannot be read or
            does not fit the studies, or Dask is not installed or does not answer.
    """
    naming = Naming.beside(out, key)
    settings = {"made_by": INGEST, "with_dicom": with_dicom, "key": naming.pseudonyms.check}
    check_folder(out, settings)
    with (
        TemporaryDirectory() as scratch,
        workers(ingest_study, refused_row, jobs=jobs, scheduler=scheduler) as run,
        closing(StudyIndex(Path(scratch) / "index.sqlite")) as index,
    ):
        tables = find_studies(inputs, index, naming, phases=phases, skip=out, progress=progress)
        claim_folder(out, settings)
        tasks = (
            StudyTask(
                study,
                out.resolve(),
                naming.pseudonyms,
                with_dicom,
                tables.get(study.case_id, ()),
                modality,
            )
            for study in index
        )
        read_now: list[CaseRow] = []
        try:
            summary = _read_all(tasks, len(index), out, run, progress, read_now)
        finally:
            unused = ((row.case, *file) for row in read_now for file in row.unused)
            note_unused_files(
                chain(index.ignored_files(), unused),
                naming.files,
                anew={row.case for row in read_now if row.status == "read"},
            )
        return _check_any_read(
            replace(
                summary,
                ignored=dict(index.ignored),
                key=naming.key,
                places=naming.places,
                files=naming.files,
            )
        )


def build_cohort_from_collection(
    collection: str,
    folder: Path,
    out: Path,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    progress: Progress = silent,
) -> IngestSummary:
    """Read a public collection into a cohort, with its annotations and registered phases.

    Finished cases are kept, and a study that cannot be read does not stop the others. Several
    collections may share a cohort.

    Args:
        collection: its name, a key of `liverleaf.ingest.collections.COLLECTIONS`.
        folder: where it lies, unpacked.
        out: a new or empty folder, or one that this function has begun.
        jobs: as in `build_cohort`.
        scheduler: as in `build_cohort`.
        progress: as in `build_cohort`.

    Raises:
        InputError: there is no such collection or folder, it holds no study or none that can be
            read, `out` lies in it or holds other things, or Dask is not installed or does not
            answer.
    """
    settings: dict[str, object] = {"made_by": COLLECTION}
    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{out} lies inside the collection: choose another folder")
    check_folder(out, settings)
    cases = tuple(cases_of(collection, folder))
    if not cases:
        raise InputError(
            f"no study of {collection} found in {folder}: give the folder that holds the collection"
            " as it was unpacked"
        )
    with workers(ingest_study, refused_row, jobs=jobs, scheduler=scheduler) as run:
        claim_folder(out, settings)
        tasks = (StudyTask(case, out.resolve()) for case in cases)
        return _check_any_read(_read_all(tasks, len(cases), out, run, progress))


def _read_all(
    tasks: Iterable[StudyTask],
    total: int,
    out: Path,
    run: Run,
    progress: Progress,
    rows: list[CaseRow] | None = None,
) -> IngestSummary:
    """Read what is to be read; the table and the page are written even when that is stopped.

    `rows` gets those that were read or refused now.
    """
    kept, replaced, warned = 0, set[str](), dict[str, str]()

    def to_read() -> Iterator[StudyTask]:
        nonlocal kept
        for task in tasks:
            todo, case_id = task.refresh, task.case.name
            if todo is Refresh.REREAD:
                if task.case.exists():
                    replaced.add(case_id)
                yield task
                continue
            kept += 1
            if todo is Refresh.WARN:
                warn(task.out, case_id, OTHER_IMAGES)
                warned[case_id] = OTHER_IMAGES

    read, refused, left_out = 0, dict[str, str](), dict[str, str]()
    progress("reading studies", 0, total)
    try:
        for row in run(to_read()):
            if rows is not None:
                rows.append(row)
            if row.status == "read":
                read += 1
                if lost := [w for w in row.warnings if "left out" in w or "put together" in w]:
                    left_out[row.case] = "; ".join(lost)
                logger.info("%s read: %s", row.case, ", ".join(row.phases))
            else:
                refused[row.case] = row.reason
                logger.info("%s refused: %s", row.case, row.reason)
            progress("reading studies", read + kept + len(refused), total)
    finally:
        write_summary(out)
    logger.info("%d read, %d kept from before, %d refused", read, kept, len(refused))
    again = len(replaced - refused.keys())
    return IngestSummary(total, read + kept, kept, refused, again, warned, left_out=left_out)


def _check_any_read(summary: IngestSummary) -> IngestSummary:
    """The same summary, unless not one study is a case now."""
    if summary.read:
        return summary
    reasons = "; ".join(
        f"{times} x {reason}" for reason, times in Counter(summary.refused.values()).most_common()
    )
    where = f"; {summary.places} lists their folders" if summary.places else ""
    raise InputError(f"no study could be read ({reasons}){where}")
