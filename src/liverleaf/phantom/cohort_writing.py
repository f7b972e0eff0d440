"""Cohorts of numbered cases, made in parallel and continued where a run was stopped."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from threadpoolctl import threadpool_limits

from liverleaf.storage.case_folder import COHORT_FILE, save_case
from liverleaf.study import Annotation, InputError, Study
from liverleaf.system.files import own_folder
from liverleaf.system.progress import Progress, silent
from liverleaf.system.workers import workers

MakeCase = Callable[[int], tuple[Study, Annotation | None]]
SaveCase = Callable[[Path, Study, Annotation | None], None]
CASE_FOLDER = re.compile(r"case-\d+")


def write_cases(
    make: MakeCase,
    cases: int,
    out: Path,
    *,
    settings: Mapping[str, Any],
    save: SaveCase = save_case,
    jobs: int = 1,
    progress: Progress = silent,
) -> None:
    """Make studies in parallel and save each in a folder `out`/case-00000, -00001, ...

    Finished cases are kept.

    Args:
        make: from a case number to its study; sent to other processes when `jobs` is more than 1.
        cases: how many.
        out: a new or empty folder, or one that this function left unfinished.
        settings: what `make` depends on, as JSON; kept in `cohort.json` so that a cohort is only
            ever continued as it was begun.
        save: writes a case into a folder that does not exist yet.
        jobs: number of processes; the result does not depend on it.
        progress: told how many cases are finished, of how many.

    Raises:
        InputError: `out` holds anything else, or was begun with other settings; or a case takes
            more memory than there is.
    """
    own_folder(out, settings, file=COHORT_FILE, contents=CASE_FOLDER.fullmatch)
    write = _WriteCase(make, save, out)
    todo = [index for index in range(cases) if not write.target(index).exists()]
    done = cases - len(todo)
    progress("making cases", done, cases)
    with workers(write, _lost, jobs=jobs) as run:
        for _ in run(todo):
            progress("making cases", done := done + 1, cases)


@dataclass(frozen=True)
class _WriteCase:
    """Makes a case and saves it, unless it is there."""

    make: MakeCase
    save: SaveCase
    out: Path

    def target(self, index: int) -> Path:
        """The folder of a case."""
        return self.out / f"case-{index:05d}"

    def __call__(self, index: int) -> None:
        # a process may have ended after the case was saved and before it said so
        if self.target(index).exists():
            return
        # processes share the work; threads under each would only stand in the others' way
        with threadpool_limits(1):
            self.save(self.target(index), *self.make(index))


def _lost(index: int, reason: str) -> NoReturn:
    raise InputError(f"case {index} could not be made: {reason}; try fewer processes")
