"""A study read from NIfTI files, whose phases their names tell, and a report on each file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel as nib
import numpy as np
from nibabel.imageglobals import ErrorLevel, LoggingOutputSuppressor

from liverleaf.ingest.dicom.frames import MAX_POSITION_MM, MAX_SPACING_MM, MIN_SPACING_MM
from liverleaf.ingest.dicom.pixels import MAX_VOXELS
from liverleaf.ingest.hounsfield import (
    OFFSET,
    doubts_hounsfield,
    looks_like_ct,
    not_hounsfield,
    offset_to_hounsfield,
)
from liverleaf.ingest.inspection import Examination, Inspection, SeriesReport
from liverleaf.ingest.phases.ct_enhancement import SAMPLED_SLICES, shows_contrast
from liverleaf.ingest.phases.descriptions import phase_in_words, plain_words
from liverleaf.ingest.phases.override import PhaseRow, decisions, rows_of_study
from liverleaf.ingest.phases.reasons import PhaseGuess, Reason, ReasonCode, not_a_phase
from liverleaf.storage.volumes import affine_mm, check_sums, placement_warnings, unit_of_length
from liverleaf.study import InputError, Modality, Phase, PhaseImage, Study
from liverleaf.system.files import printable

MASK = r"\b(seg|segm|segmentations?|masks?|labels?|roi|gt|annotations?|truth)\b"
MASK_UNLESS_PHASE = r"\b(liver|lesions?|tumou?rs?|organs?|vessels?)\b"
ENDING = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
AIR_HU = -500.0
MENDED = 30
"""From this level on, what nibabel finds in a header changes what is read."""


@dataclass(frozen=True)
class NiftiImage:
    """One file that has been read.

    Attributes:
        volume: float32 (Z, Y, X) towards head, back and left of the patient; HU for CT.
        modality: what a person says, else by its intensities.
        warnings: what was mended.
        file_grid: the grid of the file, its axes in the file's order.
    """

    volume: hd.Volume
    modality: Modality
    warnings: tuple[str, ...]
    file_grid: hd.VolumeGeometry


@dataclass(frozen=True)
class _File:
    """What one file of a study was taken for.

    Attributes:
        path: where it lies.
        guess: its phase, or that it is none; None where nothing tells.
        image: what was read of it, None where it cannot be read.
        trouble: why it cannot be read, or what is doubtful about it.
        excluded: whether it is left out, as masks and other contrasts are.
    """

    path: Path
    guess: PhaseGuess | None
    image: NiftiImage | None = None
    trouble: str = ""
    excluded: bool = False


def is_nifti(path: Path) -> bool:
    """Whether a file is called like one."""
    return ENDING.search(path.name) is not None


def is_mask(path: Path) -> bool:
    """Whether a NIfTI file is called like a mask and not like a phase."""
    name = _words(path)
    return re.search(MASK, name) is not None or (
        phase_in_words(name) is None and re.search(MASK_UNLESS_PHASE, name) is not None
    )


def examine_nifti(
    files: Sequence[Path],
    table: Sequence[PhaseRow] = (),
    modality: Modality | None = None,
    shown: Callable[[Path], Path] = lambda path: path,
) -> Examination:
    """Read the phases of one study, one file each, and tell of each file what became of it.

    The phase is told by the file name (pre, native, nc, art, portal, pv, ven, del, late, 3min, hbp,
    C+A, ...); files that are called like masks or like other contrasts (T2, DWI) are left out. A
    single file without such a word is taken for one phase, with a warning. The study is refused
    where a file that may be a phase cannot be read, two files are of one phase, or several names do
    not tell the phase.

    Args:
        files: of the study.
        table: what a person says of them by their names, which counts for more than the names
            themselves.
        modality: what a person says the images are; None to go by the intensities.
        shown: where the user has a file, for those of an unpacked zip.

    Raises:
        InputError: the table does not fit the files.
    """
    sorted_out = _sort_out(sorted(files), table, modality, shown)
    alone = sum(not file.excluded for file in sorted_out) == 1
    read = [_read(file, modality, alone=alone) for file in sorted_out]
    refused = _refusal(read)
    reports = tuple(_report(file, files, shown, used=not refused) for file in read)
    unused = {
        file.path: file.guess.evidence[0] if file.guess else file.trouble
        for file in read
        if file.excluded
    }
    if refused:
        return Examination(None, Inspection(reports, refused=refused), unused)
    images = [file.image for file in read if file.image is not None and not file.excluded]
    notes = [note for image in images for note in image.warnings]
    found = images[0].modality
    general = []
    if modality is None:
        general.append(
            f"NIfTI does not tell the modality: taken for {found} by the intensities (--modality"
            " says otherwise)"
        )
    if left_out := len(read) - len(images):
        general.append(
            f"{left_out} of {len(files)} files were left out: by their names they are masks or"
            " other contrasts, or the table says so"
        )
    case_id = _case_id([image.volume for image in images])
    study = Study(found, _phases(read), case_id, None, (*notes, *general))
    return Examination(study, Inspection(reports, tuple(general)), unused)


def _phases(read: Sequence[_File]) -> dict[Phase, PhaseImage]:
    """The images of files that are not refused, by phase."""
    return {
        guess.phase: PhaseImage(
            image.volume, None, guess.confidence, guess.evidence, file_grid=image.file_grid
        )
        for image, guess in ((file.image, file.guess) for file in read)
        if image is not None and guess is not None and guess.phase is not None
    }


def _refusal(read: Sequence[_File]) -> str:
    """Why no study can be made of the files, "" where one can."""
    images = [file for file in read if not file.excluded]
    if not images:
        return (
            f"all {len(read)} NIfTI files are called like masks or other contrasts; give the"
            " contrast phases"
        )
    unnamed = [file.path.name for file in images if file.guess is None]
    if unnamed and len(images) > 1:
        return (
            f"file names do not tell the phase of {', '.join(unnamed)}; name them pre, arterial,"
            " portal, delayed or hepatobiliary"
        )
    if troubles := [file.trouble for file in images if file.image is None]:
        return troubles[0]
    phases: set[Phase | None] = set()
    for file in images:
        phase = None if file.guess is None else file.guess.phase
        if phase is not None and phase in phases:
            return (
                f"two files are of the {phase.title} phase, one is {file.path.name}; leave one of"
                " them out"
            )
        phases.add(phase)
    if len({file.image.modality for file in images if file.image is not None}) > 1:
        return (
            "some NIfTI files look like CT and others like MR by their intensities; give one study,"
            " or say with --modality which it is"
        )
    return ""


def _sort_out(
    files: Sequence[Path],
    table: Sequence[PhaseRow],
    modality: Modality | None,
    shown: Callable[[Path], Path],
) -> list[_File]:
    """The files with the phase that the table or their names tell."""
    places = [printable(str(shown(path))) for path in files]
    by_table = decisions(
        rows_of_study(table, {printable(str(shown(path).parent)) for path in files}),
        [(printable(path.name), place) for path, place in zip(files, places, strict=True)],
    )
    found = []
    for index, path in enumerate(files):
        guess = by_table.get(index)
        if guess is not None:
            found.append(_File(path, guess, excluded=guess.phase is None))
        elif len(files) > 1 and is_mask(path):
            none = not_a_phase(0.9, ReasonCode.MASK_BY_NAME)
            found.append(_File(path, none, excluded=True))
        else:
            guess = phase_in_words(_words(path), modality=modality)
            other = guess is not None and guess.phase is None
            if guess is not None and other and len(files) > 1:
                found.append(_File(path, replace(guess, confidence=0.9), excluded=True))
            else:  # a lone file is an image, whatever its name
                found.append(_File(path, None if other else guess))
    return found


def _words(path: Path) -> str:
    """A file name as words, without ending and BIDS subject ("sub-01", which is no subtraction)."""
    stem = re.sub(r"\bsub-[^_]*_?", "", ENDING.sub("", path.name), flags=re.IGNORECASE)
    return re.sub(r"[-.]+", " ", plain_words(stem))


def _read(file: _File, modality: Modality | None, *, alone: bool) -> _File:
    """Read one file; where the name of a lone one tells no phase, its intensities must do."""
    try:
        image = _nifti_image(file.path, modality, excluded=file.excluded)
    except InputError as error:
        return replace(file, trouble=str(error))
    if file.guess is not None or not alone:
        return replace(file, image=image)
    guess = _by_intensity(image.volume, image.modality)
    note = f"the file name does not tell the phase: {'; '.join(guess.evidence)}"
    return replace(file, guess=guess, image=replace(image, warnings=(*image.warnings, note)))


def _nifti_image(path: Path, said: Modality | None, *, excluded: bool) -> NiftiImage:
    """One file, CT in HU unless it is left out.

    Raises:
        InputError: it cannot be read, or is CT in no HU.
    """
    volume, notes = read_nifti_volume(path)
    modality = said or (Modality.CT if looks_like_ct(volume.array) else Modality.MR)
    if modality is Modality.CT and not excluded:
        volume, more = _in_hounsfield_units(volume, path.name, said=said is not None)
        notes += more
    return NiftiImage(volume, modality, tuple(notes), _file_grid(path))


def _in_hounsfield_units(
    volume: hd.Volume, name: str, *, said: bool
) -> tuple[hd.Volume, list[str]]:
    """A CT image in HU, which its values alone must tell, and a warning where they were mended.

    Raises:
        InputError: they do not tell, and only a person says that this is CT.
    """
    offset = offset_to_hounsfield(volume.array)
    if offset is None and said:
        raise not_hounsfield(volume.array, name)
    if offset:
        array = np.maximum(volume.array + np.float32(offset), np.float32(-OFFSET))
        return volume.with_array(array), [
            f"{name}: its tissue has values near {-offset:.0f}, so {-offset:.0f} was subtracted to"
            " make HU"
        ]
    low = float(volume.array.min())
    if low > AIR_HU:
        return volume, [
            f"{name}: no value is below {low:.0f}: taken for HU that were cut off there, so air and"
            " lungs do not show"
        ]
    return volume, doubts_hounsfield(volume.array, name)


def _file_grid(path: Path) -> hd.VolumeGeometry:
    """The grid of a file that has been read, its axes in the file's order."""
    image, _ = _loaded(path)
    return hd.VolumeGeometry(
        affine_mm(image), image.shape[:3], "PATIENT", from_reference_convention="RAS"
    )


def read_nifti_volume(path: Path) -> tuple[hd.Volume, list[str]]:
    """Read one image whatever its orientation, and say what was mended in it.

    Returns:
        The image, float32 (Z, Y, X) towards head, back and left of the patient; warnings.

    Raises:
        InputError: the file is damaged, too large, has no three axes, or names an impossible place
            for its voxels.
    """
    try:
        image, notes = _loaded(path)
        if np.prod(image.shape, dtype=float) > MAX_VOXELS:
            raise InputError(
                f"{path.name} has shape {image.shape}, too large to read; crop or resample it first"
            )
        array = np.asarray(image.dataobj, dtype=np.float32)
        check_sums(path)
        affine = affine_mm(image)
        notes += placement_warnings(image)
    except InputError:
        raise
    except Exception as error:  # nibabel, gzip and numpy raise anything on damaged files
        raise InputError(
            f"{path.name} cannot be read as NIfTI: it is damaged or something else; export it again"
        ) from error
    if array.ndim > 3 and array.size == np.prod(array.shape[:3]):
        array = array.reshape(array.shape[:3])
    if array.ndim != 3 or not array.size:
        raise InputError(
            f"{path.name} has shape {array.shape}, a phase has three axes; give one file per phase"
        )
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if not (
        spacing_mm.min() > MIN_SPACING_MM
        and spacing_mm.max() < MAX_SPACING_MM
        and np.abs(affine[:3, 3]).max() < MAX_POSITION_MM
    ):
        raise InputError(
            f"{path.name} names an impossible voxel size or position ({_size_in_words(image)});"
            " export it again"
        )
    if not np.isfinite(array).all():
        notes.append("values that are not numbers were set to the lowest value")
        finite = array[np.isfinite(array)]
        array = np.where(np.isfinite(array), array, finite.min() if finite.size else 0)
    try:
        volume = hd.Volume(array, affine, "PATIENT", from_reference_convention="RAS")
    except ValueError as error:
        raise InputError(
            f"{path.name}: its axes are sheared or degenerate; resample it onto a regular grid"
            " first"
        ) from error
    volume = volume.to_patient_orientation("HPL")
    return volume.with_array(np.ascontiguousarray(volume.array, dtype=np.float32)), notes


def _size_in_words(image: Any) -> str:
    """The voxel size that a header names, in its own unit."""
    size = np.linalg.norm(np.asarray(image.affine, np.float64)[:3, :3], axis=0)
    unit = unit_of_length(image)
    return f"{' x '.join(f'{edge:.3g}' for edge in size)} {'mm' if unit == 'unknown' else unit}"


def _loaded(path: Path) -> tuple[Any, list[str]]:
    """The file as nibabel reads it, which mends impossible headers, and a warning where it did."""
    with LoggingOutputSuppressor():
        try:
            with ErrorLevel(MENDED):
                return nib.load(path), []
        except nib.spatialimages.HeaderDataError:
            return nib.load(path), [
                "a NIfTI header held impossible values that were mended: orientation and voxel size"
                " may be wrong"
            ]


def _by_intensity(volume: hd.Volume, modality: Modality) -> PhaseGuess:
    """The guess for a lone image whose name tells nothing."""
    if modality is Modality.MR:
        return PhaseGuess(Phase.PRE, 0.2, (Reason.of(ReasonCode.MR_OF_UNKNOWN_PHASE),))
    chosen = np.unique(np.linspace(0, len(volume.array) - 1, SAMPLED_SLICES).round().astype(int))
    enhanced = shows_contrast(volume.array[chosen], volume.spacing[1])
    if enhanced is None:
        return PhaseGuess(Phase.PORTAL, 0.2, (Reason.of(ReasonCode.CT_OF_UNKNOWN_PHASE),))
    if enhanced:
        return PhaseGuess(Phase.PORTAL, 0.4, (Reason.of(ReasonCode.PIXELS_SHOW_CONTRAST),))
    return PhaseGuess(Phase.PRE, 0.6, (Reason.of(ReasonCode.PIXELS_SHOW_NO_CONTRAST),))


def _case_id(volumes: Sequence[hd.Volume]) -> str:
    """A pseudonym of the images' content, so that no file name is given away."""
    digest = hashlib.sha256()
    for volume in volumes:
        digest.update(volume.affine.tobytes() + volume.array[len(volume.array) // 2].tobytes())
    return f"case-{digest.hexdigest()[:8]}"


def _report(
    file: _File, files: Sequence[Path], shown: Callable[[Path], Path], *, used: bool
) -> SeriesReport:
    path, guess, image = shown(file.path), file.guess, file.image
    several = sum(other.name == path.name for other in files) > 1
    evidence = () if guess is None else guess.evidence
    report = SeriesReport(
        number=None,
        description=printable(path.name),
        modality="",
        slices=0,
        shape=(),
        spacing_mm=(None, None, None),
        phase=None if guess is None else guess.phase,
        used=used and not file.excluded,
        confidence=0.0 if guess is None else guess.confidence,
        evidence=evidence or ("the file name does not tell the phase",),
        warnings=(file.trouble,) if file.trouble else (),
        study=printable(str(path.parent)),
        series=printable(str(path) if several else path.name),
    )
    if image is None:
        return report
    return replace(
        report,
        modality=image.modality.value,
        slices=image.volume.shape[0],
        shape=image.volume.shape,
        spacing_mm=image.volume.spacing,
        warnings=image.warnings,
    )
