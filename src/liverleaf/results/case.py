"""One case of a cohort, analysed by any process into its folder of the results."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from liverleaf.analysis import FINDINGS_FILE, SEG_FILE, analyze_study
from liverleaf.cohort.case_writing import (
    files_of,
    quiet_about_headers,
    reason_of,
    without_file_names,
)
from liverleaf.cohort.study_index import FoundStudy
from liverleaf.findings import Findings
from liverleaf.ingest.reader import PhaseRow, read_study
from liverleaf.results.columns import CaseResult
from liverleaf.storage.case_folder import CASE_FILE
from liverleaf.study import InputError, Modality, Study
from liverleaf.system.files import printable, whole_file

if TYPE_CHECKING:
    from liverleaf.models.predictor import Predictor

RECORDS = ".records"
"""Folder inside the results with what became of each case."""

Stage = Literal["reading", "analysis"]
CaseWork = Callable[[Callable[[], Study], Path], Findings]
"""What is done with a case: from what reads its study to a folder of findings. It is sent to other
processes."""


class CaseRecord(BaseModel):
    """What became of one case.

    Attributes:
        case: pseudonym of the study.
        subject: pseudonym of the patient.
        fingerprint: of what it is made from, see `CaseTask`.
        failed_at: where it failed; None where it did not, for all that is known.
        reason: why it failed, "" else.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    case: str
    subject: str
    fingerprint: str
    failed_at: Stage | None = None
    reason: str = ""


@dataclass(frozen=True)
class CaseTask:
    """One case to analyse.

    Attributes:
        case: pseudonym of the study, and the name of its folder.
        subject: pseudonym of the patient.
        source: its case folder, or where its files are.
        out: the folder of all results.
        work: what is done with it.
        fingerprint: of what it is made from; a case that has changed is done again.
        table: what a person says of the phases of its series.
        modality: what a person says NIfTI files are.
        refused: why it cannot be read, "" when it may be.
    """

    case: str
    subject: str
    source: Path | FoundStudy
    out: Path
    work: CaseWork
    fingerprint: str
    table: tuple[PhaseRow, ...] = ()
    modality: Modality | None = None
    refused: str = ""

    @property
    def folder(self) -> Path:
        """Where its results go."""
        return self.out / self.case

    @property
    def finished(self) -> bool:
        """Whether they are there, and of the case as it is now."""
        if not (self.folder / FINDINGS_FILE).is_file():
            return False
        record = read_record(self.out, self.case)
        return record is not None and record.fingerprint == self.fingerprint

    def read(self) -> Study:
        """Its study.

        Raises:
            InputError: it cannot be read.
        """
        if self.refused:
            raise InputError(self.refused)
        if isinstance(self.source, Path):
            return read_study(self.source, modality=self.modality)
        found = self.source
        with ExitStack() as stack:
            files = files_of(found, stack)
            study = read_study(files, table=self.table, modality=self.modality)
        notes = (without_file_names(note, found) for note in (*found.notes, *study.warnings))
        return replace(
            study,
            case_id=self.case,
            subject_id=self.subject,
            warnings=tuple(map(printable, notes)),
        )

    def record(self, failed_at: Stage | None = None, reason: str = "") -> CaseRecord:
        """What became of it, kept in the results."""
        record = CaseRecord(
            case=self.case,
            subject=self.subject,
            fingerprint=self.fingerprint,
            failed_at=failed_at,
            reason=printable(reason),
        )
        with whole_file(self.out / RECORDS / f"{self.case}.json") as part:
            part.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return record


def do_case(task: CaseTask) -> CaseRecord:
    """Read one case and write its folder; it appears whole or not at all.

    Raises nothing: why it failed is in its record.
    """
    stage: Stage = "reading"

    def read() -> Study:
        nonlocal stage
        study = task.read()
        stage = "analysis"
        return study

    try:
        with quiet_about_headers():
            if task.folder.exists():  # of the case as it was before
                shutil.rmtree(task.folder)
            record = task.record()
            task.work(read, task.folder)
            return record
    except Exception as error:  # one case must not stop the others
        study = task.source if isinstance(task.source, FoundStudy) else None
        work = "reading it" if stage == "reading" else "analysing it"
        reason = reason_of(error, study, work)
        return task.record(stage, reason if study else reason.replace(f"{task.source}/", ""))


def lost_case(task: CaseTask, reason: str) -> CaseRecord:
    """The record of a case that took its process along."""
    return task.record("analysis", reason)


def analysis_by_model(model: str | None, device: str, *, keep_maps: bool = False) -> CaseWork:
    """The work of `liverleaf analyze`; each process loads a model once.

    Args:
        model: name of a shipped model or folder of a trained one; None for the modality's default.
        device: "auto", "cpu" or "cuda".
        keep_maps: also write the maps of types, for models that make them.
    """
    return partial(_analyze, model=model, device=device, keep_maps=keep_maps)


def _analyze(
    read: Callable[[], Study], out: Path, *, model: str | None, device: str, keep_maps: bool
) -> Findings:
    return analyze_study(
        read, out, model=model, device=device, keep_maps=keep_maps, load=_kept_model
    )


def _kept_model(folder: Path, device: str) -> Predictor:
    return _model_of_thread(folder, device, get_ident())


@lru_cache(maxsize=2)
def _model_of_thread(folder: Path, device: str, _thread: int) -> Predictor:
    """A model that stays in memory: one for CT and one for MR; threads of Dask do not share it."""
    from liverleaf.models.predictor import load_predictor

    return load_predictor(folder, device=device)


def fingerprint_of_case(folder: Path) -> str:
    """A hash of the text of `case.json`, and of the names and sizes of the other files."""
    digest = hashlib.sha256((folder / CASE_FILE).read_bytes())
    for file in sorted(folder.glob("*.nii*")):
        digest.update(f"{file.name} {file.stat().st_size}".encode())
    return digest.hexdigest()


def fingerprint_of_study(study: FoundStudy, table: tuple[PhaseRow, ...]) -> str:
    """A hash of the images of a study by their pseudonyms, and of what a person says of them."""
    images = sorted((source.image, source.size) for source in study.sources)
    rows = sorted((row.series, str(row.phase)) for row in table)
    return hashlib.sha256(repr((images, rows)).encode()).hexdigest()


def read_record(out: Path, case: str) -> CaseRecord | None:
    """What became of a case; None where that is not known."""
    try:
        text = (out / RECORDS / f"{case}.json").read_text(encoding="utf-8")
        return CaseRecord.model_validate_json(text)
    except (OSError, ValueError):
        return None


def records(out: Path) -> Iterator[CaseRecord]:
    """What became of each case, one by one in the order of their names."""
    names = sorted(path.stem for path in (out / RECORDS).glob("*.json"))
    return (record for name in names if (record := read_record(out, name)) is not None)


def forget_unfinished(out: Path) -> None:
    """Remove the records of cases without results: they are tried again, or no longer there."""
    for record in records(out):
        if not (out / record.case / FINDINGS_FILE).is_file():
            (out / RECORDS / f"{record.case}.json").unlink()


def finished_cases(out: Path) -> Iterator[CaseResult]:
    """The findings of each finished case, one by one in the order of their names."""
    for record in records(out):
        folder = out / record.case
        if (folder / FINDINGS_FILE).is_file():
            yield CaseResult(
                record.case,
                record.subject,
                Findings.read(folder / FINDINGS_FILE),
                has_seg=(folder / SEG_FILE).is_file(),
            )
