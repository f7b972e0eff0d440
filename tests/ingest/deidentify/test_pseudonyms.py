"""Pseudonyms: keyed, the same each time, and a key that only its owner can read."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pydicom
import pytest

from liverleaf.ingest.deidentify.pseudonyms import Pseudonyms, new_key, read_key, write_key
from liverleaf.study import InputError

PSEUDONYMS = Pseudonyms(bytes(range(32)))


def test_pseudonyms_depend_on_key_kind_and_identity_alone() -> None:
    other = new_key()
    assert PSEUDONYMS.case_id("a") == PSEUDONYMS.case_id("a") != PSEUDONYMS.case_id("b")
    assert PSEUDONYMS.case_id("a") != other.case_id("a")
    assert PSEUDONYMS.case_id("a")[5:] != PSEUDONYMS.subject_id("a")[8:]
    assert re.fullmatch(r"case-[0-9a-f]{12}", PSEUDONYMS.case_id("a"))
    assert PSEUDONYMS.check != other.check
    assert PSEUDONYMS.key.hex() not in repr(PSEUDONYMS)


def test_uids_are_hashed_and_those_of_the_standard_kept() -> None:
    hashed = PSEUDONYMS.uid("1.2.3")
    assert hashed.startswith("2.25.")
    assert pydicom.uid.UID(hashed).is_valid
    assert PSEUDONYMS.uid("1.2.840.10008.5.1.4.1.1.2") == "1.2.840.10008.5.1.4.1.1.2"


def test_a_key_is_written_for_its_owner_only_and_read_back(tmp_path: Path) -> None:
    key = new_key()
    write_key(key, tmp_path / "key")
    assert read_key(tmp_path / "key") == key
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    with pytest.raises(InputError, match="cannot be written"):
        write_key(key, tmp_path / "key")


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff\xfe", b"00" * 31])
def test_a_key_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a key"):
        read_key(tmp_path / "key")


def test_dates_of_a_subject_move_into_the_past_by_up_to_ten_years() -> None:
    days = {PSEUDONYMS.shift_days(f"subject-{number}") for number in range(200)}
    assert min(days) >= -3650
    assert max(days) <= -1
    assert len(days) > 150
