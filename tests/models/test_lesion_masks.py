"""From probabilities to separate lesions, by hand."""

import highdicom as hd
import numpy as np
import pytest

from liverleaf.data.network_input import ModelInput
from liverleaf.models import lesion_masks
from liverleaf.models.lesion_masks import (
    keep_confident,
    lesions_on_network_grid,
    liver_max,
    peaks,
    scores,
    separate_lesions,
    smooth,
)
from liverleaf.prediction import LesionPrediction
from liverleaf.terminology import LesionType

SHAPE = (6, 32, 32)


def given() -> ModelInput:
    """A study of voxels of 5 x 4 x 4 mm whose grid is the network's."""
    affine = np.array([[0, 0, 4, 0], [0, 4, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1]], float)
    grid = hd.Volume(np.zeros(SHAPE, np.float32), affine, "PATIENT")
    raw = np.zeros((6, 1, 32, 32), np.float32)
    return ModelInput(grid, raw, np.array([True]), pixel_mm=4.0, slice_mm=5.0)


def two_lesions() -> np.ndarray:
    """Probability of lesion: a sure one in front, a doubtful one behind."""
    probability = np.zeros(SHAPE, np.float32)
    probability[2:4, 4:10, 4:10] = 0.9
    probability[2:4, 20:24, 20:24] = 0.4
    return probability


def test_lesions_are_separated_numbered_from_the_largest_and_scored() -> None:
    masks = separate_lesions(two_lesions()[:, None], given(), minimum_peak=0.0)
    assert masks.liver_ZYX is None
    assert masks.lesions_ZYX.dtype == np.uint16
    assert [(masks.lesions_ZYX == label).sum() for label in (1, 2)] == [72, 32]
    assert masks.peak == pytest.approx([0.9, 0.4])
    assert masks.score == pytest.approx([0.9, 0.4])  # the second is nowhere a half: its peak


def test_a_lesion_below_the_fitted_peak_is_left_out() -> None:
    masks = separate_lesions(two_lesions()[:, None], given(), minimum_peak=0.5)
    assert masks.lesions_ZYX.max() == 1 and len(masks.score) == 1


def test_a_higher_edge_leaves_the_doubtful_part_out() -> None:
    probability = two_lesions()
    probability[2:4, 4:10, 10:14] = 0.3  # a faint border of the first
    masks = separate_lesions(probability[:, None], given(), minimum_peak=0.0, edge=0.5)
    assert masks.lesions_ZYX.max() == 1 and (masks.lesions_ZYX == 1).sum() == 72


def test_lesions_thinner_than_the_networks_grid_keep_their_nearest_voxel() -> None:
    labels = np.zeros((12, 64, 64), np.uint16)
    labels[4:8, 8:20, 8:20], labels[9, 41, 41] = 1, 2
    first, second = lesions_on_network_grid(labels, given())
    assert first.sum() == 2 * 6 * 6 and first[2:4, 4:10, 4:10].all()
    assert np.argwhere(second).tolist() == [[4, 20, 20]]


def test_the_liver_holds_its_lesions_and_padding_is_cut_off() -> None:
    liver = np.zeros(SHAPE, np.float32)
    liver[1:5, 2:14, 2:14] = 0.8
    both = np.pad(np.stack([liver, two_lesions()], axis=1), [(0, 0), (0, 0), (0, 16), (0, 16)])
    masks = separate_lesions(both, given(), minimum_peak=0.0)
    assert masks.liver_ZYX.shape == SHAPE and masks.liver_ZYX[3, 6, 6]
    assert masks.lesions_ZYX.max() == 1  # the other one lies outside the liver
    assert masks.liver_ZYX[masks.lesions_ZYX > 0].all()


def test_smoothing_is_in_mm_and_leaves_masks_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lesion_masks, "SMOOTHING_MM", 4.0)
    probability = np.zeros((6, 2, 32, 32), np.float32)
    probability[3, 1, 16, 16] = 1.0
    smoothed = smooth(probability, given())
    assert not smoothed[:, 0].any()
    assert smoothed[:, 1].sum() == pytest.approx(1.0, rel=1e-3)
    assert smoothed[3, 1, 16, 17] > smoothed[4, 1, 16, 16]  # pixels are nearer than slices


def test_peaks_and_scores_by_hand() -> None:
    labels = np.array([[1, 1, 2, 0]], np.uint16)
    probability = np.array([[0.6, 0.8, 0.3, 0.9]], np.float32)
    np.testing.assert_allclose(peaks(labels, probability), [0.8, 0.3])
    np.testing.assert_allclose(scores(labels, probability, np.float32([0.8, 0.3])), [0.7, 0.3])


def test_what_is_kept_is_numbered_anew() -> None:
    labels = np.array([[1, 2, 3, 0]], np.uint16)
    kept, peak = keep_confident(labels, np.array([[0.9, 0.1, 0.8, 1.0]], np.float32), 0.5)
    np.testing.assert_array_equal(kept, [[1, 0, 2, 0]])
    np.testing.assert_allclose(peak, [0.9, 0.8])


def test_the_patient_by_hand() -> None:
    lesions = [
        LesionPrediction(1, 0.9, {LesionType.HCC: 0.5, LesionType.CYST: 0.5}),
        LesionPrediction(2, 0.6, {LesionType.HCC: 1.0, LesionType.CYST: 0.0}),
    ]
    types = (LesionType.HCC, LesionType.CYST)
    patient, malignant = liver_max(lesions, types)
    assert patient == pytest.approx({LesionType.HCC: 0.6, LesionType.CYST: 0.45})
    assert malignant == pytest.approx(0.6)
    assert liver_max([], types) == ({LesionType.HCC: 0.0, LesionType.CYST: 0.0}, 0.0)
