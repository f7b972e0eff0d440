"""Folders, zips and files in any mix in; an index on disk of the studies in them, each with its files and its pseudonyms, out."""

from __future__ import annotations

import io
import os
import re
import sqlite3
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_partial

from hepatica.cohort import CASE_FILE
from hepatica.ingest.archive import beginnings
from hepatica.ingest.frames import text
from hepatica.ingest.nifti import is_mask, is_nifti
from hepatica.ingest.privacy import Pseudonyms, refusal
from hepatica.study import InputError

HEADER_BYTES = 2**20
"""What is read of a file inside a zip: the attributes needed stand in its beginning."""

READ_TAGS = [
    tag
    for keyword in (
        *("SpecificCharacterSet", "ImageType", "SOPClassUID", "Modality", "SeriesDescription", "PatientName", "PatientID"),
        *("StudyInstanceUID", "BurnedInAnnotation", "DirectoryRecordSequence"),
    )
    if (tag := tag_for_keyword(keyword)) is not None
]
TRUTH_FILE = "truth.json"
TOO_FAR = 0x00280302
NO_IMAGE = "there is neither a DICOM nor a NIfTI image in it"
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Source:
    """A file of a study.

    Attributes:
        name: its path, or its name inside `archive`.
        archive: the zip that holds it, None for a file of its own.
    """

    name: str
    archive: Path | None = None


@dataclass(frozen=True)
class FoundStudy:
    """A study before it is read.

    Attributes:
        case_id: pseudonym of the study.
        subject_id: pseudonym of the patient.
        sources: its files, none when it is refused.
        notes: what was left out, one plain sentence each.
        refused: why it cannot be read, "" when it may be.
    """

    case_id: str
    subject_id: str
    sources: tuple[Source, ...]
    notes: tuple[str, ...] = ()
    refused: str = ""


class StudyIndex:
    """The studies found so far, in a file: memory does not grow with their number. It holds paths and pseudonyms, no patient's data."""

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-4096; BEGIN;"
            "CREATE TABLE study(case_id TEXT PRIMARY KEY, subject_id TEXT) WITHOUT ROWID;"
            "CREATE TABLE file(case_id TEXT, archive TEXT, name TEXT, PRIMARY KEY(case_id, archive, name)) WITHOUT ROWID;"
            "CREATE TABLE left_out(case_id TEXT, reason TEXT, files INT, PRIMARY KEY(case_id, reason)) WITHOUT ROWID;"
        )
        self.ignored = 0
        """Number of files that are neither DICOM nor NIfTI images."""

    def add(self, case_id: str, subject_id: str, source: Source | None, left_out: str = "") -> None:
        """Note a file of a study, or, with a reason, that one was left out."""
        self._database.execute("INSERT OR IGNORE INTO study VALUES(?, ?)", (case_id, subject_id))
        if source is not None:
            self._database.execute("INSERT OR IGNORE INTO file VALUES(?, ?, ?)", (case_id, str(source.archive or ""), source.name))
        if left_out:
            self._database.execute(
                "INSERT INTO left_out VALUES(?, ?, 1) ON CONFLICT(case_id, reason) DO UPDATE SET files = files + 1", (case_id, left_out)
            )

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM study").fetchone()[0])

    def __iter__(self) -> Iterator[FoundStudy]:
        """Every study with its files, one by one, in the order of their pseudonyms."""
        for case_id, subject_id in self._database.execute("SELECT case_id, subject_id FROM study ORDER BY case_id"):
            files = self._database.execute("SELECT archive, name FROM file WHERE case_id = ? ORDER BY archive, name", (case_id,))
            sources = tuple(Source(name, Path(archive) if archive else None) for archive, name in files)
            reasons = self._database.execute("SELECT reason, files FROM left_out WHERE case_id = ? ORDER BY files DESC", (case_id,))
            left_out = Counter(dict(reasons.fetchall()))
            said = ", ".join(f"{files} {reason}" for reason, files in left_out.items())
            if sources:
                notes = (f"left out {left_out.total()} of {len(sources) + left_out.total()} files: {said}",) if left_out else ()
                yield FoundStudy(case_id, subject_id, sources, notes)
            else:
                one = next(iter(left_out)) if left_out.total() == 1 else f"none of its files can be used: {said}"
                yield FoundStudy(case_id, subject_id, (), refused=one)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def discover(
    inputs: Sequence[Path], index: StudyIndex, pseudonyms: Pseudonyms, *, skip: Path | None = None, progress: Progress | None = None
) -> None:
    """Find the studies in any mix of folders (nested), zips and files.

    DICOM files are grouped by their study UID wherever they lie, and by folder where they have none; of each file only the beginning is
    read. The NIfTI files of a folder are one study, and so is one that is given by itself. A zip or a case folder that cannot be used
    is a refused study.

    Args:
        inputs: folders, zips, DICOM or NIfTI files.
        index: where the studies go.
        pseudonyms: of studies and patients.
        skip: a folder that is not looked into.
        progress: called with the number of files seen.

    Raises:
        InputError: an input does not exist.
    """
    finder = _Finder(index, pseudonyms, progress or _silent)
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path} does not exist; give folders, zips or files")
    for path in inputs:
        resolved = path.resolve()
        if resolved.is_file():
            finder.files(resolved if is_nifti(resolved) else resolved.parent, [resolved])
            continue
        for folder, names in _folders(resolved, skip.resolve() if skip else None):
            if CASE_FILE in names:
                finder.refuse(folder, "a case folder already: copy it into the cohort")
            else:
                finder.files(folder, [folder / name for name in names])


@dataclass
class _Finder:
    """Puts files into the index; `seen` counts them."""

    index: StudyIndex
    pseudonyms: Pseudonyms
    progress: Progress
    seen: int = 0

    def files(self, folder: Path, files: Iterable[Path]) -> None:
        niftis = []
        for file in files:
            self._count()
            if is_nifti(file):
                niftis.append(Source(str(file)))
            elif not file.is_file():
                self.index.ignored += 1
            elif file.suffix.lower() == ".zip" or zipfile.is_zipfile(file):
                self._zip(file)
            else:
                self._dicom(_header_of(file), folder, Source(str(file)))
        self._nifti(folder, niftis)

    def refuse(self, path: PurePath, reason: str) -> None:
        identity = f"path {path}"
        self.index.add(self.pseudonyms.case_id(identity), self.pseudonyms.subject_id(identity), None, reason)

    def _zip(self, archive: Path) -> None:
        niftis: dict[Path, list[Source]] = {}
        before = self.index.ignored, self.seen
        try:
            for name, start in beginnings(archive, HEADER_BYTES):
                if any(part.startswith((".", "__MACOSX")) for part in PurePath(name).parts):
                    continue
                self._count()
                folder = archive / PurePath(name).parent
                if is_nifti(Path(name)):
                    niftis.setdefault(folder, []).append(Source(name, archive))
                else:
                    self._dicom(_header(io.BytesIO(start)), folder, Source(name, archive))
        except InputError as error:
            self.refuse(archive, str(error).replace(archive.name, "a zip"))
            return
        for folder, sources in niftis.items():
            self._nifti(folder, sources)
        if self.index.ignored - before[0] == self.seen - before[1]:
            self.refuse(archive, f"a zip: {NO_IMAGE}")

    def _dicom(self, header: Dataset | None, folder: PurePath, source: Source) -> None:
        if header is None:
            self.index.ignored += 1
            return
        uid = text(header, "StudyInstanceUID")
        study = f"uid {uid}" if uid else f"path {folder}"
        patient = text(header, "PatientID") or text(header, "PatientName")
        reason = refusal(header) or ""
        case_id, subject_id = self.pseudonyms.case_id(study), self.pseudonyms.subject_id(f"id {patient}" if patient else study)
        self.index.add(case_id, subject_id, None if reason else source, reason)

    def _nifti(self, folder: PurePath, sources: Sequence[Source]) -> None:
        if not any(not is_mask(Path(source.name)) for source in sources):
            self.index.ignored += len(sources)
            return
        study = f"path {folder}"
        case_id, subject_id = self.pseudonyms.case_id(f"nifti {study}"), self.pseudonyms.subject_id(_bids_subject(folder) or study)
        for source in sources:
            self.index.add(case_id, subject_id, source)

    def _count(self) -> None:
        self.seen += 1
        if self.seen % 100 == 0:
            self.progress(self.seen)


def _folders(root: Path, skip: Path | None) -> Iterator[tuple[Path, list[str]]]:
    """All folders below one with the names of their files, without hidden ones and `skip`.

    Nothing below a case folder is looked at, and not the truth that the phantom writes beside its DICOM series.
    """
    for parent, folders, names in os.walk(root):
        if Path(parent) == skip:
            folders.clear()
            continue
        visible = sorted(name for name in names if not name.startswith("."))
        hidden = (".", "__MACOSX", "truth") if TRUTH_FILE in visible else (".", "__MACOSX")
        folders[:] = [] if CASE_FILE in visible else sorted(name for name in folders if not name.startswith(hidden))
        yield Path(parent), visible


def _header_of(file: Path) -> Dataset | None:
    try:
        with file.open("rb") as stream:
            return _header(stream)
    except OSError:
        return None


def _header(stream: BinaryIO) -> Dataset | None:
    """The attributes that tell study, patient and kind of object, None when this is no DICOM object."""
    start = stream.read(132)
    if start[128:] != b"DICM" and start[:2] not in (b"\x02\x00", b"\x08\x00"):
        return None
    stream.seek(0)
    try:
        header = read_partial(stream, lambda tag, _vr, _length: tag >= TOO_FAR, force=True, specific_tags=list(READ_TAGS))
        return header if "SOPClassUID" in header and "DirectoryRecordSequence" not in header and _decodes(header) else None
    except Exception:  # hostile bytes raise anything
        return None


def _decodes(header: Dataset) -> bool:
    return all(header[tag] is not None for tag in list(header.keys()))


def _bids_subject(folder: PurePath) -> str:
    """What identifies a subject in a tree that is ordered as BIDS wants it (sub-01/ses-02/anat), "" elsewhere."""
    for depth, part in enumerate(folder.parts):
        if re.fullmatch(r"sub-[A-Za-z0-9]+", part):
            return f"path {PurePath(*folder.parts[: depth + 1])}"
    return ""


def _silent(_seen: int) -> None:
    """No progress wanted."""
