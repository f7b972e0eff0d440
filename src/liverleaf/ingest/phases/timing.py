"""What is known of each series by itself and the order and time of all in, the probability of each phase for each series out.

A hidden Markov chain: the phases are the states, and they follow each other as the bolus passes.
Where times are known, the moment of injection is a second hidden variable: every series is weighed
by the density of its phase's time after injection, log-normal around the typical time and even
before it. The steps from series to series are weighed too, less so where times are known. Whether
the agent has a hepatobiliary phase is hidden as well, and the same for the whole study.

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

SPREAD = {Phase.ARTERIAL: 0.35, Phase.PORTAL: 0.25, Phase.DELAYED: 0.45, Phase.HEPATOBILIARY: 0.3}
"""Standard deviation of the logarithm of that time."""

WIDER, SELDOM = 3.0, 4.0
"""How much wider the spread is of unusual protocols, and the logarithm of how much rarer these are."""

PRE_WINDOW_S = 300.0
"""How long before the injection pre-contrast images may have been taken, for weighing only."""

START = (0.86, 0.11, 0.02, 0.01, 0.002)
"""Probability of each phase for the first series of a study."""

STEPS = np.array(
    [
        [0.18, 0.78, 0.03, 0.01, 0.0005],
        [0.0, 0.12, 0.84, 0.04, 0.0005],
        [0.0, 0.0, 0.07, 0.92, 0.01],
        [0.0, 0.0, 0.0, 0.88, 0.12],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ]
)
"""Probability of the next phase (column) after each phase (row), from breath-hold to breath-hold."""

STEPS_AFTER_A_PAUSE = np.array(
    [
        [0.35, 0.6, 0.03, 0.02, 0.0005],
        [0.0, 0.05, 0.75, 0.19, 0.01],
        [0.0, 0.0, 0.02, 0.78, 0.2],
        [0.0, 0.0, 0.0, 0.25, 0.75],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ]
)
"""The same where other sequences, which take minutes, lie between."""

STEPS_WITH_A_TURN = np.array(
    [
        [0.75, 0.2, 0.02, 0.03, 0.0005],
        [0.0, 0.1, 0.7, 0.2, 0.0005],
        [0.0, 0.0, 0.07, 0.92, 0.01],
        [0.0, 0.0, 0.0, 0.9, 0.1],
        [0.0, 0.0, 0.0, 0.0, 1.0],
    ]
)
"""The same from a coronal or sagittal series to an axial one, or back."""

STEPS_OF_A_RAPID_SERIES = np.array(
    [
        [0.15, 0.85, 0.0, 0.0, 0.0],
        [0.0, 0.9, 0.09, 0.01, 0.0],
        [0.0, 0.0, 0.5, 0.5, 0.0],
        [0.0, 0.0, 0.0, 0.1, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.1],
    ]
)
"""The same between time points a few seconds apart, less where hardly anybody images so fast."""

SHARE_BESIDE_TIMES = 0.5
"""How much the steps count where times are known, which tell most of what the steps do."""

IMPOSSIBLE = 50.0

BACKWARDS = 0.002
"""Probability that a series is out of order."""


@dataclass(frozen=True)
class Step:
    """How a series follows the one before it.

    Attributes:
        pause: whether sequences that take minutes lie between the two.
        rapid: probability that both are of one time-resolved acquisition.
        turn: whether one is axial and the other is not.
        again: whether the second repeats the first, or both are of one acquisition.
    """

    pause: bool = False
    rapid: float = 0.0
    turn: bool = False
    again: bool = False


def phases_by_order(
    weights_NP: NDArray[np.float64],
    steps: Sequence[Step],
    clocks_s: NDArray[np.float64] | None,
    *,
    mr: bool = True,
    hepatobiliary: float = 0.5,
) -> tuple[NDArray[np.float64], float | None]:
    """The probability of each phase for each series.

    Args:
        weights_NP: logarithm of how well each phase fits each series by itself, shape (N, P).
        steps: from each series to the next, N - 1 of them.
        clocks_s: when each series was taken, shape (N,) ascending; None where that is not known.
        mr: whether the study is of MR, where hardly a phase is left out; of CT nothing but the
            times tells.
        hepatobiliary: probability that the agent of this study has a hepatobiliary phase, in (0,
            1).

    Returns:
        The probabilities, shape (N, P), and the most probable moment of injection on that clock,
            None without times.

    >>> phases_by_order(np.zeros((4, 5)), [Step()] * 3, None)[0].argmax(1).tolist()
    [0, 1, 2, 3]
    """
    start_P = _log(np.array(START)) if mr else np.zeros(len(Phase))
    if clocks_s is None:
        steps_NPP = [_log(_table(step)) for step in steps]
        injections_J, scores_JNP = np.zeros(1), weights_NP[None]
    else:
        steps_NPP = [_step_beside_times(step, mr=mr) for step in steps]
        injections_J = (clocks_s[:, None] - np.array(list(TYPICAL_S.values()))).ravel()
        scores_JNP = weights_NP[None] - _costs(clocks_s[None] - injections_J[:, None])
    without_JNP = scores_JNP - np.where(
        np.arange(len(Phase)) == Phase.HEPATOBILIARY, IMPOSSIBLE, 0.0
    )
    start_JP = (
        start_P + np.repeat(np.log([hepatobiliary, 1 - hepatobiliary]), len(injections_J))[:, None]
    )
    injections_J, scores_JNP = np.tile(injections_J, 2), np.concatenate([scores_JNP, without_JNP])
    forward, backward = scores_JNP.copy(), np.zeros_like(scores_JNP)
    forward[:, 0] += start_JP
    for n, step_PP in enumerate(steps_NPP, start=1):
        forward[:, n] += logsumexp(forward[:, n - 1, :, None] + step_PP, axis=1)
    for n in range(len(steps_NPP) - 1, -1, -1):
        backward[:, n] = logsumexp(
            steps_NPP[n] + (scores_JNP[:, n + 1] + backward[:, n + 1])[:, None], axis=2
        )
    joint_JNP = forward + backward
    total_NP = logsumexp(joint_JNP, axis=0)
    best = int(logsumexp(forward[:, -1], axis=1).argmax())
    return np.exp(total_NP - logsumexp(total_NP, axis=1, keepdims=True)), (
        None if clocks_s is None else float(injections_J[best])
    )


def _table(step: Step) -> NDArray[np.float64]:
    if step.again:
        return 0.8 * np.eye(len(Phase)) + 0.2 * STEPS
    usual = STEPS_AFTER_A_PAUSE if step.pause else STEPS_WITH_A_TURN if step.turn else STEPS
    return step.rapid * STEPS_OF_A_RAPID_SERIES + (1 - step.rapid) * usual


def _step_beside_times(step: Step, *, mr: bool) -> NDArray[np.float64]:
    if step.rapid == 1:
        return _log(STEPS_OF_A_RAPID_SERIES)
    return (
        SHARE_BESIDE_TIMES * _log(_table(step))
        if mr
        else _log(np.triu(np.ones((len(Phase), len(Phase)))))
    )


def _log(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.maximum(probabilities, BACKWARDS))


def _costs(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Negative logarithm of the density of each phase at each time after injection, shape (..., P)."""
    costs = np.full((*seconds.shape, len(Phase)), 50.0)
    after = np.maximum(seconds, 1.0)
    for phase, typical in TYPICAL_S.items():
        spread = SPREAD[phase]
        usual, seldom = (
            0.5 * (np.log(after / typical) / width) ** 2 + np.log(after * width)
            for width in (spread, WIDER * spread)
        )
        costs[..., phase] = np.where(seconds > 0, np.minimum(usual, seldom + SELDOM), 50.0)
    costs[..., Phase.PRE] = np.where(seconds <= 0, np.log(PRE_WINDOW_S), 50.0)
    return costs
