"""The fit of a model's probabilities on a cohort held back for that.

Shape suffixes: L lesions, T types.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from liverleaf.cohort.index import Cohort
from liverleaf.data.network_input import canonical, with_phases
from liverleaf.evaluate.cases import annotated_cases, check_cohort, refuse_training_data, true_type
from liverleaf.evaluate.metrics.detection import detect
from liverleaf.models.calibration import (
    ProbabilityCalibration,
    best_peak,
    fit_temperature,
    set_threshold,
)
from liverleaf.models.checkpoint import save_card
from liverleaf.models.predictor import UncalibratedLesions, load_predictor
from liverleaf.models.shipped import find_model
from liverleaf.registration.align import register_phases
from liverleaf.registration.quality import fit_phases
from liverleaf.study import Annotation, InputError
from liverleaf.system.progress import Progress, silent
from liverleaf.terminology import LesionType

SEED = 0


@dataclass
class _Observed:
    """Lesions of a cohort, seen with one number of phases.

    Attributes:
        logits: of the types, per detected lesion whose type is known.
        types: their true types, as index.
        candidates: peak, and whether it is a real lesion, per outlined lesion.
        missed: real lesions that were not outlined.
    """

    logits: list[NDArray[np.float64]] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    candidates: list[tuple[float, bool]] = field(default_factory=list)
    missed: int = 0

    def add(
        self, outlined: UncalibratedLesions, truth: Annotation, types: tuple[LesionType, ...]
    ) -> None:
        """Compare the lesions of one study with the truth."""
        true_lesions = canonical(truth.lesions)
        detection = detect(outlined.labels_ZYX, true_lesions.array, true_lesions.spacing)
        real = {label for _, label in detection.pairs}
        self.candidates += [
            (peak, label in real) for label, peak in enumerate(outlined.peak, start=1)
        ]
        self.missed += detection.false_negatives
        for true_label, label in detection.pairs:
            lesion_type = true_type(truth, true_label)
            if lesion_type in types:
                self.logits.append(outlined.logits_LT[label - 1])
                self.types.append(types.index(lesion_type))


def calibrate(
    model: str, cohort: Cohort, *, device: str = "auto", progress: Progress = silent
) -> str:
    """Fit temperature and, by number of phases, the detection threshold and the 90 % sets.

    Every case is seen with all its phases and with one random choice of each smaller number of
    them. The model's card keeps it all.

    Returns:
        A sentence that says what was fitted.

    Raises:
        InputError: no lesion of the cohort was detected, a case has no truth, the cohort was
            trained on, or the model gives lesions no types.
    """
    predictor = load_predictor(find_model(model), device=device)
    check_cohort(predictor.card, cohort)
    refuse_training_data(predictor.card, cohort, progress)
    predictor.card = replace(predictor.card, calibration=ProbabilityCalibration())
    config = predictor.card.input_config
    rng = np.random.default_rng(SEED)
    observed: dict[int, _Observed] = {}
    for _, study, truth in annotated_cases(cohort, progress):
        registered, _ = fit_phases(register_phases(study).study, config.phases)
        usable = [phase for phase in registered.phases if phase in config.phases]
        for count in range(1, len(usable) + 1):
            choices = list(combinations(usable, count))
            chosen = choices[int(rng.integers(len(choices)))]
            outlined = predictor.uncalibrated(with_phases(registered, chosen))
            observed.setdefault(count, _Observed()).add(outlined, truth, config.types)
    fitted = _fit(observed, predictor.card.name)
    save_card(predictor.directory, replace(predictor.card, calibration=fitted))
    return _sentence(fitted)


def _fit(observed: dict[int, _Observed], name: str) -> ProbabilityCalibration:
    typed = {n: seen for n, seen in sorted(observed.items()) if seen.logits}
    if not typed:
        raise InputError(
            f"{name} found no lesion of this cohort, so there is nothing to calibrate on"
        )
    temperature = fit_temperature(
        np.concatenate([np.array(seen.logits) for seen in typed.values()]),
        np.concatenate([np.array(seen.types) for seen in typed.values()]),
    )
    return ProbabilityCalibration(
        temperature,
        set_threshold={
            n: set_threshold(
                softmax(np.array(seen.logits) / temperature, axis=1), np.array(seen.types)
            )
            for n, seen in typed.items()
        },
        lesions={n: len(seen.types) for n, seen in typed.items()},
        minimum_peak={n: best_peak(s.candidates, s.missed) for n, s in sorted(observed.items())},
    )


def _sentence(fitted: ProbabilityCalibration) -> str:
    return f"temperature {fitted.temperature:.2f}; " + "; ".join(
        f"{n} phase{'s' * (n > 1)}: lesions from a peak of {fitted.minimum_peak[n]:.3f} on, types"
        f" from probability {threshold:.3f} on, {fitted.lesions[n]} lesions"
        for n, threshold in fitted.set_threshold.items()
    )
