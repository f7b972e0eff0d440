"""What a case was read from: whether to read it again, and the private list of its folders."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from liverleaf.cohort.study_index import FoundStudy
from liverleaf.ingest.deidentify.pseudonyms import Pseudonyms
from liverleaf.ingest.phases.override import PhaseRow
from liverleaf.study import InputError, Modality

ORIGIN_FILE = "origin.json"
LOCATION_COLUMNS = "case", "folder or zip"
FILE_COLUMNS = "case", "file", "reason"


class Refresh(Enum):
    """What becomes of a study that is a case already.

    KEEP leaves it as it is, REREAD reads the study and replaces the case, WARN leaves it and says
    that other images or another table were given.
    """

    KEEP = "keep"
    REREAD = "reread"
    WARN = "warn"


class Origin(BaseModel):
    """What a case was read from, under pseudonyms; `origin.json` in its folder.

    Attributes:
        images: size in bytes of the file of each image.
        table: keyed hash of the user's table of its phases, and of the modality that the user says;
            "" without any.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    images: dict[str, int]
    table: str = ""

    @classmethod
    def of(
        cls,
        study: FoundStudy,
        table: Sequence[PhaseRow],
        pseudonyms: Pseudonyms,
        modality: Modality | None = None,
    ) -> Origin:
        """That of a study as it was found; of several copies of an image the largest counts."""
        images: dict[str, int] = {}
        for source in study.sources:
            images[source.image] = max(source.size, images.get(source.image, 0))
        lines = sorted(
            {f"{row.series}={'none' if row.phase is None else row.phase.name}" for row in table}
        )
        if modality is not None:
            lines.append(f"modality={modality}")
        return cls(images=images, table=pseudonyms.table("\n".join(lines)) if lines else "")


def read_origin(case: Path) -> Origin | None:
    """That of a case, None when it is not known."""
    try:
        return Origin.model_validate_json((case / ORIGIN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_origin(case: Path, origin: Origin) -> None:
    """Keep it in the case folder, so that the one is never without the other."""
    (case / ORIGIN_FILE).write_text(origin.model_dump_json(indent=1) + "\n", encoding="utf-8")


def refresh(before: Origin | None, now: Origin) -> Refresh:
    """What becomes of a case, by what it was read from and what is given now.

    KEEP when nothing new is given. REREAD when more images are given, or the same images with
    another table. WARN when there are new images, or a new table, without all of the old images:
    a case made of these alone would be less than it was.
    """
    if before is None:
        return Refresh.WARN
    if now.images.items() <= before.images.items() and now.table in ("", before.table):
        return Refresh.KEEP
    all_images_again = now.images.keys() >= before.images.keys()
    table_given_again = bool(now.table) or not before.table
    return Refresh.REREAD if all_images_again and table_given_again else Refresh.WARN


def note_locations(locations: Iterable[tuple[str, str]], file: Path) -> None:
    """Add pseudonyms with the folder or zip of each to a CSV file.

    Only its owner can read the file, because paths may name patients.

    Raises:
        InputError: the file cannot be read or written.
    """
    _add_rows(locations, LOCATION_COLUMNS, file, "the list of the folder of each study")


def note_unused_files(
    files: Iterable[tuple[str, str, str]], file: Path, *, anew: Collection[str] = ()
) -> None:
    """Add the files that are not used to a CSV file, with the study of each and the reason.

    As for `note_locations`, only its owner can read it.

    Args:
        files: pseudonym of the study ("" where it is of none), path and reason of each.
        file: the CSV file.
        anew: studies that were read again: what an earlier run noted of them no longer holds.

    Raises:
        InputError: the file cannot be read or written.
    """
    _add_rows(files, FILE_COLUMNS, file, "the list of files that are not used", anew)


def _add_rows(
    rows: Iterable[tuple[str, ...]],
    columns: tuple[str, ...],
    file: Path,
    what: str,
    anew: Collection[str] = (),
) -> None:
    """Add rows that are not in a CSV file yet, and remove those of the studies in `anew`."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(
            descriptor, "r+", encoding="utf-8", errors="surrogateescape", newline=""
        ) as stream:
            before = [tuple(row) for row in csv.reader(stream)]
            kept = [row for row in before[1:] if row[0] not in anew]
            known = set(kept)
            added = [row for row in dict.fromkeys(rows) if row not in known]
            if len(kept) + 1 != len(before):
                stream.seek(0)
                stream.truncate()
                added = [columns, *kept, *added]
            csv.writer(stream).writerows(added)
    except (OSError, csv.Error) as error:
        raise InputError(
            f"{file}, {what}, cannot be read or written beside the"
            " key: copy the key into a folder that is writable and give it with --key FILE"
        ) from error
