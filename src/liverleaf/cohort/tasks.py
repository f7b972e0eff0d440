"""One study to be read into a cohort, and whether it has to be read again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from liverleaf.cohort.provenance import Origin, Refresh, read_origin, refresh
from liverleaf.cohort.study_index import FoundStudy
from liverleaf.ingest.collections import CollectionCase
from liverleaf.ingest.deidentify.pseudonyms import Pseudonyms
from liverleaf.ingest.reader import PhaseRow
from liverleaf.study import Modality


@dataclass(frozen=True)
class StudyTask:
    """One study to read and write.

    Attributes:
        study: where its files are, or what reads it.
        out: the cohort.
        pseudonyms: the key, None where `study` is of a public collection.
        with_dicom: whether to write its DICOM, de-identified, too.
        table: what the user's table says of the phases of its series.
        modality: what the user says NIfTI files are.
    """

    study: FoundStudy | CollectionCase
    out: Path
    pseudonyms: Pseudonyms | None = None
    with_dicom: bool = False
    table: tuple[PhaseRow, ...] = ()
    modality: Modality | None = None

    @property
    def case(self) -> Path:
        """The folder of its case."""
        return self.out / self.study.case_id

    @property
    def refresh(self) -> Refresh:
        """What there is to do."""
        if not self.case.exists():
            return Refresh.REREAD
        if isinstance(self.study, CollectionCase):
            return Refresh.KEEP
        return refresh(read_origin(self.case), self.origin(self.study))

    def origin(self, found: FoundStudy) -> Origin:
        """What a case is read from."""
        assert self.pseudonyms is not None  # None is for public collections only
        return Origin.of(found, self.table, self.pseudonyms, self.modality)
