"""The folders below a folder, symbolic links followed, each folder once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

HIDDEN = (".", "__MACOSX")
"""How names begin that file managers leave behind."""


def folders_below(
    root: Path, closed: Callable[[Path], object] = bool
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Each folder below one, itself included, with the names of its folders and of its files.

    As with `os.walk`, names that are taken out of the first list are not searched. Linked folders
    come after those that lie there, by their real paths, so that no folder comes twice and a loop
    of links ends.

    Args:
        root: where to begin.
        closed: called with each folder that may not be read.
    """
    seen: set[tuple[int, int]] = set()
    waiting, linked = [root], list[Path]()
    while waiting or linked:
        folder = waiting.pop() if waiting else linked.pop(0).resolve()
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            closed(folder)
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        links = {entry.name for entry in entries if entry.is_symlink()}
        folders = [entry.name for entry in entries if _is_folder(entry)]
        files = [entry.name for entry in entries if entry.name not in folders]
        yield folder, folders, files
        waiting += [folder / name for name in reversed(folders) if name not in links]
        linked += [folder / name for name in folders if name in links]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
