"""Phases of stacks: headers first, pixels where these leave doubt, and no order but a told one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from liverleaf.ingest.dicom.frames import read_frames
from liverleaf.ingest.dicom.reader import examine_dicom
from liverleaf.ingest.dicom.series import Stack, stacks_of
from liverleaf.ingest.dicom.survey import survey
from liverleaf.ingest.phases import of_stacks, reasons
from liverleaf.ingest.phases.ct_organs import OrganHU
from liverleaf.ingest.phases.identify import identify
from liverleaf.ingest.phases.of_stacks import SURE, phases_of_stacks
from liverleaf.ingest.phases.reasons import PhaseGuess, Reason, ReasonCode
from liverleaf.ingest.phases.tissue import Tissue
from liverleaf.phantom.dicom_series import write_dicom
from liverleaf.phantom.generator import Phantom
from liverleaf.study import InputError, Modality, Phase

REAL = Path(__file__).parents[3] / "../shared/data/hcc-tace-seg-multiphase-ct"
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


def silent_study(
    folder: Path, preset: str, seed: int, *, keep: tuple[str, ...] = ()
) -> dict[str, Phase]:
    """Write a phantom study whose headers tell no phase, time or order; the truth by series."""
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
        found = survey(sorted(folder.iterdir()))
        uids = [str(header.SeriesInstanceUID) for header in found.headers]
        by_headers |= dict(zip(uids, identify(found.headers).guesses, strict=True))
        by_pixels |= dict(zip(uids, found.guesses, strict=True))
    right = [
        sum(guesses[uid].phase is phase for uid, phase in truths.items()) / len(truths)
        for guesses in (by_headers, by_pixels)
    ]
    assert right[0] < 0.6
    assert right[1] > 0.8
    assert {guess.code for guess in by_pixels.values()} == {ReasonCode.MOST_LIKE}
    assert max(guess.confidence for guess in by_headers.values()) < 0.8


def test_pixels_are_not_read_where_headers_are_sure(tmp_path, monkeypatch) -> None:
    def forbidden(_stacks: object) -> None:
        raise AssertionError("pixels were read")

    monkeypatch.setattr(of_stacks, "coarse_images", forbidden)
    monkeypatch.setattr(of_stacks, "sample_pixels", forbidden)
    truth = silent_study(tmp_path / "study", "ct", 940010, keep=("SeriesDescription", *TIMES))
    reports = examine_dicom(sorted((tmp_path / "study").iterdir())).inspection
    assert {report.series: report.phase for report in reports} == truth


def test_rewording_every_sentence_changes_no_phase_that_pixels_review(
    tmp_path, monkeypatch
) -> None:
    """Order alone tells these series, so that pixels are asked: by the code of the reason."""
    silent_study(tmp_path / "study", "mr", 940020, keep=("SeriesNumber",))
    files = sorted((tmp_path / "study").iterdir())
    before = survey(files).guesses
    assert ReasonCode.MOST_LIKE in {guess.code for guess in before}
    monkeypatch.setattr(reasons, "SENTENCES", dict.fromkeys(ReasonCode, "blub"))
    after = survey(files).guesses
    assert [(one.phase, one.confidence) for one in after] == [
        (one.phase, one.confidence) for one in before
    ]
    assert {sentence for guess in after for sentence in guess.evidence} == {"blub"}


@pytest.fixture
def stacks(tmp_path, make, stored) -> list[Stack]:
    """Two series of three slices and one of a single slice beside 41 slices."""
    frames = []
    for series in (2, 3):
        for number, slice_ in enumerate(
            make.series(stored, SeriesNumber=series, SeriesInstanceUID=f"1.2.{series}")
        ):
            frames += read_frames(make.save(slice_, tmp_path / f"{series}-{number}"))
    return stacks_of(frames)[0]


def test_the_order_of_files_tells_nothing(stacks) -> None:
    """Two series that nothing tells apart get the same guess, whichever comes first."""
    headers = [stack.header for stack in stacks]
    for header in headers:
        for keyword in ("SeriesNumber", "AcquisitionTime", "SeriesDescription", "ContentTime"):
            header.pop(keyword, None)
        header.Modality = "MR"
    one, two = of_stacks._by_headers(stacks, headers, None).guesses
    assert one.phase is two.phase
    assert max(one.confidence, two.confidence) < SURE


def test_a_stack_of_few_slices_beside_long_ones_is_no_phase(stacks) -> None:
    long = Stack(stacks[0].frames * 14)
    short = Stack(stacks[1].frames[:1])
    headers = [long.header, short.header]
    for header, name in zip(headers, ("portal venous", "arterial"), strict=True):
        header.SeriesDescription = name
    kept, fragment = phases_of_stacks([long, short], headers, Modality.CT)
    assert kept.phase is Phase.PORTAL
    assert (fragment.phase, fragment.code) == (None, ReasonCode.TOO_FEW_SLICES)


def measured(*phases: Phase, liver_hu: tuple[float, ...]) -> list[PhaseGuess]:
    """The guesses by pixels of distinct acquisitions, after these are compared."""
    seen = Reason.of(ReasonCode.CT_PIXELS, organs="liver 60 HU")
    guesses = [
        PhaseGuess(phase, 0.9, (Reason.of(ReasonCode.MOST_LIKE, seen=seen, phase=phase),))
        for phase in phases
    ]
    liver = np.array(liver_hu)
    values = np.random.default_rng(0).normal(1, 0.5, (len(phases), 500))
    return of_stacks._repeated(
        guesses, Tissue(values, np.ones(500, bool), OrganHU(3 * liver, liver, liver))
    )


def test_the_earlier_of_two_arterial_acquisitions_is_named() -> None:
    """As in a real study: livers of 44, 63 and 91 HU."""
    early, late, portal = measured(
        Phase.ARTERIAL, Phase.ARTERIAL, Phase.PORTAL, liver_hu=(44, 63, 91)
    )
    assert [one.reasons[-1].code for one in (early, late, portal)] == [
        ReasonCode.EARLY_ARTERIAL,
        ReasonCode.LATE_ARTERIAL,
        ReasonCode.MOST_LIKE,
    ]
    assert (early.phase, early.confidence) == (Phase.ARTERIAL, 0.9)
    assert "19 HU brighter" in early.evidence[-1]


def test_one_phase_told_twice_by_pixels_is_not_sure() -> None:
    """An arterial image before the bolus arrived looks like the pre-contrast one."""
    found = measured(Phase.PRE, Phase.PRE, Phase.PORTAL, liver_hu=(48, 50, 100))
    assert [one.confidence for one in found] == [0.75, 0.75, 0.9]
    assert all(one.confidence < SURE for one in found[:2])


@pytest.mark.parametrize(
    "parameter", [("EchoTime", (1.2, 2.4, 3.6, 4.8)), ("FlipAngle", (4, 8, 12, 20))]
)
@pytest.mark.parametrize("keep", [(), ("SeriesNumber",)])
def test_images_that_differ_by_a_parameter_alone_are_no_phases_for_sure(
    tmp_path, parameter, keep
) -> None:
    """Bright and dark vessels, as of a dynamic study, but of other echo times or flip angles."""
    keyword, values = parameter
    study, _ = Phantom("mr", 940030, shape=(12, 64, 64), spacing_mm=(18.0, 5.5, 5.5), headers=True)[
        0
    ]
    for value, image in zip(values, list(study.phases.values())[:4], strict=True):
        for header in image.headers:
            for name in (*TELLING, *TIMES):
                if name in header and name not in keep:
                    delattr(header, name)
            setattr(header, keyword, value)
    few = dict(list(study.phases.items())[:4])
    write_dicom(replace(study, phases=few, other={}), tmp_path)
    try:
        guesses = survey(sorted(tmp_path.iterdir())).guesses
    except InputError as error:
        assert "is a contrast phase" in str(error)  # none is used
        return
    assert all(guess.phase is None or guess.confidence < 0.5 for guess in guesses)


@pytest.mark.parametrize(
    ("folder", "phases"),
    [
        ("HCC_005/visit-1", {2: Phase.PRE, 4: Phase.ARTERIAL, 103: Phase.PORTAL}),
        ("HCC_005/visit-2", {4: Phase.ARTERIAL, 5: Phase.ARTERIAL, 103: Phase.PORTAL}),
    ],
)
def test_real_ct_without_times_is_told_by_aorta_and_liver(folder, phases) -> None:
    if not (REAL / folder).is_dir():
        pytest.skip("../shared/data is not on this machine")
    files = sorted(path for path in (REAL / folder).rglob("*") if path.is_file())
    reports = examine_dicom(files).inspection
    assert {report.number: report.phase for report in reports} == phases
    used = {report.number for report in reports if report.used}
    # of two arterial series the late one shows lesions best; the other is kept and named
    assert used == set(phases) - ({4} if folder.endswith("2") else set())
    for report in reports:
        if not report.used:
            assert "series 5" in report.warnings[-1]
            assert any(said.startswith("early arterial") for said in report.evidence)
