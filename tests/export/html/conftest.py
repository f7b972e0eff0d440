"""A small study with lesions on a lattice, on any grid, for the report's tests."""

from collections.abc import Callable

import highdicom as hd
import numpy as np
import pytest

from liverleaf.findings import Findings, Provenance
from liverleaf.measure.findings import measure
from liverleaf.prediction import LesionPrediction, Prediction
from liverleaf.segmentation import Segmentation
from liverleaf.study import Alignment, Modality, Phase, PhaseImage, Study
from liverleaf.terminology import LesionType, Organ

LIVER_CURVE = {
    Phase.PRE: 55.0,
    Phase.ARTERIAL: 75.0,
    Phase.PORTAL: 115.0,
    Phase.DELAYED: 95.0,
    Phase.HEPATOBILIARY: 150.0,
}
LESION_CURVE = {
    Phase.PRE: 40.0,
    Phase.ARTERIAL: 130.0,
    Phase.PORTAL: 95.0,
    Phase.DELAYED: 75.0,
    Phase.HEPATOBILIARY: 60.0,
}
TIMES_S = {
    Phase.PRE: None,
    Phase.ARTERIAL: 30.0,
    Phase.PORTAL: 70.0,
    Phase.DELAYED: 180.0,
    Phase.HEPATOBILIARY: 1200.0,
}
ALL_FOUR = (Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED)
SHAPE = (20, 48, 44)

Case = tuple[Study, Segmentation, Findings]


def axial_affine(spacing_mm: tuple[float, float, float] = (5.0, 3.0, 4.0)) -> np.ndarray:
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = spacing_mm
    affine[:, 3] = (-80.0, -70.0, 10.0, 1.0)
    return affine


def _labels(count: int) -> np.ndarray:
    """Lesions of 2 x 3 x 3 voxels on the patient's right, from 1; the first is of 3 x 5 x 5."""
    labels = np.zeros(SHAPE, np.uint16)
    places = [(z, y, x) for z in (5, 9, 13) for y in (12, 18, 24, 30) for x in (6, 12, 18)]
    for label, (z, y, x) in enumerate(places[:count], start=1):
        labels[z : z + 2, y : y + 3, x : x + 3] = label
    if count:
        labels[5:8, 12:17, 6:11] = 1
    return labels


@pytest.fixture
def make_case() -> Callable[..., Case]:
    """Build a study, a segmentation and findings; `volume` puts an array on a grid."""

    def make(
        lesions: int = 2,
        *,
        phases: tuple[Phase, ...] = ALL_FOUR,
        modality: Modality = Modality.CT,
        volume: Callable[[np.ndarray], hd.Volume] = lambda array: hd.Volume(
            array, axial_affine(), "PATIENT"
        ),
        case_id: str = "case-7",
        warning: str = "The study is doubtful in a way.",
        agent: str | None = None,
    ) -> Case:
        noise = np.random.default_rng(3).normal(0, 4, SHAPE)
        labels, liver = _labels(lesions), np.zeros(SHAPE, bool)
        liver[3:17, 8:38, 3:26] = True
        images = {}
        for phase in phases:
            values = (
                np.where(labels > 0, LESION_CURVE[phase], np.where(liver, LIVER_CURVE[phase], 20.0))
                + noise
            )
            alignment = (
                None
                if phase is Phase.PORTAL
                else Alignment("rigid", 0.5, 0.8, 2.0, 0.0, trusted=phase is not Phase.DELAYED)
            )
            images[phase] = PhaseImage(
                volume(values.astype(np.float32)),
                TIMES_S[phase],
                0.9,
                ("aorta & veins",),
                alignment=alignment,
            )
        study = Study(modality, images, case_id=case_id, agent=agent, warnings=(warning,))
        types = dict.fromkeys(LesionType, 0.05) | {LesionType.HCC: 0.65}
        predictions = tuple(
            LesionPrediction(
                label,
                0.8,
                types,
                (LesionType.HCC, LesionType.FNH),
                {phase: LESION_CURVE[phase] + 5 for phase in phases},
            )
            for label in range(1, lesions + 1)
        )
        segmentation = Segmentation(volume(labels), {Organ.LIVER: volume(liver)}, "tiny-net")
        prediction = Prediction(
            "tiny-net", segmentation, predictions, types, 0.7, warnings=("The model is doubtful.",)
        )
        provenance = Provenance(
            versions={"liverleaf": "0.1.0"},
            commit="abc123",
            weights_sha256="f" * 64,
            seconds={"network": 1.5},
        )
        return study, segmentation, measure(study, segmentation, prediction, provenance=provenance)

    return make
