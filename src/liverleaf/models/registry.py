"""Every model family by its name, which recipes and checkpoints say."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from liverleaf.models.family import ModelFamily

FAMILIES = {
    "mti-net": "liverleaf.models.mti_net.family:FAMILY",
    "lidia": "liverleaf.models.lidia.family:FAMILY",
    "unet": "liverleaf.models.baselines.unet:FAMILY",
    "resunet++": "liverleaf.models.baselines.resunetpp:FAMILY",
    "transunet": "liverleaf.models.baselines.transunet:FAMILY",
    "swin-unet": "liverleaf.models.baselines.swin_unet:FAMILY",
    "ei-ddpm": "liverleaf.models.baselines.ei_ddpm:FAMILY",
    "md-ff": "liverleaf.models.baselines.md_ff:FAMILY",
    "classifier": "liverleaf.models.baselines.classifiers:FAMILY",
}
"""Module and variable, imported when asked for: some need MONAI, which takes seconds."""


def family(name: str) -> ModelFamily:
    """The family of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in FAMILIES:
        raise ValueError(f"there is no model family {name!r}: known are {', '.join(FAMILIES)}")
    module, _, variable = FAMILIES[name].partition(":")
    found: ModelFamily = getattr(import_module(module), variable)
    return found


def network_config(name: str, record: Mapping[str, Any]) -> Any:
    """The config of a family's network from what JSON or TOML say of it.

    Raises:
        ValueError: there is no such family.
        TypeError: its config has no such field.
    """
    return family(name).config(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    )
