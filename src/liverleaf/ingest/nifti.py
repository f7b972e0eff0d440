"""A study read from NIfTI files, whose phases their names tell, and a report on each file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel as nib
import numpy as np
from nibabel.imageglobals import ErrorLevel, LoggingOutputSuppressor

from liverleaf.ingest.dicom.frames import MAX_POSITION_MM, MAX_SPACING_MM, MIN_SPACING_MM
from liverleaf.ingest.dicom.pixels import MAX_VOXELS
from liverleaf.ingest.inspection import Inspection, SeriesReport
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
        path: the file.
        volume: float32 (Z, Y, X) towards head, back and left of the patient.
        modality: by its intensities: only CT has values as low as air's.
        guess: its phase.
        warnings: what was mended.
        file_grid: the grid of the file, its axes in the file's order.
    """

    path: Path
    volume: hd.Volume
    modality: Modality
    guess: PhaseGuess
    warnings: tuple[str, ...]
    file_grid: hd.VolumeGeometry


def is_nifti(path: Path) -> bool:
    """Whether a file is called like one."""
    return ENDING.search(path.name) is not None


def is_mask(path: Path) -> bool:
    """Whether a NIfTI file is called like a mask and not like a phase."""
    name = _words(path)
    return re.search(MASK, name) is not None or (
        phase_in_words(name) is None and re.search(MASK_UNLESS_PHASE, name) is not None
    )


def read_nifti(
    files: Sequence[Path],
    table: Sequence[PhaseRow] = (),
    *,
    unused: dict[Path, str] | None = None,
) -> Study:
    """Read the phases of one study, one file each.

    The phase is told by the file name (pre, native, nc, art, portal, pv, ven, del, late, 3min, hbp,
    C+A, ...); files that are called like masks or like other contrasts (T2, DWI) are left out. A
    single file without such a word is taken for one phase, with a warning.

    Args:
        files: of the study.
        table: what a person says of them by their names, which counts for more than the names
            themselves.
        unused: gets the reason for each file that is not used.

    Raises:
        InputError: a file cannot be read, two files are of one phase, or several names do not tell
            the phase.
    """
    images, left_out = _sort_out(files, table)
    read = [_read(path, guess) for path, guess in images.items()]
    phases: dict[Phase, PhaseImage] = {}
    for image in read:
        phase = image.guess.phase
        assert phase is not None  # else _sort_out or _read would have raised
        if phase in phases:
            raise InputError(
                f"two files are of the {phase.title} phase, one is {image.path.name}; leave one of"
                " them out"
            )
        phases[phase] = PhaseImage(
            image.volume,
            None,
            image.guess.confidence,
            image.guess.evidence,
            file_grid=image.file_grid,
        )
    modalities = {image.modality for image in read}
    if len(modalities) > 1:
        raise InputError(
            "some NIfTI files look like CT and others like MR by their intensities; give one study"
        )
    notes = [note for image in read for note in image.warnings]
    notes.append(
        f"NIfTI does not tell the modality: taken for {read[0].modality} by the intensities"
    )
    if unused is not None:
        unused |= {path: guess.evidence[0] for path, guess in left_out.items()}
    if left_out:
        notes.append(
            f"{len(left_out)} of {len(files)} files were left out: by their names they are masks or"
            " other contrasts, or the table says so"
        )
    return Study(read[0].modality, phases, _case_id(read), None, tuple(notes))


def inspect_nifti(files: Sequence[Path], table: Sequence[PhaseRow] = ()) -> Inspection:
    """Tell of each file what it is taken for; takes and raises what `read_nifti` does."""
    images, left_out = _sort_out(files, table)
    reports = [_report(_read(path, guess), used=True) for path, guess in images.items()]
    reports += [
        _report(_read(path, replace(guess, confidence=0.9)), used=False)
        for path, guess in left_out.items()
    ]
    return Inspection(tuple(reports))


def _sort_out(
    files: Sequence[Path], table: Sequence[PhaseRow]
) -> tuple[dict[Path, PhaseGuess | None], dict[Path, PhaseGuess]]:
    """Images with the phase that the table or their names tell, and files that are none."""
    images: dict[Path, PhaseGuess | None] = {}
    left_out: dict[Path, PhaseGuess] = {}
    files = sorted(files)
    by_table = decisions(
        rows_of_study(table, {printable(str(path.parent)) for path in files}),
        [(printable(path.name), printable(str(path))) for path in files],
    )
    for index, path in enumerate(files):
        guess = by_table.get(index)
        if guess is not None and guess.phase is None:
            left_out[path] = guess
        elif guess is not None:
            images[path] = guess
        elif len(files) > 1 and is_mask(path):
            left_out[path] = not_a_phase(0.9, ReasonCode.MASK_BY_NAME)
        else:
            guess = phase_in_words(_words(path))
            excluded = guess is not None and guess.phase is None
            if guess is not None and excluded and len(files) > 1:
                left_out[path] = guess
            else:  # a lone file is an image, whatever its name
                images[path] = None if excluded else guess
    unnamed = [path.name for path, guess in images.items() if guess is None]
    if not images:
        raise InputError(
            f"all {len(files)} NIfTI files are called like masks or other contrasts; give the"
            " contrast phases"
        )
    if unnamed and len(images) > 1:
        raise InputError(
            f"file names do not tell the phase of {', '.join(unnamed)}; name them pre, arterial,"
            " portal, delayed or hepatobiliary"
        )
    return images, left_out


def _words(path: Path) -> str:
    """A file name as words, without ending and BIDS subject ("sub-01", which is no subtraction)."""
    stem = re.sub(r"\bsub-[^_]*_?", "", ENDING.sub("", path.name), flags=re.IGNORECASE)
    return re.sub(r"[-.]+", " ", plain_words(stem))


def _read(path: Path, guess: PhaseGuess | None) -> NiftiImage:
    """Read one file; where the name tells no phase, its intensities must do."""
    volume, notes = read_nifti_volume(path)
    modality = Modality.CT if float(volume.array.min()) < AIR_HU else Modality.MR
    if guess is None:
        guess = _by_intensity(volume, modality)
        notes.append(f"the file name does not tell the phase: {'; '.join(guess.evidence)}")
    return NiftiImage(path, volume, modality, guess, tuple(notes), _file_grid(path))


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


def _case_id(read: Sequence[NiftiImage]) -> str:
    """A pseudonym of the images' content, so that no file name is given away."""
    digest = hashlib.sha256()
    for image in read:
        digest.update(
            image.volume.affine.tobytes()
            + image.volume.array[len(image.volume.array) // 2].tobytes()
        )
    return f"case-{digest.hexdigest()[:8]}"


def _report(image: NiftiImage, *, used: bool) -> SeriesReport:
    rows, columns = image.volume.spacing[1:]
    return SeriesReport(
        number=None,
        description=printable(image.path.name),
        modality=image.modality.value,
        slices=image.volume.shape[0],
        shape=image.volume.shape,
        spacing_mm=(image.volume.spacing[0], rows, columns),
        phase=image.guess.phase,
        used=used,
        confidence=image.guess.confidence,
        evidence=image.guess.evidence,
        warnings=image.warnings,
        study=printable(str(image.path.parent)),
        series=printable(image.path.name),
    )
