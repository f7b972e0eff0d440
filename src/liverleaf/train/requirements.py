"""What a recipe needs of the cases that it is trained on, and what they cannot teach it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from liverleaf.data.network_input import InputConfig
from liverleaf.data.prepared import check_record
from liverleaf.models.family import Output
from liverleaf.models.recipe import Recipe
from liverleaf.storage.case_folder import CaseRecord
from liverleaf.study import InputError
from liverleaf.terminology import LesionType

NAMES = {Output.CURVE: "curve", Output.LESION_TYPE: "type"}
"""What is learned of each lesion that is listed in `case.json`."""


class Taught(NamedTuple):
    """What the lesions of some cases teach.

    Attributes:
        types: the types that they have, of those that the network tells apart.
        curve: whether one of them has a curve in a phase that the network sees.
    """

    types: frozenset[LesionType]
    curve: bool


def taught(records: Iterable[CaseRecord], config: InputConfig) -> Taught:
    """What `case.json` tells of the lesions; those of other types teach nothing."""
    listed = [
        (LesionType.parse(lesion.type), lesion.curve)
        for record in records
        if record.truth is not None
        for lesion in record.truth.lesion_list
        if lesion.type
    ]
    known = [(kind, curve) for kind, curve in listed if kind in config.types]
    return Taught(
        frozenset(kind for kind, _ in known),
        any(not curve.keys().isdisjoint(config.channels) for _, curve in known),
    )


def check_cases(recipe: Recipe, records: Sequence[CaseRecord]) -> None:
    """Refuse cases that a recipe cannot be trained on, as far as `case.json` tells.

    Raises:
        InputError: as `check_record`; the recipe learns the liver and a case has none outlined; or
            it learns of lesions alone what no lesion of these cases has.
    """
    outputs = recipe.outputs
    for record in records:
        check_record(record, recipe.input)
        if Output.ORGAN_MASK in outputs and record.truth is not None and not record.truth.organs:
            raise InputError(
                f"case {record.case_id} has no outlined liver (truth/organs.nii.gz), which this"
                " recipe learns: leave the case out, or choose a recipe for lesions alone"
            )
    lacking = _lacking(recipe, records)
    if outputs and outputs <= set(lacking):
        raise InputError(
            f"the recipe {recipe.name} learns the {_names(lacking)} of lesions alone, which no"
            " lesion of these cases has in case.json (truth.lesion_list): write it there, or choose"
            " another recipe"
        )


def what_is_not_learned(recipe: Recipe, records: Sequence[CaseRecord]) -> str:
    """A sentence that says what these cases do not teach; "" where they teach it all."""
    lacking = _lacking(recipe, records)
    if not lacking:
        return ""
    names = _names(lacking)
    return (
        f"no lesion of these {len(records)} cases has a {names.replace(' and ', ' or a ')} in"
        f" case.json: the {names} {'is' if len(lacking) == 1 else 'are'} not learned, and what the"
        " model says of it is worth nothing"
    )


def _lacking(recipe: Recipe, records: Sequence[CaseRecord]) -> list[Output]:
    """What the recipe learns of lesions and no lesion tells."""
    found = taught(records, recipe.input)
    told = {Output.CURVE: found.curve, Output.LESION_TYPE: bool(found.types)}
    return [output for output in NAMES if output in recipe.outputs and not told[output]]


def _names(lacking: Sequence[Output]) -> str:
    return " and ".join(NAMES[output] for output in lacking)
