"""What reading one study comes to: the study or why it is refused, and a report on each series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from liverleaf.study import InputError, Phase, Study


@dataclass(frozen=True)
class SeriesReport:
    """What one series, or one time point of a dynamic series, was taken for.

    Attributes:
        number: the series' number, None when it has none.
        description: its own description, "" when there is none or it could identify a person.
        modality: "CT", "MR"; "" for a file that cannot be read.
        slices: number of slices.
        shape: slices, rows, columns; () for a file that cannot be read.
        spacing_mm: between slices, rows and columns, None where there is none: the first for a
            single slice, all for a file that cannot be read.
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
            part 2), or file name, with its folder where several files have that name.
    """

    number: int | None
    description: str
    modality: str
    slices: int
    shape: tuple[int, ...]
    spacing_mm: tuple[float | None, float | None, float | None]
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
        refused: why no study can be made of them, "" where one can; then none is used.
    """

    series: tuple[SeriesReport, ...]
    warnings: tuple[str, ...] = ()
    refused: str = ""

    def __iter__(self) -> Iterator[SeriesReport]:
        return iter(self.series)


@dataclass(frozen=True)
class Examination:
    """What reading one study came to. Reading and inspecting are two views of it.

    Attributes:
        study: None where it is refused.
        inspection: of all its series; `refused` says why there is no study.
        unused: the reason for each file that is no part of the study. Paths may name the patient.
    """

    study: Study | None
    inspection: Inspection
    unused: Mapping[Path, str] = field(default_factory=dict)

    def study_or_refusal(self) -> Study:
        """The study.

        Raises:
            InputError: it is refused.
        """
        if self.study is None:
            raise InputError(self.inspection.refused)
        return self.study
