"""A folder of case folders: studies and their truth in, the same studies and splits by subject out.

A case folder holds `case.json`, one `<phase>.nii.gz` per phase and, where the truth is known, `truth/lesions.nii.gz`, `truth/organs.nii.gz`
and `truth/displacement_<phase>.nii.gz`.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal, NamedTuple

import highdicom as hd
import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from hepatica.labels import LesionType
from hepatica.study import Alignment, InputError, LesionTruth, Modality, OnDemand, Phase, PhaseImage, Study, Truth
from hepatica.volume_files import load_field, load_volume, save_field, save_volume

CASE_FILE = "case.json"
COHORT_FILE = "cohort.json"
PARTIAL = ".partial-"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PhaseRecord(_Record):
    """One phase in `case.json`; fields as in `PhaseImage`."""

    file: str
    time_s: float | None = None
    confidence: float = 1.0
    evidence: tuple[str, ...] = ()
    description: str = ""
    frame_of_reference_uid: str | None = None
    alignment: dict[str, Any] | None = None


class LesionRecord(_Record):
    """One lesion in `case.json`; curves are keyed by the phase's lower-case name."""

    label: int
    type: str
    curve: dict[str, float]
    kinetics: dict[str, float] = {}


class TruthRecord(_Record):
    """The truth in `case.json`."""

    lesions: str
    organs: str | None = None
    displacement: dict[str, str] = {}
    lesion_list: tuple[LesionRecord, ...] = ()
    liver_curve: dict[str, float] = {}
    diagnosis: str = ""
    markers: dict[str, float | str] = {}


class CaseRecord(_Record):
    """All of `case.json`. File names are relative to the case folder."""

    schema_version: Literal[1] = 1
    case_id: str
    subject_id: str
    modality: Modality
    agent: str | None = None
    warnings: tuple[str, ...] = ()
    phases: dict[str, PhaseRecord]
    other: dict[str, PhaseRecord] = {}
    week: float | None = None
    truth: TruthRecord | None = None

    @property
    def lesion_types(self) -> frozenset[LesionType]:
        """The types of lesion in this case; empty without lesions or without truth."""
        return frozenset(LesionType[lesion.type.upper()] for lesion in self.truth.lesion_list) if self.truth else frozenset()


class Split(NamedTuple):
    """Indices into a cohort."""

    train: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class Cohort:
    """An index of case folders; images are read only when a case is asked for.

    Attributes:
        directories: the case folders, sorted by name.
        records: their `case.json`, in the same order.
    """

    directories: tuple[Path, ...]
    records: tuple[CaseRecord, ...]

    @classmethod
    def open(cls, directory: Path) -> Cohort:
        """Index every case folder directly inside `directory`.

        Raises:
            InputError: there is none, one is broken, or two carry one case id.
        """
        if not directory.is_dir():
            raise InputError(f"{directory} is not a folder: give a cohort, a folder of case folders")
        folders = tuple(sorted(path.parent for path in directory.glob(f"*/{CASE_FILE}") if not path.parent.name.startswith(".")))
        if not folders:
            raise InputError(f"{directory} holds no case folder (a folder with {CASE_FILE}): is it a cohort?")
        records = tuple(_read_record(folder) for folder in folders)
        twice = [case_id for case_id, times in Counter(r.case_id for r in records).items() if times > 1]
        if twice:
            names = " and ".join(f.name for f, r in zip(folders, records, strict=True) if r.case_id == twice[0])
            raise InputError(f"{directory}: {names} carry the same case_id in {CASE_FILE}; give each its own")
        return cls(folders, records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Study, Truth | None]:
        return load_case(self.directories[index])

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subject ids, each once, in the order of the cases."""
        return tuple(dict.fromkeys(record.subject_id for record in self.records))

    def folds(self, k: int, seed: int) -> tuple[Split, ...]:
        """Split into k folds for cross-validation: a subject lies in one fold only, lesion types are spread evenly.

        Subjects are dealt one by one, those with the rarest type first, to the fold that has least of that type, and of those to the
        fold with the fewest cases (iterative stratification, Sechidis et al., ECML 2011).

        Raises:
            InputError: fewer subjects than folds.
        """
        if not 2 <= k <= len(self.subjects):
            raise InputError(
                f"{k} {'folds' if k > 1 else 'fold'} cannot be made of {len(self.subjects)} subjects: two or more, each with a subject"
            )
        cases: dict[str, list[int]] = {subject: [] for subject in self.subjects}
        for index, record in enumerate(self.records):
            cases[record.subject_id].append(index)
        types = {s: frozenset().union(*(self.records[i].lesion_types for i in cases[s])) for s in cases}
        totals = Counter(t for found in types.values() for t in found)
        order = np.random.default_rng(seed).permutation(list(cases)).tolist()
        order.sort(key=lambda subject: min((totals[t] for t in types[subject]), default=len(cases)))
        folds: list[list[str]] = [[] for _ in range(k)]
        for subject in order:
            rarest = min(types[subject], key=lambda t: (totals[t], t), default=None)
            held = [(sum(rarest in types[s] for s in fold), sum(len(cases[s]) for s in fold)) for fold in folds]
            folds[held.index(min(held))].append(subject)
        tests = [tuple(sorted(i for subject in fold for i in cases[subject])) for fold in folds]
        return tuple(Split(tuple(i for i in range(len(self)) if i not in set(test)), test) for test in tests)


def save_case(directory: Path, study: Study, truth: Truth | None = None) -> None:
    """Write one case folder; it appears whole or not at all. DICOM headers are not kept.

    Args:
        directory: the case folder, which must not exist yet.
        study: whole-numbered volumes are stored as int16, others as float32, both without loss.
        truth: on the study's reference grid.

    Raises:
        InputError: the folder exists.
    """
    with new_directory(directory) as partial_directory:
        record = CaseRecord(
            case_id=study.case_id,
            subject_id=study.subject_id or study.case_id,
            modality=study.modality,
            agent=study.agent,
            warnings=study.warnings,
            phases={_name(phase): _save_image(partial_directory, _name(phase), image) for phase, image in study.phases.items()},
            other={name: _save_image(partial_directory, name, image) for name, image in study.other.items()},
            week=study.week,
            truth=save_truth(partial_directory, truth) if truth else None,
        )
        (partial_directory / CASE_FILE).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")


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


def save_truth(directory: Path, truth: Truth) -> TruthRecord:
    """Write the truth's volumes into `directory`/truth and return their record."""
    (directory / "truth").mkdir()
    save_volume(directory / "truth/lesions.nii.gz", truth.lesions)
    if truth.organs is not None:
        save_volume(directory / "truth/organs.nii.gz", truth.organs)
    fields = {}
    for phase, field_mm in truth.displacement_mm.items():
        fields[_name(phase)] = f"truth/displacement_{_name(phase)}.nii.gz"
        save_field(directory / fields[_name(phase)], field_mm, truth.lesions)
    return TruthRecord(
        lesions="truth/lesions.nii.gz",
        organs="truth/organs.nii.gz" if truth.organs is not None else None,
        displacement=fields,
        lesion_list=tuple(
            LesionRecord(label=t.label, type=t.type.name.lower(), curve=_by_name(t.curve), kinetics=dict(t.kinetics))
            for t in truth.lesion_list
        ),
        liver_curve=_by_name(truth.liver_curve),
        diagnosis=truth.diagnosis,
        markers=dict(truth.markers),
    )


def load_case(directory: Path) -> tuple[Study, Truth | None]:
    """Read one case folder.

    Raises:
        InputError: a file is missing, broken or contradicts another; the message names it.
    """
    record = _read_record(directory)
    study = Study(
        record.modality,
        {_phase(name): _load_image(directory, entry) for name, entry in record.phases.items()},
        record.case_id,
        record.agent,
        record.warnings,
        subject_id=record.subject_id,
        week=record.week,
        other={name: _load_image(directory, entry) for name, entry in record.other.items()},
    )
    return study, _load_truth(directory, record.truth, study.grid) if record.truth else None


def _load_image(directory: Path, entry: PhaseRecord) -> PhaseImage:
    return PhaseImage(
        load_volume(directory / entry.file, np.float32, entry.frame_of_reference_uid),
        entry.time_s,
        entry.confidence,
        entry.evidence,
        entry.description,
        alignment=Alignment(**entry.alignment) if entry.alignment else None,
    )


@contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """A temporary folder that becomes `final` when the block ends, and vanishes when it fails.

    Raises:
        InputError: `final` exists already.
    """
    if final.exists():
        raise InputError(f"{final} exists already: remove it or choose another folder")
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(mkdtemp(prefix=f"{PARTIAL}{final.name}-", dir=final.parent))
    try:
        temporary.chmod(0o755)
        yield temporary
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _read_record(directory: Path) -> CaseRecord:
    file = directory / CASE_FILE
    if not file.is_file():
        raise InputError(f"{file} is missing: {directory.name} is not a case folder")
    try:
        record = CaseRecord.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{file}: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not a text file in UTF-8") from error
    _check_names(file, record)
    return record


def _check_names(file: Path, record: CaseRecord) -> None:
    """Phases and lesion types are ours."""
    lesions = record.truth.lesion_list if record.truth else ()
    used = [*record.phases, *(record.truth.liver_curve if record.truth else ()), *(name for lesion in lesions for name in lesion.curve)]
    for name in used:
        if name.upper() not in Phase.__members__:
            raise InputError(f"{file}: {name!r} is no phase; use {', '.join(map(_name, Phase))}")
    for lesion in lesions:
        if lesion.type.upper() not in LesionType.__members__:
            raise InputError(f"{file}: {lesion.type!r} is no lesion type; use {', '.join(t.name.lower() for t in LesionType)}")
    if not record.phases:
        raise InputError(f"{file}: phases: a study needs at least one")


def _load_truth(directory: Path, record: TruthRecord, grid: hd.Volume) -> Truth:
    lesions = load_volume(directory / record.lesions, np.uint16, grid.frame_of_reference_uid)
    organs = load_volume(directory / record.organs, np.uint8, grid.frame_of_reference_uid) if record.organs else None
    for file, volume in ((record.lesions, lesions), (record.organs, organs)):
        if volume is not None and volume.spatial_shape != grid.spatial_shape:
            raise InputError(f"{directory / str(file)} has shape {volume.spatial_shape}, the reference phase {grid.spatial_shape}")
    fields = {_phase(name): partial(load_field, directory / file, grid.spatial_shape) for name, file in record.displacement.items()}
    lesion_list = tuple(
        LesionTruth(entry.label, LesionType[entry.type.upper()], _by_phase(entry.curve), entry.kinetics) for entry in record.lesion_list
    )
    return Truth(
        lesions, organs, lesion_list, _by_phase(record.liver_curve), OnDemand(fields), diagnosis=record.diagnosis, markers=record.markers
    )


def _name(phase: Phase) -> str:
    return phase.name.lower()


def _phase(name: str) -> Phase:
    return Phase[name.upper()]


def _by_name(curve: Mapping[Phase, float]) -> dict[str, float]:
    return {_name(phase): value for phase, value in curve.items()}


def _by_phase(curve: Mapping[str, float]) -> dict[Phase, float]:
    return {_phase(name): value for name, value in curve.items()}
