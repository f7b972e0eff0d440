"""Raw datasets of nnU-Net: names of channels tell phases, names of labels liver and lesions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from liverleaf.ingest.collections.nnunet import nnunet
from liverleaf.study import InputError, Modality, Phase
from liverleaf.terminology import Organ


@pytest.fixture
def write(tmp_path: Path, nifti, image: NDArray, liver: NDArray, tumour: NDArray) -> Any:
    """Writes a dataset of one case with channels 0 to 2 and labels 1 and 2."""

    def make(**dataset: Any) -> Path:
        folder = tmp_path / "Dataset007_Liver"
        for channel in range(3):
            nifti(folder / f"imagesTr/a_{channel:04d}.nii.gz", image + 100 * channel)
        nifti(folder / "labelsTr/a.nii.gz", liver + tumour)
        settings = {
            "channel_names": {"0": "arterial", "1": "PVP", "2": "T2"},
            "labels": {"background": 0, "liver": 1, "tumour": 2},
        }
        (folder / "dataset.json").write_text(json.dumps(settings | dataset))
        return tmp_path

    return make


def test_channels_become_phases_and_labels_organs_and_lesions(
    write, image: NDArray, liver: NDArray, tumour: NDArray
) -> None:
    (case,) = nnunet(write())
    assert (case.case_id, case.refused) == ("case-Dataset007_Liver-a", "")
    annotated = case.read()
    assert list(annotated.study.phases) == [Phase.ARTERIAL, Phase.PORTAL]
    np.testing.assert_array_equal(
        annotated.study.phases[Phase.PORTAL].volume.array, image.astype(np.float32) + 100
    )
    assert any("tell no phase were left out: T2" in one for one in annotated.study.warnings)
    assert annotated.truth is not None
    assert annotated.truth.organs is not None
    np.testing.assert_array_equal(annotated.truth.lesions.array > 0, tumour > 0)
    np.testing.assert_array_equal(annotated.truth.organs.array == Organ.LIVER, liver > 0)


def test_labels_of_version_one_and_regions_name_the_same(write, tumour: NDArray) -> None:
    for labels in (
        {"0": "background", "1": "liver", "2": "cancer"},
        {"background": 0, "whole liver": [1, 2], "lesion": 2},
    ):
        (case,) = nnunet(write(labels=labels))
        truth = case.read().truth
        assert truth is not None
        np.testing.assert_array_equal(truth.lesions.array > 0, tumour > 0)


@pytest.mark.parametrize(
    ("names", "modality"), [({"0": "CT"}, Modality.CT), ({"0": "T1"}, Modality.MR)]
)
def test_a_lone_channel_is_taken_for_portal_venous(write, names, modality) -> None:
    (case,) = nnunet(write(channel_names=names))
    study = case.read().study
    assert list(study.phases) == [Phase.PORTAL]
    assert (study.modality, study.phases[Phase.PORTAL].confidence) == (modality, 0.5)


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        ({"file_ending": ".png"}, "cannot be read; convert"),
        ({"channel_names": {"0": "art", "1": "arterial"}}, "are both called arterial"),
        ({"channel_names": {"0": "a", "1": "b"}}, "do not tell phases"),
        ({"labels": {"background": 0, "spleen": 1}}, "neither a liver nor a lesion"),
        ({"labels": 3}, "labels"),
    ],
)
def test_a_dataset_that_tells_too_little_is_refused(write, dataset, reason) -> None:
    with pytest.raises(InputError, match=reason):
        list(nnunet(write(**dataset)))


def test_a_case_without_labels_is_refused(write) -> None:
    root = write()
    (root / "Dataset007_Liver/labelsTr/a.nii.gz").unlink()
    (case,) = nnunet(root)
    assert "has no label map" in case.refused
