"""Training of LIDIA: what is asked of which query, the terms of the loss, and a step of it."""

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from liverleaf.data.augmentation import SamplingConfig
from liverleaf.data.network_input import InputConfig
from liverleaf.data.patches import PatchBatch
from liverleaf.data.prepared import PreparedCase, PreparedLesion
from liverleaf.models.lidia.network import LIVER, LidiaConfig, semantic_map
from liverleaf.models.lidia.training import (
    LidiaLoss,
    LidiaOptimisation,
    LidiaTrainer,
    true_classes,
    true_masks,
)
from liverleaf.models.recipe import Recipe
from liverleaf.study import Modality
from liverleaf.terminology import LesionType

torch.set_num_threads(1)

TYPES = (LesionType.HCC, LesionType.CYST, LesionType.OTHER)
NETWORK = LidiaConfig(
    types=3, slices=8, widths=(8, 16, 16), levels=2, pyramid=16, queries=8, heads=2,
    feedforward=32, embedding=8, semantic=True,
)  # fmt: skip
RATES = {"precision": "32-true", "learning_rate": 1e-2, "rho": 0.0, "power": 0.0}


def case() -> PreparedCase:
    lesion = PreparedLesion(1, 0, (1.0,) * 4, {0: 9})
    return PreparedCase(Path(), (True,) * 4, (1.0,) * 4, (1.0, 1.0), (), (), 1, (lesion,))


def trainer(total: int = 10, *, rates: dict | None = None, **weights: float) -> LidiaTrainer:
    loss = LidiaLoss(**{"semantic": 1.0, "points": 256, "bank": 16, **weights})
    network = NETWORK if loss.semantic else LidiaConfig(**{**vars(NETWORK), "semantic": False})
    recipe = Recipe(
        "m",
        "lidia",
        network,
        InputConfig(Modality.CT, types=TYPES, size=16),
        loss,
        SamplingConfig(batch=2),
        LidiaOptimisation(**{**RATES, **(rates or {})}),
    )
    return LidiaTrainer(Fabric(accelerator="cpu", devices=1), recipe, [case()], total)


def batch() -> PatchBatch:
    """Two patches: a bright HCC and a dark cyst in the liver, and a bright "other" in one phase."""
    rng = torch.Generator().manual_seed(1)
    images = 0.1 * torch.randn(2, 4, 8, 16, 16, generator=rng) - 3.0
    liver = torch.zeros(2, 8, 16, 16, dtype=torch.bool)
    liver[:, 1:7, 2:14, 2:14] = True
    lesions = torch.zeros(2, 8, 16, 16, dtype=torch.uint8)
    lesions[0, 2:5, 3:7, 3:7], lesions[0, 3:6, 8:13, 8:13] = 1, 2
    lesions[1, 2:6, 4:9, 4:9] = 3
    images[liver[:, None].expand_as(images)] += 3.0
    for b, label, contrast in ((0, 1, 1.5), (0, 2, -1.5)):
        images[b, :, lesions[b] == label] += contrast
    images[1, 1, lesions[1] == 3] += 2.0
    return PatchBatch(
        images,
        torch.tensor([[True] * 4, [False, True, True, False]]),
        liver,
        lesions,
        (torch.tensor([1, 2]), torch.tensor([3])),
        (torch.tensor([0, 1]), torch.tensor([2])),
        torch.tensor([True, True]),
    )


def test_the_liver_outside_its_lesions_and_each_lesion_are_to_be_found() -> None:
    shown = batch()
    truth = true_masks(shown, 0)
    assert truth.classes_K.tolist() == [LIVER, 1, 2] and truth.complete
    lesions = shown.lesions_BZYX[0]
    assert torch.equal(truth.masks_KZYX[0] > 0, shown.liver_BZYX[0] & (lesions == 0))
    assert torch.equal(truth.masks_KZYX[2] > 0, lesions == 2)
    classes = true_classes(shown)
    assert classes[0, 0, 0, 0] == 0 and classes[0, 6, 2, 2] == 1
    assert classes[0, 2, 3, 3] == 2 and classes[0, 5, 8, 8] == 3 and classes[1, 2, 4, 4] == 4


def test_wrongly_normalised_patches_and_untyped_lesions_teach_only_what_is_known() -> None:
    shown = batch()
    shown = PatchBatch(
        **{
            **vars(shown),
            "normalised_B": torch.tensor([True, False]),
            "types": (torch.tensor([-1, 1]), torch.tensor([2])),
        }
    )
    assert true_masks(shown, 0).classes_K.tolist() == [LIVER, -1, 2]
    second = true_masks(shown, 1)
    assert second.classes_K.tolist() == [LIVER] and not second.complete
    classes = true_classes(shown)
    assert (classes[shown.lesions_BZYX == 1] == -1).all()
    assert (classes[1][shown.lesions_BZYX[1] > 0] == -1).all()
    learner = trainer()
    passed = learner.forward(shown)
    assert passed.loss.isfinite() and passed.types_L.tolist() == [1]


def test_a_patch_without_anything_teaches_that_there_is_nothing() -> None:
    shown = batch()
    empty = torch.zeros(0, dtype=torch.int64)
    nothing = PatchBatch(
        shown.images_BPZYX,
        shown.present_BP,
        torch.zeros_like(shown.liver_BZYX),
        torch.zeros_like(shown.lesions_BZYX),
        (empty, empty),
        (empty, empty),
        shown.normalised_B,
    )
    terms = trainer().step(0, nothing)
    assert float(terms["mask"]) == 0.0 and float(terms["type"]) > 0


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    weights = {"mask": 2.0, "type": 3.0, "contrast": 0.5, "semantic": 0.25}
    passed = trainer(**weights).forward(batch())
    assert set(passed.terms) == set(weights) == set(LidiaTrainer.columns)
    expected = sum(weights[name] * float(term.detach()) for name, term in passed.terms.items())
    assert float(passed.loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert set(trainer(contrast=0.0, semantic=0.0).forward(batch()).terms) == {"mask", "type"}


def test_a_step_fills_the_bank_and_the_next_is_compared_with_it() -> None:
    learner = trainer()
    first = learner.step(0, batch())
    assert sorted(learner.bank.types_M[:3].tolist()) == [0, 1, 2] and learner.bank.types_M[3] == -1
    # among three lesions of three types only the rare one has something to keep away from
    assert float(first["contrast"]) != 0.0
    assert float(learner.step(1, batch())["contrast"]) != float(first["contrast"])
    assert "bank/types_M" in _saved(learner)


def _saved(learner: LidiaTrainer) -> set[str]:
    return {f"{name}/{key}" for name, part in learner.parts.items() for key in part.state_dict()}


def test_sharpness_aware_steps_begin_when_the_recipe_says_so() -> None:
    ends = []
    for rho_from in (0.0, 0.5, 1.0):
        learner = trainer(total=2, rates={"rho": 0.5, "rho_from": rho_from, "clip": 1e9})
        learner.step(0, batch())
        first = torch.cat([p.detach().flatten() for p in learner.network.parameters()]).clone()
        learner.step(1, batch())
        last = torch.cat([p.detach().flatten() for p in learner.network.parameters()])
        ends.append((first, last))
    assert not torch.equal(ends[0][0], ends[1][0]) and torch.equal(ends[1][0], ends[2][0])
    assert not torch.equal(ends[1][1], ends[2][1])


def test_the_rate_rises_and_then_falls_as_a_power() -> None:
    learner = trainer(total=110, rates={"warmup": 10, "power": 0.9})
    shares = [learner._share_of_peak(step) for step in (0, 9, 10, 60, 109)]
    assert shares == pytest.approx([0.1, 1.0, 1.0, 0.5**0.9, 0.01**0.9])
    assert trainer(rates={"cosine": True}, total=10)._share_of_peak(5) == pytest.approx(0.5)


def test_it_overfits_two_tiny_cases() -> None:
    learner, shown = trainer(total=120), batch()
    first = float(learner.step(0, shown)["loss"])
    for step in range(1, 120):
        last = learner.step(step, shown)
    assert float(last["loss"]) < 0.25 * first
    with torch.no_grad():
        output = learner.network.eval()(shown.images_BPZYX, shown.present_BP)
        maps = semantic_map(output, gamma=learner.recipe.loss.gamma)
    truth = true_classes(shown)
    found = maps.argmax(1)
    for kind in range(1, 5):
        both = ((found == kind) & (truth == kind)).sum()
        dice = 2 * both / ((found == kind).sum() + (truth == kind).sum())
        assert dice > 0.7, f"class {kind}: Dice {dice:.2f}"
