"""The findings of one study: what was measured and predicted, as a frozen value and as JSON.

docs/findings.md describes the schema field by field; docs/findings.schema.json is the same for
programs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from liverleaf.study import InputError
from liverleaf.terminology import PatientRule, PhaseName, TypeName

SCHEMA_VERSION: Literal["2.0"] = "2.0"
"""MAJOR.MINOR; docs/findings.md says what raises which."""
RESEARCH_USE_ONLY = "For research only. Not a medical device; not for diagnosis or treatment."


def _decimals(places: int) -> AfterValidator:
    return AfterValidator(lambda value: round(value, places) + 0.0)  # + 0.0 turns -0.0 into 0.0


Millimetres = Annotated[float, _decimals(1)]
Millilitres = Annotated[float, _decimals(3)]
Seconds = Annotated[float, _decimals(2)]
Ratio = Annotated[float, _decimals(3)]
Similarity = Annotated[
    Ratio | None, BeforeValidator(lambda value: None if value is None or np.isnan(value) else value)
]
Probability = Annotated[
    float,
    Field(ge=-1e-3, le=1 + 1e-3),
    AfterValidator(lambda value: min(max(round(value, 4), 0.0), 1.0)),
]
Intensity = Annotated[float, AfterValidator(lambda value: float(f"{value:.5g}") + 0.0)]
Bounds = tuple[Intensity, Intensity]
Point = tuple[Millimetres, Millimetres, Millimetres]
Span = tuple[int, int]
Row = tuple[float, float, float, float]
MaskAxis = Literal["x", "y", "z", "-x", "-y", "-z"]


class Record(BaseModel):
    """A frozen part of the findings: no unknown fields, no NaN, no infinity."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class CurveRecord(Record):
    """Intensity of one region over the phases."""

    unit: Literal["HU", "a.u."]
    """Unit of the intensities: "HU" for CT, "a.u." (the image's own arbitrary scale) for MR."""
    mean: dict[PhaseName, Intensity]
    """Intensity per phase, five significant digits; phases that were not measured are absent."""


class WashIn(Record):
    """What the lesion took up by the arterial phase."""

    enhancement: Intensity
    """Arterial minus pre-contrast intensity (HU, CT), or that divided by the pre-contrast intensity
    (fraction of pre, MR)."""
    against_liver: Intensity | None
    """The lesion's enhancement minus the liver's, same unit; null without a liver curve."""
    unit: Literal["HU", "fraction of pre"]
    """Unit of both."""


class WashOut(Record):
    """How the lesion darkened by a later phase."""

    phase: PhaseName
    """The later phase: delayed where there is one, else portal; always portal with gadoxetate."""
    status: (
        Literal["wash_out", "no_wash_out_still_enhancing", "no_wash_out", "not_measurable"] | None
    ) = None
    """Whether the lesion becomes darker than liver, by 10 HU or 0.1 of liver, without having been
    darker in the arterial phase; the codes are listed below. Null in files of version 1.0."""
    share_lost: Ratio | None
    """(arterial - later) / (arterial - pre), no unit: 0 kept, 1 all lost; null with a wash-in under
    20 HU or 0.2 of pre, and in a lesion that is brighter than it was."""
    against_liver: Intensity | None
    """How far the contrast to liver fell from the arterial to the later phase; positive when it
    fell."""
    unit: Literal["HU", "fraction of liver"]
    """Unit of `against_liver`: contrast is lesion - liver (HU, CT) or (lesion - liver) / liver
    (fraction of liver, MR)."""
    liver_to_lesion_percent: Ratio | None
    """100 x liver / lesion at the later phase, in percent (Liu et al., AJR 2013;200:84-89); over
    100 the lesion is darker than liver."""


class ConditionRecord(Record):
    """One condition of a feature: a measured value must reach a threshold."""

    name: str
    """Which condition; the names are listed below."""
    value: Intensity
    """The measured number."""
    threshold: Intensity
    """What the value must reach."""
    unit: Literal["HU", "fraction of liver"]
    """Unit of `value` and `threshold`."""
    met: bool
    """Whether the value reaches the threshold."""


class ContrastRecord(Record):
    """Contrast of a lesion to the liver over the phases."""

    unit: Literal["HU", "fraction of liver"]
    """Unit of the contrasts: lesion - liver (HU, CT) or (lesion - liver) / liver (fraction of
    liver, MR)."""
    by_phase: dict[PhaseName, Intensity]
    """Contrast per phase, positive where the lesion is brighter; phases that were not measured are
    absent."""


class FeatureRecord(Record):
    """One enhancement feature in the manner of LI-RADS, as a measurement and not a reading."""

    name: str
    """Which feature; the names are listed below."""
    present: bool
    """Whether all of its conditions are met."""
    evidence: Intensity
    """The value of its first condition."""
    threshold: Intensity
    """What the evidence must reach."""
    unit: Literal["HU", "fraction of liver"]
    """Unit of `evidence` and `threshold`."""
    conditions: tuple[ConditionRecord, ...] = ()
    """All that must hold; empty in files of version 1.0."""


class DoubtRecord(Record):
    """One reason why a model's probabilities do not hold."""

    code: Literal[
        "voxels_outside_training",
        "field_outside_training",
        "liver_volume",
        "liver_on_wrong_side",
        "liver_at_edge",
        "liver_outside_body",
        "lesion_fills_liver",
        "may_be_gallbladder",
    ]
    """Which; the codes are listed below."""
    lesion: int | None = None
    """The lesion that it is about; null for the whole study."""
    text: str
    """The doubt as one plain sentence, which is among `warnings` too."""


class PlaceRecord(Record):
    """Where a lesion lies in one phase as it was scanned."""

    centre_mm: Point
    """Its middle in that phase's own space, before registration, LPS, mm."""
    coverage: Ratio
    """Share of it that the phase's images show, 0 to 1."""


class LesionRecord(Record):
    """One lesion."""

    id: int
    """Its label in lesions.nii.gz; a model numbers lesions from 1 for the largest."""
    centroid_mm: Point
    """Mean position of its voxels, LPS, mm."""
    places: dict[PhaseName, PlaceRecord] = Field(default_factory=dict)
    """Where it lies in each phase as scanned, found through the registration; empty in findings
    before it was written."""
    bbox: tuple[Span, Span, Span]
    """Voxel index ranges along Z, Y, X of the reference phase's grid: first voxel, and one past the
    last."""
    volume_ml: Millilitres
    """Voxels times voxel size, ml."""
    long_axis_mm: Millimetres
    """Longest diameter in any slice, between outer voxel edges, mm."""
    short_axis_mm: Millimetres
    """Longest diameter across the long axis in the same slice, mm."""
    capsule_distance_mm: Millimetres | None
    """Shortest way from the lesion to the liver's outermost voxels, mm; 0 at the surface or
    outside, null without a liver."""
    score: Probability | None = None
    """Mean predicted probability of being lesion over its voxels of a half or more, 0 to 1; null
    where no model said it."""
    type_probabilities: dict[TypeName, Probability] | None = None
    """Predicted probability per type, 0 to 1; they sum to 1; null where no model typed the
    lesion."""
    type_set: tuple[TypeName, ...] | None = None
    """The types that hold the true one with 90 % coverage, most probable first: all types where a
    doubt stands against it. Null where no model typed the lesion."""
    curve: CurveRecord
    """Mean over the lesion's voxels per trusted phase, measured in the images."""
    predicted_curve: CurveRecord | None = None
    """The same as a network regressed it; null where none did."""
    liver_curve: CurveRecord | None
    """Median over the parenchyma away from lesions per trusted phase; null where there is too
    little of it."""
    contrast: ContrastRecord | None = None
    """The lesion's contrast to the liver over the phases; null without a liver curve, and in files
    of version 1.0."""
    wash_in: WashIn | None
    """What the lesion took up by the arterial phase; null without a pre-contrast and an arterial
    phase."""
    wash_out: WashOut | None
    """How the lesion darkened by a later phase; null without that phase, or with nothing to compare
    it with."""
    intervals: dict[str, Bounds] = Field(default_factory=dict)
    """90 % intervals of what was measured, low and high, in the unit of the measure and by its path
    in the lesion, as "volume_ml" or "curve.mean.portal"; empty in findings before they were
    written."""
    features: tuple[FeatureRecord, ...]
    """The enhancement features that could be measured."""
    warnings: tuple[str, ...]
    """What makes this lesion's numbers doubtful, one plain sentence each."""


class AlignmentRecord(Record):
    """How well a phase lies on the reference phase."""

    method: str
    """How it was brought there: "none", "resampled", "rigid" or "deformable"."""
    similarity_before: Similarity
    """Normalised cross-correlation of gradient magnitudes with the reference phase before, -1 to 1;
    null where undefined."""
    similarity_after: Similarity
    """The same after."""
    mean_shift_mm: Millimetres
    """Mean displacement inside the body, mm."""
    folding: Ratio
    """Share of voxels where the displacement folds, 0 to 1."""
    trusted: bool
    """Whether this phase's measurements are used."""
    liver_similarity_before: Similarity = None
    """As `similarity_before`, inside the liver and 10 mm around it; null without a liver."""
    liver_similarity_after: Similarity = None
    """The same after."""
    liver_match: Ratio | None = None
    """Share by which the liver matches that of the reference phase better than when moved by some 6
    mm; under 0.11 it is not trusted."""
    liver_folding: Ratio | None = None
    """As `folding`, inside the liver and 10 mm around it."""
    reason: (
        Literal["ok", "partial_coverage", "not_aligned", "liver_not_aligned", "worse_than_before"]
        | None
    ) = None
    """Why the phase may or may not be used; the codes are listed below. Null in files of version
    1.0."""
    coverage: Ratio | None = None
    """Share of the reference phase's body that the phase shows, 0 to 1."""
    liver_coverage: Ratio | None = None
    """The same of the liver; null without a liver."""


class PhaseRecord(Record):
    """One contrast phase."""

    phase: PhaseName
    """Which phase."""
    time_s: Seconds | None
    """Seconds from injection to the centre of acquisition; null when unknown."""
    confidence: Probability
    """How sure the phase's name is, 0 to 1."""
    evidence: tuple[str, ...]
    """Why the series is thought to be this phase."""
    alignment: AlignmentRecord | None
    """Quality of the registration; null for the reference phase and for phases that needed none."""
    given_to_model: bool | None = None
    """Whether the model was given this phase; false for one that is not aligned or cuts the liver.
    Null without a model."""
    series_instance_uid: str | None = None
    """DICOM identifier of the series it was read from; null when unknown or no DICOM."""
    sop_instance_uids: tuple[str, ...] = ()
    """DICOM identifiers of its images in the order of the slices, one in all for a multi-frame
    image; empty when unknown or no DICOM."""


class StudyRecord(Record):
    """What was read."""

    case_id: str
    """A pseudonym, never a name or a hospital number."""
    modality: Literal["CT", "MR"]
    """"CT" or "MR"."""
    body_part: Literal["abdomen", "chest"] | None = None
    """The part of the body that was scanned; null when unknown."""
    species: Literal["human", "rat"] | None = None
    """Who was scanned; null when unknown."""
    study_instance_uid: str | None = None
    """DICOM identifier of the study; null when unknown or no DICOM."""
    agent: str | None
    """Contrast agent; null when unknown."""
    reference_phase: PhaseName
    """The phase on whose grid masks and `bbox` lie."""
    shape: tuple[int, int, int]
    """Voxels of that grid along Z, Y, X."""
    spacing_mm: tuple[float, float, float]
    """Voxel size along Z, Y, X, mm."""
    affine: tuple[Row, Row, Row, Row] | None = None
    """From indices (Z, Y, X, 1) of that grid, as `bbox` counts them, to LPS, mm; null in findings
    before it was written."""
    mask_axes: tuple[MaskAxis, MaskAxis, MaskAxis] | None = None
    """The axes of the arrays in lesions.nii.gz and liver.nii.gz, which are those of a NIfTI input:
    each is one of `bbox`, with a minus where it runs backwards; null in findings before it was
    written."""
    phases: tuple[PhaseRecord, ...]
    """The phases found, in the order of the bolus."""
    warnings: tuple[str, ...]
    """What was missing or doubtful while reading and registering."""


class LiverRecord(Record):
    """The liver with its lesions."""

    volume_ml: Millilitres
    """Volume with the lesions, ml; 0 when a liver was looked for and none was found."""
    volume_interval_ml: Bounds | None = None
    """Its 90 % interval; null where none was found, and in findings before it was written."""


class PatientRecord(Record):
    """The patient as a whole."""

    type_probabilities: dict[TypeName, Probability]
    """Per type, how probably there is at least one such lesion, 0 to 1, by `rule`."""
    malignant_probability: Probability
    """The same for being malignant: the probabilities of the malignant types together."""
    rule: PatientRule = "lesions"
    """How: "lesions", the largest score x probability over the lesions, and so at least this
    probably; "liver-max", the largest probability at any voxel in the liver."""


class ScoreRecord(Record):
    """A number that a model says of the whole study."""

    name: str
    """What it is, in lower case with underscores, as "fat_fraction"."""
    value: Intensity
    """The number."""
    unit: str
    """Its unit, "" for none."""


class ClassRecord(Record):
    """A class that a model gives the whole study."""

    name: str
    """What is told apart, in lower case with underscores, as "response"."""
    probabilities: dict[str, Probability]
    """Probability per class, 0 to 1; they sum to 1."""


class CaseRecord(Record):
    """What a model says of the whole study."""

    scores: tuple[ScoreRecord, ...] = ()
    """Numbers."""
    classes: tuple[ClassRecord, ...] = ()
    """Classes with probabilities."""


class SegmentationRecord(Record):
    """Whose masks were measured."""

    source: str
    """Who drew them: the name of a model or a program, or "manual"."""
    method: Literal["automatic", "semiautomatic", "manual"]
    """How: "automatic" by a model of liverleaf, "manual" by a person, "semiautomatic" by another
    program, with or without a person's help."""
    organs: tuple[str, ...]
    """The organs that were outlined, in lower case, as "liver"."""
    drawn_on: PhaseName | None = None
    """The phase on which lesions were drawn, from where they were carried to the reference phase;
    null for a model's."""
    liver_source: str | None = None
    """Who outlined the liver, where that was not `source`."""


class Provenance(Record):
    """Where these numbers come from."""

    versions: dict[str, str]
    """Version per software package."""
    commit: str | None = None
    """Commit of liverleaf; null when unknown."""
    weights_sha256: str | None = None
    """SHA-256 of the network's weights; null when unknown."""
    seconds: dict[str, Seconds] = Field(default_factory=dict)
    """Wall-clock seconds per stage."""
    memory_mb: dict[str, float] = Field(default_factory=dict)
    """Largest resident memory within each stage, MB; empty where the system cannot tell."""
    peak_memory_mb: float | None = None
    """Largest resident memory of the process, MB; null when unknown."""


class Findings(Record):
    """Everything that was found in one study."""

    schema_version: Literal["2.0"] = SCHEMA_VERSION
    """Version of this schema."""
    research_use_only: str = RESEARCH_USE_ONLY
    """What these findings must not be used for."""
    model: str | None = None
    """Name of the model; null where masks were measured without one."""
    study: StudyRecord
    """What was read."""
    segmentation: SegmentationRecord | None = None
    """Whose masks were measured; null where nothing was outlined."""
    liver: LiverRecord | None = None
    """The liver with its lesions; null where nobody outlined it."""
    patient: PatientRecord | None = None
    """The patient as a whole; null where lesions are not typed."""
    case: CaseRecord | None = None
    """What a model says of the whole study; null where it says nothing."""
    lesions: tuple[LesionRecord, ...]
    """The lesions in the order of their labels; empty when there is none."""
    li_rads: None = None
    """Room for LI-RADS categories; null in this version."""
    follow_up: None = None
    """Room for a comparison with earlier studies; null in this version."""
    doubts: tuple[DoubtRecord, ...] = ()
    """What is hardly plausible in the images or the outlines: probabilities do not hold there."""
    warnings: tuple[str, ...]
    """What makes the findings as a whole doubtful, one plain sentence each."""
    provenance: Provenance | None = None
    """Where these numbers come from; null until the run that made them is over."""

    def to_json(self) -> str:
        """The findings as indented JSON text, the same text for the same findings."""
        return self.model_dump_json(indent=2) + "\n"

    @staticmethod
    def read(path: Path) -> Findings:
        """Read a findings.json of this version, or one that version 0.1 wrote.

        Raises:
            InputError: the file is missing, damaged, or of a version that is not known here.
        """
        try:
            return Findings.from_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: is it a findings.json?") from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    @staticmethod
    def from_json(text: str) -> Findings:
        """Read the text of a findings.json, as `read` does.

        Raises:
            InputError: the text is damaged, or of a version that is not known here.
        """
        try:
            record = json.loads(text)
            version = record["schema_version"]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError("this is no findings.json: it has no schema_version") from error
        if version == "1.0":
            record = _from_1_0(record)
        elif version != SCHEMA_VERSION:
            raise InputError(
                f"findings of version {version} are not known here, only 1.0 and"
                f" {SCHEMA_VERSION}: use the liverleaf that wrote them, or a later one"
            )
        try:
            return Findings.model_validate(record)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"{where}: {first['msg']}") from error

    @staticmethod
    def json_schema() -> str:
        """The JSON Schema (draft 2020-12) of `to_json`, as JSON text.

        It is for readers: every MINOR of this MAJOR version passes.
        """
        schema = _readable(Findings.model_json_schema(mode="serialization"))
        major = SCHEMA_VERSION.partition(".")[0]
        version = schema["properties"]["schema_version"]
        version |= {"type": "string", "pattern": rf"^{major}\.[0-9]+$"}
        del version["const"]
        for room in ("li_rads", "follow_up"):  # a later MINOR will fill them
            del schema["properties"][room]["type"]
        named = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        return json.dumps(named, indent=2) + "\n"


def _readable(schema: Any) -> Any:
    """Let fields pass that a later version may add; descriptions as single lines."""
    if isinstance(schema, dict):
        return {
            key: " ".join(value.split())
            if key == "description" and isinstance(value, str)
            else _readable(value)
            for key, value in schema.items()
            if (key, value) != ("additionalProperties", False)
        }
    return [_readable(value) for value in schema] if isinstance(schema, list) else schema


def _from_1_0(record: Any) -> Any:
    """Findings as version 0.1 wrote them, in the present schema.

    Version 0.1 always had a model, whose masks it measured. What it did not write stays null.
    """
    try:
        blind = f"the model {record['model']} does not outline the liver" in record["warnings"]
        return {
            **record,
            "schema_version": SCHEMA_VERSION,
            "segmentation": {
                "source": record["model"],
                "method": "automatic",
                "organs": [] if blind else ["liver"],
            },
            "liver": None if blind else record["liver"],  # it took the whole image for liver
        }
    except (TypeError, KeyError) as error:
        raise InputError("these findings of version 1.0 are damaged") from error
