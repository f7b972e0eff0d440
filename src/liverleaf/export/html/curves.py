"""Picture of a lesion's enhancement curve beside the liver's, as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from liverleaf.study import Phase

INK, LIVER_INK = "#26323a", "#1f7f8c"
"""Lines of a curve: lesion colours are made for dark images and too pale for lines on white, so
they fill the markers only."""

MARGINS = {"left": 0.17, "right": 0.97, "bottom": 0.31, "top": 0.92}
"""Room for five digits, two lines per tick and a legend; measuring the texts instead would draw
every figure twice."""


def curve_figure(
    phases: Sequence[Phase],
    *,
    measured: Mapping[Phase, float],
    regressed: Mapping[Phase, float],
    liver: Mapping[Phase, float],
    times_s: Mapping[Phase, float | None],
    colour: str,
    unit: str,
) -> bytes:
    """Draw one lesion's enhancement beside the liver's.

    The x axis is that of `time_axis`, or the phases equally spaced.

    Args:
        phases: the phases that the study has, in order.
        measured: the lesion's mean intensity per phase, measured under its mask.
        regressed: the same as the network's regression head gives it; may be empty.
        liver: the lesion-free liver's mean intensity per phase.
        times_s: seconds from injection per phase, None where unknown.
        colour: of the lesion, "#rrggbb".
        unit: of the intensity.

    Returns:
        The figure as PNG.
    """
    figure = Figure(figsize=(4.6, 2.9), dpi=180)
    axes = figure.subplots(gridspec_kw=MARGINS)
    seconds = time_axis(phases, times_s)
    x = seconds or {phase: float(index) for index, phase in enumerate(phases)}
    lesion_marker = {"marker": "o", "markersize": 7, "markerfacecolor": colour}
    network_marker = {"marker": "s", "markersize": 5, "markerfacecolor": "white"}
    curves: tuple[tuple[Mapping[Phase, float], str, dict[str, Any]], ...] = (
        (measured, "lesion, measured", {"color": INK, "linewidth": 2.0, **lesion_marker}),
        (regressed, "lesion, network", {"color": INK, "linestyle": "--", **network_marker}),
        (liver, "liver, measured", {"color": LIVER_INK, "marker": "D", "markersize": 5}),
    )
    for curve, name, style in curves:
        there = [phase for phase in phases if phase in curve]
        if there:
            x_values, y_values = [x[phase] for phase in there], [curve[phase] for phase in there]
            axes.plot(x_values, y_values, label=name, **style)
    axes.set_xlabel("seconds after injection" if seconds else "phase (equally spaced)")
    axes.set_ylabel(f"mean intensity ({unit})")
    if seconds:
        _name_phases(axes, x)
    else:
        ticks = [_tick(phase, times_s.get(phase)) for phase in phases]
        axes.set_xticks([x[phase] for phase in phases], ticks)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    first, last = min(x.values()), max(x.values())
    margin = 0.06 * (last - first) or 0.5
    axes.set_xlim(first - margin, last + margin)
    axes.margins(y=0.12)
    figure.legend(loc="lower center", ncols=3, fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 3})
    return buffer.getvalue()


def _name_phases(axes: Axes, x: Mapping[Phase, float]) -> None:
    """Write each phase above its time."""
    for phase, position in x.items():
        axes.text(
            position,
            1.02,
            _SHORT[phase],
            transform=axes.get_xaxis_transform(),
            ha="center",
            fontsize=7.5,
            color="#555555",
        )


def time_axis(
    phases: Sequence[Phase], times_s: Mapping[Phase, float | None]
) -> dict[Phase, float] | None:
    """Seconds after injection per phase, for an axis; before contrast counts as 0 s.

    None where a time is unknown, where times do not rise from phase to phase, where there is a
    single phase, and where there is a hepatobiliary phase, whose 20 minutes would squeeze the
    others into a corner.
    """
    times = [0.0 if phase is Phase.PRE else times_s.get(phase) for phase in phases]
    known = [time_s for time_s in times if time_s is not None]
    if len(phases) < 2 or Phase.HEPATOBILIARY in phases or len(known) < len(phases):
        return None
    rising = all(earlier < later for earlier, later in pairwise(known))
    return dict(zip(phases, known, strict=True)) if rising else None


_SHORT = {
    Phase.PRE: "pre",
    Phase.ARTERIAL: "art.",
    Phase.PORTAL: "portal",
    Phase.DELAYED: "delayed",
    Phase.HEPATOBILIARY: "hepatob.",
}


def _tick(phase: Phase, time_s: float | None) -> str:
    return (
        _SHORT[phase]
        if time_s is None or phase is Phase.PRE
        else f"{_SHORT[phase]}\n{time_s:.0f} s"
    )
