"""A rat's trunk: organs where they belong, tumours of the asked volume that push them aside."""

from functools import cache

import numpy as np
import pytest

from liverleaf.phantom.anatomy.canvas import Canvas, Tissue
from liverleaf.phantom.anatomy.rat_body import LOBES, Tumour, draw_grid, paint_rat

SHAPE, SPACING_MM = (32, 64, 72), (1.5, 0.9, 0.9)
Wanted = tuple[tuple[tuple[float, float, float], float], ...]
IN_LEFT_LOBE: Wanted = ((LOBES[0][0], 5.0),)
"""Centre and radius (mm) of each tumour."""


def generators(seed: int, week: int) -> tuple[np.random.Generator, np.random.Generator]:
    return np.random.default_rng((seed, 0)), np.random.default_rng((seed, 1, week))


@cache
def rat(
    wanted: Wanted = IN_LEFT_LOBE, necrosis: float = 0.3, week: int = 0
) -> tuple[Canvas, np.ndarray]:
    body, session = generators(0, week)
    _, canvas = draw_grid(body, session, SHAPE, SPACING_MM, "rat")
    tumours = [Tumour(np.array(centre), radius_mm) for centre, radius_mm in wanted]
    return canvas, paint_rat(body, session, canvas, tumours, necrosis)


def test_a_grid_is_axial_and_centred_on_the_liver() -> None:
    grid, canvas = draw_grid(*generators(0, 0), SHAPE, SPACING_MM, "rat")
    assert grid.spatial_shape == SHAPE
    np.testing.assert_allclose(grid.spacing, SPACING_MM)
    np.testing.assert_allclose(grid.direction[:, 0], (0, 0, 1), atol=1e-9)
    middle = grid.affine @ [*((np.array(SHAPE) - 1) / 2), 1]
    assert np.abs(middle[:3]).max() < 4
    assert canvas.slack_mm < 8


def test_another_week_is_another_position_of_the_same_animal() -> None:
    (first, _), (second, _) = rat(week=0), rat(week=1)
    assert (first.x != second.x).any()
    sizes = [
        np.isin(c.tissue, (Tissue.LIVER, Tissue.HCC, Tissue.HCC_NECROSIS)).sum()
        for c in (first, second)
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_organs_lie_the_right_way_round() -> None:
    canvas, _ = rat()
    where = {
        t: canvas.tissue == t
        for t in (
            Tissue.STOMACH_CONTENT,
            Tissue.LIVER,
            Tissue.LUNG,
            Tissue.BONE_MARROW,
            Tissue.SPLEEN,
        )
    }
    assert all(mask.any() for mask in where.values())
    assert canvas.x[where[Tissue.STOMACH_CONTENT]].mean() > 5  # left
    assert canvas.x[where[Tissue.SPLEEN]].mean() > 10
    assert canvas.z[where[Tissue.LUNG]].mean() > canvas.z[where[Tissue.LIVER]].mean()
    assert canvas.y[where[Tissue.BONE_MARROW]].mean() > 5  # the back


def test_a_tumour_has_the_asked_volume_and_share_of_necrosis() -> None:
    canvas, labels = rat()
    volume = (labels == 1).sum() * np.prod(SPACING_MM)
    assert volume == pytest.approx(4 / 3 * np.pi * 5.0**3, rel=0.15)
    dead = (canvas.tissue[labels == 1] == Tissue.HCC_NECROSIS).mean()
    assert dead == pytest.approx(0.3, abs=0.02)


def test_two_tumours_do_not_overlap() -> None:
    canvas, labels = rat(tuple((centre, 4.0) for centre, _ in LOBES[:2]), 0.0)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert (canvas.tissue[labels > 0] == Tissue.HCC).all()


def test_tumours_add_to_the_size_of_the_liver() -> None:
    parts = (Tissue.LIVER, Tissue.HCC, Tissue.HCC_NECROSIS)
    with_tumour, without = (np.isin(rat(t)[0].tissue, parts).sum() for t in (IN_LEFT_LOBE, ()))
    added = (with_tumour - without) * np.prod(SPACING_MM)
    assert 0.3 < added / (4 / 3 * np.pi * 5.0**3) < 1.0


def test_a_tumour_off_the_grid_has_no_label() -> None:
    _, labels = rat((((0.0, 0.0, 500.0), 3.0),), 0.0)
    assert not labels.any()
