"""How often damaged files are read right, read with a warning, refused in a line, or crash."""

from __future__ import annotations

import faulthandler
import hashlib
import logging
import os
import resource
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import highdicom as hd
import numpy as np
from threadpoolctl import threadpool_limits

from liverleaf.benchmarks.fuzzing.mutations import MUTATIONS
from liverleaf.benchmarks.fuzzing.page import (
    DIFFERENCES,
    LIMIT_BYTES,
    LIMIT_S,
    VERDICTS,
    fuzz_page,
)
from liverleaf.benchmarks.fuzzing.sources import IDENTITY, Source, fuzz_sources
from liverleaf.benchmarks.result import Result, origin
from liverleaf.ingest.reader import inspect, read_study
from liverleaf.study import InputError, Study, same_grid
from liverleaf.system.progress import Progress, silent
from liverleaf.system.workers import end_with_parent

FILES = 10_000
SEED = 20
BATCH = 500
SPREADS, SHARES = ("one file", "one series", "all files"), (0.6, 0.2, 0.2)
"""How much of a study is damaged, in the same way, and how often."""
LIBRARIES = ("highdicom", "nibabel", "numpy", "pydicom", "pyjpegls", "pylibjpeg-openjpeg", "scipy")


class Case(NamedTuple):
    """What to damage and how; `number` and the seed decide everything else.

    Attributes:
        number: of the case, from 0.
        source: name of the valid study.
        mutation: name of the damage.
        spread: "one file", "one series" or "all files" are damaged in the same way.
    """

    number: int
    source: str
    mutation: str
    spread: str


@dataclass(frozen=True)
class Outcome:
    """What became of one damaged study.

    Attributes:
        case: the case.
        verdict: one of `VERDICTS`: "right", its voxels and their places are the undamaged ones;
            "told", they differ and a warning that the undamaged study has not says that something
            is wrong; "silent", they differ without one; "refused", by an `InputError` of one line;
            "crashed", anything else.
        detail: what differs, one of `DIFFERENCES`, or the kind of exception.
        leaked: whether a message, a warning or a name in the result holds words of the patient.
        digest: SHA-256 of the damaged files.
    """

    case: Case
    verdict: str
    detail: str
    leaked: bool
    digest: str


def run(
    *, files: int = FILES, seed: int = SEED, jobs: int = 1, progress: Progress = silent
) -> Result:
    """Damage valid studies in every way that `mutations` knows, and read them.

    They are read as `liverleaf inspect` and `analyze` do. Each batch runs in a process of its own
    with limits of time and memory, so that a hang, a bomb or a fault of a decoder is a crash of one
    case. The result does not depend on `jobs`.

    Args:
        files: how many damaged studies.
        seed: of everything.
        jobs: number of processes.
        progress: told how many were read.
    """
    source = origin(f"ingest-fuzz --files {files} --seed {seed}", seed)
    source["versions"] |= {name: version(name) for name in LIBRARIES}
    outcomes, peak_mb = read_damaged(seed, range(files), jobs=jobs, progress=progress)
    record = {**source, **_counts(outcomes), "peak_memory_mb": peak_mb}
    return Result("ingest-fuzz", record, fuzz_page(record))


def read_damaged(
    seed: int, numbers: Sequence[int], *, jobs: int = 1, progress: Progress = silent
) -> tuple[list[Outcome], float]:
    """Outcomes by case number, and the largest memory of a process in MB."""
    outcomes: list[Outcome] = []
    peak_mb = 0.0
    batches = [numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)]
    get_context("forkserver").set_forkserver_preload([__name__])
    with ThreadPoolExecutor(jobs) as supervisors:
        for found, used_mb in supervisors.map(lambda batch: _supervised(seed, batch), batches):
            outcomes += found
            peak_mb = max(peak_mb, used_mb)
            progress("reading damaged files", len(outcomes), len(numbers))
    return outcomes, peak_mb


def write_case(seed: int, number: int, folder: Path) -> Case:
    """Write the damaged files of one case into a folder, to look at what became of it."""
    case, files = _damaged(seed, number)
    _write(files, folder)
    return case


def _write(files: Mapping[str, bytes], folder: Path) -> Path:
    """Write files; returns what to give to `read_study`."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / next(iter(files)) if len(files) == 1 else folder


@cache
def _sources() -> dict[str, Source]:
    return fuzz_sources()


@cache
def _usual_warnings(source: str) -> frozenset[str]:
    """What is said of the undamaged study."""
    with TemporaryDirectory() as folder:
        return frozenset(read_study(_write(_sources()[source].files, Path(folder))).warnings)


def _damaged(seed: int, number: int) -> tuple[Case, dict[str, bytes]]:
    """A case and its files: pairs of source and damage take turns, chance chooses the rest."""
    pairs = [
        (name, mutation)
        for name, source in _sources().items()
        for mutation in MUTATIONS[source.format]
    ]
    name, mutation = pairs[number % len(pairs)]
    source = _sources()[name]
    rng = np.random.default_rng([seed, number])
    series = source.series[int(rng.integers(len(source.series)))]
    choices = {
        "one file": [series[int(rng.integers(len(series)))]],
        "one series": series,
        "all files": list(source.files),
    }
    spread = SPREADS[int(rng.choice(len(SPREADS), p=SHARES))]
    damage = MUTATIONS[source.format][mutation]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom, which reads and writes headers for the damage
        changed = {
            victim: damage(np.random.default_rng([seed, number, 1]), source.files[victim])
            for victim in choices[spread]
        }
    return Case(number, name, mutation, spread), {**source.files, **changed}


def _supervised(seed: int, numbers: Sequence[int]) -> tuple[list[Outcome], float]:
    """Run cases in a process of their own; when it dies, each in one of its own."""
    with ProcessPoolExecutor(
        1, mp_context=get_context("forkserver"), initializer=_limit
    ) as process:
        try:
            return process.submit(_outcomes, seed, numbers).result()
        except BrokenExecutor:
            if len(numbers) == 1:
                case, damaged = _damaged(seed, numbers[0])
                return [
                    Outcome(case, "crashed", "the process hung or died", False, _digest(damaged))
                ], 0.0
    each = [_supervised(seed, [number]) for number in numbers]
    return [outcome for found, _ in each for outcome in found], max(used_mb for _, used_mb in each)


def _limit() -> None:
    """Prepare a process: quiet, single-threaded, limited in memory, ended with its parent."""
    end_with_parent()
    for library in ("pydicom", "nibabel.global"):
        logging.getLogger(library).disabled = True
    threadpool_limits(1)
    _sources()
    held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (held + LIMIT_BYTES, held + LIMIT_BYTES))


def _outcomes(seed: int, numbers: Sequence[int]) -> tuple[list[Outcome], float]:
    found = [_outcome(seed, number) for number in numbers]
    return found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _outcome(seed: int, number: int) -> Outcome:
    """Read one damaged study; a hang ends this process."""
    case, damaged = _damaged(seed, number)
    usual = _usual_warnings(case.source)
    with (
        TemporaryDirectory() as folder,
        Path(os.devnull).open("w") as nowhere,
        warnings.catch_warnings(record=True) as shown,
    ):
        warnings.simplefilter("always")
        path = _write(damaged, Path(folder))
        faulthandler.dump_traceback_later(LIMIT_S, exit=True, file=nowhere)
        verdict, detail, said = _read(path, _sources()[case.source].study, usual)
        faulthandler.cancel_dump_traceback_later()
    told = " ".join([*said, *(str(warning.message) for warning in shown)]).lower()
    return Outcome(case, verdict, detail, any(word in told for word in IDENTITY), _digest(damaged))


def _read(path: Path, truth: Study, usual: frozenset[str]) -> tuple[str, str, list[str]]:
    """Verdict, detail and everything that was said of one study."""
    said: list[str] = []
    try:
        said += [repr(report) for report in inspect(path)]
    except InputError as error:
        said.append(str(error))
    except BaseException as error:
        return "crashed", f"inspect: {type(error).__name__}", [*said, str(error)]
    try:
        study = read_study(path)
    except InputError as error:
        lines = len(str(error).splitlines())
        return (
            ("refused", "", [*said, str(error)])
            if lines == 1
            else ("crashed", "a message of several lines", [*said, str(error)])
        )
    except BaseException as error:
        return "crashed", type(error).__name__, [*said, str(error)]
    said += [
        study.case_id,
        study.subject_id,
        *study.warnings,
        *(repr(image) for image in study.phases.values()),
    ]
    differs = _difference(study, truth)
    if not differs:
        return "right", "", said
    return "silent" if usual >= set(study.warnings) else "told", differs, said


def _difference(study: Study, truth: Study) -> str:
    """What is not as in the undamaged study, "" if nothing."""
    if study.modality is not truth.modality or set(study.phases) != set(truth.phases):
        return "phases"
    pairs = [(study.phases[phase].volume, image.volume) for phase, image in truth.phases.items()]
    if not all(same_grid(found, true) for found, true in pairs):
        return "place" if all(_moved(found, true) for found, true in pairs) else "geometry"
    return "" if all(np.array_equal(found.array, true.array) for found, true in pairs) else "values"


def _moved(found: hd.Volume, true: hd.Volume) -> bool:
    """Whether a grid is another one shifted as a whole."""
    return found.spatial_shape == true.spatial_shape and np.allclose(
        found.affine[:3, :3], true.affine[:3, :3], rtol=1e-3, atol=1e-6
    )


def _digest(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(name.encode() + content)
    return digest.hexdigest()


def _counts(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Everything that was counted, and where to find each case that needs a look."""

    def counts(key: Callable[[Outcome], str]) -> dict[str, dict[str, int]]:
        table: dict[str, dict[str, int]] = {}
        for outcome in outcomes:
            row = table.setdefault(key(outcome), {"files": 0, **dict.fromkeys(VERDICTS, 0)})
            row["files"] += 1
            row[outcome.verdict] += 1
        return table

    def listed(verdict: str) -> list[dict[str, Any]]:
        return [{**o.case._asdict(), "detail": o.detail} for o in outcomes if o.verdict == verdict]

    return {
        "files": len(outcomes),
        "totals": {verdict: sum(o.verdict == verdict for o in outcomes) for verdict in VERDICTS},
        "leaks": [o.case._asdict() for o in outcomes if o.leaked],
        "by_source": counts(lambda o: o.case.source),
        "by_mutation": counts(lambda o: o.case.mutation),
        "by_both": counts(lambda o: f"{o.case.source}: {o.case.mutation}"),
        "silent_differences": {
            detail: sum(o.verdict == "silent" and o.detail == detail for o in outcomes)
            for detail in DIFFERENCES
        },
        "crashed": listed("crashed"),
        "silent": listed("silent"),
        "sha256": hashlib.sha256("".join(o.digest for o in outcomes).encode()).hexdigest(),
    }
