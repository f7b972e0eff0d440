"""Cases of single volumes with label maps: LiTS, Medical Segmentation Decathlon, ATLAS 2023."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from liverleaf.ingest.collections.annotation import annotate
from liverleaf.ingest.collections.case import Annotated, CollectionCase, case
from liverleaf.ingest.collections.images import read_labels, study_of
from liverleaf.study import InputError, Modality, Phase
from liverleaf.terminology import LesionType, Organ

LIVER, TUMOUR = 1, 2
UNKNOWN_PHASE = "the collection does not name the phase"


@dataclass(frozen=True)
class Layout:
    """How one collection names its files and what they show.

    Attributes:
        subjects: first part of the subjects' ids; LiTS and Task03 hold the same scans under the
            same numbers, so they share it.
        image, labels: patterns of file names; their first group is the number that pairs them.
        modality: CT or MR.
        confidence: of the portal venous phase, which single volumes are taken for.
        lesion_type: of all lesions, None where it is not told.
    """

    subjects: str
    image: re.Pattern[str]
    labels: re.Pattern[str]
    modality: Modality
    confidence: float
    lesion_type: LesionType | None


LITS = Layout(
    "lits",
    re.compile(r"volume-(\d+)\.nii(\.gz)?"),
    re.compile(r"segmentation-(\d+)\.nii(\.gz)?"),
    Modality.CT,
    0.5,
    None,
)
TASK03 = Layout(
    "lits",
    re.compile(r"images(?:Tr|Ts)/liver_(\d+)(?:_0000)?\.nii(\.gz)?"),
    re.compile(r"labelsTr/liver_(\d+)\.nii(\.gz)?"),
    Modality.CT,
    0.5,
    None,
)
ATLAS = Layout(
    "atlas",
    re.compile(r"images(?:Tr|Ts)/im(\d+)\.nii(\.gz)?"),
    re.compile(r"labelsTr/lb(\d+)\.nii(\.gz)?"),
    Modality.MR,
    0.3,
    LesionType.HCC,
)


def labelled_volumes(layout: Layout, root: Path) -> Iterator[CollectionCase]:
    """The cases of a folder, images and label maps paired by number wherever they lie.

    A map holds 1 for liver and 2 for tumour.
    """
    images, maps = _numbered(root, layout.image), _numbered(root, layout.labels)
    for number in sorted(images.keys() | maps.keys(), key=int):
        reason = ""
        if number not in maps:
            reason = (
                "it has no label map: it belongs to the collection's test set, or its map is"
                " missing"
            )
        elif number not in images:
            reason = "it has a label map but no image"
        elif len(images[number]) > 1 or len(maps[number]) > 1:
            reason = (
                f"{len(images[number])} images and {len(maps[number])} label maps carry its number;"
                " give one copy of the collection"
            )
        paths = (images.get(number, [root])[0], maps.get(number, [root])[0])
        yield case(layout.subjects, number, partial(_read, layout, *paths), refused=reason)


def _numbered(root: Path, pattern: re.Pattern[str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*.nii*")):
        name = path.as_posix() if "/" in pattern.pattern else path.name
        match = re.search(rf"(?:^|/){pattern.pattern}$", name)
        if match:
            found.setdefault(match[1], []).append(path)
    return found


def _read(layout: Layout, image: Path, labels: Path) -> Annotated:
    study = study_of(
        layout.modality,
        {Phase.PORTAL: image},
        confidence=layout.confidence,
        evidence=UNKNOWN_PHASE,
        notes=[f"{UNKNOWN_PHASE}: taken for portal venous"],
    )
    doubts: list[str] = []
    volume = read_labels(labels, doubts)
    unknown = [int(value) for value in np.unique(volume.array) if value > TUMOUR]
    if unknown:
        raise InputError(
            f"its label map holds {', '.join(map(str, unknown))} beside liver ({LIVER}) and tumour"
            f" ({TUMOUR})"
        )
    liver, tumour = volume.with_array(volume.array > 0), volume.with_array(volume.array == TUMOUR)
    return annotate(
        study,
        lesions=[tumour],
        organs={Organ.LIVER: liver},
        lesion_type=layout.lesion_type,
        notes=doubts,
    )
