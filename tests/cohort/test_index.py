"""Cohorts: cases of different names, and folds that never share a subject."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from liverleaf.cohort.index import Cohort, case_folders
from liverleaf.storage.case_folder import (
    CaseRecord,
    LesionRecord,
    PhaseRecord,
    TruthRecord,
    save_case,
)
from liverleaf.study import InputError, Modality
from liverleaf.terminology import LesionType


def test_a_cohort_needs_cases_of_different_names(tmp_path: Path, tiny_case: Callable) -> None:
    with pytest.raises(InputError, match="not a folder"):
        Cohort.open(tmp_path / "none")
    with pytest.raises(InputError, match="holds no case folder"):
        Cohort.open(tmp_path)
    for name in ("x", "y"):
        save_case(tmp_path / name, tiny_case()[0])
    with pytest.raises(InputError, match="x and y carry the same case_id"):
        Cohort.open(tmp_path)


def cohort_of(cases: list[tuple[str, tuple[LesionType, ...]]]) -> Cohort:
    def record(number: int, subject: str, types: tuple[LesionType, ...]) -> CaseRecord:
        lesions = tuple(
            LesionRecord(label=k, type=t.key, curve={}) for k, t in enumerate(types, start=1)
        )
        truth = TruthRecord(lesions="truth/lesions.nii.gz", lesion_list=lesions)
        phases = {"portal": PhaseRecord(file="portal.nii.gz")}
        return CaseRecord(
            case_id=str(number),
            subject_id=subject,
            modality=Modality.CT,
            phases=phases,
            truth=truth,
        )

    return Cohort(
        tuple(Path(str(i)) for i in range(len(cases))),
        tuple(record(i, *case) for i, case in enumerate(cases)),
    )


@pytest.mark.parametrize("seed", range(5))
def test_folds_share_no_subject_and_spread_the_types(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cases = [
        (
            f"s{i // 2}",
            (LesionType(int(rng.choice(8, p=[0.3, 0.05, 0.2, 0.1, 0.1, 0.15, 0.05, 0.05]))),),
        )
        for i in range(120)
    ]
    cohort = cohort_of(cases)
    folds = cohort.folds(5, seed=seed)
    assert sorted(i for fold in folds for i in fold.test) == list(range(120))
    for fold in folds:
        assert sorted((*fold.train, *fold.test)) == list(range(120))
        assert not {cases[i][0] for i in fold.train} & {cases[i][0] for i in fold.test}
        assert 20 <= len(fold.test) <= 28
        for lesion_type in (LesionType.HCC, LesionType.METASTASIS):
            share = sum(lesion_type in cases[i][1] for i in fold.test)
            assert share >= sum(lesion_type in types for _, types in cases) / 5 - 4
    assert folds == cohort.folds(5, seed=seed)
    assert folds != cohort.folds(5, seed=seed + 1)


def test_a_rare_type_reaches_every_fold() -> None:
    cohort = cohort_of(
        [(f"s{i}", (LesionType.ICC,) if i < 4 else (LesionType.HCC,)) for i in range(20)]
    )
    for fold in cohort.folds(4, seed=0):
        assert sum(i < 4 for i in fold.test) == 1


@pytest.mark.parametrize("k", [1, 4])
def test_impossible_folds_are_refused(k: int) -> None:
    with pytest.raises(InputError, match=rf"^{k} folds? cannot be made of 3 subjects"):
        cohort_of([("a", ()), ("b", ()), ("b", ()), ("c", ())]).folds(k, seed=0)


def test_case_folders_are_those_directly_inside_that_are_whole(
    tmp_path: Path, tiny_case: Callable
) -> None:
    for name in ("b", "a", ".partial-c", "deep/d"):
        save_case(tmp_path / name, tiny_case()[0])
    (tmp_path / "e").mkdir()
    assert case_folders(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert case_folders(tmp_path / "a") == case_folders(tmp_path / "missing") == []
