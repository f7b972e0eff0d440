"""Masks carried through known motions: where tissue is put, and that nothing vanishes."""

from __future__ import annotations

from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813, the name everybody knows it by

from liverleaf.phantom.generator import Phantom
from liverleaf.registration.align import Registration, register_phases
from liverleaf.registration.travel import carried, motion_of, places
from liverleaf.study import Phase, Study

TURN = np.linalg.qr(np.array([[0.9, -0.2, 0.1], [0.3, 0.8, 0.3], [-0.1, -0.2, 0.9]]))[0]


def grid(shape: tuple[int, ...], spacing: tuple[float, ...], *, turned: bool = False) -> hd.Volume:
    affine = np.eye(4)
    axes = np.eye(3)[:, ::-1]
    affine[:3, :3] = (TURN @ axes if turned else axes) * spacing
    middle = affine[:3, :3] @ (np.array(shape) - 1) / 2
    affine[:3, 3] = -middle
    return hd.Volume(np.zeros(shape, np.float32), affine, "PATIENT")


def ball(volume: hd.Volume, middle_mm: tuple[float, ...], radius_mm: float) -> np.ndarray:
    index = np.moveaxis(np.indices(volume.spatial_shape), 0, -1)
    points = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return np.linalg.norm(points - np.array(middle_mm), axis=-1) < radius_mm


@pytest.mark.parametrize("turned", [False, True], ids=["straight", "oblique"])
def test_a_mask_moves_against_the_motion_and_keeps_its_volume(turned: bool) -> None:
    source = grid((24, 40, 40), (2.5, 1.5, 1.5), turned=turned)
    target = grid((20, 36, 36), (3.0, 2.0, 2.0))
    labels = source.with_array((7 * ball(source, (5, -4, 3), 9)).astype(np.uint16))
    shift = sitk.TranslationTransform(3, (4.0, -3.0, 6.0))  # from the target to the source
    moved = carried(labels, target, shift)
    inside = np.argwhere(moved.array == 7)
    middle = inside.mean(axis=0) @ target.affine[:3, :3].T + target.affine[:3, 3]
    np.testing.assert_allclose(middle, (1, -1, -3), atol=0.5)
    volume = len(inside) * np.prod(target.spacing)
    assert volume == pytest.approx(4 / 3 * np.pi * 9**3, rel=0.06)


def test_a_lesion_smaller_than_a_voxel_does_not_vanish() -> None:
    source, target = grid((30, 40, 40), (1.0, 1.0, 1.0)), grid((8, 8, 8), (5.0, 6.0, 6.0))
    labels = np.zeros(source.spatial_shape, np.uint16)
    labels[14:16, 20:22, 25:27], labels[4, 5, 6] = 3, 9
    moved = carried(source.with_array(labels), target, sitk.Transform(3, sitk.sitkIdentity))
    for label in (3, 9):
        index = np.argwhere(labels == label).mean(axis=0)
        true = index @ source.affine[:3, :3].T + source.affine[:3, 3]
        (found,) = np.argwhere(moved.array == label)
        there = found @ target.affine[:3, :3].T + target.affine[:3, 3]
        assert np.abs(there - true).max() <= 3.0  # the voxel that holds it


def test_neighbours_keep_their_own_voxels() -> None:
    image = grid((6, 12, 12), (2.0, 2.0, 2.0))
    labels = np.zeros(image.spatial_shape, np.uint16)
    labels[:, :, :6], labels[:, :, 6:] = 1, 2
    moved = carried(image.with_array(labels), image, sitk.Transform(3, sitk.sitkIdentity))
    np.testing.assert_array_equal(moved.array, labels)


def test_what_the_grid_does_not_show_is_absent() -> None:
    image = grid((6, 12, 12), (2.0, 2.0, 2.0))
    labels = image.with_array(np.ones(image.spatial_shape, np.uint16))
    away = sitk.TranslationTransform(3, (500.0, 0.0, 0.0))
    assert not carried(labels, image, away).array.any()


@pytest.fixture(scope="module")
def phantom() -> tuple[Study, Registration, np.ndarray, hd.Volume]:
    """A phantom that moved between phases, registered, its true displacement and lesions."""
    study, truth = Phantom("ct", 5, shape=(32, 80, 80), spacing_mm=(7.0, 4.4, 4.4))[0]
    registration = register_phases(study)
    return study, registration, truth.displacement_mm[Phase.ARTERIAL], truth.lesions


def largest(lesions: hd.Volume) -> int:
    return int(np.bincount(lesions.array[lesions.array > 0]).argmax())


def test_places_follow_the_known_motion_of_a_phantom(
    phantom: tuple[Study, Registration, np.ndarray, hd.Volume],
) -> None:
    study, registration, shift_mm, lesions = phantom
    label = largest(lesions)
    found = places(registration, registration.study, lesions)[label]
    voxels = lesions.array == label
    here = np.argwhere(voxels).mean(axis=0) @ lesions.affine[:3, :3].T + lesions.affine[:3, 3]
    np.testing.assert_allclose(found[study.reference].centre_mm, here, atol=0.3)
    true = here + shift_mm[voxels].mean(axis=0)
    error = np.linalg.norm(found[Phase.ARTERIAL].centre_mm - true)
    assert error < max(2.5, 0.6 * np.linalg.norm(true - here))
    assert found[Phase.ARTERIAL].coverage == 1.0


def test_a_mask_drawn_on_a_moved_phase_lands_on_the_lesion(
    phantom: tuple[Study, Registration, np.ndarray, hd.Volume],
) -> None:
    _, registration, shift_mm, lesions = phantom
    label = largest(lesions)
    # what a person sees in the arterial phase: the lesion, moved by its mean shift
    shift = shift_mm[lesions.array == label].mean(axis=0)
    affine = lesions.affine.copy()
    affine[:3, 3] += shift
    drawn = hd.Volume((lesions.array == label).astype(np.uint16), affine, "PATIENT")
    motion = motion_of(registration, registration.study, Phase.ARTERIAL)
    laid = carried(drawn, registration.study.grid, motion).array > 0
    true = lesions.array == label
    dice = 2 * (laid & true).sum() / (laid.sum() + true.sum())
    assert dice > 0.75


def test_a_motion_that_was_taken_back_is_not_used(
    phantom: tuple[Study, Registration, np.ndarray, hd.Volume],
) -> None:
    _, registration, _, _ = phantom
    study = registration.study
    image = study.phases[Phase.ARTERIAL]
    assert image.alignment is not None
    still = replace(image, alignment=replace(image.alignment, method="none"))
    left = replace(study, phases={**study.phases, Phase.ARTERIAL: still})
    point = (1.0, 2.0, 3.0)
    assert motion_of(registration, left, Phase.ARTERIAL).TransformPoint(point) == point
    assert motion_of(registration, study, study.reference).TransformPoint(point) == point
