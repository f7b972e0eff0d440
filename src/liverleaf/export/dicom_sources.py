"""The DICOM images that a derived object refers to: which they are, where they lie, whose they are.

A study that was read from DICOM goes in; copies of its headers that may be quoted, and the source
image of each slice, come out.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.uid import UID, CTImageStorage, MRImageStorage

from liverleaf.study import InputError, Modality, Phase, Study

SOP_CLASS = {Modality.CT: CTImageStorage, Modality.MR: MRImageStorage}
TYPE_2_ATTRIBUTES = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""Attributes a derived object copies from its source, and that the standard lets be empty but not
be absent."""
TEXT_VRS = frozenset({"PN", "LO", "LT", "SH", "ST", "UC", "UT"})
"""Kinds of element whose bytes depend on the Specific Character Set."""
ESCAPE = re.compile("\x1b[\x20-\x2f]*[\x30-\x7e]")
UTF_8 = "ISO_IR 192"
ON_SLICE_STEPS = 0.05
"""Share of the slice step by which the first and last image may lie beside those of the volume, as
reading lets them."""
SAME_PLACE_MM = 0.01
"""Differences of rounding: a frame takes the place of its slice in the volume."""
SHIFTED_PIXELS = 0.1
"""From here on reading shifts slices in their planes, and rows and columns are no longer theirs."""


@dataclass(frozen=True)
class SourceSlice:
    """One image of the reference phase, or frame of a multi-frame image.

    Attributes:
        z: the slice of the study's grid that shows it, the nearest one along the normal.
        position_mm: centre of the first voxel of a derived frame on this image, LPS, mm.
        offset_mm: from that slice of the grid to the image, along the normal.
        sop_class_uid: of the image.
        sop_instance_uid: of the image; None where it has none of its own.
        frame_number: in a multi-frame image, from 1; None where there is one frame.
        preserved: whether rows and columns of the grid are those of the image.
        study_instance_uid: that the image itself names.
        series_instance_uid: that the image itself names; both are others than those of the study
            where wrong UIDs had torn it and it was put together.
    """

    z: int
    position_mm: tuple[float, float, float]
    offset_mm: float
    sop_class_uid: str
    sop_instance_uid: str | None
    frame_number: int | None
    preserved: bool
    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True)
class _Plane:
    """Where one image lies, by its header."""

    header: int
    frame_number: int | None
    position_mm: NDArray[np.float64]
    orientation: NDArray[np.float64]


def source_slices(study: Study) -> tuple[SourceSlice, ...]:
    """The images of the reference phase, in the order of the slices of the study's grid.

    Of an object that holds several phases, the frames of the reference phase alone. A slice of the
    grid that reading interpolated has none.

    Raises:
        InputError: there are no headers, or they are not those of the volume.
    """
    headers = complete_headers(study)
    own = own_instance_uids(study.phases[study.reference].headers)
    grid = study.grid
    normal = grid.direction[:, 0]
    rows_columns = grid.direction[:, 1:]
    found = []
    for plane in _planes(study):
        header = headers[plane.header]
        if abs(np.cross(plane.orientation[:3], plane.orientation[3:]) @ normal) < 0.99:
            raise _not_of_this_volume(study)
        at = float((plane.position_mm - grid.affine[:3, 3]) @ normal / grid.spacing[0])
        z = int(np.rint(at))
        on_grid = grid.affine[:3, 3] + at * grid.spacing[0] * normal
        beside = np.abs((plane.position_mm - on_grid) @ rows_columns) / grid.spacing[1:]
        turned = np.abs(
            np.stack([plane.orientation[3:], plane.orientation[:3]], axis=1) - rows_columns
        ).max()
        preserved = bool(
            (header.Rows, header.Columns) == tuple(grid.spatial_shape[1:])
            and beside.max() <= SHIFTED_PIXELS
            and turned < 0.01
        )
        position = plane.position_mm if preserved else on_grid
        in_volume = grid.affine[:3, 3] + z * grid.spacing[0] * normal
        if np.abs(position - in_volume).max() <= SAME_PLACE_MM:
            position = in_volume
        found.append(
            SourceSlice(
                z,
                (float(position[0]), float(position[1]), float(position[2])),
                (at - z) * grid.spacing[0],
                str(header.SOPClassUID),
                own[plane.header],
                plane.frame_number,
                preserved,
                _original(header, "StudyInstanceUID"),
                _original(header, "SeriesInstanceUID"),
            )
        )
    found.sort(key=lambda source: source.z * grid.spacing[0] + source.offset_mm)
    ends = (found[0], 0), (found[-1], grid.spatial_shape[0] - 1)
    if any(
        source.z != z or abs(source.offset_mm) > ON_SLICE_STEPS * grid.spacing[0]
        for source, z in ends
    ):
        raise _not_of_this_volume(study)
    return tuple(found)


def _not_of_this_volume(study: Study) -> InputError:
    return InputError(
        f"{study.reference.title} phase: its images do not lie on the slices of its DICOM headers;"
        " read the study again"
    )


def _planes(study: Study) -> Iterable[_Plane]:
    """Every image or frame of the reference phase, each place once."""
    image = study.phases[study.reference]
    several = len(image.frame_numbers) == len(image.headers)
    seen: set[tuple[float, ...]] = set()
    for index, header in enumerate(image.headers):
        frames = header.get("PerFrameFunctionalGroupsSequence")
        numbers: Sequence[int | None] = [None]
        if frames:
            numbers = (image.frame_numbers[index] if several else ()) or range(1, len(frames) + 1)
        for number in numbers:
            groups = [header]
            if frames and number is not None:
                shared = header.get("SharedFunctionalGroupsSequence") or ()
                groups = [frames[number - 1], *shared, header]
            position = _quoted(groups, "PlanePositionSequence", "ImagePositionPatient")
            orientation = _quoted(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
            place = tuple(np.round(position, 3))
            if place not in seen:
                seen.add(place)
                yield _Plane(index, number, position, orientation)


def _quoted(groups: Sequence[Dataset], sequence: str, keyword: str) -> NDArray[np.float64]:
    """An attribute of the first functional group that has it, else of the header itself."""
    for group in groups:
        items = [*(group.get(sequence) or ()), group]
        for item in items:
            if item.get(keyword) is not None:
                return np.asarray(item.get(keyword), np.float64)
    raise InputError(f"a DICOM header lacks {keyword}, so no DICOM object can refer to it")


def _original(header: Dataset, keyword: str) -> str:
    """A UID as the file names it, where reading gave the image another."""
    for changes in header.get("OriginalAttributesSequence") or ():
        for before in changes.get("ModifiedAttributesSequence") or ():
            if keyword in before:
                return str(before.get(keyword))
    return str(header.get(keyword))


def own_instance_uids(headers: Sequence[Dataset]) -> list[str | None]:
    """The SOP Instance UID by which each image can be told from the others.

    That of the data set, else that of the file's own header; None where neither is there, or
    several images share it.
    """
    candidates = []
    for header in headers:
        meta = getattr(header, "file_meta", Dataset())
        candidates.append((header.get("SOPInstanceUID"), meta.get("MediaStorageSOPInstanceUID")))
    times = [Counter(str(pair[which] or "") for pair in candidates) for which in (0, 1)]
    found: list[str | None] = []
    for pair in candidates:
        names = (str(pair[which] or "") for which in (0, 1) if times[which][str(pair[which])] == 1)
        found.append(next((name for name in names if name), None))
    return found


def complete_headers(study: Study) -> tuple[Dataset, ...]:
    """Copies of the reference phase's headers with what a derived object must quote from them.

    Missing identifiers are derived from what the headers do say, so that every object written of
    one study quotes the same ones.

    Raises:
        InputError: there are no headers, they have no geometry, or they are of several series or of
            another frame of reference.
    """
    phase = study.reference
    if not study.phases[phase].headers:
        raise InputError(
            f"{phase.title} phase: no DICOM headers, so no DICOM object can refer to it; give the"
            " study as DICOM"
        )
    _check_sources(study.phases[phase].headers, phase)
    own_uids = own_instance_uids(study.phases[phase].headers)
    headers = tuple(_shallow(header) for header in study.phases[phase].headers)
    first = headers[0]
    frame = first.get("FrameOfReferenceUID") or study.grid.frame_of_reference_uid
    origin = str(frame or f"{study.case_id} {study.grid.affine.tolist()}")
    shared = {
        "StudyInstanceUID": first.get("StudyInstanceUID") or derived_uid("study", origin),
        "SeriesInstanceUID": (
            first.get("SeriesInstanceUID") or derived_uid("series", origin, phase.name)
        ),
        "FrameOfReferenceUID": frame or derived_uid("frame", origin),
    }
    for index, (header, uid) in enumerate(zip(headers, own_uids, strict=True)):
        meta = getattr(header, "file_meta", Dataset())
        own = {"SOPClassUID": meta.get("MediaStorageSOPClassUID") or SOP_CLASS[study.modality]}
        uid = uid or derived_uid("instance", shared["SeriesInstanceUID"], str(index))
        header.add(DataElement("SOPInstanceUID", "UI", uid))
        _fill(
            header,
            shared
            | own
            | dict.fromkeys(TYPE_2_ATTRIBUTES)
            | {"SliceThickness": f"{study.grid.spacing[0]:.6g}"},
        )
    if study.grid.frame_of_reference_uid not in (None, first.FrameOfReferenceUID):
        raise InputError(
            f"{phase.title} phase: its images and its DICOM headers name different frames of"
            " reference; read the study again"
        )
    return headers


def _check_sources(headers: Sequence[Dataset], phase: Phase) -> None:
    """Refuse headers that cannot be the sources of one derived object."""
    series = {
        (header.get("StudyInstanceUID"), header.get("SeriesInstanceUID")) for header in headers
    }
    if len(series) > 1:
        raise InputError(
            f"{phase.title} phase: its DICOM headers are of more than one series; give one series"
            " per phase"
        )
    for header in headers:
        missing = [
            keyword
            for keyword in ("Rows", "Columns", "ImageOrientationPatient", "ImagePositionPatient")
            if header.get(keyword) is None
        ]
        if missing and "PerFrameFunctionalGroupsSequence" not in header:
            raise InputError(
                f"{phase.title} phase: a DICOM header lacks {', '.join(missing)}, so no DICOM"
                " object can refer to it"
            )


def _shallow(header: Dataset) -> Dataset:
    """A copy that shares its elements with the header: they may be replaced in it, not changed."""
    # over the keys, because iterating over the header would decode every element
    copied = Dataset({tag: header.get_item(tag) for tag in header.keys()})  # noqa: SIM118
    if hasattr(header, "file_meta"):
        copied.file_meta = header.file_meta
    return copied


def _fill(header: Dataset, defaults: dict[str, str | None]) -> None:
    """Give each attribute that is absent or empty a new element."""
    for keyword, value in defaults.items():
        if not header.get(keyword):
            header.add(DataElement(keyword, dictionary_VR(keyword), value))


def derived_uid(*parts: str) -> UID:
    """The same UID for the same parts, as UUID-derived UIDs are made (DICOM PS3.5, B.2)."""
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(parts)).int}")


def in_unicode(header: Dataset) -> Dataset:
    """A copy of a header without its frames, every text in Unicode.

    The names of a patient in any character set then read the same in an object written in UTF-8.
    """
    copied = Dataset()
    for tag in header.keys():  # noqa: SIM118, as in _shallow
        element = header[tag]
        if element.keyword in ("PerFrameFunctionalGroupsSequence", "SpecificCharacterSet"):
            continue
        if element.VR == "SQ":
            items = [in_unicode(item) for item in element.value]
            copied.add(DataElement(element.tag, "SQ", items))
        elif element.VR in TEXT_VRS:
            copied.add(DataElement(element.tag, element.VR, _plain(element.value)))
        else:
            copied.add(deepcopy(element))
    return copied


def _plain(value: object) -> str | list[str] | None:
    """Text without the escape sequences of ISO 2022, which pydicom leaves in that of ISO-IR 58."""
    if value is None:
        return None
    if isinstance(value, MultiValue):
        return [ESCAPE.sub("", str(part)) for part in value]
    return ESCAPE.sub("", str(value))


def is_ascii(item: Dataset) -> bool:
    """Whether every text of a data set is."""
    return all(
        all(is_ascii(part) for part in element.value)
        if element.VR == "SQ"
        else element.VR not in TEXT_VRS or str(element.value).isascii()
        for element in item
    )
