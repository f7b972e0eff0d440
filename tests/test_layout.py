"""Tests mirror the package: who looks for the tests of a module finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/liverleaf"
MODULES = sorted(
    path.relative_to(SOURCE)
    for path in SOURCE.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_has_its_test_file(module: Path) -> None:
    tests = ROOT / "tests" / module.parent / f"test_{module.name}"
    assert tests.is_file(), f"src/liverleaf/{module} is tested in {tests.relative_to(ROOT)}"
