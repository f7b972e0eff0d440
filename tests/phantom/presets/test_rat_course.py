"""Tumours of rats under treatment: how arms differ, who responds, what histology says."""

from functools import cache

import numpy as np
import pytest
from scipy.stats import spearmanr

from liverleaf.phantom.presets.rat_course import (
    ARMS,
    CAPACITY_MM3,
    RESPONSE,
    TumourCourse,
    _weekly_volumes,
    draw_arm,
    draw_course,
)


@cache
def courses(arm: str, animals: int = 200) -> tuple[TumourCourse, ...]:
    return tuple(
        draw_course(np.random.default_rng((11, ARMS.index(arm), animal)), arm)
        for animal in range(animals)
    )


def share(arm: str) -> float:
    return float(np.mean([course.responder for course in courses(arm)]))


def test_each_block_of_four_animals_has_each_arm_once() -> None:
    dealt = [draw_arm(3, animal) for animal in range(40)]
    assert all(set(dealt[start : start + 4]) == set(ARMS) for start in range(0, 40, 4))
    assert len({tuple(dealt[start : start + 4]) for start in range(0, 40, 4)}) > 3


def test_control_grows_and_combination_shrinks() -> None:
    ratio = {
        arm: np.median([c.viable_mm3[-1] / c.viable_mm3[0] for c in courses(arm)]) for arm in ARMS
    }
    assert 4 < ratio["control"] < 10  # 21 days at a doubling time of 6 give 11, crowding takes some
    assert ratio["control"] > ratio["sorafenib"] > ratio["combination"]
    assert ratio["nk cells"] > ratio["combination"]
    assert ratio["combination"] < 0.5


def test_responders_are_in_every_treated_arm_and_not_all_of_it() -> None:
    assert share("control") < 0.08
    assert 0.1 < share("sorafenib") < 0.45
    assert 0.15 < share("nk cells") < 0.55
    assert 0.55 < share("combination") < 0.9


def test_responders_lost_viable_tumour_not_always_volume() -> None:
    everyone = [course for arm in ARMS for course in courses(arm)]
    assert all(bool(c.viable_mm3[-1] < RESPONSE * c.viable_mm3[0]) is c.responder for c in everyone)
    assert np.mean([c.volume_mm3[1] > c.volume_mm3[0] for c in everyone if c.responder]) > 0.5


@pytest.mark.parametrize("arm", ARMS)
def test_courses_are_possible(arm: str) -> None:
    for course in courses(arm):
        assert 4 <= (6 * course.volume_mm3[0] / np.pi) ** (1 / 3) <= 8
        assert (course.viable_mm3 >= 0).all()
        assert (course.viable_mm3 <= course.volume_mm3 * (1 + 1e-9)).all()
        assert ((course.necrosis >= 0) & (course.necrosis <= 1)).all()
        assert (course.swelling >= 1).all()
        assert (course.vascularity > 0.3).all()
        assert course.vascularity[0] == 1


def test_sorafenib_lowers_perfusion_and_cells_alone_do_not() -> None:
    assert max(c.vascularity[-1] for c in courses("sorafenib")) < min(
        c.vascularity[-1] for c in courses("nk cells")
    )


def test_histology_follows_the_effect() -> None:
    hundred = [course for arm in ARMS for course in courses(arm)[:25]]
    effect = [course.effect for course in hundred]
    assert -0.95 < spearmanr(effect, [c.viability_percent for c in hundred]).statistic < -0.7
    assert 0.7 < spearmanr(effect, [c.apoptosis_percent for c in hundred]).statistic < 0.92


def test_volumes_of_one_day_by_hand() -> None:
    viable, necrotic = _weekly_volumes(
        1300.0, 0.0, np.zeros(7), growth_per_day=0.0, clearance_d=np.inf
    )
    # nothing grows; hypoxia kills 5 % of v (v + n) / K a day and v + n stays, so v decays evenly
    assert CAPACITY_MM3 == 2600
    np.testing.assert_allclose(viable, [1300.0, 1300.0 * (1 - 0.05 / 2) ** 7])
    np.testing.assert_allclose(viable + necrotic, 1300.0)


def test_an_unknown_arm_is_refused() -> None:
    with pytest.raises(ValueError, match="placebo"):
        draw_course(np.random.default_rng(0), "placebo")
