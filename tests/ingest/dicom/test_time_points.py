"""Time points of a dynamic series, on frames that have nothing but a position and times."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from liverleaf.ingest.dicom.frames import Frame
from liverleaf.ingest.dicom.time_points import interleaved, split
from liverleaf.study import Modality


def frames(*moments: dict[str, float], modality: Modality = Modality.MR) -> list[Frame]:
    header = SimpleNamespace(Modality=modality)
    return [cast(Frame, SimpleNamespace(moments=each, header=header)) for each in moments]


def groups(found: list[np.ndarray] | None) -> list[list[int]] | None:
    return None if found is None else [group.tolist() for group in found]


def test_one_frame_at_each_position_is_one_time_point() -> None:
    assert groups(split(frames({}, {}, {}), np.array([0, 1, 2]))) == [[0, 1, 2]]


def test_temporal_positions_split_whatever_the_order() -> None:
    shuffled = frames(*({"temporal position": point} for point in (2, 1, 1, 2)))
    assert groups(split(shuffled, np.array([0, 0, 1, 1]))) == [[1, 2], [0, 3]]


def test_times_of_each_slice_split_by_rank_at_its_position() -> None:
    times = [0.0, 1.0, 2.0, 60.0, 61.0, 62.0]
    dynamic = frames(*({"acquisition time": time} for time in times))
    assert groups(split(dynamic, np.array([0, 1, 2, 0, 1, 2]))) == [[0, 1, 2], [3, 4, 5]]


def test_a_more_trustworthy_tag_counts_before_times() -> None:
    both = frames(
        *(
            {"temporal position": point, "content time": time}
            for point, time in ((1, 9.0), (1, 8.0), (2, 1.0), (2, 0.0))
        )
    )
    assert groups(split(both, np.array([0, 1, 0, 1]))) == [[0, 1], [2, 3]]


def test_a_last_time_point_that_is_unfinished_is_split_by_pauses() -> None:
    times = [0.0, 1.0, 2.0, 3.0, 60.0, 61.0, 62.0]
    dynamic = frames(*({"acquisition time": time} for time in times))
    slots = np.array([0, 1, 2, 3, 0, 1, 2])
    assert groups(split(dynamic, slots)) == [[0, 1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("moments", [{}, {"acquisition time": 5.0}])
def test_what_no_tag_tells_apart_is_not_split(moments) -> None:
    assert split(frames(*[moments] * 4), np.array([0, 0, 1, 1])) is None


def test_a_tag_that_some_frames_lack_does_not_count() -> None:
    some = frames({"temporal position": 1}, {"temporal position": 2}, {}, {})
    assert split(some, np.array([0, 0, 1, 1])) is None


def test_ct_slices_between_those_of_another_phase_are_taken_apart() -> None:
    along_mm = np.array([0.0, 5, 10, 2, 7, 12])
    phases = frames(
        *({"acquisition number": number} for number in (1, 1, 1, 2, 2, 2)), modality=Modality.CT
    )
    assert groups(interleaved(phases, along_mm)) == [[0, 1, 2], [3, 4, 5]]


def test_slabs_one_above_the_other_stay_together() -> None:
    along_mm = np.array([0.0, 5, 10, 15, 20, 25])
    slabs = frames(
        *({"acquisition number": number} for number in (1, 1, 1, 2, 2, 2)), modality=Modality.CT
    )
    assert groups(interleaved(slabs, along_mm)) == [[0, 1, 2, 3, 4, 5]]


def test_mr_slices_taken_in_turns_are_one_volume() -> None:
    along_mm = np.array([0.0, 10, 20, 5, 15, 25])
    turns = frames(*({"acquisition number": number} for number in (1, 1, 1, 2, 2, 2)))
    assert groups(interleaved(turns, along_mm)) == [[0, 1, 2, 3, 4, 5]]
    told = frames(*({"temporal position": number} for number in (1, 1, 1, 2, 2, 2)))
    assert groups(interleaved(told, along_mm)) == [[0, 1, 2], [3, 4, 5]]
