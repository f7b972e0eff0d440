"""The columns of the table of studies: phases, liver, lesions together, and their origin."""

from __future__ import annotations

from functools import partial
from typing import Any

from liverleaf.findings import PhaseRecord
from liverleaf.results.columns import (
    MODALITIES,
    PHASES,
    TYPES,
    CaseResult,
    Column,
    by_name,
    case_columns,
)


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
    return None if patient is None else by_name(patient.type_probabilities).get(name)


def _spacing_mm(index: int, result: CaseResult) -> float:
    return result.findings.study.spacing_mm[index]


def lesions_ml(result: CaseResult) -> float:
    """Volume of all lesions together."""
    return round(sum(lesion.volume_ml for lesion in result.findings.lesions), 3)


def _lesions_percent(result: CaseResult) -> float | None:
    liver = result.findings.liver
    if liver is None or not liver.volume_ml:
        return None
    return round(100 * lesions_ml(result) / liver.volume_ml, 3)


def largest_mm(result: CaseResult) -> float | None:
    """Longest diameter of the largest lesion; None without one."""
    return max((lesion.long_axis_mm for lesion in result.findings.lesions), default=None)


def _provenance(result: CaseResult, field: str) -> Any:
    origin = result.findings.provenance
    return None if origin is None else getattr(origin, field)


def _seconds(result: CaseResult) -> float | None:
    seconds = _provenance(result, "seconds")
    return round(sum(seconds.values()), 2) if seconds else None


def warning_count(result: CaseResult) -> int:
    """Warnings about the study and its findings, each counted once."""
    findings = result.findings
    return len({*findings.study.warnings, *findings.warnings})


STUDIES: tuple[Column[CaseResult], ...] = (
    *case_columns(lambda row: row),
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
        lesions_ml,
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
        largest_mm,
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
        warning_count,
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
