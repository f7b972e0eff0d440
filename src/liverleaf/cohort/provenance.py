"""A study that was found in; what its case was read from, whether that is to be done again, and a private list of where it lies, out."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from liverleaf.cohort.discovery import FoundStudy
from liverleaf.ingest.deidentify.pseudonyms import Pseudonyms
from liverleaf.ingest.phases.override import PhaseRow
from liverleaf.study import InputError

ORIGIN_FILE = "origin.json"
PLACES = "case", "folder or zip"


class Due(Enum):
    """What becomes of a study that is a case already."""

    NOTHING = "nothing"
    READING = "reading"
    TELLING = "telling"


class Origin(BaseModel):
    """What a case was read from, under pseudonyms; `origin.json` in its folder.

    Attributes:
        images: size in bytes of the file of each image.
        table: what a person says of its series, "" for nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    images: dict[str, int]
    table: str = ""

    @classmethod
    def of(cls, study: FoundStudy, table: Sequence[PhaseRow], pseudonyms: Pseudonyms) -> Origin:
        """That of a study as it was found; of several copies of an image the largest counts."""
        images: dict[str, int] = {}
        for source in study.sources:
            images[source.image] = max(source.size, images.get(source.image, 0))
        said = sorted(
            {f"{row.series}={'none' if row.phase is None else row.phase.name}" for row in table}
        )
        return cls(images=images, table=pseudonyms.table("\n".join(said)) if said else "")


def read_origin(case: Path) -> Origin | None:
    """That of a case, None when it is not known."""
    try:
        return Origin.model_validate_json((case / ORIGIN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_origin(case: Path, origin: Origin) -> None:
    """Keep it in the case folder, so that the one is never without the other."""
    (case / ORIGIN_FILE).write_text(origin.model_dump_json(indent=1) + "\n", encoding="utf-8")


def due(before: Origin | None, now: Origin) -> Due:
    """What becomes of a case, by what it was read from and what is given now.

    READING when more is given, or the same images are with another table. NOTHING when nothing new
    is given. TELLING when there are new images, or a new table, without all of the old images: a
    case that was made of these alone would be less than it was.
    """
    if (
        before is not None
        and now.images.items() <= before.images.items()
        and now.table in ("", before.table)
    ):
        return Due.NOTHING
    whole = (
        before is not None
        and now.images.keys() >= before.images.keys()
        and (now.table or not before.table)
    )
    return Due.READING if whole else Due.TELLING


def note_places(places: Iterable[tuple[str, str]], file: Path) -> None:
    """Add pseudonyms with the folder or zip of each to a CSV file that only its owner can read; paths may name patients.

    Raises:
        InputError: the file cannot be read or written.
    """
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(
            descriptor, "r+", encoding="utf-8", errors="surrogateescape", newline=""
        ) as stream:
            known = {tuple(row) for row in csv.reader(stream)}
            csv.writer(stream).writerows(
                row
                for row in ([] if known else [PLACES])
                + [place for place in places if place not in known]
            )
    except (OSError, csv.Error) as error:
        raise InputError(
            f"{file}, which tells where each study lies, cannot be read or written beside the key:"
            " copy the key into a folder that is writable and give it with --key FILE"
        ) from error
