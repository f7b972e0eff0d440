"""A page of each lesion type in every phase beside its textbook pattern.

And two contact sheets.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.measure import find_contours

from liverleaf.benchmarks.phantom.gallery_examples import ENTRIES, Example, find_example
from liverleaf.study import Annotation, Modality, Phase, Study
from liverleaf.system import provenance
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
class Row:
    """An example as it is shown.

    Attributes:
        example: the case.
        tiles: the lesion close up, by phase.
        place: the whole slice of the reference phase with the lesion outlined.
        window: intensities shown as black and as white; the hepatobiliary tile has its own.
    """

    example: Example
    tiles: Mapping[Phase, Image.Image]
    place: Image.Image
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


def gallery(
    out: Path, *, seed: int = 0, progress: Callable[[str, int, int], None] | None = None
) -> Path:
    """Simulate an example of every entry in MR and in CT and write the page and its contact sheets.

    Args:
        out: folder that gets `gallery.html`, `gallery-mr.png` and `gallery-ct.png`.
        seed: of the phantom.
        progress: called with (what, done, total).

    Returns:
        The page.

    Raises:
        ValueError: an entry has no fit case among the first `TRIES` of this seed.
    """
    rows: dict[Modality, list[Row]] = {Modality.MR: [], Modality.CT: []}
    for done, (entry, modality) in enumerate(
        (entry, modality) for entry in ENTRIES for modality in rows
    ):
        if progress:
            progress(f"{entry.title}, {modality}", done, 2 * len(ENTRIES))
        rows[modality].append(show(find_example(entry, modality, seed)))
    return write_gallery(out, rows, seed=seed)


def show(example: Example) -> Row:
    """Cut the same tissue from every phase.

    The field follows the lesion's centre, which the truth knows in every phase.
    """
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
        phase: _tile(plane, place, spacing_mm, window) for phase, (plane, place) in planes.items()
    }
    if example.hepatobiliary:  # another examination, another arbitrary scale
        plane, place = _follow(*example.hepatobiliary, Phase.HEPATOBILIARY, centre)
        tiles[Phase.HEPATOBILIARY] = _tile(
            plane, place, spacing_mm, _mr_window([(plane, place)], spacing_mm)
        )
    return Row(
        example,
        tiles,
        _outlined(_grey(example.study.grid.array[z], window), mask[z], LESION_COLOURS[1]),
        window,
    )


def _follow(
    study: Study, truth: Annotation, phase: Phase, centre: NDArray[np.float64]
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """The plane of a phase in which a point of the reference phase lies.

    The point is (z, y, x); its (y, x) there is returned too.
    """
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
    for plane, place in planes:
        reach = [FIELD_MM / 2 / step for step in spacing_mm]
        cut = tuple(
            slice(max(0, round(at - half)), round(at + half) + 1)
            for at, half in zip(place, reach, strict=True)
        )
        pooled.append(plane[cut].ravel())
    low, high = np.percentile(np.concatenate(pooled), MR_PERCENTILES)
    return float(low), float(max(high, low + 1e-6))


def _tile(
    plane: NDArray[np.float32],
    place: tuple[float, float],
    spacing_mm: Sequence[float],
    window: tuple[float, float],
) -> Image.Image:
    """The field around a point (y, x) of a plane as a square picture.

    Outside the plane it is black.
    """
    (top, left), (bottom, right) = (
        [at + 0.5 + sign * FIELD_MM / 2 / step for at, step in zip(place, spacing_mm, strict=True)]
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


def write_gallery(out: Path, rows: Mapping[Modality, Sequence[Row]], *, seed: int) -> Path:
    """Write the page and one contact sheet per modality.

    Args:
        out: the folder.
        rows: by modality; the page puts rows of one entry together.
        seed: of the phantom, for the heading.
    """
    out.mkdir(parents=True, exist_ok=True)
    for modality, shown in rows.items():
        contact_sheet(shown).save(out / f"gallery-{modality.lower()}.png", optimize=True)
    everything = [row for shown in rows.values() for row in shown]
    entries = [entry for entry in ENTRIES if any(row.example.entry == entry for row in everything)]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"jpeg_uri": _jpeg_uri, "curve_svg": curve_svg}
    page = environment.from_string(PAGE).render(
        sections=[
            (entry, [row for row in everything if row.example.entry == entry]) for entry in entries
        ],
        seed=seed,
        commit=provenance.commit() or "unknown",
        field_mm=FIELD_MM,
        spacing_mm=everything[0].example.truth.lesions.spacing,
    )
    path = out / "gallery.html"
    path.write_text(page, encoding="utf-8")
    return path


def contact_sheet(rows: Sequence[Row]) -> Image.Image:
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
        for column, tile in enumerate([row.place, *(row.tiles.get(phase) for phase in phases)]):
            if tile is not None:
                sheet.paste(
                    tile.resize((SHEET_TILE, SHEET_TILE), Image.Resampling.LANCZOS),
                    (margin + column * step, top),
                )
    return sheet


def curve_svg(row: Row) -> str:
    """Curves of the lesion and of the liver as a small inline SVG.

    Noise-free means per phase, phases equally spaced.
    """
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


def _jpeg_uri(tile: Image.Image) -> str:
    buffer = io.BytesIO()
    tile.save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


PAGE = """<!doctype html>
<html lang="en-GB">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Gallery of the liver phantom</title>
<style>
  :root { color-scheme: light; --ink: #26323a; --soft: #5b6b74; --line: #d5dee2; --teal: #1f7f8c; }
  * { box-sizing: border-box; }
  body { margin: 0 auto; max-width: 1360px; padding: 28px 32px 48px; background: #fff;
    color: var(--ink);
    font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
  h1 { margin: 0; font-size: 27px; letter-spacing: -.01em; }
  h2 { margin: 0; font-size: 18px; }
  p { margin: 4px 0 0; max-width: 108ch; }
  .notice { display: inline-block; margin: 10px 0 6px; padding: 5px 12px;
    border-left: 4px solid #c2410c; background: #fff4ec;
    font-weight: 600; }
  .soft, figcaption, .facts { color: var(--soft); font-size: 13px; }
  section { margin-top: 26px; padding-top: 14px; border-top: 1px solid var(--line);
    break-inside: avoid; }
  .facts { margin: 8px 0 4px; max-width: none; }
  .strip { display: grid; grid-template-columns: repeat(7, 1fr); gap: 6px; }
  figure { margin: 0; }
  figure img { display: block; width: 100%; aspect-ratio: 1; background: #000; border-radius: 3px; }
  figcaption { padding-top: 2px; white-space: nowrap; font-size: 12px; }
  svg { display: block; width: 100%; font: 9.5px system-ui, "Liberation Sans", sans-serif;
    fill: var(--soft); }
  @media (max-width: 820px) { .strip { grid-template-columns: repeat(3, 1fr); } }
  @page { size: A4; margin: 10mm; }
  @media print { body { padding: 0; max-width: none; font-size: 12px; }
    section { margin-top: 10px; padding-top: 8px; }
    h1 { font-size: 20px; } h2 { font-size: 14px; } .soft, .facts, figcaption { font-size: 9.5px; }
    .strip { gap: 3px; }
    figure img { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
</style>
</head>
<body>
<header>
  <h1>Gallery of the liver phantom</h1>
  <div class="notice">Simulated images, not patients; research use only.</div>
  <p>Each lesion type in every contrast phase, in MR and in CT, beside the textbook pattern that
  it must show. A case is chosen by rule, not by its look: the first in the phantom's order with
  such a lesion of a teachable size inside the liver and a well-timed arterial phase. Each phase
  is a breath-hold of its own; the tiles follow the lesion's centre.</p>
  <p class="soft">Seed {{ seed }}, commit {{ commit }}. Tiles {{ "%.0f"|format(field_mm) }} mm wide,
  voxels {{ "%.1f × %.1f × %.1f"|format(*spacing_mm) }} mm (slice, row, column); one window per
  examination; patient's right on the left. Curves:
  noise-free means of the whole lesion and of the liver.</p>
</header>
<main>
{% for entry, rows in sections %}
<section>
  <h2>{{ entry.title }}</h2>
  <p>{{ entry.pattern }}</p>
  {% for row in rows %}
  <p class="facts">{{ row.facts }}</p>
  <div class="strip">
    <figure>{{ row|curve_svg|safe }}</figure>
    <figure><img src="{{ row.place|jpeg_uri }}" alt="whole slice with the lesion outlined">
    <figcaption>whole slice</figcaption></figure>
    {% for phase, tile in row.tiles.items() %}
    <figure><img src="{{ tile|jpeg_uri }}" alt="">
    <figcaption>{{ phase.title }} {{ row.times[phase] }}</figcaption></figure>
    {% endfor %}
  </div>
  {% endfor %}
</section>
{% endfor %}
</main>
</body>
</html>
"""
