"""A gallery of small grids: a page that stands alone, names what it shows and says what it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from liverleaf.benchmarks.phantom.gallery import gallery
from liverleaf.benchmarks.phantom.gallery_examples import ENTRIES, find_example
from liverleaf.benchmarks.phantom.gallery_images import GalleryRow, show
from liverleaf.benchmarks.result import origin
from liverleaf.study import Modality

FNH = next(entry for entry in ENTRIES if entry.title == "Focal nodular hyperplasia")


@pytest.fixture(scope="module")
def row() -> GalleryRow:
    """A lesion of any look and size, so that one of the first cases fits."""
    entry = replace(FNH, needs=(), diameter_mm=(15.0, 90.0))
    found = find_example(entry, Modality.MR, 7, shape=(14, 64, 64), spacing_mm=(12.0, 5.6, 5.6))
    return show(replace(found, entry=FNH))


def test_the_page_stands_alone_and_says_what_it_is(row: GalleryRow) -> None:
    result = gallery({Modality.MR: [row]}, origin("phantom-gallery", 7))
    page, sheet = result.figures["gallery.html"], result.figures["gallery-mr.png"]
    assert isinstance(page, str) and isinstance(sheet, Image.Image)
    assert "not patients" in page and "research use only" in page
    assert FNH.title in page and FNH.pattern in page
    assert "Seed 7, commit" in page
    assert "http" not in page and "<script" not in page
    assert page.count("data:image/jpeg;base64,") == 6
    assert sheet.width > sheet.height


def test_the_record_says_which_cases_are_shown(row: GalleryRow) -> None:
    result = gallery({Modality.MR: [row]}, origin("phantom-gallery", 7))
    (shown,) = result.record["examples"]
    assert (shown["entry"], shown["modality"], shown["case"]) == (FNH.title, "MR", row.example.case)
    assert f"| {FNH.title} | MR | {row.example.case} |" in result.markdown
