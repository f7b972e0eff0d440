"""nnU-Net's raw layout as others write it: phases and labels by their names, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from liverleaf.ingest.collections import cases_of
from liverleaf.ingest.collections.nnunet import nnunet
from liverleaf.study import InputError, Modality, Phase, Study
from liverleaf.terminology import LesionType, Organ

TWO = (Phase.ARTERIAL, Phase.PORTAL)


def write_raw(folder: Path, dataset: dict, channels: int = 1) -> Path:
    """A dataset of one case as others write it."""
    array = np.zeros((8, 9, 5), np.int16)
    array[2:6, 2:6, 1:4] = 1
    for number in range(channels):
        path = folder / f"imagesTr/liver_7_{number:04d}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array * 100 - 1000, np.diag([2.0, 2, 3, 1])), path)
    array[3, 3, 2] = 2
    (folder / "labelsTr").mkdir()
    nib.save(
        nib.Nifti1Image(array.astype(np.uint8), np.diag([2.0, 2, 3, 1])),
        folder / "labelsTr/liver_7.nii.gz",
    )
    (folder / "dataset.json").write_text(json.dumps(dataset))
    return folder


PLAIN = {"background": 0, "liver": 1, "tumor": 2}
CHANNELS = {
    "phases by name": (
        {"channel_names": {"0": "arterial", "1": "portal venous"}, "labels": PLAIN},
        TWO,
    ),
    "regions": (
        {"channel_names": {"0": "PVP"}, "labels": {"background": 0, "liver": [1, 2], "HCC": 2}},
        TWO[1:],
    ),
    "one channel of unknown phase": ({"channel_names": {"0": "CT"}, "labels": PLAIN}, TWO[1:]),
    "version 1": (
        {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver", "2": "tumor"}},
        TWO[1:],
    ),
}


@pytest.mark.parametrize(("dataset", "phases"), CHANNELS.values(), ids=CHANNELS)
def test_datasets_of_others(tmp_path: Path, dataset: dict, phases: tuple[Phase, ...]) -> None:
    write_raw(tmp_path / "Dataset003_Liver", dataset, len(phases))
    (case,) = cases_of("nnunet", tmp_path)
    read = case.read()
    assert tuple(read.study.phases) == phases
    assert read.study.modality is Modality.CT
    assert read.truth is not None
    assert read.truth.organs is not None
    assert (read.truth.lesions.array > 0).sum() == 1
    assert (read.truth.organs.array == Organ.LIVER).sum() == 48
    guessed = "CT" in str(dataset)
    assert any("taken for portal venous" in note for note in read.study.warnings) == guessed


def test_channels_that_are_no_phase_are_warned_of(tmp_path: Path) -> None:
    write_raw(
        tmp_path / "Dataset003_Liver",
        {"channel_names": {"0": "portal", "1": "ADC"}, "labels": PLAIN},
        2,
    )
    (case,) = cases_of("nnunet", tmp_path)
    assert "channels that tell no phase were left out: ADC" in case.read().study.warnings


BAD = {
    "do not tell phases": {"channel_names": {"0": "T2", "1": "ADC"}, "labels": PLAIN},
    "both called portal": {"channel_names": {"0": "portal", "1": "PVP"}, "labels": PLAIN},
    "neither a liver nor a lesion": {
        "channel_names": {"0": "portal"},
        "labels": {"background": 0, "spleen": 1},
    },
    "cannot be read; convert": {
        "channel_names": {"0": "portal"},
        "labels": PLAIN,
        "file_ending": ".png",
    },
    "labels: Field required": {"channel_names": {"0": "portal"}},
}


@pytest.mark.parametrize(("message", "dataset"), BAD.items(), ids=BAD)
def test_datasets_that_say_too_little(tmp_path: Path, message: str, dataset: dict) -> None:
    write_raw(tmp_path / "Dataset003_Liver", dataset)
    with pytest.raises(InputError, match=message) as raised:
        list(cases_of("nnunet", tmp_path))
    assert "\n" not in str(raised.value)


def test_what_is_no_dataset_and_a_missing_label_map(tmp_path: Path) -> None:
    assert list(cases_of("nnunet", tmp_path)) == []
    write_raw(tmp_path / "Dataset003_Liver", CHANNELS["regions"][0])
    (tmp_path / "Dataset003_Liver/labelsTr/liver_7.nii.gz").unlink()
    (case,) = cases_of("nnunet", tmp_path)
    assert case.refused.startswith("it has no label map")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: np.where(a == 2, 77, a), "holds 77, which dataset.json does not list"),
        (lambda a: a * np.float32(0.5), "is no label map: it holds 0.5"),
        (lambda a: -a.astype(np.int16), "is no label map: it holds -1"),
    ],
    ids=["not listed", "halves", "negative"],
)
def test_values_that_are_not_those_of_the_dataset_are_refused(
    tmp_path: Path, change: Callable, message: str
) -> None:
    write_raw(tmp_path / "Dataset003_Liver", CHANNELS["regions"][0])
    file = tmp_path / "Dataset003_Liver/labelsTr/liver_7.nii.gz"
    image = nib.load(file)
    nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj)), image.affine), file)
    (case,) = cases_of("nnunet", tmp_path)
    with pytest.raises(InputError, match=message) as raised:
        case.read()
    assert "\n" not in str(raised.value)


def test_labels_in_another_order_of_axes_lie_where_they_were_drawn(tmp_path: Path) -> None:
    write_raw(tmp_path / "Dataset003_Liver", CHANNELS["regions"][0])
    (case,) = cases_of("nnunet", tmp_path)
    known = case.read().truth
    file = tmp_path / "Dataset003_Liver/labelsTr/liver_7.nii.gz"
    image = nib.load(file)
    flipped = image.affine @ np.array([[-1, 0, 0, 7], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    turned = nib.Nifti1Image(
        np.asarray(image.dataobj)[::-1].transpose(2, 0, 1), flipped[:, [2, 0, 1, 3]]
    )
    turned.set_qform(turned.affine @ np.diag([1, 1, -1, 1.0]), code=1)
    turned.set_sform(turned.affine, code=2)
    nib.save(turned, file)
    again = case.read()
    assert known is not None
    assert again.truth is not None
    np.testing.assert_array_equal(again.truth.lesions.array, known.lesions.array)
    assert any("two places" in warning for warning in again.study.warnings)


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


@pytest.mark.parametrize(
    ("labels", "kind", "said"),
    [
        ({"liver": 1, "HCC": 2}, LesionType.HCC, ()),
        ({"liver": [1, 2], "lesion": 2, "liver_cyst": [2]}, LesionType.CYST, ()),
        ({"liver": 1, "tumour": 2}, None, ("does not tell the type of its lesions",)),
        (
            {"liver": 1, "abscess": 2, "spleen": 3, "kidney tumour": 4},
            None,
            (
                "lesions of a class that names no type of ours have none: abscess",
                "neither the liver nor a lesion were left out: spleen, kidney tumour",
                "does not tell the type of its lesions",
            ),
        ),
        (
            {"liver": 1, "hcc": 2, "fnh": [2]},
            None,
            ("a label that is of two types have none: 2", "does not tell the type"),
        ),
    ],
)
def test_classes_that_name_a_type_give_lesions_of_it(
    write, tumour: NDArray, labels: dict, kind: LesionType | None, said: tuple[str, ...]
) -> None:
    (case,) = nnunet(write(labels={"background": 0, **labels}, channel_names={"0": "portal"}))
    read = case.read()
    assert read.truth is not None
    np.testing.assert_array_equal(read.truth.lesions.array > 0, tumour > 0)
    types = [lesion.type for lesion in read.truth.lesion_list]
    assert types == ([] if kind is None else [kind, kind])
    warnings = of_labels(read.study)
    assert len(warnings) == len(said)
    assert all(end in warning for end, warning in zip(said, warnings, strict=True))


def test_touching_lesions_of_two_types_stay_two(write, nifti, liver: NDArray) -> None:
    root = write(
        labels={"background": 0, "liver": 1, "haemangioma": 2, "met": 3, "lesion": 4},
        channel_names={"0": "portal"},
    )
    labels = liver.copy()
    labels[2:4, 4:6, 4:6], labels[2:4, 4:6, 6:8], labels[4:6, 9, 9] = 2, 3, 4
    nifti(root / "Dataset007_Liver/labelsTr/a.nii.gz", labels)
    (case,) = nnunet(root)
    read = case.read()
    assert read.truth is not None
    found = {
        lesion.type: int((read.truth.lesions.array == lesion.label).sum())
        for lesion in read.truth.lesion_list
    }
    assert found == {LesionType.HAEMANGIOMA: 8, LesionType.METASTASIS: 8, None: 2}
    assert of_labels(read.study) == ["the collection does not tell the type of 1 of its lesions"]


def of_labels(study: Study) -> list[str]:
    """The warnings but that of the modality, which these datasets do not tell."""
    return [warning for warning in study.warnings if "modality" not in warning]
