"""The face of the package: light to import, complete, and as docs/api.md describes it."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import liverleaf

DOCS = Path(__file__).parents[1] / "docs" / "api.md"


def in_a_process_of_its_own(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_package_imports_nothing_else() -> None:
    loaded = in_a_process_of_its_own(
        "import sys, liverleaf; liverleaf.__version__; dir(liverleaf);"
        "print([name for name in ('torch', 'numpy', 'pydicom', 'pydantic') if name in sys.modules])"
    )
    assert loaded == "[]"


def test_reading_and_measuring_need_no_torch() -> None:
    assert (
        in_a_process_of_its_own(
            "import sys, liverleaf; liverleaf.Findings, liverleaf.read_study;"
            "liverleaf.open_cohort, liverleaf.measure_masks; print('torch' in sys.modules)"
        )
        == "False"
    )


def test_every_name_is_there_and_listed() -> None:
    assert dir(liverleaf) == sorted(liverleaf.__all__)
    for name in liverleaf.__all__:
        assert getattr(liverleaf, name) is getattr(liverleaf, name)


def test_other_names_are_refused_as_everywhere() -> None:
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        liverleaf.analyse  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'analyse'"):
        from liverleaf import analyse  # noqa: F401


def test_the_document_names_every_name_with_its_arguments() -> None:
    documented = dict(re.findall(r"^\| `(\w+)(\([^`]*\))?` \|", DOCS.read_text(), re.MULTILINE))
    assert set(documented) == set(liverleaf.__all__) - {"__version__"}
    for name, arguments in documented.items():
        if arguments:
            said = re.findall(r"(\w+)(?:=[^,)]*)?[,)]", arguments)
            assert said == list(inspect.signature(getattr(liverleaf, name)).parameters), name


def test_the_example_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_cohort: Callable,
) -> None:
    tiny_cohort(tmp_path / "cohort", 1)
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert code
    exec(code[1], {})
    said = capsys.readouterr().out
    assert said.startswith("CT ['pre-contrast', 'arterial', 'portal venous', 'delayed']")
    assert "lesion 1: 3.76 ml" in said and "nothing here does not exist" in said
