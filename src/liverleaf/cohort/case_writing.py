"""The case folder of one study, written by any process.

A study and the cohort's settings go in; its case folder, its row of the table and its thumbnail
come out.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

from liverleaf.cohort.overview import ROWS, kept_row, save_row, warn
from liverleaf.cohort.page import CaseRow, thumbnail
from liverleaf.cohort.provenance import Refresh, write_origin
from liverleaf.cohort.study_index import FoundStudy, Source
from liverleaf.cohort.tasks import StudyTask
from liverleaf.ingest.archive import unpacked
from liverleaf.ingest.collections import CollectionCase
from liverleaf.ingest.collections.annotation import with_curves
from liverleaf.ingest.collections.case import save_annotations
from liverleaf.ingest.deidentify.dicom import deidentify, without_identity
from liverleaf.ingest.dicom.frames import counts_in_words
from liverleaf.ingest.reader import read_study
from liverleaf.registration.align import register_phases
from liverleaf.storage.case_folder import DICOM_FOLDER, save_case
from liverleaf.study import InputError, Study
from liverleaf.system.files import PARTIAL, printable


def ingest_study(task: StudyTask) -> CaseRow:
    """Read one study and write its case folder, its row and its thumbnail.

    Raises nothing: why a study could not be read is in its row.
    """
    study = task.study
    try:
        with quiet_about_headers():
            if study.refused:
                raise InputError(study.refused)
            if task.refresh is not Refresh.REREAD:
                return kept_row(task.out, study.case_id)
            return _write(task)
    except Exception as error:  # one study must not stop the others
        return refused_row(task, reason_of(error, study, "reading it"))


@contextmanager
def quiet_about_headers() -> Iterator[None]:
    """Without the messages and warnings of pydicom, which quote the values of headers."""
    logging.getLogger("pydicom").disabled = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def reason_of(error: Exception, study: FoundStudy | CollectionCase | None, work: str) -> str:
    """Why something failed with a study, in words that name neither its files nor the patient.

    Args:
        error: what was raised.
        study: the study, None where its files name nobody.
        work: what was done with it, as "reading it".
    """
    if isinstance(error, InputError):
        return str(error) if study is None else without_file_names(str(error), study)
    if isinstance(error, OSError):
        return f"a file could not be read or written ({error.strerror or type(error).__name__})"
    if isinstance(error, MemoryError):
        return "too large for the memory of this machine"
    # the message may quote the patient
    return f"{work} failed unexpectedly ({type(error).__name__})"


def refused_row(task: StudyTask, reason: str) -> CaseRow:
    """The row of a study that could not be read; a case that an earlier run wrote stays."""
    row = CaseRow(
        case=task.study.case_id,
        subject=task.study.subject_id,
        status="refused",
        reason=printable(reason),
        warnings=task.study.notes,
        unused=_all_unused(task.study, reason),
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


def _write(task: StudyTask) -> CaseRow:
    """Read a study and write its files; the case folder comes last and whole."""
    study_files = task.study
    with TemporaryDirectory(prefix=PARTIAL, dir=task.out) as scratch:
        case = Path(scratch) / "case"
        if isinstance(study_files, CollectionCase):
            study, copies = _write_collection_case(study_files, case), 0
            unused: dict[str, str] = {}
        else:
            study, copies, unused = _write_own_case(study_files, task, case)
        row = CaseRow.of(study, dicom_files=copies).model_copy(
            update={"unused": tuple(unused.items())}
        )
        thumbnail(study).save(task.out / ROWS / f"{row.case}.jpg", quality=80)
        save_row(task.out, row)
        if task.case.exists():
            task.case.rename(Path(scratch) / "before")
        case.rename(task.case)
    return row


def _write_own_case(
    found: FoundStudy, task: StudyTask, case: Path
) -> tuple[Study, int, dict[str, str]]:
    """Write the case folder of a study of the user's own.

    Returns:
        The study under its pseudonyms, the number of DICOM files in the folder, and the reason for
            each file that is not used.
    """
    assert task.pseudonyms is not None  # None is for public collections only
    dicom = case.with_name("dicom")
    with ExitStack() as stack:
        files = files_of(found, stack)
        unread: dict[Path, str] = {}
        original = read_study(files, table=task.table, modality=task.modality, unused=unread)
        refused = _copy_dicom(found, task, files, dicom) if task.with_dicom else {}
    copies = len(files) - len(refused) if task.with_dicom else 0
    places = {file: _place(source) for file, source in zip(files, found.sources, strict=True)}
    unused = {places[file]: f"not de-identified: {reason}" for file, reason in refused.items()}
    unused |= {places[file]: reason for file, reason in unread.items()}
    notes = _refusals(refused.values())
    messages = dict.fromkeys((*found.notes, *original.warnings, *notes))
    original = replace(
        original, warnings=tuple(printable(without_file_names(m, found)) for m in messages)
    )
    study = without_identity(original, found.case_id, found.subject_id, task.pseudonyms)
    save_case(case, study)
    write_origin(case, task.origin(found))
    if copies:
        dicom.rename(case / DICOM_FOLDER)
    return study, copies, unused


def _write_collection_case(found: CollectionCase, case: Path) -> Study:
    """Write the case folder of a collection's study: its phases on one grid, its annotation."""
    annotated = found.read()
    notes = (*found.notes, *annotated.study.warnings)
    study = register_phases(
        replace(annotated.study, case_id=found.case_id, subject_id=found.subject_id, warnings=notes)
    ).study
    save_case(case, study, None if annotated.truth is None else with_curves(study, annotated.truth))
    save_annotations(case, annotated)
    return study


def files_of(study: FoundStudy, stack: ExitStack) -> list[Path]:
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
    found: FoundStudy, task: StudyTask, files: Sequence[Path], out: Path
) -> dict[Path, str]:
    """Write de-identified copies; the reason for each file that was refused."""
    assert task.pseudonyms is not None  # None is for public collections only
    refused: dict[Path, str] = {}
    for file in files:
        reason = deidentify(
            file,
            out,
            case_id=found.case_id,
            subject_id=found.subject_id,
            pseudonyms=task.pseudonyms,
        )
        if reason is not None:
            refused[file] = reason
    return refused


def _refusals(reasons: Collection[str]) -> tuple[str, ...]:
    """A warning that counts the files of which no de-identified copy was written."""
    if not reasons:
        return ()
    counts = counts_in_words(Counter(reasons))
    return (f"{len(reasons)} DICOM files were not de-identified and left out: {counts}",)


def _place(source: Source) -> str:
    """The path of a file, within a zip that of the zip before it."""
    return printable(str(source.path))


def _all_unused(study: FoundStudy | CollectionCase, reason: str) -> tuple[tuple[str, str], ...]:
    """Every file of a study that was refused, with the reason."""
    if isinstance(study, CollectionCase):
        return ()
    return tuple((_place(source), f"its study was refused: {reason}") for source in study.sources)


def without_file_names(message: str, study: FoundStudy | CollectionCase) -> str:
    """A message without the names of the study's files, which may name the patient.

    File names of public collections name nobody and stay.
    """
    if isinstance(study, CollectionCase):
        return message
    names = {
        name
        for source in study.sources
        for name in (source.name, PurePath(source.name).name, str(source.archive or ""))
    }
    names |= {source.archive.name for source in study.sources if source.archive}
    for name in sorted(names - {""}, key=len, reverse=True):
        message = message.replace(name, "a file")
    return message
