"""Phases of series as hospitals call, time and order them."""

import numpy as np
import pytest

from liverleaf.ingest.phases.identify import DOUBTFUL, identify
from liverleaf.ingest.phases.reasons import PhaseGuess, ReasonCode
from liverleaf.study import Phase


def names(series, **options) -> list[str | None]:
    return [
        guess.phase.name if guess.phase is not None else None
        for guess in identify(series, **options).guesses
    ]


def guesses(series, **options) -> tuple[PhaseGuess, ...]:
    return identify(series, **options).guesses


def test_a_time_that_different_phases_share_tells_nothing(header) -> None:
    said = ("LAVA pre", "LAVA arterial", "LAVA portal", "LAVA delayed")
    series = [
        header(name, SeriesNumber=number, AcquisitionTime="095500", ContrastBolusStartTime="100000")
        for number, name in enumerate(said, 1)
    ]
    for guess, phase in zip(
        guesses(series), (Phase.PRE, Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED), strict=True
    ):
        assert (
            guess.phase is phase
            and guess.confidence > 0.9
            and guess.code is ReasonCode.PHASE_IN_WORDS
            and ReasonCode.TIME_AFTER_INJECTION not in [reason.code for reason in guess.reasons]
        )


def test_a_usual_mr_study(header) -> None:
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
    assert min(guess.confidence for guess in guesses(study)) >= 0.9


@pytest.mark.parametrize(
    ("clocks", "expected"),
    [
        ([0, 120, 165, 300], ["PRE", "ARTERIAL", "PORTAL", "DELAYED"]),
        ([0, 600, 645, 760, 1800], ["PRE", "ARTERIAL", "PORTAL", "DELAYED", "HEPATOBILIARY"]),
        ([300, 0, 165, 120], ["DELAYED", "PRE", "PORTAL", "ARTERIAL"]),
        ([100, 140, 250], ["ARTERIAL", "PORTAL", "DELAYED"]),
    ],
)
def test_order_of_acquisition_tells_when_nothing_else_does(clocks, expected, header) -> None:
    series = [header("t1 vibe dyn", clock) for clock in clocks]
    assert names(series) == expected
    assert all(
        guess.confidence < 0.97
        and guess.code in (ReasonCode.ORDER_OF_ACQUISITION, ReasonCode.TAKEN_FIRST)
        for guess in guesses(series)
    )


def test_a_known_neighbour_fixes_the_order(header) -> None:
    series = [
        header("Abd", 0, modality="CT"),
        header("portal", 42, modality="CT"),
        header("Abd", 160, modality="CT"),
    ]
    assert names(series) == ["ARTERIAL", "PORTAL", "DELAYED"]


def test_time_after_injection_tells_and_settles(header) -> None:
    injected = {"ContrastBolusStartTime": "100000", "ContrastBolusAgent": "IOMERON 400"}
    series = [
        header("Abdomen 3.0", clock, modality="CT", **injected) for clock in (35, 75, 200, 900)
    ]
    assert names(series) == ["ARTERIAL", "PORTAL", "DELAYED", "DELAYED"]
    assert guesses(series)[0].evidence == ("35 s after injection by the headers",)
    agreed, disputed = guesses([header("art", 35, **injected), header("portal", 400, **injected)])
    assert agreed.confidence > 0.95
    assert (disputed.phase, disputed.confidence) == (Phase.PORTAL, 0.6)
    assert disputed.evidence == (
        "description says 'port'",
        "but 400 s after injection by the headers",
    )


def test_agents_of_some_series_tell_the_native_one(header) -> None:
    study = [
        header("Abd", 0, modality="CT"),
        header("Abd", 200, modality="CT", ContrastBolusAgent="APPLIED"),
    ]
    first, second = guesses(study)
    assert first.phase is Phase.PRE
    assert second.phase not in (None, Phase.PRE)
    assert ReasonCode.NO_AGENT_BESIDE_LATER_ONE in [reason.code for reason in first.reasons]


@pytest.mark.parametrize(
    ("look", "phase", "confidence"),
    [(True, Phase.PORTAL, 0.4), (False, Phase.PRE, 0.6), (None, None, 0.0)],
)
def test_a_lone_ct_of_unknown_phase(look, phase, confidence, header) -> None:
    (guess,) = guesses([header("CT Abdomen", 0, modality="CT")], enhanced=[look])
    assert (guess.phase, guess.confidence) == (phase, confidence)


def test_pixels_outweigh_order(header) -> None:
    series = [header("Abd", clock, modality="CT") for clock in (0, 45)]
    assert names(series, enhanced=[False, True])[0] == "PRE"
    assert names(series, enhanced=[True, True]) == ["ARTERIAL", "PORTAL"]


def test_twenty_minutes_is_hepatobiliary_only_with_an_agent_for_it(header) -> None:
    assert names([header("t1 20 min", ContrastBolusAgent="Gadovist")]) == ["DELAYED"]
    assert names([header("t1 20 min", ContrastBolusAgent="Primovist")]) == ["HEPATOBILIARY"]
    assert names([header("Adrenal 15 min", modality="CT")]) == ["DELAYED"]


def test_no_series_at_all() -> None:
    assert identify([]).guesses == ()
    assert identify([]).probabilities_NP.shape == (0, 6)


def test_series_numbers_tell_the_order_without_times(t1) -> None:
    assert names([t1("ax dyn", number) for number in (7, 5, 6, 8)]) == [
        "PORTAL",
        "PRE",
        "ARTERIAL",
        "DELAYED",
    ]


def test_numbers_before_a_shared_name(t1) -> None:
    series = [
        t1("Ph2/Ax LAVA+C", 802),
        t1("Ax LAVA+C", 8),
        t1("Ph1/Ax LAVA+C", 801),
        t1("Ph3/Ax LAVA+C", 803),
    ]
    assert names(series) == ["PORTAL", "PRE", "ARTERIAL", "DELAYED"]


def test_a_coronal_series_is_never_the_arterial_one(t1) -> None:
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


def test_late_series_with_gadoxetate_after_other_sequences_are_hepatobiliary(header, t1) -> None:
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


def test_time_points_of_a_rapid_series_are_arterial(t1) -> None:
    rapid = [t1("t1", 4, TemporalPositionIdentifier=point) for point in (1, 2, 3, 4, 5)]
    assert names([*rapid, t1("t1", 5), t1("t1", 6)]) == [
        "PRE",
        *["ARTERIAL"] * 4,
        "PORTAL",
        "DELAYED",
    ]


def test_a_pair_of_echo_times_is_no_phase(t1) -> None:
    dual = {"MRAcquisitionType": "2D", "RepetitionTime": 170, "FlipAngle": 70}
    series = [
        t1("", 1, EchoTime=2.3, **dual),
        t1("", 2, EchoTime=4.6, **dual),
        *(t1("", number) for number in (3, 4, 5)),
    ]
    assert names(series)[:2] == [None, None]


def test_a_two_dimensional_series_after_the_dynamic_ones_is_delayed(t1) -> None:
    flat = t1("ax spgr", 1, MRAcquisitionType="2D", RepetitionTime=150, FlipAngle=70)
    dynamic = [t1("lava", number, MRAcquisitionType="3D") for number in (2, 3, 4, 5)]
    assert names([flat, *dynamic]) == [None, "PRE", "ARTERIAL", "PORTAL", "DELAYED"]
    flat.SeriesNumber = 6
    assert names([flat, *dynamic]) == ["DELAYED", "PRE", "ARTERIAL", "PORTAL", "DELAYED"]


def test_a_derived_series_without_a_word_is_made_of_others(t1) -> None:
    dynamic = [
        t1("", number, ImageType=["ORIGINAL", "PRIMARY", "OTHER"]) for number in (1, 2, 3, 4)
    ]
    assert names([*dynamic, t1("", 5, ImageType=["DERIVED", "PRIMARY", "OTHER"])])[-1] is None
    assert (
        names([*dynamic, t1("", 5, ImageType=["DERIVED", "PRIMARY", "DIXON", "WATER"])])[-1]
        == "DELAYED"
    )


def test_the_bolus_is_tracked_after_the_pre_contrast_series(header, t1) -> None:
    before = [t1("lava a", 1), t1("lava b", 2)]
    after = [t1("lava c", number) for number in (4, 5, 6)]
    expected = ["PRE", "PRE", "ARTERIAL", "PORTAL", "DELAYED"]
    assert names([*before, header("realtime", SeriesNumber=3), *after]) == [
        *expected[:2],
        None,
        *expected[2:],
    ]


def test_three_of_one_name_follow_their_mask(t1) -> None:
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


def test_probabilities_belong_to_the_guesses(header, t1) -> None:
    study = [
        t1("t1 vibe pre", 1),
        *(t1("t1 vibe", number) for number in (2, 3, 4)),
        header("t2 haste", SeriesNumber=5, EchoTime=90),
    ]
    found, rows = identify(study)
    assert rows.shape == (5, 6)
    assert np.allclose(rows.sum(axis=1), 1)
    assert rows.argmax(axis=1).tolist() == [
        Phase.PRE,
        Phase.ARTERIAL,
        Phase.PORTAL,
        Phase.DELAYED,
        5,
    ]
    assert np.allclose(rows.max(axis=1), [guess.confidence for guess in found])


def test_a_word_that_all_time_points_share_names_none_of_them(t1) -> None:
    series = [
        t1(f"Ph{number}/AX LAVA DYN MASK", 700 + number, TemporalPositionIdentifier=number)
        for number in (1, 2, 3, 4)
    ]
    assert names(series) == ["PRE", "ARTERIAL", "PORTAL", "DELAYED"]


def test_words_for_before_and_after_do_not_tell_after(t1) -> None:
    series = [
        t1("Ax LAVA Pre/Post", 7, TemporalPositionIdentifier=number) for number in (1, 2, 3, 4)
    ]
    assert names(series) == ["PRE", "ARTERIAL", "PORTAL", "DELAYED"]


def test_a_name_kept_for_all_later_phases_is_that_of_none(t1) -> None:
    study = [t1("t1 vibe pre", 1), *(t1("t1 vibe post arterial", number) for number in (2, 3, 4))]
    assert names(study) == ["PRE", "ARTERIAL", "PORTAL", "DELAYED"]


def test_what_others_are_called_after_contrast_agent_is_before_it(t1) -> None:
    assert names([t1("Ax FAME", 1), t1("Ax FAME POST", 2), t1("Ax FAME POST", 3)])[:2] == [
        "PRE",
        "ARTERIAL",
    ]


def test_two_reconstructions_of_one_acquisition_are_one_phase(t1) -> None:
    times = ("100000", "100045", "100130", "100330")
    study = [t1("dyn", number, AcquisitionTime=time) for time in times for number in (2, 3)]
    assert names(study) == [
        name for name in ("PRE", "ARTERIAL", "PORTAL", "DELAYED") for _ in range(2)
    ]


def test_an_agent_in_one_description_tells_nothing_of_the_others(t1) -> None:
    dynamic = [
        t1("dyn", 2, AcquisitionTime=time) for time in ("100000", "100045", "100130", "100230")
    ]
    assert names([*dynamic, t1("late 20cc magnevist", 3, AcquisitionTime="100700")])[:3] == [
        "PRE",
        "ARTERIAL",
        "PORTAL",
    ]


def test_coronal_time_points_may_be_early_phases(t1) -> None:
    coronal = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
    points = [
        t1("COR LAVA MULTIPHASE", 2, TemporalPositionIdentifier=point, **coronal)
        for point in (1, 2, 3, 4)
    ]
    assert names(points) == ["PRE", "ARTERIAL", "PORTAL", "DELAYED"]


def test_trigger_times_tell_time_points_of_one_time_apart(t1) -> None:
    series = [
        t1("dyn", 7, AcquisitionTime="100000", TriggerTime=delay)
        for delay in (0, 45_000, 85_000, 200_000)
    ]
    assert names(series) == ["PRE", "ARTERIAL", "PORTAL", "DELAYED"]


def test_time_points_that_nothing_orders_are_doubtful(t1) -> None:
    same = [t1("dyn", 7) for _ in range(4)]
    assert max(guess.confidence for guess in guesses([*same, t1("delayed", 8)])[:4]) < DOUBTFUL


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
def test_late_series_by_what_the_study_says_of_the_agent(study, words, phase, t1) -> None:
    said = ["t1 pre", "t1 art", "t1 pv", "t1 3 min", words]
    assert (
        names(
            [t1(one, number, StudyDescription=study) for number, one in enumerate(said, start=1)]
        )[-1]
        == phase
    )


def test_pictures_of_screens_and_reports(header, t1) -> None:
    study = [
        *(t1("t1 vibe", number) for number in (1, 2, 3, 4)),
        header("summary", SeriesNumber=5),
        header("", modality="PR"),
    ]
    assert names(study) == ["PRE", "ARTERIAL", "PORTAL", "DELAYED", None, None]


def test_delayed_of_an_unknown_agent_is_what_the_clock_says(t1) -> None:
    """Five minutes after the dynamic series, or twenty."""
    moments = {"10:00:00": 1, "10:01:20": 2, "10:02:02": 3, "10:04:00": 4}
    for late, phase in (("10:06:00", Phase.DELAYED), ("10:21:30", Phase.HEPATOBILIARY)):
        series = [
            t1("AX 3D DYN", number, AcquisitionTime=clock.replace(":", ""))
            for clock, number in moments.items()
        ]
        series.append(t1("AX 3D DELAYED", 9, AcquisitionTime=late.replace(":", "")))
        found = guesses(series)
        assert [guess.phase for guess in found] == [
            Phase.PRE,
            Phase.ARTERIAL,
            Phase.PORTAL,
            Phase.DELAYED,
            phase,
        ]
        assert found[-1].code is ReasonCode.PHASE_IN_WORDS
        assert found[-1].confidence > 0.8


def test_a_lone_delayed_series_is_delayed_and_less_sure_where_the_agent_is_unknown(t1) -> None:
    (unknown,) = guesses([t1("ax delayed")])
    (known,) = guesses([t1("ax delayed", ContrastBolusAgent="Dotarem")])
    assert (unknown.phase, known.phase) == (Phase.DELAYED, Phase.DELAYED)
    assert 0.8 < unknown.confidence < known.confidence


def test_more_than_an_hour_later_the_phase_is_hepatobiliary_whatever_the_agent(t1) -> None:
    clocks = ("100000", "100120", "100202", "100400", "111000")
    series = [
        t1("", number, AcquisitionTime=clock, ContrastBolusAgent="MultiHance" * (number > 1))
        for number, clock in enumerate(clocks, 1)
    ]
    assert guesses(series)[-1].phase is Phase.HEPATOBILIARY


def test_images_of_different_techniques_are_not_put_in_order_for_sure(t1) -> None:
    """Nothing repeats, as it would in a dynamic acquisition."""
    series = [t1("vibe", number, RepetitionTime=ms) for number, ms in ((1, 4), (2, 8), (3, 12))]
    assert max(guess.confidence for guess in guesses(series)) < DOUBTFUL
