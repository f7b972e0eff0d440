"""Names of version 0.1 in recipes, run.json, model.json and checkpoints, and what they are now.

Each function returns a new record and leaves one of today as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from liverleaf.study import Phase
from liverleaf.terminology import LesionType

FIELDS = {
    "input": {"phases": "channels", "calibrate": "normalise_on_liver"},
    "network": {"measured": "residual_curve"},
    "sampling": {"uncalibrated": "wrong_normalisation"},
}
"""Fields of a recipe's tables, old to new."""
NONE_WRITTEN_AS_ZERO = {"input": ("pixel_mm",), "optimisation": ("steps", "head_rate")}
"""TOML has no null, so recipes write 0, as 0.1 did everywhere."""
MODEL_JSON = {"network": "family", "calibrated": "calibration"}
MODEL_NAMES = {"hepatica-net-ct": "liverleaf-net-ct", "hepatica-net-mr": "liverleaf-net-mr"}
CHECKPOINT_PARTS = {"critic": "discriminator", "critic_optimiser": "discriminator_optimiser"}
RESULT_COLUMNS = {
    "found": "true_positives",
    "made_up": "false_positives",
    "missed": "false_negatives",
}
"""Columns of `cases.csv`, which `liverleaf evaluate` writes."""
_LOSS_OF_BASELINES = {"classifier": ("curve", "type")}
"""0.1 wrote MTI-Net's loss weights into every record; these are the ones that others read."""


def upgrade_table(table: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """One table of a recipe; `input_config` and `network_config` of model.json are such tables."""
    names = FIELDS.get(table, {})
    upgraded = {names.get(name, name): value for name, value in record.items()}
    for name in NONE_WRITTEN_AS_ZERO.get(table, ()):
        if upgraded.get(name) == 0:
            upgraded[name] = None
    if table == "input":  # 0.1 wrote enums as numbers into run.json
        for name, enum in (("channels", Phase), ("types", LesionType)):
            if isinstance(upgraded.get(name), (list, tuple)):
                upgraded[name] = [enum(v).key if type(v) is int else v for v in upgraded[name]]
    return upgraded


def upgrade_recipe(record: Mapping[str, Any], family: str | None = None) -> dict[str, Any]:
    """A recipe, from TOML or as run.json and model.json keep it.

    Args:
        record: the recipe.
        family: the model family, where 0.1 wrote it beside the recipe.
    """
    upgraded = {
        name: upgrade_table(name, value) if isinstance(value, Mapping) else value
        for name, value in record.items()
    }
    network = upgraded.get("network")
    if isinstance(network, dict) and "kind" in network:
        family = network.pop("kind")
    if family is None or "family" in upgraded:
        return upgraded
    upgraded["family"] = family
    if family != "mti-net":
        kept = _LOSS_OF_BASELINES.get(family, ())
        if "loss" in upgraded:
            upgraded["loss"] = {k: v for k, v in upgraded["loss"].items() if k in kept}
        upgraded.get("optimisation", {}).pop("discriminator_rate", None)
    return upgraded


def upgrade_run(record: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json says; 0.1's has no `schema_version`."""
    if "schema_version" in record:
        return dict(record)
    rest = {name: value for name, value in record.items() if name != "network"}
    family = record.get("network", "mti-net")
    return rest | {"family": family, "recipe": upgrade_recipe(record["recipe"], family)}


def upgrade_model(record: Mapping[str, Any]) -> dict[str, Any]:
    """What model.json of schema version 2 says, as version 3 says it."""
    upgraded = {MODEL_JSON.get(name, name): value for name, value in record.items()}
    upgraded["input_config"] = upgrade_table("input", record["input_config"])
    upgraded["network_config"] = upgrade_table("network", record["network_config"])
    training = dict(record["training"])
    if "recipe" in training:
        training["recipe"] = upgrade_recipe(training["recipe"], record["network"])
    return upgraded | {"training": training}
