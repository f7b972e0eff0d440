"""The gallery of small grids: a page that stands alone and says what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liverleaf.benchmarks.phantom.gallery import ROUTINE, Row, curve_svg, show, write_gallery
from liverleaf.benchmarks.phantom.gallery_examples import ENTRIES, Example, find_example
from liverleaf.study import Modality, Phase

SMALL = {"shape": (14, 64, 64), "spacing_mm": (12.0, 5.6, 5.6)}
FNH = next(entry for entry in ENTRIES if entry.title == "Focal nodular hyperplasia")


@pytest.fixture(scope="module")
def example() -> Example:
    """A lesion of any look and size, so that one of the first cases fits."""
    return find_example(replace(FNH, needs=(), diameter_mm=(15.0, 90.0)), Modality.MR, 7, **SMALL)


@pytest.fixture(scope="module")
def row(example: Example) -> Row:
    return show(replace(example, entry=FNH))


def test_every_phase_has_a_tile_and_the_outline_lies_on_the_whole_slice(row: Row) -> None:
    assert list(row.tiles) == [*ROUTINE, Phase.HEPATOBILIARY]
    assert {tile.size for tile in row.tiles.values()} == {row.place.size}
    red, _, blue = np.moveaxis(np.asarray(row.place, float), -1, 0)
    assert ((red - blue) > 150).any()


def test_the_tile_is_centred_on_the_lesion(example: Example) -> None:
    dark = np.where(
        example.truth.lesions.array == example.lesion.label, np.float32(0), np.float32(1000)
    )
    portal = example.study.phases[Phase.PORTAL]
    marked = {
        **example.study.phases,
        Phase.PORTAL: replace(portal, volume=portal.volume.with_array(dark)),
    }
    tile = show(replace(example, study=replace(example.study, phases=marked))).tiles[Phase.PORTAL]
    rows, columns = np.nonzero(np.asarray(tile) < 60)
    assert (rows.mean(), columns.mean()) == pytest.approx(
        (tile.height / 2, tile.width / 2), abs=0.03 * tile.width
    )


def test_the_curve_shows_lesion_and_liver(row: Row) -> None:
    drawn = curve_svg(row)
    assert drawn.count("<polyline") == 2
    assert "lesion" in drawn and "liver" in drawn


def test_the_page_stands_alone_and_says_what_it_is(row: Row, tmp_path: Path) -> None:
    page = write_gallery(tmp_path / "out", {Modality.MR: [row]}, seed=7).read_text(encoding="utf-8")
    assert "not patients" in page and "research use only" in page
    assert FNH.title in page and FNH.pattern in page
    assert "Seed 7, commit" in page
    assert "http" not in page and "<script" not in page
    assert page.count("data:image/jpeg;base64,") == 6
    with Image.open(tmp_path / "out" / "gallery-mr.png") as sheet:
        assert sheet.width > sheet.height
