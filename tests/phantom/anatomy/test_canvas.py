"""The canvas: distances by hand, noise independent of the grid, painting in bounds."""

import numpy as np
import pytest

from liverleaf.phantom.anatomy.canvas import (
    Canvas,
    Shape,
    Tissue,
    ellipsoid,
    smooth_noise,
    tissue_mask,
    tube,
)


def points(*xyz: tuple[float, float, float]) -> list[np.ndarray]:
    return [np.array(column, np.float32) for column in zip(*xyz, strict=True)]


def blank(shape: tuple[int, int, int] = (9, 11, 13), tissue: Tissue = Tissue.FAT) -> Canvas:
    axes = tuple((np.arange(n) - n // 2).astype(np.float32) for n in shape)
    z, y, x = (np.array(line) for line in np.meshgrid(*axes, indexing="ij"))
    return Canvas(axes, x, y, z, 0.0, (1.0, 1.0, 1.0), np.full(shape, tissue, np.uint8))


@pytest.mark.parametrize(
    ("shape", "point", "distance_mm"),
    [
        (ellipsoid((0, 0, 0), (5, 5, 5)), (8, 0, 0), 3),
        (ellipsoid((1, 2, 3), (4, 2, 2)), (5, 2, 3), 0),
        (
            ellipsoid((0, 0, 0), (4, 1, 1), np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])),
            (0, 4, 0),
            0,
        ),
        (tube([(0, 0, 0), (10, 0, 0)], 2), (5, 3, 4), 3),
        (tube([(0, 0, 0), (10, 0, 0)], [1, 3]), (5, 0, 5), 3),
        (tube([(0, 0, 0), (10, 0, 0)], 2), (13, 0, 4), 3),
    ],
)
def test_distance_by_hand(
    shape: Shape, point: tuple[float, float, float], distance_mm: float
) -> None:
    assert shape.distance(*points(point))[0] == pytest.approx(distance_mm, abs=1e-5)


def test_shapes_lie_in_their_boxes() -> None:
    tilt = np.deg2rad(30)
    rotation = np.array(
        [[np.cos(tilt), np.sin(tilt), 0], [-np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]]
    )
    grid = points(*np.random.default_rng(0).uniform(-12, 12, (20000, 3)))
    for shape in (
        ellipsoid((1, 2, 3), (8, 3, 2), rotation),
        tube([(-5, 0, 0), (4, 4, 1), (4, -6, 2)], [1, 2, 3]),
    ):
        inside = np.stack(grid)[:, shape.distance(*grid) < 0]
        assert inside.size
        assert (inside >= shape.low[:, None]).all() and (inside <= shape.high[:, None]).all()


def test_noise_does_not_depend_on_the_grid_that_samples_it() -> None:
    fine = [np.arange(-20, 21, 1, dtype=np.float32)] * 3
    coarse = [axis[::4] for axis in fine]
    low, high = (-30, -30, -30), (30, 30, 30)
    a, b = (smooth_noise(np.random.default_rng(1), axes, low, high, 8) for axes in (fine, coarse))
    np.testing.assert_allclose(a[::4, ::4, ::4], b, atol=1e-5)


def test_noise_has_unit_variance() -> None:
    axes = [np.linspace(0, 200, 60, dtype=np.float32)] * 3
    assert smooth_noise(
        np.random.default_rng(2), axes, (0, 0, 0), (200, 200, 200), 8
    ).std() == pytest.approx(1, abs=0.05)


def test_paint_keeps_to_over_and_within() -> None:
    canvas = blank()
    canvas.tissue[:, :, :6] = Tissue.LIVER
    within = np.zeros(canvas.tissue.shape, bool)
    within[:4] = True
    canvas.paint(ellipsoid((0, 0, 0), (4, 4, 4)), Tissue.CYST, over=(Tissue.LIVER,), within=within)
    cyst = canvas.tissue == Tissue.CYST
    expected = (np.sqrt(canvas.x**2 + canvas.y**2 + canvas.z**2) < 4) & within
    expected[:, :, 6:] = False
    assert (cyst == expected).all() and cyst.any()


def test_a_shape_beside_the_grid_paints_nothing() -> None:
    canvas = blank()
    canvas.paint(ellipsoid((100, 0, 0), (4, 4, 4)), Tissue.CYST)
    canvas.paint_hollow(
        tube([(100, 0, 0), (110, 0, 0)], 3),
        Tissue.BOWEL_WALL,
        Tissue.BOWEL_CONTENT,
        2,
        over=(Tissue.FAT,),
    )
    assert (canvas.tissue == Tissue.FAT).all()


def test_a_hollow_organ_has_a_closed_wall() -> None:
    canvas = blank((15, 15, 15))
    canvas.tissue[:, :, :6] = Tissue.LIVER
    canvas.paint_hollow(
        ellipsoid((0, 0, 0), (6, 6, 6)),
        Tissue.STOMACH_WALL,
        Tissue.STOMACH_CONTENT,
        1.5,
        over=(Tissue.FAT,),
    )
    content = tissue_mask(canvas.tissue, (Tissue.STOMACH_CONTENT,))
    organ = tissue_mask(canvas.tissue, (Tissue.STOMACH_WALL, Tissue.STOMACH_CONTENT))
    assert content.any()
    for axis in range(3):
        for step in (-1, 1):
            assert organ[np.roll(content, step, axis)].all()
