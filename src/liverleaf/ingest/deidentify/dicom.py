"""Identities in, pseudonyms out: keyed hashes of patients and studies, shifted dates, descriptors of known words, de-identified DICOM."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as Items

from liverleaf.ingest.deidentify.profile import (
    ALLOWED,
    CODING_SCHEMES,
    IDENTIFYING,
    IMAGE_CLASSES,
    METHOD,
    METHOD_CODES,
    SCREENS,
    WORDS,
    Action,
)
from liverleaf.ingest.dicom.frames import text, words
from liverleaf.ingest.phases.identify import plain_words
from liverleaf.study import InputError, PhaseImage, SourceIds, Study

KEY_BYTES = 32
MAX_SHIFT_DAYS = 3650
STANDARD_UIDS = "1.2.840.10008."
FREE_TEXT = ("SH", "LO", "ST", "LT", "UT", "UC")
"""Value representations that people type into."""

SHORT = (
    r"\d{1,3}(s|sec|secs|seconds|sek|m|min|mins|minutes|mm|cm|kv|kev|ml|hu|d|t|p|x|ph)?|b\d{1,4}|t[12]w?|[bhiqu][a-z]?\d{2}[a-z]?"
    r"|[a-z]{1,5}[23]d\d{0,3}(r\d{0,3})?"
)
"""Short numbers with their units, kernels such as B30f and sequences such as fl3d1."""

CALENDAR = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}|(?:\d{1,4}[ ./-]+){3,}\d{1,4}")
"""Dates and telephone numbers, which are made of short numbers."""


@dataclass(frozen=True)
class Pseudonyms:
    """What turns identities into pseudonyms: the same with the same key, not to be undone or guessed without it.

    Attributes:
        key: 32 random bytes.
    """

    key: bytes

    def __repr__(self) -> str:
        return "Pseudonyms(key=...)"

    def case_id(self, study: str) -> str:
        """The pseudonym of a study."""
        return f"case-{self._hash('study', study)[:12]}"

    def subject_id(self, patient: str) -> str:
        """The pseudonym of a patient."""
        return f"subject-{self._hash('patient', patient)[:12]}"

    def uid(self, uid: str) -> str:
        """The UID that replaces another; those of the standard itself stay."""
        if uid.startswith(STANDARD_UIDS):
            return uid
        return f"2.25.{int(self._hash('uid', uid)[:32], 16)}"

    def image(self, identity: str) -> str:
        """The pseudonym of an image, by its SOPInstanceUID or file name."""
        return self._hash("image", identity)[:16]

    def table(self, sayings: str) -> str:
        """The pseudonym of what a person says of the series of a study."""
        return self._hash("table", sayings)[:16]

    def shift_days(self, subject_id: str) -> int:
        """By how many days all dates of a subject are moved: 1 to 3650, into the past."""
        return -1 - int(self._hash("date", subject_id)[:16], 16) % MAX_SHIFT_DAYS

    @property
    def check(self) -> str:
        """Tells whether two keys are the same, and nothing of them."""
        return self._hash("check", "")[:16]

    def _hash(self, kind: str, identity: str) -> str:
        return hmac.new(
            self.key, f"{kind}:{identity}".encode(errors="surrogateescape"), hashlib.sha256
        ).hexdigest()


def read_key(file: Path) -> Pseudonyms:
    """Read the key that `write_key` has written.

    Raises:
        InputError: the file cannot be read or holds something else.
    """
    try:
        key = bytes.fromhex(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise InputError(
            f"{file} cannot be read as a key of pseudonyms: give the file that liverleaf wrote, or"
            " a new name"
        )
    return Pseudonyms(key)


def new_key() -> Pseudonyms:
    """A key nobody knows."""
    return Pseudonyms(secrets.token_bytes(KEY_BYTES))


def write_key(pseudonyms: Pseudonyms, file: Path) -> None:
    """Keep a key in a new file that only its owner can read; folders above it are made.

    Raises:
        InputError: the file cannot be written or is there already.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(
            os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii"
        ) as stream:
            stream.write(pseudonyms.key.hex() + "\n")
    except OSError as error:
        raise InputError(
            f"the key of the pseudonyms cannot be written: the folder {file.parent} is not"
            f" writable, or {file.name} is there already; give another place with --key FILE"
        ) from error


def known_words(descriptor: str, private: frozenset[str] = frozenset()) -> str:
    """What a descriptor says of technique and phase; names, long numbers, dates and everything else unknown is left out.

    Args:
        descriptor: free text.
        private: words that are left out even where they are known ones, as `private_words` gives
            them.

    >>> known_words("Mustermann t1_vibe_fs_tra portal venous 70s 4711000")
    't1_vibe_fs_tra portal venous 70s'
    """

    def known(match: re.Match[str]) -> str:
        if fine(match[0]):
            return match[0]
        # camelCase joins words
        return " ".join(filter(fine, re.split(r"(?<=[a-z])(?=[A-Z])", match[0])))

    def fine(part: str) -> bool:
        word = plain_words(part).replace(" ", "")
        begins = len(word) > 2 and any(whole.startswith(word) for whole in WORDS)
        return word not in private and (
            word in WORDS or begins or re.fullmatch(SHORT, word) is not None
        )

    cleaned = re.sub(r"[^\W_]+", known, CALENDAR.sub(" ", descriptor))
    if not re.search(r"[^\W_]", cleaned):
        return ""
    return re.sub(r"[^\w+()-]{2,}|\s+", " ", re.sub(r"[^\w\s+,.:/()-]", " ", cleaned)).strip(
        " _,.:/"
    )


def private_words(header: Dataset) -> frozenset[str]:
    """The words and numbers in a header's identifying attributes."""
    said = (plain_words(str(text(header, keyword)).replace("\\", " ")) for keyword in IDENTIFYING)
    return frozenset(part for value in said for part in re.split(r"[\W_]+", value) if len(part) > 1)


def without_identity(study: Study, case_id: str, subject_id: str, pseudonyms: Pseudonyms) -> Study:
    """The study under its pseudonyms: hashed frames of reference, descriptors of known words, and no headers."""
    return replace(
        study,
        case_id=case_id,
        subject_id=subject_id,
        warnings=tuple(map(_quoted_words, study.warnings)),
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
        evidence=tuple(map(_quoted_words, image.evidence)),
    )


def _quoted_words(message: str) -> str:
    """A message whose quotations hold known words only."""
    return re.sub(r"'([^']*)'", lambda quotation: f"'{known_words(quotation[1])}'", message)


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
    if any(
        0x6000 <= tag.group < 0x6020
        and tag.element == 0x0100
        and header[tag].value not in (None, 1)
        for tag in list(header.keys())
    ):
        return "with an overlay inside the pixels"
    return None


def deidentify(
    file: Path, out: Path, *, case_id: str, subject_id: str, pseudonyms: Pseudonyms
) -> str | None:
    """Write a copy of a DICOM image that keeps nothing but what `confidentiality.ALLOWED` lists.

    Args:
        file: the image. Its pixels are copied as they are, compressed or not.
        out: folder for the copy, `series-.../....dcm`, made when needed.
        case_id: stands in for a missing study UID.
        subject_id: pseudonym of the patient, who is called so in the copy.
        pseudonyms: of UIDs and dates.

    Returns:
        None when it was written, else why it was refused, in words that name nobody.
    """
    try:
        original = dcmread(file)
        reason = refusal(original) if "PixelData" in original else "without pixels"
        if reason is not None:
            return reason
        copy = _allowed(
            original, pseudonyms, pseudonyms.shift_days(subject_id), private_words(original)
        )
        _identify(copy, original, file, case_id, pseudonyms)
        _declare(copy, subject_id)
        folder = out / f"series-{hashlib.sha256(copy.SeriesInstanceUID.encode()).hexdigest()[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        copy.save_as(
            folder / f"{hashlib.sha256(copy.SOPInstanceUID.encode()).hexdigest()[:16]}.dcm",
            enforce_file_format=True,
        )
    except OSError:
        raise
    except Exception:  # hostile bytes raise anything, and the message may quote them
        return "unreadable or damaged"
    return None


def _allowed(
    item: Dataset, pseudonyms: Pseudonyms, shift_days: int, private: frozenset[str]
) -> Dataset:
    """A data set of the allowed attributes of another, each treated as the table says."""
    kept = Dataset()
    local = text(item, "CodingSchemeDesignator") not in ("", *CODING_SCHEMES)
    for tag in list(item.keys()):
        keyword = "" if tag.is_private else keyword_for_tag(tag)
        action = ALLOWED.get(keyword)
        if action is None or (local and keyword in ("CodeValue", "CodingSchemeDesignator")):
            continue
        element = item[tag]
        if action is Action.ITEMS:
            kept[tag] = DataElement(
                tag,
                "SQ",
                Items(
                    [
                        _allowed(child, pseudonyms, shift_days, private)
                        for child in element.value or ()
                    ]
                ),
            )
        else:
            kept[tag] = _treated(element, action, pseudonyms, shift_days, private)
    return kept


def _treated(
    element: DataElement,
    action: Action,
    pseudonyms: Pseudonyms,
    shift_days: int,
    private: frozenset[str],
) -> DataElement:
    value: str | list[str]
    if element.VR in (*FREE_TEXT, "CS") and action is Action.KEEP:
        value = _unless_private(element, private)
    elif action is Action.KEEP:
        return element
    elif action is Action.EMPTY or element.value in (None, ""):
        value = ""
    elif action is Action.UID:
        value = [pseudonyms.uid(str(uid)) for uid in _values(element)]
    elif action is Action.DATE:
        value = [shifted(str(when), shift_days) for when in _values(element)]
    else:
        value = [known_words(str(said), private) for said in _values(element)]
    return DataElement(element.tag, element.VR, value)


def _unless_private(element: DataElement, private: frozenset[str]) -> list[str]:
    """A technical text, whose values are left out where they repeat a word of an identifying attribute."""
    return [
        "" if private & {*re.split(r"[\W_]+", plain_words(str(value)))} else str(value)
        for value in _values(element)
    ]


def _values(element: DataElement) -> Sequence[object]:
    if element.value is None:
        return []
    return list(element.value) if element.VM > 1 else [element.value]


def shifted(value: str, days: int) -> str:
    """A DICOM date (YYYYMMDD) or date-time moved by days, "" when it is neither; the time of day and the zone stay.

    >>> shifted("20240301", -1), shifted("20240301101530.5+0100", -366), shifted("March", 1)
    ('20240229', '20230301101530.5+0100', '')
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
        copy.SOPInstanceUID = pseudonyms.uid(
            f"image {hashlib.sha256(file.read_bytes()).hexdigest()}"
        )
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
