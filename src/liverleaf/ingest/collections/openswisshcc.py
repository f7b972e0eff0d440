"""Cases of OpenSwissHCC: multi-phase MRI in BIDS with lesions outlined image by image."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from liverleaf.ingest.collections.annotation import annotate, between_phases
from liverleaf.ingest.collections.case import Annotated, CollectionCase, case
from liverleaf.ingest.collections.images import read_labels, study_of
from liverleaf.ingest.phases.descriptions import phase_in_words
from liverleaf.study import REFERENCE_ORDER, Modality, Phase
from liverleaf.terminology import Organ

NAME = "openswisshcc"
IMAGE = re.compile(r"sub-\d+_(?:acq-water_)?phase-([a-zA-Z0-9]+)_T1w\.nii\.gz")


def openswisshcc(root: Path) -> Iterator[CollectionCase]:
    """The cases of `sub-<n>`, with the masks of `derivatives/manual_*_annotations`."""
    images: dict[str, dict[Phase, Path]] = {}
    for path in sorted(root.rglob("sub-*_T1w.nii.gz")):
        match = IMAGE.fullmatch(path.name)
        guess = (
            phase_in_words(match[1].lower()) if match and "derivatives" not in path.parts else None
        )
        if guess is not None and guess.phase is not None:
            images.setdefault(path.name.split("_")[0], {})[guess.phase] = path
    masks: dict[str, list[Path]] = {}
    for path in sorted(root.glob("**/derivatives/manual_*_annotations/sub-*/**/*_seg*.nii.gz")):
        masks.setdefault(path.name.split("_")[0], []).append(path)
    for subject in sorted(images.keys() | masks.keys()):
        reason = "" if subject in images else "it has masks but no dynamic T1-weighted image"
        yield case(
            NAME,
            subject,
            partial(_read, images.get(subject, {}), masks.get(subject, [])),
            refused=reason,
        )


def _read(images: Mapping[Phase, Path], masks: list[Path]) -> Annotated:
    """The study with the masks of its reference phase, or of the next that has some.

    Without any, nobody found a lesion in it.
    """
    study = study_of(Modality.MR, images)
    for phase in (phase for phase in REFERENCE_ORDER if phase in study.phases):
        stem = images[phase].name.removesuffix(".nii.gz")
        lesions = [
            path
            for path in masks
            if re.fullmatch(rf"{re.escape(stem)}-L\d+_seg\.nii\.gz", path.name)
        ]
        if lesions:
            break
    else:
        lesions = []
    notes = (
        [
            "a person without hepatocellular carcinoma may have other lesions, which are outlined"
            " for some only"
        ]
        if not lesions
        else []
    )
    if lesions:
        notes += between_phases(phase, study)
    stem = images[study.reference].name.removesuffix(".nii.gz")
    livers = [path for path in masks if path.name.startswith(f"{stem}-liver_seg")]
    organs = {Organ.LIVER: read_labels(livers[0])} if livers else {}
    known = [read_labels(path) for path in lesions] if lesions else None
    return annotate(study, lesions=known, organs=organs, one_mask_each=True, notes=notes)
