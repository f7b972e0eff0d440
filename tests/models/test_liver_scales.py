"""Normalisation and outline of the liver by turns."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from liverleaf.data.network_input import InputConfig, model_input
from liverleaf.models.liver_scales import ROUNDS, Scales, liver_scales, parenchyma
from liverleaf.study import Modality
from liverleaf.terminology import Organ

CT = InputConfig(Modality.CT, pixel_mm=4.0, slice_mm=5.0, size=32)
LEVELS = {"pre": 55.0, "arterial": 70.0, "portal": 110.0, "delayed": 95.0}
"""Of the livers of `tiny_case`."""


def test_levels_are_those_under_what_was_outlined(tiny_case: Callable) -> None:
    study, truth = tiny_case(0)
    given, asked = model_input(study, CT), []
    liver = truth.organs.array == Organ.LIVER

    def outline(scales: Scales) -> np.ndarray:
        asked.append({channel: scale.liver for channel, scale in scales.items()})
        return liver & (truth.lesions.array == 0)

    scales, warnings = liver_scales(study, given, CT, outline, slices=np.arange(6))
    assert warnings == []
    assert {c: s.liver for c, s in scales.items()} == pytest.approx(LEVELS, abs=3)
    assert all(scale.unit == 50 for scale in scales.values())
    # asked again until levels no longer change
    assert 1 <= len(asked) <= 2


def test_an_outline_that_never_settles_is_asked_a_few_times(tiny_case: Callable) -> None:
    study, truth = tiny_case(0)
    given = model_input(study, CT)
    masks = [truth.organs.array == Organ.LIVER, truth.organs.array == Organ.BODY]
    turns: list[int] = []

    def outline(_scales: Scales) -> np.ndarray:
        turns.append(1)
        return masks[len(turns) % 2]

    liver_scales(study, given, CT, outline, slices=np.arange(6))
    assert len(turns) == ROUNDS


def test_without_a_liver_it_is_said(tiny_case: Callable) -> None:
    study, _ = tiny_case(0)
    scales, warnings = liver_scales(
        study, model_input(study, CT), CT, lambda _: None, slices=np.arange(6)
    )
    assert "little or no liver was found" in warnings[0] and set(scales) == set(LEVELS)


def test_without_normalisation_on_the_liver_none_is_outlined(tiny_case: Callable) -> None:
    study, _ = tiny_case(0)
    config = dataclasses.replace(CT, normalise_on_liver=False)

    def outline(_scales: Scales) -> np.ndarray:
        raise AssertionError("nobody needs the liver")

    scales, _ = liver_scales(
        study, model_input(study, config), config, outline, slices=np.arange(6)
    )
    assert {scale.liver for scale in scales.values()} == {0.0}


def test_parenchyma_leaves_lesions_out_where_enough_is_left(tiny_case: Callable) -> None:
    given = model_input(tiny_case(0)[0], CT)  # voxels of 0.08 ml
    liver, lesion = np.zeros((2, 6, 48, 48), bool)
    liver[:4, :30, :30] = True  # 288 ml
    lesion[:2, :30, :30] = True
    found = parenchyma(liver, lesion, given)
    assert found is not None and np.array_equal(found, liver & ~lesion)
    lesion[:3] = True  # 72 ml are left
    found = parenchyma(liver, lesion, given)
    assert found is not None and np.array_equal(found, liver)
    liver[:, 15:] = False
    liver[1:] = False  # 36 ml in all
    assert parenchyma(liver, lesion, given) is None
    # as a sixth of the slices it stands for six times as much
    assert parenchyma(liver, lesion, given, share=1 / 6) is not None
