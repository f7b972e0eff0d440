"""Zip files unpacked for a while, unless they are locked, broken, too large or lead elsewhere."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from tempfile import TemporaryDirectory

from liverleaf.study import InputError

MAX_FILES = 200_000
"""Files of one study at most, in a zip or in a folder."""

MAX_BYTES = 64 * 2**30
MAX_RATIO = 200
SMALL_BYTES = 256 * 2**20
"""Below this size a zip may be compressed as tightly as it likes."""


@contextmanager
def unpacked(
    path: Path, scratch: Path | None = None, *, names: Collection[str] | None = None
) -> Iterator[Path]:
    """Extract a zip for the time of a with-block.

    Args:
        path: the zip file.
        scratch: folder for the temporary files, the system's own by default.
        names: the files to extract, all by default.

    Raises:
        InputError: the zip is damaged, has a password, holds links or names that leave the folder,
            or is too large.
    """
    with TemporaryDirectory(dir=scratch) as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                members = _files_of(archive)
                _check_names(members, path)
                members = [m for m in members if names is None or m.filename in names]
                _check_size(members, path, shutil.disk_usage(folder).free)
                for member in members:
                    archive.extract(member, folder)
        except InputError:
            raise
        except Exception as error:  # zipfile and its decoders raise anything on damaged data
            raise InputError(
                f"{path.name} cannot be unpacked: the zip is damaged or of an unknown kind; pack it"
                " again"
            ) from error
        yield Path(folder)


def beginnings(path: Path, size: int) -> Iterator[tuple[str, int, bytes]]:
    """The name of every file in a zip, its size unpacked, and its first bytes.

    Nothing is extracted.

    Args:
        path: the zip file.
        size: bytes of each file at most.

    Raises:
        InputError: as `unpacked`, except that the zip may be of any size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _files_of(archive)
            _check_names(members, path)
            for member in members:
                with archive.open(member) as stream:
                    start = stream.read(size)
                yield member.filename, member.file_size, start
    except InputError:
        raise
    except Exception as error:  # as above
        raise InputError(
            f"{path.name} cannot be unpacked: the zip is damaged or of an unknown kind; pack it"
            " again"
        ) from error


def _files_of(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files in a zip; a folder with content is a file with a damaged name."""
    return [member for member in archive.infolist() if not member.is_dir() or member.file_size]


def _check_names(members: list[zipfile.ZipInfo], path: Path) -> None:
    if len({member.filename for member in members}) < len(members):
        raise InputError(f"{path.name} holds several files of one name; pack it again")
    if any(member.flag_bits & 1 for member in members):
        raise InputError(f"{path.name} has a password; unpack it first")
    if any(
        _escapes(member.filename) or stat.S_ISLNK(member.external_attr >> 16) for member in members
    ):
        raise InputError(
            f"{path.name} holds links or file names that lead out of its folder, or nowhere; pack"
            " it again"
        )


def _check_size(members: list[zipfile.ZipInfo], path: Path, free_bytes: int) -> None:
    size = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if (
        len(members) > MAX_FILES
        or size > min(MAX_BYTES, free_bytes)
        or (size > SMALL_BYTES and size > MAX_RATIO * packed)
    ):
        raise InputError(
            f"{path.name} is too large to unpack: {len(members)} files of {size / 2**20:.0f} MiB;"
            " give one study"
        )


def _escapes(name: str) -> bool:
    windows = PureWindowsPath(name)
    return (
        name.endswith("/")
        or PurePosixPath(name).is_absolute()
        or bool(windows.drive or windows.root)
        or ".." in windows.parts
    )
