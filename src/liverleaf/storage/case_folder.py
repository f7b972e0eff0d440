"""Case folders: one study on disk with its annotation, written and read without loss.

A case folder holds `case.json`, one `<phase>.nii.gz` per phase and, where the truth is known,
`truth/lesions.nii.gz`, `truth/organs.nii.gz` and `truth/displacement_<phase>.nii.gz`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import highdicom as hd
import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from liverleaf.storage.volumes import (
    load_field,
    load_labels,
    load_volume,
    notes_on_placement,
    save_field,
    save_volume,
)
from liverleaf.study import (
    Alignment,
    Annotation,
    BodyPart,
    InputError,
    LesionAnnotation,
    Modality,
    OnDemand,
    Phase,
    PhaseImage,
    Species,
    Study,
)
from liverleaf.system.files import new_directory
from liverleaf.terminology import LesionType, Organ

CASE_FILE = "case.json"
DICOM_FOLDER = "dicom"
"""Inside a case folder: the DICOM that it was read from, de-identified, where that is kept."""

COHORT_FILE = "cohort.json"
"""Beside the case folders: what made them, so that a cohort is only continued as it was begun."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PhaseRecord(_Record):
    """One phase in `case.json`: the file of its images, and the other fields of `PhaseImage`."""

    file: str
    time_s: float | None = None
    confidence: float = 1.0
    evidence: tuple[str, ...] = ()
    description: str = ""
    frame_of_reference_uid: str | None = None
    alignment: dict[str, Any] | None = None


class LesionRecord(_Record):
    """One annotated lesion in `case.json`: the fields of `LesionAnnotation`, by their keys."""

    label: int
    type: str | None
    curve: dict[str, float]
    kinetics: dict[str, float] = {}


class TruthRecord(_Record):
    """An annotation in `case.json`: the files of its volumes, else the fields of `Annotation`."""

    lesions: str
    organs: str | None = None
    displacement: dict[str, str] = {}
    lesion_list: tuple[LesionRecord, ...] = ()
    liver_curve: dict[str, float] = {}
    diagnosis: str = ""
    markers: dict[str, float | str] = {}


class CaseRecord(_Record):
    """All of `case.json`: the fields of `Study`, and its annotation where it has one.

    File names are relative to the case folder.
    """

    schema_version: Literal[1] = 1
    case_id: str
    subject_id: str
    modality: Modality
    agent: str | None = None
    warnings: tuple[str, ...] = ()
    phases: dict[str, PhaseRecord]
    other: dict[str, PhaseRecord] = {}
    week: float | None = None
    body_part: BodyPart = BodyPart.ABDOMEN
    species: Species = Species.HUMAN
    truth: TruthRecord | None = None

    @property
    def lesion_types(self) -> frozenset[LesionType]:
        """The types of lesion in this case; empty without lesions or without an annotation."""
        lesions = self.truth.lesion_list if self.truth else ()
        return frozenset(LesionType.parse(lesion.type) for lesion in lesions if lesion.type)


def save_case(directory: Path, study: Study, truth: Annotation | None = None) -> None:
    """Write one case folder; it appears whole or not at all.

    Neither DICOM headers nor the source's identifiers are written: a case folder may stand for a
    patient under a pseudonym.

    Args:
        directory: the case folder, which must not exist yet.
        study: whole-numbered volumes are stored as int16, others as float32, both without loss.
        truth: its annotation, on the study's reference grid.

    Raises:
        InputError: the folder exists.
    """
    with new_directory(directory) as folder:
        record = CaseRecord(
            case_id=study.case_id,
            subject_id=study.subject_id or study.case_id,
            modality=study.modality,
            agent=study.agent,
            warnings=study.warnings,
            phases={
                phase.key: _save_image(folder, phase.key, image)
                for phase, image in study.phases.items()
            },
            other={name: _save_image(folder, name, image) for name, image in study.other.items()},
            week=study.week,
            body_part=study.body_part,
            species=study.species,
            truth=save_annotation(folder, truth) if truth else None,
        )
        (folder / CASE_FILE).write_text(_as_json(record), encoding="utf-8")


def _as_json(record: CaseRecord) -> str:
    """The text of `case.json`; what most studies have in common is left out.

    A model knows the cases it was trained on by the hash of this text, so fields that came later
    appear only where they say something.
    """
    later = {"body_part": BodyPart.ABDOMEN, "species": Species.HUMAN}
    usual = {name for name, value in later.items() if getattr(record, name) is value}
    return record.model_dump_json(indent=1, exclude=usual) + "\n"


def _save_image(directory: Path, name: str, image: PhaseImage) -> PhaseRecord:
    file = f"{name}.nii.gz"
    save_volume(directory / file, image.volume)
    return PhaseRecord(
        file=file,
        time_s=image.time_s,
        confidence=image.confidence,
        evidence=image.evidence,
        description=image.description,
        frame_of_reference_uid=image.volume.frame_of_reference_uid,
        alignment=asdict(image.alignment) if image.alignment else None,
    )


def save_annotation(directory: Path, truth: Annotation) -> TruthRecord:
    """Write an annotation's volumes into `directory`/truth.

    Returns:
        What `case.json` says of them.
    """
    (directory / "truth").mkdir()
    save_volume(directory / "truth/lesions.nii.gz", truth.lesions)
    if truth.organs is not None:
        save_volume(directory / "truth/organs.nii.gz", truth.organs)
    fields: dict[str, str] = {}
    for phase, field_mm in truth.displacement_mm.items():
        fields[phase.key] = f"truth/displacement_{phase.key}.nii.gz"
        save_field(directory / fields[phase.key], field_mm, truth.lesions)
    return TruthRecord(
        lesions="truth/lesions.nii.gz",
        organs="truth/organs.nii.gz" if truth.organs is not None else None,
        displacement=fields,
        lesion_list=tuple(
            LesionRecord(
                label=lesion.label,
                type=None if lesion.type is None else lesion.type.key,
                curve=_by_name(lesion.curve),
                kinetics=dict(lesion.kinetics),
            )
            for lesion in truth.lesion_list
        ),
        liver_curve=_by_name(truth.liver_curve),
        diagnosis=truth.diagnosis,
        markers=dict(truth.markers),
    )


def load_case(directory: Path) -> tuple[Study, Annotation | None]:
    """Read one case folder.

    Masks and displacements are put onto the reference phase's grid by their place in millimetres:
    another program may have stored them with their axes in another order.

    Raises:
        InputError: a file is missing, broken or contradicts another; the message names it.
    """
    record = read_case_record(directory)
    study = Study(
        record.modality,
        {Phase.parse(name): _load_image(directory, entry) for name, entry in record.phases.items()},
        record.case_id,
        record.agent,
        (*record.warnings, *_doubts(directory, record)),
        subject_id=record.subject_id,
        week=record.week,
        body_part=record.body_part,
        species=record.species,
        other={name: _load_image(directory, entry) for name, entry in record.other.items()},
    )
    return study, _load_annotation(directory, record.truth, study.grid) if record.truth else None


def _doubts(directory: Path, record: CaseRecord) -> list[str]:
    """What the headers of the files leave open about where their voxels lie."""
    files = [entry.file for entry in (*record.phases.values(), *record.other.values())]
    if record.truth:
        files += [file for file in (record.truth.lesions, record.truth.organs) if file]
    return [
        f"{file}: {note}"
        for file in dict.fromkeys(files)
        for note in notes_on_placement(directory / file)
    ]


def _load_image(directory: Path, entry: PhaseRecord) -> PhaseImage:
    volume = load_volume(directory / entry.file, np.float32, entry.frame_of_reference_uid)
    return PhaseImage(
        volume,
        entry.time_s,
        entry.confidence,
        entry.evidence,
        entry.description,
        alignment=Alignment(**entry.alignment) if entry.alignment else None,
        file_grid=volume.get_geometry().permute_spatial_axes([2, 1, 0]),
    )


def read_case_record(directory: Path) -> CaseRecord:
    """Read `case.json` alone.

    Raises:
        InputError: it is missing, broken, or names phases or lesion types that are not ours.
    """
    file = directory / CASE_FILE
    if not file.is_file():
        raise InputError(f"{file} is missing: {directory.name} is not a case folder")
    try:
        record = CaseRecord.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{file}: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not a text file in UTF-8") from error
    _check_names(file, record)
    return record


def _check_names(file: Path, record: CaseRecord) -> None:
    """Phases and lesion types are ours."""
    lesions = record.truth.lesion_list if record.truth else ()
    used = [
        *record.phases,
        *(record.truth.liver_curve if record.truth else ()),
        *(name for lesion in lesions for name in lesion.curve),
    ]
    for name in used:
        if name.upper() not in Phase.__members__:
            raise InputError(
                f"{file}: {name!r} is no phase; use {', '.join(phase.key for phase in Phase)}"
            )
    for lesion in lesions:
        if lesion.type and lesion.type.upper() not in LesionType.__members__:
            raise InputError(
                f"{file}: {lesion.type!r} is no lesion type; use"
                f" {', '.join(t.key for t in LesionType)}"
            )
    if not record.phases:
        raise InputError(f"{file}: phases: a study needs at least one")


def _load_annotation(directory: Path, record: TruthRecord, grid: hd.Volume) -> Annotation:
    lesions = load_labels(directory / record.lesions, np.uint16, grid)
    listed = {entry.label for entry in record.lesion_list}
    # a collection that does not tell types lists no lesion
    _check_listed(directory / record.lesions, lesions, listed | {0} if listed else None, CASE_FILE)
    organs = load_labels(directory / record.organs, np.uint8, grid) if record.organs else None
    if organs is not None:
        _check_listed(directory / str(record.organs), organs, set(Organ), "the list of organs")
    fields = {
        Phase.parse(name): partial(load_field, directory / file, grid)
        for name, file in record.displacement.items()
    }
    lesion_list = tuple(
        LesionAnnotation(
            entry.label,
            LesionType.parse(entry.type) if entry.type else None,
            _by_phase(entry.curve),
            entry.kinetics,
        )
        for entry in record.lesion_list
    )
    return Annotation(
        lesions,
        organs,
        lesion_list,
        _by_phase(record.liver_curve),
        OnDemand(fields),
        diagnosis=record.diagnosis,
        markers=record.markers,
    )


def _check_listed(file: Path, labels: hd.Volume, known: set[int] | None, where: str) -> None:
    unknown = [] if known is None else sorted({*np.unique(labels.array).tolist()} - known)
    if unknown:
        raise InputError(
            f"{file} holds the label {', '.join(map(str, unknown[:5]))}, which {where} does not"
            " name: correct the one or the other"
        )


def _by_name(curve: Mapping[Phase, float]) -> dict[str, float]:
    return {phase.key: value for phase, value in curve.items()}


def _by_phase(curve: Mapping[str, float]) -> dict[Phase, float]:
    return {Phase.parse(name): value for name, value in curve.items()}
