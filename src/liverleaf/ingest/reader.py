"""A study read from a folder, zip or file of DICOM or NIfTI images, or a report on its series."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from liverleaf.ingest.archive import MAX_FILES, unpacked
from liverleaf.ingest.dicom.reader import inspect_dicom, read_dicom
from liverleaf.ingest.folders import HIDDEN, folders_below
from liverleaf.ingest.inspection import Inspection, SeriesReport
from liverleaf.ingest.nifti import inspect_nifti, is_nifti, read_nifti
from liverleaf.ingest.phases.override import PhaseRow, read_phase_table, write_phase_table
from liverleaf.storage.case_folder import CASE_FILE, load_case
from liverleaf.study import InputError, Study

__all__ = [
    "Inspection",
    "PhaseRow",
    "SeriesReport",
    "inspect",
    "read_phase_table",
    "read_study",
    "write_phase_table",
]

T = TypeVar("T")


def read_study(
    path: Path | Sequence[Path],
    *,
    scratch: Path | None = None,
    table: Sequence[PhaseRow] = (),
    unused: dict[Path, str] | None = None,
) -> Study:
    """Read the contrast phases of one study of one patient.

    Args:
        path: a DICOM folder (nested, several series, any file names, other files lying about), a
            zip of one, a folder of NIfTI files named by phase, a case folder (with case.json), or
            one DICOM or NIfTI file; or a list of such files that make one study.
        scratch: folder for the temporary files of a zip, the system's own by default.
        table: what a person says of its series, see `read_phase_table`.
        unused: a dict that gets the reason for each DICOM or NIfTI file that is not used: those
            that cannot be read, copies, series that are no phase or not the best of one. Paths may
            name the patient.

    Returns:
        The study. What was left out, mended or guessed is in its warnings and in the evidence of
            its phases.

    Raises:
        InputError: nothing can be read, images of several patients or studies are mixed, or the
            table does not fit the study.
    """
    readers = (
        partial(_read_case, table=table),
        partial(read_dicom, table=table, unused=unused),
        partial(read_nifti, table=table, unused=unused),
    )
    return (
        _dispatch(path, scratch, *readers) if isinstance(path, Path) else _by_kind(path, *readers)
    )


def inspect(
    path: Path, *, scratch: Path | None = None, table: Sequence[PhaseRow] = ()
) -> Inspection:
    """Tell what `read_study` takes each series under `path` for, those that it leaves out included.

    Raises:
        InputError: as `read_study`.
    """
    return _dispatch(
        path,
        scratch,
        lambda folder: _report_case(_read_case(folder, table)),
        partial(inspect_dicom, table=table),
        partial(inspect_nifti, table=table),
    )


def _dispatch(
    path: Path,
    scratch: Path | None,
    case: Callable[[Path], T],
    dicom: Callable[[Sequence[Path]], T],
    nifti: Callable[[Sequence[Path]], T],
) -> T:
    if not _exists(path):
        raise InputError(f"{path} does not exist; give a folder, a zip or a file")
    if path.is_file() and zipfile.is_zipfile(path):
        with unpacked(path, scratch) as folder:
            return _dispatch(folder, scratch, case, dicom, nifti)
    if path.suffix.lower() == ".zip" and path.is_file():
        raise InputError(f"{path.name} is damaged or no zip file; pack it again")
    return _by_kind([path] if path.is_file() else _files(path), case, dicom, nifti)


def _by_kind(
    files: Sequence[Path],
    case: Callable[[Path], T],
    dicom: Callable[[Sequence[Path]], T],
    nifti: Callable[[Sequence[Path]], T],
) -> T:
    if not files:
        raise InputError("the folder is empty; give the folder of one CT or MR study")
    cases = [file for file in files if file.name == CASE_FILE]
    if len(cases) > 1:
        raise InputError(f"the folder holds {len(cases)} case folders; give one of them")
    if cases:
        return case(cases[0].parent)
    images = [file for file in files if is_nifti(file)]
    others = [file for file in files if not is_nifti(file)]
    return nifti(images) if images and not any(_is_dicom(file) for file in others) else dicom(files)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, a folder that may not be read
        return False


def _files(folder: Path) -> list[Path]:
    """All files below a folder, linked ones too, without what file managers leave behind.

    Links that lead nowhere are among them, so that they are told and not lost.
    """
    found: list[Path] = []
    closed: list[Path] = []
    for parent, folders, names in folders_below(folder, closed.append):
        folders[:] = [name for name in folders if not name.startswith(HIDDEN)]
        found += [parent / name for name in names if not name.startswith(".")]
        if len(found) > MAX_FILES:
            raise InputError(
                f"the folder holds more than {MAX_FILES} files; give the folder of one study"
            )
    if closed:
        raise InputError(
            f"the folder {closed[0]} may not be read; make it readable, or move it out"
        )
    return found


def _is_dicom(file: Path) -> bool:
    try:
        if not file.is_file():  # a pipe would never end
            return False
        with file.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _read_case(folder: Path, table: Sequence[PhaseRow]) -> Study:
    if table:
        raise InputError(
            "this is a case folder, whose case.json names the phases: correct it there, and leave"
            " --phases out"
        )
    return load_case(folder)[0]


def _report_case(study: Study) -> Inspection:
    reports = (
        SeriesReport(
            number=None,
            description=image.description,
            modality=study.modality.value,
            slices=image.volume.shape[0],
            shape=image.volume.shape,
            spacing_mm=image.volume.spacing,
            phase=phase,
            used=True,
            confidence=image.confidence,
            evidence=image.evidence,
            time_s=image.time_s,
        )
        for phase, image in study.phases.items()
    )
    return Inspection(tuple(reports), study.warnings)
