"""Cross-validation on made-up cohorts: nobody is tested on what was learned."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from liverleaf.benchmarks.mti_net.cross_validation import (
    Answer,
    CaseScore,
    SlicePredictor,
    cross_validate,
    score,
    training_seconds,
)
from liverleaf.benchmarks.mti_net.methods import METHODS, OURS, SCALES, Scale
from liverleaf.cohort.index import FOLDS, Cohort
from liverleaf.data.identity import subject_hash
from liverleaf.data.network_input import InputConfig
from liverleaf.data.prepared import prepare
from liverleaf.study import (
    InputError,
)

torch.set_num_threads(1)


def test_a_night_on_which_a_training_slept_is_no_training(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,seconds\n0,3\n1,1\n2,1\n3,30000\n4,1\n")
    assert training_seconds(tmp_path) == 3 + 1 + 1 + 10 + 1


@pytest.mark.parametrize(("shuffled", "low", "high"), [(False, 0.85, 1.0), (True, 0.2, 0.8)])
def test_shuffled_labels_are_not_learned(
    shuffled: bool,
    low: float,
    high: float,
    tmp_path: Path,
    slice_input: InputConfig,
    made_up: Callable[..., Cohort],
) -> None:
    cohort = made_up(tmp_path / "cohort", 30, shuffled=shuffled)
    scale = Scale(
        size=64,
        width=1 / 16,
        folds=5,
        batch=4,
        steps=40,
        learning_rate=3e-3,
        lesion_share=1.0,
        augment=False,
    )
    recipe = METHODS["DenseNet-121, type"].recipe(scale, slice_input)
    scores = [
        case
        for fold in range(FOLDS)
        for case in cross_validate(
            recipe,
            cohort,
            fold,
            tmp_path / f"fold-{fold}",
            prepared_in=tmp_path / "prepared",
            device="cpu",
        )
    ]
    # everyone is tested once, in one fold
    assert len({case.subject for case in scores}) == len(scores) == 30
    assert low <= np.mean([case.answered == case.type for case in scores]) <= high


def test_no_training_sees_who_is_tested(
    cohort: Cohort, tmp_path: Path, slice_input: InputConfig
) -> None:
    recipe = METHODS["seg only"].recipe(SCALES["smoke"], slice_input)
    scores = cross_validate(
        recipe, cohort, 0, tmp_path / "fold-0", prepared_in=tmp_path / "prepared", device="cpu"
    )
    card = SlicePredictor(tmp_path / "fold-0/model", device="cpu").card
    split = cohort.folds(FOLDS, recipe.seed)[0]
    assert {case.case for case in scores} == {cohort.records[index].case_id for index in split.test}
    assert card.training["cases"] == len(split.train)
    assert card.training["subjects"] == sorted(
        subject_hash(cohort.records[index].subject_id) for index in split.train
    )
    assert len(card.training["images"]) == 4 * len(split.train)
    assert {cohort.records[i].subject_id for i in split.train}.isdisjoint(
        case.subject for case in scores
    )
    # what was not learned is not answered
    assert all(case.mae is None and case.answered is None for case in scores)
    again = partial(
        cross_validate,
        cohort=cohort,
        fold=0,
        out=tmp_path / "fold-0",
        prepared_in=tmp_path / "prepared",
        device="cpu",
    )
    assert again(recipe) == scores
    with pytest.raises(InputError, match="another recipe has reached"):
        again(METHODS[OURS].recipe(SCALES["smoke"], slice_input))


def test_a_perfect_answer_scores_perfectly_and_a_wrong_one_by_hand(
    cohort: Cohort, tmp_path: Path, slice_input: InputConfig
) -> None:
    recipe = METHODS[OURS].recipe(SCALES["smoke"], slice_input)
    case = prepare(cohort, [0], recipe.input, tmp_path)[0]
    truth = np.load(case.directory / "labels.npy")[:, 1] > 0
    which = CaseScore("c", "s", 0)
    perfect = score(Answer(truth, np.full(4, 180.0), 0), case, which)
    assert (perfect.dsc, perfect.iou, perfect.type, perfect.answered) == (1, 1, 0, 0)
    assert perfect.mae == pytest.approx(0, abs=1e-3)
    half = truth.copy()
    half[1] = False
    wrong = score(Answer(half, np.full(4, 170.0), 1), case, which)
    assert wrong.dsc == pytest.approx(2 / 3) and wrong.iou == pytest.approx(1 / 2)
    assert wrong.mae == pytest.approx(10, abs=1e-3) and wrong.answered != wrong.type
    assert score(Answer(truth), dataclasses.replace(case, lesions=()), which) == which
