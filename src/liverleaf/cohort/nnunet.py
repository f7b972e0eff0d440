"""A cohort exported as a raw dataset that nnU-Net v2 trains on, with splits by subject."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from liverleaf.cohort.index import FOLDS, Cohort
from liverleaf.ingest.collections.nnunet import DATASET_FILE, LiverleafRecord
from liverleaf.registration.align import register_phases
from liverleaf.storage.case_folder import load_case
from liverleaf.storage.volumes import save_volume
from liverleaf.study import Annotation, InputError, Modality, Phase
from liverleaf.system.files import new_directory
from liverleaf.system.progress import Progress, silent
from liverleaf.terminology import LesionType, Organ

SPLITS_FILE = "splits_final.json"
LIVER, LESION = 1, 2
"""Labels of the liver and of lesions; where these have classes by type, that of the first class."""


class Exported(NamedTuple):
    """What became of a cohort.

    Attributes:
        phases: one per channel.
        training: how many cases have images and labels.
        test: how many cases have images only.
        warnings: what was left out or doubtful, one plain sentence each.
    """

    phases: tuple[Phase, ...]
    training: int
    test: int
    warnings: tuple[str, ...]


def export(
    cohort: Cohort,
    out: Path,
    *,
    phases: Sequence[Phase] = (),
    regions: bool = False,
    types: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Exported:
    """Write a cohort as a raw dataset of nnU-Net.

    It has a channel per phase, the labels 1 (liver) and 2 (lesion, or by `types` from 2 on a class
    for each type of the cohort's lesions and one for those of none), and `splits_final.json`.
    nnU-Net needs every channel of every case: cases without one of the phases are left out and
    named in a warning. Phases that do not lie on one grid are registered first. A case whose
    annotation lacks the liver or the lesions goes to imagesTs. nnU-Net looks for the splits in its
    folder of preprocessed data: copy the file there before training. A predicted map has the file
    name of its case and the voxels of its reference phase.

    Args:
        cohort: of one modality.
        out: a folder that does not exist yet, named DatasetXXX_Name with three digits.
        phases: the channels; those that every case has by default.
        regions: describe the labels as regions, liver with its lesions and lesions in it, which
            nnU-Net then predicts independently.
        types: a class for each type of lesion, by its `LesionType.key`, instead of one for all.
        seed: of the five folds; each subject lies in one of them.
        progress: called with (what, done, total).

    Raises:
        InputError: `out` exists or has another name, the cohort holds CT and MR, the cases share no
            phase, or none has all `phases`.

    Reference: Isensee et al., Nat Methods 2021, doi 10.1038/s41592-020-01008-z; the format is that
    of version 2.
    """
    _check_exportable(cohort, out)
    channels, notes = _channels(cohort, phases)
    chosen, more = _cases_with(channels, cohort)
    notes += more
    classes = _classes(cohort, chosen) if types else (None,)
    highest = 0
    with_labels: list[int] = []
    with new_directory(out) as folder:
        for part in ("imagesTr", "labelsTr", "imagesTs"):
            (folder / part).mkdir()
        for done, index in enumerate(chosen):
            progress("writing cases", done, len(chosen))
            top, more = _write_case(cohort.directories[index], channels, classes, folder)
            notes += more
            with_labels += [] if top is None else [index]
            highest = max(highest, top or 0)
        without = len(chosen) - len(with_labels)
        if without:
            notes.append(
                f"{without} of {len(chosen)} cases lack an outlined liver or its lesions: they are"
                " in imagesTs"
            )
        notes += _write_splits(cohort, with_labels, folder / SPLITS_FILE, seed)
        if classes[-1] is None and len(classes) > 1 and highest < LESION + len(classes) - 1:
            classes = classes[:-1]  # every lesion has a type
        labels = _label_table(classes, regions=regions)
        text = _dataset(cohort, chosen, channels, len(with_labels), labels)
        (folder / DATASET_FILE).write_text(text + "\n", encoding="utf-8")
    return Exported(channels, len(with_labels), without, tuple(notes))


def _check_exportable(cohort: Cohort, out: Path) -> None:
    if not re.fullmatch(r"Dataset\d{3}_[A-Za-z0-9_]+", out.name):
        raise InputError(
            f"{out.name} is no name of an nnU-Net dataset; give one such as Dataset501_Liver"
        )
    if len({record.modality for record in cohort.records}) > 1:
        raise InputError(
            "the cohort holds CT and MR, which nnU-Net cannot train on together; split it by"
            " modality"
        )


def _cases_with(channels: Sequence[Phase], cohort: Cohort) -> tuple[list[int], list[str]]:
    """The cases that have every channel, and a warning that names the others."""
    needed = {phase.key for phase in channels}
    chosen, left_out = [], []
    for index, record in enumerate(cohort.records):
        if needed <= set(record.phases):
            chosen.append(index)
        else:
            left_out.append(record.case_id)
    if not chosen:
        raise InputError(f"no case has all of {_titles(channels)}; ask for other phases")
    if not left_out:
        return chosen, []
    return chosen, [
        f"{len(left_out)} of {len(cohort)} cases lack one of {_titles(channels)} and were left"
        f" out: {', '.join(left_out)}"
    ]


Classes = Sequence[LesionType | None]
"""The types of lesion that have a class of their own, from `LESION` on; None for all others."""


def _classes(cohort: Cohort, chosen: Sequence[int]) -> Classes:
    found = frozenset[LesionType]().union(*(cohort.records[i].lesion_types for i in chosen))
    return (*sorted(found), None)


def _write_case(
    case: Path, channels: Sequence[Phase], classes: Classes, folder: Path
) -> tuple[int | None, list[str]]:
    """Write a case's images, and its labels where they are known.

    Returns:
        Its highest label, None where they are not known; and warnings.
    """
    study, annotation = load_case(case)
    before = study.warnings
    needed = (*channels, study.reference)
    study = replace(
        study, phases={phase: study.phases[phase] for phase in study.phases if phase in needed}
    )
    if not study.on_one_grid:
        study = register_phases(study).study
    labels = _label_map(annotation, classes)
    if labels is not None:
        save_volume(folder / f"labelsTr/{study.case_id}.nii.gz", study.grid.with_array(labels))
    images = folder / ("imagesTs" if labels is None else "imagesTr")
    for channel, phase in enumerate(channels):
        array = study.phases[phase].volume.array
        save_volume(images / f"{study.case_id}_{channel:04d}.nii.gz", study.grid.with_array(array))
    return None if labels is None else int(labels.max()), [
        f"{study.case_id}: {note}" for note in study.warnings if note not in before
    ]


def _channels(cohort: Cohort, wanted: Sequence[Phase]) -> tuple[tuple[Phase, ...], list[str]]:
    """The phases to write, and a warning for each that some cases have and none is written of."""
    if wanted:
        return tuple(sorted(set(wanted))), []
    counts = {
        phase: sum(phase.key in record.phases for record in cohort.records) for phase in Phase
    }
    shared = tuple(phase for phase in Phase if counts[phase] == len(cohort))
    if not shared:
        raise InputError(
            "the cases share no phase; name the phases that are to be channels, cases without them"
            " are left out"
        )
    return shared, [
        f"the {phase.title} phase is in {counts[phase]} of {len(cohort)} cases only and is no"
        " channel; name the phases to have it"
        for phase in Phase
        if 0 < counts[phase] < len(cohort)
    ]


def _titles(phases: Sequence[Phase]) -> str:
    return ", ".join(phase.title for phase in phases)


def _label_map(annotation: Annotation | None, classes: Classes) -> NDArray[np.uint8] | None:
    """Liver and lesions as one map of labels, None where one of them was not outlined.

    Lesions of other organs do not count.
    """
    if annotation is None or annotation.organs is None:
        return None
    liver = annotation.organs.array == Organ.LIVER
    if not liver.any():
        return None
    lesions = annotation.lesions.array
    class_of = np.full(int(lesions.max()) + 1, LESION + len(classes) - 1, np.uint8)
    for lesion in annotation.lesion_list:
        if lesion.type in classes and lesion.label < len(class_of):
            class_of[lesion.label] = LESION + classes.index(lesion.type)
    return np.where(lesions > 0, class_of[lesions], np.where(liver, np.uint8(LIVER), np.uint8(0)))


def _label_table(classes: Classes, *, regions: bool) -> dict[str, int | list[int]]:
    """`labels` of `dataset.json`; the liver as a region has its lesions in it."""
    lesions = {_class_name(kind): LESION + number for number, kind in enumerate(classes)}
    if not regions:
        return {"background": 0, "liver": LIVER, **lesions}
    in_lesions = {name: [value] for name, value in lesions.items()}
    return {"background": 0, "liver": [LIVER, *lesions.values()], **in_lesions}


def _class_name(kind: LesionType | None) -> str:
    """What `lesion_name` reads again; "other" alone could be an organ."""
    return "lesion" if kind is None else kind.key + "_lesion" * (kind is LesionType.OTHER)


def _write_splits(cohort: Cohort, with_labels: Sequence[int], file: Path, seed: int) -> list[str]:
    part = Cohort(
        tuple(cohort.directories[i] for i in with_labels),
        tuple(cohort.records[i] for i in with_labels),
    )
    if len(part.subjects) < FOLDS:
        return [
            f"{FOLDS} folds need {FOLDS} subjects with an annotation, there are"
            f" {len(part.subjects)}: {SPLITS_FILE} was not written"
        ]
    ids = [record.case_id for record in part.records]
    splits = [
        {"train": [ids[i] for i in split.train], "val": [ids[i] for i in split.test]}
        for split in part.folds(FOLDS, seed)
    ]
    file.write_text(json.dumps(splits, indent=1) + "\n", encoding="utf-8")
    return []


def _dataset(
    cohort: Cohort,
    chosen: Sequence[int],
    channels: Sequence[Phase],
    training: int,
    labels: Mapping[str, int | list[int]],
) -> str:
    """The text of `dataset.json`.

    nnU-Net normalises a channel called CT as CT, whatever its phase, so the phases of CT are named
    in a part of our own.
    """
    records = [cohort.records[index] for index in chosen]
    modality = records[0].modality
    names: dict[str, str] = {str(number): phase.key for number, phase in enumerate(channels)}
    return json.dumps(
        {
            "channel_names": dict.fromkeys(names, "CT") if modality is Modality.CT else names,
            "labels": dict(labels),
            # nnU-Net needs the order in which regions are painted, and refuses it without regions
            **({"regions_class_order": labels["liver"]} if labels["liver"] != LIVER else {}),
            "numTraining": training,
            "file_ending": ".nii.gz",
            "liverleaf": (
                LiverleafRecord(
                    modality=modality,
                    phases=names,
                    subjects={record.case_id: record.subject_id for record in records},
                ).model_dump(mode="json")
            ),
        },
        indent=1,
    )
