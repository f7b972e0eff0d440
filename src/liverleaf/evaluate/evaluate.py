"""A model and a cohort with truth in, its figures with intervals out; and the fit of its probabilities on a cohort held back for that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from liverleaf.cohort.index import Cohort
from liverleaf.data.network_input import canonical
from liverleaf.data.prepared import data_fingerprint, liver_mask
from liverleaf.evaluate.metrics.classification import confusion, mean_auc
from liverleaf.evaluate.metrics.detection import Detection, detect
from liverleaf.evaluate.metrics.overlap import dice, iou
from liverleaf.evaluate.stats import Estimate, bootstrap
from liverleaf.models import card as model_card
from liverleaf.models import checkpoint
from liverleaf.models.calibration import fit_temperature, set_threshold
from liverleaf.models.mti_net.predict import Predictor, with_phases
from liverleaf.prediction import Prediction
from liverleaf.registration.align import register_phases
from liverleaf.study import Annotation, InputError, Phase, Study
from liverleaf.system import provenance
from liverleaf.system.files import new_directory
from liverleaf.terminology import LesionType

Progress = Callable[[str, int, int], None]
SEED = 0


class LesionRow(TypedDict):
    """A found lesion, a row of `lesions.csv`."""

    true_label: int
    true_type: str
    predicted_type: str
    probability: float
    right: bool
    covered: bool
    set_size: int
    curve_mae: float | None
    curve_mae_percent_of_liver: float | None


@dataclass(frozen=True)
class CaseResult:
    """What one case adds to the figures.

    Attributes:
        case_id, subject_id: of the case.
        liver_dice, lesion_dice, lesion_iou: in [0, 1]; the lesion's are None where the truth has no
            lesion.
        detection: found, missed and made-up lesions.
        lesions: one row per found lesion: true and predicted type, probabilities, set, error of the
            curve.
        patient_truth, patient_score: per type, whether the patient has such a lesion, and the
            predicted probability.
    """

    case_id: str
    subject_id: str
    liver_dice: float | None
    lesion_dice: float | None
    lesion_iou: float | None
    detection: Detection
    lesions: tuple[LesionRow, ...]
    patient_truth: tuple[bool, ...]
    patient_score: tuple[float, ...]


def evaluate(
    model: str,
    cohort: Cohort,
    out: Path,
    *,
    phases: Sequence[Phase] = (),
    device: str = "auto",
    card: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a model over a cohort as `analyze` would and compare with the truth.

    Args:
        model: name of a shipped model, or folder of a model or a training run.
        cohort: studies with truth, none of them trained on.
        out: folder to write: `metrics.json`, `cases.csv`, `lesions.csv`.
        phases: pretend that only these were scanned; () for all.
        device: "auto", "cpu" or "cuda".
        card: also keep the figures in the model's card.
        progress: called with (what, done, total).

    Returns:
        What `metrics.json` holds.

    Raises:
        InputError: a case has no truth or the wrong modality, or the folder exists.
    """
    predictor = Predictor(_find(model, cohort), device=device)
    _refuse_training_data(predictor.card, cohort)
    commit = provenance.commit()  # of the code that runs, whatever is committed meanwhile
    results = []
    with new_directory(out) as folder:
        for index, study, truth in _cases(cohort, progress):
            # before phases are left out, because the truth lies on the grid of the whole study's
            # reference
            study = register_phases(study).study
            if phases:
                study = _only(study, phases)
            results.append(
                _compare(
                    study,
                    truth,
                    predictor(study),
                    cohort.records[index].subject_id,
                )
            )
        types = predictor.card.input_config.types
        record = {
            "model": predictor.card.name,
            "weights_sha256": checkpoint.weights_hash(predictor.directory),
            "commit": commit,
            "versions": provenance.versions(),
            "cohort": data_fingerprint(cohort, range(len(cohort))),
            "cases": len(results),
            "phases": [phase.key for phase in phases] or "all",
            "seed": SEED,
            "figures": {
                name: asdict(estimate) for name, estimate in figures(results, types).items()
            },
            "confusion": {
                "types": [t.key for t in types],
                "counts": _confusion(results, types).tolist(),
            },
        }
        (folder / "metrics.json").write_text(json.dumps(record, indent=2) + "\n")
        pd.DataFrame([_row(r) for r in results]).to_csv(folder / "cases.csv", index=False)
        lesions = [{"case": r.case_id, **lesion} for r in results for lesion in r.lesions]
        pd.DataFrame(lesions, columns=["case", *LesionRow.__annotations__]).to_csv(
            folder / "lesions.csv", index=False
        )
    if card:
        key = "+".join(phase.key for phase in phases) or "all phases"
        kept = {
            name: record[name] for name in ("cases", "commit", "cohort", "figures", "confusion")
        }
        described = replace(predictor.card, figures={**predictor.card.figures, key: kept})
        checkpoint.save_card(predictor.directory, described)
        (predictor.directory / "README.md").write_text(model_card.text(described), encoding="utf-8")
    return record


def calibrate(
    model: str, cohort: Cohort, *, device: str = "auto", progress: Progress | None = None
) -> str:
    """Fit a model's temperature, and for every number of phases what counts as a lesion and its 90 % sets, on cases held back for that.

    Every case is looked at with all its phases and with one random choice of each smaller number of
    them. The model's card keeps it all.

    Returns:
        A sentence that says what was fitted.

    Raises:
        InputError: no lesion of the cohort was found, a case has no truth, or the cohort was
            trained on.
    """
    predictor = Predictor(_find(model, cohort), device=device)
    _refuse_training_data(predictor.card, cohort)
    predictor.card = replace(predictor.card, calibrated=checkpoint.Calibrated())
    types = predictor.card.input_config.types
    rng = np.random.default_rng(SEED)
    logits: dict[int, list[NDArray[np.float64]]] = {}
    labels: dict[int, list[int]] = {}
    candidates: dict[int, list[tuple[float, bool]]] = {}
    missed: dict[int, int] = {}
    for _, study, truth in _cases(cohort, progress):
        registered = register_phases(study).study
        usable = [
            phase for phase in registered.phases if phase in predictor.card.input_config.phases
        ]
        for count in range(1, len(usable) + 1):
            choices = list(combinations(usable, count))
            seen = predictor.look(
                with_phases(registered, set(choices[int(rng.integers(len(choices)))]))
            )
            true_lesions = canonical(truth.lesions)
            detection = detect(seen.lesions, true_lesions.array, true_lesions.spacing)
            real = {found for _, found in detection.pairs}
            candidates.setdefault(count, []).extend(
                (peak, label in real) for label, peak in enumerate(seen.peak, start=1)
            )
            missed[count] = missed.get(count, 0) + detection.false_negatives
            for true, found in detection.pairs:
                kind = _type_of(truth, true)
                if kind in types:
                    logits.setdefault(count, []).append(seen.logits_LT[found - 1])
                    labels.setdefault(count, []).append(types.index(kind))
    if not logits:
        raise InputError(
            f"{predictor.card.name} found no lesion of this cohort, so there is nothing to"
            " calibrate on"
        )
    temperature = fit_temperature(
        np.concatenate([np.array(rows) for rows in logits.values()]),
        np.concatenate(list(labels.values())),
    )
    thresholds = {
        n: set_threshold(softmax(np.array(logits[n]) / temperature, axis=1), np.array(labels[n]))
        for n in sorted(logits)
    }
    counts = {n: len(labels[n]) for n in sorted(labels)}
    minimum_peak = {n: best_peak(candidates[n], missed[n]) for n in sorted(candidates)}
    fitted = checkpoint.Calibrated(temperature, thresholds, counts, minimum_peak)
    checkpoint.save_card(predictor.directory, replace(predictor.card, calibrated=fitted))
    return f"temperature {temperature:.2f}; " + "; ".join(
        f"{n} phase{'s' * (n > 1)}: lesions from a peak of {minimum_peak[n]:.3f} on, types from"
        f" probability {thresholds[n]:.3f} on, {counts[n]} lesions"
        for n in thresholds
    )


def best_peak(candidates: Sequence[tuple[float, bool]], missed: int) -> float:
    """The peak probability from which on candidates count as lesions, so that the F1 score of detection is greatest.

    Args:
        candidates: peak and whether it is a real lesion, for every lesion that was found.
        missed: real lesions that were not found at all.
    """
    best, best_f1 = 0.0, -1.0
    for threshold in [0.0, *sorted({peak for peak, _ in candidates})]:
        kept = [real for peak, real in candidates if peak >= threshold]
        lost = missed + sum(real for peak, real in candidates if peak < threshold)
        f1 = 2 * sum(kept) / max(len(kept) + sum(kept) + lost, 1)
        if f1 > best_f1:
            best, best_f1 = threshold, f1
    return best


def figures(results: Sequence[CaseResult], types: Sequence[LesionType]) -> dict[str, Estimate]:
    """Every figure with its 95 % interval by subject; those that nothing defines are left out.

    Dice and IoU are means over cases (the lesion's over cases with a lesion); sensitivity and
    precision are pooled over lesions; type accuracy, coverage and set size are over found lesions,
    the curve's error over found lesions and phases in percent of the liver's intensity (HU for CT).
    """
    subjects = [r.subject_id for r in results]
    lesions = [list(r.lesions) for r in results]

    def mean_of(values: Sequence[float | None]) -> Callable[[NDArray[np.intp]], float | None]:
        return lambda cases: _mean([values[i] for i in cases])

    def over_lesions(key: str) -> Callable[[NDArray[np.intp]], float | None]:
        return lambda cases: _mean([row[key] for i in cases for row in lesions[i]])

    def pooled(name: str) -> Callable[[NDArray[np.intp]], float | None]:
        return lambda cases: getattr(
            sum((results[i].detection for i in cases), start=Detection(0, 0, 0)), name
        )

    truth = np.array([r.patient_truth for r in results])
    score = np.array([r.patient_score for r in results])
    statistics: dict[str, Callable[[NDArray[np.intp]], float | None]] = {
        "liver_dice": mean_of([r.liver_dice for r in results]),
        "lesion_dice": mean_of([r.lesion_dice for r in results]),
        "lesion_iou": mean_of([r.lesion_iou for r in results]),
        "lesion_sensitivity": pooled("sensitivity"),
        "lesion_precision": pooled("precision"),
        "type_accuracy": over_lesions("right"),
        "type_set_coverage": over_lesions("covered"),
        "type_set_size": over_lesions("set_size"),
        "curve_mae": over_lesions("curve_mae"),
        "curve_mae_percent_of_liver": over_lesions("curve_mae_percent_of_liver"),
        f"patient_auc_{len(types)}": lambda cases: mean_auc(truth[cases], score[cases]),
    }
    everyone = np.arange(len(results))
    return {
        name: bootstrap(statistic, subjects, rng=np.random.default_rng(SEED), resamples=1000)
        for name, statistic in statistics.items()
        if statistic(everyone) is not None
    }


def _find(model: str, cohort: Cohort) -> Path:
    return checkpoint.find_model(model, cohort.records[0].modality)


def _refuse_training_data(card: checkpoint.ModelCard, cohort: Cohort) -> None:
    known = set(card.training.get("case_hashes", ()))
    seen = [
        record.case_id
        for case, record in enumerate(cohort.records)
        if data_fingerprint(cohort, [case])[:16] in known
    ]
    if seen or card.training.get("cohort") == data_fingerprint(cohort, range(len(cohort))):
        count = len(seen) or len(cohort)
        raise InputError(
            f"{card.name} was trained on {count} of these {len(cohort)} cases: evaluate and"
            " calibrate on other ones"
        )


def _cases(cohort: Cohort, progress: Progress | None) -> Iterator[tuple[int, Study, Annotation]]:
    for index in range(len(cohort)):
        study, truth = cohort[index]
        if truth is None:
            raise InputError(
                f"case {study.case_id} has no truth, so nothing can be compared with it"
            )
        yield index, study, truth
        if progress:
            progress("looking at cases", index + 1, len(cohort))


def _only(study: Study, phases: Sequence[Phase]) -> Study:
    kept = set(phases) & set(study.phases)
    if not kept:
        raise InputError(
            f"case {study.case_id} has none of the phases"
            f" {', '.join(phase.key for phase in phases)}"
        )
    return with_phases(study, kept)


def _compare(
    study: Study,
    truth: Annotation,
    prediction: Prediction,
    subject_id: str,
) -> CaseResult:
    segmentation = prediction.segmentation
    assert segmentation is not None
    true, found = truth.lesions.array, segmentation.lesions.array
    detection = detect(found, true, study.grid.spacing)
    by_label = {lesion.label: lesion for lesion in prediction.lesions}
    rows: list[LesionRow] = []
    for true_label, label in detection.pairs:
        lesion, kind = by_label[label], _type_of(truth, true_label)
        if kind is None or lesion.type_probabilities is None:
            continue
        probabilities = lesion.type_probabilities
        curve = next(t.curve for t in truth.lesion_list if t.label == true_label)
        errors = {
            phase: abs(value - curve[phase])
            for phase, value in (lesion.curve or {}).items()
            if phase in curve
        }
        ranked = max(probabilities, key=lambda k: probabilities[k])
        rows.append(
            {
                "true_label": true_label,
                "true_type": kind.key,
                "predicted_type": ranked.key,
                "probability": probabilities[ranked],
                "right": ranked is kind,
                "covered": kind in (lesion.type_set or ()),
                "set_size": len(lesion.type_set or ()),
                "curve_mae": _mean(list(errors.values())),
                "curve_mae_percent_of_liver": _mean(
                    [
                        100 * e / abs(truth.liver_curve[p])
                        for p, e in errors.items()
                        if truth.liver_curve.get(p)
                    ]
                ),
            }
        )
    types = list(prediction.patient or ())
    return CaseResult(
        case_id=study.case_id,
        subject_id=subject_id,
        liver_dice=(
            dice(segmentation.liver.array, liver_mask(truth))
            if segmentation.liver is not None and truth.organs is not None
            else None
        ),
        lesion_dice=dice(found > 0, true > 0) if true.any() else None,
        lesion_iou=iou(found > 0, true > 0) if true.any() else None,
        detection=detection,
        lesions=tuple(rows),
        patient_truth=tuple(any(t.type is kind for t in truth.lesion_list) for kind in types),
        patient_score=tuple((prediction.patient or {})[kind] for kind in types),
    )


def _type_of(truth: Annotation, label: int) -> LesionType | None:
    """None for a lesion that was outlined without being named."""
    return next((lesion.type for lesion in truth.lesion_list if lesion.label == label), None)


def _confusion(results: Sequence[CaseResult], types: Sequence[LesionType]) -> NDArray[np.int64]:
    names: list[str] = [t.key for t in types]
    rows = [row for r in results for row in r.lesions if row["true_type"] in names]
    if not rows:
        return np.zeros((len(names), len(names)), np.int64)
    return confusion(
        [names.index(row["true_type"]) for row in rows],
        [names.index(row["predicted_type"]) for row in rows],
        len(names),
    )


def _row(result: CaseResult) -> dict[str, Any]:
    return {
        "case": result.case_id,
        "subject": result.subject_id,
        "liver_dice": result.liver_dice,
        "lesion_dice": result.lesion_dice,
        "lesion_iou": result.lesion_iou,
        "found": result.detection.true_positives,
        "made_up": result.detection.false_positives,
        "missed": result.detection.false_negatives,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
