"""The folder of a cohort: claimed for one way of making it, and continued only in that way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from liverleaf.cohort.overview import CASE, PAGE_FILE, ROWS, TABLE_FILE
from liverleaf.storage.case_folder import COHORT_FILE
from liverleaf.study import InputError
from liverleaf.system.files import SettingsError, check_own_folder, own_folder

INGEST, COLLECTION = "liverleaf ingest", "liverleaf collection"
EARLIER_NAMES = {INGEST: "hepatica ingest", COLLECTION: "hepatica ingest --collection"}
"""What version 0.1 wrote as `made_by`."""


def check_folder(out: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a folder that holds other things or was begun with other settings; write nothing.

    Args:
        out: the folder.
        settings: `made_by` and what else the cohort depends on.

    Raises:
        InputError: the folder cannot be used; the message says what to do.
    """
    try:
        check_own_folder(out, _as_begun(out, settings), file=COHORT_FILE, contents=_is_ours)
    except SettingsError as error:
        if error.names == ("key",):
            raise InputError(
                f"{out} was begun with another key: give it with --key FILE, or choose a new folder"
            ) from error
        raise InputError(
            f"{out} was begun in another way (--deidentify, a public collection, or another"
            " command): choose a new folder, or the same options"
        ) from error


def claim_folder(out: Path, settings: Mapping[str, Any]) -> None:
    """Make a checked folder ready to be filled, and write what fills it.

    Raises:
        InputError: it cannot be written.
    """
    own_folder(out, _as_begun(out, settings), file=COHORT_FILE, contents=_is_ours)
    (out / ROWS).mkdir(exist_ok=True)


def _is_ours(name: str) -> bool:
    return name in (TABLE_FILE, PAGE_FILE, ROWS) or bool(CASE.fullmatch(name))


def _as_begun(out: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, under the name of version 0.1 where that began the cohort."""
    try:
        begun = json.loads((out / COHORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return dict(settings)
    earlier = EARLIER_NAMES[settings["made_by"]]
    if isinstance(begun, dict) and begun.get("made_by") == earlier:
        return {**settings, "made_by": earlier}
    return dict(settings)
