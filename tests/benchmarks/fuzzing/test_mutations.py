"""Damage to valid files: it repeats by its seed, changes bytes, and is of its kind."""

from __future__ import annotations

import numpy as np
import pytest

from liverleaf.benchmarks.fuzzing.file_mutations import ANY
from liverleaf.benchmarks.fuzzing.mutations import MUTATIONS
from liverleaf.benchmarks.fuzzing.sources import fuzz_sources

SOURCES = fuzz_sources()


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
