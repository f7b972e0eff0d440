"""The same seed gives the same cases, in any order and with any number of processes."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from liverleaf.cohort.index import Cohort
from liverleaf.phantom.generator import Phantom, write_cohort
from liverleaf.study import InputError, Phase

SMALL = Phantom("ct", seed=4, shape=(10, 40, 40), spacing_mm=(20.0, 9.0, 9.0))


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_case_depends_on_seed_and_number_only() -> None:
    phantom = Phantom("mr", seed=4, shape=SMALL.shape, spacing_mm=SMALL.spacing_mm)
    later, _ = phantom[1]
    phantom[0]
    again, truth = phantom[1]
    assert later.case_id == again.case_id == "phantom-mr-4-00001"
    for phase, image in later.phases.items():
        np.testing.assert_array_equal(image.volume.array, again.phases[phase].volume.array)
    assert truth.lesions.array.max() == len(truth.lesion_list)
    other = Phantom("mr", seed=5, shape=SMALL.shape, spacing_mm=SMALL.spacing_mm)[1][0]
    assert not np.array_equal(other.grid.array, again.grid.array)


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(IndexError, match="start at 0"):
        SMALL[-1]


@pytest.mark.parametrize("kind", ["nifti", "dicom"])
def test_files_do_not_depend_on_the_number_of_processes(
    tmp_path: Path, kind: Literal["nifti", "dicom"]
) -> None:
    for jobs in (1, 2):
        write_cohort(SMALL, 2, tmp_path / str(jobs), format=kind, jobs=jobs)
    one, two = (files(tmp_path / str(jobs)) for jobs in (1, 2))
    assert one.keys() == two.keys()
    assert all(one[name] == two[name] for name in one)


def test_a_written_cohort_reads_as_the_phantom(tmp_path: Path) -> None:
    write_cohort(SMALL, 2, tmp_path / "out")
    cohort = Cohort.open(tmp_path / "out")
    study, truth = cohort[1]
    known, known_truth = SMALL[1]
    assert truth is not None
    np.testing.assert_array_equal(study.grid.array, known.grid.array)
    np.testing.assert_array_equal(truth.lesions.array, known_truth.lesions.array)
    assert truth.lesion_list == known_truth.lesion_list
    with pytest.raises(InputError, match="other settings"):
        write_cohort(Phantom("ct", seed=5), 1, tmp_path / "out")


def test_missing_phases(tmp_path: Path) -> None:
    phantom = Phantom(
        "ct", 0, shape=SMALL.shape, spacing_mm=SMALL.spacing_mm, missing={Phase.DELAYED: 1.0}
    )
    assert list(phantom[0][0].phases) == [Phase.PRE, Phase.ARTERIAL, Phase.PORTAL]
    write_cohort(phantom, 1, tmp_path / "out")
