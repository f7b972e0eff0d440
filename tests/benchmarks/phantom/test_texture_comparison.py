"""Noise and texture of a real image beside phantom people, both made up here."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest

from liverleaf.benchmarks.phantom import texture_comparison
from liverleaf.benchmarks.phantom.patch_features import Patches
from liverleaf.benchmarks.phantom.texture import Image
from liverleaf.study import InputError, Modality, Phase, PhaseImage, Study


def block(sd: float, seed: int) -> Image:
    """Three slices of a square of tissue in fat, with white noise."""
    body = np.full((3, 160, 160), -100.0)
    body[:, 20:140, 20:140] = 110
    noisy = body + np.random.default_rng(seed).normal(0, sd, body.shape)
    return Image(noisy.astype(np.float32), (5.0, 0.8, 0.8))


def images(real_sd: float) -> list[Patches]:
    """Features of seven images, the first drawn with another mean."""
    rng = np.random.default_rng(3)
    return [
        Patches(rng.normal(real_sd * (i == 0), 1, (40, 4)), np.repeat(np.arange(10), 4))
        for i in range(7)
    ]


def test_the_classifier_separates_what_differs_and_not_what_is_the_same() -> None:
    apart, same = (
        texture_comparison._separate(images(shift), "abcd", np.random.default_rng(0))
        for shift in (4.0, 0.0)
    )
    assert apart["auc"]["mean"] > 0.98 > 0.65 > same["auc"]["mean"]
    assert same["auc"]["low"] < 0.5 < same["auc"]["high"] + 0.1
    assert 0.3 < apart["among_phantoms"]["p50"] < 0.7
    assert apart["features"][0]["percentile"] == 100


@pytest.mark.parametrize(("real", "people"), [([Path("a")], 5), ([], 20)])
def test_a_comparison_needs_people_and_images(real: list[Path], people: int) -> None:
    with pytest.raises(ValueError, match="people"):
        texture_comparison.compare(real, people=people, seed=0)


def study(number: int, *, sd: float = 10.0) -> Study:
    image = block(sd, number)
    volume = hd.Volume(image.hu, np.diag([*image.spacing_mm, 1.0])[[2, 1, 0, 3]], "PATIENT")
    return Study(Modality.CT, {Phase.PORTAL: PhaseImage(volume)})


def test_a_comparison_says_where_the_real_image_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texture_comparison, "read_study", lambda _: study(0, sd=14))
    monkeypatch.setattr(
        texture_comparison,
        "_phantom",
        lambda *_: [(study(number, sd=9 + number / 10), None) for number in range(1, 9)],
    )
    steps: list[tuple[str, int, int]] = []
    found = texture_comparison.compare(
        [Path("a/scan")], people=7, seed=0, progress=lambda *step: steps.append(step)
    )
    (image,) = found.record["images"]
    assert image["measures"]["sd_hu"]["real"] == pytest.approx(14, abs=0.5)
    assert image["measures"]["sd_hu"]["percentile"] == 100
    assert image["classifier"]["liver"]["auc"]["mean"] > 0.95
    assert image["classifier"]["liver"]["features"][0]["feature"] == "SD"
    assert [
        len(image["nps_hu2_mm2"]),
        len(image["nps_hu2_mm2"][0]),
        len(image["frequency_per_mm"]),
    ] == [8, 17, 17]
    assert "NaN" not in json.dumps(found.record)
    assert "| noise SD (HU) |" in texture_comparison.section(
        found.record
    ) and "a/scan" in texture_comparison.section(found.record)
    assert len(found.figure.axes) == 2 and len(steps) == 7


def test_phantoms_without_liver_do_not_go_on_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texture_comparison, "read_study", lambda _: study(0))
    empty = Study(
        Modality.CT,
        {Phase.PORTAL: PhaseImage(study(0).grid.with_array(np.zeros((3, 160, 160), np.float32)))},
    )
    monkeypatch.setattr(texture_comparison, "_phantom", lambda *_: [(empty, None)] * 99)
    with pytest.raises(InputError, match="too few phantom people"):
        texture_comparison.compare([Path("a")], people=6, seed=0)


def test_the_phantom_takes_the_geometry_of_the_image() -> None:
    simulated, _ = texture_comparison._phantom((2, 48, 40), (8.0, 6.0, 7.0), 3)[0]
    assert list(simulated.phases) == [Phase.PORTAL]
    assert simulated.grid.spatial_shape == (2, 48, 40) and simulated.grid.spacing == pytest.approx(
        (8.0, 6.0, 7.0)
    )
