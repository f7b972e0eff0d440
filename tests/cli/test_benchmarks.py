"""The benchmarks of the command line: one list, one writer, and one line where it cannot go on."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from liverleaf.benchmarks import speed
from liverleaf.benchmarks.mti_net import tables
from liverleaf.benchmarks.mti_net.definitions import TABLES
from liverleaf.benchmarks.mti_net.tables import TrainingSetting
from liverleaf.benchmarks.result import Result, origin
from liverleaf.cli.benchmarks import BENCHMARKS, Benchmark
from liverleaf.system.progress import Progress


def test_every_table_of_mti_net_is_a_benchmark() -> None:
    names = [benchmark.name for benchmark in BENCHMARKS]
    assert set(TABLES) <= set(names)
    assert len(set(names)) == len(names)


NEEDED: dict[str, dict[str, Any]] = {"phantom-realism": {"curves": Path("curves")}}


@pytest.mark.parametrize(
    "benchmark",
    [each for each in BENCHMARKS if each.name not in TABLES],
    ids=lambda benchmark: benchmark.name,
)
def test_every_benchmark_is_given_options_that_it_has(benchmark: Benchmark) -> None:
    run = benchmark.options(out=Path("out"), **NEEDED.get(benchmark.name, {}))
    signature = inspect.signature(run)
    signature.bind(progress=None)
    assert signature.return_annotation == "Result"


def test_phases_are_fitted_when_asked_for() -> None:
    options = next(each.options for each in BENCHMARKS if each.name == "phases")
    module = import_module(options(out=Path("out"), fit=True).__module__)
    assert options(out=Path("out"), fit=True) is module.run_fit


def test_a_result_is_written_and_printed(
    liverleaf: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(sources: tuple[Path, ...], *, device: str, progress: Progress) -> Result:
        progress("analysing", 0, 1)
        record = {**origin("speed", 1), "sources": list(map(str, sources)), "device": device}
        return Result("speed", record, "# Speed\n")

    monkeypatch.setattr(speed, "run", run)
    out = tmp_path / "new/out"
    done = liverleaf("benchmark", "speed", "--input", "a", "--input", "b", "--out", out)
    assert (done.code, done.out) == (0, "# Speed\n")
    record = json.loads((out / "speed.json").read_text())
    assert (record["sources"], record["device"]) == (["a", "b"], "auto")
    assert (out / "speed.md").read_text() == "# Speed\n"


def test_trainings_lie_in_the_folder_of_the_table_unless_told_otherwise(
    liverleaf: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, source: Path, tmp_path: Path
) -> None:
    seen: list[tuple[str, TrainingSetting]] = []

    def run(name: str, _cohort: object, setting: TrainingSetting, *, progress: Progress) -> Result:
        seen.append((name, setting))
        return Result("table", origin(name, 1), "")

    monkeypatch.setattr(tables, "run", run)
    command = ("benchmark", "mti-net-table3", "--cohort", source / "cohort", "--out", tmp_path)
    assert liverleaf(*command).code == 0
    assert liverleaf(*command, "--runs", tmp_path / "r", "--resume", "--scale", "smoke").code == 0
    assert seen == [
        ("mti-net-table3", TrainingSetting(tmp_path / "runs")),
        ("mti-net-table3", TrainingSetting(tmp_path / "r", scale="smoke", resume=True)),
    ]


def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    liverleaf: Callable[..., Any],
    assert_one_line: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(speed, "run", lambda *_, **__: pytest.fail("it was measured"))
    (tmp_path / "out").touch()
    done = liverleaf("benchmark", "speed", "--out", tmp_path / "out")
    assert_one_line(done, 1, "no folder or write-protected")


def test_the_list_of_benchmarks_loads_none_of_them() -> None:
    code = (
        "import sys, liverleaf.cli.benchmarks\n"
        "print(*sorted(m for m in sys.modules if m.startswith('liverleaf.benchmarks')))\n"
        "print(*sorted({'numpy', 'torch', 'matplotlib', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n\n"
