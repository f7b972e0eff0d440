"""Examinations: phases and their times, agents, scanners and the flaws of headers."""

import numpy as np
import pytest

from liverleaf.phantom.physics.kinetics import AGENTS
from liverleaf.phantom.physics.protocol import (
    DESCRIPTIONS,
    FLAWS,
    USUAL_AGENTS,
    Protocol,
    draw_protocol,
)
from liverleaf.study import Modality, Phase


def test_missing_phases_are_drawn_and_never_all() -> None:
    rng = np.random.default_rng(0)
    never = draw_protocol(rng, Modality.CT, missing=dict.fromkeys(Phase, 1.0))
    assert list(never.times_s) == [Phase.PORTAL]
    kept = [
        Phase.DELAYED in draw_protocol(rng, Modality.MR, missing={Phase.DELAYED: 0.5}).times_s
        for _ in range(100)
    ]
    assert 30 < sum(kept) < 70


def test_only_gadoxetate_has_a_hepatobiliary_phase() -> None:
    rng = np.random.default_rng(0)
    for agent in ("gadobutrol", "gadoxetate"):
        assert (Phase.HEPATOBILIARY in draw_protocol(rng, Modality.MR, agents=[agent]).times_s) == (
            agent == "gadoxetate"
        )


def test_a_protocol_without_phases_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one phase"):
        Protocol(Modality.CT, AGENTS["iodine"], {})


def test_a_badly_timed_bolus_is_far_off() -> None:
    rng = np.random.default_rng(0)
    times_s = np.array(
        [
            draw_protocol(rng, Modality.CT, poor_quality=True).times_s[Phase.ARTERIAL]
            for _ in range(300)
        ]
    )
    assert ((times_s < 20) | (times_s > 44)).mean() > 0.5


def test_headers_have_one_flaw_at_most_and_many_have_none() -> None:
    rng = np.random.default_rng(0)
    flaws = [draw_protocol(rng, Modality.MR).flaws for _ in range(500)]
    assert max(map(len, flaws)) == 1
    assert {name for each in flaws for name in each} == set(FLAWS)
    assert np.mean([not each for each in flaws]) == pytest.approx(1 - sum(FLAWS.values()), abs=0.07)


@pytest.mark.parametrize("modality", Modality)
def test_phases_come_in_the_order_of_the_bolus(modality: Modality) -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        protocol = draw_protocol(rng, modality)
        times_s = list(protocol.times_s.values())
        assert list(protocol.times_s) == sorted(protocol.times_s)
        assert times_s == sorted(times_s) and times_s[0] < 0 < times_s[1]
        assert protocol.agent.name in USUAL_AGENTS[modality]
        assert set(protocol.descriptions.values()) <= set(
            DESCRIPTIONS[modality][protocol.manufacturer]
        )


def test_times_are_sorted_by_phase() -> None:
    protocol = Protocol(Modality.CT, AGENTS["iodine"], {Phase.PORTAL: 70.0, Phase.PRE: -60.0})
    assert list(protocol.times_s) == [Phase.PRE, Phase.PORTAL]


def test_one_state_of_the_generator_gives_one_protocol() -> None:
    drawn = [
        draw_protocol(np.random.default_rng(4), Modality.MR, field_tesla=1.5) for _ in range(2)
    ]
    assert drawn[0] == drawn[1] and drawn[0].field_tesla == 1.5


def test_a_poor_study_moves_more_and_is_noisier() -> None:
    def draw(poor_quality: bool) -> list[Protocol]:
        rng = np.random.default_rng(2)
        return [draw_protocol(rng, Modality.CT, poor_quality=poor_quality) for _ in range(200)]

    for name in ("noise", "shift_sd_mm", "deformation_sd_mm"):
        poor, usual = (
            np.mean([getattr(protocol, name) for protocol in draw(poor)]) for poor in (True, False)
        )
        assert poor > 1.5 * usual
