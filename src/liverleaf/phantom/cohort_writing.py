"""Numbered studies in, a folder of numbered case folders out: made in parallel, and continued where a run was stopped."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from liverleaf.storage.case_folder import COHORT_FILE, save_case
from liverleaf.study import Annotation, InputError, Study
from liverleaf.system.files import PARTIAL
from liverleaf.system.workers import end_with_parent

SaveCase = Callable[[Path, Study, Annotation | None], None]
Progress = Callable[[int, int], None]


def write_cases(
    make: Callable[[int], tuple[Study, Annotation | None]],
    cases: int,
    out: Path,
    *,
    settings: Mapping[str, Any],
    save: SaveCase = save_case,
    jobs: int = 1,
    progress: Progress | None = None,
) -> None:
    """Make studies one by one, in parallel, and save each in its own folder `out`/case-00000, -00001, ...; finished ones are kept.

    Args:
        make: from a case number to its study; sent to other processes when `jobs` is more than 1.
        cases: how many.
        out: a new or empty folder, or one that this function left unfinished.
        settings: what `make` depends on, as JSON; kept in `cohort.json` so that a cohort is only
            ever continued as it was begun.
        save: writes a case into a folder that does not exist yet.
        jobs: number of processes; the result does not depend on it.
        progress: called with the number of finished cases and `cases`.

    Raises:
        InputError: `out` holds anything else, or was begun with other settings.
    """
    _claim(out, settings)
    targets = [out / f"case-{index:05d}" for index in range(cases)]
    todo = [index for index, target in enumerate(targets) if not target.exists()]
    done = cases - len(todo)
    report = progress or _silent
    report(done, cases)
    if jobs == 1:
        for index in todo:
            _write_case(make, save, index, targets[index])
            report(done := done + 1, cases)
        return
    with ProcessPoolExecutor(jobs, initializer=end_with_parent) as pool:
        work = partial(_write_case, make, save)
        futures = [pool.submit(work, index, targets[index]) for index in todo]
        try:
            for future in as_completed(futures):
                future.result()
                report(done := done + 1, cases)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_case(
    make: Callable[[int], tuple[Study, Annotation | None]], save: SaveCase, index: int, target: Path
) -> None:
    # processes share the work; threads under each would only stand in the others' way
    with threadpool_limits(1):
        save(target, *make(index))


def _silent(_done: int, _total: int) -> None:
    """No progress wanted."""


def _claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Make `out` ready to be filled, or refuse it."""
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob(f"{PARTIAL}*"):
        shutil.rmtree(left)  # of a run that was killed
    begun = json.dumps(settings, indent=1, sort_keys=True) + "\n"
    file = out / COHORT_FILE
    if file.exists() and file.read_text(encoding="utf-8") != begun:
        raise InputError(
            f"{file} was written with other settings: choose a new folder, or the same settings to"
            " continue it"
        )
    foreign = [
        path.name
        for path in out.iterdir()
        if path != file and not re.fullmatch(r"case-\d+", path.name)
    ]
    if foreign or (not file.exists() and any(out.iterdir())):
        raise InputError(
            f"{out} holds other things"
            f" ({', '.join(sorted(foreign)[:3]) or 'cases of unknown origin'}): choose a new folder"
        )
    file.write_text(begun, encoding="utf-8")
