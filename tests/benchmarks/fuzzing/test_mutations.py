"""Damage to valid files: it repeats by its seed, changes bytes, and is of its kind."""

from __future__ import annotations

import gzip
import json
import zipfile
from io import BytesIO

import nibabel as nib
import numpy as np
import pydicom
import pytest

from liverleaf.benchmarks.fuzzing.container_mutations import (
    case_value,
    nifti_field,
    nifti_inside,
    zip_member,
    zip_names,
)
from liverleaf.benchmarks.fuzzing.dicom_mutations import (
    delete_element,
    nonsense_frames,
    swap_elements,
    wrong_syntax,
)
from liverleaf.benchmarks.fuzzing.file_mutations import ANY, flip_bits, flipped, truncate
from liverleaf.benchmarks.fuzzing.mutations import MUTATIONS
from liverleaf.benchmarks.fuzzing.sources import fuzz_sources

SOURCES = fuzz_sources()
SLICE = next(iter(SOURCES["CT slices"].files.values()))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.filterwarnings("ignore")  # pydicom's, about the damage that is wanted
@pytest.mark.parametrize("source", SOURCES)
def test_damages_repeat_and_change_files(source: str) -> None:
    files = SOURCES[source].files
    for name, damage in MUTATIONS[SOURCES[source].format].items():
        victim = next(iter(files.values()))
        damaged = [damage(np.random.default_rng([7, round_]), victim) for round_ in range(6)]
        assert damaged == [
            damage(np.random.default_rng([7, round_]), victim) for round_ in range(6)
        ], name
        assert any(content != victim for content in damaged), name


def test_every_format_can_be_damaged_like_any_file() -> None:
    for mutations in MUTATIONS.values():
        assert ANY.items() <= mutations.items()


@pytest.mark.parametrize("seed", range(20))
def test_one_to_eight_bits_are_flipped_between_two_bytes(seed: int) -> None:
    content = bytes(100)
    damaged = flipped(rng(seed), content, 20, 40)
    assert len(damaged) == 100
    bits = sum(byte.bit_count() for byte in damaged)
    assert bits <= 8
    assert damaged[:20] == bytes(20)
    assert damaged[40:] == bytes(60)


def test_bits_of_an_empty_file_cannot_be_flipped() -> None:
    assert flip_bits(rng(), b"") == b""


def test_a_truncated_file_is_a_beginning() -> None:
    for seed in range(10):
        damaged = truncate(rng(seed), SLICE)
        assert len(damaged) < len(SLICE)
        assert SLICE.startswith(damaged)


@pytest.mark.filterwarnings("ignore")  # pydicom's, about the damage that is wanted
def test_damaged_elements_leave_a_file_that_can_be_walked() -> None:
    valid = pydicom.dcmread(BytesIO(SLICE))
    fewer = pydicom.dcmread(BytesIO(delete_element(rng(3), SLICE)), force=True)
    tags = set(valid.keys()) | set(valid.file_meta.keys())
    assert len(tags - set(fewer.keys()) - set(fewer.file_meta.keys())) == 1
    assert len(swap_elements(rng(1), SLICE)) > 0
    assert wrong_syntax(rng(2), SLICE) != SLICE


def test_frames_of_a_single_slice_become_many() -> None:
    counts = {
        int(pydicom.dcmread(BytesIO(nonsense_frames(rng(seed), SLICE))).NumberOfFrames)
        for seed in range(30)
    }
    assert {0, 2, 3, 2**31 - 1} <= counts


def test_nifti_stays_gzip_and_keeps_its_voxels() -> None:
    name, content = next(iter(SOURCES["NIfTI, gzip"].files.items()))
    assert name.endswith(".nii.gz")
    damaged = gzip.decompress(nifti_field(rng(), content))
    assert damaged[348:] == gzip.decompress(content)[348:]
    assert damaged[:348] != gzip.decompress(content)[:348]
    assert gzip.decompress(nifti_inside(rng(1), content)) != gzip.decompress(content)
    assert nib.Nifti1Header(gzip.decompress(content)[:348]).get_data_shape()


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
