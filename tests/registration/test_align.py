"""Registration of shapes drawn at any point of space.

So every grid, motion and contrast has a truth to compare with.
"""

from collections.abc import Callable
from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from scipy import ndimage
from scipy.spatial import KDTree

from liverleaf.registration.align import register_phases
from liverleaf.study import Modality, Phase, PhaseImage, SourceIds, Study, same_grid

Points = NDArray[np.float64]
Motion = Callable[[Points], Points]
ANGLE = np.deg2rad(20)
TILT = np.array([[1, 0, 0], [0, np.cos(ANGLE), -np.sin(ANGLE)], [0, np.sin(ANGLE), np.cos(ANGLE)]])
AXIAL = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float)  # columns: directions of Z, Y, X
CONTRASTS = {
    Phase.PRE: (150, 400, 250, 200),
    Phase.ARTERIAL: (160, 480, 750, 1300),
    Phase.PORTAL: (160, 700, 720, 950),
}  # body, liver, spleen, vessels
# centres, LPS, inside the liver
VESSELS_MM = np.random.default_rng(3).uniform((-55, -25, -35), (15, 25, 35), (25, 3))

RIBS_MM = [
    (97 * np.cos(turn), 67 * np.sin(turn), z)
    for turn in np.arange(0, 2 * np.pi, 0.5)
    for z in (-50, -20, 10, 40)
]


def anatomy(at_mm: Points, contrast: tuple[int, ...]) -> NDArray[np.float64]:
    """Intensity at points (..., 3) in LPS mm of an elliptic body.

    In it: dark ribs, a liver with round vessels, a spleen.
    """

    def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...]) -> NDArray[np.bool_]:
        return (((at_mm - centre) / radii) ** 2).sum(axis=-1) < 1

    body, liver, spleen, vessels = contrast
    image = np.zeros(at_mm.shape[:-1])
    image[ellipsoid((0, 0, 0), (105, 75, 1e6))] = body
    image[KDTree(RIBS_MM).query(at_mm, distance_upper_bound=7)[0] < 7] = 20
    image[ellipsoid((-20, 0, 0), (65, 50, 50))] = liver
    image[ellipsoid((70, 20, 5), (20, 22, 32))] = spleen
    image[KDTree(VESSELS_MM).query(at_mm, distance_upper_bound=6)[0] < 6] = vessels
    return image


def grid(
    shape: tuple[int, ...] = (32, 44, 56),
    spacing_mm: tuple[float, ...] = (4.0, 4.0, 4.0),
    *,
    direction: NDArray[np.float64] = AXIAL,
    centre_mm: tuple[float, ...] = (0, 0, 0),
    frame: str = "1.2.3",
) -> hd.Volume:
    return hd.Volume.from_components(
        np.zeros(shape, np.float32),
        direction=direction,
        spacing=spacing_mm,
        center_position=centre_mm,
        coordinate_system="PATIENT",
        frame_of_reference_uid=frame,
    )


def points_mm(volume: hd.Volume) -> Points:
    index = np.moveaxis(np.indices(volume.spatial_shape), 0, -1)
    return index @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def still(at_mm: Points) -> Points:
    return np.zeros_like(at_mm)


def shifted(*shift_mm: float) -> Motion:
    return lambda at_mm: np.broadcast_to(shift_mm, at_mm.shape)


def breath(at_mm: Points) -> Points:
    """The liver and what is near it go down by up to 12 mm, the rest stays."""
    near = np.exp(-((((at_mm - (-20, 0, 0)) / (75, 60, 55)) ** 2).sum(axis=-1) ** 2))
    return near[..., None] * (0.0, 3.0, -12.0)


def scan(
    phase: Phase, motion: Motion = still, on: hd.Volume | None = None, seed: int = 0
) -> PhaseImage:
    """A noisy image in which the tissue of point p - motion(p) is seen at p."""
    on = grid() if on is None else on
    at_mm = points_mm(on)
    clean = ndimage.gaussian_filter(anatomy(at_mm - motion(at_mm), CONTRASTS[phase]), 0.6)
    noise = np.random.default_rng(seed).normal(0, 25, clean.shape)
    return PhaseImage(on.with_array((clean + noise).astype(np.float32)))


def noise_only(on: hd.Volume) -> PhaseImage:
    return PhaseImage(
        on.with_array(np.random.default_rng(9).normal(100, 30, on.spatial_shape).astype(np.float32))
    )


def study(modality: Modality = Modality.MR, **phases: PhaseImage) -> Study:
    return Study(modality, {Phase[name]: image for name, image in phases.items()})


def register(study: Study, *, deformable: bool = True) -> Study:
    return register_phases(study, deformable=deformable).study


def spleen_and_liver_centres_mm(volume: hd.Volume, phase: Phase) -> Points:
    """Centres of the liver's and the spleen's largest bright piece, near where they are drawn."""
    at_mm, (_, liver, spleen, _) = points_mm(volume), CONTRASTS[phase]
    centres = []
    for value, place, reach in ((liver, (-20, 0, 0), 85), (spleen, (70, 20, 5), 45)):
        near = np.linalg.norm(at_mm - place, axis=-1) < reach
        organ, count = ndimage.label(
            near & (ndimage.gaussian_filter(volume.array, 0.7) > (value + CONTRASTS[phase][0]) / 2)
        )
        largest = organ == 1 + np.bincount(organ.ravel())[1:].argmax() if count else near
        centres.append(at_mm[largest].mean(axis=0))
    return np.array(centres)


@pytest.mark.parametrize("shift_mm", [(0, 0, 0), (9, -6, 11), (-14, 5, -18)], ids=str)
@pytest.mark.parametrize("deformable", [False, True], ids=["rigid", "deformable"])
def test_a_known_shift_is_undone_across_a_change_of_contrast(
    shift_mm: tuple[float, ...], deformable: bool
) -> None:
    registered = register(
        study(PORTAL=scan(Phase.PORTAL), ARTERIAL=scan(Phase.ARTERIAL, shifted(*shift_mm), seed=1)),
        deformable=deformable,
    )
    image = registered.phases[Phase.ARTERIAL]
    truth = spleen_and_liver_centres_mm(scan(Phase.ARTERIAL).volume, Phase.ARTERIAL)
    errors_mm = np.linalg.norm(
        spleen_and_liver_centres_mm(image.volume, Phase.ARTERIAL) - truth, axis=1
    )
    assert errors_mm.max() < np.linalg.norm(image.volume.spacing)
    assert image.alignment is not None
    assert image.alignment.trusted
    assert image.alignment.mean_shift_mm == pytest.approx(np.linalg.norm(shift_mm), abs=2.5)
    assert registered.warnings == ()


def test_identifiers_of_the_source_outlive_its_headers() -> None:
    source = SourceIds("1.2", "1.2.3", ("1.2.3.4",))
    arterial = replace(scan(Phase.ARTERIAL), source=source, headers=(Dataset(),))
    image = register(study(PORTAL=scan(Phase.PORTAL), ARTERIAL=arterial)).phases[Phase.ARTERIAL]
    assert image.headers == ()
    assert image.source == source


def test_breathing_is_undone_by_deformation() -> None:
    at_mm = points_mm(grid())
    liver = (((at_mm - (-20, 0, 0)) / (65, 50, 50)) ** 2).sum(axis=-1) < 1
    still_pre = scan(Phase.PRE).volume.array
    error = {}
    for deformable in (False, True):
        image = register(
            study(PORTAL=scan(Phase.PORTAL), PRE=scan(Phase.PRE, breath, seed=1)),
            deformable=deformable,
        ).phases[Phase.PRE]
        error[deformable] = np.abs(image.volume.array - still_pre)[liver].mean()
    alignment = image.alignment
    before = np.abs(scan(Phase.PRE, breath, seed=1).volume.array - still_pre)[liver].mean()
    assert alignment is not None
    assert (alignment.method, alignment.trusted, alignment.folding) == ("deformable", True, 0.0)
    assert alignment.similarity_after > alignment.similarity_before
    assert error[True] < 0.7 * before
    assert error[True] < error[False]


GRIDS = {
    "finer": lambda: grid((64, 80, 100), (2.0, 2.3, 2.3)),
    "thick slices": lambda: grid((16, 88, 112), (8.0, 2.0, 2.0)),
    "oblique": lambda: grid((36, 48, 60), direction=TILT @ AXIAL),
    "flipped": lambda: grid(direction=AXIAL * [-1, -1, 1]),
    "coronal": lambda: grid(
        (44, 32, 56), direction=np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], float)
    ),
}


@pytest.mark.parametrize("on", GRIDS.values(), ids=GRIDS)
def test_every_phase_ends_on_the_reference_grid(on: Callable[[], hd.Volume]) -> None:
    registered = register(
        study(PORTAL=scan(Phase.PORTAL), ARTERIAL=scan(Phase.ARTERIAL, breath, on(), seed=1))
    )
    image = registered.phases[Phase.ARTERIAL]
    assert registered.on_one_grid
    np.testing.assert_array_equal(image.volume.affine, registered.grid.affine)
    assert image.volume.array.dtype == np.float32
    assert image.volume.array.flags.c_contiguous
    assert image.alignment is not None
    assert image.alignment.trusted
    inside = np.abs(points_mm(registered.grid)).max(axis=-1) < 45
    close = np.corrcoef(image.volume.array[inside], scan(Phase.ARTERIAL).volume.array[inside])[0, 1]
    assert (
        close
        > np.corrcoef(
            scan(Phase.ARTERIAL, breath, seed=1).volume.array[inside],
            scan(Phase.ARTERIAL).volume.array[inside],
        )[0, 1]
    )


def slowly_resampled(volume: hd.Volume, on: hd.Volume) -> NDArray[np.float32]:
    """Linear interpolation at the points of the grid; the minimum beyond the outer voxels."""
    index = points_mm(on).reshape(-1, 3)
    index = (np.linalg.inv(volume.affine) @ np.c_[index, np.ones(len(index))].T)[:3]
    shape = np.array(volume.spatial_shape)[:, None]
    inside = ((index >= -0.5) & (index < shape - 0.5)).all(axis=0)
    values = np.where(
        inside,
        ndimage.map_coordinates(volume.array, index, order=1, mode="nearest"),
        volume.array.min(),
    )
    return values.reshape(on.spatial_shape)


@pytest.mark.parametrize("on", GRIDS.values(), ids=GRIDS)
def test_noise_is_only_resampled_and_not_trusted(on: Callable[[], hd.Volume]) -> None:
    reference, garbage = scan(Phase.PORTAL), noise_only(on())
    registered = register(study(PORTAL=reference, ARTERIAL=garbage))
    image = registered.phases[Phase.ARTERIAL]
    np.testing.assert_allclose(
        image.volume.array, slowly_resampled(garbage.volume, reference.volume), atol=0.01
    )
    assert image.alignment is not None
    assert (image.alignment.method, image.alignment.trusted, image.alignment.mean_shift_mm) == (
        "resampled",
        False,
        0.0,
    )
    assert len(registered.warnings) == 1
    assert "arterial phase: registration did not find its anatomy" in registered.warnings[0]


def test_noise_on_the_same_grid_keeps_every_voxel() -> None:
    garbage = noise_only(grid())
    image = register(study(PORTAL=scan(Phase.PORTAL), ARTERIAL=garbage)).phases[Phase.ARTERIAL]
    np.testing.assert_array_equal(image.volume.array, garbage.volume.array)
    assert image.alignment is not None
    assert image.alignment.method == "none"


@pytest.mark.parametrize("reference_is_flat", [True, False])
@pytest.mark.parametrize("modality", Modality)
def test_images_without_structure_do_not_crash(reference_is_flat: bool, modality: Modality) -> None:
    flat = PhaseImage(grid().with_array(np.full(grid().spatial_shape, 7, np.float32)))
    other = flat if reference_is_flat else scan(Phase.PORTAL)
    registered = register(study(modality, PORTAL=other, PRE=flat))
    image = registered.phases[Phase.PRE]
    np.testing.assert_array_equal(image.volume.array, flat.volume.array)
    assert image.alignment is not None
    assert (image.alignment.similarity_after, image.alignment.trusted) == (0.0, False)


@pytest.mark.parametrize("shape", [(1, 40, 40), (3, 40, 40), (2, 2, 2)], ids=str)
def test_thin_stacks_do_not_crash(shape: tuple[int, ...]) -> None:
    thin = grid(shape)
    registered = register(
        study(PORTAL=scan(Phase.PORTAL, on=thin), PRE=scan(Phase.PRE, on=thin, seed=1))
    )
    assert registered.on_one_grid


def test_a_phase_of_another_place_is_not_trusted() -> None:
    # 128 mm of slices, 18 mm of them shared
    elsewhere = scan(Phase.PRE, on=grid(centre_mm=(0, 0, 110)))
    registered = register(study(PORTAL=scan(Phase.PORTAL), PRE=elsewhere))
    alignment = registered.phases[Phase.PRE].alignment
    assert alignment is not None
    assert (alignment.method, alignment.trusted) == ("resampled", False)
    assert "pre-contrast phase: it shows only 1" in registered.warnings[0]


def test_a_foreign_frame_of_reference_is_found_from_the_image() -> None:
    far = scan(Phase.ARTERIAL, shifted(0, 400, 0), on=grid(centre_mm=(0, 400, 0), frame="9.9"))
    registered = register(study(PORTAL=scan(Phase.PORTAL), ARTERIAL=far))
    image = registered.phases[Phase.ARTERIAL]
    assert registered.on_one_grid
    assert image.volume.frame_of_reference_uid == "1.2.3"
    assert "arterial phase: it has another frame of reference" in registered.warnings[0]
    truth = spleen_and_liver_centres_mm(scan(Phase.ARTERIAL).volume, Phase.ARTERIAL)
    assert np.linalg.norm(
        spleen_and_liver_centres_mm(image.volume, Phase.ARTERIAL) - truth, axis=1
    ).max() < np.linalg.norm(image.volume.spacing)


def test_what_is_not_shown_becomes_the_minimum() -> None:
    low = scan(Phase.ARTERIAL, on=grid((20, 44, 56)), seed=1)
    image = register(study(PORTAL=scan(Phase.PORTAL), ARTERIAL=low)).phases[Phase.ARTERIAL]
    assert image.alignment is not None
    assert image.alignment.trusted
    np.testing.assert_array_equal(image.volume.array[0], low.volume.array.min())


def test_the_same_study_gives_the_same_voxels() -> None:
    twice = [
        register(study(PORTAL=scan(Phase.PORTAL), PRE=scan(Phase.PRE, breath, seed=1))).phases[
            Phase.PRE
        ]
        for _ in range(2)
    ]
    np.testing.assert_array_equal(twice[0].volume.array, twice[1].volume.array)
    assert twice[0].alignment == twice[1].alignment


def test_one_phase_is_returned_as_it_is() -> None:
    alone = study(PORTAL=scan(Phase.PORTAL))
    assert register(alone) is alone


def test_the_reference_keeps_its_headers_and_its_voxels() -> None:
    reference = PhaseImage(scan(Phase.PORTAL).volume, headers=(Dataset(),))
    other = PhaseImage(scan(Phase.PRE).volume, time_s=0.0, headers=(Dataset(),))
    registered = register(
        Study(Modality.MR, {Phase.PORTAL: reference, Phase.PRE: other}, warnings=("as read",))
    )
    assert registered.phases[Phase.PORTAL] is reference
    assert registered.phases[Phase.PRE].headers == ()
    assert registered.phases[Phase.PRE].time_s == 0.0
    assert registered.warnings == ("as read",)


def test_same_grid_needs_no_interpolation_when_nothing_moved() -> None:
    other = scan(Phase.PRE, seed=1)
    image = register(study(PORTAL=scan(Phase.PORTAL), PRE=other)).phases[Phase.PRE]
    assert same_grid(image.volume, other.volume)
    assert image.alignment is not None
    assert (image.alignment.method, image.alignment.similarity_after) == (
        "none",
        image.alignment.similarity_before,
    )
    np.testing.assert_array_equal(image.volume.array, other.volume.array)
