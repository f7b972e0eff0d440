"""A cohort in, the same cases as a raw dataset that nnU-Net v2 trains on, with splits by subject, out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from liverleaf.cohort.index import Cohort
from liverleaf.ingest.collections.nnunet import DATASET_FILE, LiverleafRecord
from liverleaf.registration.align import register_phases
from liverleaf.storage.case_folder import load_case
from liverleaf.storage.volumes import save_volume
from liverleaf.study import Annotation, InputError, Modality, Phase
from liverleaf.system.files import new_directory
from liverleaf.terminology import Organ

SPLITS_FILE = "splits_final.json"
FOLDS = 5
LIVER, LESION = 1, 2
PLAIN = {"background": 0, "liver": LIVER, "lesion": LESION}
REGIONS = {"background": 0, "liver": [LIVER, LESION], "lesion": [LESION]}


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
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Exported:
    """Write `out` as nnU-Net's raw dataset: a channel per phase, labels 1 (liver) and 2 (lesion), and `splits_final.json`.

    nnU-Net needs every channel of every case: cases without one of the phases are left out and
    named in a warning. Phases that do not lie on one grid are registered first. A case whose truth
    lacks the liver or the lesions goes to imagesTs. nnU-Net looks for the splits in its folder of
    preprocessed data: copy the file there before training. A predicted map has the file name of its
    case and the voxels of its reference phase.

    Args:
        cohort: of one modality.
        out: a folder that does not exist yet, named DatasetXXX_Name with three digits.
        phases: the channels; those that every case has by default.
        regions: describe the labels as regions, liver with its lesions and lesions in it, which
            nnU-Net then predicts independently.
        seed: of the five folds; each subject lies in one of them.
        progress: called with (what, done, total).

    Raises:
        InputError: `out` exists or has another name, the cohort holds CT and MR, the cases share no
            phase, or none has all `phases`.

    Reference: Isensee et al., Nat Methods 2021, doi 10.1038/s41592-020-01008-z; the format is that
    of version 2.
    """
    if not re.fullmatch(r"Dataset\d{3}_[A-Za-z0-9_]+", out.name):
        raise InputError(
            f"{out.name} is no name of an nnU-Net dataset; give one such as Dataset501_Liver"
        )
    modalities = {record.modality for record in cohort.records}
    if len(modalities) > 1:
        raise InputError(
            "the cohort holds CT and MR, which nnU-Net cannot train on together; split it by"
            " modality"
        )
    channels, notes = _channels(cohort, phases)
    chosen = [
        index
        for index, record in enumerate(cohort.records)
        if {phase.key for phase in channels} <= set(record.phases)
    ]
    if not chosen:
        raise InputError(f"no case has all of {_titles(channels)}; ask for other phases")
    if len(chosen) < len(cohort):
        left_out = [
            record.case_id
            for index, record in enumerate(cohort.records)
            if index not in set(chosen)
        ]
        notes.append(
            f"{len(left_out)} of {len(cohort)} cases lack one of {_titles(channels)} and were left"
            f" out: {', '.join(left_out)}"
        )
    trained: list[int] = []
    with new_directory(out) as folder:
        for part in ("imagesTr", "labelsTr", "imagesTs"):
            (folder / part).mkdir()
        for done, index in enumerate(chosen):
            if progress:
                progress("writing cases", done, len(chosen))
            has_labels, more = _write_case(cohort.directories[index], channels, folder)
            notes += more
            trained += [index] * has_labels
        if len(trained) < len(chosen):
            notes.append(
                f"{len(chosen) - len(trained)} of {len(chosen)} cases lack an outlined liver or its"
                " lesions: they are in imagesTs"
            )
        notes += _write_splits(cohort, trained, folder / SPLITS_FILE, seed)
        (folder / DATASET_FILE).write_text(
            _dataset(cohort, chosen, channels, len(trained), regions) + "\n", encoding="utf-8"
        )
    return Exported(channels, len(trained), len(chosen) - len(trained), tuple(notes))


def _write_case(case: Path, channels: Sequence[Phase], folder: Path) -> tuple[bool, list[str]]:
    """Write a case's images, and its labels where they are known; whether they are, and warnings."""
    study, truth = load_case(case)
    before = study.warnings
    kept = {
        phase: image
        for phase, image in study.phases.items()
        if phase in channels or phase is study.reference
    }
    study = replace(study, phases=kept)
    if not study.on_one_grid:
        study = register_phases(study).study
    labels = _label_map(truth)
    if labels is not None:
        save_volume(folder / f"labelsTr/{study.case_id}.nii.gz", study.grid.with_array(labels))
    for channel, phase in enumerate(channels):
        name = (
            f"{'imagesTs' if labels is None else 'imagesTr'}/{study.case_id}_{channel:04d}.nii.gz"
        )
        save_volume(folder / name, study.grid.with_array(study.phases[phase].volume.array))
    return labels is not None, [
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


def _label_map(truth: Annotation | None) -> NDArray[np.uint8] | None:
    """Liver and lesions as one map of labels, None where one of them was not outlined; lesions of other organs do not count."""
    if truth is None or truth.organs is None or not (truth.organs.array == Organ.LIVER).any():
        return None
    return np.select(
        [truth.lesions.array > 0, truth.organs.array == Organ.LIVER], [LESION, LIVER]
    ).astype(np.uint8)


def _write_splits(cohort: Cohort, trained: Sequence[int], file: Path, seed: int) -> list[str]:
    part = Cohort(
        tuple(cohort.directories[i] for i in trained), tuple(cohort.records[i] for i in trained)
    )
    if len(part.subjects) < FOLDS:
        return [
            f"{FOLDS} folds need {FOLDS} subjects with truth, there are {len(part.subjects)}:"
            f" {SPLITS_FILE} was not written"
        ]
    ids = [record.case_id for record in part.records]
    splits = [
        {"train": [ids[i] for i in split.train], "val": [ids[i] for i in split.test]}
        for split in part.folds(FOLDS, seed)
    ]
    file.write_text(json.dumps(splits, indent=1) + "\n", encoding="utf-8")
    return []


def _dataset(
    cohort: Cohort, chosen: Sequence[int], channels: Sequence[Phase], training: int, regions: bool
) -> str:
    """`dataset.json`. A channel called CT is normalised as CT, whatever its phase, so CT phases are named in a part of our own."""
    records = [cohort.records[index] for index in chosen]
    modality = records[0].modality
    names: dict[str, str] = {str(number): phase.key for number, phase in enumerate(channels)}
    return json.dumps(
        {
            "channel_names": dict.fromkeys(names, "CT") if modality is Modality.CT else names,
            "labels": REGIONS if regions else PLAIN,
            **({"regions_class_order": [LIVER, LESION]} if regions else {}),
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
