"""The mean of networks is the mean of what each of them answers."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from liverleaf.data.batch import Regions
from liverleaf.models.mti_net.ensemble import Ensemble, EnsembleFeatures
from liverleaf.models.mti_net.network import MTINet, MTINetConfig

CONFIG = MTINetConfig(
    masks=2, types=8, widths=(4, 4, 8, 8), heads="lesion", token_width=64, size=32
)


def network(seed: int) -> MTINet:
    torch.manual_seed(seed)
    return MTINet(CONFIG).eval()


def batch() -> tuple[torch.Tensor, torch.Tensor, Regions]:
    rng = torch.Generator().manual_seed(0)
    present = torch.tensor([[True, True, False, True], [False, False, True, False]])
    weights = torch.zeros(2, 3, 32, 32)
    weights[:, 0, 10:20, 10:20] = 1
    return (
        torch.randn(2, 4, 32, 32, generator=rng),
        present,
        Regions(weights, torch.tensor([0, 1]), torch.tensor([400.0, 400.0])),
    )


@torch.no_grad()
def test_an_ensemble_is_the_mean_of_its_members() -> None:
    members, (images, present, regions) = [network(1), network(2), network(3)], batch()
    features = Ensemble(members).features(images, present)
    each = [member.features(images, present) for member in members]
    expected = torch.stack([one.mask_logits_BKYX.sigmoid() for one in each]).mean(0)
    torch.testing.assert_close(features.mask_logits_BKYX.sigmoid(), expected)
    curve, logits = Ensemble(members).run_heads(features, images, present, regions)
    outputs = [
        member.run_heads(one, images, present, regions)
        for member, one in zip(members, each, strict=True)
    ]
    torch.testing.assert_close(curve, torch.stack([a for a, _ in outputs]).mean(0))
    torch.testing.assert_close(
        logits.exp(), torch.stack([b.softmax(-1) for _, b in outputs]).mean(0)
    )


def test_members_of_two_kinds_are_refused() -> None:
    other = MTINet(dataclasses.replace(CONFIG, skips=True))
    for members in ([], [network(1), other]):
        with pytest.raises(ValueError, match="all of one config"):
            Ensemble(members)


@torch.no_grad()
def test_features_of_slices_are_gathered_for_every_member() -> None:
    images, present, _ = batch()
    ensemble = Ensemble([network(1), network(2)])
    batches = [
        ensemble.features(images[:1], present[:1]),
        ensemble.features(images[1:], present[1:]),
    ]
    gathered = EnsembleFeatures.gather(batches, [1, 0, 1])
    assert len(gathered.members) == 2
    for z, index in enumerate((1, 0, 1)):
        assert torch.equal(gathered.mask_logits_BKYX[z], batches[index].mask_logits_BKYX[0])
        for own, of_batch in zip(gathered.members, batches[index].members, strict=True):
            for level, expected in zip(own.levels_BPCYX, of_batch.levels_BPCYX, strict=True):
                assert torch.equal(level[z], expected[0])
