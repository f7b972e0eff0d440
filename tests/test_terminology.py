"""Lesion types and organs: names, keys and codes that fit each other."""

import math

import pytest

from liverleaf.terminology import (
    LESION_COLOURS,
    LIVER_COLOUR,
    SMALLEST_SCORED_MM3,
    TITLES,
    LesionType,
)


@pytest.mark.parametrize("kind", list(LesionType))
def test_types_are_parsed_by_their_key_in_any_case(kind: LesionType) -> None:
    assert LesionType.parse(kind.key) is LesionType.parse(kind.key.upper()) is kind
    assert kind.title == TITLES[kind]


def test_an_unknown_type_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ValueError, match="'wart' is no lesion type; use hcc, icc, metastasis"):
        LesionType.parse("wart")


def test_three_types_are_malignant() -> None:
    malignant = [kind for kind in LesionType if kind.malignant]
    assert malignant == [LesionType.HCC, LesionType.ICC, LesionType.METASTASIS]


def test_the_smallest_scored_lesion_is_a_ball_of_6_mm() -> None:
    assert pytest.approx(math.pi / 6 * 6**3, abs=0.2) == SMALLEST_SCORED_MM3


def test_no_lesion_has_the_livers_colour() -> None:
    assert len({LIVER_COLOUR, *LESION_COLOURS}) == 1 + len(LESION_COLOURS)
