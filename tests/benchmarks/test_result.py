"""One shape for the results of all benchmarks, and one writer."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from liverleaf.benchmarks.result import (
    ORIGIN,
    Content,
    Result,
    interval,
    markdown_table,
    measured_by,
    origin,
    write,
)

RECORD: dict[str, Any] = {
    "command": "liverleaf benchmark nothing --cases 2",
    "commit": "0123456789ab",
    "versions": {"liverleaf": "1.0", "python": "3.11"},
    "hardware": {"cpu": "abacus", "cores": 10},
    "seed": 7,
}


def test_a_result_is_written_as_json_markdown_csv_and_figures(tmp_path: Path) -> None:
    table = pd.DataFrame({"case": ["a", "b"], "dice": [1 / 3, None]})
    figures: dict[str, Content] = {
        "plot.png": Figure(figsize=(1, 1)),
        "image.png": Image.new("L", (3, 2)),
        "cases.csv": table,
        "page.html": "<p>µ</p>",
    }
    write(Result("nothing", RECORD | {"shape": (2, 3)}, "# Nothing\n", figures), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "nothing.json",
        "nothing.md",
        *figures,
    }
    record = json.loads((tmp_path / "out/nothing.json").read_text())
    assert record == RECORD | {"shape": [2, 3]}
    assert (tmp_path / "out/nothing.md").read_text() == "# Nothing\n"
    assert (tmp_path / "out/cases.csv").read_text() == "case,dice\na,0.333333\nb,\n"
    assert (tmp_path / "out/page.html").read_text(encoding="utf-8") == "<p>µ</p>"
    with Image.open(tmp_path / "out/image.png") as image:
        assert image.size == (3, 2)
    with Image.open(tmp_path / "out/plot.png") as plot:
        assert plot.width > 0


def test_files_of_an_earlier_run_are_replaced_and_others_are_kept(tmp_path: Path) -> None:
    (tmp_path / "nothing.md").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    write(Result("nothing", RECORD, "new"), tmp_path)
    assert (tmp_path / "nothing.md").read_text() == "new"
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_record_that_json_does_not_know_leaves_the_old_files(tmp_path: Path) -> None:
    write(Result("nothing", RECORD, "old"), tmp_path)
    with pytest.raises(TypeError):
        write(Result("nothing", RECORD | {"rows": object()}, "new"), tmp_path)
    assert (tmp_path / "nothing.md").read_text() == "old"


@pytest.mark.parametrize("key", ORIGIN)
def test_no_result_is_without_its_origin(key: str) -> None:
    record = {name: value for name, value in RECORD.items() if name != key}
    with pytest.raises(ValueError, match=f"nothing lacks {key}"):
        Result("nothing", record, "")


def test_the_origin_names_the_command_and_everything_a_number_depends_on() -> None:
    found = origin("speed --input a", 3)
    assert tuple(found) == ORIGIN
    assert found["command"] == "liverleaf benchmark speed --input a" and found["seed"] == 3
    assert measured_by(found).startswith("Written by `liverleaf benchmark speed --input a` at")


def test_a_page_begins_with_its_origin_in_a_sentence() -> None:
    assert measured_by(RECORD, threads=2) == (
        "Written by `liverleaf benchmark nothing --cases 2` at commit 0123456789ab, seed 7, on 10"
        " cores (abacus), 2 thread(s); liverleaf 1.0, python 3.11."
    )


def test_words_are_aligned_left_and_numbers_right() -> None:
    rows = [("liver", "0.91", 3), ("a|b", "-", 1)]
    assert markdown_table(("organ", "Dice", "cases"), rows) == [
        "| organ | Dice | cases |",
        "|---|---:|---:|",
        "| liver | 0.91 | 3 |",
        "| a\\|b | - | 1 |",
    ]
    assert markdown_table(("n", "what"), [], left=[1]) == ["| n | what |", "|---:|---|"]
    assert markdown_table(("n", "N"), [], left=0)[1] == "|---:|---:|"


def test_an_interval_in_words() -> None:
    estimate = {"mean": 0.5, "low": 0.25, "high": 0.756, "n": 3}
    assert interval(estimate) == "0.50 (0.25 to 0.76)"
    assert interval(estimate, 3) == "0.500 (0.250 to 0.756)"
