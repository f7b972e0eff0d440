"""Cases that a model may be measured on."""

import dataclasses
from pathlib import Path

import pytest

from liverleaf.cohort.index import Cohort
from liverleaf.data.identity import image_hashes, subject_hash
from liverleaf.data.network_input import InputConfig
from liverleaf.data.prepared import data_fingerprint
from liverleaf.evaluate.cases import annotated_cases, check_cohort, refuse_training_data, true_type
from liverleaf.models.checkpoint import ModelCard, load_card
from liverleaf.models.shipped import find_model
from liverleaf.phantom.generator import Phantom
from liverleaf.storage.case_folder import load_case, save_case
from liverleaf.study import Annotation, InputError, Modality, Phase, Study
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


def known_by(cohort: Cohort, cases: list[int]) -> ModelCard:
    """A model of today that was trained on these cases."""
    return dataclasses.replace(
        CARD,
        training={
            "images": [image for case in cases for image in image_hashes(cohort[case][0])],
            "subjects": [subject_hash(cohort.records[case].subject_id) for case in cases],
        },
    )


def other_subject(directory: Path, study: Study, truth: Annotation | None) -> Cohort:
    """A cohort of one case under another name."""
    renamed = dataclasses.replace(study, case_id="other", subject_id="somebody else")
    save_case(directory / "a", renamed, truth)
    return Cohort.open(directory)


def test_cases_are_known_by_their_images_whatever_is_drawn_on_them(
    ct_cohort: Cohort, tmp_path: Path
) -> None:
    card = known_by(ct_cohort, [0, 3])
    study, truth = ct_cohort[3]
    assert truth is not None
    bare = dataclasses.replace(truth, lesion_list=(), liver_curve={}, organs=None)
    one = dataclasses.replace(study, phases={Phase.DELAYED: study.phases[Phase.DELAYED]})
    for number, changed in enumerate(((study, bare), (study, None), (one, None))):
        with pytest.raises(InputError, match="trained on 1 of these 1 cases: evaluate"):
            refuse_training_data(card, other_subject(tmp_path / str(number), *changed))
    untouched = other_subject(tmp_path / "untouched", *ct_cohort[2])
    refuse_training_data(card, untouched)


def test_other_images_of_a_subject_are_refused_too(ct_cohort: Cohort) -> None:
    """The last two of the six cases are of one subject."""
    with pytest.raises(InputError, match="trained on 2 of these 6 cases: evaluate"):
        refuse_training_data(known_by(ct_cohort, [5]), ct_cohort)
    part = Cohort(ct_cohort.directories[:5], ct_cohort.records[:5])
    told: list[tuple[str, int, int]] = []
    with pytest.raises(InputError, match="trained on the subjects of 1 of these 5 cases: ") as e:
        refuse_training_data(known_by(ct_cohort, [5]), part, lambda *step: told.append(step))
    assert "subject_ids of their own in case.json" in str(e.value)
    assert "subject-4" not in str(e.value)
    assert told == [("comparing with the training cases", n, 5) for n in range(5)]


@pytest.mark.parametrize(
    ("preset", "seed", "shape", "spacing_mm"),
    [("mr", 2, (36, 160, 160), (5, 2.2, 2.2)), ("ct", 1, (56, 160, 160), (7, 2.2, 2.2))],
)
def test_shipped_weights_know_their_training_cases(
    preset: str,
    seed: int,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    tmp_path: Path,
) -> None:
    card = load_card(find_model(f"liverleaf-net-{preset}"))
    study, truth = Phantom(preset, seed=seed, shape=shape, spacing_mm=spacing_mm)[7]
    save_case(tmp_path / "as it was/a", study, truth)
    old = dataclasses.replace(card, training={"case_hashes": card.training["case_hashes"]})
    for model in (card, old):
        with pytest.raises(InputError, match="trained on 1 of these 1 cases"):
            refuse_training_data(model, Cohort.open(tmp_path / "as it was"))
    save_case(tmp_path / "without truth/a", study)
    with pytest.raises(InputError, match="trained on the subjects of 1 of these 1 cases"):
        refuse_training_data(card, Cohort.open(tmp_path / "without truth"))
    coarse = Phantom(preset, seed=seed, shape=(8, 32, 32), spacing_mm=(25, 11, 11))[7]
    save_case(tmp_path / "coarse/a", *coarse)
    with pytest.raises(InputError, match="on the subjects of 1 of these 1 cases"):
        refuse_training_data(card, Cohort.open(tmp_path / "coarse"))
    save_case(
        tmp_path / "unseen/a",
        *Phantom(preset, seed=202, shape=(8, 32, 32), spacing_mm=(25, 11, 11))[7],
    )
    refuse_training_data(card, Cohort.open(tmp_path / "unseen"))


def test_every_case_comes_with_its_annotation_and_progress(ct_cohort: Cohort) -> None:
    told: list[tuple[str, int, int]] = []
    cases = list(annotated_cases(ct_cohort, lambda *step: told.append(step)))
    assert [index for index, _, _ in cases] == list(range(6))
    assert told == [("evaluating cases", n, 6) for n in range(1, 7)]


def test_a_cohort_that_nothing_can_be_compared_on_is_refused(
    ct_cohort: Cohort, tmp_path: Path
) -> None:
    check_cohort(CARD, ct_cohort)
    study, _ = load_case(ct_cohort.directories[0])
    save_case(tmp_path / "a", study)
    with pytest.raises(InputError, match="case-00 has no truth"):
        check_cohort(CARD, Cohort.open(tmp_path))
    of_mr = dataclasses.replace(CARD, input_config=InputConfig(Modality.MR))
    with pytest.raises(InputError, match="m is for MR, case case-00 is CT: choose another"):
        check_cohort(of_mr, ct_cohort)
    late = InputConfig(Modality.CT, channels=("hepatobiliary", "t2w"))
    with pytest.raises(InputError, match="needs one of hepatobiliary, t2w, of which case case-00"):
        check_cohort(dataclasses.replace(CARD, input_config=late), ct_cohort)


def test_a_lesion_without_a_name_has_no_type(ct_cohort: Cohort) -> None:
    _, truth = ct_cohort[3]
    assert truth is not None
    assert true_type(truth, 1) is LesionType(3) and true_type(truth, 2) is None
