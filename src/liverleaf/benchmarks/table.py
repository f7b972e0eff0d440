"""What methods reach case by case in; one table of them as JSON, Markdown and a figure out, in the form of every table of the project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from liverleaf.evaluate.stats import bootstrap_mean, holm, paired_test

RESAMPLES = 2000
SIGNIFICANT = 0.05
"""A difference counts as shown if its corrected p is below this and its 95 % interval does not hold
0."""


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
class Row:
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
    rows: Sequence[Row], metrics: Mapping[str, Metric], *, ours: str, seed: int
) -> list[dict[str, Any]]:
    """The rows of `table.json`.

    A metric's mean is over cases, its standard deviation over the folds' means, its 95 % interval
    from a bootstrap by subject, and its `p_value` from a two-sided Wilcoxon signed-rank test of our
    method against the row's, over subjects, corrected by Holm for the number of rows tested; our
    own row carries that of its best rival. A row's own `p_value` is that of the first metric.
    `ahead` is by how much our method is better than the row's, positive where it is, whichever way
    the metric counts: the mean over subjects that both have, with its bootstrap interval.
    """
    p_values = {name: _p_values(rows, name, metric, ours) for name, metric in metrics.items()}
    of_ours = next((row.values for row in rows if row.name == ours), {})
    first = next(iter(metrics))
    return [
        {
            "name": row.name,
            "metrics": {
                name: (
                    _metric(row.values[name], metric, seed)
                    | {"p_value": p_values[name].get(row.name)}
                    | (
                        {}
                        if row.name == ours or not of_ours.get(name)
                        else {"ahead": _ahead(of_ours[name], row.values[name], metric, seed)}
                    )
                )
                for name, metric in metrics.items()
                if row.values.get(name)
            },
            "p_value": p_values[first].get(row.name),
            "published": {
                name: {"mean": mean, "sd": sd}
                for name, (mean, sd) in row.published.items()
                if name in metrics
            },
            "train_seconds": row.train_seconds,
            "parameters": row.parameters,
            "flops": row.flops,
            "peak_memory_mb": row.peak_memory_mb,
            "notes": list(row.notes),
        }
        for row in rows
    ]


def _p_values(rows: Sequence[Row], name: str, metric: Metric, ours: str) -> dict[str, float]:
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


def _ahead(
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


def markdown(record: Mapping[str, Any], metrics: Mapping[str, Metric]) -> str:
    """A table as a page, from the record of `table.json`."""
    costs = ("train_seconds", "parameters", "flops", "peak_memory_mb")
    header = [
        "method",
        *(title for m in metrics.values() for title in (m.title, "p")),
        *(f"published {m.title}" for m in metrics.values()),
        "training (s)",
        "parameters (M)",
        "GFLOPs",
        "memory (MB)",
    ]
    lines = [
        f"# {record['title']}",
        "",
        record["about"],
        "",
        "| " + " | ".join(header) + " |",
        "|---" + "|---:" * (len(header) - 1) + "|",
    ]
    for row in record["rows"]:
        cells = [row["name"]]
        for name in metrics:
            found = row["metrics"].get(name)
            cells += [_measured(found), _p(found)]
        cells += [_published(row["published"].get(name)) for name in metrics]
        for name, factor, digits in zip(costs, (1, 1e-6, 1e-9, 1), (0, 3, 3, 0), strict=True):
            cells.append("" if row[name] is None else f"{factor * row[name]:.{digits}f}")
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        (
            "Mean over cases ± standard deviation over folds (95 % bootstrap interval by subject,"
            f" n subjects). p: {record['ours']} against the row's, Wilcoxon signed-rank over"
            f" subjects, corrected by Holm; in the row of {record['ours']}, against its best rival."
            " FLOPs: one forward pass of one slice. Memory: one forward and backward pass of one"
            " slice. Published values were measured on other, private data and by other code: they"
            " are not comparable with ours."
        ),
    ]
    notes = [f"- {row['name']}: {note}" for row in record["rows"] for note in row["notes"]]
    lines += ["", *notes] if notes else []
    lines += ["", f"## {record['ours']} against each, in words", "", record["reading"], ""]
    lines += [
        f"- {metric.title}: {verdict}"
        for name, metric in metrics.items()
        if (verdict := _verdict(record["rows"], name))
    ]
    return "\n".join(lines) + "\n"


def _verdict(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    """Which rows are shown to be worse than ours, which better, and which neither; each with the difference and its interval."""
    sides: dict[str, list[str]] = {
        "better than": [],
        "worse than": [],
        "no difference shown to": [],
    }
    for row in rows:
        found = row["metrics"].get(metric, {})
        if ahead := found.get("ahead"):
            low, high = ahead["ci95"]
            shown = found["p_value"] < SIGNIFICANT and not low <= 0 <= high
            side = (
                "no difference shown to"
                if not shown
                else "better than"
                if low > 0
                else "worse than"
            )
            sides[side].append(f"{row['name']} ({ahead['mean']:+.1f}, {low:.1f} to {high:.1f})")
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
    """Every method's mean with its interval, and hollow where it was published, a panel per metric."""
    rows = record["rows"]
    drawn = Figure(
        figsize=(2.2 + 3.2 * len(metrics), 1.3 + 0.34 * len(rows)), dpi=130, layout="constrained"
    )
    panels = drawn.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for panel, (name, metric) in zip(panels, metrics.items(), strict=True):
        for line, row in enumerate(rows):
            colour = "#1f7f8c" if row["name"] == record["ours"] else "#26323a"
            if found := row["metrics"].get(name):
                panel.plot(found["ci95"], [line, line], color=colour, linewidth=1.5)
                panel.plot(
                    found["mean"],
                    line,
                    "o",
                    color=colour,
                    markersize=5,
                    label="measured, with 95 % interval",
                )
            if name in row["published"]:
                panel.plot(
                    row["published"][name]["mean"],
                    line,
                    "D",
                    mfc="none",
                    color="#b0722c",
                    markersize=5,
                    label="published, on other data",
                )
        panel.set_xlabel(
            f"{metric.title} ({'higher' if metric.higher_is_better else 'lower'} is better)",
            fontsize=9,
        )
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
