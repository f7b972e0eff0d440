"""What commands print: tables, JSON, warnings and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from liverleaf.cli.console import (
    add_row,
    new_table,
    print_error,
    print_json,
    print_table,
    print_warnings,
    progress_bars,
)


def test_cells_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    table = new_table("series", "description")
    add_row(table, "2", "portal [/b] :smile: [red]")
    print_table(table)
    assert "portal [/b] :smile: [red]" in capsys.readouterr().out


def test_long_cells_are_folded_and_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    table = new_table("evidence")
    add_row(table, "x" * 400)
    print_table(table)
    assert capsys.readouterr().out.count("x") == 400


def test_paths_are_printed_as_json_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"key": Path("a/b"), "n": 1})
    assert json.loads(capsys.readouterr().out) == {"key": "a/b", "n": 1}


def test_warnings_stay_off_standard_output_where_it_holds_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_warnings(["one", "two"], err=True)
    assert capsys.readouterr() == ("", "warning: one\nwarning: two\n")


def test_an_error_is_one_line_for_people_and_an_object_for_machines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_error('"a" is missing', as_json=False)
    assert capsys.readouterr() == ("", 'liverleaf: "a" is missing\n')
    print_error('"a" is missing', as_json=True)
    assert json.loads(capsys.readouterr().err) == {"error": '"a" is missing'}


def test_names_that_no_line_can_hold_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("two\nlines: \x1b[31m \udce9 é 肝 'a'", as_json=False)
    print_warnings(["a\rb"])
    said = capsys.readouterr()
    assert said.err == "liverleaf: two\\nlines: \\x1b[31m \\udce9 é 肝 'a'\n"
    assert said.out == "warning: a\\rb\n"


def test_no_bars_are_drawn_into_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as progress:
        progress("reading", 0, 0)
        progress("reading", 3, 3)
    assert capsys.readouterr() == ("", "")
