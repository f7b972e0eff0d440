"""The cases of a cohort that a model may be measured on, one by one."""

from __future__ import annotations

from collections.abc import Iterator

from liverleaf.cohort.index import Cohort
from liverleaf.data.prepared import data_fingerprint
from liverleaf.models.checkpoint import ModelCard
from liverleaf.study import Annotation, InputError, Study
from liverleaf.system.progress import Progress
from liverleaf.terminology import LesionType


def refuse_training_data(card: ModelCard, cohort: Cohort) -> None:
    """Refuse a cohort that a model has seen.

    Raises:
        InputError: it was trained on some of the cases.
    """
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


def annotated_cases(cohort: Cohort, progress: Progress) -> Iterator[tuple[int, Study, Annotation]]:
    """Index, study and annotation of each case.

    Raises:
        InputError: a case has no annotation.
    """
    for index in range(len(cohort)):
        study, truth = cohort[index]
        if truth is None:
            raise InputError(
                f"case {study.case_id} has no truth, so nothing can be compared with it"
            )
        yield index, study, truth
        progress("evaluating cases", index + 1, len(cohort))


def true_type(truth: Annotation, label: int) -> LesionType | None:
    """The type of a true lesion; None for one that was outlined without being named."""
    return next((lesion.type for lesion in truth.lesion_list if lesion.label == label), None)
