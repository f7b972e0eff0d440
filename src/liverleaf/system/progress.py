"""Progress of anything that takes longer than two seconds."""

from __future__ import annotations

import logging
from typing import Protocol

logger = logging.getLogger(__name__)


class Progress(Protocol):
    """Takes note of how far a job is."""

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Take note.

        Args:
            what: the job, as "registering".
            done: how much of it is done.
            total: of how much; 0 where nobody knows.
        """


def silent(what: str, done: int, total: int, /) -> None:
    """Take no note."""


def logged(progress: Progress) -> Progress:
    """The same progress that also logs when a job begins, and when all of it is done."""
    last = ""

    def note(what: str, done: int, total: int, /) -> None:
        nonlocal last
        if what != last:
            last = what
            logger.info("%s", f"{what}: {total} to do" if total else what)
        if total and done >= total:
            logger.info("%s: %d of %d done", what, done, total)
        progress(what, done, total)

    return note
