"""Resident memory: what is held is seen, and a peak can be forgotten."""

from mmap import mmap

import pytest

from liverleaf.system.memory import forget_peak, resident_mb


def test_resident_memory_sees_what_is_held() -> None:
    before = resident_mb()
    with mmap(-1, 32 * 2**20) as held:
        held.write(b"x" * len(held))
        assert resident_mb() - before == pytest.approx(32, abs=4)
    assert resident_mb("VmHWM") >= before + 28


def test_a_forgotten_peak_starts_from_what_is_held() -> None:
    with mmap(-1, 32 * 2**20) as held:
        held.write(b"x" * len(held))
    peak = resident_mb("VmHWM")
    if not forget_peak():
        pytest.skip("this system does not let a process forget its peak")
    assert resident_mb("VmHWM") == pytest.approx(resident_mb(), abs=4)
    assert resident_mb("VmHWM") <= peak
