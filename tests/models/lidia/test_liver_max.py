"""LiverMax on maps made by hand."""

import numpy as np
import pytest

from liverleaf.models.lidia.liver_max import liver_max
from liverleaf.terminology import LesionType

TYPES = (LesionType.HCC, LesionType.ICC, LesionType.CYST)


def test_it_is_the_largest_probability_inside_the_liver() -> None:
    maps = np.zeros((3, 1, 2, 3), np.float32)
    maps[:, 0, 0, 0] = 0.3, 0.4, 0.2  # malignant together: 0.7
    maps[:, 0, 1, 1] = 0.6, 0.0, 0.1
    maps[:, 0, 1, 2] = 0.9, 0.05, 0.9  # outside the liver
    liver = np.ones((1, 2, 3), bool)
    liver[0, 1, 2] = False
    patient, malignant = liver_max(maps, liver, TYPES)
    assert list(patient) == list(TYPES)
    assert list(patient.values()) == pytest.approx([0.6, 0.4, 0.2])
    assert malignant == pytest.approx(0.7)


def test_without_a_liver_nothing_is_probable() -> None:
    nowhere = np.zeros((1, 2, 2), bool)
    assert liver_max(np.ones((3, 1, 2, 2), np.float32), nowhere, TYPES) == (
        dict.fromkeys(TYPES, 0.0),
        0.0,
    )


def test_types_that_are_all_benign_are_never_malignant() -> None:
    maps = np.ones((1, 1, 1, 1), np.float32)
    assert liver_max(maps, np.ones((1, 1, 1), bool), (LesionType.CYST,))[1] == 0.0
