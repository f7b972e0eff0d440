"""Valid studies to damage: sound, of every format, and with a patient to give away."""

from __future__ import annotations

from liverleaf.benchmarks.fuzzing.mutations import MUTATIONS
from liverleaf.benchmarks.fuzzing.sources import IDENTITY, fuzz_sources
from liverleaf.study import Phase

SOURCES = fuzz_sources()


def test_dicom_sources_name_the_patient() -> None:
    for name in ("CT slices", "MR slices, implicit VR", "enhanced MR", "enhanced CT, JPEG 2000"):
        assert all(
            word in b"".join(SOURCES[name].files.values()).decode("latin1").lower()
            for word in IDENTITY
        )


def test_there_is_a_source_of_every_format_that_is_damaged() -> None:
    assert {source.format for source in SOURCES.values()} == MUTATIONS.keys()


def test_sources_have_the_same_bytes_each_time() -> None:
    again = fuzz_sources()
    assert all(again[name].files == source.files for name, source in SOURCES.items())


def test_series_hold_each_file_once() -> None:
    for source in SOURCES.values():
        assert sorted(name for series in source.series for name in series) == sorted(source.files)
        assert set(source.study.phases) <= {Phase.PRE, Phase.PORTAL}
