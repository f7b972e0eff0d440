"""Models of several seeds made one on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from liverleaf.data.network_input import InputConfig
from liverleaf.models.baselines.unet import UNet, UNetConfig
from liverleaf.models.checkpoint import ModelCard, load_card, load_model, save_model
from liverleaf.models.ensemble import combine
from liverleaf.models.mti_net.ensemble import Ensemble
from liverleaf.models.mti_net.network import MTINet, MTINetConfig
from liverleaf.study import InputError, Modality

CONFIG = MTINetConfig(
    masks=2, types=8, widths=(4, 4, 8, 8), heads="lesion", token_width=64, size=32
)
INPUT = InputConfig(Modality.CT, size=32)


def network(seed: int) -> MTINet:
    torch.manual_seed(seed)
    return MTINet(CONFIG).eval()


def card(seed: int, **training: object) -> ModelCard:
    return ModelCard(
        "m",
        "mti-net",
        CONFIG,
        INPUT,
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
    images, present = torch.randn(2, 4, 32, 32), torch.ones(2, 4, dtype=torch.bool)
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


def test_a_family_whose_networks_have_no_mean_is_refused(tmp_path: Path) -> None:
    config = UNetConfig(size=32, widths=(2, 2, 2, 2, 2))
    for seed in (1, 2):
        training = {"recipe": {"seed": seed}}
        described = ModelCard("u", "unet", config, INPUT, (0.0,), (1.0,), training=training)
        save_model(tmp_path / str(seed), described, UNet(config))
    with pytest.raises(InputError, match="models of the family unet cannot be combined"):
        combine([tmp_path / "1", tmp_path / "2"], tmp_path / "out")
