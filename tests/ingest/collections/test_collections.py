"""A collection becomes a cohort that training can read, with refusals in one line."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from liverleaf.cli.app import app
from liverleaf.cohort.build import IngestSummary, build_cohort_from_collection
from liverleaf.cohort.index import Cohort
from liverleaf.ingest.collections import COLLECTIONS, cases_of
from liverleaf.study import InputError, Phase
from liverleaf.terminology import LesionType, Organ


@pytest.fixture
def lits(tmp_path: Path, nifti, image: NDArray, liver: NDArray, tumour: NDArray) -> Path:
    """Three scans: one good, one whose labels lie elsewhere, one damaged."""
    for number in (1, 2, 3):
        nifti(tmp_path / f"lits/volume-{number}.nii", image - 1000)
        nifti(tmp_path / f"lits/segmentation-{number}.nii", liver + tumour)
    nifti(
        tmp_path / "lits/segmentation-2.nii",
        liver + tumour,
        np.array([[-2.0, 0, 0, 500], [0, -2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]]),
    )
    (tmp_path / "lits/volume-3.nii").write_bytes(b"no image")
    return tmp_path / "lits"


def test_one_bad_case_stops_no_other_and_a_second_run_goes_on(
    lits: Path, tmp_path: Path, nifti, image: NDArray
) -> None:
    out = tmp_path / "cohort"
    done = build_cohort_from_collection("lits", lits, out)
    assert done == IngestSummary(3, 1, 0, done.refused)
    assert "lie outside the image" in done.refused["case-lits-2"]
    assert "cannot be read as NIfTI" in done.refused["case-lits-3"]
    nifti(lits / "volume-3.nii", image - 1000)
    again = build_cohort_from_collection("lits", lits, out)
    assert (again.read, again.kept, list(again.refused)) == (2, 1, ["case-lits-2"])
    cohort = Cohort.open(out)
    assert cohort.subjects == ("lits-1", "lits-3")
    study, truth = cohort[0]
    assert truth.lesions.array.max() == 2
    assert (truth.organs.array == Organ.LIVER).sum() == 600
    assert study.warnings[0] == "the collection does not name the phase: taken for portal venous"
    page = (out / "cohort.html").read_text(encoding="utf-8")
    assert "lie outside the image" in page


@pytest.mark.parametrize("name", ["lits", "lld-mmri"])
def test_cases_can_be_sent_to_other_processes(name: str, lits: Path) -> None:
    (lits / "Annotation.json").write_text('{"Annotation_info": {"MR1": []}}')
    for case in cases_of(name, lits):
        assert pickle.loads(pickle.dumps(case)).read.args == case.read.args


def test_phases_are_registered_and_curves_measured(
    lits: Path, tmp_path: Path, nifti, image: NDArray, liver: NDArray, tumour: NDArray
) -> None:
    for number, name in enumerate(("art", "pvp")):
        body = (
            np.full(image.shape, -1000)
            + 1050 * liver.astype(int)
            + 40 * (number + 1) * tumour.astype(int)
        )
        nifti(tmp_path / f"mct/volume/ICC/c1/{name}.nii.gz", body if number else body[:7])
    nifti(tmp_path / "mct/mask/ICC/c1/mask_pvp.nii.gz", tumour)
    nifti(tmp_path / "mct/mask/ICC/c1/liver_mask_pvp.nii.gz", liver)
    build_cohort_from_collection("lits", lits, tmp_path / "cohort")
    build_cohort_from_collection("mct-ltdiag", tmp_path / "mct", tmp_path / "cohort")
    cohort = Cohort.open(tmp_path / "cohort")
    study, truth = cohort[1]
    assert [record.case_id for record in cohort.records] == ["case-lits-1", "case-mct-ltdiag-c1"]
    assert study.on_one_grid
    assert study.phases[Phase.ARTERIAL].alignment is not None
    assert {lesion.type for lesion in truth.lesion_list} == {LesionType.ICC}
    assert truth.lesion_list[0].curve[Phase.PORTAL] == pytest.approx(130)
    assert truth.liver_curve[Phase.PORTAL] == pytest.approx(50)


def test_boxes_and_organs_without_truth_lie_beside_the_case(
    tmp_path: Path, nifti, image: NDArray, liver: NDArray
) -> None:
    nifti(tmp_path / "cirr/Cirrhosis_T1_3D/test_images/4.nii.gz", image)
    nifti(tmp_path / "cirr/Cirrhosis_T1_3D/test_masks/4.nii.gz", liver)
    build_cohort_from_collection("cirrmri600", tmp_path / "cirr", tmp_path / "cohort")
    case = tmp_path / "cohort/case-cirrmri600-4"
    assert json.loads((case / "annotations.json").read_text()) == {
        "organs": "truth/organs.nii.gz",
        "boxes": [],
        "diagnosis": "cirrhosis",
        "markers": {},
    }
    organs, phase = nib.load(case / "truth/organs.nii.gz"), nib.load(case / "pre.nii.gz")
    np.testing.assert_array_equal(organs.affine, phase.affine)
    np.testing.assert_array_equal(np.asarray(organs.dataobj).T == Organ.LIVER, liver > 0)
    assert Cohort.open(tmp_path / "cohort")[0][1] is None


def test_a_second_study_with_the_same_ids_is_refused(
    tmp_path: Path, nifti, image: NDArray, tumour: NDArray
) -> None:
    for batch in ("batch_1", "batch_2"):
        nifti(tmp_path / f"{batch}/C1/ct/C1_VEN.nii.gz", image)
        nifti(tmp_path / f"{batch}/C1/annotations/lesion.nii.gz", tumour)
    first, second = cases_of("amplifai", tmp_path)
    assert (first.refused, second.case_id) == ("", "case-amplifai-C1-again")
    assert "give one copy" in second.refused


@pytest.mark.parametrize("name", ["help", "LiTS", ""])
def test_an_unknown_name_is_answered_with_all_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="no collection that can be read; give one of amplifai, atlas, chaos"
    ) as error:
        build_cohort_from_collection(name, tmp_path, tmp_path.parent / "cohort")
    assert all(known in str(error.value) for known in COLLECTIONS)


@pytest.mark.parametrize("name", sorted(set(COLLECTIONS) - {"lld-mmri"}))
def test_an_empty_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=f"no study of {name} found"):
        build_cohort_from_collection(name, tmp_path / "empty", tmp_path / "cohort")
    assert not (tmp_path / "cohort").exists()


def test_the_command_line(lits: Path, tmp_path: Path) -> None:
    runner, cohort = CliRunner(), str(tmp_path / "cohort")
    arguments = ["collection", "lits", str(lits), "--out", cohort]
    done = runner.invoke(app, arguments)
    assert done.stdout.startswith("3 studies found, 1 read, 2 refused\nrefused case-lits-2: ")
    assert "key of the pseudonyms" not in done.stdout
    as_json = json.loads(runner.invoke(app, [*arguments, "--json"]).stdout)
    assert (as_json["kept"], as_json["key"]) == (1, None)
    assert runner.invoke(app, [*arguments, "--deidentify"]).exit_code == 2


def test_a_missing_folder_and_a_cohort_inside_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        build_cohort_from_collection("lits", tmp_path / "nowhere", tmp_path / "cohort")
    with pytest.raises(InputError, match="lies inside the collection"):
        build_cohort_from_collection("lits", tmp_path, tmp_path / "cohort")


def test_the_page_names_every_collection() -> None:
    page = (Path(__file__).parents[3] / "docs/collections.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^## `([\w-]+)`", page, re.MULTILINE)) == sorted(COLLECTIONS)
