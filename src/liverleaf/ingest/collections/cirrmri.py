"""Cases of CirrMRI600+: MRI of cirrhotic and healthy people with liver masks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from liverleaf.ingest.collections.annotation import annotate
from liverleaf.ingest.collections.case import Annotated, CollectionCase, case
from liverleaf.ingest.collections.images import read_labels, study_of
from liverleaf.study import Modality, Phase
from liverleaf.terminology import Organ

NAME = "cirrmri600"
FOLDERS = {
    "cirrhosis": ("Cirrhosis_{}_3D", ("train_images", "valid_images", "test_images")),
    "normal": ("Healthy_subjects/{}_W_Healthy", ("{}_images",)),
}


def cirrmri(root: Path) -> Iterator[CollectionCase]:
    """One case per person: T1-weighted and T2-weighted images of one number belong together."""
    for diagnosis, (folder, parts) in FOLDERS.items():
        images = {
            kind: _images(root, folder.format(kind), [part.format(kind) for part in parts])
            for kind in ("T1", "T2")
        }
        for person in sorted(images["T1"].keys() | images["T2"].keys()):
            t1, t2 = images["T1"].get(person), images["T2"].get(person)
            subject = person if diagnosis == "cirrhosis" else f"healthy-{person}"
            reason = (
                "" if t1 else "it has T2-weighted images only, none of which is a contrast phase"
            )
            yield case(NAME, subject, partial(_read, t1 or root, t2, diagnosis), refused=reason)


def _images(root: Path, folder: str, parts: list[str]) -> dict[str, Path]:
    places = (place for part in parts for place in sorted(root.glob(f"**/{folder}/{part}")))
    return {
        path.name.removesuffix(".nii.gz"): path
        for place in places
        for path in sorted(place.glob("*.nii.gz"))
    }


def _read(t1: Path, t2: Path | None, diagnosis: str) -> Annotated:
    evidence = "T1-weighted; the collection does not tell whether contrast agent was given"
    study = study_of(
        Modality.MR,
        {Phase.PRE: t1},
        other={"t2w": t2} if t2 else {},
        confidence=0.3,
        evidence=evidence,
        notes=[
            f"{evidence}: taken for pre-contrast",
            *(["the liver mask on the T2-weighted images is left out"] if t2 else []),
        ],
    )
    mask = t1.parent.parent / t1.parent.name.replace("images", "masks") / t1.name
    return annotate(study, lesions=None, organs={Organ.LIVER: read_labels(mask)}).with_case_labels(
        diagnosis=diagnosis
    )
