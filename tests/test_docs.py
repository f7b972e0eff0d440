"""What the documents say of the code is held against the code."""

from __future__ import annotations

import re
import tomllib
from contextlib import redirect_stdout
from dataclasses import fields
from io import StringIO
from pathlib import Path

import pytest
import typer

import liverleaf
from liverleaf.cli.app import app
from liverleaf.data.augmentation import SamplingConfig
from liverleaf.data.network_input import InputConfig
from liverleaf.models.lidia.network import LidiaConfig
from liverleaf.models.lidia.training import LidiaLoss, LidiaOptimisation
from liverleaf.models.mti_net.network import MTINet, MTINetConfig
from liverleaf.models.mti_net.training import LossWeights, MTINetOptimisation
from liverleaf.models.recipe import load_recipe

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/liverleaf"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TABLES = {
    ("MTI-Net", "network"): MTINetConfig,
    ("MTI-Net", "input"): InputConfig,
    ("MTI-Net", "sampling"): SamplingConfig,
    ("MTI-Net", "loss"): LossWeights,
    ("MTI-Net", "optimisation"): MTINetOptimisation,
    ("LIDIA", "network"): LidiaConfig,
    ("LIDIA", "loss"): LidiaLoss,
    ("LIDIA", "optimisation"): LidiaOptimisation,
}
"""The tables of a recipe of which `fidelity.md` explains every field, by system."""
UNBREAKABLE = re.compile(r"^\s*([-*]|\d+\.)?\s*|!?\[[^\]]*\]\(\S*\)\S*$")
"""The mark of a list, and a link at the end, which has no place to break."""

MACHINE_PATH = re.compile(r"(?<![\w./])/(home|root|tmp|work|mnt|Users)/")


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(("system", "table"), TABLES)
def test_fidelity_names_every_field_and_no_other(system: str, table: str) -> None:
    (part,) = re.findall(
        rf"^# Fidelity: the published {system}.*?(?=^# |\Z)",
        page("fidelity.md"),
        re.DOTALL | re.MULTILINE,
    )
    named = set(re.findall(rf"`{table}\.(\w+)", part))
    assert named == {field.name for field in fields(TABLES[system, table])}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"spectral": False},
        {"widths": (32, 64, 128, 256)},
        {"convs": 2},
        {"skips": True},
        {"heads": "lesion"},
    ],
    ids=str,
)
def test_fidelity_counts_parameters_right(settings: dict) -> None:
    assert f"{parameters(MTINetConfig(**settings)):,} |" in page("fidelity.md")


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_fidelity_counts_the_shipped_networks_parameters_right(modality: str) -> None:
    network = load_recipe(ROOT / f"recipes/liverleaf-net-{modality}.toml").network
    assert f"| as shipped, {modality.upper()} | {parameters(network):,} |" in page("fidelity.md")


def test_architecture_shows_the_layers() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert "\n".join(layers).replace("liverleaf.", "") in page("architecture.md")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(
        r"\]\(([^)\s#]+)[^)]*\)|(?:src|href)=\"([^\"#]+)", path.read_text(encoding="utf-8")
    )
    relative = [
        target for pair in targets for target in pair if target and not re.match(r"[a-z]+:", target)
    ]
    assert [target for target in relative if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_names_a_path_of_somebodys_machine(path: Path) -> None:
    assert [
        line for line in path.read_text(encoding="utf-8").splitlines() if MACHINE_PATH.search(line)
    ] == []


@pytest.mark.parametrize(
    "path", [path for path in PAGES if "results" not in path.parts], ids=lambda path: path.name
)
def test_prose_is_at_most_100_characters_wide(path: Path) -> None:
    wide = [line for line in prose(path) if len(line) > 100 and " " in UNBREAKABLE.sub("", line)]
    assert wide == []


def test_the_readme_calls_commands_and_options_that_exist() -> None:
    blocks = re.findall(
        r"```\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    lines = [line.partition("#")[0] for line in "".join(blocks).splitlines()]
    calls = [line.split()[1:] for line in lines if re.match(r"(\S*/)?liverleaf ", line)]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert {call[0] for call in calls} == set(commands)
    for name, *arguments in calls:
        known = {"--help", *(option for p in commands[name].params for option in p.opts)}
        assert {part for part in arguments if part.startswith("--")} <= known


def test_fidelity_counts_parameters_with_a_command_that_runs() -> None:
    code = re.search(r'```\npython -c "\n(.*?)"\n```', page("fidelity.md"), re.DOTALL)
    assert code is not None
    printed = StringIO()
    with redirect_stdout(printed):
        exec(code[1], {})
    assert f"| `skips=True` | {int(printed.getvalue()):,} |" in page("fidelity.md")


@pytest.mark.parametrize("name", ["CITATION.cff", "CHANGELOG.md"])
def test_the_version_is_stated(name: str) -> None:
    assert re.search(
        rf"^(version: |## \[){re.escape(liverleaf.__version__)}\b",
        (ROOT / name).read_text(encoding="utf-8"),
        re.MULTILINE,
    )


def prose(path: Path) -> list[str]:
    """The lines of a page without tables, code and pictures."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [line for line in text.splitlines() if not line.lstrip().startswith(("|", "!["))]


def parameters(config: MTINetConfig) -> int:
    return sum(parameter.numel() for parameter in MTINet(config).parameters())
