"""Studies of one's own, found in folders, zips and files and named by pseudonyms.

The private files lie beside the key of the pseudonyms: which folder each study is of, and which
files are not used.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from liverleaf.cohort.discovery import discover
from liverleaf.cohort.provenance import note_locations
from liverleaf.cohort.study_index import StudyIndex
from liverleaf.ingest.deidentify.pseudonyms import Pseudonyms, new_key, read_key, write_key
from liverleaf.ingest.dicom.frames import counts_in_words
from liverleaf.ingest.reader import PhaseRow, read_phase_table
from liverleaf.study import InputError
from liverleaf.system.progress import Progress, silent

logger = logging.getLogger(__name__)

KEY_FILE = "pseudonyms.key"
FILES_SUFFIX = ".files.csv"
"""Of the file beside the key that lists the files that are not used, each with the reason."""

LOCATIONS_SUFFIX = ".places.csv"
"""Of the file beside the key that lists the folder or zip of each study."""


@dataclass(frozen=True)
class Naming:
    """How studies are named.

    Attributes:
        key: the file with the key, which need not exist yet.
        pseudonyms: made with that key.
    """

    key: Path
    pseudonyms: Pseudonyms

    @classmethod
    def beside(cls, out: Path, key: Path | None = None) -> Naming:
        """With a key, or with that beside `out`, or with a new one where there is none.

        Raises:
            InputError: the key would lie inside `out`, or cannot be read.
        """
        key = key or out.resolve().parent / KEY_FILE
        if key.resolve().is_relative_to(out.resolve()):
            raise InputError(
                f"{key} would lie inside the cohort: whoever gets both can undo the pseudonyms;"
                " choose another folder"
            )
        return cls(key, read_key(key) if key.exists() else new_key())

    @property
    def places(self) -> Path:
        """The private list of the folder or zip of each study."""
        return self.key.with_suffix(LOCATIONS_SUFFIX)

    @property
    def files(self) -> Path:
        """The private list of the files that are not used."""
        return self.key.with_suffix(FILES_SUFFIX)


Tables = Mapping[str, tuple[PhaseRow, ...]]
"""What a person says of the phases of several studies, by the pseudonym of each."""


def find_studies(
    inputs: Sequence[Path],
    index: StudyIndex,
    naming: Naming,
    *,
    phases: Path | None = None,
    skip: Path | None = None,
    progress: Progress = silent,
) -> Tables:
    """Find all studies, and write the key and the private list of their folders beside it.

    Args:
        inputs: any mix of folders, folders of studies, zips and files.
        index: where the studies go.
        naming: the key.
        phases: CSV table of the phases of series as a person names them.
        skip: a folder that is not searched.
        progress: called with (what, done, total).

    Returns:
        What the table says of each study that it names.

    Raises:
        InputError: an input does not exist, there is no study in them, or the table cannot be read
            or does not fit the studies.
    """
    rows = read_phase_table(phases, studies=True) if phases else ()
    discover(inputs, index, naming.pseudonyms, skip=skip, progress=progress)
    logger.info("%d studies found; other files: %s", len(index), counts_in_words(index.ignored))
    if not len(index):
        raise InputError(
            f"no studies found (files: {counts_in_words(index.ignored)}): give folders or zips"
            " with DICOM or NIfTI images"
        )
    tables = _tables_by_case(rows, index, naming.pseudonyms)
    if not naming.key.exists():
        write_key(naming.pseudonyms, naming.key)
    note_locations(index.locations(), naming.places)
    return tables


def _tables_by_case(
    rows: Sequence[PhaseRow], index: StudyIndex, pseudonyms: Pseudonyms
) -> dict[str, tuple[PhaseRow, ...]]:
    """The rows of a table of phases by the pseudonym of their study."""
    by_case: dict[str, tuple[PhaseRow, ...]] = {}
    known = {study.case_id for study in index} if rows else set()
    for row in rows:
        folder = Path(row.study).resolve()
        identities = (f"uid {row.study}", f"nifti path {folder}", f"path {folder}")
        named = (row.study, *(pseudonyms.case_id(identity) for identity in identities))
        names = tuple(map(index.whole, named))
        case_id = next((name for name in names if name in known), None)
        if case_id is None:
            raise InputError(
                f"line {row.line} of the table of phases names a study that was not found:"
                " `liverleaf inspect --json` names it"
            )
        by_case[case_id] = (*by_case.get(case_id, ()), replace(row, study=case_id))
    return by_case
