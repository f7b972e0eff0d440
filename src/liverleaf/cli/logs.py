"""Where the log of a command goes: the terminal, a file, or nowhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
VERBOSE, LOG_FILE = "--verbose", "--log-file"

_terminal: list[logging.Handler] = []
_files: list[logging.Handler] = []


def start(*, verbose: bool, file: Path | None) -> None:
    """Send what the package logs to standard error, to a file (appended to), or to both.

    Raises:
        OSError: the file cannot be written.
    """
    quieten_libraries()
    if verbose:
        _terminal.append(logging.StreamHandler(sys.stderr))
    if file is not None:
        _files.append(logging.FileHandler(file, encoding="utf-8", errors="backslashreplace"))
    logger = logging.getLogger("liverleaf")
    for handler in (*_terminal, *_files):
        handler.setFormatter(logging.Formatter(LINE))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


def stop() -> None:
    """Undo `start`, and close the file."""
    logger = logging.getLogger("liverleaf")
    for handler in (*_terminal, *_files):
        logger.removeHandler(handler)
        handler.close()
        logger.setLevel(logging.NOTSET)
    _terminal.clear()
    _files.clear()


def on_terminal() -> bool:
    """Whether the log goes to standard error, where progress bars would break its lines."""
    return bool(_terminal)


def quieten_libraries() -> None:
    """Silence loggers of libraries that would name a patient or say what we say ourselves."""
    # its messages quote header values, and those may name a patient
    logging.getLogger("pydicom").disabled = True
    # ingest warns of the same headers in its own words
    logging.getLogger("nibabel.global").disabled = True
    for chatty in ("lightning_fabric", "lightning_utilities"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # it warns where it may not keep a cache at home
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def options_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with --verbose and --log-file moved before the command, where they belong.

    So both are accepted behind every command as well.

    >>> options_first(["analyze", "study", "--log-file", "run.log", "--out", "findings"])
    ['--log-file', 'run.log', 'analyze', 'study', '--out', 'findings']
    """
    first, rest, waiting = [], [], list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":  # what follows are no options
            rest += [argument, *waiting]
            break
        if argument == VERBOSE or argument.startswith(f"{LOG_FILE}="):
            first.append(argument)
        elif argument == LOG_FILE:
            first += [argument, *waiting[:1]]
            del waiting[:1]
        else:
            rest.append(argument)
    return first + rest
