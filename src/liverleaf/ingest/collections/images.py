"""Images and masks of a collection: studies of files sorted by phase, and single masks."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by
from pydicom import Dataset

from liverleaf.ingest.dicom.frames import read_frames
from liverleaf.ingest.dicom.series import stacks_of
from liverleaf.ingest.dicom.volume import read_volume
from liverleaf.ingest.nifti import read_nifti_volume
from liverleaf.storage.volumes import check_labels
from liverleaf.study import InputError, Modality, Phase, PhaseImage, Study

NAMED = "so named by the collection"


def study_of(
    modality: Modality,
    phases: Mapping[Phase, Path],
    *,
    other: Mapping[str, Path] | None = None,
    confidence: float = 1.0,
    evidence: str = NAMED,
    agent: str | None = None,
    notes: Sequence[str] = (),
) -> Study:
    """Read the NIfTI files of one study; a missing or damaged one is left out with a warning.

    Args:
        modality: CT or MR.
        phases: a file per phase.
        other: a file per image that is no contrast phase, by name.
        confidence: how sure the phases are, in [0, 1].
        evidence: why they are thought to be those.
        agent: contrast agent where known.
        notes: warnings to begin with.

    Raises:
        InputError: no phase can be read.
    """
    lines = list(notes)
    read = {
        phase: _image(path, phase.title + " phase", confidence, evidence, lines)
        for phase, path in phases.items()
    }
    others = {name: _image(path, name, 1.0, NAMED, lines) for name, path in (other or {}).items()}
    kept = {phase: image for phase, image in read.items() if image is not None}
    if not kept:
        raise InputError(
            "none of its contrast phases can be read" + (f": {lines[-1]}" if lines else "")
        )
    return Study(
        modality,
        kept,
        agent=agent,
        warnings=tuple(lines),
        other={n: i for n, i in others.items() if i is not None},
    )


def _image(
    path: Path, name: str, confidence: float, evidence: str, lines: list[str]
) -> PhaseImage | None:
    """One image, or None and a line about it in `lines`."""
    if not path.is_file():
        lines.append(f"{name}: its file is missing")
        return None
    try:
        volume, notes = read_nifti_volume(path)
    except InputError as error:
        lines.append(f"{name}: {error}")
        return None
    lines += [f"{name}: {note}" for note in notes]
    return PhaseImage(volume, None, confidence, (evidence,))


def read_labels(path: Path, notes: list[str] | None = None) -> hd.Volume:
    """Read a mask or a map of labels from NIfTI or NRRD.

    It comes as uint8 (Z, Y, X), towards head, back and left.

    What is doubtful about where it lies is added to `notes`.

    Raises:
        InputError: it is missing or damaged, or its values are no whole numbers from 0 to 255.
    """
    if not path.is_file():
        raise InputError(f"its mask {path.name} is missing")
    volume, doubts = (_read_nrrd(path), []) if path.suffix == ".nrrd" else read_nifti_volume(path)
    check_labels(path.name, volume.array, 255)
    if notes is not None:
        notes += [f"{path.name}: {doubt}" for doubt in doubts]
    return volume.with_array(np.rint(volume.array).astype(np.uint8))


def _read_nrrd(path: Path) -> hd.Volume:
    try:
        volume = hd.Volume.from_simpleitk(sitk.ReadImage(str(path)))
    except (RuntimeError, ValueError) as error:  # ITK raises RuntimeError for anything
        raise InputError(
            f"{path.name} cannot be read as NRRD: it is damaged or something else"
        ) from error
    return volume.to_patient_orientation("HPL")


def read_series(files: Sequence[Path]) -> tuple[hd.Volume, tuple[Dataset, ...], list[str]]:
    """Read the one stack of slices that these DICOM files hold, whatever it shows.

    Returns:
        As `volume.read_volume`.

    Raises:
        InputError: a file is no image, the files hold several stacks, or the stack cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom, on values outside the standard
        stacks, left_out = stacks_of([frame for file in files for frame in read_frames(file)])
        if len(stacks) != 1:
            raise InputError(
                left_out[0].left_out
                if left_out
                else f"{len(files)} files hold {len(stacks)} stacks of slices, expected one"
            )
        return read_volume(stacks[0])
