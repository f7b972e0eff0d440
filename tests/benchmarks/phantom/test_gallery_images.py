"""Pictures of a simulated lesion on a small grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from liverleaf.benchmarks.phantom.gallery_examples import ENTRIES, Example, find_example
from liverleaf.benchmarks.phantom.gallery_images import ROUTINE, GalleryRow, curve_svg, show
from liverleaf.study import Modality, Phase

SMALL = {"shape": (14, 64, 64), "spacing_mm": (12.0, 5.6, 5.6)}
FNH = next(entry for entry in ENTRIES if entry.title == "Focal nodular hyperplasia")


@pytest.fixture(scope="module")
def example() -> Example:
    """A lesion of any look and size, so that one of the first cases fits."""
    return find_example(replace(FNH, needs=(), diameter_mm=(15.0, 90.0)), Modality.MR, 7, **SMALL)


@pytest.fixture(scope="module")
def row(example: Example) -> GalleryRow:
    return show(replace(example, entry=FNH))


def test_every_phase_has_a_tile_and_the_outline_lies_on_the_whole_slice(row: GalleryRow) -> None:
    assert list(row.tiles) == [*ROUTINE, Phase.HEPATOBILIARY]
    assert {tile.size for tile in row.tiles.values()} == {row.whole_slice.size}
    red, _, blue = np.moveaxis(np.asarray(row.whole_slice, float), -1, 0)
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


def test_the_curve_shows_lesion_and_liver(row: GalleryRow) -> None:
    drawn = curve_svg(row)
    assert drawn.count("<polyline") == 2
    assert "lesion" in drawn and "liver" in drawn
