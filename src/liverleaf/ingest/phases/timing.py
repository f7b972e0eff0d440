"""The probability of each contrast phase for each series, by the order and the times of all.

A hidden Markov chain: the phases are the states, and they follow each other as the bolus passes.
Where times are known, the moment of injection is a second hidden variable: every series is weighed
by the density of its phase's time after injection, log-normal around the typical time and even
before it. The transitions from series to series are weighed too, less so where times are known.
Whether the agent has a hepatobiliary phase is hidden as well, and the same for the whole study.

Shape suffixes: J candidate moments of injection with and without a hepatobiliary phase, N series in
order of acquisition, P phases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from liverleaf.study import Phase

TYPICAL_S = {
    Phase.ARTERIAL: 30.0,
    Phase.PORTAL: 72.0,
    Phase.DELAYED: 220.0,
    Phase.HEPATOBILIARY: 1200.0,
}
"""Typical seconds after injection, for liver protocols in CT and MR."""

SPREAD = {Phase.ARTERIAL: 0.35, Phase.PORTAL: 0.25, Phase.DELAYED: 0.5, Phase.HEPATOBILIARY: 0.3}
"""Standard deviation of the logarithm of that time."""

HEPATOBILIARY_FROM_S = 540.0
"""With an agent for it, images from then on are hepatobiliary, hardly delayed."""

LOG_ODDS_AGAINST_LATE_DELAYED = 4.0
"""How hardly, as a logarithm."""

OUTLIER_WIDTH = 3.0
"""Factor by which that standard deviation is larger for unusual protocols."""

OUTLIER_LOG_ODDS = 4.0
"""Logarithm of how much rarer unusual protocols are."""

PRE_WINDOW_S = 300.0
"""How long before the injection pre-contrast images are taken; their density is even over it."""

PRE_TAIL_S = 900.0
"""Decay constant of that density for earlier times: T2 and diffusion may lie between."""

INITIAL_PROBABILITIES = (0.86, 0.11, 0.02, 0.01, 0.002)
"""Probability of each phase for the first series of a study."""

TRANSITIONS = np.array(
    [
        [0.18, 0.78, 0.03, 0.01, 0.0005],
        [0.0, 0.12, 0.84, 0.04, 0.0005],
        [0.0, 0.0, 0.07, 0.92, 0.01],
        [0.0, 0.0, 0.0, 0.88, 0.12],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ]
)
"""Probability of the next phase (column) after each one (row), from breath-hold to breath-hold."""

TRANSITIONS_AFTER_A_PAUSE = np.array(
    [
        [0.35, 0.6, 0.03, 0.02, 0.0005],
        [0.0, 0.05, 0.75, 0.19, 0.01],
        [0.0, 0.0, 0.02, 0.78, 0.2],
        [0.0, 0.0, 0.0, 0.25, 0.75],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ]
)
"""The same where other sequences, which take minutes, lie between."""

TRANSITIONS_WITH_A_NEW_PROTOCOL = np.array(
    [
        [0.75, 0.2, 0.02, 0.03, 0.0005],
        [0.0, 0.1, 0.7, 0.2, 0.0005],
        [0.0, 0.0, 0.07, 0.92, 0.01],
        [0.0, 0.0, 0.0, 0.9, 0.1],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ]
)
"""The same from a coronal or sagittal series to an axial one, or back, or to another flip angle."""

TRANSITIONS_OF_A_RAPID_SERIES = np.array(
    [
        [0.15, 0.85, 0.0, 0.0, 0.0],
        [0.0, 0.9, 0.09, 0.01, 0.0],
        [0.0, 0.0, 0.5, 0.5, 0.0],
        [0.0, 0.0, 0.0, 0.1, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.1],
    ]
)
"""The same between time points a few seconds apart, less where hardly anybody images so fast."""

TRANSITION_WEIGHT_BESIDE_TIMES = 0.5
"""How much transitions count where times are known, which tell most of the same."""

IMPOSSIBLE = 50.0
"""Logarithm of how unlikely what cannot be is made."""

MIN_PROBABILITY = 0.002
"""Probability of a transition against the order: a series may be out of order."""


@dataclass(frozen=True)
class Transition:
    """How a series follows the one before it.

    Attributes:
        pause: whether sequences that take minutes lie between the two.
        rapid: probability that both are of one time-resolved acquisition.
        new_protocol: whether one is axial and the other is not, or their flip angles differ: the
            series of a dynamic acquisition are alike.
        repeated: whether the second repeats the first, or both are of one acquisition.
    """

    pause: bool = False
    rapid: float = 0.0
    new_protocol: bool = False
    repeated: bool = False


def phases_by_order(
    log_weights_NP: NDArray[np.float64],
    transitions: Sequence[Transition],
    times_s: NDArray[np.float64] | None,
    *,
    mr: bool = True,
    hepatobiliary: float = 0.5,
) -> tuple[NDArray[np.float64], float | None]:
    """The probability of each phase for each series.

    Args:
        log_weights_NP: logarithm of how well each phase fits each series by itself, shape (N, P).
        transitions: from each series to the next, N - 1 of them.
        times_s: when each series was taken, shape (N,) ascending; None where that is not known.
        mr: whether the study is of MR, where hardly a phase is left out; of CT nothing but the
            times tells.
        hepatobiliary: probability that the agent of this study has a hepatobiliary phase, in (0,
            1).

    Returns:
        The probabilities, shape (N, P), and the most probable moment of injection on that clock,
            None without times.

    >>> phases_by_order(np.zeros((4, 5)), [Transition()] * 3, None)[0].argmax(1).tolist()
    [0, 1, 2, 3]
    """
    start_P = _log(np.array(INITIAL_PROBABILITIES)) if mr else np.zeros(len(Phase))
    if times_s is None:
        log_transitions_NPP = [_log(_table(transition)) for transition in transitions]
        injections_J, scores_JNP = np.zeros(1), log_weights_NP[None]
    else:
        log_transitions_NPP = [
            _log_transition_beside_times(transition, mr=mr) for transition in transitions
        ]
        injections_J = (times_s[:, None] - np.array(list(TYPICAL_S.values()))).ravel()
        scores_JNP = log_weights_NP[None] - _negative_log_density(
            times_s[None] - injections_J[:, None]
        )
    # the second half of the candidates has no hepatobiliary phase
    never_P = np.where(np.arange(len(Phase)) == Phase.HEPATOBILIARY, IMPOSSIBLE, 0.0)
    log_agent_2 = np.log([hepatobiliary, 1 - hepatobiliary])
    start_JP = start_P + np.repeat(log_agent_2, len(injections_J))[:, None]
    with_agent_JNP = scores_JNP.copy()
    if times_s is not None:
        late_JN = times_s[None] - injections_J[:, None] >= HEPATOBILIARY_FROM_S
        with_agent_JNP[..., Phase.DELAYED] -= LOG_ODDS_AGAINST_LATE_DELAYED * late_JN
    scores_JNP = np.concatenate([with_agent_JNP, scores_JNP - never_P])
    injections_J = np.tile(injections_J, 2)
    forward_JNP, backward_JNP = _forward_backward(scores_JNP, start_JP, log_transitions_NPP)
    total_NP = logsumexp(forward_JNP + backward_JNP, axis=0)
    probabilities_NP = np.exp(total_NP - logsumexp(total_NP, axis=1, keepdims=True))
    best = int(logsumexp(forward_JNP[:, -1], axis=1).argmax())
    return probabilities_NP, None if times_s is None else float(injections_J[best])


def _forward_backward(
    scores_JNP: NDArray[np.float64],
    start_JP: NDArray[np.float64],
    log_transitions_NPP: Sequence[NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logarithms of the forward and backward sums of the chain, each of shape (J, N, P).

    Reference: Rabiner, A tutorial on hidden Markov models, Proceedings of the IEEE, 1989.
    """
    forward_JNP, backward_JNP = scores_JNP.copy(), np.zeros_like(scores_JNP)
    forward_JNP[:, 0] += start_JP
    for n, transition_PP in enumerate(log_transitions_NPP, start=1):
        forward_JNP[:, n] += logsumexp(forward_JNP[:, n - 1, :, None] + transition_PP, axis=1)
    for n in reversed(range(len(log_transitions_NPP))):
        after_JP = scores_JNP[:, n + 1] + backward_JNP[:, n + 1]
        backward_JNP[:, n] = logsumexp(log_transitions_NPP[n] + after_JP[:, None], axis=2)
    return forward_JNP, backward_JNP


def _table(transition: Transition) -> NDArray[np.float64]:
    if transition.repeated:
        return 0.8 * np.eye(len(Phase)) + 0.2 * TRANSITIONS
    usual = TRANSITIONS
    if transition.pause:
        usual = TRANSITIONS_AFTER_A_PAUSE
    elif transition.new_protocol:
        usual = TRANSITIONS_WITH_A_NEW_PROTOCOL
    return transition.rapid * TRANSITIONS_OF_A_RAPID_SERIES + (1 - transition.rapid) * usual


def _log_transition_beside_times(transition: Transition, *, mr: bool) -> NDArray[np.float64]:
    if transition.rapid == 1:
        return _log(TRANSITIONS_OF_A_RAPID_SERIES)
    if mr:
        return TRANSITION_WEIGHT_BESIDE_TIMES * _log(_table(transition))
    # of CT the order alone: no phase before an earlier one
    return _log(np.triu(np.ones((len(Phase), len(Phase)))))


def _log(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.maximum(probabilities, MIN_PROBABILITY))


def _negative_log_density(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Negative logarithm of each phase's density at each time after injection, shape (..., P)."""
    costs = np.full((*seconds.shape, len(Phase)), IMPOSSIBLE)
    after = np.maximum(seconds, 1.0)
    for phase, typical in TYPICAL_S.items():
        spread = SPREAD[phase]
        usual, unusual = (
            0.5 * (np.log(after / typical) / width) ** 2 + np.log(after * width)
            for width in (spread, OUTLIER_WIDTH * spread)
        )
        costs[..., phase] = np.where(
            seconds > 0, np.minimum(usual, unusual + OUTLIER_LOG_ODDS), IMPOSSIBLE
        )
    earlier = np.maximum(-seconds - PRE_WINDOW_S, 0) / PRE_TAIL_S
    costs[..., Phase.PRE] = np.where(seconds <= 0, np.log(PRE_WINDOW_S) + earlier, IMPOSSIBLE)
    return costs
