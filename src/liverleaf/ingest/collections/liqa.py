"""Cases of LiQA and CARE-Liver: gadoxetate-enhanced MRI staged for fibrosis."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from liverleaf.ingest.collections.annotation import annotate
from liverleaf.ingest.collections.case import Annotated, CollectionCase, case
from liverleaf.ingest.collections.images import read_labels, study_of
from liverleaf.study import Modality, Phase
from liverleaf.terminology import Organ

NAME = "liqa"
PHASES = {
    "T1": Phase.PRE,
    "GED1": Phase.ARTERIAL,
    "GED2": Phase.PORTAL,
    "GED3": Phase.DELAYED,
    "GED4": Phase.HEPATOBILIARY,
}
FOLDER = re.compile(r"(\w+)-([AB]\d?)(?:-S(\d))?")


def liqa(root: Path) -> Iterator[CollectionCase]:
    """The cases of `Vendor_<vendor>/<id>-<vendor>-S<stage>`; any image may be missing."""
    for folder in sorted(path for path in root.glob("**/Vendor_*/*") if path.is_dir()):
        match = FOLDER.fullmatch(folder.name)
        name = f"{match[1]}-{match[2]}" if match else folder.name
        reason = (
            ""
            if any((folder / f"{file}.nii.gz").is_file() for file in PHASES)
            else "it has no contrast phase"
        )
        yield case(NAME, name, partial(_read, folder, (match and match[3]) or ""), refused=reason)


def _read(folder: Path, stage: str) -> Annotated:
    phases = {
        phase: folder / f"{name}.nii.gz"
        for name, phase in PHASES.items()
        if (folder / f"{name}.nii.gz").is_file()
    }
    other = {
        ("t2w" if path.name.startswith("T2") else path.name.removesuffix(".nii.gz").lower()): path
        for path in sorted([*folder.glob("T2.nii.gz"), *folder.glob("DWI*.nii.gz")])
    }
    missing = [name for name, phase in PHASES.items() if phase not in phases]
    notes = [f"{', '.join(missing)} are missing"] if missing else []
    study = study_of(Modality.MR, phases, other=other, agent="gadoxetate", notes=notes)
    mask = folder / "mask_GED4.nii.gz"
    organs = {Organ.LIVER: read_labels(mask)} if mask.is_file() else {}
    annotated = annotate(study, lesions=None, organs=organs)
    return annotated.with_case_labels(markers={"fibrosis_stage": float(stage)} if stage else {})
