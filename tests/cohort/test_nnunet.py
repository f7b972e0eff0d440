"""nnU-Net's raw layout: what is written is what nnU-Net asks for, and reads back voxel by voxel."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from typer.testing import CliRunner

from liverleaf.cli.app import app
from liverleaf.cohort.index import Cohort
from liverleaf.cohort.nnunet import export
from liverleaf.ingest.collections import cases_of
from liverleaf.storage.case_folder import load_case, save_case
from liverleaf.study import Annotation, InputError, Modality, Phase, PhaseImage
from liverleaf.terminology import LesionType, Organ

OBLIQUE = np.array([[0, -0.4, 3.9, -96.5], [0, 3.9, 0.4, -90.25], [5.0, 0, 0, 12], [0, 0, 0, 1]])
OBLIQUE[:3, 1] *= 4 / np.linalg.norm(OBLIQUE[:3, 1])
OBLIQUE[:3, 2] *= 4 / np.linalg.norm(OBLIQUE[:3, 2])
TWO = (Phase.ARTERIAL, Phase.PORTAL)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("modality", Modality)
def test_round_trip(
    tmp_path: Path, tiny_cohort: Callable[..., Cohort], modality: Modality, regions: bool
) -> None:
    cohort = tiny_cohort(tmp_path / "cohort", 2, modality=modality, phases=TWO, affine=OBLIQUE)
    done = export(cohort, tmp_path / "Dataset501_Liver", regions=regions)
    assert (done.phases, done.training, done.test) == (TWO, 2, 0)
    found = list(cases_of("nnunet", tmp_path / "Dataset501_Liver"))
    assert len(found) == 2
    for case, directory in zip(found, cohort.directories, strict=True):
        study, truth = load_case(directory)
        again = case.read()
        assert truth is not None
        assert truth.organs is not None
        assert again.truth is not None
        assert again.truth.organs is not None
        assert case.subject_id.endswith(study.subject_id)
        assert again.study.modality is modality
        assert again.study.warnings == ("the collection does not tell the type of its lesions",)
        for phase in TWO:
            np.testing.assert_array_equal(
                again.study.phases[phase].volume.array, study.phases[phase].volume.array
            )
            np.testing.assert_allclose(
                again.study.phases[phase].volume.affine, study.grid.affine, atol=1e-4
            )
        np.testing.assert_array_equal(again.truth.lesions.array > 0, truth.lesions.array > 0)
        np.testing.assert_array_equal(
            again.truth.organs.array == Organ.LIVER, truth.organs.array == Organ.LIVER
        )
        np.testing.assert_allclose(again.truth.lesions.affine, study.grid.affine, atol=1e-4)


def test_what_nnunet_asks_for(tmp_path: Path, tiny_cohort: Callable[..., Cohort]) -> None:
    cohort = tiny_cohort(tmp_path / "cohort", 7, phases=TWO)
    done = export(cohort, out := tmp_path / "Dataset501_Liver", regions=True)
    assert done.warnings == ()
    dataset = json.loads((out / "dataset.json").read_text())
    # the name that nnU-Net normalises as CT
    assert dataset["channel_names"] == {"0": "CT", "1": "CT"}
    assert dataset["labels"] == {"background": 0, "liver": [1, 2], "lesion": [2]}
    assert dataset["regions_class_order"] == [1, 2]
    assert (dataset["numTraining"], dataset["file_ending"]) == (7, ".nii.gz")
    assert sorted(path.name for path in (out / "labelsTr").iterdir()) == [
        f"case-{i:02d}.nii.gz" for i in range(7)
    ]
    assert sorted(path.name for path in (out / "imagesTr").iterdir()) == [
        f"case-{i:02d}_{c:04d}.nii.gz" for i in range(7) for c in (0, 1)
    ]
    images = [
        sitk.ReadImage(str(out / name))
        for name in ("imagesTr/case-00_0000.nii.gz", "imagesTr/case-00_0001.nii.gz")
    ]
    labels = sitk.ReadImage(str(out / "labelsTr/case-00.nii.gz"))
    for image in images:
        assert (image.GetSize(), image.GetSpacing()) == (labels.GetSize(), labels.GetSpacing())
        assert (image.GetOrigin(), image.GetDirection()) == (
            labels.GetOrigin(),
            labels.GetDirection(),
        )
    assert set(np.unique(sitk.GetArrayFromImage(labels))) == {0, 1, 2}


@pytest.mark.parametrize("name", ["liverleaf", "hepatica"])
def test_what_version_0_1_wrote_is_read_too(
    tmp_path: Path, tiny_cohort: Callable[..., Cohort], name: str
) -> None:
    cohort = tiny_cohort(tmp_path / "cohort", 2, phases=TWO)
    export(cohort, out := tmp_path / "Dataset501_Liver")
    dataset = json.loads((out / "dataset.json").read_text())
    dataset[name] = dataset.pop("liverleaf")  # version 0.1 wrote it as hepatica
    (out / "dataset.json").write_text(json.dumps(dataset))
    case = next(iter(cases_of("nnunet", out)))
    assert tuple(case.read().study.phases) == TWO
    assert case.subject_id.endswith(cohort.records[0].subject_id)


def test_splits_keep_subjects_together(tmp_path: Path, tiny_cohort: Callable[..., Cohort]) -> None:
    cohort = tiny_cohort(tmp_path / "cohort", 7, phases=TWO)
    export(cohort, tmp_path / "Dataset501_Liver", seed=3)
    splits = json.loads((tmp_path / "Dataset501_Liver/splits_final.json").read_text())
    assert len(splits) == 5
    subject = {record.case_id: record.subject_id for record in cohort.records}
    assert sorted(name for split in splits for name in split["val"]) == sorted(subject)
    for split in splits:
        assert not {subject[name] for name in split["train"]} & {
            subject[name] for name in split["val"]
        }


def test_missing_phases_annotations_and_subjects_are_warned_of(
    tmp_path: Path, tiny_case: Callable
) -> None:
    for seed, phases in enumerate([TWO, TWO, (Phase.PORTAL,)]):
        study, truth = tiny_case(seed, phases=phases)
        save_case(tmp_path / f"cohort/case-{seed:02d}", study, None if seed == 1 else truth)
    cohort = Cohort.open(tmp_path / "cohort")
    done = export(cohort, tmp_path / "Dataset001_A")
    assert done.phases == (Phase.PORTAL,)
    assert any("arterial phase is in 2 of 3 cases only" in note for note in done.warnings)
    done = export(cohort, tmp_path / "Dataset001_B", phases=TWO)
    assert (done.training, done.test) == (1, 1)
    assert any(
        "1 of 3 cases lack one of arterial, portal venous and were left out: case-02" in note
        for note in done.warnings
    )
    assert any(
        "1 of 2 cases lack an outlined liver or its lesions" in note for note in done.warnings
    )
    assert any(
        "5 folds need 5 subjects with an annotation, there are 1" in note for note in done.warnings
    )
    assert not (tmp_path / "Dataset001_B/splits_final.json").exists()
    (unlabelled,) = (
        case for case in cases_of("nnunet", tmp_path / "Dataset001_B") if "case-01" in case.case_id
    )
    assert unlabelled.refused.startswith("it has no label map")
    with pytest.raises(InputError, match="no case has all of"):
        export(cohort, tmp_path / "Dataset001_C", phases=[Phase.HEPATOBILIARY])


def test_phases_on_other_grids_are_brought_onto_the_reference(
    tmp_path: Path, tiny_case: Callable
) -> None:
    study, truth = tiny_case(0, phases=TWO)
    moved = study.phases[Phase.ARTERIAL].volume
    cropped = hd.Volume(
        moved.array[:, 2:],
        moved.affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 2], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
        "PATIENT",
    )
    save_case(
        tmp_path / "cohort/one",
        replace(study, phases={**study.phases, Phase.ARTERIAL: PhaseImage(cropped)}),
        truth,
    )
    export(Cohort.open(tmp_path / "cohort"), out := tmp_path / "Dataset501_Liver")
    first, second = (nib.load(out / f"imagesTr/case-00_{channel:04d}.nii.gz") for channel in (0, 1))
    assert first.shape == second.shape
    np.testing.assert_array_equal(first.affine, second.affine)


def test_what_cannot_be_exported(tmp_path: Path, tiny_case: Callable) -> None:
    for seed, modality in enumerate(Modality):
        save_case(tmp_path / f"cohort/case-{seed}", *tiny_case(seed, modality=modality, phases=TWO))
    cohort = Cohort.open(tmp_path / "cohort")
    with pytest.raises(InputError, match="CT and MR"):
        export(cohort, tmp_path / "Dataset501_Liver")
    with pytest.raises(InputError, match="is no name of an nnU-Net dataset"):
        export(cohort, tmp_path / "liver")


def test_the_command(tmp_path: Path, tiny_cohort: Callable[..., Cohort]) -> None:
    tiny_cohort(tmp_path / "cohort", 2, phases=TWO)
    out = tmp_path / "Dataset501_Liver"
    done = CliRunner().invoke(
        app, ["export", str(tmp_path / "cohort"), "--out", str(out), "--phase", "portal"]
    )
    assert done.exit_code == 0, done.output
    assert done.output.startswith("2 cases to train on and 0 without annotation")
    assert "warning: 5 folds need 5 subjects with an annotation, there are 1" in done.output


def test_lesions_of_another_organ_are_no_labels(
    tmp_path: Path, tiny_cohort: Callable[..., Cohort]
) -> None:
    cohort = tiny_cohort(tmp_path / "cohort", 2, phases=TWO)
    study, truth = cohort[0]
    assert truth is not None
    assert truth.organs is not None
    lungs = truth.organs.with_array(
        np.where(truth.organs.array == Organ.LIVER, Organ.LUNG, truth.organs.array).astype(np.uint8)
    )
    save_case(tmp_path / "chest/case-00", study, replace(truth, organs=lungs))
    done = export(Cohort.open(tmp_path / "chest"), tmp_path / "Dataset502_Chest")
    assert (done.training, done.test) == (0, 1)
    assert any("1 of 1 cases lack an outlined liver" in warning for warning in done.warnings)


@pytest.mark.parametrize("regions", [False, True])
def test_types_are_classes_on_request_and_come_back(
    tmp_path: Path, tiny_cohort: Callable[..., Cohort], regions: bool
) -> None:
    types = [LesionType.OTHER, LesionType.HCC]
    cohort = tiny_cohort(tmp_path / "cohort", 2, phases=TWO, types=types)
    done = export(cohort, out := tmp_path / "Dataset501_Liver", types=True, regions=regions)
    assert done.training == 2
    dataset = json.loads((out / "dataset.json").read_text())
    plain = {"background": 0, "liver": 1, "hcc": 2, "other_lesion": 3}
    of_regions = {"background": 0, "liver": [1, 2, 3], "hcc": [2], "other_lesion": [3]}
    assert dataset["labels"] == (of_regions if regions else plain)
    assert dataset.get("regions_class_order") == ([1, 2, 3] if regions else None)
    for case, (_, truth) in zip(cases_of("nnunet", out), cohort, strict=True):
        again = case.read()
        assert truth is not None and again.truth is not None
        assert again.study.warnings == ()
        assert type_map(again.truth) == type_map(truth)


def type_map(truth: Annotation) -> dict[LesionType | None, bytes]:
    """The voxels of each type."""
    found: dict[LesionType | None, bytes] = {}
    for kind in {lesion.type for lesion in truth.lesion_list}:
        labels = [lesion.label for lesion in truth.lesion_list if lesion.type is kind]
        found[kind] = np.isin(truth.lesions.array, labels).tobytes()
    return found


def test_lesions_of_no_type_have_a_class_where_there_are_any(
    tmp_path: Path, tiny_cohort: Callable[..., Cohort]
) -> None:
    types = [LesionType.CYST, LesionType.FNH]
    cohort = tiny_cohort(tmp_path / "cohort", 2, phases=TWO, types=types)
    study, truth = cohort[0]
    assert truth is not None
    first, second = truth.lesion_list
    mixed = replace(truth, lesion_list=(first, replace(second, type=None)))
    save_case(tmp_path / "mixed/a", study, mixed)
    save_case(tmp_path / "mixed/b", replace(study, case_id="b"), replace(truth, lesion_list=()))
    export(Cohort.open(tmp_path / "mixed"), out := tmp_path / "Dataset501_Liver", types=True)
    labels = json.loads((out / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "liver": 1, "cyst": 2, "lesion": 3}
    other, one = (case.read() for case in cases_of("nnunet", out))
    assert one.truth is not None and other.truth is not None
    assert type_map(one.truth) == type_map(mixed)
    assert "the collection does not tell the type of 1 of its lesions" in one.study.warnings
    assert other.truth.lesion_list == ()
    save_case(tmp_path / "again/a", one.study, one.truth)
    assert type_map(load_case(tmp_path / "again/a")[1] or mixed) == type_map(mixed)


def test_the_command_writes_types(tmp_path: Path, tiny_cohort: Callable[..., Cohort]) -> None:
    tiny_cohort(tmp_path / "cohort", 2, phases=TWO)
    out = tmp_path / "Dataset501_Liver"
    done = CliRunner().invoke(
        app, ["export", str(tmp_path / "cohort"), "--out", str(out), "--labels", "types"]
    )
    assert done.exit_code == 0, done.output
    labels = json.loads((out / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "liver": 1, "hcc": 2, "icc": 3}
