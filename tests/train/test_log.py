"""The log of a run: columns, rows that a resumed run drops, logs of 0.1."""

import csv
from pathlib import Path

import torch

from liverleaf.train.log import TrainingLog


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write(folder: Path, start: int, steps: range, columns: tuple[str, ...] = ("mae",)) -> None:
    with TrainingLog(folder, start, columns) as log:
        for step in steps:
            log.add(step, {"loss": torch.tensor(step / 2), "mae": torch.tensor(1.0)}, 0.25)


def test_a_row_has_the_terms_in_the_order_of_the_columns(tmp_path: Path) -> None:
    write(tmp_path, 0, range(2))
    assert rows(tmp_path)[1] == {"step": "1", "loss": "0.5", "mae": "1", "seconds": "0.25"}
    assert list(rows(tmp_path)[0]) == ["step", "loss", "mae", "seconds"]


def test_a_resumed_run_drops_the_rows_after_its_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, 0, range(5))
    write(tmp_path, 3, range(3, 6))
    assert [row["step"] for row in rows(tmp_path)] == ["0", "1", "2", "3", "4", "5"]


def test_a_log_of_0_1_keeps_the_columns_that_are_there_still(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,loss,bce,mae,seconds\n0,2,,3,1\n1,2,,3,1\n")
    write(tmp_path, 1, range(1, 2))
    assert [row["loss"] for row in rows(tmp_path)] == ["2", "0.5"]
    assert "bce" not in rows(tmp_path)[0]


def test_a_term_that_was_not_computed_is_left_empty(tmp_path: Path) -> None:
    write(tmp_path, 0, range(1), columns=("mae", "dice"))
    assert rows(tmp_path)[0]["dice"] == ""
