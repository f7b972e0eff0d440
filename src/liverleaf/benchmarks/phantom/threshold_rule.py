"""How well the best plain threshold inside the true liver finds lesions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from liverleaf.benchmarks.result import markdown_table
from liverleaf.evaluate.stats import bootstrap_mean, wilson
from liverleaf.measure.lesions import bounding_box
from liverleaf.study import Annotation, Study
from liverleaf.terminology import LesionType, Organ

SMOOTHING_MM = 3.0
"""Standard deviation of the Gaussian that every image is smoothed with."""
FACTORS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0)
SOLVED_DICE = 0.7
"""A case counts as solved from here."""
FOUND_SHARE = 0.5
"""A lesion counts as found when this share of its voxels is marked."""
SIDES: Mapping[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "brighter or darker": np.abs,
    "brighter": np.positive,
    "darker": np.negative,
}


class Rule(NamedTuple):
    """Mark where an image deviates from the liver's median by more than a threshold.

    Attributes:
        image: a phase ("portal") or the difference of two ("arterial - portal").
        side: a key of `SIDES`.
        factor: in robust standard deviations of the liver.
    """

    image: str
    side: str
    factor: float


class Scores(NamedTuple):
    """What every rule scores in one case that has lesions.

    Attributes:
        subject: whose case it is.
        dice: of all lesions.
        types: of each type, its Dice, the share of its lesions found, and their number.
    """

    subject: str
    dice: dict[Rule, float]
    types: dict[Rule, dict[LesionType, tuple[float, float, int]]]


def threshold_rule(cases: Iterable[tuple[Study, Annotation]], seed: int) -> dict[str, Any]:
    """Choose the best plain rule on half of the cases that have lesions, evaluate it on the others.

    The rule is given the true liver with its lesions and without its vessels, and smooths inside it
    only. It knows one image: a phase or the difference of two. Where |image - median| > factor *
    1.4826 * median absolute deviation, or where one side of this holds, it sees lesion. A rule that
    needs a phase which a case does not have marks nothing there.

    Args:
        cases: studies with all phases on one grid, and their truth with organs; cases without
            lesions are counted and left out.
        seed: of the split and of the bootstrap.

    Returns:
        JSON-able: the rule, its Dice over the other half with a bootstrap interval by subject, the
            share of cases solved (`SOLVED_DICE`), Dice and share of lesions found by type, and the
            mean Dice if every case had the rule that suits it best.

    Raises:
        ValueError: fewer than four cases have lesions, or a case has no organs or phases on several
            grids.
    """
    scored: list[Scores] = []
    without = 0
    for study, truth in cases:
        if truth.lesions.array.any():
            scored.append(_scores(study, truth))
        else:
            without += 1
    if len(scored) < 4:
        raise ValueError(f"a threshold rule needs four cases with lesions, got {len(scored)}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(scored))
    chosen_on, other = order[: len(order) // 2], [scored[i] for i in order[len(order) // 2 :]]
    names = sorted({rule for case in scored for rule in case.dice})
    best = max(
        names, key=lambda rule: float(np.mean([scored[i].dice.get(rule, 0.0) for i in chosen_on]))
    )
    reached = [case.dice.get(best, 0.0) for case in other]
    subjects = [case.subject for case in other]
    return {
        "seed": seed,
        "cases_chosen_on": len(chosen_on),
        "cases_without_lesions": without,
        "rule": best._asdict(),
        "dice": vars(bootstrap_mean(reached, subjects, rng=rng)),
        "solved": vars(wilson(sum(value >= SOLVED_DICE for value in reached), len(reached))),
        "own_rule_dice": vars(
            bootstrap_mean([max(case.dice.values()) for case in other], subjects, rng=rng)
        ),
        "types": _by_type(other, best, rng),
        "case_dice": sorted(reached),
    }


def deviation(
    image: NDArray[np.float32], liver: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> NDArray[np.float32]:
    """How many robust standard deviations each liver voxel lies above the liver's median.

    The image is smoothed first.

    Args:
        image: intensities (Z, Y, X).
        liver: where to look, with its lesions; what lies outside does not blur into it.
        spacing_mm: voxel size along Z, Y and X.

    Returns:
        One value per liver voxel, in the array's order; all 0 where the liver is perfectly even.
    """
    box = bounding_box(liver)
    if box is None:
        return np.zeros(0, np.float32)
    inside, sd = liver[box], SMOOTHING_MM / np.asarray(spacing_mm)
    weight = gaussian_filter(inside.astype(np.float32), sd)[inside]
    values = (
        gaussian_filter(np.where(inside, image[box], 0).astype(np.float32), sd)[inside] / weight
    )
    values -= np.median(values)
    spread = 1.4826 * np.median(np.abs(values))
    return np.asarray(values / spread if spread else np.zeros_like(values), np.float32)


def section(record: Mapping[str, Any], cohort: str) -> str:
    """The section on plain rules in a cohort of the page on the phantom's realism."""
    rule, overall = record["rule"], record["dice"]
    lines = [
        f"## What a plain threshold finds: {cohort}",
        "",
        (
            f"The best of {len(FACTORS) * len(SIDES)} thresholds per image, in any phase or"
            " difference of two phases, inside the true liver without its vessels and after"
            f" smoothing by {SMOOTHING_MM:g} mm. Chosen on {record['cases_chosen_on']} cases:"
            f" {rule['image']}, {rule['side']} than {rule['factor']:g} robust standard deviations"
            f" from the liver's median. Evaluated on {overall['n']} other cases."
        ),
        "",
        *_overall_table(record),
        "",
        *_types_table(record["types"]),
        "",
        (
            "Dice of a type leaves out other types' lesions. A lesion is found if"
            f" {100 * FOUND_SHARE:g} % of it is marked."
        ),
    ]
    return "\n".join(lines) + "\n"


def _overall_table(record: Mapping[str, Any]) -> list[str]:
    dice, own, solved = record["dice"], record["own_rule_dice"], record["solved"]
    percent = {key: 100 * solved[key] for key in ("mean", "low", "high")}
    rows = (
        ("Dice of the lesions", f"{dice['mean']:.3f}", f"{dice['low']:.3f} to {dice['high']:.3f}"),
        (
            f"cases with a Dice of {SOLVED_DICE:g} or more",
            f"{percent['mean']:.0f} %",
            f"{percent['low']:.0f} to {percent['high']:.0f} %",
        ),
        (
            "Dice if each case had the rule that suits it best",
            f"{own['mean']:.3f}",
            f"{own['low']:.3f} to {own['high']:.3f}",
        ),
    )
    return markdown_table(("", "value", "95 % interval"), rows)


def _types_table(types: Mapping[str, Any]) -> list[str]:
    rows = (
        (
            name,
            each["dice"]["n"],
            f"{each['dice']['mean']:.3f}",
            f"{each['dice']['low']:.3f} to {each['dice']['high']:.3f}",
            f"{100 * each['found']:.0f} % of {each['lesions']}",
        )
        for name, each in types.items()
    )
    return markdown_table(("type", "cases", "Dice", "95 % interval", "lesions found"), rows)


def figure(records: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Dice of the plain rule in each cohort: by case, sorted, and by type with intervals."""
    drawn = Figure(figsize=(9.5, 3.2 * len(records)), dpi=130, layout="constrained")
    for (cohort, record), (left, right) in zip(
        records.items(), drawn.subplots(len(records), 2, squeeze=False), strict=True
    ):
        values = record["case_dice"]
        left.axhspan(SOLVED_DICE, 1, color="#bcd9dd", linewidth=0)
        left.plot(
            np.arange(1, len(values) + 1) / len(values) * 100,
            values,
            ".-",
            color="#26323a",
            markersize=4,
            linewidth=1,
        )
        left.set_title(f"{cohort}: best rule for the cohort", fontsize=9)
        left.set_xlabel("cases, sorted (%; shaded: solved)")
        left.set_ylabel("Dice")
        left.set_ylim(0, 1)
        left.grid(alpha=0.2)
        for line, each in enumerate(record["types"].values()):
            value = each["dice"]
            right.plot([value["low"], value["high"]], [line, line], color="#1f7f8c", linewidth=1.5)
            right.plot(value["mean"], line, "o", color="#26323a", markersize=4)
        right.set_yticks(range(len(record["types"])), list(record["types"]), fontsize=8)
        right.invert_yaxis()
        right.set_xlim(0, 1)
        right.set_xlabel("Dice by type, with 95 % interval")
        right.spines[["top", "right"]].set_visible(False)
    return drawn


def _scores(study: Study, truth: Annotation) -> Scores:
    """Dice of every rule of the family in one case."""
    if truth.organs is None or not study.on_one_grid:
        raise ValueError(
            f"{study.case_id} needs organs in its truth and phases on one grid; register it first"
        )
    lesions = truth.lesions.array
    liver = (truth.organs.array == Organ.LIVER) | (lesions > 0)
    labels = lesions[liver]
    own = {
        kind: [lesion.label for lesion in truth.lesion_list if lesion.type is kind]
        for kind in LesionType
    }
    voxels = np.bincount(labels, minlength=max(lesion.label for lesion in truth.lesion_list) + 1)
    overall: dict[Rule, float] = {}
    types: dict[Rule, dict[LesionType, tuple[float, float, int]]] = {}
    for name, image in _images(study):
        above = deviation(image, liver, study.grid.spacing)
        for side, turned in SIDES.items():
            for factor in FACTORS:
                hit = np.bincount(labels[turned(above) > factor], minlength=voxels.size)
                rule = Rule(name, side, factor)
                overall[rule] = _dice(hit, voxels, range(1, voxels.size))
                types[rule] = {
                    kind: _of_type(hit, voxels, labels_of)
                    for kind, labels_of in own.items()
                    if labels_of
                }
    return Scores(study.subject_id or study.case_id, overall, types)


def _images(study: Study) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Every phase and every difference of two."""
    arrays = {phase.key: image.volume.array for phase, image in study.phases.items()}
    yield from arrays.items()
    for (early, a), (late, b) in combinations(arrays.items(), 2):
        yield f"{late} - {early}", b - a


def _dice(hit: NDArray[np.intp], voxels: NDArray[np.intp], labels: Sequence[int]) -> float:
    """Dice of some labels, from marked voxels and all voxels by label.

    Other lesions are left out; 0 is the label of the rest of the liver.
    """
    own = list(labels)
    return float(2 * hit[own].sum() / max(hit[own].sum() + hit[0] + voxels[own].sum(), 1))


def _of_type(
    hit: NDArray[np.intp], voxels: NDArray[np.intp], labels: Sequence[int]
) -> tuple[float, float, int]:
    """Dice of one type's lesions, the share of them found, and how many there are."""
    present = [label for label in labels if voxels[label]]
    found = [hit[label] >= FOUND_SHARE * voxels[label] for label in present]
    return _dice(hit, voxels, labels), float(np.mean(found)) if found else 0.0, len(present)


def _by_type(cases: Sequence[Scores], rule: Rule, rng: np.random.Generator) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in LesionType:
        having = [case for case in cases if any(kind in each for each in case.types.values())]
        rows = [
            (
                case.types[rule][kind]
                if rule in case.types
                else (0.0, 0.0, next(iter(case.types.values()))[kind][2])
            )
            for case in having
        ]
        if lesions := sum(row[2] for row in rows):
            found[kind.title] = {
                "dice": vars(
                    bootstrap_mean(
                        [row[0] for row in rows], [case.subject for case in having], rng=rng
                    )
                ),
                "found": float(sum(row[1] * row[2] for row in rows) / lesions),
                "lesions": lesions,
            }
    return found
