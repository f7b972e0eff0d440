"""What pixels tell of the phase: drawn abdomens, phantom studies whose headers tell nothing, and that nothing sure gets worse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from liverleaf.ingest.dicom import reader as dicom
from liverleaf.ingest.dicom.series import stacks_of
from liverleaf.ingest.phases.identify import identify
from liverleaf.ingest.phases.images import (
    GRID_MM,
    between,
    coarse_images,
    seen_in,
    soft_tissue,
    with_pixels,
    within,
)
from liverleaf.phantom.dicom_series import write_dicom
from liverleaf.phantom.generator import Phantom
from liverleaf.study import Modality, Phase

CT = Modality.CT
HU = {  # liver and spleen, vessels and kidneys; textbook values
    Phase.PRE: (55, 42),
    Phase.ARTERIAL: (70, 280),
    Phase.PORTAL: (115, 165),
    Phase.DELAYED: (90, 110),
}
OPEN = np.array([[0.2, 0.2, 0.2, 0.2, 0.2, 0.0]])
TELLING = (
    "SeriesDescription",
    "ProtocolName",
    "SeriesNumber",
    "AcquisitionNumber",
    "ContrastBolusAgent",
    "ContrastBolusRoute",
)
TIMES = (
    "AcquisitionTime",
    "AcquisitionDate",
    "ContentTime",
    "SeriesTime",
    "ContrastBolusStartTime",
)


def abdomen(phase: Phase, seed: int = 0) -> NDArray[np.float32]:
    """Muscle around a liver on the patient's right, with a spleen, an aorta and kidneys, shape (3, 70, 80)."""
    organs, vessels = HU[phase]
    slices = np.full((3, 70, 80), -1000.0)
    slices[:, 5:65, 5:75] = 55
    slices[:, 15:50, 14:40] = organs
    slices[:, 30:50, 58:66] = organs
    slices[:, 45:51, 44:50] = vessels
    slices[:, 52:58, 24:30] = slices[:, 52:58, 54:60] = vessels
    return (slices + np.random.default_rng(seed).normal(0, 8, slices.shape)).astype(np.float32)


def test_a_drawn_ct_study_is_told_whatever_the_order() -> None:
    for order in ([0, 1, 2, 3], [2, 0, 3, 1], [1, 2]):
        phases = [Phase(index) for index in order]
        tissue = soft_tissue(np.stack([abdomen(phase, phase) for phase in phases]), CT)
        assert tissue is not None
        rows = with_pixels(np.repeat(OPEN, len(phases), axis=0), *tissue, CT)
        assert rows.argmax(axis=1).tolist() == order
        np.testing.assert_allclose(rows.sum(axis=1), 1)


def test_two_reconstructions_of_one_acquisition_are_one_phase() -> None:
    images = np.stack(
        [abdomen(Phase.PORTAL, 1), abdomen(Phase.PORTAL, 2), abdomen(Phase.ARTERIAL, 3)]
    )
    tissue = soft_tissue(images, CT)
    assert tissue is not None
    rows = with_pixels(np.repeat(OPEN, 3, axis=0), *tissue, CT)
    assert rows.argmax(axis=1).tolist() == [Phase.PORTAL, Phase.PORTAL, Phase.ARTERIAL]


def test_headers_count_and_what_is_no_phase_stays_so() -> None:
    tissue = soft_tissue(abdomen(Phase.PORTAL)[None], CT)
    assert tissue is not None
    sure = np.array([[0.01, 0.01, 0.01, 0.96, 0.01, 0.0]])
    assert with_pixels(sure, *tissue, CT).argmax() == Phase.DELAYED
    half = np.array([[0.1, 0.1, 0.1, 0.1, 0.1, 0.5]])
    assert with_pixels(half, *tissue, CT)[0, -1] == pytest.approx(0.5)


def test_measures_by_hand() -> None:
    values = np.array([np.linspace(0, 1, 201)])
    right = np.arange(201) < 101
    np.testing.assert_allclose(within(values, right, CT)[0], [0.25])
    np.testing.assert_allclose(
        within(values, right, Modality.MR)[0], [-0.45, -0.25, 0.25, 0.4, 0.47, 0.495, -0.25]
    )
    np.testing.assert_allclose(
        between(values[0], np.zeros(201)), [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98]
    )
    assert seen_in(values, right, CT) == [
        "its pixels: the brightest 3 % above 97 HU, the liver's side about 25 HU"
    ]


def test_without_a_body_nothing_is_claimed() -> None:
    assert soft_tissue(np.full((2, 3, 70, 80), -1000, np.float32), CT) is None
    assert soft_tissue(np.zeros((2, 3, 70, 80), np.float32), Modality.MR) is None


def test_series_on_different_grids_are_read_at_the_same_places(tmp_path, make) -> None:
    """A ramp over the patient's x, y and z, read alike from a grid of its own and a flipped, finer one."""
    frames = []
    for name, orientation, origin, spacing, size in (
        ("a", (1, 0, 0, 0, 1, 0), (-100.0, -90.0), 2.0, 100),
        ("b", (-1, 0, 0, 0, 1, 0), (103.0, -91.0), 1.0, 200),
    ):
        along = np.arange(size) * spacing
        x, y = origin[0] + orientation[0] * along, origin[1] + along
        for z in np.arange(-40, 50, 10):
            pixels = (1024 + x[None, :] + 2 * y[:, None] + z).astype(np.int16)
            header = make.slice(
                pixels,
                (*origin, z),
                orientation,
                PixelSpacing=[spacing] * 2,
                SeriesInstanceUID=f"1.{ord(name)}",
            )
            frames += dicom.read_frames(make.save(header, tmp_path / f"{name}{z}"))
    stacks, _ = stacks_of(frames)
    images = coarse_images(stacks)
    assert images is not None
    assert images.shape[0] == 2
    inner = images[:, :, 2:-2, 2:-2]
    assert np.abs(inner[0] - inner[1]).max() <= 1.5 * GRID_MM
    np.testing.assert_allclose(np.diff(inner[0], axis=-1).mean(), GRID_MM, atol=0.1)
    np.testing.assert_allclose(np.diff(inner[0], axis=-2).mean(), 2 * GRID_MM, atol=0.2)


def test_coronal_and_far_series_are_not_compared(tmp_path, make, stored) -> None:
    frames = [
        dicom.read_frames(make.save(each, tmp_path / f"{n}"))[0]
        for n, each in enumerate(make.series(stored))
    ]
    stacks, _ = stacks_of(frames)
    assert coarse_images(stacks) is None  # 12 mm of body


def silent_study(
    folder: Path, preset: str, seed: int, *, keep: tuple[str, ...] = ()
) -> dict[str, Phase]:
    """Write a phantom study whose headers tell neither phase nor time nor order; the truth by series."""
    study, _ = Phantom(preset, seed, shape=(12, 64, 64), spacing_mm=(18.0, 5.5, 5.5), headers=True)[
        0
    ]
    truth = {}
    for phase, image in study.phases.items():
        truth[str(image.headers[0].SeriesInstanceUID)] = phase
        for header in image.headers:
            for keyword in (*TELLING, *TIMES):
                if keyword in header and keyword not in keep:
                    delattr(header, keyword)
    folder.mkdir(parents=True)
    write_dicom(study, folder)
    return truth


def test_phantom_studies_without_any_header_of_use(tmp_path) -> None:
    """`liverleaf benchmark phases` measures the same on more."""
    truths, by_headers, by_pixels = {}, {}, {}
    for number, preset in enumerate(("ct", "mr")):
        folder = tmp_path / str(number)
        truths |= silent_study(folder, preset, 940001 + number)
        found = dicom.survey(sorted(folder.iterdir()))
        uids = [str(header.SeriesInstanceUID) for header in found.headers]
        by_headers |= dict(zip(uids, identify(found.headers), strict=True))
        by_pixels |= dict(zip(uids, found.guesses, strict=True))
    right = [
        sum(guesses[uid].phase is phase for uid, phase in truths.items()) / len(truths)
        for guesses in (by_headers, by_pixels)
    ]
    assert right[0] < 0.6
    assert right[1] > 0.8
    assert all(guess.evidence[0].startswith("its pixels: ") for guess in by_pixels.values())
    assert max(guess.confidence for guess in by_headers.values()) < 0.8


def test_pixels_are_not_read_where_headers_are_sure(tmp_path, monkeypatch) -> None:
    def forbidden(_stacks: object) -> None:
        raise AssertionError("pixels were read")

    monkeypatch.setattr(dicom, "coarse_images", forbidden)
    monkeypatch.setattr(dicom, "sample_pixels", forbidden)
    truth = silent_study(tmp_path / "study", "ct", 940010, keep=("SeriesDescription", *TIMES))
    reports = dicom.inspect_dicom(sorted((tmp_path / "study").iterdir()))
    assert {report.series: report.phase for report in reports} == truth
