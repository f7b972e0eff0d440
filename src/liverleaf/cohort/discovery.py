"""Folders, zips and files in any mix in; an index on disk of the studies in them, each with its files and its pseudonyms, out."""

from __future__ import annotations

import io
import os
import re
import sqlite3
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import BinaryIO

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_partial

from liverleaf.ingest.archive import beginnings
from liverleaf.ingest.deidentify.dicom import refusal
from liverleaf.ingest.deidentify.pseudonyms import Pseudonyms
from liverleaf.ingest.dicom.frames import DAMAGED, DicomdirError, check_begins_as_dicom, text
from liverleaf.ingest.nifti import is_mask, is_nifti
from liverleaf.storage.case_folder import CASE_FILE
from liverleaf.study import InputError

HEADER_BYTES = 2**20
"""What is read of a file inside a zip: the attributes needed stand in its beginning."""

READ_TAGS = [
    tag
    for keyword in (
        *(
            "SpecificCharacterSet",
            "ImageType",
            "SOPClassUID",
            "Modality",
            "SeriesDescription",
            "PatientName",
            "PatientID",
        ),
        *("StudyInstanceUID", "SOPInstanceUID", "BurnedInAnnotation", "DirectoryRecordSequence"),
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
        image: pseudonym of the image in it, the same wherever a copy of it lies.
        size: in bytes, unpacked.
    """

    name: str
    archive: Path | None = None
    image: str = ""
    size: int = 0


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
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-4096; BEGIN;CREATE"
            " TABLE study(case_id TEXT PRIMARY KEY, subject_id TEXT) WITHOUT ROWID;CREATE TABLE"
            " place(case_id TEXT, path TEXT, PRIMARY KEY(case_id, path)) WITHOUT ROWID;CREATE TABLE"
            " file(case_id TEXT, archive TEXT, name TEXT, image TEXT, size INT, PRIMARY"
            " KEY(case_id, archive, name))WITHOUT ROWID;CREATE TABLE left_out(case_id TEXT, reason"
            " TEXT, files INT, PRIMARY KEY(case_id, reason)) WITHOUT ROWID;"
        )
        self.ignored = Counter[str]()
        """Number of files that are neither DICOM nor NIfTI images, by what they are instead."""

    def add(
        self,
        case_id: str,
        subject_id: str,
        place: PurePath,
        source: Source | None,
        left_out: str = "",
    ) -> None:
        """Note a file of a study and the folder it lies in, or, with a reason, that one was left out."""
        self._database.execute("INSERT OR IGNORE INTO study VALUES(?, ?)", (case_id, subject_id))
        self._database.execute(
            "INSERT OR IGNORE INTO place VALUES(?, ?)", (case_id, os.fsencode(place))
        )
        if source is not None:
            row = (
                case_id,
                os.fsencode(source.archive or ""),
                os.fsencode(source.name),
                source.image,
                source.size,
            )
            self._database.execute("INSERT OR IGNORE INTO file VALUES(?, ?, ?, ?, ?)", row)
        if left_out:
            self._database.execute(
                "INSERT INTO left_out VALUES(?, ?, 1) ON CONFLICT(case_id, reason) DO UPDATE SET"
                " files = files + 1",
                (case_id, left_out),
            )

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM study").fetchone()[0])

    def __iter__(self) -> Iterator[FoundStudy]:
        """Every study with its files, one by one, in the order of their pseudonyms."""
        for case_id, subject_id in self._database.execute(
            "SELECT case_id, subject_id FROM study ORDER BY case_id"
        ):
            files = self._database.execute(
                "SELECT archive, name, image, size FROM file WHERE case_id = ? ORDER BY archive,"
                " name",
                (case_id,),
            )
            sources = tuple(
                Source(
                    os.fsdecode(name), Path(os.fsdecode(archive)) if archive else None, image, size
                )
                for archive, name, image, size in files
            )
            reasons = self._database.execute(
                "SELECT reason, files FROM left_out WHERE case_id = ? ORDER BY files DESC",
                (case_id,),
            )
            left_out = Counter(dict(reasons.fetchall()))
            said = in_words(left_out)
            if sources:
                notes = (
                    (
                        (
                            f"left out {left_out.total()} of {len(sources) + left_out.total()}"
                            f" files: {said}"
                        ),
                    )
                    if left_out
                    else ()
                )
                yield FoundStudy(case_id, subject_id, sources, notes)
            else:
                one = (
                    next(iter(left_out))
                    if left_out.total() == 1
                    else f"none of its files can be used: {said}"
                )
                yield FoundStudy(case_id, subject_id, (), refused=one)

    def places(self) -> Iterator[tuple[str, str]]:
        """The pseudonym of every study, those that are refused included, with each folder or zip that holds files of it."""
        for case_id, path in self._database.execute(
            "SELECT case_id, path FROM place ORDER BY case_id, path"
        ):
            yield case_id, os.fsdecode(path)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def discover(
    inputs: Sequence[Path],
    index: StudyIndex,
    pseudonyms: Pseudonyms,
    *,
    skip: Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Find the studies in any mix of folders (nested), zips and files.

    DICOM files are grouped by their study UID wherever they lie, and by folder where they have
    none; of each file only the beginning is read. The NIfTI files of a folder are one study, and so
    is one that is given by itself. A zip or a case folder that cannot be used is a refused study.

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
                niftis.append(self._source(file, file.stat().st_size if file.is_file() else 0))
            elif not file.is_file():
                self.index.ignored["no regular file"] += 1
            elif file.suffix.lower() == ".zip" or zipfile.is_zipfile(file):
                self._zip(file)
            else:
                self._dicom(
                    partial(_header_of, file), folder, self._source(file, file.stat().st_size)
                )
        self._nifti(folder, niftis)

    def refuse(self, path: PurePath, reason: str) -> None:
        identity = f"path {path}"
        self.index.add(
            self.pseudonyms.case_id(identity),
            self.pseudonyms.subject_id(identity),
            path,
            None,
            reason,
        )

    def _zip(self, archive: Path) -> None:
        niftis: dict[Path, list[Source]] = {}
        before, seen = self.index.ignored.copy(), self.seen
        try:
            for name, size, start in beginnings(archive, HEADER_BYTES):
                if any(part.startswith((".", "__MACOSX")) for part in PurePath(name).parts):
                    continue
                self._count()
                folder = archive / PurePath(name).parent
                source = self._source(PurePath(name), size, archive)
                if is_nifti(Path(name)):
                    niftis.setdefault(folder, []).append(source)
                else:
                    self._dicom(partial(_header, io.BytesIO(start)), folder, source)
        except InputError as error:
            self.refuse(archive, str(error).replace(archive.name, "a zip"))
            return
        for folder, sources in niftis.items():
            self._nifti(folder, sources)
        ignored = self.index.ignored - before
        if ignored.total() == self.seen - seen:
            self.refuse(archive, f"a zip: {NO_IMAGE} (files: {in_words(ignored)})")

    def _source(self, file: PurePath, size: int, archive: Path | None = None) -> Source:
        return Source(str(file), archive, self.pseudonyms.image(f"name {file.name}"), size)

    def _dicom(self, read: Callable[[], Dataset], folder: PurePath, source: Source) -> None:
        try:
            header = read()
        except InputError as error:
            self.index.ignored[str(error)] += 1
            return
        image = text(header, "SOPInstanceUID")
        source = replace(source, image=self.pseudonyms.image(f"uid {image}")) if image else source
        uid = text(header, "StudyInstanceUID")
        study = f"uid {uid}" if uid else f"path {folder}"
        patient = text(header, "PatientID") or text(header, "PatientName")
        reason = refusal(header) or ""
        case_id = self.pseudonyms.case_id(study)
        subject_id = self.pseudonyms.subject_id(f"id {patient}" if patient else study)
        self.index.add(case_id, subject_id, folder, None if reason else source, reason)

    def _nifti(self, folder: PurePath, sources: Sequence[Source]) -> None:
        if not any(not is_mask(Path(source.name)) for source in sources):
            self.index.ignored += Counter({"NIfTI mask": len(sources)})
            return
        study = f"path {folder}"
        case_id = self.pseudonyms.case_id(f"nifti {study}")
        subject_id = self.pseudonyms.subject_id(_bids_subject(folder) or study)
        for source in sources:
            self.index.add(case_id, subject_id, folder, source)

    def _count(self) -> None:
        self.seen += 1
        if self.seen % 100 == 0:
            self.progress(self.seen)


def _folders(root: Path, skip: Path | None) -> Iterator[tuple[Path, list[str]]]:
    """All folders below one with the names of their files, without hidden ones and `skip`.

    Nothing below a case folder is looked at, and not the truth that the phantom writes beside its
    DICOM series.
    """
    for parent, folders, names in os.walk(root):
        if Path(parent) == skip:
            folders.clear()
            continue
        visible = sorted(name for name in names if not name.startswith("."))
        hidden = (".", "__MACOSX", "truth") if TRUTH_FILE in visible else (".", "__MACOSX")
        folders[:] = (
            []
            if CASE_FILE in visible
            else sorted(name for name in folders if not name.startswith(hidden))
        )
        yield Path(parent), visible


def _header_of(file: Path) -> Dataset:
    try:
        with file.open("rb") as stream:
            return _header(stream)
    except OSError as error:
        raise InputError(DAMAGED) from error


def _header(stream: BinaryIO) -> Dataset:
    """The attributes that tell study, patient and kind of object.

    Raises:
        InputError: this is no DICOM object; the message is what it is instead.
    """
    check_begins_as_dicom(stream.read(132))
    stream.seek(0)
    try:
        header = read_partial(
            stream,
            lambda tag, _vr, _length: tag >= TOO_FAR,
            force=True,
            specific_tags=list(READ_TAGS),
        )
        whole = "SOPClassUID" in header and all(
            header[tag] is not None for tag in list(header.keys())
        )
    except Exception as error:  # hostile bytes raise anything
        raise InputError(DAMAGED) from error
    if "DirectoryRecordSequence" in header:
        raise DicomdirError
    if not whole:
        raise InputError(DAMAGED)
    return header


def in_words(counts: Counter[str]) -> str:
    """Kinds of files as words: "2 not DICOM, 1 DICOMDIR"."""
    return ", ".join(f"{files} {kind}" for kind, files in counts.most_common()) or "none"


def _bids_subject(folder: PurePath) -> str:
    """What identifies a subject in a tree that is ordered as BIDS wants it (sub-01/ses-02/anat), "" elsewhere."""
    for depth, part in enumerate(folder.parts):
        if re.fullmatch(r"sub-[A-Za-z0-9]+", part):
            return f"path {PurePath(*folder.parts[: depth + 1])}"
    return ""


def _silent(_seen: int) -> None:
    """No progress wanted."""
