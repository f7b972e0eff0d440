"""Progress of anything that takes longer than two seconds."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told how far a job is."""

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Take note.

        Args:
            what: the job, as "registering".
            done: how much of it is done.
            total: of how much; 0 where nobody knows.
        """


def silent(what: str, done: int, total: int, /) -> None:
    """Take no note."""
