"""NIfTI masks: names from the header, from dataset.json and from file names."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from liverleaf.ingest.masks.nifti import read_nifti_folder, read_nifti_masks
from liverleaf.study import InputError

LABELS = np.zeros((4, 5, 6), np.uint8)
LABELS[0, 0, 0], LABELS[1:3, 1:3, 1:3], LABELS[3, 4, 5] = 5, 2, 3


def save(path: Path, labels: np.ndarray = LABELS, *, names: dict[int, str] | None = None) -> Path:
    image = nib.Nifti1Image(labels, np.diag([2.0, 2, 3, 1]))
    if names:
        table = "".join(f'<Label Key="{k}"><![CDATA[{name}]]></Label>' for k, name in names.items())
        text = (
            f"<CaretExtension><VolumeInformation><LabelTable>{table}</LabelTable>"
            "</VolumeInformation></CaretExtension>"
        )
        image.header.extensions.append(nib.nifti1.Nifti1Extension(0, text.encode()))
    nib.save(image, path)
    return path


def test_a_map_without_names_is_one_outline_with_its_labels(tmp_path: Path) -> None:
    drawn = read_nifti_masks(save(tmp_path / "a.nii.gz"))
    (outline,) = drawn.outlines
    assert (outline.name, set(np.unique(outline.labels.array))) == ("", {0, 2, 3, 5})
    assert not drawn.classes


def test_the_header_of_totalsegmentator_names_labels(tmp_path: Path) -> None:
    path = save(tmp_path / "all.nii.gz", names={5: "liver", 2: "liver_lesions"})
    drawn = read_nifti_masks(path)
    assert [(o.name, o.number) for o in drawn.outlines] == [
        ("liver_lesions", 2),
        ("", 3),
        ("liver", 5),
    ]
    assert [int(o.labels.array.sum()) for o in drawn.outlines] == [8, 1, 1]
    assert drawn.classes


@pytest.mark.parametrize(
    "labels",
    [{"0": "background", "2": "Liver", "5": "Tumor"}, {"background": 0, "Liver": 2, "Tumor": 5}],
    ids=["version 1", "version 2"],
)
def test_dataset_json_names_labels(tmp_path: Path, labels: dict) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {**labels, "whole": [2, 5]}}))
    drawn = read_nifti_masks(save(tmp_path / "a.nii"))
    assert [outline.name for outline in drawn.outlines] == ["liver", "", "tumor"]


def test_a_dataset_json_without_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(InputError, match=r"dataset\.json beside a\.nii names no labels"):
        read_nifti_masks(save(tmp_path / "a.nii"))


def test_a_file_per_lesion_keeps_each_apart(tmp_path: Path) -> None:
    save(tmp_path / "lesion1.nii", (LABELS == 2).astype(np.uint8))
    save(tmp_path / "lesion2.nii", (LABELS == 3).astype(np.uint8))
    drawn = read_nifti_folder(tmp_path)
    assert [(o.name, o.number) for o in drawn.outlines] == [("lesion1", 1), ("lesion2", 2)]
    assert not drawn.classes


def test_files_on_two_grids_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.nii")
    save(tmp_path / "b.nii", LABELS[1:])
    with pytest.raises(InputError, match=r"b\.nii .* lies on another grid"):
        read_nifti_folder(tmp_path)
