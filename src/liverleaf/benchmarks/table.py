"""A table that compares methods case by case: its record, its page and its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from liverleaf.benchmarks.result import markdown_table
from liverleaf.evaluate.stats import bootstrap_mean, holm, paired_test

RESAMPLES = 2000
ALPHA = 0.05
"""A difference is significant if its corrected p is below this and its 95 % interval does not
include 0."""
COSTS: Mapping[str, tuple[str, float, int]] = {
    "train_seconds": ("training (s)", 1, 0),
    "parameters": ("parameters (M)", 1e-6, 3),
    "flops": ("GFLOPs", 1e-9, 3),
    "peak_memory_mb": ("memory (MB)", 1, 0),
}
"""What a method costs: how it is printed, what multiplies it, and its digits."""


class Metric(NamedTuple):
    """What is measured: how it is printed, what multiplies it, and whether more is better."""

    title: str
    factor: float
    higher_is_better: bool


class Value(NamedTuple):
    """One method's value on one case."""

    subject: str
    fold: int
    value: float


@dataclass(frozen=True)
class MethodRow:
    """One method.

    Attributes:
        name: as printed.
        values: by metric, one per case.
        published: by metric, mean and standard deviation (or None), measured elsewhere on other
            data.
        train_seconds, parameters, flops, peak_memory_mb: what it costs; None for what is no
            network.
        notes: what readers must know of it.
    """

    name: str
    values: Mapping[str, Sequence[Value]]
    published: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    train_seconds: float | None = None
    parameters: int | None = None
    flops: int | None = None
    peak_memory_mb: float | None = None
    notes: tuple[str, ...] = ()


def summarise(
    rows: Sequence[MethodRow],
    metrics: Mapping[str, Metric],
    *,
    ours: str,
    seed: int,
    tested: bool = True,
) -> list[dict[str, Any]]:
    """The rows of `table.json`.

    A metric's mean is over cases, its standard deviation over the folds' means, its 95 % interval
    from a bootstrap by subject, and its `p_value` from a two-sided Wilcoxon signed-rank test of our
    method against the row's, over subjects, corrected by Holm for the number of rows tested; our
    own row carries that of its best baseline. A row's own `p_value` is that of the first metric.
    `ahead` is by how much our method is better than the row's, positive where it is, whichever way
    the metric counts: the mean over subjects that both have, with its bootstrap interval. Where
    differences are not `tested`, because too little was computed to tell any, `p_value` is None and
    `ahead` is left out.
    """
    p_values = {
        name: _p_values(rows, name, metric, ours) if tested else {}
        for name, metric in metrics.items()
    }
    of_ours = next((row.values for row in rows if tested and row.name == ours), {})

    def measured(row: MethodRow, name: str) -> dict[str, Any]:
        values, metric = row.values[name], metrics[name]
        found = _metric(values, metric, seed) | {"p_value": p_values[name].get(row.name)}
        if row.name != ours and of_ours.get(name):
            found["ahead"] = _advantage(of_ours[name], values, metric, seed)
        return found

    return [
        {
            "name": row.name,
            "metrics": {name: measured(row, name) for name in metrics if row.values.get(name)},
            "p_value": p_values[next(iter(metrics))].get(row.name),
            "published": {
                name: {"mean": mean, "sd": sd}
                for name, (mean, sd) in row.published.items()
                if name in metrics
            },
            **{name: getattr(row, name) for name in COSTS},
            "notes": list(row.notes),
        }
        for row in rows
    ]


def _p_values(rows: Sequence[MethodRow], name: str, metric: Metric, ours: str) -> dict[str, float]:
    """Of one metric, by row, corrected for their number."""
    values = {row.name: row.values[name] for row in rows if row.values.get(name)}
    tested = [other for other in values if other != ours] if ours in values else []
    if not tested:
        return {}
    found = holm([paired_test(*_paired(values[ours], values[other])) for other in tested])
    p_values = dict(zip(tested, found, strict=True))
    sign = 1 if metric.higher_is_better else -1
    best = max(tested, key=lambda other: sign * float(np.mean([v.value for v in values[other]])))
    return p_values | {ours: p_values[best]}


def _metric(values: Sequence[Value], metric: Metric, seed: int) -> dict[str, Any]:
    numbers = metric.factor * np.array([v.value for v in values])
    folds = np.array([v.fold for v in values])
    estimate = bootstrap_mean(
        numbers, [v.subject for v in values], rng=np.random.default_rng(seed), resamples=RESAMPLES
    )
    means = [float(numbers[folds == fold].mean()) for fold in np.unique(folds)]
    return {
        "mean": estimate.mean,
        "sd": float(np.std(means, ddof=1)) if len(means) > 1 else None,
        "ci95": [estimate.low, estimate.high],
        "n": estimate.n,
    }


def _advantage(
    ours: Sequence[Value], other: Sequence[Value], metric: Metric, seed: int
) -> dict[str, Any]:
    better = (
        (1 if metric.higher_is_better else -1) * metric.factor * np.subtract(*_paired(ours, other))
    )
    estimate = bootstrap_mean(
        better, range(len(better)), rng=np.random.default_rng(seed), resamples=RESAMPLES
    )
    return {"mean": estimate.mean, "ci95": [estimate.low, estimate.high], "n": estimate.n}


def _paired(a: Sequence[Value], b: Sequence[Value]) -> tuple[list[float], list[float]]:
    """Means of each subject that both have."""
    first, second = (
        {
            s: float(np.mean([v.value for v in values if v.subject == s]))
            for s in {v.subject for v in values}
        }
        for values in (a, b)
    )
    both = sorted(first.keys() & second.keys())
    return [first[s] for s in both], [second[s] for s in both]


def page(record: Mapping[str, Any], metrics: Mapping[str, Metric]) -> str:
    """A table as a page, from the record of `table.json`.

    A record without `reading` is of a table whose differences were not tested: there are no columns
    of p and no verdicts.
    """
    tested = "reading" in record
    lines = [
        f"# {record['title']}",
        "",
        record["about"],
        "",
        *_methods(record["rows"], metrics, tested=tested),
        "",
        _legend(record["ours"], tested=tested),
    ]
    notes = [f"- {row['name']}: {note}" for row in record["rows"] for note in row["notes"]]
    lines += ["", *notes] if notes else []
    if tested:
        lines += ["", f"## {record['ours']} against each, in words", "", record["reading"], ""]
        lines += [
            f"- {metric.title}: {verdict}"
            for name, metric in metrics.items()
            if (verdict := _verdict(record["rows"], name))
        ]
    return "\n".join(lines) + "\n"


def _legend(ours: str, *, tested: bool) -> str:
    p_values = (
        f" p: {ours} against the row's, Wilcoxon signed-rank over subjects, corrected by Holm; in"
        f" the row of {ours}, against its best baseline."
    )
    return (
        "Mean over cases ± standard deviation over folds (95 % bootstrap interval by subject, n"
        f" subjects).{p_values if tested else ''} FLOPs: one forward pass of one slice. Memory: one"
        " forward and backward pass of one slice. Published values were measured on other, private"
        " data and by other code: they are not comparable with ours."
    )


def _methods(
    rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, Metric], *, tested: bool
) -> list[str]:
    """A line per method: what it reaches, what was published of it, and what it costs."""
    p_title = ("p",) if tested else ()
    header = [
        "method",
        *(title for metric in metrics.values() for title in (metric.title, *p_title)),
        *(f"published {metric.title}" for metric in metrics.values()),
        *(title for title, _, _ in COSTS.values()),
    ]
    cells = []
    for row in rows:
        measured = [row["metrics"].get(name) for name in metrics]
        cells.append(
            [
                row["name"],
                *(
                    cell
                    for value in measured
                    for cell in (_measured(value), *([_p(value)] if tested else []))
                ),
                *(_published(row["published"].get(name)) for name in metrics),
                *(
                    "" if row[name] is None else f"{factor * row[name]:.{digits}f}"
                    for name, (_, factor, digits) in COSTS.items()
                ),
            ]
        )
    return markdown_table(header, cells)


def _verdict(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    """Which rows ours is better than, worse than, and neither, with differences and intervals."""
    sides: dict[str, list[str]] = {
        "better than": [],
        "worse than": [],
        "no difference shown to": [],
    }
    for row in rows:
        found = row["metrics"].get(metric, {})
        if advantage := found.get("ahead"):
            low, high = advantage["ci95"]
            side = "better than" if low > 0 else "worse than"
            if found["p_value"] >= ALPHA or low <= 0 <= high:
                side = "no difference shown to"
            words = f"{row['name']} ({advantage['mean']:+.1f}, {low:.1f} to {high:.1f})"
            sides[side].append(words)
    return "; ".join(f"**{side}** {', '.join(names)}" for side, names in sides.items() if names)


def _measured(metric: Mapping[str, Any] | None) -> str:
    if metric is None:
        return "-"
    spread = "" if metric["sd"] is None else f" ± {metric['sd']:.2f}"
    return (
        f"{metric['mean']:.2f}{spread} ({metric['ci95'][0]:.2f} to {metric['ci95'][1]:.2f},"
        f" n={metric['n']})"
    )


def _p(metric: Mapping[str, Any] | None) -> str:
    if metric is None or metric["p_value"] is None:
        return ""
    return f"{metric['p_value']:.3f}" if metric["p_value"] >= 0.001 else "< 0.001"


def _published(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return "-"
    return f"{value['mean']:.2f}" + ("" if value["sd"] is None else f" ± {value['sd']:.2f}")


def figure(record: Mapping[str, Any], metrics: Mapping[str, Metric]) -> Figure:
    """Every method's mean with its interval and, hollow, what was published; a panel per metric."""
    rows = record["rows"]
    drawn = Figure(
        figsize=(2.2 + 3.2 * len(metrics), 1.3 + 0.34 * len(rows)), dpi=130, layout="constrained"
    )
    panels = drawn.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for panel, (name, metric) in zip(panels, metrics.items(), strict=True):
        for line, row in enumerate(rows):
            _draw_method(panel, line, row, name, ours=row["name"] == record["ours"])
        better = "higher" if metric.higher_is_better else "lower"
        panel.set_xlabel(f"{metric.title} ({better} is better)", fontsize=9)
        panel.grid(alpha=0.2, axis="x")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=9)
    panels[0].invert_yaxis()
    labels: dict[str, Any] = {}
    for panel in panels:
        handles, names = panel.get_legend_handles_labels()
        labels |= dict(zip(names, handles, strict=True))
    drawn.legend(
        labels.values(),
        labels.keys(),
        loc="outside upper center",
        ncols=2,
        frameon=False,
        fontsize=9,
    )
    return drawn


def _draw_method(panel: Any, line: int, row: Mapping[str, Any], metric: str, *, ours: bool) -> None:
    """Draw one method's mean, interval and published value in one panel."""
    colour = "#1f7f8c" if ours else "#26323a"
    if measured := row["metrics"].get(metric):
        panel.plot(measured["ci95"], [line, line], color=colour, linewidth=1.5)
        label = "measured, with 95 % interval"
        panel.plot(measured["mean"], line, "o", color=colour, markersize=5, label=label)
    if published := row["published"].get(metric):
        label = "published, on other data"
        panel.plot(
            published["mean"], line, "D", mfc="none", color="#b0722c", markersize=5, label=label
        )
