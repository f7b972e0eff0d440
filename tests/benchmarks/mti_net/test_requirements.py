"""What tables need of a cohort is asked before anything is written or trained."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from liverleaf.benchmarks.mti_net import tables
from liverleaf.benchmarks.mti_net.definitions import TABLES
from liverleaf.benchmarks.mti_net.methods import OURS, SCALES
from liverleaf.benchmarks.mti_net.requirements import check_table, input_of
from liverleaf.benchmarks.mti_net.tables import TrainingSetting, run
from liverleaf.benchmarks.training.network_cost import NetworkCost
from liverleaf.cohort.index import FOLDS, Cohort
from liverleaf.storage.case_folder import load_case, save_case
from liverleaf.study import Annotation, InputError, Modality, Study
from liverleaf.terminology import LesionType

Change = Callable[[int, Study, Annotation], tuple[Study, Annotation | None]]


def changed(cohort: Cohort, folder: Path, change: Change) -> Cohort:
    """A copy in which each case is what `change` makes of its number, study and annotation."""
    for number, directory in enumerate(cohort.directories):
        study, truth = load_case(directory)
        assert truth is not None
        save_case(folder / directory.name, *change(number, study, truth))
    return Cohort.open(folder)


def each_lesion(truth: Annotation, **fields: object) -> Annotation:
    lesions = (dataclasses.replace(lesion, **fields) for lesion in truth.lesion_list)  # type: ignore[arg-type]
    return dataclasses.replace(truth, lesion_list=tuple(lesions))


def no_curve(_number: int, study: Study, truth: Annotation) -> tuple[Study, Annotation]:
    return study, each_lesion(truth, curve={})


def one_type(_number: int, study: Study, truth: Annotation) -> tuple[Study, Annotation]:
    return study, each_lesion(truth, type=LesionType.HCC)


def no_type(_number: int, study: Study, truth: Annotation) -> tuple[Study, Annotation]:
    return study, dataclasses.replace(truth, lesion_list=())


def one_bare(number: int, study: Study, truth: Annotation) -> tuple[Study, Annotation | None]:
    return study, truth if number != 7 else None


def one_of_ct(number: int, study: Study, truth: Annotation) -> tuple[Study, Annotation]:
    return dataclasses.replace(study, modality=Modality.CT if number == 7 else Modality.MR), truth


def one_of_ten(number: int, study: Study, truth: Annotation) -> tuple[Study, Annotation]:
    return study, truth if not number else dataclasses.replace(truth, lesion_list=())


CURVES = [name for name, table in TABLES.items() if "mae" in table.metrics]
REFUSED = [
    *((name, no_curve, f"{name} compares enhancement curves, and no lesion") for name in CURVES),
    ("mti-net-figure4", one_type, "all lesions of this cohort are of one .hepatocellular carc"),
    ("mti-net-table1", no_type, "no case of this cohort has a lesion of known type"),
    ("mti-net-table1", one_bare, "case case-07 has no truth"),
    ("mti-net-table1", one_of_ct, "case case-07 is CT, this recipe is for MR"),
    ("mti-net-table1", one_of_ten, "the training cases of fold 0 have no lesion of known type"),
]


@pytest.mark.parametrize(("name", "change", "message"), REFUSED)
def test_what_a_table_cannot_be_made_of_is_refused_before_anything_is_written(
    name: str, change: Change, message: str, cohort: Cohort, tmp_path: Path
) -> None:
    other = changed(cohort, tmp_path / "cohort", change)
    setting = TrainingSetting(tmp_path / "runs", scale="paper", device="cpu")
    with pytest.raises(InputError, match=message) as raised:
        run(name, other, setting)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "runs").exists()


def test_folds_that_nobody_is_tested_in_are_refused(cohort: Cohort, tmp_path: Path) -> None:
    """The one lesion lies in fold 4, of which only the others are tested."""
    other = changed(cohort, tmp_path, one_of_ten)
    config = input_of(other, SCALES["smoke"])
    folds = other.folds(FOLDS, 0)
    without = [fold for fold in folds if 0 in fold.train]
    with pytest.raises(
        InputError, match="tested cases of the 4 folds have no lesion of known type"
    ):
        check_table("t", TABLES["mti-net-table1"], other, config, without)


def test_tables_of_masks_and_of_types_need_no_curve(
    made_up: Callable[..., Cohort], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "network_cost", lambda *_, **__: NetworkCost(1, 2, 3.0))
    without = changed(made_up(tmp_path / "with", 6), tmp_path / "without", no_curve)
    small = dataclasses.replace(TABLES["mti-net-table1"], rows=("UNet", OURS))
    types = dataclasses.replace(TABLES["mti-net-figure4"], rows=("VGG-16, type", OURS))
    monkeypatch.setattr(tables, "TABLES", {"mti-net-table1": small, "mti-net-figure4": types})
    for name, first in (("mti-net-table1", "dsc"), ("mti-net-figure4", "accuracy")):
        setting = TrainingSetting(tmp_path / name, scale="smoke", device="cpu")
        rows = {row["name"]: row for row in run(name, without, setting).record["rows"]}
        assert rows[OURS]["metrics"][first]["n"] > 0
        assert any("has a curve in case.json" in note for note in rows[OURS]["notes"])
        others = [row for row in rows if row != OURS]
        assert not any("case.json" in note for row in others for note in rows[row]["notes"])
