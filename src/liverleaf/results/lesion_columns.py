"""The columns of the tables of lesions, and of their enhancement curves phase by phase."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from liverleaf.results.columns import (
    INTENSITY_UNITS,
    PHASES,
    STATUSES,
    TYPES,
    CaseResult,
    Column,
    LesionOf,
    PhaseOf,
    case_columns,
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
    *case_columns(lambda row: row.result),
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
    *case_columns(lambda row: row.of.result),
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
