"""A made-up cohort that can be learned in a few steps, and the input of the networks on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest

from liverleaf.cohort.index import Cohort
from liverleaf.data.network_input import InputConfig
from liverleaf.storage.case_folder import save_case
from liverleaf.study import Annotation, LesionAnnotation, Modality, Phase, PhaseImage, Study
from liverleaf.terminology import LesionType

PHASES = (Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED)
INPUT = InputConfig(
    Modality.MR,
    types=(LesionType.HCC, LesionType.HAEMANGIOMA),
    pixel_mm=None,
    slice_mm=0.0,
    size=64,
    normalise_on_liver=False,
)


@pytest.fixture(scope="session")
def slice_input() -> InputConfig:
    """Whole slices of 64 x 64 pixels, as the tables give them to every method."""
    return INPUT


@pytest.fixture(scope="session", name="made_up")
def _made_up() -> Callable[..., Cohort]:
    """`made_up`."""
    return made_up


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Ten subjects of `made_up`; do not write into it."""
    return made_up(tmp_path_factory.mktemp("made-up"), 10)


def made_up(folder: Path, subjects: int, *, shuffled: bool = False) -> Cohort:
    """Two slices of liver with a square that is bright in HCC and dark in haemangioma."""
    rng = np.random.default_rng(0)
    for index in range(subjects):
        kind = INPUT.types[index % 2]
        level = 180.0 if kind is LesionType.HCC else 40.0
        said = INPUT.types[int(rng.integers(2))] if shuffled else kind
        lesions = np.zeros((2, 64, 64), np.uint8)
        y, x = rng.integers(12, 36, 2)
        lesions[:, y : y + 16, x : x + 16] = 1
        images = {
            p: np.where(lesions, level, 100.0) + rng.normal(0, 4, lesions.shape) for p in PHASES
        }
        volume = hd.Volume(lesions, np.diag([3.0, 3.0, 8.0, 1.0])[[2, 1, 0, 3]], "PATIENT")
        study = Study(
            Modality.MR,
            {p: PhaseImage(volume.with_array(a.astype(np.float32))) for p, a in images.items()},
            f"case-{index:02d}",
        )
        truth = Annotation(volume, None, (LesionAnnotation(1, said, dict.fromkeys(PHASES, level)),))
        save_case(folder / study.case_id, study, truth)
    return Cohort.open(folder)
