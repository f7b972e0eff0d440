"""A seed in, multi-phase CT or MR studies of simulated livers with their full truth out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hepatica.cohort import Progress, save_case, write_cases
from hepatica.labels import LesionType
from hepatica.phantom.acquisition import acquire
from hepatica.phantom.anatomy import build_anatomy
from hepatica.phantom.dicom_series import save_dicom_case, with_headers
from hepatica.phantom.protocol import draw_protocol
from hepatica.study import Modality, Phase, Study, Truth

__all__ = ["Phantom", "write_cohort"]


@dataclass(frozen=True)
class Phantom:
    """An endless sequence of simulated studies: `phantom[i]` is case i, the same whenever and wherever it is asked for.

    Attributes:
        modality: CT or MR.
        seed: together with the case number it decides everything, bit for bit.
        shape: of the reference grid (Z, Y, X).
        spacing_mm: of the reference grid.
        lesion_types: draw lesions of these types only; None for the usual mixture.
        agents: names from `kinetics.AGENTS` to choose from; None for the usual ones.
        missing: probability, per phase, that it was not acquired.
        own_grids: every phase but the reference gets a grid of its own.
        headers: give the images the DICOM headers they would have; the images do not depend on it.
    """

    modality: Modality
    seed: int
    shape: tuple[int, int, int] = (40, 160, 160)
    spacing_mm: tuple[float, float, float] = (5.0, 2.2, 2.2)
    lesion_types: tuple[LesionType, ...] | None = None
    agents: tuple[str, ...] | None = None
    missing: Mapping[Phase, float] = field(default_factory=dict)
    own_grids: bool = False
    headers: bool = False

    def __getitem__(self, index: int) -> tuple[Study, Truth]:
        if index < 0:
            raise IndexError(f"case numbers start at 0, got {index}")
        body, examination, scan = map(np.random.default_rng, np.random.SeedSequence((self.seed, index)).spawn(3))
        anatomy = build_anatomy(body, shape=self.shape, spacing_mm=self.spacing_mm, modality=self.modality, lesion_types=self.lesion_types)
        protocol = draw_protocol(examination, self.modality, agents=self.agents, missing=self.missing)
        case_id = f"phantom-{self.modality.lower()}-{self.seed}-{index:05d}"
        study, truth = acquire(anatomy, protocol, scan, case_id=case_id, own_grids=self.own_grids)
        return (with_headers(study, protocol) if self.headers else study), truth

    def settings(self) -> dict[str, Any]:
        """All that decides the cases, as JSON."""
        values = asdict(self)
        return values | {
            "lesion_types": self.lesion_types and [t.name.lower() for t in self.lesion_types],
            "missing": {phase.name.lower(): chance for phase, chance in self.missing.items()},
        }


def write_cohort(
    phantom: Phantom,
    cases: int,
    out: Path,
    *,
    format: Literal["nifti", "dicom"] = "nifti",  # noqa: A002 the word of the command line
    jobs: int = 1,
    progress: Progress | None = None,
) -> None:
    """Write the first cases of a phantom as a folder of case folders; a run that was stopped is continued.

    Args:
        phantom: where the cases come from.
        cases: how many.
        out: a new folder, or one that an earlier call with the same phantom left unfinished.
        format: "nifti" for case folders that `hepatica.cohort` reads, "dicom" for DICOM series with the truth as NIfTI beside them.
        jobs: number of processes; the files do not depend on it, bit for bit.
        progress: called with the number of finished cases and `cases`.

    Raises:
        InputError: `out` holds anything else.
    """
    save = {"nifti": save_case, "dicom": save_dicom_case}[format]
    phantom = replace(phantom, headers=format == "dicom")
    write_cases(phantom.__getitem__, cases, out, settings={"format": format, **phantom.settings()}, save=save, jobs=jobs, progress=progress)
