"""The steps of CONTRIBUTING.md, carried out in a copy of the source tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(title: str) -> list[str]:
    """The Python code of a section."""
    section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert section is not None, title
    found = re.findall(r"^ *```python\n(.*?)^ *```", section[1], re.DOTALL | re.MULTILINE)
    return [dedent(code) for code in found]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package without its weights, and of the tests' shared fixtures."""
    ignored = shutil.ignore_patterns("weights", "__pycache__")
    shutil.copytree(ROOT / "src/liverleaf", tmp_path / "src/liverleaf", ignore=ignored)
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests/ingest/collections/conftest.py", tmp_path / "tests")
    return tmp_path


def run(copy: Path, *arguments: str) -> str:
    """Run Python on the copy."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_collection_can_be_added(copy: Path) -> None:
    module, entry, test = blocks("Add a public collection")
    package = copy / "src/liverleaf/ingest/collections"
    (package / "example_livers.py").write_text(module)
    register = package / "__init__.py"
    text = register.read_text()
    name = "liverleaf.ingest.collections"
    text = text.replace(
        f"from {name}.liqa import liqa\n",
        f"from {name}.example_livers import example_livers\nfrom {name}.liqa import liqa\n",
    )
    text = re.sub(r"^(COLLECTIONS: .*\{\n)", rf"\1    {entry}", text, flags=re.MULTILINE)
    register.write_text(text)
    (copy / "tests/test_example_livers.py").write_text(test)
    assert "2 passed" in run(copy, "-m", "pytest", "-p", "no:cacheprovider", "tests")
    (copy / "empty").mkdir()
    help_text = run(copy, "-m", "liverleaf", "collection", "--help")
    assert "liverleaf collection" in help_text


def test_a_benchmark_can_be_added(copy: Path) -> None:
    module, options, entry, test = blocks("Add a benchmark")
    (copy / "src/liverleaf/benchmarks/lesion_count.py").write_text(module)
    register = copy / "src/liverleaf/cli/benchmarks.py"
    text = register.read_text().replace(
        "\nBENCHMARKS = (\n", f"\n\n{options}\n\nBENCHMARKS = (\n    {entry.strip()},\n"
    )
    register.write_text(text)
    (copy / "tests/test_lesion_count.py").write_text(test)
    assert "1 passed" in run(copy, "-m", "pytest", "-p", "no:cacheprovider", "tests")
    page = run(
        copy, "-m", "liverleaf", "benchmark", "lesion-count", "--cases", "1", "--out", "results"
    )
    assert (copy / "results/lesion-count.md").read_text() == page
    assert (copy / "results/lesion-count.json").is_file()
