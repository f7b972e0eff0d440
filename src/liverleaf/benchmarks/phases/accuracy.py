"""Accuracy of the contrast phases found in phantom studies as their DICOM headers go missing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from liverleaf.benchmarks.phases.fit import FITTED_TO, fit_phase_pixels
from liverleaf.benchmarks.phases.fit import SEED as FIT_SEED
from liverleaf.benchmarks.result import Result, interval, markdown_table, measured_by, origin
from liverleaf.evaluate.metrics.classification import confusion
from liverleaf.evaluate.stats import bootstrap
from liverleaf.ingest.dicom.survey import survey
from liverleaf.ingest.phases.identify import identify
from liverleaf.ingest.phases.images import COEFFICIENTS
from liverleaf.ingest.phases.of_stacks import SURE
from liverleaf.ingest.phases.reasons import PhaseGuess
from liverleaf.phantom.dicom_series import write_dicom
from liverleaf.phantom.generator import Phantom
from liverleaf.study import Modality, Phase, Study
from liverleaf.system.progress import Progress, silent

SHAPE, SPACING_MM = (14, 112, 112), (16.0, 3.2, 3.2)
PRESETS = (("ct", Modality.CT), ("mr", Modality.MR), ("hard", Modality.CT), ("hard", Modality.MR))
CASES, SEED = 15, 950001
NONE = len(Phase)
PREDICTIONS = (*(phase.title for phase in Phase), "none")
BINS = 10
SOURCES = {"headers": "headers only", "pixels": "headers and pixels"}

WORDS = (
    "SeriesDescription",
    "ProtocolName",
    "ContrastBolusAgent",
    "ContrastBolusRoute",
    "ContrastBolusStartTime",
)
TIMES = (
    "AcquisitionTime",
    "AcquisitionDate",
    "ContentTime",
    "ContentDate",
    "SeriesTime",
    "SeriesDate",
)
NUMBERS = ("SeriesNumber", "AcquisitionNumber")
STEPS: Mapping[str, tuple[str, ...]] = {
    "all headers": (),
    "no words, no agent": WORDS,
    "no times either": (*WORDS, *TIMES),
    "no numbers either": (*WORDS, *TIMES, *NUMBERS),
}
"""What is taken out of the headers; the order of the files never tells anything."""


class PhaseGuessRow(NamedTuple):
    """One series.

    Attributes:
        study: number of its study.
        group: preset and modality.
        step: a key of `STEPS`.
        source: a key of `SOURCES`.
        truth: its phase.
        predicted: a phase, or `NONE`.
        confidence: in [0, 1].
    """

    study: int
    group: str
    step: str
    source: str
    truth: int
    predicted: int
    confidence: float


def run(*, cases: int = CASES, seed: int = SEED, progress: Progress = silent) -> Result:
    """Measure how well phases are told.

    Args:
        cases: phantoms of each of `PRESETS`.
        seed: of the first of these; the others have the next ones. A seed of `FITTED_TO` is
            refused.
        progress: told which phantom is read.

    Raises:
        ValueError: phantoms of this seed were fitted to.
    """
    seeds = range(seed, seed + len(PRESETS))
    if any(group.seed in seeds for group in FITTED_TO):
        raise ValueError(
            "the coefficients were fitted to phantoms of the seeds"
            f" {[group.seed for group in FITTED_TO]}, got {seed}"
        )
    source = origin(f"phases --cases {cases} --seed {seed}", seed)
    told = list(_told(cases, seeds, progress))
    record = {
        **source,
        "shape": SHAPE,
        "spacing_mm": SPACING_MM,
        "studies": len(PRESETS) * cases,
        "fitted_to": [group._asdict() for group in FITTED_TO],
        "steps": {
            step: {"without": headers, **summary(told, step, seed)}
            for step, headers in STEPS.items()
        },
    }
    return Result("phases", record, _page(record), {"phases.png": _figure(record)})


def run_fit(*, progress: Progress = silent) -> Result:
    """Fit the coefficients by which pixels tell phases and measure nothing.

    They are written as `images.json`; the package keeps its own.
    """
    source = origin("phases --fit", FIT_SEED)
    fitted = json.dumps(fit_phase_pixels(progress=progress)) + "\n"
    same = fitted == COEFFICIENTS.read_text(encoding="utf-8")
    record = {**source, "same_as_package": same}
    words = f"images.json: {'the same as' if same else 'other than'} the package's\n"
    return Result("phases-fit", record, words, {"images.json": fitted})


def _told(cases: int, seeds: range, progress: Progress) -> Iterator[PhaseGuessRow]:
    for place, (preset, modality) in enumerate(PRESETS):
        phantom = Phantom(
            preset, seeds[place], modality, shape=SHAPE, spacing_mm=SPACING_MM, headers=True
        )
        for index in range(cases):
            number = place * cases + index
            progress("reading phantoms", number, len(PRESETS) * cases)
            study, _ = phantom[index]
            for step, headers in STEPS.items():
                for uid, source, guess in _guesses(study, headers):
                    truth = next(
                        phase
                        for phase, image in study.phases.items()
                        if image.headers[0].SeriesInstanceUID == uid
                    )
                    predicted = NONE if guess.phase is None else int(guess.phase)
                    yield PhaseGuessRow(
                        number,
                        f"{preset}, {modality}",
                        step,
                        source,
                        int(truth),
                        predicted,
                        guess.confidence,
                    )


def _guesses(study: Study, without: Sequence[str]) -> Iterator[tuple[str, str, PhaseGuess]]:
    """Each series' UID, a source and its guess, for a study written without some headers.

    The study's own headers lose them too.
    """
    for image in study.phases.values():
        for header in image.headers:
            for keyword in without:
                if keyword in header:
                    del header[keyword]
    with TemporaryDirectory() as scratch:
        write_dicom(study, Path(scratch))
        found = survey(sorted(Path(scratch).iterdir()))
    for header, by_headers, by_all in zip(
        found.headers, identify(found.headers).guesses, found.guesses, strict=True
    ):
        yield str(header.SeriesInstanceUID), "headers", by_headers
        yield str(header.SeriesInstanceUID), "pixels", by_all


def summary(told: Sequence[PhaseGuessRow], step: str, seed: int) -> dict[str, Any]:
    """Macro-F1 with its interval, confusion and calibration of each source at one step."""
    found: dict[str, Any] = {}
    for source in SOURCES:
        mine = [one for one in told if (one.step, one.source) == (step, source)]
        groups = dict.fromkeys(one.group for one in mine)
        right = np.array([one.truth == one.predicted for one in mine])
        confidence = np.array([one.confidence for one in mine])
        found[source] = {
            "series": len(mine),
            "macro_f1": _interval(mine, seed),
            "macro_f1_by_group": {
                group: _interval([one for one in mine if one.group == group], seed)
                for group in groups
            },
            "accuracy": float(right.mean()),
            "calibration_error": calibration_error(confidence, right),
            "sure": int((confidence >= SURE).sum()),
            "sure_and_wrong": int((confidence >= SURE)[~right].sum()),
            "confusion": _confusion(mine).tolist(),
        }
    return found


def macro_f1(counts: NDArray[np.integer]) -> float:
    """Mean F1 of the classes that are among the truth, from a confusion matrix of shape (C, C)."""
    true = counts.sum(axis=1)
    f1 = 2 * np.diag(counts) / np.maximum(true + counts.sum(axis=0), 1)
    return float(f1[true > 0].mean())


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Expected calibration error in ten equal bins of confidence, in [0, 1].

    Reference: Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return float(np.abs(np.bincount(bins, weights=right - confidence)).sum() / len(right))


def _interval(told: Sequence[PhaseGuessRow], seed: int) -> dict[str, float]:
    """Macro-F1 with its bootstrap interval by study."""
    studies = list(dict.fromkeys(one.study for one in told))
    counts = np.stack(
        [_confusion([one for one in told if one.study == study]) for study in studies]
    )
    return vars(
        bootstrap(
            lambda drawn: macro_f1(counts[drawn].sum(axis=0)),
            studies,
            rng=np.random.default_rng(seed),
        )
    )


def _confusion(told: Sequence[PhaseGuessRow]) -> NDArray[np.int64]:
    return confusion([one.truth for one in told], [one.predicted for one in told], NONE + 1)


def _page(record: Mapping[str, Any]) -> str:
    steps = record["steps"]
    groups = list(next(iter(steps.values()))["pixels"]["macro_f1_by_group"])
    rows = [
        (step, SOURCES[source], found[source])
        for step, found in steps.items()
        for source in SOURCES
    ]
    lines = [
        "# How well contrast phases are told",
        "",
        measured_by(record),
        "",
        *_introduction(record, groups),
        "",
        *markdown_table(
            ("headers", "told by", "macro-F1", "accuracy", "ECE", "sure", "of these wrong"),
            (
                (
                    step,
                    source,
                    interval(each["macro_f1"]),
                    f"{each['accuracy']:.3f}",
                    f"{each['calibration_error']:.2f}",
                    f"{each['sure']} of {each['series']}",
                    each["sure_and_wrong"],
                )
                for step, source, each in rows
            ),
            left=2,
        ),
        "",
        "Macro-F1 by preset:",
        "",
        *markdown_table(
            ("headers", "told by", *groups),
            (
                (step, source, *(interval(each["macro_f1_by_group"][group]) for group in groups))
                for step, source, each in rows
            ),
            left=2,
        ),
        "",
        (
            "![Confusion matrices: counts of series, shaded by their share of the true"
            " phase](phases.png)"
        ),
    ]
    return "\n".join(lines) + "\n"


def _introduction(record: Mapping[str, Any], groups: Sequence[str]) -> list[str]:
    """What was done, and what the columns mean."""
    fitted = ", ".join(
        f"{each['cases']} of {each['preset']} {each['modality']} (seed {each['seed']})"
        for each in record["fitted_to"]
    )
    return [
        (
            f"{record['studies']} phantom studies, {record['studies'] // len(groups)} each of"
            f" {'; '.join(groups)}, are written as DICOM and read back, in files whose order tells"
            " nothing. Headers are taken out step by step: descriptions and contrast agent, then"
            " all times, then series and acquisition numbers too. Headers only is `identify`;"
            " headers and pixels is what `liverleaf inspect` says. The coefficients by which"
            " pixels tell were fitted to phantoms too, of other seeds and on another grid"
            f" ({fitted}); how well they tell real studies is not known from this page."
        ),
        "",
        (
            "Macro-F1 is over the phases there are, with the 95 % bootstrap interval by study; a"
            " series without an answer counts as wrong. ECE is the expected calibration error in"
            f" ten bins. Sure: series told with a confidence of {SURE:g} or more."
        ),
    ]


def _figure(record: Mapping[str, Any]) -> Figure:
    """Confusion matrices: a row for each source, a column for each step."""
    drawn = Figure(figsize=(14, 7), dpi=110, layout="constrained")
    axes = drawn.subplots(len(SOURCES), len(STEPS), sharex=True, sharey=True)
    for row, (source, name) in zip(axes, SOURCES.items(), strict=True):
        for place, (step, found) in zip(row, record["steps"].items(), strict=True):
            counts = np.array(found[source]["confusion"])[:NONE]
            shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            place.imshow(shares, cmap="Blues", vmin=0, vmax=1)
            for (true, predicted), count in np.ndenumerate(counts):
                if count:
                    colour = "white" if shares[true, predicted] > 0.5 else "#26323a"
                    place.text(
                        predicted,
                        true,
                        str(count),
                        ha="center",
                        va="center",
                        fontsize=8,
                        color=colour,
                    )
            place.set_title(
                f"{step}: {name}\nmacro-F1 {found[source]['macro_f1']['mean']:.3f}", fontsize=9
            )
            place.set_xticks(range(NONE + 1), PREDICTIONS, rotation=45, ha="right", fontsize=8)
            place.set_yticks(range(NONE), PREDICTIONS[:NONE], fontsize=8)
        row[0].set_ylabel("true phase")
    for place in axes[-1]:
        place.set_xlabel("told as")
    return drawn
