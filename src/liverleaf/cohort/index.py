"""Cohorts: folders of case folders, indexed without reading an image, split by subject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from liverleaf.storage.case_folder import CASE_FILE, CaseRecord, load_case, read_case_record
from liverleaf.study import Annotation, InputError, Study
from liverleaf.system.files import PARTIAL

FOLDS = 5
"""Of a cross-validation: here, in the splits written for nnU-Net, and in the published tables."""


class Split(NamedTuple):
    """Indices into a cohort."""

    train: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class Cohort:
    """An index of case folders; images are read only when a case is asked for.

    Attributes:
        directories: the case folders, sorted by name.
        records: their `case.json`, in the same order.
    """

    directories: tuple[Path, ...]
    records: tuple[CaseRecord, ...]

    @classmethod
    def open(cls, directory: Path) -> Cohort:
        """Index every case folder directly inside `directory`.

        Raises:
            InputError: there is none, one is broken, or two carry one case id.
        """
        if not directory.is_dir():
            raise InputError(
                f"{directory} is not a folder: give a cohort, a folder of case folders"
            )
        folders = tuple(case_folders(directory))
        if not folders:
            raise InputError(
                f"{directory} holds no case folder (a folder with {CASE_FILE}): is it a cohort?"
            )
        records = tuple(read_case_record(folder) for folder in folders)
        _check_case_ids(directory, folders, records)
        return cls(folders, records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Study, Annotation | None]:
        return load_case(self.directories[index])

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subject ids, each once, in the order of the cases."""
        return tuple(dict.fromkeys(record.subject_id for record in self.records))

    def folds(self, k: int, seed: int) -> tuple[Split, ...]:
        """Split into k folds for cross-validation, by subject, lesion types spread evenly.

        Subjects are dealt one by one, those with the rarest type first, to the fold that has least
        of that type, and of those to the fold with the fewest cases (iterative stratification,
        Sechidis et al., ECML 2011).

        Raises:
            InputError: fewer subjects than folds.
        """
        if not 2 <= k <= len(self.subjects):
            raise InputError(
                f"{k} {'folds' if k > 1 else 'fold'} cannot be made of {len(self.subjects)}"
                " subjects: two or more, each with a subject"
            )
        cases: dict[str, list[int]] = {subject: [] for subject in self.subjects}
        for index, record in enumerate(self.records):
            cases[record.subject_id].append(index)
        tests = [
            tuple(sorted(case for subject in fold for case in cases[subject]))
            for fold in self._deal(cases, k, seed)
        ]
        return tuple(
            Split(tuple(i for i in range(len(self)) if i not in set(test)), test) for test in tests
        )

    def _deal(self, cases: dict[str, list[int]], k: int, seed: int) -> list[list[str]]:
        """The subjects of each fold, given the cases of each subject."""
        types = {
            subject: frozenset().union(*(self.records[case].lesion_types for case in own))
            for subject, own in cases.items()
        }
        totals = Counter(type_ for of_subject in types.values() for type_ in of_subject)
        order = np.random.default_rng(seed).permutation(list(cases)).tolist()
        # those with the rarest type first, those without a lesion last
        order.sort(key=lambda subject: min((totals[t] for t in types[subject]), default=len(cases)))
        folds: list[list[str]] = [[] for _ in range(k)]
        for subject in order:
            rarest = min(types[subject], key=lambda t: (totals[t], t), default=None)
            filled = [
                (sum(rarest in types[s] for s in fold), sum(len(cases[s]) for s in fold))
                for fold in folds
            ]
            folds[filled.index(min(filled))].append(subject)
        return folds


def case_folders(folder: Path) -> list[Path]:
    """The case folders directly inside a folder, by name; none where it is no cohort."""
    return sorted(
        path.parent
        for path in folder.glob(f"*/{CASE_FILE}")
        if not path.parent.name.startswith(PARTIAL)
    )


def _check_case_ids(
    directory: Path, folders: Sequence[Path], records: Sequence[CaseRecord]
) -> None:
    """Refuse two case folders with one case id."""
    by_id: dict[str, list[str]] = {}
    for folder, record in zip(folders, records, strict=True):
        by_id.setdefault(record.case_id, []).append(folder.name)
    for names in by_id.values():
        if len(names) > 1:
            raise InputError(
                f"{directory}: {' and '.join(names)} carry the same case_id in {CASE_FILE}; give"
                " each its own"
            )
