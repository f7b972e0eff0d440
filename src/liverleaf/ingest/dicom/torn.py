"""Studies torn by wrong UIDs: one study whose files or series each name a study of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pydicom import Dataset

from liverleaf.ingest.dicom.frames import text

PLACE = (
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "AcquisitionTime",
    "TemporalPositionIdentifier",
    "EchoTime",
    "InstanceNumber",
)
"""Where and when an image of a series was taken."""


class SharedKey(NamedTuple):
    """What an image of a study shares with others.

    Attributes:
        key: a series, or a frame of reference at a date, with the patient.
        study: which study the image says it is of.
        place: where and when it was taken.
    """

    key: str
    study: str
    place: str


def shared_keys(header: Dataset, study: str, patient: str) -> list[SharedKey]:
    """What an image may share with those of another study."""
    place = "|".join(text(header, keyword) for keyword in PLACE)
    series, frame = (text(header, f"{of}UID") for of in ("SeriesInstance", "FrameOfReference"))
    keys = [f"series {series}|{patient}"] if series else []
    if frame:
        keys.append(f"frame {frame}|{text(header, 'StudyDate')}|{patient}")
    return [SharedKey(key, study, place) for key in keys]


def joined(shared: Iterable[SharedKey], series: Mapping[str, int]) -> dict[str, str]:
    """Which studies are one.

    Studies are one where they hold different images of one series, or where each holds one series
    only, and all are of one frame of reference and date. Studies that hold the same image are
    copies of each other and stay apart.

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
        owner: dict[str, str] = {}
        copies = any(owner.setdefault(i.place, i.study) != i.study for i in images)
        studies = sorted({image.study for image in images})
        several = key.startswith("frame ") and any(series[study] > 1 for study in studies)
        if copies or several:
            continue
        for study in studies:
            first, other = sorted((root(studies[0]), root(study)))
            if first != other:
                whole[other] = first
    return {study: root(study) for study in whole}


def torn_warning(parts: int) -> str:
    """What to say of a study that was put together."""
    return (
        f"its images name {parts} studies, but share the patient and a series or a frame of"
        " reference: they were put together"
    )
