"""Technical elements of headers: exclusions, order, times and agents."""

import pytest

from liverleaf.ingest.phases.reasons import ReasonCode
from liverleaf.ingest.phases.sequences import (
    acquisition_order,
    acquisition_times,
    agent_of,
    alike,
    axial,
    derived_series,
    drop_shared_times,
    excluded_by_comparison,
    excluded_by_parameters,
    excluded_by_technique,
    hepatobiliary_agent,
    rapid_runs,
    seconds_after_injection,
    series_sort_key,
    slow_sequence,
)
from liverleaf.study import Phase

FLAT = {"MRAcquisitionType": "2D", "RepetitionTime": 150, "FlipAngle": 70}
"""A two-dimensional gradient echo."""

CORONAL = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}

EXCLUDED = [
    ({"ScanningSequence": "SE"}, ReasonCode.SPIN_ECHO_BY_SEQUENCE),
    ({"ScanningSequence": "EP"}, ReasonCode.ECHO_PLANAR),
    ({"SequenceVariant": "SS", "FlipAngle": 60}, ReasonCode.BALANCED_BY_SEQUENCE),
    ({"MRAcquisitionType": "2D"}, ReasonCode.FAST_2D),
    (
        {"SliceThickness": 40, "MRAcquisitionType": "2D", "RepetitionTime": 50},
        ReasonCode.ONE_THICK_SLICE,
    ),
    ({"SequenceName": "*tfi2d1"}, ReasonCode.OTHER_SEQUENCE_NAME),
    ({"EchoNumbers": 4}, ReasonCode.MULTI_ECHO),
    ({"EchoTime": 90}, ReasonCode.LONG_ECHO_TIME),
    ({"Modality": "PR"}, ReasonCode.NOT_CT_OR_MR),
    (
        {"ImageType": ["DERIVED", "PRIMARY", "DIXON", "FAT"]},
        ReasonCode.OTHER_CONTRAST_BY_IMAGE_TYPE,
    ),
    (
        {"ImageType": ["ORIGINAL", "PRIMARY", "M", "OPP_PHASE"]},
        ReasonCode.OTHER_CONTRAST_BY_IMAGE_TYPE,
    ),
    ({"ImageType": ["DERIVED", "PRIMARY", "SUB"]}, ReasonCode.SUBTRACTION_BY_IMAGE_TYPE),
    ({"ImageType": ["DERIVED", "PRIMARY", "MIP"]}, ReasonCode.PROJECTION_BY_IMAGE_TYPE),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, ReasonCode.LOCALIZER_BY_IMAGE_TYPE),
]


@pytest.mark.parametrize(("elements", "code"), EXCLUDED)
def test_technique_excludes_a_series_and_says_why(elements, code, t1) -> None:
    assert excluded_by_technique(t1()) is None
    excluded = excluded_by_technique(t1(**elements))
    assert excluded is not None
    assert (excluded.phase, excluded.code) == (None, code)
    assert excluded.confidence > 0.9


def test_technique_of_mr_does_not_exclude_ct(header) -> None:
    assert excluded_by_technique(header(modality="CT", EchoTime=90)) is None
    localizer = header(modality="CT", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert excluded_by_technique(localizer) is not None


def test_a_pair_of_echo_times_is_excluded_and_a_frequent_one_is_not(t1) -> None:
    pair = [t1("", number, EchoTime=echo, **FLAT) for number, echo in ((1, 2.3), (2, 4.6))]
    found = excluded_by_comparison(pair, [0, 1])
    assert {index: guess.code for index, guess in found.items()} == {
        0: ReasonCode.ECHO_TIME_PAIR,
        1: ReasonCode.ECHO_TIME_PAIR,
    }
    # a dynamic series of three may not fall for one opposed-phase image
    found = excluded_by_comparison([*pair, pair[1], pair[1]], [0, 1, 2, 3])
    assert list(found) == [0]
    other_flip = [pair[0], t1("", 2, **(FLAT | {"EchoTime": 4.6, "FlipAngle": 30}))]
    assert excluded_by_comparison(other_flip, [0, 1]) == {}


@pytest.mark.parametrize(
    ("elements", "codes"),
    [
        ([{"EchoTime": 1.2}, {"EchoTime": 3.6}], [ReasonCode.MULTI_ECHO] * 2),
        ([{"EchoTime": 1.2 * n} for n in (1, 2, 3, 4)], [ReasonCode.MULTI_ECHO] * 4),
        ([{"FlipAngle": flip} for flip in (5, 10, 15)], [ReasonCode.SEVERAL_FLIP_ANGLES] * 3),
        ([{"FlipAngle": 3}, {"FlipAngle": 15}], [ReasonCode.SMALL_FLIP_ANGLE, None]),
        # a hepatobiliary pair, a dynamic series and one opposed-phase image before it
        ([{"FlipAngle": 12}, {"FlipAngle": 30}], [None, None]),
        ([{"EchoTime": 1.2}, *[{"EchoTime": 2.4}] * 3], [ReasonCode.MULTI_ECHO, None, None, None]),
        ([{"EchoTime": 1.8}, {"EchoTime": 1.9}], [None, None]),
    ],
)
def test_series_that_differ_by_one_parameter_are_no_phases(t1, elements, codes) -> None:
    series = [t1("vibe", number, **one) for number, one in enumerate(elements)]
    found = excluded_by_parameters(series, range(len(series)))
    assert [found[index].code if index in found else None for index in range(len(series))] == codes


def test_other_echo_times_of_another_moment_may_be_phases(t1) -> None:
    clocks = ("100000", "100100")
    series = [
        t1("vibe", 1, EchoTime=echo, AcquisitionTime=clock)
        for echo, clock in zip((1.2, 3.6), clocks, strict=True)
    ]
    assert excluded_by_parameters(series, [0, 1]) == {}
    series[1].AcquisitionTime = clocks[0]
    assert set(excluded_by_parameters(series, [0, 1])) == {0, 1}


def test_headers_are_alike_within_a_fifth_and_where_nothing_is_known(t1, header) -> None:
    one, two = t1(FlipAngle=12), t1(FlipAngle=14)
    assert alike(one, two, ("FlipAngle", "EchoTime"))
    assert not alike(one, t1(FlipAngle=30), ("FlipAngle", "EchoTime"))
    assert alike(one, header(""), ("FlipAngle",))


def test_a_two_dimensional_series_counts_only_after_three_dimensional_ones(t1) -> None:
    volumetric = [t1("lava", number) for number in (2, 3, 4)]
    first = excluded_by_comparison([t1("ax spgr", 1, **FLAT), *volumetric], range(4))
    assert first[0].code is ReasonCode.TWO_DIMENSIONAL_BESIDE_3D
    assert excluded_by_comparison([t1("ax spgr", 6, **FLAT), *volumetric], range(4)) == {0: None}
    assert excluded_by_comparison([t1("ax fs", 1, **FLAT), *volumetric], range(4)) == {}


def test_series_without_technique_are_excluded_beside_others(t1, header) -> None:
    usual = [t1("", number) for number in (1, 2, 3)]
    found = excluded_by_comparison([*usual, header("", SeriesNumber=4)], range(4))
    assert {index: guess.code for index, guess in found.items()} == {
        3: ReasonCode.WITHOUT_TECHNIQUE
    }
    assert excluded_by_comparison([usual[0], header(""), header("")], range(3)) == {}


def test_derived_series_are_excluded_beside_original_ones_but_for_water(t1) -> None:
    original = [t1("", number, ImageType=["ORIGINAL", "PRIMARY"]) for number in (1, 2)]
    derived, water = (
        t1("", 3, ImageType=["DERIVED", "PRIMARY", *more]) for more in ([], ["WATER"])
    )
    found = derived_series([*original, derived, water], range(4))
    assert {index: guess.code for index, guess in found.items()} == {2: ReasonCode.DERIVED}
    assert derived_series([derived, derived, original[0]], range(3)) == {}


def test_the_order_is_by_times_where_all_have_one_and_else_by_numbers(header) -> None:
    late, early = header("", 60, SeriesNumber=1), header("", 0, SeriesNumber=2)
    keys = acquisition_order([late, early])
    assert keys[1] < keys[0]
    del early.AcquisitionTime
    keys = acquisition_order([late, early])
    assert keys[0] < keys[1]


def test_a_made_series_follows_the_one_it_was_made_of(header) -> None:
    five, made, six = (
        series_sort_key(header(SeriesNumber=number), small_numbers=True) for number in (5, 501, 6)
    )
    assert five < made < six
    assert series_sort_key(header(SeriesNumber=501), small_numbers=False)[0] == 501


def test_trigger_times_tell_time_points_of_one_time_apart(t1) -> None:
    series = [
        t1("dyn", 7, AcquisitionTime="100000", TriggerTime=delay)
        for delay in (0, 45_000, 85_000, 200_000)
    ]
    times_s = acquisition_times(series)
    assert [time_s - times_s[0] for time_s in times_s] == [0, 45, 85, 200]
    alone = [t1("dyn", 7, AcquisitionTime="100000", TriggerTime=45_000)]
    assert acquisition_times(alone) == [times_s[0]]


def test_rapid_runs_are_long_or_followed(t1) -> None:
    seven = [t1("", 4) for _ in range(7)]
    assert rapid_runs(seven) == dict.fromkeys(range(6), 1.0)
    three = [t1("", 4) for _ in range(3)]
    assert rapid_runs(three) == {}
    assert rapid_runs([*three, t1("", 5), t1("", 6)]) == {0: 0.1, 1: 0.1}
    assert rapid_runs([*three, t1("", 5, **CORONAL), t1("", 6, **CORONAL)]) == {}


def test_planes_by_hand(t1, header) -> None:
    assert axial(t1()) is True
    assert axial(t1(**CORONAL)) is False
    tilted = [1, 0, 0, 0, 0.8, 0.6]
    assert axial(t1(ImageOrientationPatient=tilted)) is True
    assert axial(header()) is None


def test_slow_sequences_by_technique(t1) -> None:
    assert not slow_sequence(t1())
    assert slow_sequence(t1(EchoTime=90))
    assert slow_sequence(t1(ScanningSequence="EP"))


@pytest.mark.parametrize(
    ("acquired", "injected", "seconds"),
    [
        ("000010", "235930", 40),
        ("100035", "100000", 35),
        ("095500", "100000", -300),
        ("140000", "100000", None),
        ("100035", "", None),
    ],
)
def test_seconds_after_injection_run_over_midnight(acquired, injected, seconds, header) -> None:
    one = header(AcquisitionTime=acquired, ContrastBolusStartTime=injected)
    assert seconds_after_injection(one) == seconds


def test_a_time_that_different_phases_share_is_dropped() -> None:
    pre, art = Phase.PRE, Phase.ARTERIAL
    assert drop_shared_times([30, 30, 70, None], [pre, art, art, None]) == [None, None, 70, None]
    assert drop_shared_times([30, 30, 30], [art, art, None]) == [30, 30, 30]


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
def test_agents(given, agent, header) -> None:
    assert agent_of(header(ContrastBolusAgent=given)) == agent


def test_an_agent_in_the_description_counts_where_it_is_asked_for(header) -> None:
    late = header("late 20cc magnevist")
    assert agent_of(late) == "gadopentetate"
    assert agent_of(late, in_description=False) is None


@pytest.mark.parametrize(
    ("series", "known"),
    [
        ([{"ContrastBolusAgent": "Primovist"}], True),
        ([{"ContrastBolusAgent": "Dotarem"}], False),
        ([{"StudyDescription": "MRI LIVER EOVIST"}], True),
        ([{"description": "t1 hepatobiliary"}], True),
        ([{"description": "t1 20 min"}], True),
        ([{"description": "t1 10 min"}], None),
        ([{"modality": "CT", "ContrastBolusAgent": "Primovist"}], False),
        ([], False),
    ],
)
def test_whether_the_agent_has_a_hepatobiliary_phase(series, known, header) -> None:
    assert hepatobiliary_agent([header(**elements) for elements in series]) is known
