"""Discovery of the studies in folders, zips and files in any mix.

They are put into a `StudyIndex`: each study with its files, under its pseudonyms.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePath
from typing import BinaryIO

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_partial

from liverleaf.cohort.study_index import Source, StudyIndex
from liverleaf.ingest.archive import beginnings
from liverleaf.ingest.deidentify.dicom import refusal
from liverleaf.ingest.deidentify.pseudonyms import Pseudonyms
from liverleaf.ingest.dicom.frames import (
    DAMAGED,
    NOT_DICOM,
    DicomdirError,
    check_begins_as_dicom,
    counts_in_words,
    text,
)
from liverleaf.ingest.dicom.torn import EXTENT, ORDER, PLACE, shared_keys
from liverleaf.ingest.folders import HIDDEN, folders_below
from liverleaf.ingest.nifti import is_mask, is_nifti
from liverleaf.storage.case_folder import CASE_FILE
from liverleaf.study import InputError
from liverleaf.system.progress import Progress, silent

HEADER_BYTES = 2**20
"""What is read of a file inside a zip: the attributes needed stand in its beginning."""

READ_TAGS = [
    tag
    for keyword in (
        "SpecificCharacterSet",
        "ImageType",
        "SOPClassUID",
        "SeriesDescription",
        "PatientName",
        "PatientID",
        "StudyInstanceUID",
        *PLACE,
        *ORDER,
        *EXTENT,
        "BodyPartExamined",
        "FrameOfReferenceUID",
        "SOPInstanceUID",
        "BurnedInAnnotation",
        "DirectoryRecordSequence",
    )
    if (tag := tag_for_keyword(keyword)) is not None
]
TRUTH_FILE = "truth.json"
"""What the phantom writes beside its DICOM series."""

FIRST_TAG_UNREAD = 0x00280302
"""Reading a header stops here: the tag after BurnedInAnnotation, the last one needed."""

NO_FILE = "no regular file"
CLOSED = "a folder that may not be read"
PASSED_OVER = "hidden, or beside the images of a phantom"
IMAGE_NAME = re.compile(r".*\.(dcm|dicom|ima|dic)|[a-z]{0,6}[-_ ]?[\d.]+", re.IGNORECASE)
"""What files of DICOM images are called, even where their content is lost."""

MISNAMED = "called like an image, but not DICOM"
LOSSES = DAMAGED, MISNAMED
"""Reasons of files that were images before, as it seems."""

BESIDE = f"{DAMAGED}, beside its images"
NO_IMAGE = "there is neither a DICOM nor a NIfTI image in it"


def discover(
    inputs: Sequence[Path],
    index: StudyIndex,
    pseudonyms: Pseudonyms,
    *,
    skip: Path | None = None,
    progress: Progress = silent,
) -> None:
    """Find the studies in any mix of folders (nested), zips and files.

    DICOM files are grouped by their study UID wherever they lie, and by folder where they have
    none; of each file only the beginning is read. The NIfTI files of a folder are one study, and so
    is one that is given by itself. A zip or a case folder that cannot be used is a refused study.

    Args:
        inputs: folders, zips, DICOM or NIfTI files.
        index: where the studies go.
        pseudonyms: of studies and patients.
        skip: a folder that is not searched.
        progress: called with (what, files seen, 0).

    Raises:
        InputError: an input does not exist.
    """
    finder = _Finder(index, pseudonyms, progress)
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path} does not exist; give folders, zips or files")
    for path in inputs:
        resolved = path.resolve()
        if resolved.is_file():
            finder.root = resolved.parent
            finder.files(resolved if is_nifti(resolved) else resolved.parent, [resolved])
            continue
        finder.root = resolved
        for folder, names in _folders(
            resolved, skip.resolve() if skip else None, finder.passed_over
        ):
            if CASE_FILE in names:
                finder.refuse(folder, "a case folder already: copy it into the cohort")
            else:
                finder.files(folder, [folder / name for name in names])
    finder.tell_damaged()
    index.join_torn()


@dataclass
class _Finder:
    """Puts the files it is given into the index; `seen` counts them."""

    index: StudyIndex
    pseudonyms: Pseudonyms
    progress: Progress
    seen: int = 0
    root: PurePath = field(default_factory=PurePath)
    damaged: Counter[tuple[PurePath, PurePath]] = field(default_factory=Counter)
    """Number of damaged images by the input they were found in and their folder."""

    def passed_over(self, path: PurePath, reason: str) -> None:
        """List what is not searched; only a folder that may not be read counts as a loss."""
        self.index.ignore(path, reason, counted=reason == CLOSED)

    def tell_damaged(self) -> None:
        """Tell the studies of a folder of the damaged images in it, or refuse the folder.

        Refused are folders of damaged images without any study in them or below; of nested ones
        that is the highest below the input: that of a patient, as a rule.
        """
        with_study = self.index.folders_with_studies()
        losses = Counter[PurePath]()
        for (root, folder), files in self.damaged.items():
            if folder in with_study:
                self.index.leave_out(folder, BESIDE, files)
                continue
            lost = folder
            for parent in folder.parents:
                if parent == root or parent in with_study or not parent.is_relative_to(root):
                    break
                lost = parent
            losses[lost] += files
        for folder, files in losses.items():
            self.refuse(
                folder,
                f"none of its images can be read: {counts_in_words(Counter({DAMAGED: files}))}",
            )

    def files(self, folder: Path, files: Iterable[Path]) -> None:
        niftis = []
        for file in files:
            self._count()
            if is_nifti(file):
                niftis.append(self._source(file, file.stat().st_size if file.is_file() else 0))
            elif not file.is_file():
                self.index.ignore(file, NO_FILE)
            elif file.suffix.lower() == ".zip" or zipfile.is_zipfile(file):
                self._zip(file)
            else:
                self._dicom(
                    partial(_header_of, file), folder, self._source(file, file.stat().st_size)
                )
        self._nifti(folder, niftis)

    def refuse(self, path: PurePath, reason: str) -> None:
        identity = f"path {path}"
        self.index.add(
            self.pseudonyms.case_id(identity),
            self.pseudonyms.subject_id(identity),
            path,
            None,
            reason,
        )

    def _zip(self, archive: Path) -> None:
        niftis: dict[Path, list[Source]] = {}
        before, seen, damaged = self.index.ignored.copy(), self.seen, self.damaged.copy()
        try:
            for name, size, start in beginnings(archive, HEADER_BYTES):
                if any(part.startswith((".", "__MACOSX")) for part in PurePath(name).parts):
                    continue
                self._count()
                folder = archive / PurePath(name).parent
                source = self._source(PurePath(name), size, archive)
                if is_nifti(Path(name)):
                    niftis.setdefault(folder, []).append(source)
                else:
                    self._dicom(partial(_header, io.BytesIO(start)), folder, source)
        except InputError as error:
            self.refuse(archive, str(error).replace(archive.name, "a zip"))
            return
        for folder, sources in niftis.items():
            self._nifti(folder, sources)
        ignored = self.index.ignored - before
        if ignored.total() == self.seen - seen:
            self.damaged = damaged
            self.refuse(archive, f"a zip: {NO_IMAGE} (files: {counts_in_words(ignored)})")

    def _source(self, file: PurePath, size: int, archive: Path | None = None) -> Source:
        return Source(str(file), archive, self.pseudonyms.image(f"name {file.name}"), size)

    def _dicom(self, read: Callable[[], Dataset], folder: PurePath, source: Source) -> None:
        try:
            header = read()
        except InputError as error:
            misnamed = str(error) == NOT_DICOM and IMAGE_NAME.fullmatch(source.path.name)
            reason = MISNAMED if misnamed else str(error)
            self.index.ignore(source.path, reason)
            if reason in LOSSES:
                self.damaged[self.root, folder] += 1
            return
        image = text(header, "SOPInstanceUID")
        source = replace(source, image=self.pseudonyms.image(f"uid {image}")) if image else source
        uid = text(header, "StudyInstanceUID")
        study = f"uid {uid}" if uid else f"path {folder}"
        patient = text(header, "PatientID") or text(header, "PatientName")
        reason = refusal(header) or ""
        case_id = self.pseudonyms.case_id(study)
        subject_id = self.pseudonyms.subject_id(f"id {patient}" if patient else study)
        self.index.add(case_id, subject_id, folder, None if reason else source, reason)
        if reason:
            self.index.ignore(source.path, reason, case_id, counted=False)
            return
        for shared in shared_keys(header, case_id, patient):
            kind, _, names = shared.key.partition(" ")
            hidden = f"{kind} {self.pseudonyms.image(names)}", self.pseudonyms.image(shared.place)
            self.index.note_shared(shared._replace(key=hidden[0], place=hidden[1]))

    def _nifti(self, folder: PurePath, sources: Sequence[Source]) -> None:
        if not any(not is_mask(Path(source.name)) for source in sources):
            for source in sources:
                self.index.ignore(source.path, "NIfTI mask")
            return
        study = f"path {folder}"
        case_id = self.pseudonyms.case_id(f"nifti {study}")
        subject_id = self.pseudonyms.subject_id(_bids_subject(folder) or study)
        for source in sources:
            self.index.add(case_id, subject_id, folder, source)

    def _count(self) -> None:
        self.seen += 1
        if self.seen % 100 == 0:
            self.progress("looking for studies", self.seen, 0)


def _folders(
    root: Path, skip: Path | None, passed_over: Callable[[Path, str], None]
) -> Iterator[tuple[Path, list[str]]]:
    """All folders below one with the names of their files, without hidden ones and `skip`.

    Nothing below a case folder is searched, nor the truth that the phantom writes beside its
    DICOM series. What is passed over is told, except `skip`.
    """
    for parent, folders, names in folders_below(root, lambda path: passed_over(path, CLOSED)):
        if skip is not None and parent.is_relative_to(skip):
            folders.clear()
            continue
        visible = [name for name in names if not name.startswith(".")]
        hidden = (*HIDDEN, "truth") if TRUTH_FILE in visible else HIDDEN
        for name in {*names, *folders}:
            if name.startswith(".") or (name in folders and name.startswith(hidden)):
                passed_over(parent / name, PASSED_OVER)
        folders[:] = (
            []
            if CASE_FILE in visible
            else [name for name in folders if not name.startswith(hidden)]
        )
        yield parent, visible


def _header_of(file: Path) -> Dataset:
    try:
        with file.open("rb") as stream:
            return _header(stream)
    except OSError as error:
        raise InputError(DAMAGED) from error


def _header(stream: BinaryIO) -> Dataset:
    """The attributes that identify study, patient and kind of object.

    Raises:
        InputError: this is no DICOM object; the message is what it is instead.
    """
    check_begins_as_dicom(stream.read(132))
    stream.seek(0)
    try:
        header = read_partial(
            stream,
            lambda tag, _vr, _length: tag >= FIRST_TAG_UNREAD,
            force=True,
            specific_tags=list(READ_TAGS),
        )
        whole = "SOPClassUID" in header and all(
            header[tag] is not None for tag in list(header.keys())
        )
    except Exception as error:  # hostile bytes raise anything
        raise InputError(DAMAGED) from error
    if "DirectoryRecordSequence" in header:
        raise DicomdirError
    if not whole:
        raise InputError(DAMAGED)
    return header


def _bids_subject(folder: PurePath) -> str:
    """What identifies a subject in a BIDS tree (sub-01/ses-02/anat), "" elsewhere."""
    for depth, part in enumerate(folder.parts):
        if re.fullmatch(r"sub-[A-Za-z0-9]+", part):
            return f"path {PurePath(*folder.parts[: depth + 1])}"
    return ""
