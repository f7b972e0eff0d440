"""The mean of networks is the mean of what each of them answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from liverleaf.data.batch import Regions
from liverleaf.data.network_input import InputConfig
from liverleaf.models.checkpoint import ModelCard, combine, load_card, load_model, save_model
from liverleaf.models.ensemble import Ensemble
from liverleaf.models.mti_net.network import MTINet, MTINetConfig
from liverleaf.study import InputError, Modality

CONFIG = MTINetConfig(
    masks=2, types=8, widths=(4, 4, 8, 8), heads="lesion", token_width=64, size=32
)
VIEW = InputConfig(Modality.CT, size=32)


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
    curve, logits = Ensemble(members).answer(features.levels_BPCYX, images, present, regions)
    answers = [
        member.answer(one.levels_BPCYX, images, present, regions)
        for member, one in zip(members, each, strict=True)
    ]
    torch.testing.assert_close(curve, torch.stack([a for a, _ in answers]).mean(0))
    torch.testing.assert_close(
        logits.exp(), torch.stack([b.softmax(-1) for _, b in answers]).mean(0)
    )


def test_members_of_two_kinds_are_refused() -> None:
    other = MTINet(dataclasses.replace(CONFIG, skips=True))
    for members in ([], [network(1), other]):
        with pytest.raises(ValueError, match="all of one config"):
            Ensemble(members)


def card(seed: int, **training: object) -> ModelCard:
    return ModelCard(
        "m",
        "mti-net",
        CONFIG,
        VIEW,
        (0.0,) * 4,
        (1.0,) * 4,
        training={"recipe": {"seed": seed}, "cohort": "c", **training},
    )


@torch.no_grad()
def test_models_are_combined_on_disk(tmp_path: Path) -> None:
    save_model(tmp_path / "a", card(1), network(1))
    save_model(tmp_path / "b/model", card(2), network(2))  # as a run holds it
    combine([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    described, loaded = load_model(tmp_path / "out")
    assert (described.members, described.training["seeds"]) == (2, [1, 2])
    images, present, _ = batch()
    expected = Ensemble([network(1), network(2)]).features(images, present)
    torch.testing.assert_close(
        loaded.features(images, present).mask_logits_BKYX, expected.mask_logits_BKYX
    )


def test_models_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "a", card(1), network(1))
    save_model(tmp_path / "b", card(2, cohort="another"), network(2))
    save_model(tmp_path / "c", card(3), network(3))
    with pytest.raises(InputError, match="at least two"):
        combine([tmp_path / "a"], tmp_path / "out")
    with pytest.raises(InputError, match="more than its seed"):
        combine([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    with pytest.raises(InputError, match="holds something already"):
        combine([tmp_path / "a", tmp_path / "c"], tmp_path / "b")
    with pytest.raises(InputError, match="the seeds 1, 3, 1: combine runs that differ"):
        combine([tmp_path / "a", tmp_path / "c", tmp_path / "a"], tmp_path / "out")
    combine([tmp_path / "a", tmp_path / "c"], tmp_path / "out")
    with pytest.raises(InputError, match="an ensemble itself"):
        combine([tmp_path / "out", tmp_path / "a"], tmp_path / "twice")
    assert not (tmp_path / "twice").exists()
    assert load_card(tmp_path / "out").figures == {}
