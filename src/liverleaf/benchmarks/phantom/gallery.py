"""A page that shows each lesion type in every phase beside its textbook pattern."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from liverleaf.benchmarks.phantom.gallery_examples import ENTRIES, find_example
from liverleaf.benchmarks.phantom.gallery_images import (
    FIELD_MM,
    GalleryRow,
    contact_sheet,
    curve_svg,
    show,
)
from liverleaf.benchmarks.result import Content, Result, markdown_table, measured_by, origin
from liverleaf.export.html.templates import data_uri, templates
from liverleaf.study import Modality
from liverleaf.system.progress import Progress, silent


def run(*, seed: int = 0, progress: Progress = silent) -> Result:
    """Simulate an example of every entry in MR and in CT: a page and two contact sheets.

    Args:
        seed: of the phantom.
        progress: told which example is sought.

    Raises:
        ValueError: an entry has no fit case among the first `TRIES` of this seed.
    """
    source = origin("phantom-gallery", seed)
    rows: dict[Modality, list[GalleryRow]] = {Modality.MR: [], Modality.CT: []}
    wanted = [(entry, modality) for entry in ENTRIES for modality in rows]
    for done, (entry, modality) in enumerate(wanted):
        progress(f"{entry.title}, {modality}", done, len(wanted))
        rows[modality].append(show(find_example(entry, modality, seed)))
    return gallery(rows, source)


def gallery(rows: Mapping[Modality, Sequence[GalleryRow]], source: Mapping[str, Any]) -> Result:
    """The page and one contact sheet per modality.

    Args:
        rows: by modality; the page puts rows of one entry together.
        source: where they come from, as `origin` says it.
    """
    everything = [row for shown in rows.values() for row in shown]
    examples = [
        {
            "entry": row.example.entry.title,
            "modality": row.example.study.modality.value,
            "case": row.example.case,
            "diameter_mm": row.example.diameter_mm,
        }
        for row in everything
    ]
    record = {**source, "examples": examples}
    figures: dict[str, Content] = {
        f"gallery-{modality.lower()}.png": contact_sheet(shown) for modality, shown in rows.items()
    }
    figures["gallery.html"] = _html(everything, source)
    return Result("gallery", record, _page(record), figures)


def _page(record: Mapping[str, Any]) -> str:
    """Which cases are shown."""
    cells = (
        (each["entry"], each["modality"], each["case"], f"{each['diameter_mm']:.0f}")
        for each in record["examples"]
    )
    lines = [
        "# Gallery of the liver phantom",
        "",
        f"{measured_by(record)} The page is [gallery.html](gallery.html). Research use only.",
        "",
        *markdown_table(("lesion", "modality", "case", "diameter (mm)"), cells, left=2),
    ]
    return "\n".join(lines) + "\n"


def _html(rows: Sequence[GalleryRow], source: Mapping[str, Any]) -> str:
    environment = templates("benchmarks/phantom", lstrip_blocks=True)
    environment.filters |= {"jpeg_uri": _jpeg_uri, "curve_svg": curve_svg}
    by_entry = {
        entry: [row for row in rows if row.example.entry == entry]
        for entry in ENTRIES
        if any(row.example.entry == entry for row in rows)
    }
    return environment.get_template("gallery.html").render(
        sections=list(by_entry.items()),
        seed=source["seed"],
        commit=source["commit"] or "unknown",
        field_mm=FIELD_MM,
        spacing_mm=rows[0].example.truth.lesions.spacing,
    )


def _jpeg_uri(tile: Image.Image) -> str:
    buffer = io.BytesIO()
    tile.save(buffer, "JPEG", quality=82)
    return data_uri("image/jpeg", buffer.getvalue())
