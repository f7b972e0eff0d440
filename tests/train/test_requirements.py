"""What a recipe needs of its cases, and what they do not teach, before the first step."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from liverleaf.cohort.index import Cohort
from liverleaf.data.network_input import InputConfig
from liverleaf.models.recipe import Recipe, read_recipe
from liverleaf.storage.case_folder import load_case, save_case
from liverleaf.study import Annotation, InputError, Modality
from liverleaf.terminology import LesionType
from liverleaf.train.loop import train
from liverleaf.train.requirements import Taught, check_cases, taught, what_is_not_learned

INPUT = {"modality": "CT", "pixel_mm": 8.0, "slice_mm": 5.0, "size": 32}


def recipe(**tables: object) -> Recipe:
    small = {"widths": [2, 2, 2, 2], "masks": 2, "heads": "lesion", "token_width": 8}
    network = {**small, "head_width": 4, "blocks": 1}
    return read_recipe(
        {
            "name": "r",
            "input": INPUT,
            "network": network,
            "optimisation": {"steps": 1, "precision": "32-true"},
            "sampling": {"batch": 1},
            **tables,
        }
    )


CLASSIFIER = {
    "family": "classifier",
    "network": {"architecture": "vgg-16", "width": 0.1},
    "input": {"modality": "CT", "pixel_mm": None, "size": 64, "normalise_on_liver": False},
}


def without(cohort: Cohort, folder: Path, change: Callable[[Annotation], Annotation]) -> Cohort:
    for directory in cohort.directories:
        study, truth = load_case(directory)
        assert truth is not None
        save_case(folder / directory.name, study, change(truth))
    return Cohort.open(folder)


def no_curve(truth: Annotation) -> Annotation:
    lesions = (dataclasses.replace(lesion, curve={}) for lesion in truth.lesion_list)
    return dataclasses.replace(truth, lesion_list=tuple(lesions))


def no_list(truth: Annotation) -> Annotation:
    return dataclasses.replace(truth, lesion_list=())


def no_liver(truth: Annotation) -> Annotation:
    return dataclasses.replace(truth, organs=None)


def test_lesions_teach_the_types_and_phases_that_the_network_has(ct_cohort: Cohort) -> None:
    """Case i of the cohort has a lesion of type i."""
    config = InputConfig(Modality.CT, types=(LesionType.HCC, LesionType.CYST))
    hcc = frozenset({LesionType.HCC})
    assert taught(ct_cohort.records, config) == Taught(hcc | {LesionType.CYST}, curve=True)
    assert taught(ct_cohort.records[:5], config) == Taught(hcc, curve=True)
    assert taught(ct_cohort.records[1:5], config) == Taught(frozenset(), curve=False)
    late = dataclasses.replace(config, channels=("hepatobiliary",))
    assert taught(ct_cohort.records[:5], late) == Taught(hcc, curve=False)


def test_what_nobody_teaches_is_said_in_one_sentence(ct_cohort: Cohort, tmp_path: Path) -> None:
    plain, bare = recipe(), without(ct_cohort, tmp_path / "bare", no_list)
    assert what_is_not_learned(plain, ct_cohort.records) == ""
    assert what_is_not_learned(plain, without(ct_cohort, tmp_path / "c", no_curve).records) == (
        "no lesion of these 6 cases has a curve in case.json: the curve is not learned, and what"
        " the model says of it is worth nothing"
    )
    said = what_is_not_learned(plain, bare.records)
    assert "has a curve or a type in case.json: the curve and type are not learned" in said
    masks = recipe(loss={"curve": 0.0, "type": 0.0, "tim": 0.0, "adversarial": 0.0})
    assert what_is_not_learned(masks, bare.records) == ""


def test_cases_that_cannot_teach_a_recipe_anything_are_refused(
    ct_cohort: Cohort, tmp_path: Path
) -> None:
    check_cases(recipe(), ct_cohort.records)
    with pytest.raises(InputError, match="case-00 has no outlined liver"):
        check_cases(recipe(), without(ct_cohort, tmp_path / "liver", no_liver).records)
    mr = recipe(input={**INPUT, "modality": "MR"})
    with pytest.raises(InputError, match="case-00 is CT, this recipe is for MR"):
        check_cases(mr, ct_cohort.records)
    curves = recipe(**CLASSIFIER, loss={"curve": 1.0, "type": 0.0})
    check_cases(curves, ct_cohort.records)
    bare = without(ct_cohort, tmp_path / "curve", no_curve)
    with pytest.raises(InputError, match="the recipe r learns the curve of lesions alone, which"):
        check_cases(curves, bare.records)
    check_cases(recipe(**CLASSIFIER, loss={"curve": 0.0, "type": 1.0}), bare.records)


def test_training_says_it_once_before_the_first_step_and_writes_nothing_when_it_refuses(
    ct_cohort: Cohort, tmp_path: Path
) -> None:
    told: list[str] = []

    def progress(what: str, _done: int, _total: int, /) -> None:
        told.append(what)

    bare = without(ct_cohort, tmp_path / "bare", no_list)
    train(recipe(), bare, tmp_path / "run", device="cpu", warn=told.append, progress=progress)
    said = [line for line in told if line.startswith("no lesion of these 6 cases")]
    assert len(said) == 1 and told[0] == said[0]
    with pytest.raises(InputError, match="no outlined liver"):
        train(
            recipe(),
            without(ct_cohort, tmp_path / "liver", no_liver),
            tmp_path / "refused",
            device="cpu",
        )
    assert not (tmp_path / "refused").exists()


def test_a_folder_whose_name_is_no_utf_8_is_refused(ct_cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no name in UTF-8, which TensorBoard's files need"):
        train(recipe(), ct_cohort, tmp_path / "r\udce9", device="cpu")
    assert not list(tmp_path.iterdir())
