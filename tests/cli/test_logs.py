"""The log of a command: quiet unless asked for, and without the patient."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from liverleaf.cli import logs


def test_nothing_is_logged_unless_asked_for(
    liverleaf: Callable[..., Any], study: Path, tmp_path: Path
) -> None:
    assert liverleaf("inspect", study).err == ""
    assert liverleaf("inspect", tmp_path / "nowhere").err.count("\n") == 1


@pytest.mark.parametrize("before", [True, False])
def test_the_log_goes_to_the_terminal_and_to_a_file(
    liverleaf: Callable[..., Any], study: Path, tmp_path: Path, before: bool
) -> None:
    options = ("--verbose", "--log-file", tmp_path / "run.log")
    command = ("inspect", study, "--json")
    done = liverleaf(*options, *command) if before else liverleaf(*command, *options)
    assert done.code == 0
    assert done.out.startswith("[")
    written = (tmp_path / "run.log").read_text(encoding="utf-8")
    assert done.err == written
    assert "INFO liverleaf.system.progress: reading\n" in written
    assert "ended with exit code 0 after" in written


def test_a_file_is_added_to_and_closed(
    liverleaf: Callable[..., Any], study: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        liverleaf("inspect", study, "--log-file", tmp_path / "run.log")
    assert (tmp_path / "run.log").read_text(encoding="utf-8").count("exit code 0") == 2
    handlers = logging.getLogger("liverleaf").handlers
    assert [type(handler) for handler in handlers] == [logging.NullHandler]


def test_the_log_of_a_failure_names_nobody(
    liverleaf: Callable[..., Any], tmp_path: Path, secrets: tuple[str, ...]
) -> None:
    log = tmp_path / "run.log"
    done = liverleaf("inspect", tmp_path / "Mustermann_Erika", "--log-file", log)
    assert done.code == 1
    written = log.read_text(encoding="utf-8").lower()
    assert "failed: inputerror" in written
    assert not any(secret in written for secret in secrets)


def test_the_log_of_a_cohort_names_nobody(
    liverleaf: Callable[..., Any], study: Path, tmp_path: Path, secrets: tuple[str, ...]
) -> None:
    study.rename(tmp_path / "mustermann")
    log = tmp_path / "run.log"
    liverleaf("ingest", tmp_path / "mustermann", "--out", tmp_path / "cohort", "--log-file", log)
    written = log.read_text(encoding="utf-8").lower()
    assert "1 studies found" in written
    assert "1 read, 0 kept from before, 0 refused" in written
    assert not any(secret in written for secret in secrets)


def test_the_log_of_an_analysis_tells_its_stages_and_names_nobody(
    liverleaf: Callable[..., Any],
    study: Path,
    models: Path,
    one_phase: None,
    tmp_path: Path,
    secrets: tuple[str, ...],
) -> None:
    log = tmp_path / "run.log"
    out = tmp_path / "out"
    done = liverleaf("analyze", study, "--out", out, "--model", models / "ct", "--log-file", log)
    assert done.code == 0
    written = log.read_text(encoding="utf-8").lower()
    stages = ("reading", "registering", "predicting", "measuring", "writing masks")
    assert all(f"{stage} took " in written for stage in stages)
    assert "ct study, 1 phases, model tiny-ct: " in written
    assert not any(secret in written for secret in secrets)


def test_a_log_that_cannot_be_written_is_explained(
    liverleaf: Callable[..., Any], assert_one_line: Callable[..., None], tmp_path: Path
) -> None:
    done = liverleaf("inspect", tmp_path, "--log-file", tmp_path)
    assert_one_line(done, 1, f"{tmp_path}: is a directory")


def test_libraries_that_quote_headers_are_silent(liverleaf: Callable[..., Any]) -> None:
    logging.getLogger("pydicom").disabled = False
    liverleaf("inspect", "nowhere", "--verbose")
    assert logging.getLogger("pydicom").disabled


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a", "--verbose"], ["--verbose", "a"]),
        (["a", "--log-file=x", "b"], ["--log-file=x", "a", "b"]),
        (["a", "--log-file"], ["--log-file", "a"]),
        (["a", "--", "--verbose"], ["a", "--", "--verbose"]),
        ([], []),
    ],
)
def test_options_of_the_log_are_moved_before_the_command(
    arguments: list[str], expected: list[str]
) -> None:
    assert logs.options_first(arguments) == expected
