"""Which files of a DICOM study became no part of its phases, and why.

The survey of a study and the images that were read of it go in; each unused file with its reason
comes out. Paths may name patients: they are for the owner of the study alone.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pydicom import Dataset

from liverleaf.ingest.dicom.survey import Survey

UNDECODED = "its pixels cannot be read"


def unused_files(found: Survey, used: Collection[Dataset]) -> dict[Path, str]:
    """The reason for each file of a study of which no frame is used.

    Args:
        found: what the headers told.
        used: the headers of the images that the phases were read from, the survey's own objects.
    """
    own = {id(header) for header in used}
    reasons = dict(found.lost)
    for stack in found.left_out:
        reasons |= {frame.path: stack.left_out for frame in stack.frames}
    read: set[Path] = set()
    for stack, guess in zip(found.stacks, found.guesses, strict=True):
        taken = {frame.path for frame in stack.frames if id(frame.header) in own}
        reason = (
            f"{stack.name}: not used as a contrast phase ({guess.evidence[0]})"
            if guess.phase is None
            else f"{stack.name}: another series was preferred for the {guess.phase.title} phase"
        )
        if taken:
            reason = f"{stack.name}: {UNDECODED}"
        reasons |= {frame.path: reason for frame in stack.frames}
        read |= taken
    return {path: reason for path, reason in reasons.items() if path not in read}
