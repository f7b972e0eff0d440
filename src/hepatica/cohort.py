"""A folder of case folders: studies and their truth in, the same studies and splits by subject out.

A case folder holds `case.json`, one `<phase>.nii.gz` per phase and, where the truth is known, `truth/lesions.nii.gz`, `truth/organs.nii.gz`
and `truth/displacement_<phase>.nii.gz`.
"""

from __future__ import annotations

import json
import re
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal, NamedTuple

import highdicom as hd
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from threadpoolctl import threadpool_limits

from hepatica.labels import LesionType
from hepatica.study import Alignment, InputError, LesionTruth, Modality, OnDemand, Phase, PhaseImage, Study, Truth

CASE_FILE = "case.json"
COHORT_FILE = "cohort.json"
TO_RAS = np.array([-1, -1, 1], np.float32)
PARTIAL = ".partial-"
FIELD_STEP = 4
"""Displacements are stored at every fourth voxel along each axis."""

SaveCase = Callable[[Path, Study, Truth | None], None]
Progress = Callable[[int, int], None]


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
            raise InputError(f"{k} folds need 2 to {len(self.subjects)} (the number of subjects): choose another number of folds")
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
    _write(directory / file, image.volume)
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
    _write(directory / "truth/lesions.nii.gz", truth.lesions)
    if truth.organs is not None:
        _write(directory / "truth/organs.nii.gz", truth.organs)
    fields = {}
    for phase, field_mm in truth.displacement_mm.items():
        fields[_name(phase)] = f"truth/displacement_{_name(phase)}.nii.gz"
        _write_field(directory / fields[_name(phase)], field_mm, truth.lesions)
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
        _read(directory / entry.file, np.float32, entry.frame_of_reference_uid),
        entry.time_s,
        entry.confidence,
        entry.evidence,
        entry.description,
        alignment=Alignment(**entry.alignment) if entry.alignment else None,
    )


def write_cases(
    make: Callable[[int], tuple[Study, Truth | None]],
    cases: int,
    out: Path,
    *,
    settings: Mapping[str, Any],
    save: SaveCase = save_case,
    jobs: int = 1,
    progress: Progress | None = None,
) -> None:
    """Make studies one by one, in parallel, and save each in its own folder `out`/case-00000, -00001, ...; finished ones are kept.

    Args:
        make: from a case number to its study; sent to other processes when `jobs` is more than 1.
        cases: how many.
        out: a new or empty folder, or one that this function left unfinished.
        settings: what `make` depends on, as JSON; kept in `cohort.json` so that a cohort is only ever continued as it was begun.
        save: writes a case into a folder that does not exist yet.
        jobs: number of processes; the result does not depend on it.
        progress: called with the number of finished cases and `cases`.

    Raises:
        InputError: `out` holds anything else, or was begun with other settings.
    """
    _claim(out, settings)
    targets = [out / f"case-{index:05d}" for index in range(cases)]
    todo = [index for index, target in enumerate(targets) if not target.exists()]
    done = cases - len(todo)
    report = progress or _silent
    report(done, cases)
    if jobs == 1:
        for index in todo:
            _write_case(make, save, index, targets[index])
            report(done := done + 1, cases)
        return
    with ProcessPoolExecutor(jobs) as pool:
        work = partial(_write_case, make, save)
        futures = [pool.submit(work, index, targets[index]) for index in todo]
        try:
            for future in as_completed(futures):
                future.result()
                report(done := done + 1, cases)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


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


def _write_case(make: Callable[[int], tuple[Study, Truth | None]], save: SaveCase, index: int, target: Path) -> None:
    with threadpool_limits(1):  # processes share the work; threads under each would only stand in the others' way
        save(target, *make(index))


def _silent(_done: int, _total: int) -> None:
    """No progress wanted."""


def _claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Make `out` ready to be filled, or refuse it."""
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob(f"{PARTIAL}*"):
        shutil.rmtree(left)  # of a run that was killed
    begun = json.dumps(settings, indent=1, sort_keys=True) + "\n"
    file = out / COHORT_FILE
    if file.exists() and file.read_text(encoding="utf-8") != begun:
        raise InputError(f"{file} was written with other settings: choose a new folder, or the same settings to continue it")
    foreign = [path.name for path in out.iterdir() if path != file and not re.fullmatch(r"case-\d+", path.name)]
    if foreign or (not file.exists() and any(out.iterdir())):
        raise InputError(f"{out} holds other things ({', '.join(sorted(foreign)[:3]) or 'cases of unknown origin'}): choose a new folder")
    file.write_text(begun, encoding="utf-8")


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
    lesions = _read(directory / record.lesions, np.uint16, grid.frame_of_reference_uid)
    organs = _read(directory / record.organs, np.uint8, grid.frame_of_reference_uid) if record.organs else None
    for file, volume in ((record.lesions, lesions), (record.organs, organs)):
        if volume is not None and volume.spatial_shape != grid.spatial_shape:
            raise InputError(f"{directory / str(file)} has shape {volume.spatial_shape}, the reference phase {grid.spatial_shape}")
    fields = {_phase(name): partial(_read_field, directory / file, grid.spatial_shape) for name, file in record.displacement.items()}
    lesion_list = tuple(
        LesionTruth(entry.label, LesionType[entry.type.upper()], _by_phase(entry.curve), entry.kinetics) for entry in record.lesion_list
    )
    return Truth(
        lesions, organs, lesion_list, _by_phase(record.liver_curve), OnDemand(fields), diagnosis=record.diagnosis, markers=record.markers
    )


def _write(file: Path, volume: hd.Volume) -> None:
    array = volume.array
    if array.dtype == np.float32 and np.array_equal(array, np.clip(np.rint(array), -32768, 32767)):
        array = array.astype(np.int16)
    nib.save(volume.with_array(array).permute_spatial_axes([2, 1, 0]).to_nibabel(), file)


def _read(file: Path, dtype: type[np.generic], frame_of_reference_uid: str | None) -> hd.Volume:
    array, affine = _stored(file, dimensions=3)
    try:
        stored = hd.Volume(array, affine, "PATIENT", frame_of_reference_uid, from_reference_convention="RAS")
    except ValueError as error:
        raise InputError(f"{file}: its axes are sheared or degenerate; write the case again") from error
    volume = stored.permute_spatial_axes([2, 1, 0])
    return volume.with_array(np.ascontiguousarray(volume.array).astype(dtype, copy=False))


def _write_field(file: Path, field_mm: NDArray[np.float32], grid: hd.Volume) -> None:
    """A displacement at every fourth voxel where that tells it whole, as it does for smooth ones; else at every voxel."""
    shape = grid.spatial_shape
    nodes_mm = field_mm
    for axis, size in enumerate(shape):
        nodes_mm = np.tensordot(_onto_nodes(size), nodes_mm, axes=(1, axis))
        nodes_mm = np.moveaxis(nodes_mm, 0, axis)
    affine = grid.permute_spatial_axes([2, 1, 0]).to_nibabel().affine
    if nodes_mm.shape != field_mm.shape and np.allclose(between_nodes(nodes_mm, shape), field_mm, rtol=0, atol=1e-3):
        field_mm, affine = nodes_mm, affine @ np.diag([FIELD_STEP, FIELD_STEP, FIELD_STEP, 1])
    nib.save(nib.Nifti1Image((field_mm.transpose(2, 1, 0, 3) * TO_RAS).astype(np.float32), affine), file)  # type: ignore[no-untyped-call]


def _read_field(file: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    ras_mm, _ = _stored(file, dimensions=4)
    field_mm = np.ascontiguousarray(ras_mm.transpose(2, 1, 0, 3) * TO_RAS, np.float32)
    return field_mm if field_mm.shape[:3] == shape else between_nodes(field_mm, shape)


def _onto_nodes(size: int) -> NDArray[np.float32]:
    """Weights (nodes, size) that read a line of voxels at every fourth; a node beyond its end continues the last two."""
    nodes = -(-(size - 1) // FIELD_STEP) + 1
    weights = np.zeros((nodes, size), np.float32)
    inside = np.arange(0, size, FIELD_STEP)
    weights[np.arange(inside.size), inside] = 1
    if inside.size < nodes:
        beyond = FIELD_STEP * (nodes - 1) - (size - 1)
        weights[-1, -1], weights[-1, -2] = 1 + beyond, -beyond
    return weights


def between_nodes(nodes_mm: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A field at every voxel of a grid of `shape`, from its values (nodes along Z, Y, X, components) at every `FIELD_STEP`th, linearly."""
    for axis, size in enumerate(shape):
        at = np.arange(nodes_mm.shape[axis]) * FIELD_STEP
        weights = np.stack([np.interp(np.arange(size), at, unit) for unit in np.eye(at.size)], axis=1).astype(np.float32)
        nodes_mm = np.moveaxis(np.tensordot(weights, nodes_mm, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(nodes_mm, np.float32)


def _stored(file: Path, *, dimensions: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The array and the affine of a NIfTI file, in its own order and convention."""
    if not file.is_file():
        raise InputError(f"{file} is missing: the case folder is incomplete")
    try:
        image: Any = nib.load(file)
        array = np.asarray(image.dataobj)
    except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{file} cannot be read as NIfTI: it is damaged or something else; write the case again") from error
    if array.ndim != dimensions:
        raise InputError(f"{file} has {array.ndim} dimensions, expected {dimensions}")
    return array, np.asarray(image.affine)


def _name(phase: Phase) -> str:
    return phase.name.lower()


def _phase(name: str) -> Phase:
    return Phase[name.upper()]


def _by_name(curve: Mapping[Phase, float]) -> dict[str, float]:
    return {_name(phase): value for phase, value in curve.items()}


def _by_phase(curve: Mapping[str, float]) -> dict[Phase, float]:
    return {_phase(name): value for name, value in curve.items()}
