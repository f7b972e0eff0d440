"""Files and folders that appear whole or not at all, and folders that belong to one job."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from liverleaf.study import InputError
from liverleaf.system.files import (
    SettingsError,
    check_own_folder,
    check_writable,
    new_directory,
    own_folder,
    remove_partial,
    replaced_directory,
    whole_file,
)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_the_new_one_after_the_block_and_the_old_one_until_then(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    with whole_file(file) as part:
        part.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert names(tmp_path) == {"a.txt"}


def test_a_file_is_left_alone_when_writing_it_fails(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(RuntimeError), whole_file(file) as part:
        part.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old"
    assert names(tmp_path) == {"a.txt"}


def test_a_file_has_the_mode_of_the_users_files_whoever_writes_it(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with whole_file(tmp_path / "a.txt") as part:
        part.unlink()
        part.write_text("new")
        part.chmod(0o600)
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with new_directory(tmp_path / "sub/a") as folder:
        (folder / "file").touch()
        assert not (tmp_path / "sub/a").exists()
    assert names(tmp_path / "sub/a") == {"file"}
    with pytest.raises(RuntimeError), new_directory(tmp_path / "sub/b") as folder:
        (folder / "file").touch()
        raise RuntimeError
    assert names(tmp_path / "sub") == {"a"}
    with (
        pytest.raises(InputError, match="exists already"),
        new_directory(tmp_path / "sub/a"),
    ):
        pass


def test_a_folder_is_replaced_by_a_whole_one_or_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()
    with pytest.raises(RuntimeError), replaced_directory(out) as folder:
        (folder / "half").touch()
        raise RuntimeError
    assert names(out) == {"old"}
    with replaced_directory(out) as folder:
        (folder / "new").touch()
    assert names(out) == {"new"}
    assert names(tmp_path) == {"out"}


def test_only_unfinished_files_and_folders_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".partial-a").touch()
    (tmp_path / ".partial-b/c").mkdir(parents=True)
    (tmp_path / "partial").touch()
    remove_partial(tmp_path)
    assert names(tmp_path) == {"partial"}


def test_a_place_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    check_writable(tmp_path / "new/folder")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="no folder or write-protected"):
        check_writable(tmp_path / "file/new/folder")


def claim(out: Path, **settings: Any) -> bool:
    return own_folder(
        out, settings, file="job.json", contents=lambda name: name.startswith("case-")
    )


def test_a_new_or_empty_folder_is_claimed_and_then_continued(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "not/there"):
        assert not claim(out, seed=1, shape=(2, 3))
        assert json.loads((out / "job.json").read_text()) == {"seed": 1, "shape": [2, 3]}
        (out / "case-1").mkdir()
        (out / ".partial-case-2").mkdir()
        assert claim(out, seed=1, shape=(2, 3))
        assert names(out) == {"job.json", "case-1"}


def test_settings_are_compared_by_value_not_by_layout(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"seed":\n1, "preset": "ct"}')
    assert claim(tmp_path, preset="ct", seed=1)


@pytest.mark.parametrize(
    ("settings", "differing"),
    [
        ({"seed": 2, "scale": "cpu"}, ("seed",)),
        ({"seed": 1}, ("scale",)),
        ({"seed": 1, "scale": "cpu", "key": None}, ("key",)),
        ({"seed": 2, "scale": "gpu"}, ("scale", "seed")),
    ],
)
def test_other_settings_are_named(
    settings: dict[str, Any], differing: tuple[str, ...], tmp_path: Path
) -> None:
    claim(tmp_path, seed=1, scale="cpu")
    before = (tmp_path / "job.json").read_bytes()
    with pytest.raises(SettingsError, match=f"other settings .{', '.join(differing)}.") as error:
        claim(tmp_path, **settings)
    assert error.value.names == differing
    assert pickle.loads(pickle.dumps(error.value)).names == differing
    assert (tmp_path / "job.json").read_bytes() == before


@pytest.mark.parametrize("damaged", ["", "{", "[1]"])
def test_a_damaged_file_of_settings_is_refused(damaged: str, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(damaged)
    with pytest.raises(SettingsError):
        claim(tmp_path, seed=1)


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match=r"holds other things \(thesis\.txt\)"):
        claim(tmp_path)
    assert names(tmp_path) == {"thesis.txt"}
    (tmp_path / "thesis.txt").rename(tmp_path / "case-1")
    with pytest.raises(InputError, match="unknown origin"):
        claim(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        claim(tmp_path / "case-1")


def test_a_check_of_a_folder_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / ".partial-case-1").mkdir()
    assert not check_own_folder(tmp_path, {"seed": 1}, file="job.json")
    assert names(tmp_path) == {".partial-case-1"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_write_protected_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fixed").mkdir(mode=0o500)
    with pytest.raises(InputError, match="write-protected"):
        claim(tmp_path / "fixed/out")
