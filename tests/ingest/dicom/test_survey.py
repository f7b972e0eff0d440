"""The survey of a study: one patient and study, phases, candidates and times."""

import numpy as np
import pytest

from liverleaf.ingest.dicom.survey import _candidates, survey
from liverleaf.ingest.phases.override import PhaseRow
from liverleaf.ingest.phases.reasons import PhaseGuess, Reason, ReasonCode
from liverleaf.ingest.reader import inspect, read_study
from liverleaf.study import InputError, Modality, Phase


def test_candidates_of_a_phase_are_ranked_by_confidence_then_by_slices(
    tmp_path, make, stored
) -> None:
    for number, (name, slices) in enumerate(
        (("portal", stored[:4]), ("portal venous", stored), ("art", stored)), start=2
    ):
        series = make.series(
            slices, SeriesNumber=number, SeriesInstanceUID=f"1.{number}", SeriesDescription=name
        )
        make.shuffled(series, tmp_path / str(number))
    found = survey(sorted(tmp_path.rglob("IM*")))
    assert found.modality is Modality.CT
    assert [len(stack.frames) for stack in found.stacks] == [4, 6, 6]
    assert found.candidates == {Phase.ARTERIAL: (2,), Phase.PORTAL: (1, 0)}
    assert found.warnings == ()


def test_a_late_arterial_series_comes_before_a_surer_early_one(tmp_path, make, stored) -> None:
    series = [
        part
        for number in (2, 3)
        for part in make.series(stored, SeriesNumber=number, SeriesInstanceUID=f"1.{number}")
    ]
    folder = make.shuffled(series, tmp_path)
    stacks = survey(sorted(folder.iterdir())).stacks
    early = Reason.of(ReasonCode.EARLY_ARTERIAL, hu=20.0)
    late = Reason.of(ReasonCode.LATE_ARTERIAL)
    guesses = [
        PhaseGuess(Phase.ARTERIAL, confidence, (reason,))
        for confidence, reason in ((0.9, early), (0.6, late))
    ]
    assert _candidates(stacks, guesses) == {Phase.ARTERIAL: (1, 0)}


def test_the_users_table_counts_for_more_than_words(tmp_path, make, stored) -> None:
    folder = make.shuffled(make.series(stored, SeriesNumber=3, SeriesDescription="art"), tmp_path)
    files = sorted(folder.iterdir())
    found = survey(files, [PhaseRow(2, "", "3", Phase.DELAYED)])
    assert found.guesses[0].phase is Phase.DELAYED
    assert found.guesses[0].code is ReasonCode.USER_TABLE
    assert survey(files).guesses[0].phase is Phase.ARTERIAL


def test_mixed_patients_and_studies_are_counted_not_named(tmp_path, make, stored) -> None:
    make.shuffled(make.series(stored), tmp_path / "a")
    strangers = make.series(
        stored[:2],
        SeriesNumber=33,
        PatientID="4712",
        PatientName="Roe^Rick",
        StudyInstanceUID="1.7",
    )
    make.shuffled(strangers, tmp_path / "b")
    said = (
        r"^images of 2 patients and 2 studies are mixed: 2 images of series 33 are of another; take"
        r" them out, or .*ingest`"
    )
    with pytest.raises(InputError, match=said) as raised:
        read_study(tmp_path)
    assert not any(part in str(raised.value) for part in ("Mustermann", "Roe", "471"))


def test_strangers_in_one_study_are_told_by_their_series(tmp_path, make, stored) -> None:
    make.shuffled(make.series(np.concatenate([stored, stored])), tmp_path / "a")
    make.shuffled(make.series(stored[:1], SeriesNumber=20, PatientID="4"), tmp_path / "b")
    with pytest.raises(
        InputError,
        match=(
            r"^images of 2 patients and 1 study are mixed: 1 image of series 20 is of another; take"
            r" them out$"
        ),
    ):
        read_study(tmp_path)
    for series in range(11, 20):
        make.shuffled(
            make.series(stored[:1], SeriesNumber=series, PatientID="4"), tmp_path / str(series)
        )
    with pytest.raises(
        InputError, match="1 image of series 18, images of 2 more series are of another"
    ):
        read_study(tmp_path)


@pytest.mark.parametrize(
    ("description", "taken", "time_s"),
    [
        ("portal", "095500", None),
        ("portal", "101500", None),
        ("portal", "100110", 70),
        ("portal", "100215", 135),
        ("native", "100500", None),
        ("native", "095500", -300),
        ("arterial", "100058", 58),
    ],
)
def test_a_time_that_contradicts_the_phase_is_unknown_and_told(
    tmp_path, make, stored, description, taken, time_s
) -> None:
    clock = {
        "SeriesDescription": description,
        "ContrastBolusStartTime": "100000",
        "AcquisitionTime": None,
        "ContentTime": taken,
    }
    folder = make.shuffled(make.series(stored, **clock), tmp_path)
    (image,) = (study := read_study(folder)).phases.values()
    assert image.time_s == time_s
    (report,) = inspect(folder)
    assert report.time_s == time_s
    for warnings in (study.warnings, report.warnings):
        assert any(
            "contradicts the" in warning and "taken as unknown" in warning for warning in warnings
        ) == (time_s is None)


def test_ct_and_mr_together_are_refused(tmp_path, make, stored) -> None:
    make.shuffled(make.series(stored), tmp_path / "a")
    make.shuffled(make.series(stored, Modality="MR", SeriesInstanceUID="1.8"), tmp_path / "b")
    with pytest.raises(InputError, match="CT and MR images"):
        read_study(tmp_path)


def test_only_other_contrasts_is_an_error_that_says_so(tmp_path, make, stored) -> None:
    make.shuffled(make.series(stored, Modality="MR", SeriesDescription="t2_haste"), tmp_path)
    with pytest.raises(
        InputError,
        match=(
            r"none of the 1 series is a contrast phase of the liver \(T2-weighted: description says"
            r" 't2'\)"
        ),
    ):
        read_study(tmp_path)
