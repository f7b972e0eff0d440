"""Resident memory of this process, now and at its peak (Linux only)."""

from __future__ import annotations

from pathlib import Path


def resident_mb(what: str = "VmRSS") -> float:
    """Resident memory of this process in MB: now (VmRSS) or at its peak (VmHWM); Linux only."""
    line = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(f"{what}:")
    )
    return int(line.split()[1]) / 1024


def forget_peak() -> bool:
    """Reset this process's peak of resident memory (VmHWM) to what it holds now.

    Returns:
        Whether the system allows it, as most Linux systems do.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
