"""How good a model is on a cohort with truth: every figure with its interval by subject."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from liverleaf.cohort.index import Cohort
from liverleaf.data.network_input import with_phases
from liverleaf.data.prepared import data_fingerprint, liver_mask
from liverleaf.evaluate.cases import annotated_cases, check_cohort, refuse_training_data, true_type
from liverleaf.evaluate.metrics.classification import confusion, mean_auc
from liverleaf.evaluate.metrics.detection import Detection, detect
from liverleaf.evaluate.metrics.overlap import dice, iou
from liverleaf.evaluate.stats import Estimate, bootstrap
from liverleaf.models import card as model_card
from liverleaf.models import checkpoint
from liverleaf.models.family import Output
from liverleaf.models.predictor import Predictor, load_predictor, predict_from_fit_phases
from liverleaf.models.shipped import find_model
from liverleaf.prediction import LesionPrediction, Prediction
from liverleaf.registration.align import register_phases
from liverleaf.segmentation import Segmentation
from liverleaf.study import Annotation, InputError, Phase, Study
from liverleaf.system import provenance
from liverleaf.system.files import new_directory
from liverleaf.system.progress import Progress, silent
from liverleaf.terminology import LesionType

SEED = 0
Statistic = Callable[[NDArray[np.intp]], float | None]


class LesionRow(TypedDict):
    """A detected lesion whose true type is known, a row of `lesions.csv`."""

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
    """What one case adds to the figures; what the model does not say is None or empty.

    Attributes:
        case_id, subject_id: pseudonyms.
        liver_dice: in [0, 1].
        lesion_dice, lesion_iou: in [0, 1]; None where the truth has no lesion.
        detection: true positives, false positives and false negatives among the lesions.
        lesions: one row per detected lesion whose true type is known.
        patient_truth: per type, whether the patient has such a lesion.
        patient_score: per type, the predicted probability of that.
        scores: by name, the score of the case and its true value (`Annotation.markers`).
        classes: by name, the likeliest class of the case and its true one
            (`Annotation.diagnosis`).
    """

    case_id: str
    subject_id: str
    liver_dice: float | None = None
    lesion_dice: float | None = None
    lesion_iou: float | None = None
    detection: Detection | None = None
    lesions: tuple[LesionRow, ...] = ()
    patient_truth: tuple[bool, ...] = ()
    patient_score: tuple[float, ...] = ()
    scores: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    classes: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def evaluate(
    model: str,
    cohort: Cohort,
    out: Path,
    *,
    phases: Sequence[Phase] = (),
    device: str = "auto",
    card: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Run a model over a cohort as `analyze` would and compare with the truth.

    Args:
        model: name of a shipped model, or folder of a model or a training run.
        cohort: studies with truth, none of them trained on.
        out: folder to write: `metrics.json`, `cases.csv`, and `lesions.csv` of a model that
            outlines lesions.
        phases: pretend that only these were scanned; () for all.
        device: "auto", "cpu" or "cuda".
        card: also keep the figures in the model's card.
        progress: called with (what, done, total).

    Returns:
        What `metrics.json` holds.

    Raises:
        InputError: a case has no truth or the wrong modality, or the folder exists.
    """
    predictor = load_predictor(find_model(model), device=device)
    check_cohort(predictor.card, cohort)
    for case in cohort.records if phases else ():
        _check_phases(case.case_id, case.phases, phases)
    refuse_training_data(predictor.card, cohort, progress)
    commit = provenance.commit()  # of the code that runs, whatever is committed meanwhile
    results = []
    with new_directory(out) as folder:
        for index, study, truth in annotated_cases(cohort, progress):
            # before phases are left out, because the truth lies on the grid of the whole study's
            # reference
            registration = register_phases(study)
            if phases:
                kept = set(phases) & set(registration.study.phases)
                registration = registration.with_study(with_phases(registration.study, kept))
            subject_id = cohort.records[index].subject_id
            prediction = predict_from_fit_phases(predictor, registration).prediction
            results.append(compare_case(registration.study, truth, prediction, subject_id))
        record = _record(predictor, cohort, results, phases, commit)
        (folder / "metrics.json").write_text(json.dumps(record, indent=2) + "\n")
        _write_tables(folder, results, predictor.card.outputs)
    if card:
        _keep_figures(predictor, record, phases)
    return record


def _record(
    predictor: Predictor,
    cohort: Cohort,
    results: Sequence[CaseResult],
    phases: Sequence[Phase],
    commit: str | None,
) -> dict[str, Any]:
    card = predictor.card
    types = card.input_config.types
    record: dict[str, Any] = {
        "model": card.name,
        "weights_sha256": checkpoint.weights_hash(predictor.directory),
        "commit": commit,
        "versions": provenance.versions(),
        "cohort": data_fingerprint(cohort, range(len(cohort))),
        "cases": len(results),
        "phases": [phase.key for phase in phases] or "all",
        "seed": SEED,
        "figures": {name: asdict(estimate) for name, estimate in figures(results, types).items()},
    }
    if Output.LESION_TYPE in card.outputs:
        record["confusion"] = {
            "types": [lesion_type.key for lesion_type in types],
            "counts": _confusion(results, types).tolist(),
        }
    return record


def _write_tables(folder: Path, results: Sequence[CaseResult], outputs: frozenset[Output]) -> None:
    pd.DataFrame([_row(result, outputs) for result in results]).to_csv(
        folder / "cases.csv", index=False
    )
    if Output.LESION_MASK in outputs:
        lesions = [{"case": r.case_id, **lesion} for r in results for lesion in r.lesions]
        columns = ["case", *LesionRow.__annotations__]
        pd.DataFrame(lesions, columns=columns).to_csv(folder / "lesions.csv", index=False)


def _row(result: CaseResult, outputs: frozenset[Output]) -> dict[str, Any]:
    row: dict[str, Any] = {"case": result.case_id, "subject": result.subject_id}
    if Output.ORGAN_MASK in outputs:
        row["liver_dice"] = result.liver_dice
    if result.detection is not None:
        row |= {
            "lesion_dice": result.lesion_dice,
            "lesion_iou": result.lesion_iou,
            "true_positives": result.detection.true_positives,
            "false_positives": result.detection.false_positives,
            "false_negatives": result.detection.false_negatives,
        }
    for name, (predicted, true) in result.scores.items():
        row |= {name: predicted, f"{name}_true": true, f"{name}_error": abs(predicted - true)}
    for name, (likeliest, true_class) in result.classes.items():
        row |= {name: likeliest, f"{name}_true": true_class}
        row[f"{name}_right"] = likeliest == true_class
    return row


def _keep_figures(predictor: Predictor, record: Mapping[str, Any], phases: Sequence[Phase]) -> None:
    """Write the figures into the model's card."""
    names = ("cases", "commit", "cohort", "figures", "confusion")
    kept = {name: record[name] for name in names if name in record}
    key = "+".join(phase.key for phase in phases) or "all phases"
    described = replace(predictor.card, figures={**predictor.card.figures, key: kept})
    checkpoint.save_card(predictor.directory, described)
    (predictor.directory / "README.md").write_text(model_card.text(described), encoding="utf-8")


def figures(results: Sequence[CaseResult], types: Sequence[LesionType]) -> dict[str, Estimate]:
    """Every figure with its 95 % interval by subject; those that nothing defines are left out.

    Dice and IoU are means over cases (the lesion's over cases with a lesion); sensitivity and
    precision are pooled over lesions; type accuracy, coverage and set size are over detected
    lesions, the curve's error over detected lesions and phases, in the image's unit and in percent
    of the liver's intensity; a score's mean absolute error and a class's accuracy are over cases
    whose truth is known.
    """
    subjects = [result.subject_id for result in results]
    everyone = np.arange(len(results))
    statistics = {
        **_lesion_statistics(results, types),
        **_case_statistics(results),
    }
    return {
        name: bootstrap(statistic, subjects, rng=np.random.default_rng(SEED), resamples=1000)
        for name, statistic in statistics.items()
        if statistic(everyone) is not None
    }


def _lesion_statistics(
    results: Sequence[CaseResult], types: Sequence[LesionType]
) -> dict[str, Statistic]:
    """Figures of masks, detection, types and curves."""

    def over_lesions(key: str) -> Statistic:
        return lambda cases: _mean([row[key] for i in cases for row in results[i].lesions])

    def pooled(name: str) -> Statistic:
        nothing = Detection(0, 0, 0)
        return lambda cases: getattr(
            sum((results[i].detection or nothing for i in cases), start=nothing), name
        )

    statistics: dict[str, Statistic] = {
        "liver_dice": _mean_of([result.liver_dice for result in results]),
        "lesion_dice": _mean_of([result.lesion_dice for result in results]),
        "lesion_iou": _mean_of([result.lesion_iou for result in results]),
        "lesion_sensitivity": pooled("sensitivity"),
        "lesion_precision": pooled("precision"),
        "type_accuracy": over_lesions("right"),
        "type_set_coverage": over_lesions("covered"),
        "type_set_size": over_lesions("set_size"),
        "curve_mae": over_lesions("curve_mae"),
        "curve_mae_percent_of_liver": over_lesions("curve_mae_percent_of_liver"),
    }
    if all(result.patient_score for result in results):
        truth = np.array([result.patient_truth for result in results])
        score = np.array([result.patient_score for result in results])
        statistics[f"patient_auc_{len(types)}"] = lambda cases: mean_auc(truth[cases], score[cases])
    return statistics


def _case_statistics(results: Sequence[CaseResult]) -> dict[str, Statistic]:
    """Figures of what is said of whole cases."""
    errors: dict[str, list[float | None]] = {}
    for name in sorted({name for result in results for name in result.scores}):
        pairs = [result.scores.get(name) for result in results]
        errors[f"{name}_mae"] = [None if pair is None else abs(pair[0] - pair[1]) for pair in pairs]
    for name in sorted({name for result in results for name in result.classes}):
        told = [result.classes.get(name) for result in results]
        errors[f"{name}_accuracy"] = [None if t is None else float(t[0] == t[1]) for t in told]
    return {name: _mean_of(values) for name, values in errors.items()}


def _mean_of(values: Sequence[float | None]) -> Statistic:
    return lambda cases: _mean([values[i] for i in cases])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _check_phases(case_id: str, has: Collection[str], wanted: Sequence[Phase]) -> None:
    if not any(phase.key in has for phase in wanted):
        raise InputError(
            f"case {case_id} has none of the phases {', '.join(phase.key for phase in wanted)}"
        )


def compare_case(
    study: Study, truth: Annotation, prediction: Prediction, subject_id: str
) -> CaseResult:
    """What a model says of one study, beside the truth."""
    result = CaseResult(
        study.case_id,
        subject_id,
        scores={
            score.name: (score.value, float(truth.markers[score.name]))
            for score in prediction.case_scores
            if isinstance(truth.markers.get(score.name), (int, float))
        },
        classes={
            told.name: (max(told.probabilities, key=lambda c: told.probabilities[c]), diagnosis)
            for told in prediction.case_classes
            if (diagnosis := truth.diagnosis)
        },
    )
    if prediction.segmentation is None:
        return result
    types = list(prediction.patient or ())
    return replace(
        _compare_masks(result, study, truth, prediction.segmentation, prediction.lesions),
        patient_truth=tuple(any(t.type is kind for t in truth.lesion_list) for kind in types),
        patient_score=tuple((prediction.patient or {})[kind] for kind in types),
    )


def _compare_masks(
    result: CaseResult,
    study: Study,
    truth: Annotation,
    segmentation: Segmentation,
    lesions: Sequence[LesionPrediction],
) -> CaseResult:
    true, predicted = truth.lesions.array, segmentation.lesions.array
    detection = detect(predicted, true, study.grid.spacing)
    liver_dice = None
    if segmentation.liver is not None and truth.organs is not None:
        liver_dice = dice(segmentation.liver.array, liver_mask(truth))
    by_label = {lesion.label: lesion for lesion in lesions}
    rows = (_lesion_row(truth, true, by_label[label]) for true, label in detection.pairs)
    return replace(
        result,
        liver_dice=liver_dice,
        lesion_dice=dice(predicted > 0, true > 0) if true.any() else None,
        lesion_iou=iou(predicted > 0, true > 0) if true.any() else None,
        detection=detection,
        lesions=tuple(row for row in rows if row is not None),
    )


def _lesion_row(truth: Annotation, true_label: int, lesion: LesionPrediction) -> LesionRow | None:
    """A lesion beside the true one; None where nobody typed it."""
    known, probabilities = true_type(truth, true_label), lesion.type_probabilities
    if known is None or probabilities is None:
        return None
    curve = next(t.curve for t in truth.lesion_list if t.label == true_label)
    errors = {
        phase: abs(value - curve[phase])
        for phase, value in (lesion.curve or {}).items()
        if phase in curve
    }
    liver = truth.liver_curve
    likeliest = max(probabilities, key=lambda t: probabilities[t])
    return {
        "true_label": true_label,
        "true_type": known.key,
        "predicted_type": likeliest.key,
        "probability": probabilities[likeliest],
        "right": likeliest is known,
        "covered": known in (lesion.type_set or ()),
        "set_size": len(lesion.type_set or ()),
        "curve_mae": _mean(list(errors.values())),
        "curve_mae_percent_of_liver": _mean(
            [100 * error / abs(liver[p]) for p, error in errors.items() if liver.get(p)]
        ),
    }


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
