"""Folders, zips and files of many studies, or a public collection, in; a cohort of case folders with a table and a page about it out."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

from liverleaf.cohort.discovery import FoundStudy, StudyIndex, discover, in_words
from liverleaf.cohort.overview import (
    CASE,
    PAGE_FILE,
    ROWS,
    TABLE_FILE,
    kept_row,
    save_row,
    warn,
    write_summary,
)
from liverleaf.cohort.page import CaseRow, thumbnail
from liverleaf.cohort.provenance import Due, Origin, due, note_places, read_origin, write_origin
from liverleaf.ingest.archive import unpacked
from liverleaf.ingest.collections import CollectionCase, cases_of
from liverleaf.ingest.collections.annotation import with_curves
from liverleaf.ingest.collections.case import save_annotations
from liverleaf.ingest.deidentify.dicom import deidentify, without_identity
from liverleaf.ingest.deidentify.pseudonyms import Pseudonyms, new_key, read_key, write_key
from liverleaf.ingest.reader import PhaseRow, read_phase_table, read_study
from liverleaf.registration.align import register
from liverleaf.storage.case_folder import COHORT_FILE, save_case
from liverleaf.study import InputError, Study
from liverleaf.system.files import PARTIAL
from liverleaf.system.workers import workers

KEY_FILE = "pseudonyms.key"
PLACES_SUFFIX = ".places.csv"
"""Of the file beside the key that tells where each study lies."""

OTHER_IMAGES = (
    "other images of this study, or another table of its phases, were given after it was read,"
    " without those it was read from, and were left out: give the whole study together, with its"
    " table, or remove its case folder to read what was given last alone"
)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Collected:
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
        places: the file beside the key that tells where each study lies, None for a public
            collection.
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


@dataclass(frozen=True)
class Task:
    """One study to read and write.

    Attributes:
        study: where its files are, or what reads it.
        out: the cohort.
        pseudonyms: the key, None where `study` is of a public collection.
        with_dicom: whether to write its DICOM, de-identified, too.
        table: what a person says of its series.
    """

    study: FoundStudy | CollectionCase
    out: Path
    pseudonyms: Pseudonyms | None = None
    with_dicom: bool = False
    table: tuple[PhaseRow, ...] = ()

    @property
    def case(self) -> Path:
        """The folder of its case."""
        return self.out / self.study.case_id

    @property
    def due(self) -> Due:
        """What there is to do."""
        if not self.case.exists():
            return Due.READING
        if isinstance(self.study, CollectionCase):
            return Due.NOTHING
        return due(read_origin(self.case), self.origin(self.study))

    def origin(self, found: FoundStudy) -> Origin:
        """What a case is read from."""
        assert self.pseudonyms is not None  # see above
        return Origin.of(found, self.table, self.pseudonyms)


Run = Callable[[Iterator[Task]], Iterator[CaseRow]]


def collect(
    inputs: Sequence[Path],
    out: Path,
    *,
    key: Path | None = None,
    with_dicom: bool = False,
    phases: Path | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Collected:
    """Read many studies into one cohort; a study that cannot be read does not stop the others.

    A finished case is kept, unless more images of its study or another table of phases are given:
    then it is read again, and replaced once that has succeeded. It is also kept, with a warning,
    where other images are given without those it was read from.

    Args:
        inputs: any mix of folders, folders of studies, zips and files.
        out: a new or empty folder, or one that this function has begun.
        key: file with the key of the pseudonyms, made when it is missing; `pseudonyms.key` beside
            `out` by default. Where each study lies is written into a CSV file beside it, for its
            owner only, `pseudonyms.places.csv`.
        with_dicom: also write the DICOM of each study, de-identified, into its case folder.
        phases: CSV table in which a person says which series is which phase, see
            `liverleaf.ingest.reader.read_phase_table`; a study is named by its StudyInstanceUID,
            the folder of its NIfTI files, or its pseudonym.
        jobs: number of processes.
        scheduler: address of a Dask scheduler whose workers see the same files; used instead of
            processes here. The key goes to them.
        progress: called with what is done, how much of it, and of how much (0 where unknown).

    Raises:
        InputError: an input does not exist, there is no study in them or none can be read, `out`
            holds other things or was begun with another key, the key or the table cannot be read or
            does not fit the studies, or Dask is not installed or does not answer.
    """
    report = progress or _silent
    key = key or out.resolve().parent / KEY_FILE
    if key.resolve().is_relative_to(out.resolve()):
        raise InputError(
            f"{key} would lie inside the cohort: whoever gets both can undo the pseudonyms; choose"
            " another place"
        )
    pseudonyms = read_key(key) if key.exists() else new_key()
    settings = {"made_by": "liverleaf ingest", "with_dicom": with_dicom, "key": pseudonyms.check}
    _check_folder(out, settings)
    rows = read_phase_table(phases, studies=True) if phases else ()
    with (
        TemporaryDirectory() as scratch,
        workers(ingest_one, _refused, jobs=jobs, scheduler=scheduler) as run,
    ):
        index = StudyIndex(Path(scratch) / "index.sqlite")
        try:
            discover(
                inputs,
                index,
                pseudonyms,
                skip=out,
                progress=lambda seen: report("looking for studies", seen, 0),
            )
            if not len(index):
                raise InputError(
                    f"no studies found (files: {in_words(index.ignored)}): give folders or zips"
                    " with DICOM or NIfTI images"
                )
            tables = _by_case(rows, index, pseudonyms)
            if not key.exists():
                write_key(pseudonyms, key)
            places = key.with_suffix(PLACES_SUFFIX)
            note_places(index.places(), places)
            _claim(out, settings)
            try:
                tasks = (
                    Task(
                        study, out.resolve(), pseudonyms, with_dicom, tables.get(study.case_id, ())
                    )
                    for study in index
                )
                done = _collect(tasks, len(index), run, report)
                return _some(replace(done, ignored=dict(index.ignored), key=key, places=places))
            finally:
                write_summary(out)
        finally:
            index.close()


def _by_case(
    rows: Sequence[PhaseRow], index: StudyIndex, pseudonyms: Pseudonyms
) -> dict[str, tuple[PhaseRow, ...]]:
    """The rows of a table of phases by the pseudonym of their study."""
    by_case: dict[str, tuple[PhaseRow, ...]] = {}
    known = {study.case_id for study in index} if rows else set()
    for row in rows:
        folder = Path(row.study).resolve()
        names = (
            row.study,
            *(
                pseudonyms.case_id(name)
                for name in (f"uid {row.study}", f"nifti path {folder}", f"path {folder}")
            ),
        )
        case_id = next((name for name in names if name in known), None)
        if case_id is None:
            raise InputError(
                f"line {row.line} of the table of phases names a study that was not found:"
                " `liverleaf inspect --json` names it"
            )
        by_case[case_id] = (*by_case.get(case_id, ()), replace(row, study=case_id))
    return by_case


def collect_collection(
    collection: str,
    folder: Path,
    out: Path,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Collected:
    """Read a public collection into a cohort with what it tells of the truth, all phases registered to the reference phase.

    Finished cases are kept, and a study that cannot be read does not stop the others. Several
    collections may share a cohort.

    Args:
        collection: its name, a key of `liverleaf.ingest.reader.collections.COLLECTIONS`.
        folder: where it lies, unpacked.
        out: a new or empty folder, or one that this function has begun.
        jobs: as in `collect`.
        scheduler: as in `collect`.
        progress: as in `collect`.

    Raises:
        InputError: there is no such collection or folder, it holds no study or none that can be
            read, `out` lies in it or holds other things, or Dask is not installed or does not
            answer.
    """
    report = progress or _silent
    settings: dict[str, object] = {"made_by": "liverleaf ingest --collection"}
    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{out} lies inside the collection: choose another place")
    _check_folder(out, settings)
    cases = tuple(cases_of(collection, folder))
    if not cases:
        raise InputError(
            f"no study of {collection} found in {folder}: give the folder that holds the collection"
            " as it was unpacked"
        )
    with workers(ingest_one, _refused, jobs=jobs, scheduler=scheduler) as run:
        _claim(out, settings)
        try:
            return _some(
                _collect((Task(case, out.resolve()) for case in cases), len(cases), run, report)
            )
        finally:
            write_summary(out)


def _collect(tasks: Iterable[Task], total: int, run: Run, report: Progress) -> Collected:
    kept, old, warned = 0, set[str](), dict[str, str]()

    def open_tasks() -> Iterator[Task]:
        nonlocal kept
        for work in tasks:
            todo = work.due
            if todo is Due.READING:
                old.update([work.case.name] if work.case.exists() else [])
                yield work
                continue
            kept += 1
            if todo is Due.TELLING:
                warn(work.out, work.case.name, OTHER_IMAGES)
                warned[work.case.name] = OTHER_IMAGES

    read, refused = 0, dict[str, str]()
    report("reading studies", 0, total)
    for row in run(open_tasks()):
        if row.status == "read":
            read += 1
        else:
            refused[row.case] = row.reason
        report("reading studies", read + kept + len(refused), total)
    return Collected(total, read + kept, kept, refused, len(old - refused.keys()), warned)


def _some(done: Collected) -> Collected:
    """What became of the studies, unless not one is a case now."""
    if done.read:
        return done
    reasons = "; ".join(
        f"{times} x {reason}" for reason, times in Counter(done.refused.values()).most_common()
    )
    where = f"; {done.places} tells where they lie" if done.places else ""
    raise InputError(f"no study could be read ({reasons}){where}")


def ingest_one(task: Task) -> CaseRow:
    """Read one study and write its case folder, its row and its thumbnail; a fault of the study is in the row."""
    logging.getLogger("pydicom").disabled = True  # its messages quote header values
    study = task.study
    try:
        if study.refused:
            raise InputError(study.refused)
        if task.due is not Due.READING:
            return kept_row(task.out, study.case_id)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they may quote header values
            return _written(task)
    except InputError as error:
        reason = _nameless(str(error), study)
    except OSError as error:
        reason = f"a file could not be read or written ({error.strerror or type(error).__name__})"
    except MemoryError:
        reason = "too large for the memory of this machine"
    # one study must not stop the others, and the message may quote the patient
    except Exception as error:
        reason = f"reading it failed unexpectedly ({type(error).__name__})"
    return _refused(task, reason)


def _written(task: Task) -> CaseRow:
    """Read a study and write what becomes of it; the case folder comes last and whole."""
    found = task.study
    with TemporaryDirectory(prefix=PARTIAL, dir=task.out) as scratch:
        case = Path(scratch) / "case"
        study, copies = (
            _imported(found, case)
            if isinstance(found, CollectionCase)
            else _ingested(found, task, case)
        )
        row = CaseRow.of(study, dicom_files=copies)
        thumbnail(study).save(task.out / ROWS / f"{row.case}.jpg", quality=80)
        save_row(task.out, row)
        if task.case.exists():
            task.case.rename(Path(scratch) / "before")
        case.rename(task.case)
    return row


def _ingested(found: FoundStudy, task: Task, case: Path) -> tuple[Study, int]:
    """Write the case folder of a study of one's own; the study under its pseudonyms, and the number of DICOM files in it."""
    assert task.pseudonyms is not None  # see Task
    with ExitStack() as stack:
        files = _files(found, stack)
        original = read_study(files, table=task.table)
        notes, copies = (
            _copy_dicom(found, task, files, case.with_name("dicom")) if task.with_dicom else ((), 0)
        )
    original = replace(
        original,
        warnings=tuple(
            _nameless(note, found) for note in (*found.notes, *original.warnings, *notes)
        ),
    )
    study = without_identity(original, found.case_id, found.subject_id, task.pseudonyms)
    save_case(case, study)
    write_origin(case, task.origin(found))
    if copies:
        case.with_name("dicom").rename(case / "dicom")
    return study, copies


def _imported(found: CollectionCase, case: Path) -> tuple[Study, int]:
    """Write the case folder of a collection's study: its phases on one grid, with its truth or what is known of it."""
    annotated = found.read()
    notes = (*found.notes, *annotated.study.warnings)
    study = register(
        replace(annotated.study, case_id=found.case_id, subject_id=found.subject_id, warnings=notes)
    )
    save_case(case, study, None if annotated.truth is None else with_curves(study, annotated.truth))
    save_annotations(case, annotated)
    return study, 0


def _files(study: FoundStudy, stack: ExitStack) -> list[Path]:
    """The study's files, those in zips unpacked for as long as the stack lasts."""
    folders = {
        archive: stack.enter_context(
            unpacked(archive, names={s.name for s in study.sources if s.archive == archive})
        )
        for archive in dict.fromkeys(source.archive for source in study.sources)
        if archive is not None
    }
    return [
        Path(s.name) if s.archive is None else folders[s.archive] / s.name for s in study.sources
    ]


def _copy_dicom(
    found: FoundStudy, task: Task, files: Sequence[Path], out: Path
) -> tuple[tuple[str, ...], int]:
    """Write de-identified copies; warnings, and the number of copies."""
    assert task.pseudonyms is not None  # see Task
    reasons = Counter(
        deidentify(
            file,
            out,
            case_id=found.case_id,
            subject_id=found.subject_id,
            pseudonyms=task.pseudonyms,
        )
        for file in files
    )
    copies = reasons.pop(None, 0)
    said = ", ".join(f"{times} {reason}" for reason, times in reasons.most_common())
    return (
        (f"{reasons.total()} DICOM files were not de-identified and left out: {said}",)
        if reasons
        else ()
    ), copies


def _nameless(message: str, study: FoundStudy | CollectionCase) -> str:
    """A message without the names of the study's files, which may name the patient; those of public collections do not."""
    if isinstance(study, CollectionCase):
        return message
    named = {
        name
        for source in study.sources
        for name in (source.name, PurePath(source.name).name, str(source.archive or ""))
    }
    named |= {source.archive.name for source in study.sources if source.archive}
    for name in sorted(named - {""}, key=len, reverse=True):
        message = message.replace(name, "a file")
    return message


def _refused(task: Task, reason: str) -> CaseRow:
    row = CaseRow(
        case=task.study.case_id,
        subject=task.study.subject_id,
        status="refused",
        reason=reason,
        warnings=task.study.notes,
    )
    if task.case.exists():
        warn(
            task.out,
            row.case,
            f"with what was given later it could not be read, and was left as it was: {reason}",
        )
    else:
        save_row(task.out, row)
    return row


def _check_folder(out: Path, settings: dict[str, object]) -> None:
    """Refuse a folder that is not ours to fill; nothing is written."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: choose a new folder")
    if not out.exists() or not any(out.iterdir()):
        return
    ours = (COHORT_FILE, TABLE_FILE, PAGE_FILE, ROWS)
    foreign = sorted(
        p.name
        for p in out.iterdir()
        if p.name not in ours and not CASE.fullmatch(p.name) and not p.name.startswith(PARTIAL)
    )
    if foreign or not (out / COHORT_FILE).is_file():
        raise InputError(
            f"{out} holds other things ({', '.join(foreign[:3]) or 'cases of unknown origin'}):"
            " choose a new folder"
        )
    try:
        begun = json.loads((out / COHORT_FILE).read_text(encoding="utf-8"))
    except ValueError:
        begun = {}
    if begun == settings:
        return
    if {**settings, "key": None} == {**begun, "key": None}:
        raise InputError(
            f"{out} was begun with another key: give it with --key FILE, or choose a new folder"
        )
    raise InputError(
        f"{out} was begun in another way (--deidentify, --collection, or another command): choose a"
        " new folder, or the same options"
    )


def _claim(out: Path, settings: dict[str, object]) -> None:
    """Make a checked folder ready to be filled."""
    try:
        (out / ROWS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{out} cannot be written ({(error.strerror or type(error).__name__).lower()}): choose"
            " another folder"
        ) from error
    for left in out.glob(f"{PARTIAL}*"):
        shutil.rmtree(left)  # of a run that was killed
    (out / COHORT_FILE).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _silent(_what: str, _done: int, _total: int) -> None:
    """No progress wanted."""
