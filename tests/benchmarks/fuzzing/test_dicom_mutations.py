"""Damage to DICOM: files that can still be walked, with something amiss in each."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pydicom
import pytest

from liverleaf.benchmarks.fuzzing.dicom_elements import elements_of
from liverleaf.benchmarks.fuzzing.dicom_mutations import (
    delete_element,
    empty_element,
    nonsense_frames,
    swap_elements,
    wrong_geometry,
    wrong_preamble,
    wrong_syntax,
)
from liverleaf.benchmarks.fuzzing.sources import fuzz_sources

SLICE = next(iter(fuzz_sources()["CT slices"].files.values()))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.filterwarnings("ignore")  # pydicom's, about the damage that is wanted
def test_damaged_elements_leave_a_file_that_can_be_walked() -> None:
    valid = pydicom.dcmread(BytesIO(SLICE))
    fewer = pydicom.dcmread(BytesIO(delete_element(rng(3), SLICE)), force=True)
    tags = set(valid.keys()) | set(valid.file_meta.keys())
    assert len(tags - set(fewer.keys()) - set(fewer.file_meta.keys())) == 1
    assert len(swap_elements(rng(1), SLICE)) > 0
    assert wrong_syntax(rng(2), SLICE) != SLICE


def test_frames_of_a_single_slice_become_many() -> None:
    counts = {
        int(pydicom.dcmread(BytesIO(nonsense_frames(rng(seed), SLICE))).NumberOfFrames)
        for seed in range(30)
    }
    assert {0, 2, 3, 2**31 - 1} <= counts


def test_an_emptied_element_stays_without_its_value() -> None:
    damaged = empty_element(rng(5), SLICE)
    assert len(damaged) < len(SLICE)
    assert pydicom.dcmread(BytesIO(damaged)).keys() == pydicom.dcmread(BytesIO(SLICE)).keys()


def test_a_wrong_preamble_leaves_the_data_set_as_it_is() -> None:
    assert {wrong_preamble(rng(seed), SLICE)[-1000:] for seed in range(8)} == {SLICE[-1000:]}


def test_the_geometry_is_damaged_in_one_element_at_most() -> None:
    before = {element.tag: SLICE[element.value : element.end] for element in elements_of(SLICE)}
    for seed in range(10):
        damaged = wrong_geometry(rng(seed), SLICE)
        after = {one.tag: damaged[one.value : one.end] for one in elements_of(damaged)}
        assert sum(before[tag] != after[tag] for tag in before) <= 1
