"""Damage to NIfTI, zips and case folders: the container stays sound, what is in it does not."""

from __future__ import annotations

import gzip
import json
import zipfile
from io import BytesIO

import numpy as np
import pytest

from liverleaf.benchmarks.fuzzing.container_mutations import (
    case_value,
    nifti_field,
    nifti_inside,
    zip_member,
    zip_names,
)
from liverleaf.benchmarks.fuzzing.sources import fuzz_sources

SOURCES = fuzz_sources()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_nifti_stays_gzip_and_keeps_its_voxels() -> None:
    name, content = next(iter(SOURCES["NIfTI, gzip"].files.items()))
    assert name.endswith(".nii.gz")
    damaged = gzip.decompress(nifti_field(rng(), content))
    assert damaged[348:] == gzip.decompress(content)[348:]
    assert damaged[:348] != gzip.decompress(content)[:348]
    assert gzip.decompress(nifti_inside(rng(1), content)) != gzip.decompress(content)


@pytest.mark.filterwarnings("ignore:Duplicate name")  # one of the damages that are wanted
@pytest.mark.parametrize("damage", [zip_member, zip_names])
def test_a_damaged_zip_is_sound_and_differs_in_one_member(damage) -> None:
    (content,) = SOURCES["zip of CT slices"].files.values()

    def members(data: bytes) -> list[tuple[str, bytes]]:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            return [(member.filename, archive.read(member)) for member in archive.infolist()]

    before, after = members(content), members(damage(rng(4), content))
    assert sum(one != two for one, two in zip(before, after, strict=True)) == 1


def test_a_value_of_a_case_changes_or_is_missing() -> None:
    content = SOURCES["case folder"].files["case.json"]
    assert json.loads(case_value(rng(), content)) != json.loads(content)
