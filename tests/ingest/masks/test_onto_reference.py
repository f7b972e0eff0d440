"""Masks laid onto the reference phase: exact where they lie on it, through the motion elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by

from liverleaf.ingest.masks.onto_reference import on_reference_grid, with_lesions
from liverleaf.ingest.masks.reader import DrawnStudy, PlacedLabels
from liverleaf.registration.align import Motion, Registration
from liverleaf.study import Alignment, Phase, Study

SHIFT_MM = (8.0, -4.0, 5.0)
"""From points of the portal phase to those of the same tissue in the arterial one."""


@pytest.fixture
def moved(tiny_case: Callable) -> Registration:
    """A registration that found the known motion of the arterial phase."""
    study = tiny_case(phases=[Phase.ARTERIAL, Phase.PORTAL])[0]
    everywhere = np.ones(study.grid.spatial_shape, bool)
    motion = Motion(
        "rigid",
        sitk.TranslationTransform(3, SHIFT_MM),
        0.9,
        study.grid.array,
        everywhere,
        1.0,
    )
    still = replace(motion, method="resampled", transform=sitk.Transform(3, sitk.sitkIdentity))
    alignment = Alignment("rigid", 0.5, 0.9, 8.0, 0.0, trusted=True)
    arterial = replace(study.phases[Phase.ARTERIAL], alignment=alignment)
    aligned = replace(study, phases={**study.phases, Phase.ARTERIAL: arterial})
    return Registration(aligned, None, {Phase.ARTERIAL: still}, {Phase.ARTERIAL: motion}, study)


def block(study: Study) -> hd.Volume:
    labels = np.zeros(study.grid.spatial_shape, np.uint16)
    labels[2:4, 20:26, 18:24] = 4
    return study.grid.with_array(labels)


def drawn(labels: hd.Volume, phase: Phase) -> DrawnStudy:
    return DrawnStudy(PlacedLabels(labels, phase, "m.nii"), None, "manual")


def test_masks_of_the_reference_phase_are_not_resampled(moved: Registration) -> None:
    labels = block(moved.study)
    laid, told = on_reference_grid(drawn(labels, Phase.PORTAL), moved)
    np.testing.assert_array_equal(laid.lesions.array, labels.array)
    assert (laid.drawn_on, told) == (Phase.PORTAL, [])


def test_masks_of_another_phase_travel_against_its_motion(moved: Registration) -> None:
    labels = block(moved.study)
    laid, told = on_reference_grid(drawn(labels, Phase.ARTERIAL), moved)
    expected = np.zeros(labels.array.shape, np.uint16)
    # 8 mm to the left are two voxels of x, -4 mm one of y, 5 mm one of z
    expected[1:3, 21:27, 16:22] = 4
    np.testing.assert_array_equal(laid.lesions.array, expected)
    assert (laid.drawn_on, told) == (Phase.ARTERIAL, [])


def test_a_phase_that_is_not_aligned_is_told(moved: Registration) -> None:
    arterial = moved.study.phases[Phase.ARTERIAL]
    assert arterial.alignment is not None
    lost = replace(arterial, alignment=replace(arterial.alignment, trusted=False))
    study = replace(moved.study, phases={**moved.study.phases, Phase.ARTERIAL: lost})
    _, (told,) = on_reference_grid(drawn(block(study), Phase.ARTERIAL), moved, study)
    assert "drawn on the arterial phase, which is not aligned" in told


def test_a_lesion_that_leaves_the_images_is_told(moved: Registration) -> None:
    labels = block(moved.study)
    labels.array[0, :4, :4] = 6
    laid, told = on_reference_grid(drawn(labels, Phase.ARTERIAL), moved)
    assert laid.labels == (4,)
    assert told == [
        "m.nii: label 6 lies outside the images of the portal venous phase and left out"
    ]


def test_the_liver_takes_in_lesions_that_touch_it() -> None:
    liver, labels = np.zeros((3, 8, 8), bool), np.zeros((3, 8, 8), np.uint16)
    liver[1, 1:4, 1:4] = True
    labels[1, 1:3, 4], labels[1, 6, 6] = 1, 2
    grown = with_lesions(liver, labels)
    np.testing.assert_array_equal(grown, liver | (labels == 1))
