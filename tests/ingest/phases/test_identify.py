"""Phases of series as hospitals call, time and order them."""

import re

import numpy as np
import pytest
from pydicom import Dataset

from liverleaf.ingest.phases.identify import (
    DOUBTFUL,
    agent_of,
    identify,
    phase_at,
    phase_probabilities,
    seconds_after_injection,
)
from liverleaf.ingest.phases.sequences import clocks_of, ruled_out
from liverleaf.study import Phase


def header(description="", clock=None, *, modality="MR", **elements) -> Dataset:
    dataset = Dataset()
    dataset.Modality, dataset.SeriesDescription, dataset.AcquisitionDate = (
        modality,
        description,
        "20240115",
    )
    if clock is not None:
        dataset.AcquisitionTime = f"10{clock // 60:02d}{clock % 60:02d}"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def names(series, **options) -> list[str | None]:
    return [
        guess.phase.name if guess.phase is not None else None
        for guess in identify(series, **options)
    ]


def test_a_time_that_different_phases_share_tells_nothing() -> None:
    said = ("LAVA pre", "LAVA arterial", "LAVA portal", "LAVA delayed")
    series = [
        header(name, SeriesNumber=number, AcquisitionTime="095500", ContrastBolusStartTime="100000")
        for number, name in enumerate(said, 1)
    ]
    for guess, phase in zip(
        identify(series), (Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED), strict=True
    ):
        assert (
            guess.phase is phase
            and guess.confidence > 0.9
            and not any("injection" in reason for reason in guess.evidence)
        )


def test_a_usual_mr_study() -> None:
    study = [
        header("localizer", 0),
        header("t2_haste", 60, EchoTime=90),
        header("t1_vibe_pre", 120),
        header("t1_vibe_art", 300),
        header("t1_vibe_ven", 345),
        header("ax t1", 480, EchoTime=100),
        header("t1_vibe_late", 470),
        header("t1_vibe_hb 20min", 1500),
        header("sub", 300, ImageType=["DERIVED", "PRIMARY", "SUBTRACT"]),
    ]
    assert names(study) == [
        None,
        None,
        "PRE",
        "ARTERIAL",
        "PORTAL",
        None,
        "DELAYED",
        "HEPATOBILIARY",
        None,
    ]
    assert min(guess.confidence for guess in identify(study)) >= 0.9


@pytest.mark.parametrize(
    ("clocks", "expected"),
    [
        ([0, 120, 165, 300], ["PRE", "ARTERIAL", "PORTAL", "DELAYED"]),
        ([0, 600, 645, 760, 1800], ["PRE", "ARTERIAL", "PORTAL", "DELAYED", "HEPATOBILIARY"]),
        ([300, 0, 165, 120], ["DELAYED", "PRE", "PORTAL", "ARTERIAL"]),
        ([100, 140, 250], ["ARTERIAL", "PORTAL", "DELAYED"]),
    ],
)
def test_order_of_acquisition_tells_when_nothing_else_does(clocks, expected) -> None:
    series = [header("t1 vibe dyn", clock) for clock in clocks]
    assert names(series) == expected
    assert all(
        guess.confidence < 0.97 and re.search("injection|first", guess.evidence[0])
        for guess in identify(series)
    )


def test_a_known_neighbour_fixes_the_order() -> None:
    series = [
        header("Abd", 0, modality="CT"),
        header("portal", 42, modality="CT"),
        header("Abd", 160, modality="CT"),
    ]
    assert names(series) == ["ARTERIAL", "PORTAL", "DELAYED"]


def test_time_after_injection_tells_and_settles() -> None:
    injected = {"ContrastBolusStartTime": "100000", "ContrastBolusAgent": "IOMERON 400"}
    series = [
        header("Abdomen 3.0", clock, modality="CT", **injected) for clock in (35, 75, 200, 900)
    ]
    assert names(series) == ["ARTERIAL", "PORTAL", "DELAYED", "DELAYED"]
    assert identify(series)[0].evidence == ("35 s after injection by the headers",)
    agreed, disputed = identify([header("art", 35, **injected), header("portal", 400, **injected)])
    assert agreed.confidence > 0.95
    assert (disputed.phase, disputed.confidence) == (Phase.PORTAL, 0.6)
    assert disputed.evidence == (
        "description says 'port'",
        "but 400 s after injection by the headers",
    )


def test_midnight_between_injection_and_image() -> None:
    assert (
        seconds_after_injection(header(AcquisitionTime="000010", ContrastBolusStartTime="235930"))
        == 40
    )


def test_agents_of_some_series_tell_the_native_one() -> None:
    study = [
        header("Abd", 0, modality="CT"),
        header("Abd", 200, modality="CT", ContrastBolusAgent="APPLIED"),
    ]
    first, second = identify(study)
    assert first.phase is Phase.PRE
    assert second.phase not in (None, Phase.PRE)
    assert "name no contrast agent" in " ".join(first.evidence)


@pytest.mark.parametrize(
    ("look", "phase", "confidence"),
    [(True, Phase.PORTAL, 0.4), (False, Phase.PRE, 0.6), (None, None, 0.0)],
)
def test_a_lone_ct_of_unknown_phase(look, phase, confidence) -> None:
    (guess,) = identify([header("CT Abdomen", 0, modality="CT")], enhanced=[look])
    assert (guess.phase, guess.confidence) == (phase, confidence)


def test_pixels_outweigh_order() -> None:
    series = [header("Abd", clock, modality="CT") for clock in (0, 45)]
    assert names(series, enhanced=[False, True])[0] == "PRE"
    assert names(series, enhanced=[True, True]) == ["ARTERIAL", "PORTAL"]


def test_twenty_minutes_is_hepatobiliary_only_with_an_agent_for_it() -> None:
    assert phase_at(1200, hepatobiliary=False) is Phase.DELAYED
    assert names([header("t1 20 min", ContrastBolusAgent="Gadovist")]) == ["DELAYED"]
    assert names([header("t1 20 min", ContrastBolusAgent="Primovist")]) == ["HEPATOBILIARY"]
    assert names([header("Adrenal 15 min", modality="CT")]) == ["DELAYED"]


AGENTS = {
    "Gd-EOB-DTPA Primovist": "gadoxetate",
    "ProHance": "gadoteridol",
    "OMNIPAQUE 350": "iodine",
    "APPLIED": "unknown agent",
    "NO ENTRY": None,
    "": None,
    "None": None,
}


@pytest.mark.parametrize(("given", "agent"), AGENTS.items())
def test_agents(given, agent) -> None:
    assert agent_of(header(ContrastBolusAgent=given)) == agent


def test_no_series_at_all() -> None:
    assert identify([]) == []


def t1(description="", series=1, **elements) -> Dataset:
    technique = {
        "ScanningSequence": "GR",
        "SequenceVariant": "SP",
        "MRAcquisitionType": "3D",
        "RepetitionTime": 4,
        "EchoTime": 1.8,
    }
    return header(
        description,
        SeriesNumber=series,
        **({"FlipAngle": 12, "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]} | technique | elements),
    )


def test_series_numbers_tell_the_order_without_times() -> None:
    assert names([t1("ax dyn", number) for number in (7, 5, 6, 8)]) == [
        "PORTAL",
        "PRE",
        "ARTERIAL",
        "DELAYED",
    ]


def test_numbers_before_a_shared_name() -> None:
    series = [
        t1("Ph2/Ax LAVA+C", 802),
        t1("Ax LAVA+C", 8),
        t1("Ph1/Ax LAVA+C", 801),
        t1("Ph3/Ax LAVA+C", 803),
    ]
    assert names(series) == ["PORTAL", "PRE", "ARTERIAL", "DELAYED"]


def test_a_coronal_series_is_never_the_arterial_one() -> None:
    coronal = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
    dynamic = [t1("ax", number) for number in (3, 4, 5, 6)]
    assert names([t1("cor", 2, **coronal), *dynamic]) == [
        "PRE",
        "PRE",
        "ARTERIAL",
        "PORTAL",
        "DELAYED",
    ]
    assert names([*dynamic, t1("cor", 9, **coronal)])[-1] == "DELAYED"


def test_late_series_with_gadoxetate_after_other_sequences_are_hepatobiliary() -> None:
    for agent, phase in (("Primovist", "HEPATOBILIARY"), ("Dotarem", "DELAYED")):
        given = {"ContrastBolusAgent": agent}
        dynamic = [t1("ax", 2), *(t1("ax", number, **given) for number in (3, 4, 5))]
        assert (
            names(
                [
                    *dynamic,
                    header("t2 tse", SeriesNumber=6, EchoTime=80),
                    t1("ax", 7, FlipAngle=30, **given),
                ]
            )[-1]
            == phase
        )


def test_time_points_of_a_rapid_series_are_arterial() -> None:
    rapid = [t1("t1", 4, TemporalPositionIdentifier=point) for point in (1, 2, 3, 4, 5)]
    assert names([*rapid, t1("t1", 5), t1("t1", 6)]) == [
        "PRE",
        *["ARTERIAL"] * 4,
        "PORTAL",
        "DELAYED",
    ]


def test_a_pair_of_echo_times_is_no_phase() -> None:
    dual = {"MRAcquisitionType": "2D", "RepetitionTime": 170, "FlipAngle": 70}
    series = [
        t1("", 1, EchoTime=2.3, **dual),
        t1("", 2, EchoTime=4.6, **dual),
        *(t1("", number) for number in (3, 4, 5)),
    ]
    assert names(series)[:2] == [None, None]


def test_a_two_dimensional_series_after_the_dynamic_ones_is_delayed() -> None:
    flat = t1("ax spgr", 1, MRAcquisitionType="2D", RepetitionTime=150, FlipAngle=70)
    dynamic = [t1("lava", number, MRAcquisitionType="3D") for number in (2, 3, 4, 5)]
    assert names([flat, *dynamic]) == [None, "PRE", "ARTERIAL", "PORTAL", "DELAYED"]
    flat.SeriesNumber = 6
    assert names([flat, *dynamic]) == ["DELAYED", "PRE", "ARTERIAL", "PORTAL", "DELAYED"]


def test_a_derived_series_without_a_word_is_made_of_others() -> None:
    dynamic = [
        t1("", number, ImageType=["ORIGINAL", "PRIMARY", "OTHER"]) for number in (1, 2, 3, 4)
    ]
    assert names([*dynamic, t1("", 5, ImageType=["DERIVED", "PRIMARY", "OTHER"])])[-1] is None
    assert (
        names([*dynamic, t1("", 5, ImageType=["DERIVED", "PRIMARY", "DIXON", "WATER"])])[-1]
        == "DELAYED"
    )


def test_the_bolus_is_tracked_after_the_pre_contrast_series() -> None:
    before = [t1("lava a", 1), t1("lava b", 2)]
    after = [t1("lava c", number) for number in (4, 5, 6)]
    expected = ["PRE", "PRE", "ARTERIAL", "PORTAL", "DELAYED"]
    assert names([*before, header("realtime", SeriesNumber=3), *after]) == [
        *expected[:2],
        None,
        *expected[2:],
    ]


def test_three_of_one_name_follow_their_mask() -> None:
    assert names(
        [
            t1("vibe dixon", 1),
            t1("vibe", 2),
            t1("vibe w", 3),
            *(t1("vibe", number) for number in (4, 5, 6)),
        ]
    )[2:4] == [
        "PRE",
        "ARTERIAL",
    ]


@pytest.mark.parametrize(
    "elements",
    [
        {"ScanningSequence": "SE"},
        {"ScanningSequence": "EP"},
        {"SequenceVariant": "SS", "FlipAngle": 60},
        {"MRAcquisitionType": "2D"},
        {"SliceThickness": 40, "MRAcquisitionType": "2D", "RepetitionTime": 50},
        {"SequenceName": "*tfi2d1"},
        {"EchoNumbers": 4},
        {"ImageType": ["DERIVED", "PRIMARY", "DIXON", "FAT"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "M", "OPP_PHASE"]},
    ],
)
def test_technique_rules_out(elements) -> None:
    assert ruled_out(t1()) is None
    assert ruled_out(t1(**elements)) is not None


def test_probabilities_belong_to_the_guesses() -> None:
    study = [
        t1("t1 vibe pre", 1),
        *(t1("t1 vibe", number) for number in (2, 3, 4)),
        header("t2 haste", SeriesNumber=5, EchoTime=90),
    ]
    rows = phase_probabilities(study)
    assert rows.shape == (5, 6)
    assert np.allclose(rows.sum(axis=1), 1)
    assert rows.argmax(axis=1).tolist() == [
        Phase.PRE,
        Phase.ARTERIAL,
        Phase.PORTAL,
        Phase.DELAYED,
        5,
    ]
    assert np.allclose(rows.max(axis=1), [guess.confidence for guess in identify(study)])
    assert phase_probabilities([]).shape == (0, 6)


def test_a_word_that_all_time_points_share_names_none_of_them() -> None:
    series = [
        t1(f"Ph{number}/AX LAVA DYN MASK", 700 + number, TemporalPositionIdentifier=number)
        for number in (1, 2, 3, 4)
    ]
    assert names(series) == ["PRE", "ARTERIAL", "PORTAL", "DELAYED"]


def test_words_for_before_and_after_do_not_tell_after() -> None:
    series = [
        t1("Ax LAVA Pre/Post", 7, TemporalPositionIdentifier=number) for number in (1, 2, 3, 4)
    ]
    assert names(series) == ["PRE", "ARTERIAL", "PORTAL", "DELAYED"]


def test_a_name_kept_for_all_later_phases_is_that_of_none() -> None:
    study = [t1("t1 vibe pre", 1), *(t1("t1 vibe post arterial", number) for number in (2, 3, 4))]
    assert names(study) == ["PRE", "ARTERIAL", "PORTAL", "DELAYED"]


def test_what_others_are_called_after_contrast_agent_is_before_it() -> None:
    assert names([t1("Ax FAME", 1), t1("Ax FAME POST", 2), t1("Ax FAME POST", 3)])[:2] == [
        "PRE",
        "ARTERIAL",
    ]


def test_two_reconstructions_of_one_acquisition_are_one_phase() -> None:
    times = ("100000", "100045", "100130", "100330")
    study = [t1("dyn", number, AcquisitionTime=time) for time in times for number in (2, 3)]
    assert names(study) == [
        name for name in ("PRE", "ARTERIAL", "PORTAL", "DELAYED") for _ in range(2)
    ]


def test_an_agent_in_one_description_tells_nothing_of_the_others() -> None:
    dynamic = [
        t1("dyn", 2, AcquisitionTime=time) for time in ("100000", "100045", "100130", "100230")
    ]
    assert names([*dynamic, t1("late 20cc magnevist", 3, AcquisitionTime="100700")])[:3] == [
        "PRE",
        "ARTERIAL",
        "PORTAL",
    ]


def test_coronal_time_points_may_be_early_phases() -> None:
    coronal = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
    points = [
        t1("COR LAVA MULTIPHASE", 2, TemporalPositionIdentifier=point, **coronal)
        for point in (1, 2, 3, 4)
    ]
    assert names(points) == ["PRE", "ARTERIAL", "PORTAL", "DELAYED"]


def test_trigger_times_tell_time_points_of_one_time_apart() -> None:
    series = [
        t1("dyn", 7, AcquisitionTime="100000", TriggerTime=delay)
        for delay in (0, 45_000, 85_000, 200_000)
    ]
    assert names(series) == ["PRE", "ARTERIAL", "PORTAL", "DELAYED"]
    assert clocks_of(series) == pytest.approx(
        [clocks_of(series)[0] + seconds for seconds in (0, 45, 85, 200)]
    )


def test_time_points_that_nothing_orders_are_doubtful() -> None:
    same = [t1("dyn", 7) for _ in range(4)]
    assert max(guess.confidence for guess in identify([*same, t1("delayed", 8)])[:4]) < DOUBTFUL


@pytest.mark.parametrize(
    ("study", "words", "phase"),
    [
        ("MRI LIVER", "t1 10 min", "DELAYED"),
        ("MRI LIVER W WO EOVIST", "t1 10 min", "HEPATOBILIARY"),
        ("MRI LIVER", "t1 20 min", "HEPATOBILIARY"),
        ("MRI LIVER MULTIHANCE", "t1 20 min", "DELAYED"),
        ("MRI LIVER MULTIHANCE", "t1 late 2h", "HEPATOBILIARY"),
    ],
)
def test_late_series_by_what_the_study_says_of_the_agent(study, words, phase) -> None:
    said = ["t1 pre", "t1 art", "t1 pv", "t1 3 min", words]
    assert (
        names(
            [t1(one, number, StudyDescription=study) for number, one in enumerate(said, start=1)]
        )[-1]
        == phase
    )


def test_pictures_of_screens_and_reports() -> None:
    study = [
        *(t1("t1 vibe", number) for number in (1, 2, 3, 4)),
        header("summary", SeriesNumber=5),
        header("", modality="PR"),
    ]
    assert names(study) == ["PRE", "ARTERIAL", "PORTAL", "DELAYED", None, None]
