"""Motion between phases: where tissue went, and that both ways agree."""

import highdicom as hd
import numpy as np
import pytest

from liverleaf.phantom.anatomy.fields import SplineField
from liverleaf.phantom.physics.kinetics import AGENTS
from liverleaf.phantom.physics.motion import draw_motion, forward_shift_mm, resampled
from liverleaf.phantom.physics.protocol import Protocol
from liverleaf.study import Modality, Phase

SPACING_MM = (4.0, 2.0, 2.0)
OBLIQUE = np.array([[0.0, 0.6, 0.8], [0.0, 0.8, -0.6], [1.0, 0.0, 0.0]])


def grid(
    shape: tuple[int, int, int] = (12, 40, 48), direction: np.ndarray | None = None
) -> hd.Volume:
    return hd.Volume.from_components(
        np.zeros(shape, np.float32),
        spacing=SPACING_MM,
        direction=np.eye(3)[::-1] if direction is None else direction,
        position=(-40.0, -30.0, 100.0),
        coordinate_system="PATIENT",
    )


def protocol(**changes: float) -> Protocol:
    return Protocol(Modality.MR, AGENTS["gadobutrol"], {Phase.PORTAL: 70.0}, **changes)


def even(shift_mm: tuple[float, float, float]) -> SplineField:
    """The same shift everywhere: a spline whose coefficients are all alike is constant."""
    return SplineField(
        np.broadcast_to(np.float32(shift_mm)[:, None, None, None], (3, 6, 6, 6)).copy(),
        (10.0, 20.0, 20.0),
    )


def test_no_motion_leaves_the_image_alone() -> None:
    reference = grid()
    image = np.random.default_rng(0).random(reference.spatial_shape, dtype=np.float32)
    axes = [np.arange(n, dtype=float) for n in image.shape]
    assert resampled(image, axes, None, reference) is image


@pytest.mark.parametrize("direction", [None, OBLIQUE])
def test_an_even_shift_moves_the_image_by_whole_voxels(direction: np.ndarray | None) -> None:
    reference = grid(direction=direction)
    image = np.random.default_rng(0).random(reference.spatial_shape, dtype=np.float32)
    # from a place in the phase, the same tissue lies two rows further on in the reference
    step_mm = reference.affine[:3, :3] @ (0, 2, 0)
    axes = [np.arange(n, dtype=float) for n in image.shape]
    moved = resampled(image, axes, even(tuple(step_mm)), reference)
    np.testing.assert_allclose(moved[:, :-2], image[:, 2:], atol=1e-4)


def test_the_forward_shift_of_an_even_motion_is_its_negative() -> None:
    shift_mm = forward_shift_mm(even((1.0, -2.0, 3.0)), grid())
    assert shift_mm.shape == (12, 40, 48, 3) and shift_mm.dtype == np.float32
    np.testing.assert_allclose(
        shift_mm, np.broadcast_to([-1.0, 2.0, -3.0], shift_mm.shape), atol=1e-4
    )


def test_forward_and_backward_shift_cancel() -> None:
    reference = grid((16, 48, 48), OBLIQUE)
    motion = draw_motion(
        reference,
        protocol(shift_sd_mm=5.0, deformation_sd_mm=2.0),
        Phase.ARTERIAL,
        np.random.default_rng(3),
    )
    forward_mm = forward_shift_mm(motion, reference)
    index = np.array([[5, 20, 30], [8, 24, 24], [10, 31, 12]]).T
    arrived = index + np.tensordot(
        np.linalg.inv(reference.affine[:3, :3]), forward_mm[tuple(index)].T, 1
    )
    np.testing.assert_allclose(motion.at(arrived), -forward_mm[tuple(index)].T, atol=0.15)


def test_a_held_breath_moves_nothing() -> None:
    motion = draw_motion(
        grid(),
        protocol(shift_sd_mm=0.0, deformation_sd_mm=0.0),
        Phase.DELAYED,
        np.random.default_rng(0),
    )
    assert not motion.coefficients.any()


def test_a_failed_arterial_breath_hold_moves_half_as_much_again() -> None:
    failed, held = (
        draw_motion(
            grid(),
            protocol(ghost=ghost, deformation_sd_mm=0.0),
            Phase.ARTERIAL,
            np.random.default_rng(1),
        )
        for ghost in (0.1, 0.0)
    )
    np.testing.assert_allclose(failed.coefficients, 1.5 * held.coefficients, rtol=1e-5)


def test_motion_is_mostly_along_the_body_and_fades_from_the_middle() -> None:
    rng = np.random.default_rng(5)
    large = grid((60, 60, 60))
    drawn = np.stack(
        [
            draw_motion(large, protocol(deformation_sd_mm=0.0), Phase.DELAYED, rng).coefficients
            for _ in range(200)
        ]
    )
    spread = drawn.std(axis=0)
    middle = tuple(n // 2 for n in spread.shape[1:])
    assert spread[2][middle] > 2 * spread[1][middle] > 2 * spread[0][middle]
    assert spread[2][0, 0, 0] < spread[2][middle]
