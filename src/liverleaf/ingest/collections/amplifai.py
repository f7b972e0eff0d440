"""Cases of AMPLIFAI: four-phase CT scored by LI-RADS."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from liverleaf.ingest.collections.annotation import annotate
from liverleaf.ingest.collections.case import Annotated, CollectionCase, case
from liverleaf.ingest.collections.images import read_labels, study_of
from liverleaf.study import Modality, Phase

NAME = "amplifai"
PHASES = {Phase.PRE: "DRY", Phase.ARTERIAL: "ART", Phase.PORTAL: "VEN", Phase.DELAYED: "DEL"}


def amplifai(root: Path) -> Iterator[CollectionCase]:
    """The cases of `<case>/ct`, with `<case>/annotations/lesion.nii.gz` and a table of scores."""
    scores = _scores(root)
    for folder in sorted(path.parent for path in root.rglob("ct") if path.is_dir()):
        mask = folder / "annotations/lesion.nii.gz"
        reason = "" if mask.is_file() else "its lesion mask is missing"
        yield case(
            NAME,
            folder.name,
            partial(_read, folder, mask, scores.get(folder.name, "")),
            refused=reason,
        )


def _scores(root: Path) -> dict[str, str]:
    scores: dict[str, str] = {}
    for table in sorted(root.rglob("*.csv")):
        with table.open(encoding="utf-8-sig", newline="") as stream:
            for row in csv.DictReader(stream):
                if row.get("case_id") and row.get("lirads_score"):
                    scores[row["case_id"].strip()] = row["lirads_score"].strip()
    return scores


def _read(folder: Path, mask: Path, score: str) -> Annotated:
    study = study_of(
        Modality.CT,
        {phase: folder / f"ct/{folder.name}_{name}.nii.gz" for phase, name in PHASES.items()},
    )
    notes = [
        "the collection does not tell in which phase lesions were outlined: breathing between"
        " phases is not corrected"
    ]
    return annotate(study, lesions=[read_labels(mask)], notes=notes).with_case_labels(
        markers={"lirads": score} if score else {}
    )
