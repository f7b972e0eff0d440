"""Outcomes of damaged files: verdicts, cases that repeat, no crash among a few hundred."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import pytest

from liverleaf.benchmarks.fuzzing import outcomes as fuzz
from liverleaf.benchmarks.fuzzing.mutations import MUTATIONS
from liverleaf.benchmarks.fuzzing.sources import Source, fuzz_sources
from liverleaf.ingest.reader import read_study
from liverleaf.study import InputError, Phase, Study

SOURCES = fuzz_sources()
PAIRS = [
    (source, mutation) for source, valid in SOURCES.items() for mutation in MUTATIONS[valid.format]
]


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_sources_are_sound(tmp_path: Path, source: Source) -> None:
    study = read_study(fuzz._write(source.files, tmp_path))
    assert fuzz._difference(study, source.study) == ""
    assert {name for series in source.series for name in series} == set(source.files)


def test_each_pair_takes_its_turn_and_a_case_is_its_number() -> None:
    cases = [fuzz._damaged(1, number) for number in range(len(PAIRS))]
    assert [(case.source, case.mutation) for case, _ in cases] == PAIRS
    assert fuzz._digest(cases[3][1]) == fuzz._digest(fuzz._damaged(1, 3)[1])
    assert {case.spread for case, _ in cases} == set(fuzz.SPREADS)


def test_written_again(tmp_path: Path) -> None:
    case = fuzz.write_case(1, 7, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == fuzz._damaged(1, 7)[1]
    assert case.number == 7


def raising(error: BaseException) -> Callable[[Path], Study]:
    def read(_: Path) -> Study:
        raise error

    return read


def moved(study: Study, **changes: Any) -> Study:
    """The study with its portal phase five millimetres away."""
    image = study.phases[Phase.PORTAL]
    affine = image.volume.affine.copy()
    affine[0, 3] += 5
    volume = type(image.volume)(image.volume.array, affine, "PATIENT")
    return replace(
        study, phases={**study.phases, Phase.PORTAL: replace(image, volume=volume)}, **changes
    )


VERDICTS = {
    "right": (lambda study: lambda _: study, "right", ""),
    "told": (
        lambda study: lambda _: moved(study, warnings=("something is wrong",)),
        "told",
        "place",
    ),
    "silent": (lambda study: lambda _: moved(study, warnings=("usual",)), "silent", "place"),
    "refused": (lambda _: raising(InputError("one line")), "refused", ""),
    "two lines": (
        lambda _: raising(InputError("one line\nand one")),
        "crashed",
        "a message of several lines",
    ),
    "any exception": (lambda _: raising(KeyError("x")), "crashed", "KeyError"),
    "no memory": (lambda _: raising(MemoryError()), "crashed", "MemoryError"),
}


@pytest.mark.parametrize(("make", "verdict", "detail"), VERDICTS.values(), ids=VERDICTS)
def test_verdicts(
    monkeypatch: pytest.MonkeyPatch, make: Callable, verdict: str, detail: str
) -> None:
    truth = SOURCES["CT slices"].study
    monkeypatch.setattr(fuzz, "inspect", lambda _: [])
    monkeypatch.setattr(fuzz, "read_study", make(truth))
    assert fuzz._read(Path(), truth, frozenset({"usual"}))[:2] == (verdict, detail)


@pytest.mark.parametrize("told", ["of Quorvex, Z", "number 88172635"])
def test_names_that_are_told_are_counted(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setattr(fuzz, "inspect", lambda _: [])
    monkeypatch.setattr(fuzz, "read_study", raising(InputError(f"the image {told}")))
    monkeypatch.setattr(fuzz, "_usual_warnings", lambda _: frozenset())
    assert fuzz._outcome(1, 0).leaked


def test_nothing_crashes_and_nothing_leaks() -> None:
    outcomes, peak_mb = fuzz.read_damaged(3, range(0, len(PAIRS), 3))
    assert not [outcome for outcome in outcomes if outcome.verdict == "crashed" or outcome.leaked]
    assert {"right", "told", "refused"} <= {outcome.verdict for outcome in outcomes}
    assert peak_mb > 0


def test_the_table() -> None:
    result = fuzz.run(files=6, seed=3)
    record, table = json.loads(json.dumps(result.record)), result.markdown
    assert sum(record["totals"].values()) == record["files"] == 6
    assert sum(row["files"] for row in record["by_source"].values()) == 6
    assert f"Crashed: {len(record['crashed'])}." in table


def test_the_result_does_not_depend_on_the_number_of_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fuzz, "BATCH", 4)
    numbers = range(150, 158)
    assert fuzz.read_damaged(5, numbers, jobs=1)[0] == fuzz.read_damaged(5, numbers, jobs=2)[0]


def test_another_place_is_told_from_another_size() -> None:
    truth = SOURCES["CT slices"].study
    (phase, image), *_ = truth.phases.items()
    wider = image.volume.affine * [1.0, 1.0, 1.1, 1.0]
    other = hd.Volume(image.volume.array, wider, "PATIENT")
    study = replace(truth, phases={**truth.phases, phase: replace(image, volume=other)})
    assert fuzz._difference(study, truth) == "geometry"
    assert fuzz._difference(moved(truth), truth) == "place"
