"""The folder of a cohort: continued as it was begun, by version 0.1 too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from liverleaf.cohort.folder import COLLECTION, INGEST, check_folder, claim_folder
from liverleaf.study import InputError

SETTINGS = {"made_by": INGEST, "with_dicom": False, "key": "abc"}


def test_a_new_folder_is_claimed_and_continued(tmp_path: Path) -> None:
    out = tmp_path / "new/cohort"
    check_folder(out, SETTINGS)
    assert not out.exists()
    claim_folder(out, SETTINGS)
    assert json.loads((out / "cohort.json").read_text()) == SETTINGS
    for name in ("case-1", "cohort.csv", "cohort.html", ".partial-killed"):
        (out / name).mkdir()
    check_folder(out, SETTINGS)
    claim_folder(out, SETTINGS)
    assert not (out / ".partial-killed").exists()
    assert (out / ".ingest").is_dir()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "other"}, "begun with another key: give it with --key FILE"),
        ({"with_dicom": True}, "begun in another way"),
        ({"made_by": COLLECTION}, "begun in another way"),
    ],
)
def test_other_settings_are_refused_with_what_to_do(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    claim_folder(tmp_path, SETTINGS)
    with pytest.raises(InputError, match=message):
        check_folder(tmp_path, {**SETTINGS, **change})


def test_other_things_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds other things \(thesis.txt\)"):
        check_folder(tmp_path, SETTINGS)


@pytest.mark.parametrize(
    ("earlier", "settings"),
    [
        ("hepatica ingest", SETTINGS),
        ("hepatica ingest --collection", {"made_by": COLLECTION}),
    ],
)
def test_a_cohort_begun_by_version_0_1_is_continued(
    tmp_path: Path, earlier: str, settings: dict[str, object]
) -> None:
    begun = {**settings, "made_by": earlier}
    (tmp_path / "cohort.json").write_text(json.dumps(begun, indent=1) + "\n")
    (tmp_path / "case-1").mkdir()
    check_folder(tmp_path, settings)
    claim_folder(tmp_path, settings)
    assert json.loads((tmp_path / "cohort.json").read_text()) == begun


def test_a_cohort_of_another_command_of_version_0_1_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cohort.json").write_text('{"made_by": "hepatica ingest --collection"}')
    with pytest.raises(InputError, match="begun in another way"):
        check_folder(tmp_path, SETTINGS)
