"""What MTI-Net's tables need of a cohort, asked of `case.json` before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence

from liverleaf.benchmarks.mti_net.definitions import Table
from liverleaf.benchmarks.mti_net.methods import Scale
from liverleaf.cohort.index import Cohort, Split
from liverleaf.data.network_input import InputConfig
from liverleaf.data.prepared import check_record
from liverleaf.study import InputError
from liverleaf.terminology import LesionType
from liverleaf.train.requirements import Taught, taught


def input_of(cohort: Cohort, scale: Scale) -> InputConfig:
    """Whole slices, squeezed to the scale's size as published, and the types of the cohort.

    Raises:
        InputError: no lesion has a type, which MTI-Net learns in every table.
    """
    types = sorted(
        frozenset[LesionType]().union(*(record.lesion_types for record in cohort.records))
    )
    if not types:
        raise InputError("no case of this cohort has a lesion of known type: give one with truth")
    first = cohort.records[0]
    return InputConfig(
        first.modality,
        types=tuple(types),
        pixel_mm=None,
        slice_mm=0.0,
        size=scale.size,
        normalise_on_liver=False,
        body_part=first.body_part,
        species=first.species,
    )


def check_table(
    name: str, table: Table, cohort: Cohort, config: InputConfig, folds: Sequence[Split]
) -> None:
    """Refuse a cohort that a table cannot be made of.

    Args:
        name: of the table.
        table: what it compares.
        cohort: the cases.
        config: what every method sees of them.
        folds: that are trained and tested.

    Raises:
        InputError: as `check_record`; there are no curves or only one type for a table that
            compares them; or a fold's training cases have no such lesion, or no tested case has.
    """
    for record in cohort.records:
        check_record(record, config)
    curves = "mae" in table.metrics
    if curves and not taught(cohort.records, config).curve:
        raise InputError(
            f"{name} compares enhancement curves, and no lesion of this cohort has one in case.json"
            " (truth.lesion_list, curve): write them there, or choose mti-net-table1, which needs"
            " none"
        )
    if "accuracy" in table.metrics and len(config.types) < 2:
        raise InputError(
            f"{name} compares how types are told apart, and all lesions of this cohort are of one"
            f" ({config.types[0].title}): add cases of another, or choose mti-net-table1"
        )

    def found(cases: Sequence[int]) -> Taught:
        return taught([cohort.records[case] for case in cases], config)

    def lacks(which: Taught) -> bool:
        return not which.types or (curves and not which.curve)

    what = "lesion of known type" + (" with a curve" if curves else "")
    for number, fold in enumerate(folds):
        if lacks(found(fold.train)):
            raise InputError(
                f"the training cases of fold {number} have no {what}: {name} needs more subjects"
                " with one"
            )
    if lacks(found([case for fold in folds for case in fold.test])):
        raise InputError(
            f"the tested cases of the {len(folds)} folds have no {what}: {name} needs more subjects"
            " with one"
        )
