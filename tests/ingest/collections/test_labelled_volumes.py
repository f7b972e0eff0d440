"""LiTS, Task03 and ATLAS: pairs by number, liver with tumours, and no pair is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from liverleaf.ingest.collections import cases_of
from liverleaf.study import InputError, Modality, Phase
from liverleaf.terminology import LesionType, Organ

FILES = {
    "lits": ("Training Batch 1/volume-{}.nii", "Training Batch 1/segmentation-{}.nii"),
    "msd-task03": ("imagesTr/liver_{}.nii.gz", "labelsTr/liver_{}.nii.gz"),
    "atlas": (
        "atlas-train-dataset-1.0.1/train/imagesTr/im{}.nii.gz",
        "atlas-train-dataset-1.0.1/train/labelsTr/lb{}.nii.gz",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_an_image_and_its_map_of_labels(
    name: str, tmp_path: Path, nifti, image: NDArray, liver: NDArray, tumour: NDArray
) -> None:
    picture, labels = FILES[name]
    nifti(tmp_path / picture.format(7), image)
    nifti(tmp_path / labels.format(7), liver + tumour)
    (found,) = cases_of(name, tmp_path)
    annotated = found.read()
    study, truth = annotated.study, annotated.truth
    assert found.subject_id == ("atlas-7" if name == "atlas" else "lits-7")
    assert (study.modality, list(study.phases)) == (
        Modality.MR if name == "atlas" else Modality.CT,
        [Phase.PORTAL],
    )
    assert study.phases[Phase.PORTAL].confidence <= 0.5
    np.testing.assert_array_equal(study.grid.array, image)
    assert [int((truth.lesions.array == label).sum()) for label in (1, 2)] == [8, 12]
    np.testing.assert_array_equal(truth.organs.array == Organ.LIVER, liver > 0)
    assert [lesion.type for lesion in truth.lesion_list] == (
        [LesionType.HCC] * 2 if name == "atlas" else []
    )
    assert any("does not name the phase" in warning for warning in study.warnings)


def test_task03_as_nnunet_names_it(tmp_path: Path, nifti, image: NDArray, liver: NDArray) -> None:
    nifti(tmp_path / "imagesTr/liver_12_0000.nii.gz", image)
    nifti(tmp_path / "labelsTr/liver_12.nii.gz", liver)
    (found,) = cases_of("msd-task03", tmp_path)
    assert not found.read().truth.lesions.array.any()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["imagesTs/liver_1.nii.gz"], "test set"),
        (["labelsTr/liver_1.nii.gz"], "no image"),
        (
            ["imagesTr/liver_1.nii.gz", "copy/imagesTr/liver_1.nii.gz", "labelsTr/liver_1.nii.gz"],
            "2 images and 1 label maps",
        ),
        (["imagesTr/._liver_1.nii.gz"], None),
    ],
)
def test_what_has_no_pair_is_refused(
    files: list[str], reason: str | None, tmp_path: Path, nifti, image: NDArray
) -> None:
    for file in files:
        nifti(tmp_path / file, image)
    found = list(cases_of("msd-task03", tmp_path))
    assert [reason in case.refused for case in found] == ([] if reason is None else [True])


def test_a_map_with_other_labels_is_refused(
    tmp_path: Path, nifti, image: NDArray, liver: NDArray
) -> None:
    nifti(tmp_path / "volume-1.nii", image)
    nifti(tmp_path / "segmentation-1.nii", 3 * liver)
    with pytest.raises(InputError, match="holds 3 beside liver"):
        next(cases_of("lits", tmp_path)).read()
