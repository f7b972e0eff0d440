"""Cases of LiverHccSeg: four-phase MRI of TCGA-LIHC with outlines of two raters."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from liverleaf.ingest.collections.annotation import annotate, between_phases
from liverleaf.ingest.collections.case import Annotated, CollectionCase, case
from liverleaf.ingest.collections.images import read_labels, study_of
from liverleaf.study import InputError, Modality, Phase
from liverleaf.terminology import LesionType, Organ

NAME = "liverhccseg"
REGISTERED = {
    Phase.PRE: "art_pre",
    Phase.ARTERIAL: "art",
    Phase.PORTAL: "art_pv",
    Phase.DELAYED: "art_del",
}
"""Phases that the authors registered to the arterial one, on which the masks are drawn."""
ORIGINAL = {Phase.PRE: "pre", Phase.PORTAL: "pv", Phase.DELAYED: "del"}


def liverhccseg(root: Path) -> Iterator[CollectionCase]:
    """The cases of `<patient>/<date>/art.nii.gz` and its neighbours."""
    for art in sorted(root.rglob("art.nii.gz")):
        folder = art.parent
        raters = [rater for rater in ("rater1", "rater2") if any(folder.glob(f"{rater}_*.nii.gz"))]
        read = partial(_read, folder, raters[0] if raters else "")
        yield case(
            NAME,
            folder.parent.name,
            read,
            study=folder.name,
            refused="" if raters else "neither rater outlined anything",
        )


def _read(folder: Path, rater: str) -> Annotated:
    files, notes = {}, []
    for phase, name in REGISTERED.items():
        registered = folder / f"{name}.nii.gz"
        original = folder / f"{ORIGINAL.get(phase, name)}.nii.gz"
        files[phase] = registered if registered.is_file() else original
        if files[phase] is original and original != registered and original.is_file():
            notes.append(
                f"{phase.title} phase: not registered by the authors, the original was taken"
            )
    study = study_of(Modality.MR, files, notes=notes)
    drawn_on = study.phases.get(Phase.ARTERIAL)
    if drawn_on is None:
        raise InputError("its arterial phase cannot be read, and the masks are drawn on that one")
    tumours = [read_labels(path) for path in sorted(folder.glob(f"{rater}_tumor*.nii.gz"))]
    livers = [read_labels(path) for path in sorted(folder.glob(f"{rater}_liver.nii.gz"))]
    slices = drawn_on.volume.shape[0]
    others = {mask.shape[0] for mask in (*tumours, *livers)} - {drawn_on.volume.shape[0]}
    if others:
        raise InputError(
            f"its masks have {min(others)} slices and the arterial phase {slices}: which belongs to"
            " which cannot be told"
        )
    notes = [
        f"the masks of {rater} were used"
        + (", not those of rater2" if rater == "rater1" and any(folder.glob("rater2_*")) else "")
    ]
    if files[study.reference].name == f"{ORIGINAL.get(study.reference)}.nii.gz":
        notes += between_phases(Phase.ARTERIAL, study)
    organs = {Organ.LIVER: livers[0]} if livers else {}
    return annotate(
        study,
        lesions=tumours or None,
        organs=organs,
        lesion_type=LesionType.HCC,
        one_mask_each=True,
        notes=notes,
    )
