"""A plane of a study as one picture: its tiles side by side, with outlines and scale drawn in."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from liverleaf.export.html.figures import View, lesion_colour

GAP = 4
"""Pixels between two tiles."""
CAPTION = 30
"""Pixels for the phase's name under a tile."""
INK = "#e8eef0"
"""Colour of what is written on an image."""


def montage(view: View) -> Image.Image:
    """Draw the tiles of a view side by side, with outlines, numbers, orientation and scale."""
    width, height = view.size
    sheet = Image.new("RGB", ((width + GAP) * len(view.tiles) - GAP, height + CAPTION), "white")
    font = ImageFont.load_default(18)
    for index, (phase, tile) in enumerate(view.tiles.items()):
        picture = tile.convert("RGB")
        _annotate(picture, view, font)
        left = index * (width + GAP)
        sheet.paste(picture, (left, 0))
        ImageDraw.Draw(sheet).text((left + 4, height + 4), phase.title, fill="black", font=font)
    return sheet


def _annotate(
    picture: Image.Image, view: View, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    """Draw outlines, numbers, orientation letters and the scale bar into a tile."""
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    for outline in view.outlines:
        draw.line(
            [(float(x), float(y)) for x, y in outline.points],
            fill=outline.colour,
            width=2 if outline.number else 1,
            joint="curve",
        )
    for label, (x, y) in view.labels.items():
        draw.text(
            (x, y),
            str(label),
            fill=lesion_colour(label),
            font=font,
            anchor="ls",
            stroke_width=2,
            stroke_fill="black",
        )
    places = (
        (8, height / 2, "lm"),
        (width - 8, height / 2, "rm"),
        (width / 2, 8, "mt"),
        (width / 2, height - 8, "mb"),
    )
    for letter, (x, y, anchor) in zip(view.edges, places, strict=True):
        draw.text(
            (x, y),
            letter,
            fill=INK,
            font=font,
            anchor=anchor,
            stroke_width=2,
            stroke_fill="black",
        )
    length = view.scale_bar_mm * view.pixels_per_mm
    for colour, line_width in (("black", 5), (INK, 3)):
        draw.line(
            [(width - 12 - length, height - 12), (width - 12, height - 12)],
            fill=colour,
            width=line_width,
        )
    draw.text(
        (width - 12, height - 20),
        f"{view.scale_bar_mm} mm",
        fill=INK,
        font=font,
        anchor="rs",
        stroke_width=2,
        stroke_fill="black",
    )
