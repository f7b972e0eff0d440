"""Planes lie where they should, on grids of any orientation: aspect, outlines and windows."""

from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest

from liverleaf.export.html import figures
from liverleaf.segmentation import Segmentation
from liverleaf.study import Modality, Phase, PhaseImage, Study
from liverleaf.terminology import Organ

AFFINE = np.array([[0, 0, 4.0, -80], [0, 3.0, 0, -70], [5.0, 0, 0, 10], [0, 0, 0, 1]])


def _pixels(view: figures.View, phase: Phase = Phase.PORTAL) -> np.ndarray:
    return np.asarray(view.tiles[phase]).astype(int)


def _one_voxel_lesion() -> tuple[Study, Segmentation]:
    """4 x 10 x 20 voxels of 5 x 3 x 4 mm, with one bright lesion voxel at (z, y, x) = (2, 3, 5)."""
    image, labels = np.zeros((4, 10, 20), np.float32), np.zeros((4, 10, 20), np.uint16)
    image[2, 3, 5], labels[2, 3, 5] = 500.0, 1
    grid = hd.Volume(image, AFFINE, "PATIENT")
    return Study(Modality.CT, {Phase.PORTAL: PhaseImage(grid)}), Segmentation(
        grid.with_array(labels), {Organ.LIVER: grid.with_array(labels > 0)}, "none"
    )


def test_a_voxel_is_drawn_and_outlined_where_it_lies() -> None:
    view = figures.axial_view(figures.display(*_one_voxel_lesion()))
    assert view.size == (400, 150)  # 80 x 30 mm at 5 pixels per mm
    assert view.position == "Axial, z = 20 mm"
    lesion = next(outline for outline in view.outlines if outline.number == 1)
    np.testing.assert_allclose(lesion.points.min(axis=0), (5 * 4 * 5, 3 * 3 * 5))
    np.testing.assert_allclose(lesion.points.max(axis=0), (6 * 4 * 5, 4 * 3 * 5))
    pixels = _pixels(view)
    brightest = np.argwhere(pixels == pixels.max()).mean(axis=0)
    np.testing.assert_allclose(brightest, (3.5 * 3 * 5 - 0.5, 5.5 * 4 * 5 - 0.5), atol=0.5)


def test_coronal_planes_have_the_head_at_the_top() -> None:
    view = figures.coronal_view(figures.display(*_one_voxel_lesion()), Phase.PORTAL)
    assert view.size == (400, 100) and view.edges == ("R", "L", "H", "F")
    assert view.position == "Coronal, y = −61 mm"
    lesion = next(outline for outline in view.outlines if outline.number == 1)
    # slice 2 of 4 from the feet
    np.testing.assert_allclose(lesion.points.mean(axis=0), (5.5 * 4 * 5, 1.5 * 5 * 5), atol=6)


@pytest.mark.parametrize("orientation", ["HPR", "FAL", "LHP", "PHL", "AFR"])
def test_any_orientation_is_shown_alike(make_case, orientation: str) -> None:
    upright = make_case()
    turned = make_case(
        volume=lambda array: hd.Volume(array, AFFINE, "PATIENT").to_patient_orientation(orientation)
    )
    assert (
        turned[0].grid.get_closest_patient_orientation()
        != upright[0].grid.get_closest_patient_orientation()
    )
    shown = [figures.display(*case[:2]) for case in (upright, turned)]
    for cut in (
        figures.axial_view,
        lambda one: figures.lesion_view(one, 2),
        lambda one: figures.coronal_view(one, Phase.PORTAL),
    ):
        expected, view = map(cut, shown)
        assert view.position == expected.position
        np.testing.assert_array_equal(_pixels(view), _pixels(expected))


def test_a_lesion_is_shown_in_its_middle_and_where_it_is_largest(make_case) -> None:
    study, segmentation, _ = make_case()
    labels = segmentation.lesions.array.copy()
    labels[8, 13:15, 7:9] = 1  # a smaller cap above slices 5 to 7
    view = figures.lesion_view(
        figures.display(
            study, replace(segmentation, lesions=segmentation.lesions.with_array(labels))
        ),
        1,
    )
    assert view.position == "Axial, z = 35 mm"  # slice 5
    assert view.size == (400, 400) and list(view.tiles) == list(study.phases)
    points = next(outline.points for outline in view.outlines if outline.number == 1)
    np.testing.assert_allclose((points.min(axis=0) + points.max(axis=0)) / 2, (200, 200), atol=1e-6)
    assert all(0 <= x <= 400 and 0 <= y <= 400 for x, y in view.labels.values())


def test_every_phase_of_mr_has_one_window_that_ignores_outliers(make_case) -> None:
    study, segmentation, _ = make_case(modality=Modality.MR)
    clean = figures.display(study, segmentation).window
    spoilt = study.phases[Phase.ARTERIAL].volume.array.copy()
    spoilt[10, 20, 20], spoilt[10, 21, 21] = 1e6, np.nan
    image = PhaseImage(study.grid.with_array(spoilt))
    window = figures.display(
        replace(study, phases={**study.phases, Phase.ARTERIAL: image}), segmentation
    ).window
    assert (window.low, window.high) == pytest.approx((clean.low, clean.high), rel=0.02)
    assert 30 < window.low < 55 and 115 < window.high < 145


def test_ct_has_a_fixed_window(make_case) -> None:
    window = figures.display(*make_case()[:2]).window
    assert (window.level, window.width) == (80.0, 300.0)


@pytest.mark.parametrize(
    ("pixels_per_mm", "expected"), [(400 / 110, 20), (400 / 220, 50), (400 / 380, 100), (100.0, 5)]
)
def test_the_scale_bar_is_round_and_fits(pixels_per_mm: float, expected: int) -> None:
    view = figures.axial_view(figures.display(*_one_voxel_lesion()))
    assert replace(view, pixels_per_mm=pixels_per_mm).scale_bar_mm == expected


def test_other_grids_are_refused_by_name(make_case) -> None:
    study, segmentation, _ = make_case()
    shifted = AFFINE.copy()
    shifted[0, 3] += 2.0
    moved = hd.Volume(segmentation.lesions.array, shifted, "PATIENT")
    with pytest.raises(ValueError, match="do not lie on the grid of the portal venous phase"):
        figures.display(study, replace(segmentation, lesions=moved, organs={}))
    image = PhaseImage(hd.Volume(study.grid.array, shifted, "PATIENT"))
    with pytest.raises(ValueError, match="register the study"):
        figures.display(replace(study, phases={**study.phases, Phase.PRE: image}), segmentation)
