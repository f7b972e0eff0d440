"""What a case is known by: the same however it is stored, another for any other image."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from liverleaf.data.identity import image_hashes, subject_hash
from liverleaf.storage.case_folder import load_case, save_case
from liverleaf.study import Phase, PhaseImage, Study


@pytest.fixture
def case(tiny_case: Callable, tmp_path: Path) -> Path:
    save_case(tmp_path / "a", *tiny_case(3))
    return tmp_path / "a"


def test_the_hash_is_that_of_shape_and_voxels(tiny_case: Callable) -> None:
    study: Study = dataclasses.replace(
        tiny_case(0)[0], phases={Phase.PORTAL: tiny_case(0)[0].phases[Phase.PORTAL]}
    )
    array = study.grid.array
    slow = hashlib.sha256(b"(6, 48, 48)" + array.astype("<f4").tobytes()).hexdigest()[:16]
    assert image_hashes(study) == (slow,)
    assert subject_hash("subject-1") == hashlib.sha256(b"subject-1").hexdigest()[:16]


def test_another_program_may_store_the_images_in_another_way(case: Path) -> None:
    before = image_hashes(load_case(case)[0])
    assert len(before) == 4
    for number, phase in enumerate(("pre", "arterial", "portal", "delayed")):
        file = case / f"{phase}.nii.gz"
        image = nib.load(file)
        array, affine = np.asarray(image.dataobj), image.affine
        if number % 2:
            array, affine = array[::-1], affine @ np.diag([-1, 1, 1, 1])
            affine[:3, 3] -= affine[:3, 0] * (array.shape[0] - 1)
        nib.save(nib.Nifti1Image(array.transpose(2, 0, 1) * 1.0, affine[:, [2, 0, 1, 3]]), file)
    assert image_hashes(load_case(case)[0]) == before


def test_every_image_counts_and_one_without_content_does_not(tiny_case: Callable) -> None:
    study: Study = tiny_case(1)[0]
    changed = study.grid.array.copy()
    changed[0, 0, 0] += 1
    of = {
        phase: image_hashes(dataclasses.replace(study, phases={phase: image}))
        for phase, image in study.phases.items()
    }
    assert sorted(one for (one,) in of.values()) == list(image_hashes(study))
    other = PhaseImage(study.grid.with_array(changed))
    empty = PhaseImage(study.grid.with_array(np.zeros_like(changed)))
    more = dataclasses.replace(study, other={"t2w": other, "mask": empty})
    assert len(image_hashes(more)) == 5
    assert set(image_hashes(study)) < set(image_hashes(more))
