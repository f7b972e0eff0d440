"""The program: its help, its exit codes, and its errors for people and for machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from liverleaf.cli import app as cli
from liverleaf.cli.benchmarks import benchmarks

COMMANDS = (
    "analyze",
    "measure",
    "inspect",
    "ingest",
    "collection",
    "export",
    "phantom",
    "train",
    "ensemble",
    "evaluate",
    "compare",
    "benchmark",
    "models",
)


BENCHMARKS = sorted(
    command.name or command.callback.__name__ for command in benchmarks.registered_commands
)


@pytest.mark.parametrize(
    "command",
    [name for name in COMMANDS if name != "benchmark"]
    + [f"benchmark {name}" for name in BENCHMARKS],
)
def test_the_help_of_every_command_has_an_example(
    liverleaf: Callable[..., Any], command: str
) -> None:
    done = liverleaf(*command.split(), "--help")
    assert done.code == 0
    assert f"Example: liverleaf {command}" in " ".join(done.out.split())


def test_the_help_names_every_command(liverleaf: Callable[..., Any]) -> None:
    done = liverleaf("--help")
    assert done.code == 0
    assert all(f"  {command} " in done.out for command in COMMANDS)
    done = liverleaf("benchmark", "--help")
    assert done.code == 0
    assert all(f"  {name} " in done.out for name in BENCHMARKS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("frobnicate",), "No such command"),
        (("analyze",), "Missing"),
        (("analyze", "study"), "--out"),
        (("analyze", "study", "--out", "out", "--device", "toaster"), "--device"),
        (("inspect",), "INPUT"),
        (("inspect", "study", "--colour"), "--colour"),
        (("phantom", "--cases", "0", "--out", "out"), "--cases"),
        (("phantom", "--cases", "-3", "--out", "out"), "--cases"),
        (("phantom", "--cases", "many", "--out", "out"), "--cases"),
        (("phantom", "--cases", "1", "--seed", "-1", "--out", "out"), "--seed"),
        (("phantom", "--cases", "1", "--jobs", "0", "--out", "out"), "--jobs"),
        (("phantom", "--cases", "1", "--shape", "8", "0", "8", "--out", "out"), "--shape"),
        (
            ("phantom", "--cases", "1", "--spacing-mm", "1", "-1", "1", "--out", "out"),
            "--spacing-mm",
        ),
        (
            ("phantom", "--cases", "1", "--spacing-mm", "nan", "1", "1", "--out", "out"),
            "--spacing-mm",
        ),
        (("phantom", "--cases", "1", "--modality", "us", "--out", "out"), "--modality"),
        (("phantom", "--cases", "1", "--format", "jpeg", "--out", "out"), "--format"),
        (
            ("export", "cohort", "--out", "Dataset501_Liver", "--phase", "late"),
            "pre, arterial, portal, delayed",
        ),
        (("train", "recipe.toml", "--cohort", "cohort", "--out", "out", "--fold", "5"), "--fold"),
        (("train", "recipe.toml", "--cohort", "cohort", "--out", "out", "--fold", "-1"), "--fold"),
        (("benchmark", "beauty", "--out", "out"), "No such command 'beauty'"),
    ],
)
def test_bad_use_exits_2(
    assert_one_line: Callable[..., None],
    liverleaf: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_one_line(liverleaf(*arguments), 2, message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--help"], 0, ""),
        (["inspect", "nowhere"], 1, "nowhere does not exist"),
        (["inspect"], 2, "Missing argument"),
    ],
)
def test_the_program_exits_as_the_function_does(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "liverleaf", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", [b"line\nbreak", b"-dash", b"a' \"b%s{0}[x]*?", b"M\xfcller"])
def test_a_line_names_any_path_whole(tmp_path: Path, name: bytes) -> None:
    done = subprocess.run(
        [
            *(os.fsencode(sys.executable), b"-m", b"liverleaf", b"export"),
            *(b"./" + name, b"--out", b"./" + name),
        ],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    (line,) = done.stderr.decode().splitlines()
    named = {b"line\nbreak": "line\\nbreak", b"M\xfcller": "M\\udcfcller"}
    assert done.returncode == 1
    assert line == (
        f"liverleaf: {named.get(name) or name.decode()} is not a folder: give a cohort, a folder of"
        " case folders"
    )


def test_a_stop_from_the_keyboard_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", stopped)
    with pytest.raises(SystemExit, match="130"):
        cli.main()
    assert capsys.readouterr().err == "liverleaf: stopped before it was done\n"


def test_what_the_system_refuses_is_explained_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(**_: object) -> None:
        raise PermissionError(13, "Permission denied", "ro/ph")

    monkeypatch.setattr(cli, "app", refused)
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    assert capsys.readouterr().err == "liverleaf: ro/ph: permission denied\n"


def test_a_stop_within_a_command_is_reported_too(
    liverleaf: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("liverleaf.ingest.reader.inspect", stop)
    assert liverleaf("inspect", tmp_path) == (130, "", "liverleaf: stopped before it was done\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("inspect", "{folder}/nowhere"), 1, "nowhere does not exist"),
        (("analyze", "{folder}", "--out", "{folder}/out"), 1, "the folder is empty"),
        (("inspect",), 2, "Missing argument"),
        (("inspect", "{folder}", "--colour"), 2, "--colour"),
    ],
)
def test_an_error_for_a_machine_is_json_on_standard_error(
    liverleaf: Callable[..., Any],
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    done = liverleaf(*(part.format(folder=tmp_path) for part in arguments), "--json")
    assert (done.code, done.out) == (code, "")
    error = json.loads(done.err)
    assert list(error) == ["error"]
    assert message in error["error"]


def test_a_bug_is_not_hidden(
    liverleaf: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("liverleaf.ingest.reader.inspect", fail)
    with pytest.raises(ZeroDivisionError):
        liverleaf("inspect", tmp_path)


HEAVY = {"numpy", "torch", "pydicom", "highdicom", "rich", "pydantic"}


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['liverleaf', '--help']\n"
        "from liverleaf.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Commands:" in done.stdout
    assert not HEAVY & {name.partition(".")[0] for name in done.stderr.split()}
