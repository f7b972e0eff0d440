"""Phantoms from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_phantom_makes_a_study_and_leaves_other_folders_alone(
    assert_one_line: Callable[..., None], liverleaf: Callable[..., Any], tmp_path: Path
) -> None:
    arguments = ("phantom", "--cases", 1, "--shape", 4, 16, 16, "--spacing-mm", 40, 22, 22, "--out")
    assert liverleaf(*arguments, tmp_path / "new").code == 0
    assert (tmp_path / "new/case-00000/case.json").is_file()
    assert liverleaf(*arguments, tmp_path / "new").code == 0
    assert_one_line(liverleaf(*arguments, tmp_path / "new", "--seed", 2), 1, "other settings")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.docx").write_text("")
    assert_one_line(liverleaf(*arguments, tmp_path / "mine"), 1, "thesis.docx")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.docx"]
