"""Distributions: lesions in bins, and quantiles of bins against numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from liverleaf.findings import ContrastRecord
from liverleaf.results.columns import CaseResult
from liverleaf.results.distributions import (
    BINS_PER_DECADE,
    CONTRAST_STEP,
    UNTYPED,
    Distributions,
    type_counts,
)
from liverleaf.study import Modality
from liverleaf.terminology import LesionType


def with_lesions(result: CaseResult, **changes: object) -> CaseResult:
    """The case with the same change in all of its lesions."""
    lesions = tuple(lesion.model_copy(update=changes) for lesion in result.findings.lesions)
    findings = result.findings.model_copy(update={"lesions": lesions})
    return CaseResult(result.case, result.subject, findings)


@pytest.mark.parametrize(("volume_ml", "low"), [(1.0, 1.0), (0.5, 10**-0.5), (99.0, 10**1.75)])
def test_a_volume_lies_in_its_bin(
    result_of: Callable[..., CaseResult], volume_ml: float, low: float
) -> None:
    found = Distributions()
    found.add(with_lesions(result_of(0), volume_ml=volume_ml))
    ((number, count),) = found.volumes.items()
    assert 10 ** (number / BINS_PER_DECADE) == pytest.approx(low)
    assert low <= volume_ml < 10 ** ((number + 1) / BINS_PER_DECADE) and count == 1


def test_types_are_counted_by_the_most_probable_one(result_of: Callable[..., CaseResult]) -> None:
    two = result_of(0, types=[LesionType.HCC, LesionType.FNH])
    assert type_counts(two.findings) == {"hepatocellular carcinoma": 2}
    assert type_counts(with_lesions(two, type_probabilities=None).findings) == {UNTYPED: 2}


def test_quantiles_of_bins_are_those_of_the_values(result_of: Callable[..., CaseResult]) -> None:
    values = np.random.default_rng(1).normal(20, 30, 400)
    result, found = result_of(0), Distributions()
    for value in values:
        contrast = ContrastRecord(unit="HU", by_phase={"portal": float(value)})
        found.add(with_lesions(result, contrast=contrast))
    box = found.quantiles("HU", "portal")
    for name, share in {"whislo": 5, "q1": 25, "med": 50, "q3": 75, "whishi": 95}.items():
        slow = np.percentile(values, share, method="inverted_cdf")
        assert box[name] == pytest.approx(slow, abs=CONTRAST_STEP["HU"] / 2 + 0.01), name


def test_memory_grows_with_bins_and_not_with_lesions(
    result_of: Callable[..., CaseResult],
) -> None:
    result, found = result_of(0), Distributions()
    for _ in range(50):
        found.add(result)
    bins = [found.volumes, found.types, *found.contrasts["HU"].values()]
    assert all(len(counts) == 1 and counts.total() == 50 for counts in bins)


def test_there_is_a_picture_for_each_modality(result_of: Callable[..., CaseResult]) -> None:
    found = Distributions()
    assert found.figures() == {}
    found.add(result_of(0))
    found.add(result_of(1, modality=Modality.MR))
    assert list(found.figures()) == [
        "Volume",
        "Most probable type",
        "Contrast to the liver, CT",
        "Contrast to the liver, MR",
    ]
    assert all(png.startswith(b"\x89PNG") for png in found.figures().values())
