"""The plan of lesions over a cohort: every type, sizes in range, giants among them."""

from collections import Counter

import numpy as np
import pytest

from liverleaf.phantom.anatomy.lesions import GIANT_RADIUS_MM, GROWTH_PATTERNS, plan_lesions
from liverleaf.terminology import LesionType


@pytest.fixture(scope="module")
def cohort() -> list[list[tuple[LesionType, float]]]:
    rng = np.random.default_rng(0)
    return [plan_lesions(rng, None) for _ in range(2000)]


def test_cases_have_up_to_eight_lesions_and_some_have_none(
    cohort: list[list[tuple[LesionType, float]]],
) -> None:
    counts = [len(plan) for plan in cohort]
    assert min(counts) == 0 and max(counts) == 8
    assert 0.05 < np.mean(np.array(counts) == 0) < 0.12


def test_types_are_equally_frequent_among_cases(
    cohort: list[list[tuple[LesionType, float]]],
) -> None:
    cases = Counter(kind for plan in cohort for kind in {kind for kind, _ in plan})
    assert max(cases.values()) < 1.25 * min(cases.values()) and len(cases) == 8


def test_sizes_are_typical_or_giant(cohort: list[list[tuple[LesionType, float]]]) -> None:
    for kind, radius_mm in (lesion for plan in cohort for lesion in plan):
        low, _, high = GROWTH_PATTERNS[kind].radius_mm
        assert low <= radius_mm <= high or (
            GROWTH_PATTERNS[kind].share_giant
            and GIANT_RADIUS_MM[0] <= radius_mm <= GIANT_RADIUS_MM[1]
        )


def test_a_fifth_of_the_cases_has_a_giant_tumour(
    cohort: list[list[tuple[LesionType, float]]],
) -> None:
    assert 0.15 < np.mean([any(radius_mm >= 35 for _, radius_mm in plan) for plan in cohort]) < 0.35


def test_the_largest_comes_first() -> None:
    radii = [
        radius_mm
        for _, radius_mm in plan_lesions(
            np.random.default_rng(3), [LesionType.CYST, LesionType.HCC] * 3
        )
    ]
    assert radii == sorted(radii, reverse=True)
