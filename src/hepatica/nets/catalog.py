"""Every network by its name: one dict, so that a checkpoint says what it holds."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from hepatica.nets.mti_net import MTINet, MTINetConfig


class Entry(NamedTuple):
    """A network's config class and the network built from it."""

    config: type
    network: type[nn.Module]


NETWORKS = {"mti-net": Entry(MTINetConfig, MTINet)}
