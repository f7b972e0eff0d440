"""Planes of a study as image tiles, with the outlines of its masks.

Display convention: axial planes with the patient's right on the viewer's left and the front at the
top, coronal planes with the head at the top. A grid that is not axial is turned by permuting and
flipping axes, never resampled, so an oblique plane is shown as acquired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import find_contours

from liverleaf.measure.lesions import bounding_box
from liverleaf.segmentation import Segmentation
from liverleaf.study import Modality, Phase, Study, same_grid
from liverleaf.terminology import LESION_COLOURS, LIVER_COLOUR

TILE_WIDTH = 400
"""Width of a tile in its own pixels; the page scales it."""

CT_WINDOW_HU = (-70.0, 230.0)
"""Level 80, width 300: narrower than the usual abdominal window, so that a lesion stands out from
the liver."""

MR_WINDOW_PERCENTILES = (1.0, 99.5)
"""Of all phases together around the liver: one window for all, or enhancement could not be seen."""

LESION_FIELD_MM = (110.0, 220.0)
"""Smallest and largest side of the field shown around a lesion."""


@dataclass(frozen=True)
class Window:
    """The intensities shown as black and as white, in the image's own unit."""

    low: float
    high: float

    @property
    def level(self) -> float:
        """The middle of the window."""
        return (self.low + self.high) / 2

    @property
    def width(self) -> float:
        """The range of the window."""
        return self.high - self.low


@dataclass(frozen=True)
class Display:
    """A study turned to (foot to head, front to back, right to left), ready to cut planes from.

    Attributes:
        images: intensities per phase, shape (Z, Y, X).
        liver: bool, shape (Z, Y, X).
        lesions: instance labels, shape (Z, Y, X).
        spacing_mm: distance of voxels along (Z, Y, X).
        affine: from (z, y, x) indices of these arrays to LPS millimetres.
        window: one for all phases.
    """

    images: Mapping[Phase, NDArray[np.float32]]
    liver: NDArray[np.bool_]
    lesions: NDArray[np.integer]
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.floating]
    window: Window


@dataclass(frozen=True)
class Field:
    """A rectangle of a plane, in millimetres from the outer corner of its first pixel."""

    left_mm: float
    top_mm: float
    width_mm: float
    height_mm: float


@dataclass(frozen=True)
class Outline:
    """A closed line on a tile.

    Attributes:
        points: (x, y) in tile pixels.
        number: the lesion's label, 0 for the liver.
    """

    points: NDArray[np.floating]
    number: int

    @property
    def colour(self) -> str:
        """The colour of its structure, "#rrggbb"."""
        return lesion_colour(self.number) if self.number else LIVER_COLOUR

    @property
    def svg_path(self) -> str:
        """The line as the `d` of an SVG path."""
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in self.points[:-1]) + "Z"


@dataclass(frozen=True)
class View:
    """One plane, the same in every phase.

    Attributes:
        tiles: grey images with square pixels, all of one size.
        outlines: the liver first, then lesions.
        labels: where to write each lesion's number, (x, y) in tile pixels.
        edges: the patient's directions at the left, right, top and bottom edge.
        pixels_per_mm: scale of the tile.
        position: where the plane lies, in words.
    """

    tiles: Mapping[Phase, Image.Image]
    outlines: tuple[Outline, ...]
    labels: Mapping[int, tuple[float, float]]
    edges: tuple[str, str, str, str]
    pixels_per_mm: float
    position: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a tile in pixels."""
        return next(iter(self.tiles.values())).size

    @property
    def scale_bar_mm(self) -> int:
        """A round length that covers at most a third of the tile."""
        return max(
            (mm for mm in (5, 10, 20, 50, 100) if 3 * mm * self.pixels_per_mm <= self.size[0]),
            default=5,
        )


def lesion_colour(label: int) -> str:
    """The colour of a lesion's outline, by its label from 1."""
    return LESION_COLOURS[(label - 1) % len(LESION_COLOURS)]


def display(study: Study, segmentation: Segmentation | None) -> Display:
    """Turn a registered study and its masks for display; without masks, everything is background.

    Raises:
        ValueError: phases or masks do not share the reference phase's grid.
    """
    if not study.on_one_grid:
        raise ValueError(
            "the phases lie on different grids: register the study before reporting it"
        )
    upright = {
        phase: image.volume.to_patient_orientation("HPL") for phase, image in study.phases.items()
    }
    grid = upright[study.reference]
    images = {phase: volume.array for phase, volume in upright.items()}
    liver = np.zeros(grid.spatial_shape, bool)
    lesions = np.zeros(grid.spatial_shape, np.uint16)
    if segmentation is not None:
        if not same_grid(segmentation.lesions, study.grid):
            raise ValueError(
                f"the masks do not lie on the grid of the {study.reference.title} phase"
            )
        lesions = segmentation.lesions.to_patient_orientation("HPL").array
        if segmentation.liver is not None:
            liver = segmentation.liver.to_patient_orientation("HPL").array
    return Display(
        images=images,
        liver=liver,
        lesions=lesions,
        spacing_mm=grid.spacing,
        affine=grid.affine,
        window=_window(study.modality, images, liver),
    )


def lesion_view(shown: Display, label: int) -> View:
    """The axial plane in which a lesion is largest, close up, in every phase."""
    z = int((shown.lesions == label).sum(axis=(1, 2)).argmax())
    rows, columns = np.nonzero(shown.lesions[z] == label)
    _, row_mm, column_mm = shown.spacing_mm
    top, bottom = rows.min() * row_mm, (rows.max() + 1) * row_mm
    left, right = columns.min() * column_mm, (columns.max() + 1) * column_mm
    side = float(np.clip(2 * max(bottom - top, right - left), *LESION_FIELD_MM))
    return _axial(shown, z, Field((left + right - side) / 2, (top + bottom - side) / 2, side, side))


def axial_view(shown: Display) -> View:
    """The whole axial plane with the most lesion in it, in every phase.

    Without lesions, the one with the most liver; without a liver, the middle one.
    """
    mask = shown.lesions > 0 if shown.lesions.any() else shown.liver
    z = int(mask.sum(axis=(1, 2)).argmax()) if mask.any() else len(mask) // 2
    _, rows, columns = shown.liver.shape
    return _axial(
        shown, z, Field(0.0, 0.0, columns * shown.spacing_mm[2], rows * shown.spacing_mm[1])
    )


def coronal_view(shown: Display, phase: Phase) -> View:
    """The whole coronal plane with the most lesion in it, in one phase; else as `axial_view`."""
    mask = shown.lesions > 0 if shown.lesions.any() else shown.liver
    slices, rows, columns = mask.shape
    y = int(mask.sum(axis=(0, 2)).argmax()) if mask.any() else rows // 2
    slice_mm, _, column_mm = shown.spacing_mm
    return _view(
        shown,
        np.s_[::-1, y],
        [phase],
        pixel_mm=(slice_mm, column_mm),
        field=Field(0.0, 0.0, columns * column_mm, slices * slice_mm),
        edges=("R", "L", "H", "F"),
        position=(
            f"Coronal, y = {_millimetres(shown, (slices // 2, y, columns // 2))[1]:.0f} mm".replace(
                "-", "−"
            )
        ),
    )


def _window(
    modality: Modality, images: Mapping[Phase, NDArray[np.float32]], liver: NDArray[np.bool_]
) -> Window:
    """One window for all phases: fixed for CT, percentiles in the box around the liver for MR."""
    if modality is Modality.CT:
        return Window(*CT_WINDOW_HU)
    box = bounding_box(liver) or (slice(None),) * 3
    pooled = np.concatenate([image[box][:, ::2, ::2].ravel() for image in images.values()])
    low, high = np.nanpercentile(pooled, MR_WINDOW_PERCENTILES)
    return Window(float(low), float(max(high, low + 1e-6)))


def _millimetres(shown: Display, index: tuple[int, int, int]) -> NDArray[np.floating]:
    """LPS (x, y, z) of a voxel of the display arrays."""
    millimetres: NDArray[np.floating] = shown.affine[:3] @ (*index, 1)
    return millimetres


def _axial(shown: Display, z: int, field: Field) -> View:
    _, rows, columns = shown.liver.shape
    return _view(
        shown,
        np.s_[z],
        list(shown.images),
        pixel_mm=shown.spacing_mm[1:],
        field=field,
        edges=("R", "L", "A", "P"),
        position=(
            f"Axial, z = {_millimetres(shown, (z, rows // 2, columns // 2))[2]:.0f} mm".replace(
                "-", "−"
            )
        ),
    )


def _view(
    shown: Display,
    plane: int | tuple[slice, int],
    phases: Sequence[Phase],
    *,
    pixel_mm: tuple[float, float],
    field: Field,
    edges: tuple[str, str, str, str],
    position: str,
) -> View:
    """Cut one field from a plane; what lies outside the images is black.

    Args:
        shown: the study.
        plane: index of the plane into the arrays of `shown`.
        phases: the phases to cut it from.
        pixel_mm: size of the plane's pixels (row, column).
        field: what is cut.
        edges: as in `View`.
        position: as in `View`.
    """
    pixels_per_mm = TILE_WIDTH / field.width_mm
    size = (TILE_WIDTH, max(1, round(field.height_mm * pixels_per_mm)))
    pixel_xy_mm, corner_mm = np.array(pixel_mm[::-1]), np.array([field.left_mm, field.top_mm])
    (step_x, step_y), (start_x, start_y) = 1 / pixels_per_mm / pixel_xy_mm, corner_mm / pixel_xy_mm
    transform = (step_x, 0.0, start_x, 0.0, step_y, start_y)
    tiles = {
        phase: (
            _grey(shown.images[phase][plane], shown.window).transform(
                size, Image.Transform.AFFINE, transform, Image.Resampling.BICUBIC
            )
        )
        for phase in phases
    }

    def on_tile(mask_YX: NDArray[np.bool_], number: int) -> list[Outline]:
        lines = [
            ((line - 0.5) * pixel_xy_mm - corner_mm) * pixels_per_mm for line in _contours(mask_YX)
        ]
        return [Outline(points, number) for points in lines]

    lesions = shown.lesions[plane]
    outlines = on_tile(shown.liver[plane], 0)
    for label in np.unique(lesions[lesions > 0]).tolist():
        outlines += on_tile(lesions == label, label)
    return View(
        tiles, tuple(outlines), _label_places(outlines, size), edges, pixels_per_mm, position
    )


def _grey(plane: NDArray[np.floating], window: Window) -> Image.Image:
    scaled = (np.nan_to_num(plane, nan=window.low) - window.low) * (255 / window.width)
    return Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8))


def _contours(mask: NDArray[np.bool_]) -> list[NDArray[np.floating]]:
    """Closed lines (x, y) around a mask, whose first pixel covers [0.5, 1.5)."""
    lines: list[NDArray[np.floating]] = find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    return [line[:, ::-1] for line in lines]


def _label_places(
    outlines: Sequence[Outline], size: tuple[int, int]
) -> dict[int, tuple[float, float]]:
    """Where each lesion's number goes: the upper right of its outline, as far as it is seen."""
    places: dict[int, tuple[float, float]] = {}
    for number in sorted({outline.number for outline in outlines} - {0}):
        points = np.concatenate(
            [outline.points for outline in outlines if outline.number == number]
        )
        inside = points[((points >= 0) & (points <= size)).all(axis=1)]
        if len(inside):
            x, y = inside[np.argmax(inside @ (1, -1))] + (4, -4)
            places[number] = (
                float(np.clip(x, 4, size[0] - 24)),
                float(np.clip(y, 20, size[1] - 6)),
            )
    return places
