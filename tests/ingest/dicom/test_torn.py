"""Studies torn by wrong UIDs: what belongs together, and what does not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from liverleaf.ingest.dicom.torn import SharedKey, joined, shared_keys


def keys(*rows: tuple[str, str, str]) -> list[SharedKey]:
    return [SharedKey(*row) for row in rows]


def test_slices_of_one_series_are_put_together_whatever_study_each_names() -> None:
    rows = keys(("series 1", "c", "z1"), ("series 1", "a", "z2"), ("series 1", "b", "z3"))
    assert joined(rows, dict.fromkeys("abc", 1)) == {"c": "a", "b": "a"}


def test_copies_of_one_image_stay_apart() -> None:
    rows = keys(("series 1", "a", "z1"), ("series 1", "b", "z1"))
    assert joined(rows, {"a": 1, "b": 1}) == {}


def test_series_of_one_frame_of_reference_are_one_study_only_where_each_has_one_of_its_own() -> (
    None
):
    rows = keys(("frame 1", "a", "z1"), ("frame 1", "b", "z2"))
    assert joined(rows, {"a": 1, "b": 1}) == {"b": "a"}
    assert joined(rows, {"a": 2, "b": 1}) == {}


def test_chains_end_in_one_study() -> None:
    rows = keys(("series 1", "b", "1"), ("series 1", "c", "2"), ("series 2", "a", "3"))
    rows += keys(("series 2", "c", "4"))
    assert joined(rows, dict.fromkeys("abc", 2)) == {"b": "a", "c": "a"}


def test_an_image_shares_its_series_and_its_frame_of_reference(make: Any) -> None:
    header = make.slice(np.zeros((2, 2), np.uint16), (1, 2, 3))
    series, frame = shared_keys(header, "1.2.3", "4711")
    assert series.key == "series 1.2.3.4|4711"
    assert frame.key == "frame 1.2.3.5|20240115|4711"
    assert "[1.0, 2.0, 3.0]" in series.place.replace("1, 2, 3", "1.0, 2.0, 3.0")


def test_a_study_whose_files_each_name_one_of_their_own_is_read(
    tmp_path: Any, make: Any, stored: NDArray[np.uint16]
) -> None:
    from liverleaf.ingest.reader import read_study

    series = make.series(stored, each=lambda index: {"StudyInstanceUID": f"1.7.{index}"})
    study = read_study(make.shuffled(series, tmp_path))
    (image,) = study.phases.values()
    assert image.volume.shape == stored.shape
    assert any("name 6 studies" in warning for warning in study.warnings)
