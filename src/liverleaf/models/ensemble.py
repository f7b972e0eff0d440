"""One model on disk from several that differ by their seed only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from liverleaf.models import registry
from liverleaf.models.calibration import ProbabilityCalibration
from liverleaf.models.checkpoint import ModelCard, load_model, save_model
from liverleaf.models.shipped import model_in
from liverleaf.study import InputError


def combine(directories: Sequence[Path], out: Path) -> Path:
    """Make one model of several; it is not calibrated and nothing is measured of it yet.

    Args:
        directories: models, or runs that hold them.
        out: folder of the new model.

    Raises:
        InputError: fewer than two models, models that differ in more than their seed or that cannot
            be combined, or `out` holds something.
    """
    loaded = [load_model(model_in(directory) or directory) for directory in directories]
    cards = [card for card, _ in loaded]
    if len(cards) < 2:
        raise InputError("an ensemble needs at least two models")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} holds something already: choose another folder")
    seeds = [card.training.get("recipe", {}).get("seed") for card in cards]
    for directory, card in zip(directories, cards, strict=True):
        if _apart_from_seed(card) != _apart_from_seed(cards[0]):
            raise InputError(
                f"{directory} differs from {directories[0]} in more than its seed: combine runs of"
                " one recipe on one cohort"
            )
        if card.members > 1:
            raise InputError(f"{directory} is an ensemble itself: combine single models")
    if len(set(seeds)) < len(seeds):
        raise InputError(
            f"the models have the seeds {', '.join(map(str, seeds))}: combine runs that differ in"
            " their seed"
        )
    family = registry.family(cards[0].family)
    if family.ensemble is None:
        raise InputError(f"models of the family {family.name} cannot be combined")
    card = replace(
        cards[0],
        calibration=ProbabilityCalibration(),
        figures={},
        members=len(cards),
        training={**cards[0].training, "seeds": seeds},
    )
    save_model(out, card, family.ensemble([network for _, network in loaded]))
    return out


def _apart_from_seed(card: ModelCard) -> tuple[Any, ...]:
    return (
        card.family,
        card.network_config,
        card.input_config,
        card.curve_mean,
        card.training.get("cohort"),
    )
