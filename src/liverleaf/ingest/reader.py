"""A study read from a folder, zip or file of DICOM or NIfTI images, or a report on its series."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from liverleaf.ingest.archive import MAX_FILES, unpacked
from liverleaf.ingest.dicom.frames import counted
from liverleaf.ingest.dicom.reader import examine_dicom
from liverleaf.ingest.dicom.survey import check_modality
from liverleaf.ingest.folders import HIDDEN, folders_below
from liverleaf.ingest.inspection import Examination, Inspection, SeriesReport
from liverleaf.ingest.kept_dicom import with_kept_headers
from liverleaf.ingest.nifti import examine_nifti, is_nifti
from liverleaf.ingest.phases.override import PhaseRow, read_phase_table, write_phase_table
from liverleaf.storage.case_folder import CASE_FILE, DICOM_FOLDER, load_case
from liverleaf.study import InputError, Modality, Study

__all__ = [
    "Inspection",
    "PhaseRow",
    "SeriesReport",
    "inspect",
    "read_phase_table",
    "read_study",
    "write_phase_table",
]

DICOM_ENDINGS = (".dcm", ".dicom", ".ima")


def read_study(
    path: Path | Sequence[Path],
    *,
    scratch: Path | None = None,
    table: Sequence[PhaseRow] = (),
    modality: Modality | None = None,
    unused: dict[Path, str] | None = None,
) -> Study:
    """Read the contrast phases of one study of one patient.

    Args:
        path: a DICOM folder (nested, several series, any file names, other files lying about), a
            zip of one, a folder of NIfTI files named by phase, a case folder (with case.json), or
            one DICOM or NIfTI file; or a list of such files that make one study.
        scratch: folder for the temporary files of a zip, the system's own by default.
        table: what a person says of its series, see `read_phase_table`.
        modality: what a person says the images are, where they are NIfTI files, which do not tell;
            None to go by their intensities.
        unused: a dict that gets the reason for each DICOM or NIfTI file that is not used: those
            that cannot be read, copies, series that are no phase or not the best of one. Paths may
            name the patient.

    Returns:
        The study. What was left out, mended or guessed is in its warnings and in the evidence of
            its phases.

    Raises:
        InputError: nothing can be read, images of several patients or studies are mixed, the table
            does not fit the study, or it is of another modality by its own files.
    """
    examined = _examine(path, scratch, table, modality)
    if unused is not None:
        unused |= examined.unused
    return examined.study_or_refusal()


def inspect(
    path: Path,
    *,
    scratch: Path | None = None,
    table: Sequence[PhaseRow] = (),
    modality: Modality | None = None,
) -> Inspection:
    """Tell what `read_study` takes each series under `path` for, those that it leaves out included.

    The study is read as `read_study` does it, pixels too, so that both always agree. A study that
    `read_study` refuses because of its series is reported on, with the reason in `refused`.

    Raises:
        InputError: there is no series to report on, or as for `read_study` where images of several
            patients, studies or modalities are mixed or what a person says does not fit.
    """
    return _examine(path, scratch, table, modality).inspection


def _examine(
    path: Path | Sequence[Path],
    scratch: Path | None,
    table: Sequence[PhaseRow],
    modality: Modality | None,
) -> Examination:
    """Read whatever lies there; the one way by which `read_study` and `inspect` go."""
    if not isinstance(path, Path):
        return _by_kind(path, table, modality)
    if not _exists(path):
        raise InputError(f"{path} does not exist; give a folder, a zip or a file")
    if path.is_file() and zipfile.is_zipfile(path):
        with unpacked(path, scratch) as folder:
            return _by_kind(
                _files(folder), table, modality, lambda file: path / file.relative_to(folder)
            )
    if path.suffix.lower() == ".zip" and path.is_file():
        raise InputError(f"{path.name} is damaged or no zip file; pack it again")
    return _by_kind([path] if path.is_file() else _files(path), table, modality)


def _by_kind(
    files: Sequence[Path],
    table: Sequence[PhaseRow],
    modality: Modality | None,
    shown: Callable[[Path], Path] = lambda path: path,
) -> Examination:
    """The examination of files: a case folder, NIfTI, or DICOM where there is any."""
    if not files:
        raise InputError("the folder is empty; give the folder of one CT or MR study")
    cases = [file for file in files if file.name == CASE_FILE]
    if len(cases) > 1:
        raise InputError(f"the folder holds {len(cases)} case folders; give one of them")
    if cases:
        return _examine_case(cases[0].parent, table, modality)
    images = [file for file in files if is_nifti(file)]
    others = [file for file in files if not is_nifti(file)]
    if images and not any(_is_dicom(file) for file in others):
        return _without(others, examine_nifti(images, table, modality, shown))
    return examine_dicom(files, table, modality)


def _without(others: Sequence[Path], examined: Examination) -> Examination:
    """NIfTI images from a folder that holds other files, of which damaged DICOM is told."""
    damaged = [file for file in others if file.suffix.lower() in DICOM_ENDINGS]
    told: tuple[str, ...] = ()
    if damaged:
        files = counted(len(damaged), "file")
        told = (f"left out: {files} called like DICOM that cannot be read as DICOM",)
    study, inspection = examined.study, examined.inspection
    return Examination(
        None if study is None else replace(study, warnings=(*study.warnings, *told)),
        replace(inspection, warnings=(*inspection.warnings, *told)),
        {**examined.unused, **dict.fromkeys(others, "neither NIfTI nor DICOM")},
    )


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


def _examine_case(
    folder: Path, table: Sequence[PhaseRow], modality: Modality | None
) -> Examination:
    if table:
        raise InputError(
            "this is a case folder, whose case.json names the phases: correct it there, and leave"
            " --phases out"
        )
    study = load_case(folder)[0]
    check_modality(study.modality, modality)
    if (folder / DICOM_FOLDER).is_dir():
        study = with_kept_headers(study, folder / DICOM_FOLDER)
    return Examination(study, _report_case(study))


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
