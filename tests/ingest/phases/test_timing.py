"""The chain of phases: against all sequences of states one by one, and by hand."""

from itertools import product

import numpy as np
import pytest

from liverleaf.ingest.phases.timing import (
    INITIAL_PROBABILITIES,
    MIN_PROBABILITY,
    TRANSITIONS,
    TRANSITIONS_AFTER_A_PAUSE,
    TRANSITIONS_OF_A_RAPID_SERIES,
    TRANSITIONS_WITH_A_NEW_PROTOCOL,
    TYPICAL_S,
    Transition,
    phases_by_order,
)
from liverleaf.study import Phase

TABLES = (TRANSITIONS, TRANSITIONS_AFTER_A_PAUSE, TRANSITIONS_WITH_A_NEW_PROTOCOL)


@pytest.mark.parametrize("table", TABLES)
def test_transitions_are_probabilities_that_never_go_back(table) -> None:
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=0.02)
    assert np.tril(table, -1).max() == 0


def test_probabilities_are_those_of_all_sequences_one_by_one() -> None:
    """The slow reference: every sequence of phases, with and without a hepatobiliary one."""
    log_weights = np.random.default_rng(0).normal(0, 2, (3, len(Phase)))
    transitions = [Transition(), Transition(pause=True)]
    tables = [
        np.maximum(table, MIN_PROBABILITY) for table in (TRANSITIONS, TRANSITIONS_AFTER_A_PAUSE)
    ]
    start = np.maximum(INITIAL_PROBABILITIES, MIN_PROBABILITY)
    expected = np.zeros((3, len(Phase)))
    for states in product(range(len(Phase)), repeat=3):
        weight = start[states[0]] * np.exp(
            sum(log_weights[n, state] for n, state in enumerate(states))
        )
        weight *= tables[0][states[0], states[1]] * tables[1][states[1], states[2]]
        for agent, probability in ((True, 0.3), (False, 0.7)):
            if agent or Phase.HEPATOBILIARY not in states:
                for n, state in enumerate(states):
                    expected[n, state] += probability * weight
    expected /= expected.sum(axis=1, keepdims=True)
    found, injection_s = phases_by_order(log_weights, transitions, None, hepatobiliary=0.3)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert injection_s is None


def test_times_find_the_injection() -> None:
    times_s = np.array([0.0, 630.0, 672.0, 820.0])
    weights = np.zeros((4, len(Phase)))
    found, injection_s = phases_by_order(weights, [Transition()] * 3, times_s)
    assert found.argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert injection_s == pytest.approx(600, abs=15)


def test_one_series_is_told_by_its_weights_and_the_start() -> None:
    found, _ = phases_by_order(np.zeros((1, len(Phase))), [], None, hepatobiliary=0.5)
    start = np.array(INITIAL_PROBABILITIES)
    start[-1] *= 0.5
    np.testing.assert_allclose(found[0], start / start.sum(), atol=1e-6)


def test_without_an_agent_for_it_there_is_no_hepatobiliary_phase() -> None:
    weights = np.zeros((6, len(Phase)))
    transitions = [Transition()] * 4 + [Transition(pause=True)]
    late = [
        phases_by_order(weights, transitions, None, hepatobiliary=share)[0][-1, -1]
        for share in (1e-9, 0.98)
    ]
    assert late[0] < 1e-6
    assert late[1] > 0.2


def test_time_points_seconds_apart_stay_in_one_phase() -> None:
    weights = np.zeros((5, len(Phase)))
    weights[0, Phase.PRE] = 5.0
    rapid = phases_by_order(weights, [Transition(rapid=1.0)] * 4, None)[0]
    assert rapid.argmax(axis=1).tolist()[1:4] == [Phase.ARTERIAL] * 3
    slow = phases_by_order(weights, [Transition()] * 4, None)[0]
    assert slow.argmax(axis=1).tolist()[1:4] == [Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED]
    assert TRANSITIONS_OF_A_RAPID_SERIES[Phase.ARTERIAL, Phase.ARTERIAL] == 0.9


def test_a_repeated_series_keeps_its_phase() -> None:
    weights = np.zeros((3, len(Phase)))
    weights[1, Phase.ARTERIAL] = 8.0
    again = phases_by_order(weights, [Transition(), Transition(repeated=True)], None)[0]
    assert again[2].argmax() == Phase.ARTERIAL


def test_ct_follows_the_typical_times_in_whatever_order_phases_are_left_out() -> None:
    for phases in ((1, 2), (2, 3), (1, 3)):
        times_s = np.array([TYPICAL_S[Phase(phase)] for phase in phases])
        anchor = np.zeros((2, len(Phase)))
        anchor[0, phases[0]] = 8.0
        found, _ = phases_by_order(anchor, [Transition()], times_s, mr=False, hepatobiliary=1e-9)
        assert found.argmax(axis=1).tolist() == list(phases)


def test_what_is_late_with_an_agent_that_hepatocytes_take_up_is_hepatobiliary() -> None:
    """Ten minutes: delayed where the agent is unknown, hepatobiliary where it is known."""
    times_s = np.array([0.0, 80.0, 122.0, 240.0, 670.0])
    weights = np.zeros((5, len(Phase)))
    phases = {
        probability: phases_by_order(
            weights, [Transition()] * 4, times_s, hepatobiliary=probability
        )[0][-1]
        for probability in (0.2, 0.98)
    }
    assert phases[0.2].argmax() == Phase.DELAYED
    assert phases[0.2].max() < 0.95
    assert phases[0.98].argmax() == Phase.HEPATOBILIARY


def test_three_series_an_hour_before_a_fourth_are_not_all_pre_contrast() -> None:
    times_s = np.array([0.0, 42.0, 160.0, 3900.0])
    found, _ = phases_by_order(np.zeros((4, len(Phase))), [Transition()] * 3, times_s)
    assert found[:3].argmax(axis=1).tolist() == [Phase.ARTERIAL, Phase.PORTAL, Phase.DELAYED]
