"""Which query answers for which mask: against every assignment there is."""

from itertools import permutations

import pytest
import torch
import torch.nn.functional as F

from liverleaf.models.lidia.matching import MatchingCost, cost_matrix, match


@pytest.mark.parametrize("seed", range(5))
def test_the_assignment_is_the_cheapest_of_all(seed: int) -> None:
    cost_QK = torch.rand(5, 3, generator=torch.Generator().manual_seed(seed))
    queries, masks = match(cost_QK)
    assert sorted(masks.tolist()) == [0, 1, 2] and len(set(queries.tolist())) == 3
    cheapest = min(
        sum(float(cost_QK[q, k]) for k, q in enumerate(chosen))
        for chosen in permutations(range(5), 3)
    )
    assert float(cost_QK[queries, masks].sum()) == pytest.approx(cheapest)


def test_more_masks_than_queries_leave_the_dearest_out() -> None:
    queries, masks = match(torch.tensor([[3.0, 1.0, 2.0]]))
    assert (queries.tolist(), masks.tolist()) == ([0], [1])


def test_costs_are_those_of_a_loop_over_queries_and_masks() -> None:
    torch.manual_seed(0)
    logits_QC, mask_QN = torch.randn(3, 4), torch.randn(3, 7)
    classes_K, truth_KN = torch.tensor([2, -1]), (torch.rand(2, 7) > 0.5).float()
    weights = MatchingCost(type=2.0, cross_entropy=5.0, dice=3.0)
    found = cost_matrix(logits_QC, mask_QN, classes_K, truth_KN, weights)
    for q in range(3):
        for k in range(2):
            p = mask_QN[q].sigmoid()
            dice = 1 - (2 * (p * truth_KN[k]).sum() + 1) / (p.sum() + truth_KN[k].sum() + 1)
            entropy = F.binary_cross_entropy_with_logits(mask_QN[q], truth_KN[k])
            # nobody typed the second: any type is as good
            kind = -logits_QC[q].softmax(0)[2] if k == 0 else 0.0
            assert float(found[q, k]) == pytest.approx(float(2 * kind + 5 * entropy + 3 * dice))
