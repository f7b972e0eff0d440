"""A segmentation holds masks of one grid, and says who drew them."""

import highdicom as hd
import numpy as np
import pytest

from liverleaf.segmentation import Method, Segmentation
from liverleaf.terminology import Organ

SHAPE = (3, 4, 5)


def volume(array: np.ndarray, origin_mm: float = 0.0) -> hd.Volume:
    affine = np.eye(4)
    affine[0, 3] = origin_mm
    return hd.Volume(array, affine, "PATIENT")


def labels(*values: int) -> hd.Volume:
    array = np.zeros(SHAPE, np.uint16)
    array.flat[: len(values)] = values
    return volume(array)


def liver(origin_mm: float = 0.0) -> hd.Volume:
    return volume(np.ones(SHAPE, bool), origin_mm)


def test_labels_are_those_that_occur_in_rising_order() -> None:
    assert Segmentation(labels(7, 0, 2, 7)).labels == (2, 7)
    assert Segmentation(labels()).labels == ()


def test_an_organ_that_nobody_outlined_is_absent() -> None:
    assert Segmentation(labels(1)).liver is None
    outlined = liver()
    assert Segmentation(labels(1), {Organ.LIVER: outlined}).liver is outlined


@pytest.mark.parametrize(
    ("source", "given", "method"),
    [
        ("manual", Method.AUTOMATIC, Method.MANUAL),
        ("liverleaf-net-ct", Method.AUTOMATIC, Method.AUTOMATIC),
        ("ITK-SNAP", Method.SEMIAUTOMATIC, Method.SEMIAUTOMATIC),
    ],
)
def test_what_a_person_drew_is_manual(source: str, given: Method, method: Method) -> None:
    assert Segmentation(labels(1), source=source, method=given).method is method


@pytest.mark.parametrize(
    ("lesions", "organs", "source", "message"),
    [
        (volume(np.zeros(SHAPE, np.int16)), {}, "x", "unsigned integers, got int16"),
        (volume(np.zeros(SHAPE, np.float32)), {}, "x", "unsigned integers, got float32"),
        (
            labels(1),
            {Organ.LIVER: volume(np.ones(SHAPE, np.uint8))},
            "x",
            "mask of LIVER is bool, got uint8",
        ),
        (labels(1), {Organ.SPLEEN: liver(origin_mm=2.0)}, "x", "mask of SPLEEN lies on another"),
        (labels(1), {}, "", "source is empty"),
    ],
    ids=["signed", "floats", "organ of numbers", "another grid", "nobody"],
)
def test_what_is_no_segmentation_is_refused(
    lesions: hd.Volume, organs: dict[Organ, hd.Volume], source: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Segmentation(lesions, organs, source)


def test_labels_with_channels_are_refused() -> None:
    channels = hd.Volume(
        np.zeros((*SHAPE, 2), np.uint16), np.eye(4), "PATIENT", channels={"SegmentNumber": [1, 2]}
    )
    with pytest.raises(ValueError, match="three axes"):
        Segmentation(channels)
