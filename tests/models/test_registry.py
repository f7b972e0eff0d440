"""Every family is what the registry says of it, and is imported only when asked for."""

import subprocess
import sys

import pytest
import torch

from liverleaf.models import registry
from liverleaf.models.family import Output
from liverleaf.models.registry import FAMILIES, network_config


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_builds_what_it_names(name: str) -> None:
    family = registry.family(name)
    assert family.name == name
    settings = {"outputs": 4, "architecture": "vgg-16"} if name == "classifier" else {}
    config = network_config(name, settings)
    assert type(config) is family.config
    with torch.device("meta"):
        assert sum(p.numel() for p in family.build(config).parameters()) > 1000
    assert family.outputs(config, family.loss()) <= set(Output)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no model family 'u-net': known are mti-net, lidia, unet"):
        registry.family("u-net")
    with pytest.raises(TypeError, match="depth"):
        network_config("unet", {"depth": 3})


def test_mti_net_needs_neither_the_baselines_nor_monai() -> None:
    code = (
        "import sys; from liverleaf.models import registry; registry.family('mti-net');"
        "print([m for m in sys.modules if m.startswith(('monai', 'liverleaf.models.baselines'))])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
