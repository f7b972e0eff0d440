"""The step that every family shares: seeds, rates, and state that comes back."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from liverleaf.data.augmentation import SamplingConfig
from liverleaf.data.network_input import InputConfig
from liverleaf.data.prepared import PreparedCase
from liverleaf.models import trainer as trainer_module
from liverleaf.models.family import NoLossWeights
from liverleaf.models.optimisation import Optimisation
from liverleaf.models.recipe import Recipe
from liverleaf.models.trainer import Trainer, precision_for, step_seed, step_seed_0_1
from liverleaf.study import Modality


class Line(nn.Module):
    """A body and a head of one weight each, and dropout between them."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.heads = nn.Linear(1, 4), nn.ModuleDict({"out": nn.Linear(4, 1)})

    def forward(self, x: Tensor) -> Tensor:
        """Half of the features, drawn from torch's generator."""
        return self.heads["out"](nn.functional.dropout(self.body(x), 0.5))


class LineTrainer(Trainer):
    """Mean square."""

    def build(self, _recipe: Recipe) -> nn.Module:
        """The line."""
        return Line()

    def _step(self, batch: Tensor) -> dict[str, Tensor]:
        loss = self.network(batch).square().mean()
        self._descend(loss)
        return {"loss": loss.detach()}


def case() -> PreparedCase:
    return PreparedCase(Path(), (True,), (1.0,), (1.0, 1.0), (), (), 1, ())


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Recipe, "__post_init__", lambda _: None)

    def make(total: int = 10, cases: Sequence[PreparedCase] = (case(),), **rates) -> LineTrainer:
        recipe = Recipe(
            name="line",
            family="line",
            network=None,
            input=InputConfig(Modality.CT),
            loss=NoLossWeights(),
            sampling=SamplingConfig(),
            optimisation=Optimisation(**{"learning_rate": 0.1} | rates),
            seed=3,
        )
        return LineTrainer(Fabric(accelerator="cpu", devices=1), recipe, cases, total)

    return make


def test_every_step_has_a_seed_of_its_own_that_numpy_specifies() -> None:
    assert step_seed(3, 7) == 9565533078676835473
    seeds = {step_seed(seed, step) for seed in range(20) for step in range(20)}
    assert len(seeds) == 400 and all(0 <= seed < 2**64 for seed in seeds)
    assert step_seed_0_1(0, 1) == hash((0, 1))


def test_rates_rise_then_fall_as_a_cosine_and_heads_have_their_own(make) -> None:
    trainer = make(total=12, cosine=True, warmup=2, head_rate=0.01)
    seen = []
    for step in range(12):
        trainer.step(step, torch.ones(2, 1))
        seen.append([group["lr"] for group in trainer.optimiser.param_groups])
    assert [body for body, _ in seen[:3]] == pytest.approx([0.05, 0.1, 0.1])
    assert seen[7][0] == pytest.approx(0.05) and seen[11][0] < 0.004
    assert all(head == pytest.approx(body / 10) for body, head in seen)
    assert trainer.progress == pytest.approx(11 / 12)


def test_state_comes_back_and_the_next_step_is_the_same(make, tmp_path: Path) -> None:
    torch.manual_seed(0)
    batches = torch.randn(6, 4, 1)
    whole, first, second = make(), make(), make()
    losses = [whole.step(step, batch)["loss"] for step, batch in enumerate(batches)]
    for step in range(3):
        first.step(step, batches[step])
    first.save(tmp_path / "state.safetensors", 3)
    assert second.restore(tmp_path / "state.safetensors") == 3
    for step in range(3, 6):
        assert torch.equal(second.step(step, batches[step])["loss"], losses[step])
    for one, other in zip(
        whole.network.module.parameters(), second.network.module.parameters(), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("wanted", "device", "amx", "expected"),
    [
        ("32-true", "cpu", True, "32-true"),
        ("auto", "cpu", True, "bf16-mixed"),
        ("auto", "cpu", False, "32-true"),
    ],
)
def test_auto_is_bf16_where_the_machine_multiplies_in_it(
    wanted: str, device: str, amx: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module.torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert precision_for(wanted, device) == expected
