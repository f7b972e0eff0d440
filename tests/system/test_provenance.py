"""Versions, commit and hardware of a result."""

import subprocess
from pathlib import Path

import pytest

from liverleaf import __version__
from liverleaf.system import provenance


def test_versions_name_this_package_python_and_torch() -> None:
    versions = provenance.versions()
    assert versions["liverleaf"] == __version__
    assert set(versions) == {"liverleaf", "python", "torch"}


def checkout(folder: Path) -> Path:
    """A package in a repository, as the module's own place would be."""
    package = folder / "package"
    (package / "system").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "system/provenance.py").write_text("")
    return package


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_a_commit_is_that_of_the_checkout_and_says_when_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = checkout(tmp_path)
    monkeypatch.setattr(provenance, "__file__", str(package / "system/provenance.py"))
    assert provenance.commit() is None
    git(tmp_path, "init")
    assert provenance.commit() is None  # the repository does not hold the package
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    commit = git(tmp_path, "rev-parse", "--short=12", "HEAD")
    assert provenance.commit() == commit
    (package / "__init__.py").write_text("changed = True\n")
    assert provenance.commit() == f"{commit}+"


def test_hardware_names_the_processor_and_its_cores() -> None:
    hardware = provenance.hardware()
    assert set(hardware) == {"cpu", "cores", "machine", "system"}
    assert hardware["cores"] >= 1
