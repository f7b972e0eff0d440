"""The presets of the phantom: who is imaged, with which lesions, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from liverleaf.phantom.anatomy.lesions import USUAL_MIX, LesionMix
from liverleaf.study import InputError, Modality, Phase
from liverleaf.terminology import LesionType


@dataclass(frozen=True)
class Population:
    """Who is imaged, and how.

    Attributes:
        modality: CT or MR.
        shape: of the reference grid (Z, Y, X).
        spacing_mm: of the reference grid.
        lesion_mix: which lesions a case has.
        subjects: how many subjects have lesions of each type alone, in shuffled blocks of all of
            them; empty where every case is drawn from `lesion_mix`.
        agents: names from `kinetics.AGENTS` to choose from; None for the usual ones.
        missing: probability, per phase, that it was not acquired.
        field_tesla: MR field strength; None for 1.5 or 3 at random.
        poor_quality: strong motion, a badly timed bolus and much noise.
        other_modality: whether the same subjects can be imaged by the other modality.
        cases: how many cases the population has; None for as many as are asked for.
        about: one line that describes it.
    """

    modality: Modality
    shape: tuple[int, int, int] = (64, 256, 256)
    spacing_mm: tuple[float, float, float] = (3.5, 1.4, 1.4)
    lesion_mix: LesionMix = USUAL_MIX
    subjects: Mapping[LesionType, int] = field(default_factory=dict)
    agents: tuple[str, ...] | None = None
    missing: Mapping[Phase, float] = field(default_factory=dict)
    field_tesla: float | None = None
    poor_quality: bool = False
    other_modality: bool = False
    cases: int | None = None
    about: str = ""


PRESETS: Mapping[str, Population] = {
    "mr": Population(
        Modality.MR,
        about=(
            "the usual mixture: 0 to 8 lesions of eight types, MR at 1.5 and 3 T with three agents"
        ),
    ),
    "ct": Population(Modality.CT, about="the same subjects on CT"),
    "mti-net": Population(
        Modality.MR,
        subjects={LesionType.HCC: 138, LesionType.HAEMANGIOMA: 100},
        agents=("gadobutrol",),
        field_tesla=3.0,
        cases=238,
        about=(
            "138 subjects with HCC, 100 with haemangioma; MR at 3 T, gadobutrol 0.1 mmol/kg, four"
            " phases of 256 x 256 slices"
        ),
    ),
    "lidia": Population(
        Modality.CT,
        lesion_mix=LesionMix(at_least=2, share_without=0.0),
        missing={Phase.DELAYED: 1 / 3},
        about=(
            "CT with several lesions a case, of eight types in all; a third of the cases without"
            " the delayed phase"
        ),
    ),
    "hard": Population(
        Modality.MR,
        lesion_mix=LesionMix(share_without=0.0, radius_mm=(2.5, 9.0), isointensity=(0.45, 0.85)),
        missing={Phase.PRE: 0.1, Phase.DELAYED: 0.2},
        poor_quality=True,
        other_modality=True,
        about=(
            "small lesions that nearly look like liver, strong motion, badly timed boluses, noise"
        ),
    ),
    "rat-hcc": Population(
        Modality.MR,
        (32, 192, 192),
        (1.0, 0.35, 0.35),
        about=(
            "rats with HCC in four treatment arms, imaged weekly: T1w before and after contrast,"
            " T2w; simulated histology"
        ),
    ),
    "chest": Population(
        Modality.CT,
        (80, 256, 256),
        (4.0, 1.5, 1.5),
        about="chest CT: normal, COVID-19 and lung cancer, equally often",
    ),
}


def find_population(preset: str, modality: Modality | None = None) -> Population:
    """Look a preset up.

    Args:
        preset: a key of `PRESETS`.
        modality: None for the preset's own.

    Raises:
        InputError: there is no such preset, or it is of the other modality.
    """
    if preset not in PRESETS:
        raise InputError(f"there is no preset {preset!r}: use {', '.join(PRESETS)}")
    found = PRESETS[preset]
    if modality in (None, found.modality):
        return found
    if not found.other_modality:
        raise InputError(
            f"the preset {preset} is {found.modality}, not {modality}: leave the modality out"
        )
    return replace(found, modality=modality)
