"""Findings of small studies, and cohorts whose cases are measured without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from liverleaf.analysis import FINDINGS_FILE
from liverleaf.findings import Findings, Provenance
from liverleaf.measure.findings import measure
from liverleaf.prediction import LesionPrediction, Prediction
from liverleaf.results.columns import CaseResult
from liverleaf.segmentation import Segmentation
from liverleaf.study import Study
from liverleaf.system.files import new_directory
from liverleaf.terminology import LesionType, Organ

TYPES = {LesionType.HCC: 0.75, LesionType.CYST: 0.25}


def bright_balls(study: Study) -> Findings:
    """Stands for a network: bright balls are lesions, and what is brighter than 80 is liver."""
    image = study.grid.array
    labels = (image > 150).astype(np.uint16)
    labels[:, image.shape[1] // 2 :] *= 2
    found = [int(label) for label in np.unique(labels[labels > 0])]
    segmentation = Segmentation(
        study.grid.with_array(labels), {Organ.LIVER: study.grid.with_array(image > 80)}, "bright"
    )
    lesions = tuple(LesionPrediction(n, 0.9, TYPES, (LesionType.HCC,), {}) for n in found)
    prediction = Prediction(
        "bright", segmentation, lesions, {t: 0.9 * p for t, p in TYPES.items()}, 0.7
    )
    origin = Provenance(
        versions={"liverleaf": "9.8.7", "python": "3.11", "torch": "2.7"},
        commit="abc123",
        weights_sha256="f" * 64,
        seconds={"reading": 1.25, "network": 2.0},
        peak_memory_mb=500.0,
    )
    findings = measure(study, segmentation, prediction)
    return findings.model_copy(update={"provenance": origin})


def work_without_network(read: Callable[[], Study], out: Path) -> Findings:
    """What is done with a case in these tests."""
    findings = bright_balls(read())
    with new_directory(out) as folder:
        (folder / FINDINGS_FILE).write_text(findings.to_json())
    return findings


@pytest.fixture(scope="session")
def work() -> Callable[[Callable[[], Study], Path], Findings]:
    """`work_without_network`."""
    return work_without_network


@pytest.fixture(scope="session")
def result_of(tiny_case: Callable) -> Callable[..., CaseResult]:
    """The result of `tiny_case` with these settings."""

    def make(seed: int = 0, **settings: object) -> CaseResult:
        study, _ = tiny_case(seed, **settings)
        return CaseResult(f"case-{seed}", f"subject-{seed}", bright_balls(study))

    return make
