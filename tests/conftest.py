"""Studies made by hand (a liver, and bright or dark balls in it), and tiny DICOM series."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from liverleaf.cohort.index import Cohort
from liverleaf.storage.case_folder import save_case
from liverleaf.study import Annotation, LesionAnnotation, Modality, Phase, PhaseImage, Study
from liverleaf.terminology import LesionType, Organ

if TYPE_CHECKING:  # most tests do without torch
    from torch import Tensor, nn

    from liverleaf.data.batch import Regions
    from liverleaf.models.mti_net.network import Features

AXIAL_5_4_4 = np.array([[0, 0, 4, -96], [0, 4, 0, -96], [5, 0, 0, 0], [0, 0, 0, 1]], float)
"""Voxels of 5 x 4 x 4 mm; z runs to the head, y to the back, x to the left."""
LIVER = {
    Modality.CT: {
        Phase.PRE: 55.0,
        Phase.ARTERIAL: 70.0,
        Phase.PORTAL: 110.0,
        Phase.DELAYED: 95.0,
        Phase.HEPATOBILIARY: 95.0,
    },
    Modality.MR: {
        Phase.PRE: 200.0,
        Phase.ARTERIAL: 240.0,
        Phase.PORTAL: 320.0,
        Phase.DELAYED: 300.0,
        Phase.HEPATOBILIARY: 400.0,
    },
}
FOUR = (Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED)


def make_case(
    seed: int = 0,
    *,
    modality: Modality = Modality.CT,
    phases: Sequence[Phase] = FOUR,
    types: Sequence[LesionType] | None = None,
    affine: np.ndarray = AXIAL_5_4_4,
    noise: float = 2.0,
) -> tuple[Study, Annotation]:
    """A study and its truth.

    The body is an ellipse, the liver an ellipsoid of 350 ml to the right of its middle. Each lesion
    is a ball of 9 mm, and brighter than the liver by 1.5 units of contrast in every phase, except
    cysts, which are darker by as much. The first lesion lies in front, the second behind; without
    `types` there is one, whose type is `seed` modulo 8.
    """
    rng = np.random.default_rng(seed)
    z, y, x = np.indices((6, 48, 48)) * np.array([5.0, 4.0, 4.0])[:, None, None, None]
    organs = np.where(
        ((y - 94) / 80) ** 2 + ((x - 94) / 90) ** 2 < 1, Organ.BODY, Organ.BACKGROUND
    ).astype(np.uint8)
    organs[((z - 12) / 22) ** 2 + ((y - 86) / 55) ** 2 + ((x - 70) / 52) ** 2 < 1] = Organ.LIVER
    lesions = np.zeros(organs.shape, np.uint16)
    chosen = [LesionType(seed % 8)] if types is None else list(types)
    liver = LIVER[modality]
    images = {
        p: np.select(
            [organs == Organ.LIVER, organs == Organ.BODY], [liver[p], 0.3 * liver[p]], -1000.0
        )
        for p in phases
    }
    truths = []
    for label, kind in enumerate(chosen, start=1):
        inside = (z - 10) ** 2 + (y - (64 if label == 1 else 112)) ** 2 + (
            x - 76 + 2 * (seed % 3)
        ) ** 2 < 9.5**2
        lesions[inside] = label
        sign = -1 if kind is LesionType.CYST else 1
        curve = {
            p: liver[p] + sign * 1.5 * (50.0 if modality is Modality.CT else liver[p] / 2)
            for p in phases
        }
        for phase in phases:
            images[phase][inside] = curve[phase]
        truths.append(LesionAnnotation(label, kind, curve))
    if modality is Modality.MR:
        images = {p: np.maximum(image, 0) for p, image in images.items()}
    frame = "1.2.3.4"
    volumes = {
        p: hd.Volume(
            np.rint(i + noise * rng.standard_normal(i.shape)).astype(np.float32),
            affine,
            "PATIENT",
            frame,
        )
        for p, i in images.items()
    }
    study = Study(
        modality,
        {p: PhaseImage(volume) for p, volume in volumes.items()},
        case_id=f"case-{seed:02d}",
    )
    grid = study.grid
    return study, Annotation(
        grid.with_array(lesions),
        grid.with_array(organs),
        tuple(truths),
        {p: liver[p] for p in phases},
    )


def make_cohort(directory: Path, cases: int, *, first: int = 0, **settings: object) -> Cohort:
    """Cases `first`, `first` + 1, ... of `make_case`; the last two belong to one subject."""
    for seed in range(first, first + cases):
        study, truth = make_case(seed, **settings)  # type: ignore[arg-type]
        save_case(
            directory / f"case-{seed:02d}",
            dataclasses.replace(study, subject_id=f"subject-{min(seed, first + cases - 2)}"),
            truth,
        )
    return Cohort.open(directory)


@pytest.fixture(scope="session")
def tiny_case() -> Callable[..., tuple[Study, Annotation]]:
    """`make_case`."""
    return make_case


@pytest.fixture(scope="session")
def tiny_cohort() -> Callable[..., Cohort]:
    """`make_cohort`."""
    return make_cohort


@pytest.fixture(scope="session")
def ct_cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Six CT cases of five subjects; do not write into it."""
    return make_cohort(tmp_path_factory.mktemp("cohorts") / "ct", 6)


@pytest.fixture(scope="session")
def mr_cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Six MR cases of five subjects with a haemangioma or an HCC each; do not write into it."""
    directory = tmp_path_factory.mktemp("cohorts") / "mr"
    for seed in range(6):
        study, truth = make_case(
            seed,
            modality=Modality.MR,
            types=[LesionType.HCC if seed % 2 else LesionType.HAEMANGIOMA],
        )
        save_case(
            directory / f"case-{seed:02d}",
            dataclasses.replace(study, subject_id=f"subject-{min(seed, 4)}"),
            truth,
        )
    return Cohort.open(directory)


@pytest.fixture(scope="session")
def seer_network() -> Callable[..., nn.Module]:
    """Makes a network that sees by a rule; its types are [cyst, HCC].

    Its curves are z-scored by `mean` and `sd`.

    Liver is what is not darker than liver by 0.4 units of contrast, averaged over the phases,
    lesion what is brighter by 0.75; a lesion that is brighter than liver is an HCC; its curve is
    the mean over it.
    """
    import torch

    from liverleaf.models.mti_net.network import Features

    class Seer(torch.nn.Module):
        def __init__(self, mean: float = 0.0, sd: float = 1.0) -> None:
            super().__init__()
            self.mean, self.sd = mean, sd

        def features(self, images_BPYX: Tensor, present_BP: Tensor) -> Features:
            contrast_BYX = (images_BPYX * present_BP[..., None, None]).sum(1) / present_BP.sum(1)[
                :, None, None
            ]
            return Features(
                (images_BPYX[:, :, None],),
                torch.stack([contrast_BYX + 0.4, contrast_BYX - 0.75], dim=1) * 20,
            )

        def run_heads(
            self, features: Features, images_BPYX: Tensor, present_BP: Tensor, at: Regions
        ) -> tuple[Tensor, Tensor]:
            # every slice with its own features
            level = features.levels_BPCYX[0]
            assert torch.equal(level[:, :, 0][present_BP], images_BPYX[present_BP])
            lesion_LYX = at.weights_LRYX[:, :2].sum(1)
            curve_LP = (
                torch.einsum("lyx,lpyx->lp", lesion_LYX, images_BPYX[at.slice_L])
                / lesion_LYX.sum((1, 2))[:, None]
            )
            bright_L = (curve_LP * present_BP).sum(1)
            return (curve_LP - self.mean) / self.sd, torch.stack([-bright_L, bright_L], dim=1)

    return Seer


INSTANCE = count(100_000)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def ct_slice(
    pixels: NDArray[np.integer],
    position: Sequence[float],
    orientation: Sequence[float] = AXIAL,
    **elements: Any,
) -> Dataset:
    """One CT (or, by `Modality`, MR) slice; `elements` replace defaults, None removes one."""
    modality = elements.get("Modality", "CT")
    values: dict[str, Any] = {
        "SOPClassUID": MRImageStorage if modality == "MR" else CTImageStorage,
        "SOPInstanceUID": f"1.2.3.4.{next(INSTANCE)}",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "FrameOfReferenceUID": "1.2.3.5",
        "Modality": modality,
        "PatientName": "Mustermann^Erika",
        "PatientID": "4711",
        "StudyDate": "20240115",
        "AcquisitionDate": "20240115",
        "AcquisitionTime": "100000",
        "SeriesNumber": 2,
        "SeriesDescription": "portal venous",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "PixelSpacing": [0.8, 0.7],
        "SliceThickness": 5,
        "ImagePositionPatient": [round(float(value), 6) for value in position],
        "ImageOrientationPatient": [round(float(value), 9) for value in orientation],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1 if pixels.dtype == np.int16 else 0,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "PixelData": pixels.tobytes(),
    }
    dataset = Dataset()
    for keyword, value in (values | elements).items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID or "1.2.3.4.0"
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def ct_series(
    stored: NDArray[np.integer],
    *,
    origin: Sequence[float] = (-10.0, 20.0, -30.0),
    step_mm: float = 2.5,
    orientation: Sequence[float] = AXIAL,
    each: Callable[[int], Mapping[str, Any]] | None = None,
    **elements: Any,
) -> list[Dataset]:
    """Slices along the normal of `orientation`; `each` gives a slice elements of its own."""
    normal = np.cross(orientation[:3], orientation[3:])
    return [
        ct_slice(
            plane,
            np.asarray(origin) + index * step_mm * normal,
            orientation,
            **(elements | dict(each(index) if each else {})),
        )
        for index, plane in enumerate(stored)
    ]


def save_shuffled(datasets: Sequence[Dataset], folder: Path, seed: int = 0) -> Path:
    """File names and instance numbers that tell nothing about the order."""
    order = np.random.default_rng(seed).permutation(len(datasets))
    for name, index in enumerate(order):
        datasets[index].InstanceNumber = int(name) + 1
        save(datasets[index], folder / f"IM{name:04d}")
    return folder


class Make:
    """The functions above, for tests to call."""

    slice = staticmethod(ct_slice)
    series = staticmethod(ct_series)
    save = staticmethod(save)
    shuffled = staticmethod(save_shuffled)


@pytest.fixture
def make() -> type[Make]:
    return Make


@pytest.fixture
def stored() -> NDArray[np.uint16]:
    """Stored values of 6 slices of 8 x 7, all different."""
    return np.random.default_rng(1).permutation(6 * 8 * 7).reshape(6, 8, 7).astype(np.uint16) + 1000
