"""Cases of nnU-Net raw datasets: DatasetXXX_Name with dataset.json, imagesTr and labelsTr."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import AliasChoices, BaseModel, Field, ValidationError

from liverleaf.ingest.collections.annotation import annotate
from liverleaf.ingest.collections.case import Annotated, CollectionCase, case
from liverleaf.ingest.collections.images import read_labels, study_of
from liverleaf.ingest.nifti import AIR_HU
from liverleaf.ingest.phases.descriptions import phase_in_words, plain_words
from liverleaf.study import InputError, Modality, Phase
from liverleaf.terminology import Organ

DATASET_FILE = "dataset.json"
ENDINGS = (".nii.gz", ".nii")
LESION = r"lesion|tumou?r|cancer|hcc|icc|metastas|carcinoma|haemangioma|hemangioma|cyst"


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
    """How the files of one dataset are read: phases by channel, and values of liver and lesion."""

    phases: Mapping[Phase, int]
    unused: tuple[str, ...]
    guessed: bool
    liver: frozenset[int]
    lesion: frozenset[int]
    labels: frozenset[int]
    ending: str
    modality: Modality | None


def nnunet(root: Path) -> Iterator[CollectionCase]:
    """The cases of each dataset at or below a folder.

    Those of imagesTs have no labels and are refused.

    The name of each channel must tell its phase; a lone channel is taken for the portal venous
    phase. The labels must have a liver, a lesion or both, as classes or as regions.

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
    liver, lesion = _values(dataset, "liver"), _values(dataset, LESION)
    if not liver | lesion:
        raise InputError(
            f"{file}: labels name neither a liver nor a lesion ({', '.join(dataset.labels)}); name"
            " them so"
        )
    names = {name.casefold() for name in channels.values()}
    modality = own.modality if own else Modality.CT if "ct" in names else None
    return _Layout(
        phases,
        unused,
        guessed,
        liver | lesion,
        lesion,
        _listed(dataset),
        dataset.file_ending,
        modality,
    )


def _values(dataset: Dataset, pattern: str) -> frozenset[int]:
    """The values of the labels with such a name; a liver tumour is a tumour and no liver."""
    found: set[int] = set()
    for name, values in dataset.labels.items():
        if isinstance(values, str):
            if not name.isdigit():
                continue
            name, values = values, int(name)  # version 1 of the format
        named = LESION if re.search(LESION, name, re.IGNORECASE) else "liver"
        if named == pattern and re.search(pattern, name, re.IGNORECASE):
            found |= {values} if isinstance(values, int) else set(values)
    return frozenset(found - {0})


def _listed(dataset: Dataset) -> frozenset[int]:
    """Every value that the dataset gives a name."""
    found = {0}
    for name, values in dataset.labels.items():
        if isinstance(values, str):
            found |= {int(name)} if name.isdigit() else set()
        else:
            found |= {values} if isinstance(values, int) else set(values)
    return frozenset(found)


def _read(layout: _Layout, folder: Path, name: str, labels: Path) -> Annotated:
    files = {
        phase: folder / f"{name}_{number:04d}{layout.ending}"
        for phase, number in layout.phases.items()
    }
    notes = (
        ["the dataset does not name the phase: taken for portal venous"] if layout.guessed else []
    )
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
    unknown = sorted({*np.unique(drawn.array).tolist()} - layout.labels)
    if unknown:
        raise InputError(
            f"its label map holds {', '.join(map(str, unknown[:5]))}, which {DATASET_FILE} does not"
            " list: correct the one or the other"
        )
    liver = drawn.with_array(np.isin(drawn.array, list(layout.liver)))
    lesion = drawn.with_array(np.isin(drawn.array, list(layout.lesion)))
    outlined = {Organ.LIVER: liver} if layout.liver > layout.lesion else {}
    return annotate(study, lesions=[lesion] if layout.lesion else None, organs=outlined)
