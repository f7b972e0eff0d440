"""The flow of studies through a cohort's analysis: found, refused, read, failed, analysed.

In the manner of STARD (Bossuyt et al., BMJ 2015;351:h5527): every study that was found is counted
once, with the reason where it was lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from liverleaf.results.case import CaseRecord
from liverleaf.results.columns import CaseResult

REASONS_SHOWN = 12
"""The most reasons of a loss that are listed; the rest are counted together."""


@dataclass
class Flow:
    """How many studies came how far.

    Attributes:
        refused: number of studies that could not be read, by reason.
        failed: number of studies that were read and not analysed, by reason.
        waiting: studies that are not done, because the run was stopped.
        analysed: studies with results.
        by_modality: the same by modality.
        with_lesions: analysed studies with a lesion.
        with_seg: analysed studies with a DICOM SEG.
        doubted: analysed studies where a doubt stands against the model's probabilities.
    """

    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    analysed: int = 0
    by_modality: Counter[str] = field(default_factory=Counter)
    with_lesions: int = 0
    with_seg: int = 0
    doubted: int = 0

    @property
    def found(self) -> int:
        """All studies."""
        return self.refused.total() + self.read

    @property
    def read(self) -> int:
        """Studies that could be read, for all that is known."""
        return self.failed.total() + self.waiting + self.analysed

    def add_result(self, result: CaseResult) -> None:
        """Count a study that was analysed."""
        self.analysed += 1
        self.by_modality[result.findings.study.modality] += 1
        self.with_lesions += bool(result.findings.lesions)
        self.with_seg += result.has_seg
        self.doubted += bool(result.findings.doubts)

    def add_failure(self, record: CaseRecord) -> None:
        """Count a study that failed."""
        counts = self.refused if record.failed_at == "reading" else self.failed
        counts[record.reason] += 1

    def add_refused(self, reasons: Iterable[str]) -> None:
        """Count studies that were refused when the cohort was built."""
        self.refused.update(reasons)


def shown_reasons(reasons: Counter[str]) -> list[tuple[str, int]]:
    """The most frequent reasons with their numbers, and how many there are besides."""
    shown = reasons.most_common(REASONS_SHOWN)
    others = reasons.total() - sum(times for _, times in shown)
    return [*shown, ("other reasons", others)] if others else shown
