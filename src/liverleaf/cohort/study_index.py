"""The studies found so far and their files, in an index on disk."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from liverleaf.ingest.dicom.frames import counts_in_words
from liverleaf.ingest.dicom.torn import MIN_LONE, SharedKey, joined, torn_apart, torn_warning


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

    @property
    def path(self) -> PurePath:
        """Where it lies; within a zip, the path of the zip and then its name in there."""
        return PurePath(self.archive or "", self.name)


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
    """The studies found so far, in a file, so that memory does not grow with their number.

    It holds paths and pseudonyms, no patient's data.
    """

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.executescript(
            """
            PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-4096; BEGIN;
            CREATE TABLE study(case_id TEXT PRIMARY KEY, subject_id TEXT) WITHOUT ROWID;
            CREATE TABLE location(case_id TEXT, path TEXT, PRIMARY KEY(case_id, path))
                WITHOUT ROWID;
            CREATE TABLE file(case_id TEXT, archive TEXT, name TEXT, image TEXT, size INT,
                PRIMARY KEY(case_id, archive, name)) WITHOUT ROWID;
            CREATE TABLE left_out(case_id TEXT, reason TEXT, files INT,
                PRIMARY KEY(case_id, reason)) WITHOUT ROWID;
            CREATE TABLE ignored(path TEXT PRIMARY KEY, case_id TEXT, reason TEXT) WITHOUT ROWID;
            CREATE TABLE shared(key TEXT, case_id TEXT, place TEXT, low_mm REAL, high_mm REAL,
                PRIMARY KEY(key, case_id, place)) WITHOUT ROWID;
            CREATE TABLE joined(case_id TEXT PRIMARY KEY, whole TEXT) WITHOUT ROWID;
            """
        )
        self.ignored = Counter[str]()
        """Number of files that are neither DICOM nor NIfTI images, by what they are instead."""

    def add(
        self,
        case_id: str,
        subject_id: str,
        folder: PurePath,
        source: Source | None,
        left_out: str = "",
    ) -> None:
        """Note a file of a study and the folder or zip it lies in.

        Args:
            case_id: pseudonym of the study.
            subject_id: pseudonym of the patient.
            folder: where the file lies.
            source: the file, None for one that is left out.
            left_out: why it is.
        """
        self._database.execute("INSERT OR IGNORE INTO study VALUES(?, ?)", (case_id, subject_id))
        self._database.execute(
            "INSERT OR IGNORE INTO location VALUES(?, ?)", (case_id, os.fsencode(folder))
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

    def leave_out(self, folder: PurePath, reason: str, files: int) -> None:
        """Note of every study in a folder that files beside it were left out."""
        self._database.execute(
            "INSERT INTO left_out SELECT case_id, ?, ? FROM location WHERE path = ?"
            " ON CONFLICT(case_id, reason) DO UPDATE SET files = files + excluded.files",
            (reason, files, os.fsencode(folder)),
        )

    def ignore(
        self, path: PurePath, reason: str, case_id: str = "", *, counted: bool = True
    ) -> None:
        """List a file that is not used, with the pseudonym of its study where that is known.

        Args:
            path: of the file, or of the zip with its name in there.
            reason: why it is not used.
            case_id: pseudonym of its study, "" where it is of none.
            counted: whether to count it in `ignored`.
        """
        row = (os.fsencode(path), case_id, reason)
        self._database.execute("INSERT OR IGNORE INTO ignored VALUES(?, ?, ?)", row)
        if counted:
            self.ignored[reason] += 1

    def ignored_files(self) -> Iterator[tuple[str, str, str]]:
        """The study, the path and the reason of each file that is not used, by path."""
        for case_id, path, reason in self._database.execute(
            "SELECT case_id, path, reason FROM ignored ORDER BY path"
        ):
            yield case_id, os.fsdecode(path), reason

    def folders_with_studies(self) -> set[PurePath]:
        """Every folder in or below which files of a study lie."""
        found: set[PurePath] = set()
        for _, path in self.locations():
            folder = PurePath(path)
            found |= {folder, *folder.parents}
        return found

    def note_shared(self, shared: SharedKey) -> None:
        """Note what an image of a study shares with others, under pseudonyms."""
        self._database.execute("INSERT OR IGNORE INTO shared VALUES(?, ?, ?, ?, ?)", shared)

    def join_torn(self) -> None:
        """Put together the studies that `torn.joined` tells to be one."""
        torn = self._database.execute(
            "SELECT * FROM shared WHERE key NOT LIKE 'single %' AND key IN"
            " (SELECT key FROM shared GROUP BY key HAVING min(case_id) < max(case_id))"
        )
        series = self._database.execute(
            "SELECT case_id, count(DISTINCT key) FROM shared WHERE key LIKE 'series %'"
            " GROUP BY case_id"
        )
        whole = joined(map(SharedKey._make, torn.fetchall()), Counter(dict(series.fetchall())))
        for part in whole:
            to_whole = (whole[part], part)
            self._database.execute("INSERT OR REPLACE INTO joined VALUES(?, ?)", to_whole[::-1])
            for table in ("file", "location", "ignored"):
                self._database.execute(
                    f"UPDATE OR IGNORE {table} SET case_id = ? WHERE case_id = ?", to_whole
                )
            self._database.execute(
                "INSERT INTO left_out SELECT ?, reason, files FROM left_out WHERE case_id = ?"
                " ON CONFLICT(case_id, reason) DO UPDATE SET files = files + excluded.files",
                to_whole,
            )
            for table in ("left_out", "study", "location", "file"):
                self._database.execute(f"DELETE FROM {table} WHERE case_id = ?", (part,))
        self._refuse_single_images()

    def _refuse_single_images(self) -> None:
        """Refuse images that each are a study of their own, several of one patient and day."""
        single = (
            "SELECT shared.key, case_id, archive, name FROM shared JOIN file USING(case_id)"
            " WHERE key LIKE 'single %' GROUP BY case_id HAVING count(DISTINCT name || archive) = 1"
        )
        by_day: dict[str, list[tuple[str, str, str]]] = {}
        for key, *image in self._database.execute(single).fetchall():
            by_day.setdefault(key, []).append((image[0], image[1], image[2]))
        for images in by_day.values():
            if len(images) < MIN_LONE:
                continue
            reason = torn_apart(len(images))
            for case_id, archive, name in images:
                path = PurePath(os.fsdecode(archive), os.fsdecode(name))
                self.ignore(path, reason, case_id, counted=False)
                row = (case_id, reason)
                self._database.execute("INSERT OR IGNORE INTO left_out VALUES(?, ?, 1)", row)
                self._database.execute("DELETE FROM file WHERE case_id = ?", (case_id,))

    def whole(self, case_id: str) -> str:
        """The study that a torn one was put together with, else itself."""
        row = self._database.execute(
            "SELECT whole FROM joined WHERE case_id = ?", (case_id,)
        ).fetchone()
        return case_id if row is None else str(row[0])

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
            parts = 1 + int(
                self._database.execute(
                    "SELECT count(*) FROM joined WHERE whole = ?", (case_id,)
                ).fetchone()[0]
            )
            found = _found_study(case_id, subject_id, sources, left_out)
            if parts > 1:
                found = replace(found, notes=(torn_warning(parts), *found.notes))
            yield found

    def locations(self) -> Iterator[tuple[str, str]]:
        """The pseudonym of every study with each folder or zip that holds files of it.

        Studies that are refused are included.
        """
        for case_id, path in self._database.execute(
            "SELECT case_id, path FROM location ORDER BY case_id, path"
        ):
            yield case_id, os.fsdecode(path)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _found_study(
    case_id: str, subject_id: str, sources: tuple[Source, ...], left_out: Counter[str]
) -> FoundStudy:
    """A study with a note of the files that were left out, or refused where all were."""
    reasons = counts_in_words(left_out)
    if not sources:
        only_one = left_out.total() == 1
        reason = next(iter(left_out)) if only_one else f"none of its files can be used: {reasons}"
        return FoundStudy(case_id, subject_id, (), refused=reason)
    if not left_out:
        return FoundStudy(case_id, subject_id, sources)
    files = len(sources) + left_out.total()
    note = f"left out {left_out.total()} of {files} files: {reasons}"
    return FoundStudy(case_id, subject_id, sources, (note,))
