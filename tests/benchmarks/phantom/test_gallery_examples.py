"""Small grids searched for a case that shows an entry of the gallery."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from liverleaf.benchmarks.phantom.gallery_examples import ENTRIES, Example, find_example
from liverleaf.study import Modality

SMALL = {"shape": (14, 64, 64), "spacing_mm": (12.0, 5.6, 5.6)}
FNH = next(entry for entry in ENTRIES if entry.title == "Focal nodular hyperplasia")


@pytest.fixture(scope="module")
def example() -> Example:
    """A lesion of any look and size, so that one of the first cases fits."""
    return find_example(replace(FNH, needs=(), diameter_mm=(15.0, 90.0)), Modality.MR, 7, **SMALL)


def test_an_example_is_what_was_asked_for(example: Example) -> None:
    assert example.lesion.type is FNH.type
    assert example.lesion in example.truth.lesion_list
    assert 15 <= example.diameter_mm <= 90
    assert example.hepatobiliary is not None
    study, truth = example.hepatobiliary
    assert study.agent == "gadoxetate"
    np.testing.assert_array_equal(truth.lesions.array, example.truth.lesions.array)  # the same body


def test_an_entry_that_no_case_fits_is_named() -> None:
    impossible = replace(FNH, diameter_mm=(900.0, 901.0))
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(ValueError, match="Focal nodular hyperplasia"),
    ):
        patch.setattr("liverleaf.benchmarks.phantom.gallery_examples.TRIES", 1)
        find_example(impossible, Modality.CT, 0, **SMALL)
