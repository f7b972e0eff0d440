"""Studies and series torn by wrong UIDs: whose files or series each name one of their own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pydicom import Dataset

from liverleaf.ingest.dicom.frames import number, text

PLACE = (
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "AcquisitionTime",
    "TemporalPositionIdentifier",
    "EchoTime",
    "InstanceNumber",
)
"""Where and when an image of a series was taken."""
ORDER = "StudyDate", "Modality", "StudyDescription", "AccessionNumber"
"""What the series of one study share, and two studies of one session as a rule do not."""
ALIKE = (
    "StudyInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "ProtocolName",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "PixelSpacing",
)
"""What the images of one series share, whatever UID of a series each of them names."""
EXTENT = "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames"
"""What else is needed to tell how far an image reaches, and what it is of."""
ABDOMEN = ("", "ABDOMEN", "ABDOMENPELVIS", "LIVER", "UPPERABDOMEN", "ABD")
"""Body parts that series of one study of the liver name."""
OVERLAP = 0.5
"""Share of the shorter of two scans that lies within the other, where they are of one study."""
MIN_LONE = 3
"""So many series of one image, alike in all else, are one series that was torn."""


class SharedKey(NamedTuple):
    """What an image of a study shares with others.

    Attributes:
        key: a series, or a frame of reference in one order of a day, with the patient.
        study: which study the image says it is of.
        place: where and when it was taken.
        low_mm: its lower end along the patient; None where the header does not tell.
        high_mm: its upper end.
    """

    key: str
    study: str
    place: str
    low_mm: float | None = None
    high_mm: float | None = None


def shared_keys(header: Dataset, study: str, patient: str) -> list[SharedKey]:
    """What an image may share with those of another study.

    The key "single" is only for counting the images that are a study of their own.
    """
    place = "|".join(text(header, keyword) for keyword in PLACE)
    series, frame = (text(header, f"{of}UID") for of in ("SeriesInstance", "FrameOfReference"))
    keys = [f"series {series}|{patient}"] if series else []
    if frame:
        part = text(header, "BodyPartExamined").upper()
        order = [text(header, keyword) for keyword in ORDER]
        keys.append("|".join([f"frame {frame}", patient, *order, "" if part in ABDOMEN else part]))
    if (number(header, "NumberOfFrames") or 1) == 1:
        keys.append(f"single {patient}|{text(header, 'StudyDate')}")
    return [SharedKey(key, study, place, *_heights_mm(header)) for key in keys]


def _heights_mm(header: Dataset) -> tuple[float | None, float | None]:
    """The lower and upper end of a slice along the patient, by its corners."""
    try:
        position, cosines, spacing = (
            np.asarray(header.get(keyword), float)
            for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        )
        across = cosines[2] * spacing[1] * (header.Columns - 1)
        down = cosines[5] * spacing[0] * (header.Rows - 1)
        corners = position[2] + np.array([0, across, down, across + down])
    except (AttributeError, IndexError, TypeError, ValueError):
        return None, None
    if not np.isfinite(corners).all():
        return None, None
    return float(corners.min()), float(corners.max())


def joined(shared: Iterable[SharedKey], series: Mapping[str, int]) -> dict[str, str]:
    """Which studies are one.

    Studies are one where they hold different images of one series. They are also one where each
    holds one series only, all are of one frame of reference, day, modality, description, accession
    number and body part, and they cover the same stretch of the patient: thorax and abdomen of one
    session are two. Studies that hold the same images are copies of each other and stay apart.

    Args:
        shared: of all images.
        series: how many series each study has.

    Returns:
        By study, the one it is put together with; studies that stand alone are not in it.
    """
    by_key: dict[str, list[SharedKey]] = defaultdict(list)
    for image in shared:
        by_key[image.key].append(image)
    whole: dict[str, str] = {}

    def root(study: str) -> str:
        while study in whole:
            study = whole[study]
        return study

    for key, images in by_key.items():
        studies = sorted({image.study for image in images})
        if key.startswith("single ") or _are_copies(images):
            continue
        groups = [studies]
        if key.startswith("frame "):
            several = any(series.get(study, 0) > 1 for study in studies)
            groups = [] if several else _of_one_stretch(images)
        for group in groups:
            for study in group:
                first, other = sorted((root(group[0]), root(study)))
                if first != other:
                    whole[other] = first
    return {study: root(study) for study in whole}


def _are_copies(images: Sequence[SharedKey]) -> bool:
    """Whether studies repeat each other's images, and are not torn image by image."""
    owner: dict[str, str] = {}
    repeated = any(owner.setdefault(i.place, i.study) != i.study for i in images)
    per_study = Counter(study for study, _ in {(i.study, i.place) for i in images})
    return repeated and (len(owner) == 1 or max(per_study.values()) > 1)


def _of_one_stretch(images: Sequence[SharedKey]) -> list[list[str]]:
    """Studies of one series each in groups that cover the same stretch of the patient.

    Where every study is a single slice nothing can be told of stretches, and all are one group. So
    are they where a header does not tell the place of an image.
    """
    ends: dict[str, list[tuple[float, float]]] = defaultdict(list)
    places: dict[str, set[str]] = defaultdict(set)
    for image in images:
        places[image.study].add(image.place)
        if image.low_mm is not None and image.high_mm is not None:
            ends[image.study].append((image.low_mm, image.high_mm))
    studies = sorted(places)
    if max(map(len, places.values())) == 1 or len(ends) < len(places):
        return [studies]
    groups: list[tuple[list[str], float, float]] = []
    # the longest first, so that each shorter one finds the one it lies in
    spans = {s: (min(low for low, _ in e), max(high for _, high in e)) for s, e in ends.items()}
    for study in sorted(studies, key=lambda s: (spans[s][0] - spans[s][1], s)):
        low, high = spans[study]
        for members, begin, end in groups:
            if min(high, end) - max(low, begin) >= OVERLAP * (high - low):
                members.append(study)
                break
        else:
            groups.append(([study], low, high))
    return [sorted(members) for members, _, _ in groups]


def joined_series(headers: Sequence[Dataset]) -> dict[str, str]:
    """Which series are one: those of a single image each that agree in all else.

    Args:
        headers: of the files of one study.

    Returns:
        By SeriesInstanceUID, the one it is put together with; that of the first image by itself
            is not in it.
    """
    images = Counter(text(header, "SeriesInstanceUID") for header in headers)
    alike: dict[tuple[str, ...], list[Dataset]] = defaultdict(list)
    for header in headers:
        uid = text(header, "SeriesInstanceUID")
        if uid and images[uid] == 1 and (number(header, "NumberOfFrames") or 1) == 1:
            cosines = np.asarray(header.get("ImageOrientationPatient"), float).round(2) + 0.0
            same = (*(text(header, keyword) for keyword in ALIKE), str(cosines))
            alike[same].append(header)
    whole: dict[str, str] = {}
    for lone in alike.values():
        positions = {text(header, "ImagePositionPatient") for header in lone}
        if len(positions) >= MIN_LONE:
            first, *others = sorted(text(header, "SeriesInstanceUID") for header in lone)
            whole |= dict.fromkeys(others, first)
    return whole


def rename(header: Dataset, **uids: str) -> None:
    """Give an image other UIDs; what it said before is kept as DICOM has it (PS3.3, C.12.1)."""
    changed = {keyword: uid for keyword, uid in uids.items() if text(header, keyword) != uid}
    if not changed:
        return
    before, original = Dataset(), Dataset()
    for keyword, uid in changed.items():
        setattr(before, keyword, text(header, keyword))
        setattr(header, keyword, uid)
    original.ModifiedAttributesSequence = [before]
    original.ReasonForTheAttributeModification = "CORRECT"
    header.OriginalAttributesSequence = [
        original,
        *(header.get("OriginalAttributesSequence") or ()),
    ]


def torn_warning(parts: int) -> str:
    """What to say of a study that was put together."""
    return (
        f"its images name {parts} studies, but share the patient and a series or a frame of"
        " reference: they were put together"
    )


def torn_apart(images: int) -> str:
    """Why images that nothing puts together are refused."""
    return (
        f"{images} images of this patient and day each name a study of their own, and neither"
        " series nor frame of reference tells which belong together: export the study again"
    )


def torn_series_warning(parts: int) -> str:
    """What to say of series that were put together."""
    return (
        f"{parts} images each name a series of their own, but agree in number, description and"
        " geometry: they were put together"
    )
