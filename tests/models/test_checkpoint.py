"""Models written and read again, and every way in which a folder can fail to hold one."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from liverleaf.data.network_input import InputConfig
from liverleaf.models.calibration import ProbabilityCalibration
from liverleaf.models.checkpoint import (
    ModelCard,
    load_card,
    load_model,
    save_card,
    save_model,
    weights_hash,
)
from liverleaf.models.family import Output
from liverleaf.models.mti_net.ensemble import Ensemble
from liverleaf.models.mti_net.network import MTINet, MTINetConfig
from liverleaf.models.shipped import SHIPPED, shipped_models
from liverleaf.study import InputError, Modality
from liverleaf.terminology import LesionType

NETWORK = MTINetConfig(
    phases=2,
    masks=2,
    types=2,
    widths=(2, 3, 4, 5),
    skips=True,
    heads="lesion",
    blocks=1,
    head_width=4,
    token_width=8,
)
CARD = ModelCard(
    name="tiny",
    family="mti-net",
    network_config=NETWORK,
    input_config=InputConfig(
        Modality.MR,
        channels=("arterial", "hepatobiliary"),
        types=(LesionType.FNH, LesionType.HCC),
        size=32,
    ),
    curve_mean=(0.5, -0.25),
    curve_sd=(1.0, 0.125),
    calibration=ProbabilityCalibration(1.5, {1: 0.2, 2: 0.1}, {1: 40, 2: 50}),
    training={"seed": 3, "recipe": {"name": "tiny"}},
    figures={"all phases": {"lesion_dice": {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 4}}},
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(tmp_path / "model", CARD, MTINet(NETWORK))
    return tmp_path / "model"


def test_a_model_comes_back_as_it_was_saved(model: Path) -> None:
    torch.manual_seed(0)
    network = MTINet(NETWORK)
    card, again = load_model(model)
    assert card == CARD
    assert not again.training
    assert again.state_dict().keys() == network.state_dict().keys()
    assert all(
        torch.equal(value, network.state_dict()[name]) for name, value in again.state_dict().items()
    )


def test_a_folder_may_have_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    save_model(tmp_path / "m\udce9", CARD, network := MTINet(NETWORK))
    _, again = load_model(tmp_path / "m\udce9")
    assert all(
        torch.equal(value, network.state_dict()[name]) for name, value in again.state_dict().items()
    )


def test_the_published_network_comes_back_too(tmp_path: Path) -> None:
    config = MTINetConfig(widths=(2, 2, 2, 2), size=32, head_width=4)
    network = MTINet(config).eval()
    save_model(tmp_path, dataclasses.replace(CARD, network_config=config), network)
    x, present = torch.randn(1, 4, 32, 32), torch.ones(1, 4, dtype=torch.bool)
    for a, b in zip(network(x, present), load_model(tmp_path)[1](x, present), strict=True):
        assert torch.equal(a, b)


def test_saving_again_replaces_and_leaves_nothing_half_written(model: Path) -> None:
    before = weights_hash(model)
    save_card(model, dataclasses.replace(CARD, name="renamed"))
    assert (load_card(model).name, weights_hash(model)) == ("renamed", before)
    torch.manual_seed(1)
    save_model(model, CARD, MTINet(NETWORK))
    assert weights_hash(model) != before
    assert sorted(path.name for path in model.iterdir()) == ["model.json", "weights.safetensors"]


def test_no_pickle_is_written(model: Path) -> None:
    assert json.loads((model / "model.json").read_text())["schema_version"] == 3
    header = (model / "weights.safetensors").read_bytes()
    assert header[8:9] == b"{"  # safetensors: eight bytes of length, then JSON


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a model description"),
        ("[1, 2]", "not a model description"),
        ("null", "not a model description"),
        ('{"schema_version": 99}', "another version"),
        ('{"schema_version": 2}', "not a model description"),
        ('{"schema_version": 3}', "not a model description"),
    ],
)
def test_a_broken_description_is_refused(model: Path, text: str, message: str) -> None:
    (model / "model.json").write_text(text)
    with pytest.raises(InputError, match=message):
        load_card(model)


def test_a_description_of_an_unknown_network_or_field_is_refused(model: Path) -> None:
    record = json.loads((model / "model.json").read_text())
    for change, message in (
        ({"family": "u-net"}, "no model family .u-net."),
        ({"network_config": {"depth": 5}}, "not a model description"),
    ):
        (model / "model.json").write_text(json.dumps(record | change))
        with pytest.raises(InputError, match=message):
            load_card(model)


def test_weights_that_are_missing_damaged_or_anothers_are_refused(model: Path) -> None:
    weights = (model / "weights.safetensors").read_bytes()
    (model / "weights.safetensors").write_bytes(weights[:-10])
    with pytest.raises(InputError, match="damaged or do not fit"):
        load_model(model)
    (model / "weights.safetensors").write_bytes(weights)
    save_card(
        model,
        dataclasses.replace(CARD, network_config=dataclasses.replace(NETWORK, token_width=16)),
    )
    with pytest.raises(InputError, match="damaged or do not fit"):
        load_model(model)
    (model / "weights.safetensors").unlink()
    with pytest.raises(InputError, match="damaged or do not fit"):
        load_model(model)


def test_weights_may_be_read_by_whom_the_users_files_may(model: Path) -> None:
    assert (model / "weights.safetensors").stat().st_mode == (model / "model.json").stat().st_mode


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model in"):
        load_card(tmp_path)


@pytest.mark.parametrize("name", shipped_models())
def test_every_shipped_model_loads(name: str) -> None:
    card, network = load_model(SHIPPED / name)
    assert card.name == name
    assert (
        len(card.curve_mean)
        == len(card.curve_sd)
        == len(card.input_config.phases)
        == card.network_config.phases
    )
    assert card.network_config.types == len(card.input_config.types)
    assert len(network.members if isinstance(network, Ensemble) else [network]) == card.members


def test_a_description_of_0_1_is_read(model: Path) -> None:
    record = json.loads((model / "model.json").read_text())
    old = {"schema_version": 2, "network": record["family"], "calibrated": record["calibration"]}
    old |= {k: v for k, v in record.items() if k not in ("schema_version", "family", "calibration")}
    old["network_config"]["measured"] = old["network_config"].pop("residual_curve")
    config = old["input_config"]
    config["phases"], config["calibrate"] = config.pop("channels"), config.pop("normalise_on_liver")
    del config["body_part"], config["species"]
    (model / "model.json").write_text(json.dumps(old))
    card = load_card(model)
    assert card == dataclasses.replace(CARD, training=card.training)
    assert card.training["recipe"]["family"] == "mti-net"


def test_the_outputs_are_those_that_were_learned() -> None:
    everything = {Output.ORGAN_MASK, Output.LESION_MASK, Output.LESION_TYPE, Output.CURVE}
    assert CARD.outputs == everything
    training = {"recipe": {"loss": {"type": 0.0}}}
    assert dataclasses.replace(CARD, training=training).outputs == everything - {Output.LESION_TYPE}
    one_mask = dataclasses.replace(NETWORK, masks=1)
    outputs = dataclasses.replace(CARD, network_config=one_mask).outputs
    assert outputs == everything - {Output.ORGAN_MASK}
