"""Differences of two evaluations, done by hand."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from liverleaf.cli.app import app
from liverleaf.evaluate.compare import Evaluation, differences
from liverleaf.study import InputError

CASES = (
    "case,subject,liver_dice,lesion_dice,lesion_iou,"
    "true_positives,false_positives,false_negatives\n"
)
LESIONS = (
    "case,true_label,true_type,predicted_type,probability,right,covered,set_size,"
    "curve_mae,curve_mae_percent_of_liver\n"
)


def evaluation(folder: Path, cases: str, lesions: str, cohort: str = "same") -> Evaluation:
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps({"cohort": cohort}))
    (folder / "cases.csv").write_text(CASES + cases)
    (folder / "lesions.csv").write_text(LESIONS + lesions)
    return Evaluation.read(folder)


def test_differences_by_hand(tmp_path: Path) -> None:
    first = evaluation(
        tmp_path / "first",
        "1,a,0.9,0.6,0.5,2,0,0\n2,b,0.8,0.3,0.2,1,1,1\n3,c,0.7,,,0,1,0\n",
        "1,1,hcc,hcc,0.9,True,True,1,2.0,4.0\n"
        "1,2,cyst,cyst,0.9,True,True,1,6.0,\n"
        "2,1,hcc,cyst,0.9,False,True,1,1.0,2.0\n",
    )
    second = evaluation(
        tmp_path / "second",
        "1,a,0.8,0.4,0.3,1,0,1\n2,b,0.7,0.1,0.1,1,0,1\n3,c,0.6,,,0,0,0\n",
        "1,1,hcc,cyst,0.9,False,True,1,4.0,8.0\n2,2,fnh,fnh,0.9,True,True,1,9.0,9.0\n",
    )
    found = differences(first, second)
    assert {name: (row.first, row.second, row.difference.n) for name, row in found.items()} == {
        "liver_dice": pytest.approx((0.8, 0.7, 3)),
        "lesion_dice": pytest.approx((0.45, 0.25, 2)),  # over the two cases with a lesion
        "lesion_iou": pytest.approx((0.35, 0.2, 2)),
        "lesion_sensitivity": pytest.approx((3 / 4, 2 / 4, 3)),
        "lesion_precision": pytest.approx((3 / 5, 1.0, 3)),
        "found_and_typed": pytest.approx((2 / 4, 1 / 4, 3)),
        "type_accuracy": pytest.approx((1.0, 0.0, 1)),  # only lesion 1 of case 1 was found by both
        "curve_mae": pytest.approx((2.0, 4.0, 1)),
        "curve_mae_percent_of_liver": pytest.approx((4.0, 8.0, 1)),
    }
    assert all(
        row.difference.mean == pytest.approx(row.first - row.second) for row in found.values()
    )
    liver = found["liver_dice"].difference
    # paired: every case differs by the same, however cases differ
    assert (liver.low, liver.high) == pytest.approx((0.1, 0.1))
    assert found["lesion_precision"].difference.low < 0 <= found["lesion_precision"].difference.high


def test_what_nothing_defines_is_left_out(tmp_path: Path) -> None:
    first, second = (
        evaluation(tmp_path / name, "1,a,,0.0,0.0,0,0,1\n2,b,,0.5,0.4,1,0,0\n", "") for name in "ab"
    )
    found = differences(first, second)  # the lesion that was found has no name in the truth
    assert set(found) == {"lesion_dice", "lesion_iou", "lesion_sensitivity", "lesion_precision"}


def test_other_cases_and_other_folders_are_refused(tmp_path: Path) -> None:
    rows = "1,a,0.9,0.5,0.4,1,0,0\n"
    first = evaluation(tmp_path / "first", rows, "")
    other = evaluation(tmp_path / "other", rows, "", cohort="another")
    with pytest.raises(InputError, match="different cases"):
        differences(first, other)
    for damage in ("{", "[]"):
        (tmp_path / "first" / "metrics.json").write_text(damage)
        with pytest.raises(InputError, match="no folder that liverleaf evaluate wrote"):
            Evaluation.read(tmp_path / "first")
    with pytest.raises(InputError, match="no folder that liverleaf evaluate wrote"):
        Evaluation.read(tmp_path)


def test_the_command_says_what_it_compared(tmp_path: Path) -> None:
    for name, dice in (("first", 0.75), ("second", 0.5)):
        evaluation(tmp_path / name, f"1,a,0.9,{dice},0.4,1,0,0\n", "")
    arguments = ["compare", str(tmp_path / "first"), str(tmp_path / "second")]
    lines = CliRunner().invoke(app, arguments).stdout.splitlines()
    row = next(line for line in lines if "lesion dice" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "lesion dice",
        "0.750",
        "0.500",
        "+0.250",
        "+0.250 to +0.250",
        "1",
    ]
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert told["lesion_dice"]["difference"] == {
        "mean": 0.25,
        "low": 0.25,
        "high": 0.25,
        "n": 1,
        "confidence": 0.95,
    }


def test_a_folder_that_0_1_wrote_is_read(tmp_path: Path) -> None:
    rows = "1,a,0.9,0.6,0.5,2,0,1\n2,b,0.8,0.3,0.2,1,1,1\n"
    new = evaluation(tmp_path / "new", rows, "")
    old = evaluation(tmp_path / "old", rows, "")
    path = tmp_path / "old/cases.csv"
    names = ("true_positives,false_positives,false_negatives", "found,made_up,missed")
    path.write_text(path.read_text().replace(*names))
    assert differences(Evaluation.read(tmp_path / "old"), new) == differences(old, new)


def test_models_that_outline_nothing_are_compared_by_what_they_say_of_cases(
    tmp_path: Path,
) -> None:
    header = "case,subject,fat,fat_true,fat_error,response,response_true,response_right\n"
    read = []
    for name, rows in (
        ("first", "1,a,10,12,2,yes,yes,True\n2,b,5,4,1,no,yes,False\n"),
        ("second", "1,a,9,12,3,yes,yes,True\n2,b,5,4,1,yes,yes,True\n"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps({"cohort": "same"}))
        (tmp_path / name / "cases.csv").write_text(header + rows)
        read.append(Evaluation.read(tmp_path / name))
    found = {name: (d.first, d.second) for name, d in differences(*read).items()}
    assert found == {"fat_mae": (1.5, 2.0), "response_accuracy": (0.5, 1.0)}
