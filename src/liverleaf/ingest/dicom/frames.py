"""The image frames of one DICOM file, each with its geometry, rescaling and time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from liverleaf.study import InputError, Modality

DAMAGED = "unreadable or damaged"
NOT_DICOM = "not DICOM"
DICOMDIR = "DICOMDIR"
ZIPPED = "zip to be unpacked first"
DAY_S = 86400.0
"""Seconds of a day."""

MIN_SPACING_MM, MAX_SPACING_MM, MAX_POSITION_MM = 0.01, 100.0, 1e5
PHILIPS = (0x2005, 0x0010), "Philips MR Imaging DD 001"
PHILIPS_FRAME, PHILIPS_SCALE = (0x2005, 0x140F), (0x2005, 0x100E)
TIME_KEYS = (
    "temporal position",
    "acquisition number",
    "trigger time",
    "acquisition time",
    "content time",
)
"""What may tell the time points of a dynamic series apart, the most trustworthy first."""


class DicomdirError(InputError):
    """The file is a DICOMDIR: an index of other files, of which nothing is lost without it."""

    def __init__(self, reason: str = DICOMDIR) -> None:
        super().__init__(reason)


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice: a single-frame file, or one frame of a multi-frame file.

    Attributes:
        path: the file.
        index: the frame's number in its file, from 0.
        header: the file's header without pixels and private elements, shared by all frames of the
            file.
        position_mm: centre of the first voxel, LPS, shape (3,).
        orientation: direction cosines along a row, then down a column, shape (6,).
        spacing_mm: distance between rows, then between columns.
        slope: of the rescaling from stored values, or from what a Modality LUT makes of them; Real
            World Value Mappings are not used.
        intercept: of the rescaling likewise.
        rescaled: whether the header names both, or a table in their place; what it does not name is
            1 or 0.
        unit: what the header calls the rescaled values ("HU", "US" for none, "Z_EFF", ...), in
            upper case; "" where it says nothing.
        image_type: the words of (Frame) Image Type, "LOCALIZER" among them.
        echo_time_ms: None when not given.
        moments: by the names in `TIME_KEYS`, as far as they are known.
        stack_id: of a frame in an enhanced image, "" elsewhere.
        scale_slope: Philips' private scale: (slope * stored + intercept) / (slope * scale_slope) is
            the measured signal; None if unknown.
    """

    path: Path
    index: int
    header: Dataset
    position_mm: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    slope: float
    intercept: float
    rescaled: bool
    unit: str
    image_type: tuple[str, ...]
    echo_time_ms: float | None
    moments: Mapping[str, float]
    stack_id: str
    scale_slope: float | None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.header.Rows), int(self.header.Columns)


def read_frames(path: Path) -> list[Frame]:
    """Read the frames of one file, without their pixels.

    Raises:
        InputError: this is no CT or MR image with a position in the patient; the message is a
            reason fit for counting: it names no file. `DicomdirError` for an index of files.
    """
    try:
        return _frames(path, *_read_header(path))
    except InputError:
        raise
    except Exception as error:  # hostile bytes raise anything from struct.error to RecursionError
        raise InputError(DAMAGED) from error


def _frames(path: Path, header: Dataset, scale_slope: float | None) -> list[Frame]:
    modality = text(header, "Modality")
    if modality not in tuple(Modality):
        raise InputError(
            f"of modality {modality if re.fullmatch('[A-Z]{2,16}', modality) else 'unknown'}"
            " (neither CT nor MR)"
        )
    if not number(header, "Rows") or not number(header, "Columns"):
        raise InputError("DICOM without an image")
    if number(header, "SamplesPerPixel") not in (None, 1.0):
        raise InputError("in colour")
    bits, high_bit = number(header, "BitsStored"), number(header, "HighBit")
    if bits is not None and high_bit is not None and high_bit != bits - 1:
        raise InputError("with pixel bits in an unusual place (high bit)")
    count = int(number(header, "NumberOfFrames") or 1)
    if count < 1 or (
        count > 1 and len(header.get("PerFrameFunctionalGroupsSequence", ())) != count
    ):
        raise InputError("multi-frame without a place for each frame")
    return [_frame(path, header, index, scale_slope) for index in range(count)]


def _read_header(path: Path) -> tuple[Dataset, float | None]:
    """The elements that can be decoded and are public, and Philips' private scale slope."""
    with path.open("rb") as file:
        start = file.read(132)
        check_begins_as_dicom(start)
        file.seek(0)
        header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    scale_slope = _scale_slope(header)
    for tag in list(header.keys()):
        # vendors keep up to 100 kB a slice in private elements
        if tag.is_private or not decodes(header, tag):
            del header[tag]
    if not header.get("SpecificCharacterSet"):
        # empty means the default, but highdicom refuses it when it writes
        header.pop("SpecificCharacterSet", None)
    if "DirectoryRecordSequence" in header:
        raise DicomdirError
    if "SOPClassUID" not in header:
        raise InputError(DAMAGED)
    return header, scale_slope


def check_begins_as_dicom(start: bytes) -> None:
    """Refuse what is no DICOM file by its first 132 bytes.

    Raises:
        InputError: as `read_frames`.
    """
    if start[:4] == b"PK\x03\x04":
        raise InputError(ZIPPED)
    if start[128:] != b"DICM" and start[:2] not in (b"\x02\x00", b"\x08\x00"):
        raise InputError(NOT_DICOM)


def _mend_decimal_commas(header: Dataset, tag: BaseTag) -> None:
    """Read "0,7" as 0.7: the standard knows no other use of a comma in a number."""
    raw: object = header.get_item(tag)
    if (
        isinstance(raw, RawDataElement)
        and raw.value
        and b"," in raw.value
        and (raw.VR or dictionary_VR(tag)) == "DS"
    ):
        header[tag] = raw._replace(value=raw.value.replace(b",", b"."))


def _scale_slope(item: Dataset) -> float | None:
    """Philips' scale slope of an image, or of one frame of an enhanced image; None without one."""
    try:
        creator, name = PHILIPS
        value = (
            float(item[PHILIPS_SCALE].value) if str(item[creator].value).startswith(name) else 0.0
        )
    except Exception:  # as in read_frames
        return None
    return value if np.isfinite(value) and value > 0 else None


def decodes(header: Dataset, tag: BaseTag) -> bool:
    """Whether an element has a value of the standard's kind; a damaged one counts as absent.

    Values are decoded on access.
    """
    try:
        _mend_decimal_commas(header, tag)
        element = header[tag]
        if (
            element.VR == "UI"
            and element.value
            and not re.fullmatch(r"[0-9.]+", str(element.value))
        ):
            return False  # it is told in reports, and a name may have slipped into it
        return element.VR in dictionary_VR(tag).split(" or ")
    except Exception:  # as in read_frames
        return False


def _frame(path: Path, header: Dataset, index: int, scale_slope: float | None) -> Frame:
    position = _numbers(_group(header, index, "PlanePositionSequence"), "ImagePositionPatient", 3)
    orientation = _numbers(
        _group(header, index, "PlaneOrientationSequence"), "ImageOrientationPatient", 6
    )
    spacing = _numbers(_group(header, index, "PixelMeasuresSequence"), "PixelSpacing", 2)
    if position is None and number(header, "SliceLocation") is not None:
        raise InputError(
            "without position: a slice location alone does not tell where in the patient a slice"
            " lies"
        )
    if position is None or orientation is None or spacing is None:
        raise InputError("without position, orientation or pixel spacing")
    rows, columns = orientation[:3], orientation[3:]
    skew = np.abs(np.array([rows @ columns, rows @ rows - 1, columns @ columns - 1])).max()
    if (
        not MIN_SPACING_MM < spacing.min() <= spacing.max() < MAX_SPACING_MM
        or skew > 0.01
        or np.abs(position).max() > MAX_POSITION_MM
    ):
        raise InputError("with an impossible position, orientation or pixel spacing")
    scale = _group(header, index, "PixelValueTransformationSequence")
    table = modality_lut(header)
    unit = text(scale, "RescaleType") if table is None else text(table, "ModalityLUTType")
    slope, intercept = number(scale, "RescaleSlope") or None, number(scale, "RescaleIntercept")
    own = header.get("PerFrameFunctionalGroupsSequence", ())[index : index + 1]
    kind = _group(header, index, f"{header.Modality}ImageFrameTypeSequence")
    return Frame(
        path,
        index,
        header,
        position,
        orientation,
        (float(spacing[0]), float(spacing[1])),
        1.0 if slope is None or table is not None else slope,
        0.0 if table is not None else intercept or 0.0,
        table is not None or (slope is not None and intercept is not None),
        unit.upper(),
        words(kind, "FrameType") or words(header, "ImageType"),
        number(_group(header, index, "MREchoSequence"), "EffectiveEchoTime")
        or number(header, "EchoTime"),
        _moments(header, index),
        text(_group(header, index, "FrameContentSequence"), "StackID"),
        _scale_slope(own[0][PHILIPS_FRAME][0]) if own and PHILIPS_FRAME in own[0] else scale_slope,
    )


def _group(header: Dataset, index: int, sequence: str) -> Dataset:
    """The functional group of a frame: its own, else the shared one, else the header itself.

    Single-frame images keep all in the header.
    """
    for groups in (
        *header.get("PerFrameFunctionalGroupsSequence", ())[index : index + 1],
        *header.get("SharedFunctionalGroupsSequence", ()),
    ):
        if groups.get(sequence):
            item: Dataset = groups[sequence][0]
            return item
    return header


def modality_lut(header: Dataset) -> Dataset | None:
    """The item with the table that maps stored values to those of the modality; mostly None.

    It takes the place of slope and intercept (DICOM PS3.3, C.11.1).
    """
    return next(iter(header.get("ModalityLUTSequence") or ()), None)


def _moments(header: Dataset, index: int) -> dict[str, float]:
    content = _group(header, index, "FrameContentSequence")
    trigger_ms = number(header, "TriggerTime")
    offset_s = number(
        _group(header, index, "TemporalPositionSequence"), "TemporalPositionTimeOffset"
    )
    found = {
        "temporal position": (
            number(content, "TemporalPositionIndex") or number(header, "TemporalPositionIdentifier")
        ),
        "acquisition number": (
            number(content, "FrameAcquisitionNumber") or number(header, "AcquisitionNumber")
        ),
        "trigger time": offset_s if trigger_ms is None else trigger_ms / 1000,
        "acquisition time": (
            date_time_s(text(content, "FrameAcquisitionDateTime")) or acquired_s(header)
        ),
        "content time": seconds_of_day(text(header, "ContentTime")),
    }
    return {key: value for key, value in found.items() if value is not None}


def acquired_s(header: Dataset) -> float | None:
    """When the image was taken, in seconds on a clock that runs over midnight; None if unknown."""
    whole = date_time_s(text(header, "AcquisitionDateTime"))
    if whole is not None:
        return whole
    for kind in ("Acquisition", "Content", "Series"):
        second = seconds_of_day(text(header, f"{kind}Time"))
        if second is not None:
            return _day_s(text(header, f"{kind}Date")) + second
    return None


def date_time_s(value: str) -> float | None:
    """Seconds of a DICOM date-time (YYYYMMDDHHMMSS.FFFFFF) on the clock of `acquired_s`."""
    second = seconds_of_day(value[8:])
    return None if second is None else _day_s(value[:8]) + second


def seconds_of_day(value: str) -> float | None:
    """Seconds after midnight of a DICOM time (HHMMSS.FFFFFF, its end may be missing), else None.

    >>> seconds_of_day("003138.500000"), seconds_of_day("1050"), seconds_of_day("")
    (1898.5, 39000.0, None)
    """
    match = re.match(r"(\d\d):?(\d\d)?:?(\d\d(?:\.\d+)?)?", value)
    if match is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return (
        hours * 3600 + minutes * 60 + seconds
        if hours < 24 and minutes < 60 and seconds <= 60
        else None
    )


def dicom_date_and_time(clock_s: float) -> tuple[str, str]:
    """The inverse of `acquired_s`: DICOM date ("" for day 0, which is no date) and time.

    >>> dicom_date_and_time(3661.5)
    ('', '010101.500000')
    """
    day, second = divmod(clock_s, DAY_S)
    minutes, seconds = divmod(second, 60)
    return (
        date.fromordinal(int(day)).strftime("%Y%m%d") if day else ""
    ), f"{minutes // 60:02.0f}{minutes % 60:02.0f}{seconds:09.6f}"


def _day_s(value: str) -> float:
    try:
        return date(int(value[:4]), int(value[4:6]), int(value[6:8])).toordinal() * DAY_S
    except ValueError:
        return 0.0


def text(item: Dataset, keyword: str) -> str:
    """An element's value as one line of text, "" when it is missing."""
    value = item.get(keyword)
    return "" if value is None else " ".join(str(value).split())


def counts_in_words(counts: Counter[str]) -> str:
    """Kinds of files as words: "2 not DICOM, 1 DICOMDIR"."""
    return ", ".join(f"{files} {kind}" for kind, files in counts.most_common()) or "none"


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun.

    >>> counted(1, "slice"), counted(2, "slice"), counted(0, "study", "studies")
    ('1 slice', '2 slices', '0 studies')
    """
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def words(item: Dataset, keyword: str) -> tuple[str, ...]:
    """An element's values as text, () when it is missing."""
    value = item.get(keyword)
    if value is None:
        return ()
    return tuple(str(part) for part in value) if isinstance(value, MultiValue) else (str(value),)


def number(item: Dataset, keyword: str) -> float | None:
    """An element's single finite number, None when it is missing or something else."""
    values = _numbers(item, keyword, 1)
    return None if values is None else float(values[0])


def _numbers(item: Dataset, keyword: str, count: int) -> NDArray[np.float64] | None:
    try:
        values = np.asarray(item.get(keyword), dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        return None
    return values if len(values) == count and np.isfinite(values).all() else None
