"""De-identified copies of DICOM images and studies, by an allow-list of attributes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from liverleaf.ingest.deidentify.descriptors import (
    clean_quotations,
    known_words,
    private_words,
)
from liverleaf.ingest.deidentify.pixels import clean_pixels
from liverleaf.ingest.deidentify.profile import (
    ALLOWED,
    CODED,
    CODING_SCHEMES,
    IMAGE_CLASSES,
    METHOD,
    METHOD_CODES,
    SCREENS,
    VOCABULARIES,
    WORDS,
    Action,
)
from liverleaf.ingest.deidentify.pseudonyms import Pseudonyms
from liverleaf.ingest.dicom.frames import check_begins_as_dicom, decodes, text, words
from liverleaf.ingest.phases.descriptions import plain_words
from liverleaf.study import InputError, PhaseImage, SourceIds, Study

FREE_TEXT = ("SH", "LO", "ST", "LT", "UT", "UC")
"""Value representations that people type into."""


def without_identity(study: Study, case_id: str, subject_id: str, pseudonyms: Pseudonyms) -> Study:
    """The study under its pseudonyms, with descriptors of known words and without headers."""
    return replace(
        study,
        case_id=case_id,
        subject_id=subject_id,
        warnings=tuple(map(clean_quotations, study.warnings)),
        phases={
            phase: _image_without_identity(image, pseudonyms)
            for phase, image in study.phases.items()
        },
        other={
            name: _image_without_identity(image, pseudonyms) for name, image in study.other.items()
        },
    )


def _image_without_identity(image: PhaseImage, pseudonyms: Pseudonyms) -> PhaseImage:
    private = private_words(image.headers[0]) if image.headers else frozenset[str]()
    frame = image.volume.frame_of_reference_uid
    volume = type(image.volume)(
        image.volume.array,
        image.volume.affine,
        image.volume.coordinate_system,
        pseudonyms.uid(str(frame)) if frame else None,
    )
    description = known_words(image.description, private)
    return replace(
        image,
        volume=volume,
        headers=(),
        source=SourceIds(),
        description=description,
        evidence=tuple(map(clean_quotations, image.evidence)),
    )


def refusal(header: Dataset) -> str | None:
    """Why an image may show or tell who the patient is, None when nothing speaks for it.

    Args:
        header: of a CT or MR image; its SOP class may stand in the file's meta information only.
    """
    if _sop_class(header) not in IMAGE_CLASSES:
        return "no CT or MR image (a secondary capture, screen, report or other object)"
    if text(header, "BurnedInAnnotation").upper() == "YES":
        return "with text burned into the pixels"
    if re.search(
        SCREENS,
        plain_words(" ".join([text(header, "SeriesDescription"), *words(header, "ImageType")])),
    ):
        return "a picture of a screen or a dose report"
    return None


def deidentify(
    file: Path, out: Path, *, case_id: str, subject_id: str, pseudonyms: Pseudonyms
) -> str | None:
    """Write a copy of a DICOM image that keeps nothing but what `profile.ALLOWED` lists.

    Args:
        file: the image. Its pixels are copied as they are, compressed or not, without what stands
            in their unused bits.
        out: folder for the copy, `series-.../....dcm`, made when needed. Every file gets a copy of
            its own there, those that repeat the UID of another included.
        case_id: stands in for a missing study UID.
        subject_id: pseudonym of the patient, who is called so in the copy.
        pseudonyms: of UIDs and dates.

    Returns:
        None when it was written, else why it was refused, in words that name nobody.
    """
    try:
        original = _read(file)
        reason = refusal(original) if "PixelData" in original else "without pixels"
        if reason is not None:
            return reason
        copy = _Cleaner(pseudonyms, pseudonyms.shift_days(subject_id), private_words(original))(
            original
        )
        _identify(copy, original, file, case_id, pseudonyms)
        _declare(copy, subject_id)
        clean_pixels(copy)
        folder = out / f"series-{hashlib.sha256(copy.SeriesInstanceUID.encode()).hexdigest()[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        copy.save_as(_own_file(folder, copy, file, pseudonyms), enforce_file_format=True)
    except OSError:
        raise
    except InputError as error:  # in our own words
        return str(error)
    except Exception:  # hostile bytes raise anything, and the message may quote them
        return "unreadable or damaged"
    return None


def _read(file: Path) -> Dataset:
    """A file with or without its preamble and its meta information."""
    with file.open("rb") as stream:
        check_begins_as_dicom(stream.read(132))
        stream.seek(0)
        dataset = dcmread(stream, force=True)
    for tag in list(dataset.keys()):
        # as the reader does: what it could not read must not stop the rest
        if not tag.is_private and not decodes(dataset, tag):
            del dataset[tag]
    if not text(dataset.file_meta, "TransferSyntaxUID"):
        implicit, little_endian = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _own_file(folder: Path, copy: Dataset, file: Path, pseudonyms: Pseudonyms) -> Path:
    """The file of a copy; a copy whose UID is taken already gets one made of its content."""

    def named() -> Path:
        return folder / f"{hashlib.sha256(copy.SOPInstanceUID.encode()).hexdigest()[:16]}.dcm"

    times = 0
    while named().exists():
        times += 1
        copy.SOPInstanceUID = _uid_of_content(file, pseudonyms, times)
    copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    return named()


def _uid_of_content(file: Path, pseudonyms: Pseudonyms, times: int = 1) -> str:
    """A UID of its own for an image without one; `times` counts those of the same content."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return pseudonyms.uid(f"image {digest}{f' {times}' if times > 1 else ''}")


@dataclass(frozen=True)
class _Cleaner:
    """Makes a data set of the allowed attributes of another, each treated as the table says."""

    pseudonyms: Pseudonyms
    shift_days: int
    private: frozenset[str]

    def __call__(self, item: Dataset) -> Dataset:
        kept = Dataset()
        local = text(item, "CodingSchemeDesignator") not in ("", *CODING_SCHEMES)
        for tag in list(item.keys()):
            keyword = "" if tag.is_private else keyword_for_tag(tag)
            action = ALLOWED.get(keyword)
            if action is None or (local and keyword in CODED):
                continue
            try:
                kept[tag] = self._treated(item[tag], action)
            except Exception:  # hostile bytes raise anything; one attribute must not take the rest
                continue
        return kept

    def _treated(self, element: DataElement, action: Action) -> DataElement:
        value: str | list[str] | Items
        if action is Action.ITEMS:
            return DataElement(element.tag, "SQ", Items([self(c) for c in element.value or ()]))
        if action is Action.KEEP and not _is_typed(element):
            return element
        if action is Action.EMPTY or element.value in (None, ""):
            value = ""
        elif action is Action.KEEP:
            value = [self._technical(element.keyword, str(v)) for v in _values(element)]
        elif action is Action.UID:
            value = [self.pseudonyms.uid(str(uid)) for uid in _values(element)]
        elif action is Action.DATE:
            value = [shift_date(str(when), self.shift_days) for when in _values(element)]
        else:
            value = [self._described(element.keyword, str(v)) for v in _values(element)]
        return DataElement(element.tag, element.VR, value)

    def _technical(self, keyword: str, value: str) -> str:
        """A technical text, unless it repeats a word of an identifying attribute.

        Words that say of this attribute what it is there for identify nobody.
        """
        if not (self.private & _words(value)) - WORDS - VOCABULARIES.get(keyword, frozenset()):
            return value
        # it tells the stacks of one image apart, and must go on doing so
        return self.pseudonyms.image(value) if keyword == "StackID" else ""

    def _described(self, keyword: str, value: str) -> str:
        own = VOCABULARIES.get(keyword)
        if own and _words(value) <= own:
            return value
        # the meaning of a code that stays says nothing more, whatever the patient is called
        return known_words(value, frozenset() if keyword == "CodeMeaning" else self.private)


def _is_typed(element: DataElement) -> bool:
    """Whether people may type into an attribute; codes survive whatever the patient is called."""
    typed = element.VR in FREE_TEXT or (element.VR == "CS" and element.keyword in VOCABULARIES)
    return typed and element.keyword not in CODED


def _words(value: str) -> frozenset[str]:
    return frozenset(re.split(r"[\W_]+", plain_words(value))) - {""}


def _values(element: DataElement) -> Sequence[object]:
    if element.value is None:
        return []
    return list(element.value) if element.VM > 1 else [element.value]


def shift_date(value: str, days: int) -> str:
    """A DICOM date (YYYYMMDD) or date-time moved by days, "" when it is neither.

    The time of day and the zone stay.

    >>> shift_date("20240301", -1), shift_date("20240301101530.5+0100", -366)
    ('20240229', '20230301101530.5+0100')
    """
    digits = value.replace(".", "", 2) if re.match(r"\d{4}\.\d\d\.\d\d$", value) else value
    if not re.fullmatch(r"\d{8}(\d{2,6}(\.\d{1,6})?)?([+-]\d{4})?", digits):
        return ""
    try:
        moved = date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])) + timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{moved:%Y%m%d}{digits[8:]}"


def _identify(
    copy: Dataset, original: Dataset, file: Path, case_id: str, pseudonyms: Pseudonyms
) -> None:
    """Give the copy the UIDs that its original lacks, and its file's meta information."""
    if not text(copy, "StudyInstanceUID"):
        copy.StudyInstanceUID = pseudonyms.uid(f"study of {case_id}")
    if not text(copy, "SeriesInstanceUID"):
        series = "|".join(
            text(original, keyword)
            for keyword in ("SeriesNumber", "FrameOfReferenceUID", "SeriesDescription")
        )
        copy.SeriesInstanceUID = pseudonyms.uid(f"series of {case_id}|{series}")
    if not text(copy, "SOPInstanceUID"):
        copy.SOPInstanceUID = _uid_of_content(file, pseudonyms)
    copy.SOPClassUID = _sop_class(original)
    copy.file_meta = FileMetaDataset()
    copy.file_meta.TransferSyntaxUID = original.file_meta.TransferSyntaxUID


def _declare(copy: Dataset, subject_id: str) -> None:
    """Name the pseudonym and what was done, as the profile demands."""
    copy.SpecificCharacterSet = "ISO_IR 192"
    copy.PatientName = copy.PatientID = subject_id
    for keyword, action in ALLOWED.items():
        if action is Action.EMPTY:
            setattr(copy, keyword, "")
    copy.PatientIdentityRemoved = "YES"
    copy.LongitudinalTemporalInformationModified = "MODIFIED"
    copy.DeidentificationMethod = METHOD
    copy.DeidentificationMethodCodeSequence = [
        _code(value, meaning) for value, meaning in METHOD_CODES.items()
    ]


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _sop_class(header: Dataset) -> str:
    """Its SOP class, from the file's meta information where the data set has none."""
    meta = getattr(header, "file_meta", None)
    return text(header, "SOPClassUID") or (
        "" if meta is None else text(meta, "MediaStorageSOPClassUID")
    )
