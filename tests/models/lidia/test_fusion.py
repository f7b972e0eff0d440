"""Fusion of phases: any subset, in their order, and against the recursion written out."""

from itertools import product

import pytest
import torch

from liverleaf.models.lidia.fusion import FUSIONS, EarlyFusion, IterativeFusion, MomentFusion

SUBSETS = [subset for subset in product([False, True], repeat=4) if any(subset)]


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("subset", SUBSETS, ids=str)
def test_any_subset_of_phases_is_fused(name: str, subset: tuple[bool, ...]) -> None:
    torch.manual_seed(0)
    fusion, images, present = FUSIONS[name](4, 8), torch.randn(4, 3, 6, 6), torch.tensor(subset)
    fused = fusion(images, present)
    assert fused.shape == (1, 8, 3, 6, 6) and fused.isfinite().all()
    # what a missing phase shows does not matter, what the others show does
    other = torch.where(present[:, None, None, None], images, torch.tensor(99.0))
    torch.testing.assert_close(fusion(other, present), fused)
    for phase, there in enumerate(subset):
        changed = images.clone()
        changed[phase, 1, 3, 3] += 3
        assert torch.equal(fusion(changed, present), fused) != there


def test_iterative_fusion_is_the_recursion_of_the_paper() -> None:
    torch.manual_seed(0)
    ifm, images = IterativeFusion(4, 8), torch.randn(4, 3, 6, 6)
    h = [block(images[None, p : p + 1]) for p, block in enumerate(ifm.of_phase)]
    fused = h[0]
    for later in h[1:]:
        fused = ifm.join(torch.cat([fused, later], 1))
    torch.testing.assert_close(ifm(images, torch.tensor([True] * 4)), fused)
    # h_3 where the delayed phase is missing; ours also starts later
    without = ifm.join(torch.cat([ifm.join(torch.cat([h[0], h[1]], 1)), h[2]], 1))
    torch.testing.assert_close(ifm(images, torch.tensor([True, True, True, False])), without)
    torch.testing.assert_close(ifm(images, torch.tensor([False, False, True, False])), h[2])


def test_the_order_of_phases_matters() -> None:
    torch.manual_seed(0)
    ifm, images = IterativeFusion(2, 8), torch.randn(2, 3, 6, 6)
    ifm.of_phase[1].load_state_dict(ifm.of_phase[0].state_dict())
    both = torch.tensor([True, True])
    assert not torch.allclose(ifm(images, both), ifm(images.flip(0), both), atol=1e-3)


def test_hemis_joins_mean_and_variance_of_the_phases_that_are_there() -> None:
    torch.manual_seed(0)
    hemis, images = MomentFusion(3, 8), torch.randn(3, 3, 6, 6)
    first, last = (hemis.of_phase[p](images[None, p : p + 1]) for p in (0, 2))
    mean, variance = (first + last) / 2, ((first - last) / 2) ** 2
    expected = hemis.join(torch.cat([mean, variance], 1))
    found = hemis(images, torch.tensor([True, False, True]))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_early_fusion_shows_zeros_for_what_is_missing() -> None:
    torch.manual_seed(0)
    early, images = EarlyFusion(2, 8), torch.randn(2, 3, 6, 6)
    zeroed = images * torch.tensor([1.0, 0.0])[:, None, None, None]
    expected = early.blocks(zeroed[None])
    torch.testing.assert_close(early(images, torch.tensor([True, False])), expected)


@pytest.mark.parametrize("name", FUSIONS)
def test_a_study_without_phases_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="at least one phase"):
        FUSIONS[name](2, 8)(torch.zeros(2, 3, 4, 4), torch.tensor([False, False]))
