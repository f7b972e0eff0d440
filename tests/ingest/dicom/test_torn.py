"""Studies torn by wrong UIDs: what belongs together, and what does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from liverleaf.ingest.dicom.torn import (
    SharedKey,
    joined,
    joined_series,
    rename,
    shared_keys,
)
from liverleaf.ingest.reader import inspect, read_study


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


def spans(*rows: tuple[str, float, float], key: str = "frame 1") -> list[SharedKey]:
    """Two images at the ends of each study's scan."""
    return [
        SharedKey(key, study, f"{study}{end}", end, end)
        for study, low, high in rows
        for end in (low, high)
    ]


def test_thorax_and_abdomen_of_one_session_stay_two_studies() -> None:
    rows = spans(("thorax", 100, 400), ("abdomen", -200, 150))
    assert joined(rows, {"thorax": 1, "abdomen": 1}) == {}


def test_phases_of_one_liver_are_one_study_and_what_lies_elsewhere_is_not() -> None:
    rows = spans(("pre", -100, 150), ("art", 0, 150), ("portal", -250, 160), ("neck", 300, 500))
    whole = joined(rows, dict.fromkeys(("pre", "art", "portal", "neck"), 1))
    assert whole == {"portal": "art", "pre": "art"}


def test_torn_images_are_put_together_though_one_of_them_came_twice() -> None:
    rows = keys(("series 1", "a", "z1"), ("series 1", "b", "z2"), ("series 1", "c", "z2"))
    assert joined(rows, dict.fromkeys("abc", 1)) == {"b": "a", "c": "a"}


def test_an_image_shares_its_series_and_its_frame_of_reference(make: Any) -> None:
    header = make.slice(np.zeros((3, 2), np.uint16), (1, 2, 3), StudyDescription="Liver")
    series, frame, single = shared_keys(header, "1.2.3", "4711")
    assert series.key == "series 1.2.3.4|4711"
    assert frame.key == "frame 1.2.3.5|4711|20240115|CT|Liver||"
    assert single.key == "single 4711|20240115"
    assert "[1.0, 2.0, 3.0]" in series.place.replace("1, 2, 3", "1.0, 2.0, 3.0")
    assert (frame.low_mm, frame.high_mm) == (3.0, 3.0)


@pytest.mark.parametrize(
    ("part", "same"), [("LIVER", True), ("ABDOMEN", True), ("CHEST", False), ("BODY", False)]
)
def test_body_parts_of_a_study_of_the_liver_are_one(make: Any, part: str, same: bool) -> None:
    plain = make.slice(np.zeros((3, 2), np.uint16), (1, 2, 3))
    named = make.slice(np.zeros((3, 2), np.uint16), (1, 2, 3), BodyPartExamined=part)
    found = [shared_keys(header, "1", "4711")[1].key for header in (plain, named)]
    assert (found[0] == found[1]) is same


def test_a_coronal_slice_reaches_over_its_rows_and_one_without_geometry_nowhere(make: Any) -> None:
    coronal = (1, 0, 0, 0, 0, -1)
    header = make.slice(np.zeros((11, 2), np.uint16), (0, 0, 50), coronal, PixelSpacing=[2, 3])
    assert shared_keys(header, "1", "2")[0][3:] == (30.0, 50.0)
    del header.PixelSpacing
    assert shared_keys(header, "1", "2")[0][3:] == (None, None)


def test_an_object_of_many_frames_is_no_single_image(make: Any) -> None:
    header = make.slice(np.zeros((3, 2), np.uint16), (1, 2, 3), NumberOfFrames=5)
    assert [key.key.split()[0] for key in shared_keys(header, "1", "2")] == ["series", "frame"]


def test_images_that_each_name_a_series_of_their_own_are_one_series(
    tmp_path: Any, make: Any, stored: NDArray[np.uint16]
) -> None:
    for number, name in ((2, "arterial"), (3, "portal venous")):
        series = make.series(
            stored + np.uint16(number),
            SeriesNumber=number,
            SeriesDescription=name,
            each=lambda z, number=number: {"SeriesInstanceUID": f"1.8.{number}.{z}"},
        )
        make.shuffled(series, tmp_path / str(number))
    study = read_study(tmp_path)
    assert [image.volume.shape for image in study.phases.values()] == [stored.shape] * 2
    assert any("12 images each name a series of their own" in told for told in study.warnings)
    assert inspect(tmp_path).warnings == study.warnings


def test_single_images_that_differ_are_no_series(make: Any, stored: NDArray[np.uint16]) -> None:
    scouts = [
        make.slice(stored[0], (0, 0, z), SeriesInstanceUID=f"1.{z}", SeriesNumber=z) for z in (1, 2)
    ]
    turned = make.slice(stored[0], (0, 0, 0), (0, 1, 0, 0, 0, -1), SeriesInstanceUID="1.3")
    assert joined_series([*scouts, turned, *make.series(stored)]) == {}


def test_what_an_image_said_of_itself_is_kept_where_it_gets_another_uid(make: Any) -> None:
    header = make.slice(np.zeros((2, 2), np.uint16), (1, 2, 3))
    rename(header, StudyInstanceUID="1.2.3")
    assert "OriginalAttributesSequence" not in header
    rename(header, StudyInstanceUID="1.9")
    (changes,) = header.OriginalAttributesSequence
    assert header.StudyInstanceUID == "1.9"
    assert changes.ModifiedAttributesSequence[0].StudyInstanceUID == "1.2.3"


def test_a_study_whose_files_each_name_one_of_their_own_is_read(
    tmp_path: Any, make: Any, stored: NDArray[np.uint16]
) -> None:
    series = make.series(stored, each=lambda index: {"StudyInstanceUID": f"1.7.{index}"})
    study = read_study(make.shuffled(series, tmp_path))
    (image,) = study.phases.values()
    assert image.volume.shape == stored.shape
    assert any("name 6 studies" in warning for warning in study.warnings)
