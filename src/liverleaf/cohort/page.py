"""The table and the page of a cohort.

What became of each study goes in; a CSV file, and one HTML page with a thumbnail per case, which
opens offline, come out.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import highdicom as hd
import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from liverleaf.export.html.figures import CT_WINDOW_HU, MR_WINDOW_PERCENTILES
from liverleaf.export.html.templates import data_uri, templates
from liverleaf.study import Modality, Study

TILE = 160
"""Width and height of a thumbnail's tile in pixels."""

LONG_SCAN_MM = 300.0
LIVER_BELOW_TOP_MM = 130.0
"""Where the liver is taken to be in a scan longer than that; in a shorter one it is taken to be in
the middle."""


class PhaseCell(BaseModel):
    """One phase of a case.

    Attributes:
        time_s: seconds after injection, None where unknown.
        confidence: how sure its name is, in [0, 1].
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    time_s: float | None
    confidence: float


class CaseRow(BaseModel):
    """What became of one study.

    Attributes:
        case: pseudonym of the study.
        subject: pseudonym of the patient.
        status: whether it was read or refused.
        reason: why it was refused, "" when it was read.
        modality: CT or MR, "" when it was refused.
        phases: by lower-case name, in the order of the bolus.
        agent: contrast agent, "" where unknown.
        shape: slices, rows and columns of the reference phase.
        spacing_mm: of the reference phase, in the same order.
        warnings: what was left out, mended or guessed.
        dicom_files: number of de-identified DICOM files.
        unused: path and reason of each file of the study that is not used; never written with the
            rest, for paths may name patients.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    case: str
    subject: str
    status: Literal["read", "refused"]
    reason: str = ""
    modality: str = ""
    phases: dict[str, PhaseCell] = {}
    agent: str = ""
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()
    dicom_files: int = 0
    unused: tuple[tuple[str, str], ...] = Field(default=(), exclude=True, repr=False)

    @classmethod
    def of(cls, study: Study, *, dicom_files: int = 0) -> CaseRow:
        """The row of a study that was read."""
        return cls(
            case=study.case_id,
            subject=study.subject_id,
            status="read",
            modality=study.modality.value,
            phases={
                p.key: PhaseCell(time_s=i.time_s, confidence=i.confidence)
                for p, i in study.phases.items()
            },
            agent=study.agent or "",
            shape=study.grid.spatial_shape,
            spacing_mm=tuple(round(float(mm), 4) for mm in study.grid.spacing),
            warnings=study.warnings,
            dicom_files=dicom_files,
        )

    @property
    def cells(self) -> dict[str, str | int]:
        """The row as `cohort.csv` holds it; a list within a cell is joined by semicolons."""
        return {
            "case": self.case,
            "subject": self.subject,
            "status": self.status,
            "reason": self.reason,
            "modality": self.modality,
            "phases": ";".join(self.phases),
            "times_s": ";".join(
                "" if phase.time_s is None else f"{phase.time_s:g}"
                for phase in self.phases.values()
            ),
            "confidences": ";".join(f"{phase.confidence:.2f}" for phase in self.phases.values()),
            "agent": self.agent,
            "slices": self.shape[0] if self.shape else "",
            "shape": "x".join(map(str, self.shape)),
            "spacing_mm": "x".join(f"{mm:g}" for mm in self.spacing_mm),
            "dicom_files": self.dicom_files,
            "warnings": "; ".join(self.warnings),
        }


Rows = Callable[[], Iterator[CaseRow]]
"""Gives all rows anew each time, one by one: a large cohort is never held in memory."""


def thumbnail(study: Study) -> Image.Image:
    """One axial slice of each phase, side by side in the order of the bolus.

    All are of one height, about where the liver is, and shown in one window.
    """
    volumes = [image.volume.to_patient_orientation("HPL") for image in study.phases.values()]
    height_mm = _liver_height_mm(study.grid.to_patient_orientation("HPL"))
    planes = [
        volume.array[int(np.argmin(np.abs(_heights_mm(volume) - height_mm)))] for volume in volumes
    ]
    low, high = CT_WINDOW_HU
    if study.modality is Modality.MR:
        values = np.concatenate([plane.ravel() for plane in planes])
        low, high = np.percentile(values, MR_WINDOW_PERCENTILES)
    strip = Image.new("L", (TILE * len(planes), TILE))
    for index, (plane, volume) in enumerate(zip(planes, volumes, strict=True)):
        grey = np.clip((plane - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
        tile = _tile(grey, volume.spacing[1:])
        # in the middle of its square
        strip.paste(tile, (index * TILE + (TILE - tile.width) // 2, (TILE - tile.height) // 2))
    return strip


def _tile(grey: np.ndarray, spacing_mm: Sequence[float]) -> Image.Image:
    """A plane as large as fits into a tile, its pixels made square."""
    extent_mm = np.array(grey.shape) * np.array(spacing_mm)
    rows, columns = np.maximum(1, np.round(extent_mm / extent_mm.max() * TILE).astype(int))
    return Image.fromarray(grey).resize((int(columns), int(rows)), Image.Resampling.BILINEAR)


def _liver_height_mm(grid: hd.Volume) -> float:
    """About where the liver is, towards the head."""
    length_mm = grid.spatial_shape[0] * grid.spacing[0]
    below_top_mm = LIVER_BELOW_TOP_MM if length_mm > LONG_SCAN_MM else length_mm / 2
    return float(_heights_mm(grid)[-1] - below_top_mm)


def _heights_mm(volume: hd.Volume) -> np.ndarray:
    """Position of each slice's centre towards the head."""
    _, rows, columns = volume.spatial_shape
    centre = volume.affine @ np.array([0, (rows - 1) / 2, (columns - 1) / 2, 1])
    return np.asarray(centre[2] + np.arange(volume.spatial_shape[0]) * volume.affine[2, 0])


def write_table(rows: Rows, file: Path) -> None:
    """Write one line per study as CSV."""
    columns = list(CaseRow(case="", subject="", status="read").cells)
    with file.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(row.cells for row in rows())


def write_page(rows: Rows, thumbnails: Path, file: Path) -> None:
    """Write the page.

    Args:
        rows: of all studies.
        thumbnails: folder with `<case>.jpg` for those that were read.
        file: where to.
    """
    environment = templates()
    environment.filters["thumbnail"] = lambda row: _jpeg_uri(thumbnails / f"{row.case}.jpg")
    counts = Counter[str]()
    for row in rows():
        counts[row.status] += 1
        if row.modality:
            counts[row.modality] += 1
        counts.update(row.phases.keys())
    stream = environment.get_template("cohort.html").stream(rows=rows, counts=counts, tile=TILE)
    stream.dump(str(file), encoding="utf-8")


def _jpeg_uri(file: Path) -> str:
    return data_uri("image/jpeg", file.read_bytes()) if file.is_file() else ""
