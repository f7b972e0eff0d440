"""Values of CT: in HU, 1024 too high, or nothing that anybody could tell."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from liverleaf.ingest.hounsfield import (
    doubts_hounsfield,
    looks_like_ct,
    not_hounsfield,
    offset_to_hounsfield,
)
from liverleaf.phantom.generator import Phantom


def body(air: float = -1000.0) -> NDArray[np.float32]:
    """Air around an abdomen: fat, organs with contrast agent and bone, with noise of 10 HU."""
    rng = np.random.default_rng(1)
    parts = [(air, 500), (-100.0, 150), (60.0, 300), (130.0, 100), (900.0, 20)]
    hu = np.concatenate([np.full(count, value) for value, count in parts])
    return np.maximum(hu + 10 * rng.standard_normal(len(hu)), -1024).astype(np.float32)


@pytest.mark.parametrize(
    ("values", "offset"),
    [
        (body(), 0),
        (body() + 1024, -1024),
        (np.where(body() < -900, -2000, body() + 1024), -1024),
        (np.clip(body(), -160, 240), 0),
        ((np.clip(body(), -160, 240) + 160) / 400, None),
        (np.clip(body(), 0, 200), None),
        (np.linspace(1000, 1300, 50), None),
        (np.full(20, np.nan), None),
        (np.empty(0), None),
    ],
    ids=[
        "HU",
        "HU + 1024, air at 0",
        "HU + 1024, padded",
        "cut off at a window",
        "scaled to 0..1",
        "cut off at 0, or scaled",
        "tissue near 1024 without air",
        "no numbers",
        "nothing",
    ],
)
def test_the_values_tell_what_makes_them_hounsfield_units(
    values: NDArray[np.float64], offset: float | None
) -> None:
    assert offset_to_hounsfield(values.astype(np.float32)) == offset


def test_a_body_is_not_doubted_and_anything_else_is_told_with_its_range() -> None:
    assert doubts_hounsfield(body(), "series 2") == []
    assert doubts_hounsfield(np.empty(0, np.float32), "series 2") == []
    (said,) = doubts_hounsfield(body() + 5000, "series 2")
    assert said.startswith("series 2: hardly any of its values, 397")
    assert "is that of soft tissue in Hounsfield units" in said


@pytest.mark.parametrize(
    ("values", "is_ct"),
    [
        (body(), True),
        (body() + 1024, True),
        (np.clip(body(), -160, 240), True),
        (body() * 0 - 1000, True),
        ((np.clip(body(), -160, 240) + 160) / 400, False),
        (np.linspace(0, 1400, 1000), False),
        (np.empty(0), False),
    ],
    ids=["HU", "HU + 1024", "cut off", "air alone", "scaled to 0..1", "even greys", "nothing"],
)
def test_ct_is_told_from_its_values(values: NDArray[np.float64], is_ct: bool) -> None:
    assert looks_like_ct(values.astype(np.float32)) is is_ct


@pytest.mark.parametrize("gain", [0.5, 1, 2, 3, 4, 5, 7, 10])
def test_mr_of_any_gain_is_not_taken_for_ct(gain: float) -> None:
    study, _ = Phantom("mr", 3, shape=(12, 48, 48), spacing_mm=(14.0, 7.0, 7.0))[0]
    for image in study.phases.values():
        assert not looks_like_ct(image.volume.array * np.float32(gain))


def test_the_refusal_names_the_range() -> None:
    refusal = not_hounsfield(np.array([0.25, 1.0, np.nan], np.float32), "a.nii")
    assert str(refusal) == (
        "a.nii: nothing tells how to make Hounsfield units (HU) of its values, 0.25 to 1; export it"
        " again in HU"
    )
