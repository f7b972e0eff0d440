"""Masks onto a study's grid: the voxels, the lesions, and the lines that say what was odd."""

from __future__ import annotations

from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray

from liverleaf.ingest.collections.annotation import annotate, onto, with_curves
from liverleaf.study import Alignment, InputError, Modality, Phase, PhaseImage, Study
from liverleaf.terminology import LesionType, Organ

SHAPE = (8, 16, 16)
AFFINE = np.array([[0, 0, 2.0, 0], [0, 2.0, 0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])


def volume(array: NDArray, shift_mm: tuple[float, float, float] = (0, 0, 0)) -> hd.Volume:
    affine = AFFINE.copy()
    affine[:3, 3] += shift_mm
    return hd.Volume(array, affine, "PATIENT")


def study(*phases: Phase) -> Study:
    array = np.full(SHAPE, 100, np.float32)
    return Study(
        Modality.CT,
        {
            phase: PhaseImage(volume(array + np.float32(phase)))
            for phase in phases or (Phase.PORTAL,)
        },
    )


def block(z: slice, y: slice, x: slice) -> NDArray[np.uint8]:
    mask = np.zeros(SHAPE, np.uint8)
    mask[z, y, x] = 1
    return mask


SMALL = block(slice(2, 4), slice(4, 6), slice(4, 6))
LARGE = block(slice(2, 6), slice(4, 8), slice(4, 8))


def test_a_mask_that_differs_by_rounding_is_taken_voxel_by_voxel() -> None:
    said: list[str] = []
    np.testing.assert_array_equal(
        onto(volume(SMALL, (0.1, 0, 0)), study().grid, "lesion", said), SMALL
    )
    assert not said


def test_a_flipped_mask_lies_where_its_header_says() -> None:
    flipped = volume(SMALL).flip_spatial([0, 1])
    np.testing.assert_array_equal(onto(flipped, study().grid, "lesion", []), SMALL)


def test_a_finer_mask_is_brought_to_the_nearest_voxels_and_said() -> None:
    fine = hd.Volume(SMALL.repeat(2, axis=0), AFFINE @ np.diag([0.5, 1, 1, 1]), "PATIENT")
    said: list[str] = []
    assert onto(fine, study().grid, "lesion", said).sum() == pytest.approx(SMALL.sum(), rel=0.5)
    assert said == [
        "the lesion mask lies on another grid (16 x 16 x 16) than the reference phase (8 x 16 x"
        " 16): the nearest voxels were taken"
    ]


def test_a_mask_outside_the_image_is_refused() -> None:
    with pytest.raises(InputError, match="100% of its lesion mask lie outside the image"):
        onto(volume(SMALL, (100, 0, 0)), study().grid, "lesion", [])


def test_overlapping_masks_leave_the_smaller_lesion_whole() -> None:
    annotated = annotate(
        study(),
        lesions=[volume(SMALL), volume(LARGE)],
        lesion_type=LesionType.HCC,
        one_mask_each=True,
    )
    assert [int((annotated.truth.lesions.array == label).sum()) for label in (1, 2)] == [8, 56]
    assert (
        "8 voxels lie in more than one lesion mask and were given to the smaller lesion"
        in annotated.study.warnings
    )


def test_empty_and_repeated_masks_leave_no_gap_in_the_labels() -> None:
    masks = [
        volume(0 * SMALL),
        volume(SMALL),
        volume(SMALL),
        volume(block(slice(6, 7), slice(9, 10), slice(9, 10))),
    ]
    annotated = annotate(study(), lesions=masks, lesion_type=LesionType.FNH, one_mask_each=True)
    assert np.unique(annotated.truth.lesions.array).tolist() == [0, 1, 2]
    assert [lesion.label for lesion in annotated.truth.lesion_list] == [1, 2]
    assert {"1 of 4 lesion masks are empty", "1 lesion masks repeat another one"} <= set(
        annotated.study.warnings
    )


def test_lesions_outside_the_liver_are_liver_and_said() -> None:
    annotated = annotate(
        study(),
        lesions=[volume(SMALL)],
        organs={Organ.LIVER: volume(LARGE - SMALL), Organ.AORTA: volume(SMALL)},
    )
    assert (annotated.truth.organs.array == Organ.LIVER).sum() == LARGE.sum()
    assert "100% of the lesions lie outside the liver's own mask" in annotated.study.warnings


def test_lesions_that_were_not_outlined_are_no_truth_and_none_are() -> None:
    unknown = annotate(study(), lesions=None, organs={Organ.LIVER: volume(LARGE)})
    assert (unknown.truth, int((unknown.organs.array > 0).sum())) == (None, LARGE.sum())
    healthy = annotate(study(), lesions=[], organs={Organ.LIVER: volume(LARGE)})
    assert not healthy.truth.lesions.array.any()


def test_a_mask_in_hundreds_of_pieces_is_refused() -> None:
    dust = np.zeros(SHAPE, np.uint8)
    dust[::2, ::2, ::2] = 1
    with pytest.raises(InputError, match="falls into 256 pieces"):
        annotate(study(), lesions=[volume(dust)])


def test_curves_are_means_in_trusted_phases_that_show_the_whole_lesion() -> None:
    annotated = annotate(
        study(Phase.ARTERIAL, Phase.PORTAL),
        lesions=[volume(SMALL)],
        organs={Organ.LIVER: volume(LARGE)},
        lesion_type=LesionType.HCC,
    )
    truth = with_curves(annotated.study, annotated.truth)
    assert truth.lesion_list[0].curve == {Phase.ARTERIAL: 101.0, Phase.PORTAL: 102.0}
    edge = annotated.study.phases[Phase.ARTERIAL].volume.array.copy()
    edge[2] = -1024
    beside = PhaseImage(
        volume(edge), alignment=Alignment("resampled", 0.9, 0.9, 0.0, 0.0, trusted=True)
    )
    cut = replace(annotated.study, phases={**annotated.study.phases, Phase.ARTERIAL: beside})
    assert with_curves(cut, annotated.truth).lesion_list[0].curve == {Phase.PORTAL: 102.0}
    doubtful = replace(
        annotated.study.phases[Phase.ARTERIAL],
        alignment=Alignment("resampled", 0.1, 0.1, 0.0, 0.0, trusted=False),
    )
    moved = replace(annotated.study, phases={**annotated.study.phases, Phase.ARTERIAL: doubtful})
    assert with_curves(moved, annotated.truth).lesion_list[0].curve == {Phase.PORTAL: 102.0}
