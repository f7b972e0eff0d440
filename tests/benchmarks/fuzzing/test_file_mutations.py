"""Damage to any bytes: bits within bounds, and files that end early."""

from __future__ import annotations

import numpy as np
import pytest

from liverleaf.benchmarks.fuzzing.file_mutations import (
    append_bytes,
    flip_bits,
    flipped,
    insert_bytes,
    overwrite_block,
    pick,
    remove_bytes,
    truncate,
)

CONTENT = bytes(range(256)) * 20


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


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
        damaged = truncate(rng(seed), CONTENT)
        assert len(damaged) < len(CONTENT)
        assert CONTENT.startswith(damaged)


@pytest.mark.parametrize("seed", range(5))
def test_lengths_change_as_the_damage_says(seed: int) -> None:
    size = len(CONTENT)
    assert size < len(insert_bytes(rng(seed), CONTENT)) <= size + 64
    assert size - 64 <= len(remove_bytes(rng(seed), CONTENT)) < size
    assert len(overwrite_block(rng(seed), CONTENT)) == size
    assert append_bytes(rng(seed), CONTENT).startswith(CONTENT)
    assert len(append_bytes(rng(seed), CONTENT)) > size


def test_each_choice_is_as_likely() -> None:
    generator = rng(1)
    counts = np.bincount([pick(generator, (0, 1, 2)) for _ in range(3000)])
    assert counts.min() > 900
