"""Cases of nnU-Net raw datasets: DatasetXXX_Name with dataset.json, imagesTr and labelsTr."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import highdicom as hd
import numpy as np
from pydantic import AliasChoices, BaseModel, Field, ValidationError

from liverleaf.ingest.collections.annotation import annotate
from liverleaf.ingest.collections.case import Annotated, CollectionCase, case
from liverleaf.ingest.collections.images import read_labels, study_of
from liverleaf.ingest.collections.lesion_names import lesion_name
from liverleaf.ingest.nifti import AIR_HU
from liverleaf.ingest.phases.descriptions import phase_in_words, plain_words
from liverleaf.study import InputError, Modality, Phase
from liverleaf.terminology import LesionType, Organ

DATASET_FILE = "dataset.json"
ENDINGS = (".nii.gz", ".nii")


class LiverleafRecord(BaseModel):
    """What liverleaf adds to `dataset.json`.

    nnU-Net reads a channel's name as how to normalise it, so that names cannot tell phases.

    Attributes:
        modality: CT or MR.
        phases: lower-case name of the phase of each channel, by the channel's number.
        subjects: the subject of each case.
    """

    modality: Modality
    phases: dict[str, str]
    subjects: dict[str, str] = {}


class Dataset(BaseModel):
    """`dataset.json` as far as it is read.

    Attributes:
        channel_names: by number, from "0"; `modality` in datasets of version 1.
        labels: values by name, or names by value in datasets of version 1; several values make a
            region.
        file_ending: of images and labels.
        liverleaf: where liverleaf wrote it; datasets of version 0.1 call it hepatica.
    """

    channel_names: dict[str, str] = {}
    modality: dict[str, str] = {}
    labels: dict[str, int | list[int] | str]
    file_ending: str = ".nii.gz"
    liverleaf: LiverleafRecord | None = Field(
        None, validation_alias=AliasChoices("liverleaf", "hepatica")
    )


@dataclass(frozen=True)
class _Layout:
    """How the files of one dataset are read: phases by channel, and what each label is of."""

    phases: Mapping[Phase, int]
    unused: tuple[str, ...]
    guessed: bool
    labels: _Labels
    ending: str
    modality: Modality | None


@dataclass(frozen=True)
class _Labels:
    """What the labels of a dataset are of.

    Attributes:
        all: every value that has a name, and 0.
        liver: values of the liver, with its lesions.
        lesions: values of lesions, and the type of each; None where no name tells it.
        notes: what the names leave open, a plain sentence each.
    """

    all: frozenset[int]
    liver: frozenset[int]
    lesions: Mapping[int, LesionType | None]
    notes: tuple[str, ...]


def nnunet(root: Path) -> Iterator[CollectionCase]:
    """The cases of each dataset at or below a folder.

    Those of imagesTs have no labels and are refused.

    The name of each channel must tell its phase; a lone channel is taken for the portal venous
    phase. The labels must have a liver, a lesion or both, as classes or as regions; a class that is
    called as a type of lesion holds lesions of that type.

    Raises:
        InputError: a `dataset.json` does not tell phases and labels.
    """
    for file in sorted(root.rglob(DATASET_FILE)):
        dataset = _dataset(file)
        layout = _layout(dataset, file)
        subjects = dataset.liverleaf.subjects if dataset.liverleaf else {}
        for part in ("imagesTr", "imagesTs"):
            for name in sorted(_names(file.parent / part, layout.ending)):
                labels = file.parent / f"labelsTr/{name}{layout.ending}"
                reason = (
                    ""
                    if labels.is_file()
                    else "it has no label map: it belongs to the test set, or its map is missing"
                )
                read = partial(_read, layout, file.parent / part, name, labels)
                yield case(
                    file.parent.name,
                    subjects.get(name, name),
                    read,
                    study=name if name in subjects else "",
                    refused=reason,
                )


def _dataset(file: Path) -> Dataset:
    try:
        return Dataset.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{file}: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
        ) from error


def _names(folder: Path, ending: str) -> set[str]:
    """The cases of which there is at least one channel."""
    matches = (
        re.fullmatch(rf"(.+)_\d{{4}}{re.escape(ending)}", path.name)
        for path in folder.glob(f"*{ending}")
    )
    return {match[1] for match in matches if match}


def _layout(dataset: Dataset, file: Path) -> _Layout:
    if dataset.file_ending not in ENDINGS:
        raise InputError(
            f"{file}: images ending with {dataset.file_ending!r} cannot be read; convert them to"
            f" {ENDINGS[0]}"
        )
    channels = dataset.channel_names or dataset.modality
    own = dataset.liverleaf
    words = {
        int(number): own.phases.get(number, name) if own else name
        for number, name in channels.items()
        if number.isdigit()
    }
    phases: dict[Phase, int] = {}
    for number, name in words.items():
        guess = phase_in_words(plain_words(name))
        if guess is None or guess.phase is None:
            continue
        if guess.phase in phases:
            raise InputError(
                f"{file}: channels {phases[guess.phase]} and {number} are both called"
                f" {guess.phase.title}"
            )
        phases[guess.phase] = number
    guessed = not phases and len(words) == 1
    if guessed:
        phases = {Phase.PORTAL: next(iter(words))}
    unused = tuple(name for number, name in words.items() if number not in phases.values())
    if not phases:
        raise InputError(
            f"{file}: channel_names do not tell phases; name them pre, arterial, portal, delayed or"
            " hepatobiliary"
        )
    labels = _labels(dataset)
    if not labels.liver:
        raise InputError(
            f"{file}: labels name neither a liver nor a lesion ({', '.join(dataset.labels)}); name"
            " them so"
        )
    names = {name.casefold() for name in channels.values()}
    modality = own.modality if own else Modality.CT if "ct" in names else None
    return _Layout(phases, unused, guessed, labels, dataset.file_ending, modality)


def _classes(dataset: Dataset) -> list[tuple[str, frozenset[int]]]:
    """The name and the values of each class or region but the background."""
    found = []
    for name, values in dataset.labels.items():
        if not isinstance(values, str):
            found.append((name, frozenset([values] if isinstance(values, int) else values) - {0}))
        elif name.isdigit():
            found.append((values, frozenset({int(name)}) - {0}))  # version 1 of the format
    return [(name, values) for name, values in found if values]


def _labels(dataset: Dataset) -> _Labels:
    """What the labels are of, by their names; a liver tumour is a tumour and no liver."""
    liver: set[int] = set()
    told: dict[int, set[LesionType]] = {}
    unnamed, strange = [], []
    classes = _classes(dataset)
    for name, values in classes:
        if lesion := lesion_name(name):
            for value in values:
                told.setdefault(value, set()).update([] if lesion.type is None else [lesion.type])
            if lesion.type is None and not lesion.generic:
                unnamed.append(name)
        elif re.search("liver", name, re.IGNORECASE):
            liver |= values
        else:
            strange.append(name)
    notes = []
    if twice := [str(value) for value, types in sorted(told.items()) if len(types) > 1]:
        notes.append(f"lesions of a label that is of two types have none: {', '.join(twice)}")
    if unnamed:
        notes.append(
            f"lesions of a class that names no type of ours have none: {', '.join(unnamed)}"
        )
    if strange:
        notes.append(
            f"classes that name neither the liver nor a lesion were left out: {', '.join(strange)}"
        )
    return _Labels(
        frozenset({0}).union(*(values for _, values in classes)),
        frozenset(liver | told.keys()),
        {value: min(types) if len(types) == 1 else None for value, types in told.items()},
        tuple(notes),
    )


def _read(layout: _Layout, folder: Path, name: str, labels: Path) -> Annotated:
    files = {
        phase: folder / f"{name}_{number:04d}{layout.ending}"
        for phase, number in layout.phases.items()
    }
    notes = (
        ["the dataset does not name the phase: taken for portal venous"] if layout.guessed else []
    )
    notes += layout.labels.notes
    if layout.unused:
        notes.append(f"channels that tell no phase were left out: {', '.join(layout.unused)}")
    study = study_of(
        layout.modality or Modality.MR,
        files,
        confidence=0.5 if layout.guessed else 1.0,
        notes=notes,
    )
    if layout.modality is None:
        lowest = min(float(image.volume.array.min()) for image in study.phases.values())
        modality = Modality.CT if lowest < AIR_HU else Modality.MR
        warning = f"the dataset does not tell the modality: taken for {modality} by the intensities"
        study = replace(study, modality=modality, warnings=(*study.warnings, warning))
    doubts: list[str] = []
    drawn = read_labels(labels, doubts)
    study = replace(study, warnings=(*study.warnings, *doubts))
    unknown = sorted({*np.unique(drawn.array).tolist()} - layout.labels.all)
    if unknown:
        raise InputError(
            f"its label map holds {', '.join(map(str, unknown[:5]))}, which {DATASET_FILE} does not"
            " list: correct the one or the other"
        )

    def mask(values: Collection[int]) -> hd.Volume:
        return drawn.with_array(np.isin(drawn.array, list(values)))

    lesions, liver = layout.labels.lesions, layout.labels.liver
    # those of unknown type last
    kinds = sorted(set(lesions.values()), key=lambda kind: (kind is None, kind))
    masks = [mask([v for v, kind in lesions.items() if kind is each]) for each in kinds]
    return annotate(
        study,
        lesions=masks or None,
        lesion_types=kinds,
        organs={Organ.LIVER: mask(liver)} if liver > lesions.keys() else {},
    )
