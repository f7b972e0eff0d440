"""Pictures of simulated lesions: close-ups by phase, contact sheets and curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.measure import find_contours

from liverleaf.benchmarks.phantom.gallery_examples import Example
from liverleaf.study import Annotation, Modality, Phase, Study
from liverleaf.terminology import LESION_COLOURS

FIELD_MM = 100.0
TILE, SHEET_TILE = 300, 210
CT_WINDOW_HU = (-115.0, 235.0)
"""Level 60, width 350, as abdomens are read."""
MR_PERCENTILES = (0.5, 99.3)
"""Of the tiles of one examination together, so that its phases have one window."""
ROUTINE = (Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED)
INK, LIVER_INK = "#26323a", "#1f7f8c"


@dataclass(frozen=True)
class GalleryRow:
    """An example as it is shown.

    Attributes:
        example: the case.
        tiles: the lesion close up, by phase.
        whole_slice: the slice of the reference phase with the lesion outlined.
        window: intensities shown as black and as white; the hepatobiliary tile has its own.
    """

    example: Example
    tiles: Mapping[Phase, Image.Image]
    whole_slice: Image.Image
    window: tuple[float, float]

    @property
    def facts(self) -> str:
        """Case, size and window in words."""
        modality = self.example.study.modality
        low, high = self.window
        second = (
            "; hepatobiliary phase: the same body with gadoxetate, window of its own"
            if self.example.hepatobiliary
            else ""
        )
        return (
            f"{modality}, {self.example.study.agent}: case {self.example.case},"
            f" {self.example.diameter_mm:.0f} mm, window {low:.0f} to {high:.0f}"
            f" {modality.unit}{second}"
        ).replace("-", "−")

    @property
    def times(self) -> Mapping[Phase, str]:
        """When each phase was acquired, in words."""
        studies = [
            self.example.study,
            *([self.example.hepatobiliary[0]] if self.example.hepatobiliary else []),
        ]
        seconds = {
            phase: image.time_s for study in studies for phase, image in study.phases.items()
        }
        return {
            phase: "" if phase is Phase.PRE or seconds[phase] is None else f"{seconds[phase]:.0f} s"
            for phase in self.tiles
        }


def show(example: Example) -> GalleryRow:
    """Cut the same tissue from every phase, around the lesion's true centre there."""
    mask = example.truth.lesions.array == example.lesion.label
    z = int(mask.sum(axis=(1, 2)).argmax())
    rows, columns = np.nonzero(mask[z])
    centre = np.array([z, rows.mean(), columns.mean()])
    spacing_mm = example.truth.lesions.spacing[1:]
    planes = {phase: _follow(example.study, example.truth, phase, centre) for phase in ROUTINE}
    window = (
        CT_WINDOW_HU
        if example.study.modality is Modality.CT
        else _mr_window(planes.values(), spacing_mm)
    )
    tiles = {
        phase: _tile(plane, position, spacing_mm, window)
        for phase, (plane, position) in planes.items()
    }
    if example.hepatobiliary:  # another examination, another arbitrary scale
        plane, position = _follow(*example.hepatobiliary, Phase.HEPATOBILIARY, centre)
        tiles[Phase.HEPATOBILIARY] = _tile(
            plane, position, spacing_mm, _mr_window([(plane, position)], spacing_mm)
        )
    return GalleryRow(
        example,
        tiles,
        _outlined(_grey(example.study.grid.array[z], window), mask[z], LESION_COLOURS[1]),
        window,
    )


def _follow(
    study: Study, truth: Annotation, phase: Phase, centre: NDArray[np.float64]
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """The plane of a phase that shows a position (z, y, x) of the reference phase, its (y, x)."""
    shift_mm = truth.displacement_mm.get(phase)
    moved = centre.copy()
    if shift_mm is not None:
        moved += (
            np.linalg.inv(truth.lesions.affine[:3, :3])
            @ shift_mm[tuple(np.rint(centre).astype(int))]
        )
    array = study.phases[phase].volume.array
    z = int(np.clip(np.rint(moved[0]), 0, len(array) - 1))
    return array[z], (float(moved[1]), float(moved[2]))


def _mr_window(
    planes: Iterable[tuple[NDArray[np.float32], tuple[float, float]]], spacing_mm: Sequence[float]
) -> tuple[float, float]:
    """Robust percentiles of the shown fields together."""
    pooled = []
    for plane, position in planes:
        reach = [FIELD_MM / 2 / step for step in spacing_mm]
        cut = tuple(
            slice(max(0, round(at - half)), round(at + half) + 1)
            for at, half in zip(position, reach, strict=True)
        )
        pooled.append(plane[cut].ravel())
    low, high = np.percentile(np.concatenate(pooled), MR_PERCENTILES)
    return float(low), float(max(high, low + 1e-6))


def _tile(
    plane: NDArray[np.float32],
    position: tuple[float, float],
    spacing_mm: Sequence[float],
    window: tuple[float, float],
) -> Image.Image:
    """The field around a position (y, x) of a plane as a square picture, black outside it."""
    (top, left), (bottom, right) = (
        [
            at + 0.5 + sign * FIELD_MM / 2 / step
            for at, step in zip(position, spacing_mm, strict=True)
        ]
        for sign in (-1, 1)
    )
    return _grey(plane, window).transform(
        (TILE, TILE), Image.Transform.EXTENT, (left, top, right, bottom), Image.Resampling.BICUBIC
    )


def _grey(plane: NDArray[np.float32], window: tuple[float, float]) -> Image.Image:
    low, high = window
    return Image.fromarray(np.clip((plane - low) * (255 / (high - low)), 0, 255).astype(np.uint8))


def _outlined(plane: Image.Image, mask: NDArray[np.bool_], colour: str) -> Image.Image:
    """A whole slice, scaled to a square tile, with a thin line around a mask."""
    scale = TILE / max(plane.size)
    size = (round(plane.width * scale), round(plane.height * scale))
    picture = Image.new("RGB", (TILE, TILE))
    corner = ((TILE - size[0]) // 2, (TILE - size[1]) // 2)
    picture.paste(plane.resize(size, Image.Resampling.BICUBIC).convert("RGB"), corner)
    draw = ImageDraw.Draw(picture)
    for line in find_contours(np.pad(mask, 1).astype(np.float32), 0.5):
        points = (line[:, ::-1] - 0.5) * scale + corner
        draw.line([(float(x), float(y)) for x, y in points], fill=colour, width=2)
    return picture


def contact_sheet(rows: Sequence[GalleryRow]) -> Image.Image:
    """Rows are lesion types, columns the whole slice and the phases."""
    phases = sorted({phase for row in rows for phase in row.tiles})
    margin, head, gap = 190, 54, 4
    step = SHEET_TILE + gap
    sheet = Image.new("RGB", (margin + step * (1 + len(phases)), head + step * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(17)
    small = ImageFont.load_default(14)
    draw.text(
        (8, 8),
        f"{rows[0].example.study.modality} phantom: simulated images, not patients; research use"
        " only",
        INK,
        font=font,
    )
    for column, name in enumerate(["whole slice", *(phase.title for phase in phases)]):
        draw.text((margin + column * step, head - 20), name, INK, font=small)
    for index, row in enumerate(rows):
        top = head + index * step
        words = f"{row.example.entry.title}\n{row.example.diameter_mm:.0f} mm".replace(
            ": ", ":\n"
        ).replace(" ", "\n")
        draw.multiline_text((8, top + 8), words.replace("\nmm", " mm"), INK, font=small, spacing=6)
        for column, tile in enumerate(
            [row.whole_slice, *(row.tiles.get(phase) for phase in phases)]
        ):
            if tile is not None:
                sheet.paste(
                    tile.resize((SHEET_TILE, SHEET_TILE), Image.Resampling.LANCZOS),
                    (margin + column * step, top),
                )
    return sheet


def curve_svg(row: GalleryRow) -> str:
    """The noise-free means of lesion and liver as a small inline SVG, phases equally spaced."""
    example = row.example
    curves = (
        (example.lesion.curve, INK, "lesion"),
        (example.truth.liver_curve, LIVER_INK, "liver"),
    )
    values = [curve[phase] for curve, _, _ in curves for phase in ROUTINE]
    low, high = min(values), max(values)
    span = max(high - low, 1.0)

    def point(index: int, value: float) -> tuple[float, float]:
        return 34 + 38 * index, 112 - 88 * (value - low) / span

    parts = [
        (
            '<svg viewBox="0 0 160 150" role="img" aria-label="mean intensity of lesion and liver'
            ' by phase">'
        ),
        '<path d="M26 18V116H156" fill="none" stroke="#b8c4ca"/>',
        *(
            f'<text x="22" y="{point(0, v)[1] + 3:.0f}" text-anchor="end">{v:.0f}</text>'.replace(
                ">-", ">−"
            )
            for v in (low, high)
        ),
        *(
            f'<text x="{point(i, low)[0]}" y="128" text-anchor="middle">{name}</text>'
            for i, name in enumerate(("pre", "art", "por", "del"))
        ),
        f'<text x="26" y="10" fill="{INK}">● lesion</text>',
        f'<text x="72" y="10" fill="{LIVER_INK}">◆ liver ({example.study.modality.unit})</text>',
    ]
    for curve, colour, name in curves:
        points = [point(index, curve[phase]) for index, phase in enumerate(ROUTINE)]
        parts.append(
            f'<polyline points="{" ".join(f"{x},{y:.1f}" for x, y in points)}" fill="none"'
            f' stroke="{colour}" stroke-width="2"/>'
        )
        for x, y in points:
            mark = (
                f"M{x - 4} {y:.1f}l4 -4 4 4 -4 4z"
                if name == "liver"
                else f"M{x - 3.5} {y:.1f}a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0"
            )
            parts.append(f'<path d="{mark}" fill="{colour}"/>')
    return "".join([*parts, "</svg>"])
