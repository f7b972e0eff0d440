"""Cases of public collections: before they are read, and the annotated studies they become."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import highdicom as hd
from pydantic import BaseModel, ConfigDict

from liverleaf.storage.volumes import save_volume
from liverleaf.study import Annotation, Study

ANNOTATIONS_FILE = "annotations.json"
ORGANS_FILE = "truth/organs.nii.gz"


class LesionBox(BaseModel):
    """A lesion that the collection marks with a box and does not outline.

    Attributes:
        image: the phase or other image it was drawn on, by its name in `case.json`.
        type: key of a `LesionType`, "" where the collection does not tell it.
        category: the collection's own word.
        corners_mm: LPS positions of two opposite corners; the edges are parallel to the axes of the
            image as the collection stores it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    image: str
    type: str
    category: str
    corners_mm: tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Annotated:
    """A study and as much of its truth as the collection tells.

    Attributes:
        study: under any ids.
        truth: None unless every lesion that the collection knows is outlined, or known to be
            absent.
        organs: uint8 values of `labels.Organ` on the study's grid, where organs are outlined but
            lesions are not.
        boxes: lesions that have a box and no outline.
        diagnosis: of the whole case, where there is no truth to hold it.
        markers: as in `Annotation`, where there is no truth to hold them.
    """

    study: Study
    truth: Annotation | None = None
    organs: hd.Volume | None = None
    boxes: tuple[LesionBox, ...] = ()
    diagnosis: str = ""
    markers: Mapping[str, float | str] = field(default_factory=dict)

    def with_case_labels(
        self, *, diagnosis: str = "", markers: Mapping[str, float | str] | None = None
    ) -> Annotated:
        """The same with what is known of the whole case, in the truth where there is one."""
        known = dict(markers or {})
        if self.truth is not None:
            return replace(self, truth=replace(self.truth, diagnosis=diagnosis, markers=known))
        return replace(self, diagnosis=diagnosis, markers=known)


@dataclass(frozen=True)
class CollectionCase:
    """One study of a collection before it is read; small, and fit to be sent to another process.

    Attributes:
        case_id: name of the case folder, made of the collection's own public ids.
        subject_id: the same for all studies of one person.
        read: reads it; raises InputError where it cannot.
        refused: why it cannot be read, "" when it may be.
        notes: what was left out, one plain sentence each.
    """

    case_id: str
    subject_id: str
    read: Callable[[], Annotated]
    refused: str = ""
    notes: tuple[str, ...] = ()


def case(
    collection: str,
    subject: str,
    read: Callable[[], Annotated],
    *,
    study: str = "",
    refused: str = "",
) -> CollectionCase:
    """A case under ids that are plain file names.

    Args:
        collection: name of the collection, so that cases of several can share a folder.
        subject: the collection's id of the person.
        read: reads it.
        study: tells one study of a person from another.
        refused: why it cannot be read.
    """
    subject_id = _plain(f"{collection}-{subject}")
    return CollectionCase(
        _plain(f"case-{collection}-{subject}{f'-{study}' if study else ''}"),
        subject_id,
        read,
        refused,
    )


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")


def save_annotations(directory: Path, annotated: Annotated) -> None:
    """Write what is known of a case without lesion masks beside its `case.json`.

    That is `annotations.json` and a map of its organs.
    """
    if annotated.organs is not None:
        (directory / ORGANS_FILE).parent.mkdir(exist_ok=True)
        save_volume(directory / ORGANS_FILE, annotated.organs)
    record = _Annotations(
        organs=ORGANS_FILE if annotated.organs is not None else None,
        boxes=annotated.boxes,
        diagnosis=annotated.diagnosis,
        markers=dict(annotated.markers),
    )
    if record != _Annotations():
        (directory / ANNOTATIONS_FILE).write_text(
            record.model_dump_json(indent=1) + "\n", encoding="utf-8"
        )


class _Annotations(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    organs: str | None = None
    boxes: tuple[LesionBox, ...] = ()
    diagnosis: str = ""
    markers: dict[str, float | str] = {}
