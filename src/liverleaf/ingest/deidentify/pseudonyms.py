"""Pseudonyms of patients, studies, images and UIDs: keyed hashes, and the key they need."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from liverleaf.study import InputError

KEY_BYTES = 32
MAX_SHIFT_DAYS = 3650
STANDARD_UIDS = "1.2.840.10008."
"""How the UIDs of the DICOM standard itself begin."""


@dataclass(frozen=True)
class Pseudonyms:
    """Makes pseudonyms: the same with the same key, not to be undone or guessed without it.

    Attributes:
        key: 32 random bytes.
    """

    key: bytes

    def __repr__(self) -> str:
        return "Pseudonyms(key=...)"

    def case_id(self, study: str) -> str:
        """The pseudonym of a study."""
        return f"case-{self._hash('study', study)[:12]}"

    def subject_id(self, patient: str) -> str:
        """The pseudonym of a patient."""
        return f"subject-{self._hash('patient', patient)[:12]}"

    def uid(self, uid: str) -> str:
        """The UID that replaces another; those of the standard itself stay."""
        if uid.startswith(STANDARD_UIDS):
            return uid
        return f"2.25.{int(self._hash('uid', uid)[:32], 16)}"

    def image(self, identity: str) -> str:
        """The pseudonym of an image, by its SOPInstanceUID or file name."""
        return self._hash("image", identity)[:16]

    def table(self, sayings: str) -> str:
        """The pseudonym of what a person says of the series of a study."""
        return self._hash("table", sayings)[:16]

    def shift_days(self, subject_id: str) -> int:
        """By how many days all dates of a subject are moved: 1 to 3650, into the past."""
        return -1 - int(self._hash("date", subject_id)[:16], 16) % MAX_SHIFT_DAYS

    @property
    def check(self) -> str:
        """Tells whether two keys are the same, and nothing of them."""
        return self._hash("check", "")[:16]

    def _hash(self, kind: str, identity: str) -> str:
        return hmac.new(
            self.key, f"{kind}:{identity}".encode(errors="surrogateescape"), hashlib.sha256
        ).hexdigest()


def read_key(file: Path) -> Pseudonyms:
    """Read the key that `write_key` has written.

    Raises:
        InputError: the file cannot be read or holds something else.
    """
    try:
        key = bytes.fromhex(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise InputError(
            f"{file} cannot be read as a key of pseudonyms: give the file that liverleaf wrote, or"
            " a new name"
        )
    return Pseudonyms(key)


def new_key() -> Pseudonyms:
    """A key nobody knows."""
    return Pseudonyms(secrets.token_bytes(KEY_BYTES))


def write_key(pseudonyms: Pseudonyms, file: Path) -> None:
    """Keep a key in a new file that only its owner can read; folders above it are made.

    Raises:
        InputError: the file cannot be written or is there already.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(
            os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii"
        ) as stream:
            stream.write(pseudonyms.key.hex() + "\n")
    except OSError as error:
        raise InputError(
            f"the key of the pseudonyms cannot be written: the folder {file.parent} is not"
            f" writable, or {file.name} is there already; give another place with --key FILE"
        ) from error
