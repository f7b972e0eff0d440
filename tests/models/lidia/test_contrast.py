"""Asymmetric contrast, against a loop over Eq. 4 and 5; and the bank."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from liverleaf.models.lidia.contrast import EMPTY, MemoryBank, asymmetric_contrast


def by_loops(z: Tensor, types: list[int], anchors: int, rare: int | None, tau: float) -> float:
    """Eq. 3 to 5, one anchor and one sample at a time."""
    losses = []
    for x in range(anchors):
        others = [a for a in range(len(z)) if a != x and types[a] != EMPTY]

        def score(a: int, x: int = x) -> float:
            return math.exp(float(z[x] @ z[a]) / tau)

        if types[x] == rare:
            common = [a for a in others if types[a] != rare]
            if common:
                losses.append(math.log(sum(score(a) for a in common)))
            continue
        positives = [p for p in others if types[p] == types[x]]
        if positives:
            total = sum(score(a) for a in others)
            losses.append(-sum(math.log(score(p) / total) for p in positives) / len(positives))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("rare", [7, None])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_loop_over_equations_4_and_5(seed: int, rare: int | None) -> None:
    rng = torch.Generator().manual_seed(seed)
    z = F.normalize(torch.randn(14, 6, generator=rng, dtype=torch.float64), dim=1)
    types = [0, 1, 7, 7, 3, 0, 0, 1, 7, EMPTY, 2, 0, EMPTY, 1]  # 3 has no positives
    found = asymmetric_contrast(
        z[:5], torch.tensor(types[:5]), z[5:], torch.tensor(types[5:]), rare=rare, temperature=0.1
    )
    assert float(found) == pytest.approx(by_loops(z, types, 5, rare, 0.1), rel=1e-9)


def test_rare_lesions_are_pushed_from_common_ones_and_not_gathered() -> None:
    z = F.normalize(torch.tensor([[1.0, 0.2], [1.0, -0.2]]), dim=1).requires_grad_()
    bank = F.normalize(torch.tensor([[1.0, 1.0]]), dim=1)
    none = torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)
    rare = torch.tensor([7, 7])
    alone = asymmetric_contrast(z, rare, *none, rare=7, temperature=0.1)
    assert float(alone.detach()) == 0.0  # two rare ones say nothing of each other
    loss = asymmetric_contrast(z, rare, bank, torch.tensor([0]), rare=7, temperature=0.1)
    loss.backward()
    assert z.grad is not None
    assert ((-z.grad) @ bank[0] < 0).all()  # a step down the gradient leads away


def test_there_is_no_loss_without_anything_to_compare() -> None:
    bank = MemoryBank(4, 3)
    nothing = torch.zeros(0, 3, requires_grad=True)
    types = torch.zeros(0, dtype=torch.int64)
    loss = asymmetric_contrast(
        nothing, types, bank.embeddings_ME, bank.types_M, rare=7, temperature=0.1
    )
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_the_bank_forgets_the_oldest_first() -> None:
    bank = MemoryBank(3, 1)
    assert bank.types_M.tolist() == [EMPTY] * 3
    bank.add(torch.tensor([[1.0], [2.0]]), torch.tensor([1, 2]))
    bank.add(torch.tensor([[3.0], [4.0]]), torch.tensor([3, 4]))
    assert bank.types_M.tolist() == [4, 2, 3]
    assert bank.embeddings_ME[:, 0].tolist() == [4.0, 2.0, 3.0]
    bank.add(torch.tensor([[5.0], [6.0], [7.0], [8.0]]), torch.tensor([5, 6, 7, 8]))
    assert sorted(bank.types_M.tolist()) == [6, 7, 8]


def test_the_bank_holds_no_gradient_and_its_state_comes_back() -> None:
    bank = MemoryBank(3, 2)
    bank.add(torch.ones(1, 2, requires_grad=True) * 2, torch.tensor([5]))
    assert not bank.embeddings_ME.requires_grad
    other = MemoryBank(3, 2)
    other.load_state_dict(bank.state_dict())
    other.add(torch.full((1, 2), 3.0), torch.tensor([6]))
    assert other.types_M.tolist() == [5, 6, EMPTY]
