"""What other series tell of a series: names, agents, and the marks of an injection."""

import pytest

from liverleaf.ingest.phases.context import Evidence, acquisition_key, compare_series
from liverleaf.ingest.phases.reasons import PhaseGuess, Reason, ReasonCode, not_a_phase
from liverleaf.study import Phase

NOTHING = Evidence(None, None, None, ())
ENHANCED = Evidence(None, None, True, ())
TRACKED = Evidence(not_a_phase(0.98, ReasonCode.BOLUS_TRACKING, word="care bolus"), None, None, ())


def decided(phase: Phase) -> Evidence:
    reason = Reason.of(ReasonCode.PHASE_IN_WORDS, word="a word")
    return Evidence(PhaseGuess(phase, 0.97, (reason,)), None, None, ())


def codes(evidence: Evidence) -> list[ReasonCode]:
    return [reason.code for reason in evidence.reasons]


def test_a_lone_series_stays_as_it_is(t1) -> None:
    assert compare_series([t1("ax")], [NOTHING]) == [NOTHING]
    assert compare_series([], []) == []


def test_series_before_bolus_tracking_lean_to_pre_and_those_after_away_from_it(t1) -> None:
    series = [t1("a", 1), t1("track", 2), t1("b", 3)]
    before, _, after = compare_series(series, [NOTHING, TRACKED, NOTHING])
    assert before.log_odds == {Phase.PRE: 2.5}
    assert after.log_odds == {Phase.PRE: -2.5}
    assert codes(before) == [ReasonCode.BEFORE_BOLUS_TRACKING]
    assert codes(after) == [ReasonCode.AFTER_BOLUS_TRACKING]


def test_other_images_that_are_no_phase_do_not_mark_an_injection(t1) -> None:
    localizer = Evidence(not_a_phase(0.98, ReasonCode.LOCALIZER, word="bolus"), None, None, ())
    series = [t1("a", 1), t1("scout", 2), t1("b", 3)]
    assert compare_series(series, [NOTHING, localizer, NOTHING])[0] == NOTHING


def test_bolus_tracking_after_a_whole_dynamic_series_says_nothing_of_it(t1) -> None:
    series = [*(t1("dyn", number) for number in (1, 2, 3, 4)), t1("track", 5), t1("late", 6)]
    found = compare_series(series, [*[NOTHING] * 4, TRACKED, NOTHING])
    assert [one.log_odds for one in found[:4]] == [{}] * 4


def test_series_before_three_with_contrast_in_their_names_lean_to_pre(t1) -> None:
    series = [t1("a", 1), *(t1(f"b{number} +c", number) for number in (2, 3, 4))]
    found = compare_series(series, [NOTHING, *[ENHANCED] * 3])
    assert codes(found[0]) == [ReasonCode.BEFORE_CONTRAST_IN_WORDS]
    assert compare_series(series[:3], [NOTHING, ENHANCED, ENHANCED])[0].log_odds == {}


def test_the_first_of_three_in_a_row_leans_to_arterial_after_others(t1) -> None:
    series = [t1("a", 1), *(t1("vibe", number) for number in (2, 3, 4))]
    found = compare_series(series, [NOTHING] * 4)
    assert found[0].log_odds == {Phase.PRE: 1.25}
    assert found[1].log_odds == {Phase.PRE: -2.5, Phase.ARTERIAL: 2.5}
    assert codes(found[1]) == [ReasonCode.FIRST_OF_THREE_IN_A_ROW]
    assert [one.log_odds for one in found[2:]] == [{}, {}]


@pytest.mark.parametrize("names", [("vibe", "vibe", "vibe"), ("a", "vibe", "vibe", "b")])
def test_three_in_a_row_need_others_before_them_and_one_name(names, t1) -> None:
    series = [t1(name, number) for number, name in enumerate(names, start=1)]
    assert all(one.log_odds == {} for one in compare_series(series, [NOTHING] * len(names)))


def test_an_early_phase_that_three_time_points_share_names_none(t1) -> None:
    series = [t1("art", 7, TemporalPositionIdentifier=point) for point in (1, 2, 3)]
    found = compare_series(series, [decided(Phase.ARTERIAL)] * 3)
    assert [one.decision for one in found] == [None] * 3
    two = compare_series(series[:2], [decided(Phase.ARTERIAL)] * 2)
    assert all(one.decision is not None for one in two)
    late = compare_series(series, [decided(Phase.DELAYED)] * 3)
    assert all(one.decision is not None for one in late)


def test_the_first_of_pre_and_post_leans_to_pre(t1) -> None:
    series = [t1("lava pre/post", 7, TemporalPositionIdentifier=point) for point in (2, 1)]
    later, first = compare_series(series, [NOTHING] * 2)
    assert first.log_odds == {Phase.PRE: 4.0}
    assert later.log_odds == {}
    assert codes(first) == [ReasonCode.FIRST_OF_PRE_AND_POST]


def test_names_with_a_number_or_with_contrast_tell_the_one_without(t1) -> None:
    masks = compare_series([t1("ax lava", 8), t1("Ph1/ax lava", 801)], [ENHANCED, NOTHING])
    assert codes(masks[0]) == [ReasonCode.NUMBERED_BY_OTHERS]
    assert masks[0].enhanced is None
    named = compare_series([t1("ax fame", 1), t1("ax fame post", 2)], [NOTHING, ENHANCED])
    assert codes(named[0]) == [ReasonCode.CONTRAST_IN_NAMES_OF_OTHERS]


def test_agents_of_later_series_make_an_earlier_one_native(t1) -> None:
    series = [t1("a", 1), t1("b", 2, ContrastBolusAgent="APPLIED")]
    known = [Evidence(None, seconds, None, ()) for seconds in (0.0, 60.0)]
    native, enhanced = compare_series(series, known)
    assert (native.enhanced, enhanced.enhanced) == (False, True)
    assert codes(native) == [ReasonCode.NO_AGENT_BESIDE_LATER_ONE]
    assert codes(enhanced) == [ReasonCode.AGENT_IN_HEADERS]
    for header in series:
        header.ContrastBolusAgent = "APPLIED"
    assert [one.enhanced for one in compare_series(series, known)] == [None, None]


def test_what_comparison_excludes_is_decided_unless_it_shows_contrast(t1) -> None:
    original = [t1("", number, ImageType=["ORIGINAL", "PRIMARY"]) for number in (1, 2)]
    series = [*original, t1("", 3, ImageType=["DERIVED", "PRIMARY"])]
    found = compare_series(series, [NOTHING] * 3)[2]
    assert found.decision is not None
    assert found.decision.code is ReasonCode.DERIVED
    assert compare_series(series, [NOTHING, NOTHING, ENHANCED])[2].decision is None


def test_time_points_of_one_acquisition_share_a_key(t1) -> None:
    assert acquisition_key(t1("Ph2/Ax LAVA", 802)) == acquisition_key(t1("Ph1/Ax LAVA", 801))
    assert acquisition_key(t1("dyn", 3)) == ("dyn", 3)
