"""Where a result comes from: versions, commit and hardware."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from liverleaf import __version__


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {
        "liverleaf": __version__,
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def commit() -> str | None:
    """The commit of the source tree this package is imported from; None outside a checkout.

    "+" stands behind it when the tree was changed since.
    """
    source = Path(__file__).parents[1]
    if not _git(source, "ls-files", "--error-unmatch", "__init__.py"):
        return None  # an installed copy that happens to lie inside somebody's repository
    return _git(source, "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def hardware() -> dict[str, Any]:
    """What the numbers were measured on."""
    name = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
