"""Attenuation of the phantom beside what readers expect."""

from __future__ import annotations

import numpy as np

from liverleaf.benchmarks.phantom.attenuation import TYPICAL_HU, attenuation, section


def test_median_attenuation_is_near_what_readers_expect() -> None:
    for row in attenuation(100, np.random.default_rng(0)):
        assert row["p5"] <= row["p50"] <= row["p95"]
        allowed = 0.25 * row["typical"] if row["tissue"] == "aorta" else 20
        assert abs(row["p50"] - row["typical"]) <= max(allowed, 20), row


def test_the_section_has_a_line_per_tissue() -> None:
    text = section(attenuation(3, np.random.default_rng(0)))
    assert text.count("\n| ") == 1 + len(TYPICAL_HU)
    assert "| portal vein | 42: " in text
