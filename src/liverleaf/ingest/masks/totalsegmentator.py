"""Masks of the program TotalSegmentator, where it is installed: it is called, and its files read.

Its tasks, classes and options are those of its own documentation
(https://github.com/wasserth/TotalSegmentator); the tasks for lesions need a licence of it.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from liverleaf.storage.volumes import save_volume
from liverleaf.study import InputError, Modality, Study

logger = logging.getLogger(__name__)

COMMAND = "TotalSegmentator"
Part = Literal["liver", "lesions"]
TASKS: dict[tuple[Part, Modality], tuple[str, ...]] = {
    ("liver", Modality.CT): ("--task", "total", "--roi_subset", "liver"),
    ("liver", Modality.MR): ("--task", "total_mr", "--roi_subset", "liver"),
    ("lesions", Modality.CT): ("--task", "liver_lesions"),
    ("lesions", Modality.MR): ("--task", "liver_lesions_mr"),
}
FILES: dict[Part, str] = {"liver": "liver.nii.gz", "lesions": "liver_lesions.nii.gz"}
"""The file of each task that is read."""


@contextmanager
def totalsegmentator_masks(study: Study, parts: Collection[Part]) -> Iterator[dict[Part, Path]]:
    """The masks that TotalSegmentator draws in the reference phase, as files for a block.

    Args:
        study: as read; its reference phase is given to the program.
        parts: what to ask for.

    Yields:
        A NIfTI file per part, named as the program names it.

    Raises:
        InputError: the program is not installed, fails, or writes no such file.
    """
    command = shutil.which(COMMAND)
    if parts and command is None:
        raise InputError(
            f"the command {COMMAND} is not installed: install it (pip install TotalSegmentator), or"
            " give masks of your own"
        )
    with TemporaryDirectory(prefix="liverleaf-") as scratch:
        folder = Path(scratch)
        image = folder / "image.nii.gz"
        if parts:
            save_volume(image, study.grid)
        yield {part: _asked(str(command), image, part, study.modality) for part in parts}


def _asked(command: str, image: Path, part: Part, modality: Modality) -> Path:
    out = image.parent / part
    options = TASKS[part, modality]
    logger.info("%s is asked for the %s", COMMAND, part)
    done = subprocess.run(
        [command, "-i", str(image), "-o", str(out), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InputError(
            f"{COMMAND} {' '.join(options)} ended with exit code {done.returncode}: run it by hand"
            " to see why (the tasks for lesions need a licence)"
        )
    file = out / FILES[part]
    if not file.is_file():
        raise InputError(
            f"{COMMAND} {' '.join(options)} wrote no {file.name}: this version may name it"
            " otherwise; run it by hand and give its file as a mask"
        )
    return file
