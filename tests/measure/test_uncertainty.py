"""The intervals of a lesion by the names of the findings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from liverleaf.measure import uncertainty
from liverleaf.measure.enhancement import Curve, background_curve, background_region
from liverleaf.measure.uncertainty import (
    around,
    curve_measures,
    depth_interval,
    size_intervals,
    spread_of,
    volume_interval,
    widening,
    without_phase,
)
from liverleaf.segmentation import Segmentation
from liverleaf.study import Modality, Phase
from liverleaf.terminology import LesionType, Organ

AFFINE = np.array([[0, 0, 2.0, 0], [0, 2.0, 0, 0], [5.0, 0, 0, 0], [0, 0, 0, 1]])


def disc() -> np.ndarray:
    mask = np.zeros((4, 24, 24), bool)
    y, x = np.indices((24, 24))
    mask[1:3] = (y - 12) ** 2 + (x - 12) ** 2 <= 36
    return mask


def test_sizes_lie_between_those_of_an_outline_further_in_and_out() -> None:
    found = size_intervals(disc(), AFFINE, Modality.CT)
    low, high = found["long_axis_mm"]
    # 13 voxels of 2 mm, and two fewer or more
    assert (low, high) == pytest.approx((22, 30), abs=2.5)
    small, large = found["volume_ml"]
    own = disc().sum() * 0.02
    assert small < own < large


def test_an_organ_is_unsure_by_its_surface() -> None:
    cube = np.zeros((6, 8, 8), bool)
    cube[2:, 2:6, 2:6] = True  # it ends where the images do
    faces_mm2 = 4 * 4 * 4 * 10.0 + 2 * 4 * 4 * 4.0
    own, shell = 64 * 0.02, faces_mm2 * 2 / 3 * 2.0 / 1000
    assert volume_interval(cube, (5.0, 2.0, 2.0)) == pytest.approx((own - shell, own + shell))


def test_a_size_is_never_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uncertainty, "WIDEN", {Modality.CT: {"volume_ml": 50.0}})
    assert size_intervals(disc(), AFFINE, Modality.CT)["volume_ml"].low == 0.0
    assert depth_interval(1.0, 2.0) == pytest.approx((0.0, 1 + 8**0.5))


def test_a_factor_is_that_of_the_measure_in_any_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    factors = {Modality.CT: {"curve.mean": 2.0}, Modality.MR: {"wash_out.share_lost": 3.0}}
    monkeypatch.setattr(uncertainty, "WIDEN", factors)
    assert [widening(name, Modality.CT) for name in ("curve.mean.pre", "volume_ml")] == [2.0, 1.0]
    names = ("curve.mean.pre", "wash_out.share_lost")
    assert [widening(name, Modality.MR) for name in names] == [1.0, 3.0]


def test_every_factor_is_that_of_something_measured() -> None:
    names = {without_phase(name) for name in curve_measures(Phase, Modality.CT, Phase.PORTAL)}
    names |= set(size_intervals(disc(), AFFINE, Modality.CT))
    assert {name for factors in uncertainty.WIDEN.values() for name in factors} <= names


def test_every_measure_of_curves_is_that_of_the_findings() -> None:
    lesion = Curve({Phase.PRE: 40.0, Phase.ARTERIAL: 100.0, Phase.PORTAL: 70.0}, 9)
    liver = Curve({Phase.PRE: 50.0, Phase.ARTERIAL: 60.0, Phase.PORTAL: 100.0}, 9)
    measures = curve_measures(lesion.mean, Modality.CT, Phase.PORTAL)
    values = {name: measure(lesion, liver) for name, measure in measures.items()}
    assert values == {
        "curve.mean.pre": 40.0,
        "contrast.by_phase.pre": -10.0,
        "curve.mean.arterial": 100.0,
        "contrast.by_phase.arterial": 40.0,
        "curve.mean.portal": 70.0,
        "contrast.by_phase.portal": -30.0,
        "wash_in.enhancement": 60.0,
        "wash_in.against_liver": 50.0,
        "wash_out.share_lost": 0.5,
        "wash_out.against_liver": 70.0,
        "wash_out.liver_to_lesion_percent": pytest.approx(100 * 100 / 70),
    }
    alone = {name: measure(lesion, None) for name, measure in measures.items()}
    assert {name for name, value in alone.items() if value is not None} == {
        "curve.mean.pre",
        "curve.mean.arterial",
        "curve.mean.portal",
        "wash_in.enhancement",
        "wash_out.share_lost",
    }


@pytest.mark.parametrize("drawn_on", [None, Phase.ARTERIAL])
def test_only_phases_that_were_not_drawn_on_may_lie_beside(
    tiny_case: Callable, drawn_on: Phase | None
) -> None:
    study, truth = tiny_case(types=[LesionType.HCC], noise=4.0)
    images = {phase: image.volume.array for phase, image in study.phases.items()}
    liver = truth.organs.array == Organ.LIVER
    where = background_region(liver, truth.lesions.array, study.grid.spacing)
    background = background_curve(images, where)
    segmentation = Segmentation(truth.lesions, {Organ.LIVER: study.grid.with_array(liver)})
    segmentation = dataclasses.replace(segmentation, drawn_on=drawn_on)
    found = spread_of(study, images, segmentation, background, where)
    assert found.moved == set(images) - {drawn_on or Phase.PORTAL}
    assert set(found.noise) == set(images)
    assert found.noise[Phase.PRE].sd == pytest.approx(4.0, rel=0.2)
    assert len(found.liver) == len(images)
    without = dataclasses.replace(segmentation, organs={})
    assert spread_of(study, images, without, None).noise == {}


def test_the_box_reaches_as_far_as_is_looked_up() -> None:
    box = (slice(0, 3), slice(10, 12), slice(18, 20))
    assert around(box, (6, 20, 20), (5.0, 1.0, 0.5)) == (slice(0, 6), slice(4, 18), slice(11, 20))
