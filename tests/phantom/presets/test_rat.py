"""Rats under treatment: small sessions of them as images."""

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import binary_closing, binary_erosion
from scipy.stats import spearmanr

from liverleaf.phantom.physics.protocol import Protocol
from liverleaf.phantom.presets.rat import rat_case
from liverleaf.phantom.presets.rat_course import WEEKS, TumourCourse, draw_arm, draw_course
from liverleaf.study import Annotation, Modality, Phase, Study
from liverleaf.terminology import LesionType, Organ

SMALL, COARSE_MM = (16, 64, 64), (2.0, 1.0, 1.0)


@cache
def session(index: int) -> tuple[Study, Annotation, Protocol]:
    return rat_case(3, index, shape=SMALL, spacing_mm=COARSE_MM, case_id=f"case-{index}")


def images(study: Study) -> list[np.ndarray]:
    return [
        study.phases[Phase.PRE].volume.array,
        study.phases[Phase.PORTAL].volume.array,
        study.other["t2w"].volume.array,
    ]


def test_a_session_depends_on_seed_and_index_only() -> None:
    first = session(6)
    again = rat_case(3, 6, shape=SMALL, spacing_mm=COARSE_MM, case_id="case-6")
    for one, two in zip(images(first[0]), images(again[0]), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(first[1].lesions.array, again[1].lesions.array)
    assert first[1].markers == again[1].markers
    assert first[2] == again[2]
    assert not np.array_equal(images(first[0])[1], images(session(5)[0])[1])


def test_a_study_is_complete() -> None:
    study, truth, protocol = session(6)
    assert (study.modality, study.agent, study.case_id, study.week) == (
        Modality.MR,
        "gadobutrol",
        "case-6",
        2.0,
    )
    assert study.subject_id == "phantom-rat-hcc-3-animal-0001"
    assert study.on_one_grid
    for image in images(study):
        assert image.dtype == np.float32
        assert image.shape == SMALL
        np.testing.assert_array_equal(image, np.rint(image))
    assert study.phases[Phase.PORTAL].time_s == protocol.times_s[Phase.PORTAL]
    assert protocol.other["t2w"].spin_echo
    assert not protocol.spin_echo
    assert truth.lesions.array.max() == len(truth.lesion_list) >= 1
    assert truth.organs is not None
    assert (truth.organs.array[truth.lesions.array > 0] == Organ.LIVER).all()
    lesion = truth.lesion_list[0]
    assert lesion.type is LesionType.HCC
    assert lesion.curve.keys() == truth.liver_curve.keys() == set(study.phases)
    assert "hcc.fast_volume" in lesion.kinetics
    assert truth.displacement_mm[Phase.PRE].shape == (*SMALL, 3)


def test_an_animal_stays_itself() -> None:
    truths = [session(week)[1] for week in range(WEEKS)]
    for name in ("arm", "viability_percent", "apoptosis_percent"):
        assert len({truth.markers[name] for truth in truths}) == 1
    assert len({truth.diagnosis for truth in truths}) == 1
    assert len({session(week)[0].subject_id for week in range(WEEKS)}) == 1
    healthy = [
        (t.organs.array == Organ.LIVER).sum() - 0.6 * (t.lesions.array > 0).sum()
        for t in truths
        if t.organs is not None
    ]
    assert max(healthy) < 1.1 * min(healthy)


@pytest.mark.parametrize("index", [0, 3, 6])
def test_the_marked_volume_is_the_painted_one(index: int) -> None:
    truth = session(index)[1]
    painted_mm3 = (truth.lesions.array > 0).sum() * np.prod(COARSE_MM)
    assert painted_mm3 == pytest.approx(truth.markers["tumour_volume_mm3"], rel=0.15)


@pytest.mark.parametrize("index", [0, 3, 6])
def test_tumours_lie_in_the_liver(index: int) -> None:
    truth = session(index)[1]
    assert truth.organs is not None
    lesion = truth.lesions.array > 0
    liver = binary_closing(
        (truth.organs.array == Organ.LIVER) & ~lesion, np.ones((3, 5, 5)), iterations=4
    )
    assert liver[lesion].mean() > 0.6


def test_necrosis_is_dark_after_contrast_and_bright_on_t2w() -> None:
    checked = 0
    for index in range(WEEKS - 1, 60, WEEKS):
        if not 0.25 < course_of(index).necrosis[-1] < 0.75 or course_of(index).volume_mm3[-1] < 150:
            continue
        study, truth, _ = rat_case(
            3, index, shape=(16, 72, 72), spacing_mm=(2.0, 0.9, 0.9), case_id="c"
        )
        inside = binary_erosion(truth.lesions.array == 1)
        if inside.sum() < 30:
            continue
        before, after, t2w = (image[inside] for image in images(study))
        assert spearmanr(after, t2w).statistic < -0.4
        assert spearmanr(after / before, t2w).statistic < -0.3
        checked += 1
        if checked == 2:
            return
    pytest.fail("no tumour with living and dead parts")


def course_of(index: int) -> TumourCourse:
    """The tumour course of a session's animal, as `rat_case` draws it."""
    return draw_course(
        np.random.default_rng(np.random.SeedSequence((3, index // WEEKS)).spawn(2)[1]),
        draw_arm(3, index // WEEKS),
    )


def test_the_markers_are_those_of_the_course() -> None:
    _, truth, _ = session(6)
    course = course_of(6)
    assert truth.markers["arm"] == course.arm
    assert truth.markers["tumour_volume_mm3"] == pytest.approx(course.volume_mm3[2], abs=0.1)
    assert truth.diagnosis == ("responder" if course.responder else "non-responder")


def test_sorafenib_lowers_perfusion() -> None:
    index = next(WEEKS * animal for animal in range(8) if draw_arm(3, animal) == "sorafenib")
    before, after = (
        session(i)[1].lesion_list[0].kinetics["hcc.fast_volume"] for i in (index, index + WEEKS - 1)
    )
    assert after < 0.8 * before


@pytest.mark.parametrize("shape", [(4, 32, 32), (1, 8, 8), (3, 1, 5)])
def test_tiny_grids_work(shape: tuple[int, int, int]) -> None:
    for index in range(3):
        study, truth, _ = rat_case(
            0, index, shape=shape, spacing_mm=(1.0, 0.35, 0.35), case_id="tiny"
        )
        assert study.grid.array.shape == truth.lesions.array.shape == shape
        assert len(truth.lesion_list) == truth.lesions.array.max()


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(IndexError, match="start at 0"):
        rat_case(0, -1, shape=SMALL, spacing_mm=COARSE_MM, case_id="c")
    with pytest.raises(ValueError, match="must be positive"):
        rat_case(0, 0, shape=(0, 4, 4), spacing_mm=COARSE_MM, case_id="c")
