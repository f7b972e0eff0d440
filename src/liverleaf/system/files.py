"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from liverleaf.study import InputError

PARTIAL = ".partial-"
"""How the names of unfinished files and folders begin: what a killed process left behind."""


def printable(text: str) -> str:
    r"""A path or message with the bytes of its names that are no UTF-8 written out, as \\udce9."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which becomes `path` when the block ends.

    When the block fails, it is removed. A process killed at any moment leaves the old file or the
    new one, never half of one. The file gets the mode that the user's new files have, whoever
    writes it.
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
    """A temporary folder that replaces `out` when the block ends, and vanishes when it fails."""
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


class SettingsError(InputError):
    """A folder was begun with other settings than it is to be continued with.

    Attributes:
        names: of the settings that differ.
    """

    def __init__(self, message: str, names: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.names = names


def own_folder(
    out: Path,
    settings: Mapping[str, Any],
    *,
    file: str,
    contents: Callable[[str], object] = bool,
) -> bool:
    """Claim a folder for a job: a new or empty one, or one that the same job has begun.

    What a killed process left unfinished in it is removed.

    Args:
        out: the folder; made where it does not exist.
        settings: what the job's result depends on, as JSON; kept in `file`.
        file: name of the file with the settings, in `out`.
        contents: whether a name is of something that the job writes into `out`; all are by default.

    Returns:
        Whether the job was begun already.

    Raises:
        SettingsError: it was begun with other settings.
        InputError: `out` holds other things, is a file or cannot be written.
    """
    begun = check_own_folder(out, settings, file=file, contents=contents)
    try:
        out.mkdir(parents=True, exist_ok=True)
        remove_partial(out)
        if not begun:
            with whole_file(out / file) as part:
                text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
                part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{out} cannot be written ({(error.strerror or type(error).__name__).lower()}): choose"
            " another folder"
        ) from error
    return begun


def check_own_folder(
    out: Path,
    settings: Mapping[str, Any],
    *,
    file: str,
    contents: Callable[[str], object] = bool,
) -> bool:
    """Refuse what `own_folder` would refuse, before the work begins; writes nothing.

    Arguments, result and errors are those of `own_folder`.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: choose a new folder")
    check_writable(out)
    names = [path.name for path in out.iterdir()] if out.exists() else []
    names = sorted(name for name in names if not name.startswith(PARTIAL))
    foreign = [name for name in names if name != file and not contents(name)]
    if foreign or (names and file not in names):
        raise InputError(
            f"{out} holds other things ({', '.join(foreign[:3]) or 'of unknown origin'}): choose a"
            " new folder"
        )
    if not names:
        return False
    begun, wanted = _read_settings(out / file), json.loads(json.dumps(settings))
    names = [n for n in sorted({*begun, *wanted}) if begun.get(n, ...) != wanted.get(n, ...)]
    if names:
        raise SettingsError(
            f"{out} was begun with other settings ({', '.join(names)}): choose a new folder, or the"
            " same settings to continue it",
            tuple(names),
        )
    return True


def _read_settings(file: Path) -> dict[str, Any]:
    """What a job was begun with; nothing where the file is damaged."""
    try:
        begun = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return begun if isinstance(begun, dict) else {}
