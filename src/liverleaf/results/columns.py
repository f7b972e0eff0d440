"""A column of a cohort's tables: its meaning, unit and range, and how it is read from findings.

A column makes the cells of the rows, their data type and its line of the data dictionary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, get_args

from liverleaf.findings import Findings, LesionRecord, PhaseRecord, WashOut
from liverleaf.study import Phase
from liverleaf.terminology import LesionType

Cell = str | int | float | bool | None
Kind = Literal["text", "whole number", "number", "yes or no"]
R = TypeVar("R")


def by_name(types: Mapping[Any, float]) -> dict[str, float]:
    """Values per type under the names that files have for them."""
    return dict(types)


@dataclass(frozen=True)
class CaseResult:
    """One analysed case.

    Attributes:
        case: pseudonym of the study, and the name of its folder.
        subject: pseudonym of the patient.
        findings: what was found.
        has_seg: whether its folder holds a DICOM SEG.
    """

    case: str
    subject: str
    findings: Findings
    has_seg: bool = False


@dataclass(frozen=True)
class LesionOf:
    """A lesion, and the case that it is of."""

    result: CaseResult
    lesion: LesionRecord

    @property
    def types(self) -> dict[str, float]:
        """Probability per type; empty where nobody typed it."""
        return by_name(self.lesion.type_probabilities or {})

    @property
    def first_type(self) -> str | None:
        """The most probable type."""
        return max(self.types, key=self.types.__getitem__, default=None)


@dataclass(frozen=True)
class PhaseOf:
    """One phase of a lesion that was measured in it."""

    of: LesionOf
    phase: PhaseRecord


@dataclass(frozen=True)
class Column(Generic[R]):
    """One column.

    Attributes:
        name: as the tables have it.
        kind: of its values.
        meaning: one plain sentence.
        value: reads it; None where it is not known, an empty cell.
        unit: of its values, "" for none.
        least: the smallest value that it may have, None for any.
        most: the largest.
        words: the values that a text may have, empty for any.
    """

    name: str
    kind: Kind
    meaning: str
    value: Callable[[R], Cell]
    unit: str = ""
    least: float | None = None
    most: float | None = None
    words: tuple[str, ...] = ()

    @property
    def range(self) -> str:
        """The values that it may have, in words."""
        if self.kind == "yes or no":
            return "true, false"
        if self.words:
            return ", ".join(self.words)
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        return "any" if self.least is None else f"{self.least:g} or more"

    def holds(self, cell: Cell) -> bool:
        """Whether it may hold a value; an empty cell always."""
        if cell is None:
            return True
        if isinstance(cell, bool) or self.kind == "yes or no":
            return isinstance(cell, bool) and self.kind == "yes or no"
        if isinstance(cell, str) or self.kind == "text":
            return (
                isinstance(cell, str)
                and self.kind == "text"
                and (not self.words or cell in self.words)
            )
        low = float("-inf") if self.least is None else self.least
        high = float("inf") if self.most is None else self.most
        return low <= cell <= high and (self.kind == "number" or isinstance(cell, int))


PHASES, TYPES = (
    tuple(phase.key for phase in Phase),
    tuple(kind.key for kind in LesionType),
)
STATUSES = get_args(get_args(WashOut.model_fields["status"].annotation)[0])
INTENSITY_UNITS = ("HU", "a.u.")
MODALITIES = ("CT", "MR")


def case_columns(result_of: Callable[[Any], CaseResult]) -> tuple[Column[Any], ...]:
    """What every table begins with."""
    return (
        Column("case", "text", "Pseudonym of the study.", lambda row: result_of(row).case),
        Column("subject", "text", "Pseudonym of the patient.", lambda row: result_of(row).subject),
    )
