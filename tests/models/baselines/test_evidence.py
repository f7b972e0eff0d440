"""Dempster's rule by hand and over sets, and the evidential loss against its definition."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from liverleaf.models.baselines.evidence import (
    PrototypeEvidence,
    combine,
    discount,
    evidential_loss,
    log_odds,
    opinion,
)

LESION, BACKGROUND = 1, 2
SETS = (LESION, BACKGROUND, LESION | BACKGROUND)  # as bits, in the order of the tensors


def at_one_pixel(*masses: tuple[float, float, float]) -> Tensor:
    return torch.tensor(masses)[None, :, :, None, None]


def slow_combine(sources: list[list[float]]) -> list[float]:
    """Dempster's rule over every choice of one set per source."""
    belief = dict.fromkeys((0, *SETS), 0.0)
    for choice in product(range(3), repeat=len(sources)):
        common = LESION | BACKGROUND
        for place in choice:
            common &= SETS[place]
        belief[common] += float(
            np.prod([source[place] for source, place in zip(sources, choice, strict=True)])
        )
    return [belief[subset] / (1 - belief[0]) for subset in SETS]


def test_dempsters_rule_by_hand() -> None:
    combined = combine(at_one_pixel((0.6, 0.1, 0.3), (0.5, 0.2, 0.3)))
    conflict = 0.6 * 0.2 + 0.1 * 0.5  # 0.17
    expected = torch.tensor(
        [0.6 * 0.5 + 0.6 * 0.3 + 0.3 * 0.5, 0.1 * 0.2 + 0.1 * 0.3 + 0.3 * 0.2, 0.3 * 0.3]
    ) / (1 - conflict)
    torch.testing.assert_close(combined[0, :, 0, 0], expected)


@pytest.mark.parametrize("sources", [1, 2, 5])
def test_dempsters_rule_is_the_sum_over_intersections(sources: int) -> None:
    rng = np.random.default_rng(sources)
    masses = rng.dirichlet((1, 1, 1), size=(2, sources, 4, 3))  # (B, S, Y, X, 3)
    combined = combine(torch.from_numpy(np.moveaxis(masses, -1, 2)))
    for b, y, x in np.ndindex(2, 4, 3):
        np.testing.assert_allclose(
            combined[b, :, y, x].numpy(), slow_combine(masses[b, :, y, x].tolist()), atol=1e-12
        )


def test_who_knows_nothing_changes_nothing_and_total_conflict_is_ignorance() -> None:
    torch.testing.assert_close(
        combine(at_one_pixel((0.7, 0.2, 0.1), (0.0, 0.0, 1.0))), at_one_pixel((0.7, 0.2, 0.1))[:, 0]
    )
    torch.testing.assert_close(
        combine(at_one_pixel((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))), at_one_pixel((0.0, 0.0, 1.0))[:, 0]
    )


def test_the_gradient_of_total_conflict_is_finite() -> None:
    masses = at_one_pixel((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)).requires_grad_()
    log_odds(combine(masses)).sum().backward()
    assert masses.grad is not None and masses.grad.isfinite().all()


def test_many_sure_sources_neither_overflow_nor_lose_their_gradient() -> None:
    masses = at_one_pixel(*[(0.9, 0.05, 0.05)] * 20).requires_grad_()
    combined = combine(masses)
    assert combined[0, 0].item() == pytest.approx(1.0)
    log_odds(combined).sum().backward()
    assert masses.grad is not None and masses.grad.isfinite().all() and masses.grad.abs().sum() > 0


def test_contextual_discounting_by_hand() -> None:
    beta = torch.tensor([0.9, 0.4])
    masses = torch.tensor([0.5, 0.3, 0.2])[None, :, None, None]
    discounted = discount(masses, beta)[0, :, 0, 0]
    torch.testing.assert_close(discounted, torch.tensor([0.5 * 0.4, 0.3 * 0.9, 1 - 0.2 - 0.27]))
    plausibility = discounted[:2] + discounted[2]
    torch.testing.assert_close(plausibility, 1 - beta + beta * torch.tensor([0.7, 0.5]))


@pytest.mark.parametrize(
    ("reliability", "expected"), [(1.0, (0.5, 0.3, 0.2)), (0.0, (0.0, 0.0, 1.0))]
)
def test_a_reliable_source_is_kept_and_an_unreliable_one_silenced(
    reliability: float, expected: tuple[float, ...]
) -> None:
    masses = torch.tensor([0.5, 0.3, 0.2])[None, :, None, None]
    torch.testing.assert_close(
        discount(masses, torch.full((2,), reliability))[0, :, 0, 0], torch.tensor(expected)
    )


@pytest.mark.parametrize(
    ("share", "probability"), [(0.5, 0.7), (1.0, 0.8 / 1.2)], ids=["pignistic", "plausibility"]
)
def test_log_odds_by_hand(share: float, probability: float) -> None:
    masses = torch.tensor([0.6, 0.2, 0.2])[None, :, None, None]
    assert log_odds(masses, ignorance=share).sigmoid().item() == pytest.approx(
        probability, abs=1e-5
    )


def test_log_odds_of_certainty_are_finite_and_of_ignorance_zero() -> None:
    masses = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])[:, :, None, None]
    odds = log_odds(masses).flatten()
    assert odds.isfinite().all() and odds[0] > 10 and odds[1] < -10 and odds[2] == 0


def test_opinion_by_hand() -> None:
    evidence = torch.tensor([3.0, 1.0])[None, :, None, None]
    torch.testing.assert_close(opinion(evidence)[0, :, 0, 0], torch.tensor([3 / 6, 1 / 6, 2 / 6]))


def test_the_evidential_loss_is_that_of_the_dirichlet_distribution() -> None:
    torch.manual_seed(0)
    evidence = 5 * torch.rand(2, 2, 3, 3, dtype=torch.float64)
    mask = (torch.rand(2, 1, 3, 3) > 0.5).double()
    expected = []
    for b, y, x in np.ndindex(2, 3, 3):
        alpha, lesion = evidence[b, :, y, x] + 1, bool(mask[b, 0, y, x])
        cross_entropy = torch.digamma(alpha.sum()) - torch.digamma(alpha[0 if lesion else 1])
        misled = (
            torch.stack([torch.ones(()), alpha[1]])
            if lesion
            else torch.stack([alpha[0], torch.ones(())])
        )
        expected.append(
            cross_entropy
            + 0.3 * kl_divergence(Dirichlet(misled), Dirichlet(torch.ones(2, dtype=torch.float64)))
        )
    torch.testing.assert_close(
        evidential_loss(evidence, mask, caution=0.3), torch.stack(expected).mean()
    )


def test_no_evidence_costs_one_nat_and_caution_punishes_the_wrong_class_only() -> None:
    nothing, lesion = torch.zeros(1, 2, 1, 1), torch.ones(1, 1, 1, 1)
    # psi(2) - psi(1)
    assert evidential_loss(nothing, lesion, caution=1.0).item() == pytest.approx(1.0)
    right = torch.tensor([9.0, 0.0])[None, :, None, None]
    wrong = torch.tensor([0.0, 9.0])[None, :, None, None]
    assert evidential_loss(right, lesion, caution=1.0) == evidential_loss(
        right, lesion, caution=0.0
    )
    assert (
        evidential_loss(wrong, lesion, caution=1.0)
        > evidential_loss(wrong, lesion, caution=0.0)
        > 1
    )


def test_prototypes_are_sources_by_distance() -> None:
    torch.manual_seed(0)
    layer = PrototypeEvidence(3, 4)
    features = torch.randn(2, 3, 5, 4)
    masses = layer(features)
    assert masses.shape == (2, 3, 5, 4)
    torch.testing.assert_close(masses.sum(1), torch.ones(2, 5, 4))
    alpha = layer.alpha_I.sigmoid()
    gamma = layer.gamma_I.exp()
    membership = layer.membership_I2.softmax(1)
    x = features[1, :, 2, 3]
    sources = []
    for i in range(4):
        support = (
            alpha[i] * torch.exp(-gamma[i] * ((x - layer.prototypes_IC[i]) ** 2).sum())
        ).item()
        sources.append(
            [membership[i, 0].item() * support, membership[i, 1].item() * support, 1 - support]
        )
    np.testing.assert_allclose(
        masses[1, :, 2, 3].detach().numpy(), slow_combine(sources), atol=1e-6
    )


def test_what_is_far_from_every_prototype_is_not_known() -> None:
    masses = PrototypeEvidence(3, 4)(torch.full((1, 3, 1, 1), 1e3))
    torch.testing.assert_close(masses[0, :, 0, 0], torch.tensor([0.0, 0.0, 1.0]))
