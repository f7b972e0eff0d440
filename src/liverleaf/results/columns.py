"""The columns of the three tables of a cohort: what each holds, and how it is read from findings.

`STUDIES`, `LESIONS` and `CURVES` make the rows, their data types and the data dictionary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar, get_args

from liverleaf.findings import Findings, LesionRecord, PhaseRecord, WashOut
from liverleaf.study import Phase
from liverleaf.terminology import LesionType

Cell = str | int | float | bool | None
Kind = Literal["text", "whole number", "number", "yes or no"]
R = TypeVar("R")


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
        return _by_name(self.lesion.type_probabilities or {})

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


def _phase(result: CaseResult, name: str) -> PhaseRecord | None:
    return next((p for p in result.findings.study.phases if p.phase == name), None)


def _trusted(name: str, result: CaseResult) -> bool | None:
    """Whether a phase was measured; None where it was not scanned."""
    phase = _phase(result, name)
    if phase is None:
        return None
    return phase.alignment is None or phase.alignment.trusted


def _time_s(name: str, result: CaseResult) -> float | None:
    phase = _phase(result, name)
    return None if phase is None else phase.time_s


def _type_of_patient(name: str, result: CaseResult) -> float | None:
    patient = result.findings.patient
    return None if patient is None else _by_name(patient.type_probabilities).get(name)


def _by_name(types: Mapping[Any, float]) -> dict[str, float]:
    return dict(types)


def _spacing_mm(index: int, result: CaseResult) -> float:
    return result.findings.study.spacing_mm[index]


def _lesions_ml(result: CaseResult) -> float:
    return round(sum(lesion.volume_ml for lesion in result.findings.lesions), 3)


def _lesions_percent(result: CaseResult) -> float | None:
    liver = result.findings.liver
    if liver is None or not liver.volume_ml:
        return None
    return round(100 * _lesions_ml(result) / liver.volume_ml, 3)


def _largest_mm(result: CaseResult) -> float | None:
    return max((lesion.long_axis_mm for lesion in result.findings.lesions), default=None)


def _provenance(result: CaseResult, field: str) -> Any:
    origin = result.findings.provenance
    return None if origin is None else getattr(origin, field)


def _seconds(result: CaseResult) -> float | None:
    seconds = _provenance(result, "seconds")
    return round(sum(seconds.values()), 2) if seconds else None


def _warnings(result: CaseResult) -> int:
    findings = result.findings
    return len({*findings.study.warnings, *findings.warnings})


def _case_columns(result_of: Callable[[Any], CaseResult]) -> tuple[Column[Any], ...]:
    """What every table begins with."""
    return (
        Column("case", "text", "Pseudonym of the study.", lambda row: result_of(row).case),
        Column("subject", "text", "Pseudonym of the patient.", lambda row: result_of(row).subject),
    )


STUDIES: tuple[Column[CaseResult], ...] = (
    *_case_columns(lambda row: row),
    Column(
        "modality",
        "text",
        "Kind of scanner.",
        lambda row: row.findings.study.modality,
        words=MODALITIES,
    ),
    Column("agent", "text", "Contrast agent.", lambda row: row.findings.study.agent),
    Column(
        "reference_phase",
        "text",
        "Phase on whose grid the masks lie.",
        lambda row: row.findings.study.reference_phase,
        words=PHASES,
    ),
    Column(
        "phases",
        "whole number",
        "Contrast phases that were scanned.",
        lambda row: len(row.findings.study.phases),
        least=1,
        most=len(PHASES),
    ),
    *(
        Column(
            f"{name}_measured",
            "yes or no",
            f"Whether the {name} phase lies well enough to be measured; empty where there is none.",
            partial(_trusted, name),
        )
        for name in PHASES
    ),
    *(
        Column(
            f"{name}_time_s",
            "number",
            f"From injection to the middle of the {name} phase.",
            partial(_time_s, name),
            unit="s",
        )
        for name in PHASES
    ),
    *(
        Column(
            f"spacing_{axis}_mm",
            "number",
            f"Voxel size along {axis.upper()} in the reference phase.",
            partial(_spacing_mm, index),
            unit="mm",
            least=0,
        )
        for index, axis in enumerate("zyx")
    ),
    Column(
        "liver_volume_ml",
        "number",
        "Volume of the liver with its lesions; empty where nobody outlined it.",
        lambda row: None if row.findings.liver is None else row.findings.liver.volume_ml,
        unit="ml",
        least=0,
    ),
    Column("lesions", "whole number", "Lesions.", lambda row: len(row.findings.lesions), least=0),
    Column(
        "lesions_volume_ml",
        "number",
        "Volume of all lesions together.",
        _lesions_ml,
        unit="ml",
        least=0,
    ),
    Column(
        "lesions_percent_of_liver",
        "number",
        "The same as a share of the liver; empty without a liver.",
        _lesions_percent,
        unit="%",
        least=0,
    ),
    Column(
        "largest_long_axis_mm",
        "number",
        "Longest diameter of the largest lesion; empty without a lesion.",
        _largest_mm,
        unit="mm",
        least=0,
    ),
    Column(
        "malignant_probability",
        "number",
        "Probability that there is a malignant lesion; empty where lesions are not typed.",
        lambda row: (
            None if row.findings.patient is None else row.findings.patient.malignant_probability
        ),
        least=0,
        most=1,
    ),
    *(
        Column(
            f"patient_{name}_probability",
            "number",
            f"Probability that there is a lesion of the type {name}.",
            partial(_type_of_patient, name),
            least=0,
            most=1,
        )
        for name in TYPES
    ),
    Column(
        "doubts",
        "whole number",
        "Reasons why a model's probabilities do not hold; findings.json names them.",
        lambda row: len(row.findings.doubts),
        least=0,
    ),
    Column(
        "warnings",
        "whole number",
        "Warnings; findings.json holds them as sentences.",
        _warnings,
        least=0,
    ),
    Column(
        "outlined_by",
        "text",
        "Who drew the masks: a model, a program, or manual; empty where nothing was outlined.",
        lambda row: None if row.findings.segmentation is None else row.findings.segmentation.source,
    ),
    Column(
        "model",
        "text",
        "Model that typed the lesions; empty without one.",
        lambda row: row.findings.model,
    ),
    Column(
        "weights_sha256",
        "text",
        "SHA-256 of the model's weights.",
        lambda row: _provenance(row, "weights_sha256"),
    ),
    Column(
        "liverleaf_version",
        "text",
        "Version of liverleaf that analysed the study.",
        lambda row: (_provenance(row, "versions") or {}).get("liverleaf"),
    ),
    Column("seconds", "number", "How long the analysis took.", _seconds, unit="s", least=0),
    Column(
        "peak_memory_mb",
        "number",
        "Largest resident memory of the process while it analysed this study.",
        lambda row: _provenance(row, "peak_memory_mb"),
        unit="MB",
        least=0,
    ),
    Column(
        "dicom_seg",
        "yes or no",
        "Whether the folder of the case holds a DICOM SEG.",
        lambda row: row.has_seg,
    ),
)


def _of_wash_in(row: LesionOf, field: str) -> Any:
    return None if row.lesion.wash_in is None else getattr(row.lesion.wash_in, field)


def _of_wash_out(row: LesionOf, field: str) -> Any:
    return None if row.lesion.wash_out is None else getattr(row.lesion.wash_out, field)


def _doubted(row: LesionOf) -> bool:
    """Whether a doubt stands against it or against the whole study."""
    return any(doubt.lesion in (None, row.lesion.id) for doubt in row.result.findings.doubts)


def _centre_mm(index: int, row: LesionOf) -> float:
    return row.lesion.centroid_mm[index]


def _type_of_lesion(name: str, row: LesionOf) -> float | None:
    return row.types.get(name)


def _in_set(name: str, row: LesionOf) -> bool | None:
    return None if row.lesion.type_set is None else name in row.lesion.type_set


_LESION_ID: Column[LesionOf] = Column(
    "lesion",
    "whole number",
    "Its number in lesions.nii.gz of the case.",
    lambda row: row.lesion.id,
    least=1,
)
LESIONS: tuple[Column[LesionOf], ...] = (
    *_case_columns(lambda row: row.result),
    _LESION_ID,
    *(
        Column(
            f"centre_{axis}_mm",
            "number",
            f"Mean position of its voxels along {axis} (LPS: x to the left, y back, z up).",
            partial(_centre_mm, index),
            unit="mm",
        )
        for index, axis in enumerate("xyz")
    ),
    Column("volume_ml", "number", "Volume.", lambda row: row.lesion.volume_ml, "ml", least=0),
    Column(
        "long_axis_mm",
        "number",
        "Longest diameter in any slice.",
        lambda row: row.lesion.long_axis_mm,
        unit="mm",
        least=0,
    ),
    Column(
        "short_axis_mm",
        "number",
        "Longest diameter across that in the same slice.",
        lambda row: row.lesion.short_axis_mm,
        unit="mm",
        least=0,
    ),
    Column(
        "capsule_distance_mm",
        "number",
        "Shortest way to the liver's surface; empty without a liver.",
        lambda row: row.lesion.capsule_distance_mm,
        unit="mm",
        least=0,
    ),
    Column(
        "score",
        "number",
        "Mean predicted probability of being lesion over its voxels; empty without a model.",
        lambda row: row.lesion.score,
        least=0,
        most=1,
    ),
    Column(
        "type",
        "text",
        "Most probable type; empty where no model typed it.",
        lambda row: row.first_type,
        words=TYPES,
    ),
    *(
        Column(
            f"{name}_probability",
            "number",
            f"Predicted probability of the type {name}.",
            partial(_type_of_lesion, name),
            least=0,
            most=1,
        )
        for name in TYPES
    ),
    *(
        Column(
            f"{name}_in_set",
            "yes or no",
            f"Whether the set that holds the true type with 90 % coverage has {name} in it.",
            partial(_in_set, name),
        )
        for name in TYPES
    ),
    Column(
        "wash_in",
        "number",
        "Arterial minus pre-contrast intensity (HU, CT), or that over pre-contrast (MR).",
        lambda row: _of_wash_in(row, "enhancement"),
        unit="wash_in_unit",
    ),
    Column(
        "wash_in_above_liver",
        "number",
        "The same less the liver's; empty without a liver.",
        lambda row: _of_wash_in(row, "against_liver"),
        unit="wash_in_unit",
    ),
    Column(
        "wash_in_unit",
        "text",
        "Unit of the two.",
        lambda row: _of_wash_in(row, "unit"),
        words=("HU", "fraction of pre"),
    ),
    Column(
        "wash_out",
        "text",
        "Whether it becomes darker than the liver after the arterial phase.",
        lambda row: _of_wash_out(row, "status"),
        words=STATUSES,
    ),
    Column(
        "wash_out_phase",
        "text",
        "The later phase of that.",
        lambda row: _of_wash_out(row, "phase"),
        words=PHASES,
    ),
    Column(
        "share_lost",
        "number",
        "Share of its arterial uptake lost by then: 0 none, 1 all.",
        lambda row: _of_wash_out(row, "share_lost"),
    ),
    Column(
        "contrast_lost",
        "number",
        "How far the contrast to the liver fell from the arterial phase to then.",
        lambda row: _of_wash_out(row, "against_liver"),
        unit="contrast_lost_unit",
    ),
    Column(
        "contrast_lost_unit",
        "text",
        "Unit of that.",
        lambda row: _of_wash_out(row, "unit"),
        words=("HU", "fraction of liver"),
    ),
    Column(
        "liver_to_lesion_percent",
        "number",
        "100 x liver / lesion then: over 100 it is darker than the liver.",
        lambda row: _of_wash_out(row, "liver_to_lesion_percent"),
        unit="%",
    ),
    Column(
        "doubted",
        "yes or no",
        "Whether a doubt stands against it, so that its probabilities do not hold.",
        _doubted,
    ),
    Column(
        "warnings",
        "whole number",
        "Warnings about its numbers.",
        lambda row: len(row.lesion.warnings),
        least=0,
    ),
)


def _at(row: PhaseOf, curve: str) -> float | None:
    """The value of one of a lesion's curves in the phase."""
    found = getattr(row.of.lesion, curve)
    return None if found is None else found.mean.get(row.phase.phase)


def _contrast(row: PhaseOf) -> float | None:
    contrast = row.of.lesion.contrast
    return None if contrast is None else contrast.by_phase.get(row.phase.phase)


CURVES: tuple[Column[PhaseOf], ...] = (
    *_case_columns(lambda row: row.of.result),
    Column(
        _LESION_ID.name,
        _LESION_ID.kind,
        _LESION_ID.meaning,
        lambda row: row.of.lesion.id,
        least=_LESION_ID.least,
    ),
    Column("phase", "text", "Contrast phase.", lambda row: row.phase.phase, words=PHASES),
    Column(
        "time_s",
        "number",
        "From injection to the middle of the phase.",
        lambda row: row.phase.time_s,
        unit="s",
    ),
    Column(
        "intensity",
        "number",
        "Mean over the lesion's voxels, measured in the images.",
        lambda row: _at(row, "curve"),
        unit="intensity_unit",
    ),
    Column(
        "liver_intensity",
        "number",
        "Median over the parenchyma away from lesions; empty where there is too little of it.",
        lambda row: _at(row, "liver_curve"),
        unit="intensity_unit",
    ),
    Column(
        "predicted_intensity",
        "number",
        "The lesion's as the network regressed it; empty where none did.",
        lambda row: _at(row, "predicted_curve"),
        unit="intensity_unit",
    ),
    Column(
        "intensity_unit",
        "text",
        "Unit of the three: HU for CT, the image's own arbitrary scale for MR.",
        lambda row: row.of.lesion.curve.unit,
        words=INTENSITY_UNITS,
    ),
    Column(
        "contrast",
        "number",
        "Lesion minus liver (HU, CT), or that over liver (MR): positive where it is brighter.",
        _contrast,
        unit="contrast_unit",
    ),
    Column(
        "contrast_unit",
        "text",
        "Unit of that.",
        lambda row: None if row.of.lesion.contrast is None else row.of.lesion.contrast.unit,
        words=("HU", "fraction of liver"),
    ),
)


def lesions_of(result: CaseResult) -> Iterator[LesionOf]:
    """What the rows of `LESIONS` are read from."""
    return (LesionOf(result, lesion) for lesion in result.findings.lesions)


def phases_of(result: CaseResult) -> Iterator[PhaseOf]:
    """What the rows of `CURVES` are read from: every phase that a lesion was measured in."""
    return (
        PhaseOf(row, phase)
        for row in lesions_of(result)
        for phase in result.findings.study.phases
        if phase.phase in row.lesion.curve.mean
    )
