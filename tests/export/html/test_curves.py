"""The axis of an enhancement curve is time only where time is known and tells something."""

import io

import pytest
from PIL import Image

from liverleaf.export.html.curves import curve_figure, time_axis
from liverleaf.study import Phase

PRE, ARTERIAL, PORTAL, HEPATOBILIARY = Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.HEPATOBILIARY


@pytest.mark.parametrize(
    ("times_s", "expected"),
    [
        ({PRE: None, ARTERIAL: 30.0, PORTAL: 70.0}, {PRE: 0.0, ARTERIAL: 30.0, PORTAL: 70.0}),
        ({PRE: -40.0, ARTERIAL: 30.0}, {PRE: 0.0, ARTERIAL: 30.0}),
        ({ARTERIAL: 30.0, PORTAL: None}, None),
        ({ARTERIAL: 70.0, PORTAL: 70.0}, None),
        ({PORTAL: 70.0, HEPATOBILIARY: 1200.0}, None),
        ({PORTAL: 70.0}, None),
    ],
    ids=[
        "pre at zero",
        "pre before injection",
        "a time unknown",
        "times do not rise",
        "hepatobiliary",
        "one phase",
    ],
)
def test_time_axis(times_s: dict[Phase, float | None], expected: dict[Phase, float] | None) -> None:
    assert time_axis(list(times_s), times_s) == expected


@pytest.mark.parametrize("times_s", [{}, {ARTERIAL: 30.0, PORTAL: 70.0}])
def test_curves_may_have_gaps(times_s: dict[Phase, float | None]) -> None:
    png = curve_figure(
        [ARTERIAL, PORTAL],
        measured={PORTAL: 90.0},
        regressed={},
        liver={},
        times_s=times_s,
        colour="#ff4d4d",
        unit="HU",
    )
    assert Image.open(io.BytesIO(png)).size == (828, 522)
