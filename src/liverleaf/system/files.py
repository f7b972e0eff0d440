"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from liverleaf.study import InputError

PARTIAL = ".partial-"
"""How the names of unfinished files and folders begin: what a killed process left behind."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, to be written in the block, that becomes `path` when the block ends and is removed when it fails.

    A process killed at any moment leaves the old file or the new one, never half of one. The file
    gets the mode that the user's new files have, whoever writes it.
    """
    part = path.with_name(f"{PARTIAL}{path.name}")
    part.touch()
    mode = part.stat().st_mode  # safetensors and nibabel choose modes of their own
    try:
        yield part
        part.chmod(mode)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """A temporary folder that becomes `final` when the block ends, and vanishes when it fails.

    Raises:
        InputError: `final` exists already.
    """
    if final.exists():
        raise InputError(f"{final} exists already: remove it or choose another folder")
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(mkdtemp(prefix=f"{PARTIAL}{final.name}-", dir=final.parent))
    try:
        temporary.chmod(0o755)
        yield temporary
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def replaced_directory(out: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of the folder `out` when the block ends, and vanishes when it fails."""
    out = out.resolve()
    with TemporaryDirectory(prefix=PARTIAL, dir=out.parent) as scratch:
        old, new = Path(scratch) / "old", Path(scratch) / "new"
        with new_directory(new) as folder:
            yield folder
        out.rename(old)
        new.rename(out)


def remove_partial(folder: Path) -> None:
    """Remove what a killed process left unfinished in a folder."""
    for left in folder.glob(f"{PARTIAL}*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def check_writable(out: Path) -> None:
    """Refuse a new file or folder that could not be written, before the work begins.

    Raises:
        InputError: the nearest folder above that exists is a file or write-protected.
    """
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise InputError(
            f"{out} cannot be written, because {parent} is no folder or write-protected: choose"
            " another folder"
        )
