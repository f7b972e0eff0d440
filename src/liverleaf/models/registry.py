"""Every network by its name: one dict, so that a recipe and a checkpoint say what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal, NamedTuple

from torch import nn

Answers = Literal["all", "mask", "values"]


class Entry(NamedTuple):
    """A network, imported when it is asked for: the rivals need MONAI, which takes seconds to import.

    Attributes:
        module: where it is, inside `liverleaf.models`.
        network, config: names of its class and of the frozen dataclass that says what it is made
            of.
        answers: "all" (masks, curve and type, as `MTINetOutput`), "mask" (logits), or "values" (a
            curve or the logits of types).
    """

    module: str
    network: str
    config: str
    answers: Answers

    def config_class(self) -> type[Any]:
        """The frozen dataclass."""
        found: type[Any] = getattr(import_module(f"liverleaf.models.{self.module}"), self.config)
        return found

    def build(self, config: Any) -> nn.Module:
        """The network, its weights drawn from torch's generator."""
        network: nn.Module = getattr(
            import_module(f"liverleaf.models.{self.module}"), self.network
        )(config)
        return network


NETWORKS = {
    "mti-net": Entry("mti_net.network", "MTINet", "MTINetConfig", "all"),
    "unet": Entry("baselines.unet", "UNet", "UNetConfig", "mask"),
    "resunet++": Entry("baselines.resunetpp", "ResUNetPP", "ResUNetPPConfig", "mask"),
    "transunet": Entry("baselines.transunet", "TransUNet", "TransUNetConfig", "mask"),
    "swin-unet": Entry("baselines.swin_unet", "SwinUNet", "SwinUNetConfig", "mask"),
    "ei-ddpm": Entry("baselines.ei_ddpm", "EIDDPM", "EIDDPMConfig", "mask"),
    "md-ff": Entry("baselines.md_ff", "MDFF", "MDFFConfig", "mask"),
    "classifier": Entry("baselines.classifiers", "Classifier", "ClassifierConfig", "values"),
}


def network_config(network: str, record: Mapping[str, Any]) -> Any:
    """The config of a network from what JSON or TOML say of it.

    Raises:
        ValueError: there is no such network.
        TypeError: it has no such field.
    """
    if network not in NETWORKS:
        raise ValueError(f"there is no network {network!r}: known are {', '.join(NETWORKS)}")
    return NETWORKS[network].config_class()(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    )


def name_of(config: Any) -> str:
    """The name of the network that a config is for."""
    return next(name for name, entry in NETWORKS.items() if entry.config == type(config).__name__)
