"""Progress that also reaches the log."""

from __future__ import annotations

import pytest

from liverleaf.system.progress import logged, silent


def test_a_job_is_logged_when_it_begins_and_when_it_is_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    taken: list[tuple[str, int, int]] = []
    progress = logged(lambda *note: taken.append(note))
    notes = [("reading", 0, 0), *(("registering", done, 3) for done in range(4))]
    with caplog.at_level("INFO", logger="liverleaf"):
        for note in notes:
            progress(*note)
    assert taken == notes
    assert caplog.messages == [
        "reading",
        "registering: 3 to do",
        "registering: 3 of 3 done",
    ]


def test_a_job_of_unknown_length_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    progress = logged(silent)
    with caplog.at_level("INFO", logger="liverleaf"):
        for seen in (0, 100, 200):
            progress("looking for studies", seen, 0)
    assert caplog.messages == ["looking for studies"]
