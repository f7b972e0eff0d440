"""Reports on the series of a study: what each was taken for, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from liverleaf.study import Phase


@dataclass(frozen=True)
class SeriesReport:
    """What one series, or one time point of a dynamic series, was taken for.

    Attributes:
        number: the series' number, None when it has none.
        description: its own description, "" when there is none or it could identify a person.
        modality: "CT", "MR".
        slices: number of slices.
        shape: slices, rows, columns.
        spacing_mm: between slices, rows and columns; the first is None for a single slice.
        phase: the phase it was taken for, None when it is not a contrast phase or was not
            understood.
        used: whether the study is made of it.
        confidence: of the phase, in [0, 1].
        evidence: for the phase, or why the series was not used, in plain words.
        time_s: seconds after injection, None when unknown.
        warnings: what is wrong with the series.
        study: what a table of phases calls its study: the StudyInstanceUID, or the folder of NIfTI
            files.
        series: what such a table calls it: SeriesInstanceUID (":2" behind it for its time point or
            part 2), or file name.
    """

    number: int | None
    description: str
    modality: str
    slices: int
    shape: tuple[int, ...]
    spacing_mm: tuple[float | None, float, float]
    phase: Phase | None
    used: bool
    confidence: float
    evidence: tuple[str, ...] = ()
    time_s: float | None = None
    warnings: tuple[str, ...] = ()
    study: str = ""
    series: str = ""


@dataclass(frozen=True)
class Inspection:
    """What the series of a study were taken for.

    Attributes:
        series: one report each, in the order of their numbers, those that were left out included.
        warnings: what is wrong with the study as a whole, such as files that were left out.
    """

    series: tuple[SeriesReport, ...]
    warnings: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[SeriesReport]:
        return iter(self.series)
