"""Cases of WAW-TACE: multi-phase CT of HCC with tumours outlined in one phase or more."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import highdicom as hd

from liverleaf.ingest.collections.annotation import annotate, between_phases
from liverleaf.ingest.collections.case import Annotated, CollectionCase, case
from liverleaf.ingest.collections.images import read_labels, study_of
from liverleaf.storage.volumes import SAME_GRID_VOXELS
from liverleaf.study import REFERENCE_ORDER, InputError, Modality, Phase, Study, same_grid
from liverleaf.terminology import LesionType, Organ

NAME = "waw-tace"
PHASES = (Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED)
SCAN = re.compile(r"(\d+)_([0-3])_scan\.nii(\.gz)?")
ORGANS = re.compile(r".*/organ_masks?/(?:.*/)?(\d+)_([0-3])[^/]*\.nii\.gz")
TOTALSEGMENTATOR_LIVER = 5
MASK = re.compile(r"(\d+)_([0-3])_(\d+)_tumor_seg\.(nrrd|nii\.gz)")


def waw_tace(root: Path) -> Iterator[CollectionCase]:
    """The cases of `<pid>_<phase>_scan.nii.gz`, wherever they lie.

    Masks are `<pid>_<phase>_<lesion>_tumor_seg.nrrd` and `organ_masks/<pid>_<phase>*`.
    """
    scans: dict[str, dict[Phase, Path]] = defaultdict(dict)
    masks: dict[str, dict[Phase, list[Path]]] = defaultdict(lambda: defaultdict(list))
    organs: dict[str, dict[Phase, Path]] = defaultdict(dict)
    for path in sorted(root.rglob("*")):
        if scan := SCAN.fullmatch(path.name):
            scans[scan[1]][PHASES[int(scan[2])]] = path
        elif organ := ORGANS.fullmatch(path.as_posix()):
            organs[organ[1]][PHASES[int(organ[2])]] = path
        elif mask := MASK.fullmatch(path.name):
            masks[mask[1]][PHASES[int(mask[2])]].append(path)
    for patient in sorted(scans.keys() | masks.keys(), key=int):
        reason = (
            ""
            if patient in scans and patient in masks
            else "it has no tumour masks"
            if patient in scans
            else "it has no scans"
        )
        yield case(
            NAME,
            patient,
            partial(_read, dict(scans[patient]), dict(masks[patient]), organs[patient]),
            refused=reason,
        )


def _read(
    scans: dict[Phase, Path], masks: dict[Phase, list[Path]], organs: dict[Phase, Path]
) -> Annotated:
    """The study with the masks of its reference phase, or else of the next in that order."""
    study = study_of(Modality.CT, scans)
    named = next(phase for phase in REFERENCE_ORDER if phase in masks)
    notes = []
    if len(masks) > 1:
        others = ", ".join(phase.title for phase in masks if phase is not named)
        notes.append(
            f"the masks named after the {named.title} phase were used, those of the {others} phase"
            " were not"
        )
    volumes = [read_labels(path) for path in masks[named]]
    drawn_on = _drawn_on(volumes, named, study)
    if drawn_on is not named:
        notes.append(
            f"the masks are named after the {named.title} phase but have the grid of the"
            f" {drawn_on.title} phase: taken for that one"
        )
    notes += between_phases(drawn_on, study)
    outlined = {}
    if study.reference in organs:
        labels = read_labels(organs[study.reference])
        outlined[Organ.LIVER] = labels.with_array(labels.array == TOTALSEGMENTATOR_LIVER)
        notes.append("the liver was outlined by TotalSegmentator and not by people")
    return annotate(
        study,
        lesions=volumes,
        organs=outlined,
        lesion_type=LesionType.HCC,
        one_mask_each=True,
        notes=notes,
    )


def _drawn_on(masks: Sequence[hd.Volume], named: Phase, study: Study) -> Phase:
    """The phase whose grid the masks have: the named one, else the first in reference order."""

    def fits(phase: Phase) -> bool:
        grid = study.phases[phase].volume
        return all(
            same_grid(mask, grid, tolerance_mm=SAME_GRID_VOXELS * min(grid.spacing))
            for mask in masks
        )

    candidates = [phase for phase in (named, *REFERENCE_ORDER) if phase in study.phases]
    found = next((phase for phase in candidates if fits(phase)), None)
    if found is None:
        raise InputError(
            "its tumour masks have the grid of none of its scans: a scan is missing, or a header is"
            " wrong"
        )
    return found
