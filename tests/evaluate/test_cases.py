"""Cases that a model may be measured on."""

import dataclasses
from pathlib import Path

import pytest

from liverleaf.cohort.index import Cohort
from liverleaf.data.network_input import InputConfig
from liverleaf.data.prepared import data_fingerprint
from liverleaf.evaluate.cases import annotated_cases, refuse_training_data, true_type
from liverleaf.models.checkpoint import ModelCard
from liverleaf.storage.case_folder import load_case, save_case
from liverleaf.study import InputError, Modality
from liverleaf.terminology import LesionType

CARD = ModelCard("m", "mti-net", None, InputConfig(Modality.CT), (), ())


@pytest.mark.parametrize(
    ("trained_on", "count"), [([], 0), ([2], 1), ([0, 5], 2), (None, 6)], ids=str
)
def test_a_cohort_that_was_trained_on_is_refused(
    trained_on: list[int] | None, count: int, ct_cohort: Cohort
) -> None:
    training = (
        {"cohort": data_fingerprint(ct_cohort, range(6))}
        if trained_on is None
        else {"case_hashes": [data_fingerprint(ct_cohort, [case])[:16] for case in trained_on]}
    )
    card = dataclasses.replace(CARD, training=training)
    if not count:
        refuse_training_data(card, ct_cohort)
        return
    with pytest.raises(InputError, match=f"m was trained on {count} of these 6 cases"):
        refuse_training_data(card, ct_cohort)


def test_every_case_comes_with_its_annotation_and_progress(ct_cohort: Cohort) -> None:
    told: list[tuple[str, int, int]] = []
    cases = list(annotated_cases(ct_cohort, lambda *step: told.append(step)))
    assert [index for index, _, _ in cases] == list(range(6))
    assert told == [("evaluating cases", n, 6) for n in range(1, 7)]


def test_a_case_without_annotation_is_refused(ct_cohort: Cohort, tmp_path: Path) -> None:
    study, _ = load_case(ct_cohort.directories[0])
    save_case(tmp_path / "a", study)
    with pytest.raises(InputError, match="has no truth"):
        list(annotated_cases(Cohort.open(tmp_path), lambda *_: None))


def test_a_lesion_without_a_name_has_no_type(ct_cohort: Cohort) -> None:
    _, truth = ct_cohort[3]
    assert truth is not None
    assert true_type(truth, 1) is LesionType(3) and true_type(truth, 2) is None
