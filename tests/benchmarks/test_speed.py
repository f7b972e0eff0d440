"""Seconds and memory of an analysis: what is run, and what is said of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from liverleaf.benchmarks import speed
from liverleaf.study import InputError

FINDINGS = {
    "provenance": {
        "seconds": {"loading the model": 5.0, "reading": 1.0, "network": 2.0, "measuring": 0.5},
        "memory_mb": {"reading": 100.0, "network": 300.0},
        "peak_memory_mb": 350.0,
    },
    "lesions": [{}, {}],
}


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would be run; each analysis answers `FINDINGS`."""
    seen: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        return subprocess.CompletedProcess(command, 0, json.dumps(FINDINGS), "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(speed, "write_cohort", lambda *_, **__: None)
    monkeypatch.setattr(speed, "_help_cost", lambda: 3.0)
    return seen


def test_every_study_is_analysed_by_a_process_of_its_own(commands: list[list[str]]) -> None:
    steps: list[tuple[str, int, int]] = []
    result = speed.run(
        (Path("hospital/a"),), device="cpu", progress=lambda *step: steps.append(step)
    )
    analyses = [command for command in commands if "analyze" in command]
    assert [Path(command[4]).name for command in analyses] == ["case-00000", "a"]
    assert all(command[-3:] == ["--device", "cpu", "--json"] for command in analyses)
    assert steps == [("analysing", 0, 2), ("analysing", 1, 2)]
    assert result.record["command"] == "liverleaf benchmark speed --input hospital/a"


@pytest.mark.usefixtures("commands")
def test_the_ratio_leaves_the_loading_of_the_model_out() -> None:
    result = speed.run()
    (study,) = result.record["studies"]
    assert study["everything_else_over_network"] == pytest.approx((1.0 + 0.5) / 2.0)
    assert (study["lesions"], study["peak_memory_mb"]) == (2, 350.0)
    assert "| seconds | 5.00 | 1.00 | 2.00 | 0.50 |" in result.markdown
    assert "| peak memory (MB) |  | 100 | 300 |  |" in result.markdown
    assert "takes as long as 3.0 starts" in result.markdown


def test_a_study_that_cannot_be_analysed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 1, "", "liverleaf: no images\n"),
    )
    monkeypatch.setattr(speed, "write_cohort", lambda *_, **__: None)
    with pytest.raises(InputError, match=r"^case-00000: no images$"):
        speed.run()
