"""The cases of a cohort that a model may be measured on, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from operator import or_

from liverleaf.cohort.index import Cohort
from liverleaf.data.identity import image_hashes, subject_hash
from liverleaf.data.network_input import channel_title
from liverleaf.data.prepared import data_fingerprint
from liverleaf.models.checkpoint import ModelCard
from liverleaf.storage.case_folder import CASE_FILE
from liverleaf.study import Annotation, InputError, Study
from liverleaf.system.progress import Progress, silent
from liverleaf.terminology import LesionType


def check_cohort(card: ModelCard, cohort: Cohort) -> None:
    """Refuse a cohort that a model cannot be measured on, before the first case is predicted.

    Raises:
        InputError: a case has no annotation, is of another modality, or has none of the channels.
    """
    wanted = card.input_config
    for record in cohort.records:
        if record.truth is None:
            raise InputError(
                f"case {record.case_id} has no truth, so nothing can be compared with it"
            )
        if record.modality is not wanted.modality:
            raise InputError(
                f"the model {card.name} is for {wanted.modality}, case {record.case_id} is"
                f" {record.modality}: choose another model"
            )
        if {*record.phases, *record.other}.isdisjoint(wanted.channels):
            raise InputError(
                f"the model {card.name} needs one of"
                f" {', '.join(map(channel_title, wanted.channels))}, of which case"
                f" {record.case_id} has none: leave it out, or choose another model"
            )


def refuse_training_data(card: ModelCard, cohort: Cohort, progress: Progress = silent) -> None:
    """Refuse a cohort that a model has seen.

    Cases are recognised by their images and their subjects, whatever is drawn on them. A model of
    version 0.1 knows them by the text of `case.json`.

    Raises:
        InputError: it was trained on some of the cases, or on some of their subjects.
    """
    count = len(cohort)
    if card.training.get("cohort") == data_fingerprint(cohort, range(count)):
        raise _seen(card, count, count)
    subjects = set(card.training.get("subjects", ()))
    of_subjects = [subject_hash(record.subject_id) in subjects for record in cohort.records]
    seen = _same_cases(card, cohort, progress)
    if any(seen):
        raise _seen(card, sum(map(or_, seen, of_subjects)), count)
    if any(of_subjects):
        raise InputError(
            f"{card.name} was trained on the subjects of {sum(of_subjects)} of these {count} cases:"
            " evaluate and calibrate on other ones, or give other people subject_ids of their own"
            f" in {CASE_FILE}"
        )


def _seen(card: ModelCard, seen: int, count: int) -> InputError:
    return InputError(
        f"{card.name} was trained on {seen} of these {count} cases: evaluate and calibrate on other"
        " ones"
    )


def _same_cases(card: ModelCard, cohort: Cohort, progress: Progress) -> list[bool]:
    """Of each case, whether the model was trained on one of its images or on this `case.json`."""
    texts, images = (set(card.training.get(name, ())) for name in ("case_hashes", "images"))
    seen = [data_fingerprint(cohort, [case])[:16] in texts for case in range(len(cohort))]
    for case in range(len(cohort)) if images else ():
        progress("comparing with the training cases", case, len(cohort))
        seen[case] = seen[case] or not images.isdisjoint(image_hashes(cohort[case][0]))
    return seen


def annotated_cases(cohort: Cohort, progress: Progress) -> Iterator[tuple[int, Study, Annotation]]:
    """Index, study and annotation of each case of a cohort that `check_cohort` has passed."""
    for index in range(len(cohort)):
        study, truth = cohort[index]
        assert truth is not None, "check_cohort refuses a case without"
        yield index, study, truth
        progress("evaluating cases", index + 1, len(cohort))


def true_type(truth: Annotation, label: int) -> LesionType | None:
    """The type of a true lesion; None for one that was outlined without being named."""
    return next((lesion.type for lesion in truth.lesion_list if lesion.label == label), None)
