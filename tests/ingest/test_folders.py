"""Folders below a folder: links are followed, loops end, and nothing comes twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from liverleaf.ingest.folders import folders_below


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    for name in ("root/real/deep", "elsewhere/inner"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "elsewhere/inner/image").touch()
    (tmp_path / "root/a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/loop").symlink_to(tmp_path / "root")
    (tmp_path / "root/itself").symlink_to(tmp_path / "root/itself")
    (tmp_path / "root/nowhere").symlink_to("gone")
    found = list(folders_below(tmp_path / "root"))
    names = [str(folder.relative_to(tmp_path)) for folder, _, _ in found]
    assert names == ["root", "root/real", "root/real/deep", "elsewhere", "elsewhere/inner"]
    assert found[0][2] == ["itself", "nowhere"]
    assert found[-1][2] == ["image"]


def test_folders_taken_out_of_the_list_are_not_searched(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for _, folders, _ in folders_below(tmp_path):
        folders[:] = [name for name in folders if name != "a"]
    assert [folder for folder, _, _ in folders_below(tmp_path)][-1] == tmp_path / "a/b"


def test_a_folder_that_may_not_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    closed: list[Path] = []
    assert not list(folders_below(tmp_path, closed.append))
    assert closed == [tmp_path]
