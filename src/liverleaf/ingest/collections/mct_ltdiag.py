"""Cases of MCT-LTDiag: four-phase CT with one tumour type per person."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from liverleaf.ingest.collections.annotation import annotate, between_phases
from liverleaf.ingest.collections.case import Annotated, CollectionCase, case
from liverleaf.ingest.collections.images import read_labels, study_of
from liverleaf.study import Modality, Phase
from liverleaf.terminology import LesionType, Organ

NAME = "mct-ltdiag"
TYPES = {
    "HCC": LesionType.HCC,
    "ICC": LesionType.ICC,
    "BCLM": LesionType.METASTASIS,
    "CRLM": LesionType.METASTASIS,
    "HH": LesionType.HAEMANGIOMA,
}
PRIMARY = {"BCLM": "breast cancer", "CRLM": "colorectal cancer"}
PHASES = {Phase.PRE: "nc", Phase.ARTERIAL: "art", Phase.PORTAL: "pvp", Phase.DELAYED: "delay"}
MASK, LIVER_MASK = "mask_pvp.nii.gz", "liver_mask_pvp.nii.gz"


def mct_ltdiag(root: Path) -> Iterator[CollectionCase]:
    """The cases of either layout.

    Hugging Face has `volume/<type>/<case>` with `mask/<type>/<case>`, Dataverse `<case>/NIFTI` with
    the type in `meta_info_patient`.
    """
    tumours, patients = _table(root, "meta_info_tumor"), _table(root, "meta_info_patient")
    for volumes in sorted(
        {
            path.parent
            for path in root.rglob("*.nii.gz")
            if path.name.removesuffix(".nii.gz") in PHASES.values()
        }
    ):
        unpacked = volumes.name == "NIFTI"
        folder = volumes.parent if unpacked else volumes
        masks = (
            folder if unpacked else volumes.parents[2] / "mask" / volumes.parent.name / volumes.name
        )
        kind = (
            (patients.get(folder.name, {}).get("type", "") if unpacked else volumes.parent.name)
            .strip()
            .upper()
        )
        reason = "" if (masks / MASK).is_file() else f"its mask {MASK} is missing"
        read = partial(_read, volumes, masks, kind, tumours.get(folder.name, {}))
        yield case(NAME, folder.name, read, refused=reason)


def _read(volumes: Path, masks: Path, kind: str, known: Mapping[str, str]) -> Annotated:
    study = study_of(
        Modality.CT, {phase: volumes / f"{name}.nii.gz" for phase, name in PHASES.items()}
    )
    lesion_type = TYPES.get(kind)
    notes = []
    if lesion_type is None and kind:
        notes.append(f"its tumour type {kind} is none of {', '.join(TYPES)}")
    notes += between_phases(Phase.PORTAL, study)
    organs = {}
    if (masks / LIVER_MASK).is_file():
        organs[Organ.LIVER] = read_labels(masks / LIVER_MASK)
    annotated = annotate(
        study,
        lesions=[read_labels(masks / MASK)],
        organs=organs,
        lesion_type=lesion_type,
        notes=notes,
    )
    markers = {
        _marker(column): _value(text)
        for column, text in known.items()
        if column != "ID" and text.strip()
    }
    if kind in PRIMARY:
        markers["primary"] = PRIMARY[kind]
    return annotated.with_case_labels(markers=markers)


def _table(root: Path, name: str) -> dict[str, dict[str, str]]:
    """A table of the collection by case: `name`.csv, or `name`.tab with tabs."""
    for path in sorted([*root.rglob(f"{name}.csv"), *root.rglob(f"{name}.tab")]):
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream, delimiter="\t" if path.suffix == ".tab" else ",")
            return {
                row["ID"].strip(): {key: text or "" for key, text in row.items() if key}
                for row in rows
                if row.get("ID")
            }
    return {}


def _marker(column: str) -> str:
    """A column as a name with its unit: "Max3D_Diameter_mm" is `max3d_diameter_mm`."""
    return re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text.strip()
