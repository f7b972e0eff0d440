"""The digital phantom: multi-phase CT or MR studies of simulated patients, with their truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from liverleaf.phantom.anatomy.lesions import LesionMix
from liverleaf.phantom.anatomy.person import build_anatomy
from liverleaf.phantom.cohort_writing import write_cases
from liverleaf.phantom.dicom_series import save_dicom_case, with_headers
from liverleaf.phantom.physics.acquisition import acquire
from liverleaf.phantom.physics.kinetics import AGENTS
from liverleaf.phantom.physics.protocol import Protocol, draw_protocol
from liverleaf.phantom.presets.chest import chest_case
from liverleaf.phantom.presets.population import PRESETS, Population, find_population
from liverleaf.phantom.presets.rat import rat_case
from liverleaf.storage.case_folder import save_case
from liverleaf.study import Annotation, InputError, Modality, Phase, Study
from liverleaf.system.progress import Progress, silent
from liverleaf.terminology import LesionType

__all__ = ["PRESETS", "Phantom", "write_cohort"]
OWN_CASES = ("chest", "rat-hcc")
"""Presets whose lesions, agent and phases are drawn in a way of their own."""


@dataclass(frozen=True)
class Phantom:
    """An endless sequence of simulated studies.

    `phantom[i]` is case i, the same whenever and wherever it is asked for.

    Attributes:
        preset: name of a population in `PRESETS`, in any case of letters.
        seed: together with the preset and the case number it decides everything, bit for bit.
        modality: CT or MR; None for the preset's own.
        shape: of the reference grid (Z, Y, X); None for the preset's.
        spacing_mm: of the reference grid; None for the preset's.
        lesion_types: one lesion of each of these; None for those of the preset.
        agents: names from `kinetics.AGENTS` to choose from; None for the preset's.
        missing: probability, per phase, that it was not acquired; None for the preset's.
        own_grids: every phase but the reference gets a grid of its own.
        headers: give the images the DICOM headers they would have; the images do not depend on it.

    Raises:
        InputError: there is no such preset, it is of the other modality, a size is not positive, or
            what was changed is not one of the values above, or nothing that the preset draws.

    >>> from liverleaf.phantom.generator import Phantom
    >>> phantom = Phantom("hard", seed=1, shape=(8, 40, 40), spacing_mm=(20.0, 9.0, 9.0))
    >>> study, truth = phantom[0]
    """

    preset: str
    seed: int
    modality: Modality | None = None
    shape: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    lesion_types: tuple[LesionType, ...] | None = None
    agents: tuple[str, ...] | None = None
    missing: Mapping[Phase, float] | None = None
    own_grids: bool = False
    headers: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "preset", self.preset.lower())
        population = self.population
        three_each = len(population.shape) == len(population.spacing_mm) == 3
        if (
            not three_each
            or min(population.shape) < 1
            or not all(0 < size < float("inf") for size in population.spacing_mm)
        ):
            raise InputError(
                f"shape and spacing are three positive numbers each, got {population.shape} and"
                f" {population.spacing_mm}"
            )
        if self.seed < 0:
            raise InputError(f"a seed is 0 or more, got {self.seed}")
        self._check_changes()

    def _check_changes(self) -> None:
        changed = {
            name: value
            for name in ("lesion_types", "agents", "missing")
            if (value := getattr(self, name)) is not None
        }
        if changed and self.preset in OWN_CASES:
            raise InputError(
                f"the preset {self.preset} draws its own cases: leave out {', '.join(changed)}"
            )
        if not all(isinstance(kind, LesionType) for kind in self.lesion_types or ()):
            raise InputError(
                "lesion_types are members of LesionType, as LesionType.HCC, got"
                f" {self.lesion_types}"
            )
        if unknown := set(self.agents or ()) - AGENTS.keys():
            raise InputError(
                f"agents are some of {', '.join(AGENTS)}, got {', '.join(sorted(unknown))}"
            )
        if not all(
            isinstance(phase, Phase) and 0 <= chance <= 1
            for phase, chance in (self.missing or {}).items()
        ):
            raise InputError(
                "missing gives members of Phase a probability from 0 to 1, as {Phase.DELAYED:"
                f" 0.3}}, got {self.missing}"
            )

    @property
    def population(self) -> Population:
        """The preset with what was changed in it."""
        found = find_population(self.preset, self.modality)
        changes = {
            name: getattr(self, name) for name in ("shape", "spacing_mm", "agents", "missing")
        }
        return replace(
            found, **{name: value for name, value in changes.items() if value is not None}
        )

    def __getitem__(self, index: int) -> tuple[Study, Annotation]:
        if index < 0:
            raise IndexError(f"case numbers start at 0, got {index}")
        population = self.population
        name = (
            f"{self.preset}-{population.modality.lower()}"
            if population.other_modality
            else self.preset
        )
        case_id = f"phantom-{name}-{self.seed}-{index:05d}"
        study, truth, protocol = self._image(population, index, case_id)
        return (with_headers(study, protocol) if self.headers else study), truth

    def _image(
        self, population: Population, index: int, case_id: str
    ) -> tuple[Study, Annotation, Protocol]:
        chance = np.random.SeedSequence((self.seed, index))
        if self.preset == "chest":
            return chest_case(
                np.random.default_rng(chance),
                shape=population.shape,
                spacing_mm=population.spacing_mm,
                case_id=case_id,
            )
        if self.preset == "rat-hcc":
            return rat_case(
                self.seed,
                index,
                shape=population.shape,
                spacing_mm=population.spacing_mm,
                case_id=case_id,
            )
        body, examination, scan = map(np.random.default_rng, chance.spawn(3))
        anatomy = build_anatomy(
            body,
            shape=population.shape,
            spacing_mm=population.spacing_mm,
            modality=population.modality,
            lesion_types=self.lesion_types,
            lesion_mix=_subject_mix(population, self.seed, index),
        )
        protocol = draw_protocol(
            examination,
            population.modality,
            agents=population.agents,
            missing=population.missing,
            field_tesla=population.field_tesla,
            poor_quality=population.poor_quality,
        )
        study, truth = acquire(anatomy, protocol, scan, case_id=case_id, own_grids=self.own_grids)
        return study, truth, protocol

    def settings(self) -> dict[str, Any]:
        """All that decides the cases, as JSON."""
        population = self.population
        return {
            "preset": self.preset,
            "modality": str(population.modality),
            "seed": self.seed,
            "shape": population.shape,
            "spacing_mm": population.spacing_mm,
            "lesion_types": self.lesion_types and [kind.key for kind in self.lesion_types],
            "agents": population.agents,
            "missing": {phase.key: chance for phase, chance in population.missing.items()},
            "own_grids": self.own_grids,
            "headers": self.headers,
        }


def _subject_mix(population: Population, seed: int, index: int) -> LesionMix:
    """The preset's lesion mix; where it counts subjects by type, that of case `index`."""
    if not population.subjects:
        return population.lesion_mix
    type_of_subject = [kind for kind, number in population.subjects.items() for _ in range(number)]
    block, position = divmod(index, len(type_of_subject))
    order = np.random.default_rng(
        np.random.SeedSequence((seed, block), spawn_key=(9,))
    ).permutation(len(type_of_subject))
    return replace(
        population.lesion_mix, types=(type_of_subject[order[position]],), share_without=0.0
    )


def write_cohort(
    phantom: Phantom,
    cases: int,
    out: Path,
    *,
    format: Literal["nifti", "dicom"] = "nifti",  # noqa: A002 the word of the command line
    jobs: int = 1,
    progress: Progress = silent,
) -> None:
    """Write the first cases of a phantom as a folder of case folders.

    A run that was stopped is continued.

    Args:
        phantom: where the cases come from.
        cases: how many.
        out: a new folder, or one that an earlier call with the same phantom left unfinished.
        format: "nifti" for case folders that `liverleaf.cohort.index` reads, "dicom" for DICOM
            series with the truth as NIfTI beside them.
        jobs: number of processes; the files do not depend on it, bit for bit.
        progress: told how many cases are finished, of how many.

    Raises:
        InputError: `out` holds anything else.
    """
    save = {"nifti": save_case, "dicom": save_dicom_case}[format]
    phantom = replace(phantom, headers=format == "dicom")
    write_cases(
        phantom.__getitem__,
        cases,
        out,
        settings={"format": format, **phantom.settings()},
        save=save,
        jobs=jobs,
        progress=progress,
    )
